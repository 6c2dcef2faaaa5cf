"""The real OpenAI client against a running server: what it reads, what it raises, when it tries again."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetyclf import Classifier
from safetyclf.suites import MODERATION_CATEGORIES as CATEGORIES
from server_helpers import Running

openai = pytest.importorskip("openai")

KEY = "sk-of-the-test"


@pytest.fixture(scope="module")
def server(tiny_path: Path) -> Iterator[Running]:
    running = Running(
        "--model", str(tiny_path), "--max-body", "200000", environment={"SAFETYCLF_API_KEYS": KEY}
    )
    running.wait_ready()
    yield running
    running.stop()


@pytest.fixture
def api(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=2) as made:
        yield made


def attribute(category: str) -> str:
    return category.replace("/", "_").replace("-", "_")


def test_every_attribute_is_there(api: openai.OpenAI, tiny: Classifier) -> None:
    answer = api.moderations.create(input="the angry dog", model="omni-moderation-latest")
    verdict = tiny.classify("the angry dog")
    assert answer.id.startswith("modr-")
    assert answer.model == tiny.model_id
    [result] = answer.results
    assert result.flagged is verdict.flagged
    for name in CATEGORIES:
        assert getattr(result.categories, attribute(name)) is verdict.categories.get(name, False)
        score = getattr(result.category_scores, attribute(name))
        assert score == pytest.approx(verdict.scores.get(name, 0), rel=1e-8)
        expected = ["text"] if name in verdict.scores else []
        assert getattr(result.category_applied_input_types, attribute(name)) == expected
    # Nothing is in the answer that their types do not know, but for our one key.
    assert set(result.model_extra or {}) == {"safetyclf"}


def test_lists_and_parts(api: openai.OpenAI) -> None:
    assert len(api.moderations.create(input=["one", "two", "three"]).results) == 3
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert len(api.moderations.create(input=parts).results) == 1


def test_extra_body_and_raw_response(api: openai.OpenAI) -> None:
    raw = api.moderations.with_raw_response.create(
        input="one",
        extra_body={"safetyclf": {"spans": ["harassment"]}},
        extra_headers={"x-request-id": "mine"},
    )
    assert raw.status_code == 200
    assert raw.headers["x-request-id"] == "mine"
    parsed = raw.parse()
    assert parsed._request_id == "mine"
    assert parsed.results[0].safetyclf["spans"]["harassment"][0]["start"] == 0


def test_the_asynchronous_client(server: Running) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY) as made:
            answers = await asyncio.gather(*(made.moderations.create(input=f"text {i}") for i in range(20)))
        return [answer.id for answer in answers]

    assert len(set(asyncio.run(ask()))) == 20


@pytest.mark.parametrize(
    ("given", "raised", "code", "param"),
    [
        ({"input": []}, "BadRequestError", "empty_array", "input"),
        ({"input": "x", "model": "gpt-of-nobody"}, "NotFoundError", "model_not_found", "model"),
        (
            {"input": [{"type": "image_url", "image_url": {"url": "https://x.invalid/"}}] * 2},
            "BadRequestError",
            "too_many_images",
            "input",
        ),
        ({"input": "x" * 300_000}, "APIStatusError", "request_too_large", None),
    ],
)
def test_errors_keep_code_and_param(
    api: openai.OpenAI, given: dict[str, object], raised: str, code: str, param: str | None
) -> None:
    with pytest.raises(getattr(openai, raised)) as caught:
        api.moderations.create(**given)
    assert caught.value.code == code
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_a_wrong_key(server: Running) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-wrong") as made,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        made.moderations.create(input="x")
    assert caught.value.code == "invalid_api_key"


def test_what_is_refused_for_good_is_not_tried_again(server: Running, api: openai.OpenAI) -> None:
    def refused() -> int:
        text = server.get("/metrics", authorization=f"Bearer {KEY}").text
        lines = [line for line in text.splitlines() if 'route="moderations",status="400"' in line]
        return int(float(lines[0].split()[1])) if lines else 0

    before = refused()
    with pytest.raises(openai.BadRequestError):
        api.moderations.create(input=[])
    assert refused() == before + 1


def test_an_overloaded_server_is_tried_again(serve: Callable[..., Running]) -> None:
    busy = serve("--queue", "1")
    busy.wait_ready()
    text = "the angry dog loves music " * 1000

    async def ask(retries: int) -> list[object]:
        async with openai.AsyncOpenAI(base_url=f"{busy.url}/v1", api_key="none", max_retries=retries) as made:
            tasks = (made.moderations.create(input=text) for _ in range(20))
            return await asyncio.gather(*tasks, return_exceptions=True)

    failed = [answer for answer in asyncio.run(ask(0)) if isinstance(answer, Exception)]
    assert 0 < len(failed) < 20
    for error in failed:
        assert isinstance(error, openai.RateLimitError)
        assert error.code == "rate_limit_exceeded"
    assert not [answer for answer in asyncio.run(ask(30)) if isinstance(answer, Exception)]


NODE = """
import OpenAI from 'openai';
const client = new OpenAI({ baseURL: process.env.URL_OF_TEST, apiKey: process.env.KEY_OF_TEST });
const answer = await client.moderations.create({ input: ['one', 'two'], model: 'omni-moderation-latest' });
let refused = null;
try {
  await client.moderations.create({ input: [] });
} catch (error) {
  refused = { name: error.constructor.name, status: error.status, code: error.code, param: error.param };
}
const { request_id } = await client.moderations.create({ input: 'x' }).withResponse();
let unknown = null;
try {
  await new OpenAI({ baseURL: process.env.URL_OF_TEST, apiKey: 'wrong' }).moderations.create({ input: 'x' });
} catch (error) {
  unknown = error.constructor.name;
}
console.log(JSON.stringify({ answer, refused, request_id, unknown }));
"""


@pytest.mark.slow
def test_the_client_for_node(server: Running, node_folder: Path, tiny: Classifier) -> None:
    (node_folder / "ask.mjs").write_text(NODE)
    environment = {**os.environ, "URL_OF_TEST": f"{server.url}/v1", "KEY_OF_TEST": KEY}
    done = subprocess.run(
        ["node", "ask.mjs"], cwd=node_folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answer"]["model"] == tiny.model_id
    assert [set(result["category_scores"]) for result in found["answer"]["results"]] == [set(CATEGORIES)] * 2
    assert found["refused"] == {
        "name": "BadRequestError",
        "status": 400,
        "code": "empty_array",
        "param": "input",
    }
    assert found["request_id"].startswith("req_")
    assert found["unknown"] == "AuthenticationError"
