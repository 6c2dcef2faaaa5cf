"""Somebody else's model behind the same routes: an ONNX classifier, one request at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx_models import CORPUS, write_model
from safetyclf import Classifier, InvalidArgumentError
from safetyclf.serve.lanes import SingleLane
from safetyclf.serve.refusals import Refusal
from safetyclf.serve.settings import PolicySource, Settings
from server_helpers import TERMS, Running, write_policy

Serve = Callable[..., Running]
TEXTS = [*CORPUS[:4], "", "good dog " * 400]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path)


def column(answer: Any, name: str) -> list[float]:
    return [{**r["category_scores"], **r["safetyclf"]["scores"]}[name] for r in answer.json()["results"]]


def test_answers_are_those_of_the_classifier(serve: Serve, model: Path) -> None:
    server = serve("--model", str(model))
    server.wait_ready()
    classifier = Classifier(model)
    answer = server.moderate(TEXTS)
    assert answer.status_code == 200
    assert answer.json()["model"] == classifier.model_id
    for number, name in enumerate(classifier.categories):
        assert column(answer, name) == [float(f"{s:.9g}") for s in classifier.scores(TEXTS)[:, number]]
    flagged = [result["flagged"] for result in answer.json()["results"]]
    assert flagged == [verdict.flagged for verdict in classifier.classify_batch(TEXTS)]
    assert server.get("/info").json()["model"] == classifier.info()["model"]
    assert server.stop() == 0
    assert not [entry for entry in server.log if entry["level"] == "error"]


def test_nobody_shares_a_batch(make_client: Callable[..., Any], model: Path) -> None:
    client, classifier = make_client(model=str(model)), Classifier(model)
    found: dict[str, Any] = {}
    asking = [
        threading.Thread(
            target=lambda t=text: found.update({t: client.post("/v1/moderations", json={"input": t})})
        )
        for text in CORPUS
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    for text, answer in found.items():
        for name, score in classifier.classify(text).scores.items():
            assert column(answer, name) == [float(f"{score:.9g}")]
    lines = client.get("/metrics").text.splitlines()
    assert f"safetyclf_batch_requests_sum {len(CORPUS)}.0" in lines
    assert f"safetyclf_batch_requests_count {len(CORPUS)}.0" in lines
    assert "safetyclf_queue_requests 0.0" in lines


def test_policies_terms_and_tokens(make_client: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    classifier = Classifier(model)
    name = classifier.categories[0]
    path = write_policy(tmp_path / "p.toml", 1.0, 1.0, TERMS)
    path.write_text(path.read_text().replace("harassment", name))
    client = make_client(model=str(model), policy=(PolicySource("fruit", str(path), None),))
    answer = client.post("/classify", json={"input": ["good dog", "banana"]}).json()
    assert [one["safetyclf"]["action"] for one in answer["data"]] == ["allow", "block"]
    tokens = sum(len(classifier._engine.tokenize(text)[0]) for text in ("good dog", "banana"))
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] == tokens


def test_words_cannot_be_shown(make_client: Callable[..., Any], model: Path) -> None:
    client, name = make_client(model=str(model)), Classifier(model).categories[0]
    body = {"input": CORPUS[0], "safetyclf": {"spans": True}}
    answer = client.post("/v1/moderations", json=body)
    assert answer.status_code == 200
    assert answer.json()["results"][0]["safetyclf"]["spans"] == {}
    answer = client.post("/v1/moderations", json={**body, "safetyclf": {"spans": [name]}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "spans_unsupported")


def test_a_full_queue_and_cancelled_requests(model: Path) -> None:
    classifier, batches = Classifier(model), list[Any]()

    async def ask() -> list[Any]:
        lane = SingleLane(classifier._engine, Settings(queue=20), batches.append)
        tasks = [asyncio.create_task(lane.score(["x " * 300], classifier, lambda _: None)) for _ in range(25)]
        await asyncio.sleep(0)
        assert lane.waiting == 20
        for task in tasks[1:20:2]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert lane.waiting == 0
        closing = asyncio.create_task(lane.score(["x"], classifier, lambda _: None))
        await asyncio.sleep(0)
        await lane.close()
        found.append(await closing)  # what waits is answered
        with pytest.raises(Refusal):
            await lane.score(["x"], classifier, lambda _: None)
        return found

    found = asyncio.run(ask())
    assert [isinstance(one, asyncio.CancelledError) for one in found[:20]] == [False, True] * 10
    assert [isinstance(one, Refusal) for one in found[20:25]] == [False] + [True] * 4
    assert len(batches) == sum(not isinstance(one, BaseException) for one in found) == 12


def test_what_the_model_cannot_is_an_error_of_the_caller(model: Path) -> None:
    classifier = Classifier(model)

    async def ask() -> None:
        lane = SingleLane(classifier._engine, Settings(), lambda _: None)
        classifier._level = 1
        with pytest.raises(InvalidArgumentError):
            await lane.score(["x"], classifier, lambda _: None)
        assert lane.waiting == 0
        await lane.close()

    asyncio.run(ask())
