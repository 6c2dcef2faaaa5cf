"""comments:suggestscore: nothing is kept unless the server was told so, and then what people said."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from perspective_model import write_model
from safetyclf.serve.perspective import feedback
from starlette.testclient import TestClient

URL = "/v1alpha1/comments:suggestscore"


@pytest.fixture(scope="session")
def attributes_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("attributes") / "model.safetensors")


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    return tmp_path / "queue.jsonl"


@pytest.fixture
def client(make_client: Callable[..., TestClient], attributes_path: Path, queue: Path) -> TestClient:
    return make_client(model=str(attributes_path), feedback=str(queue))


def suggestion(text: str = "Busy living", value: float = 0, **fields: Any) -> dict[str, Any]:
    scores = {"TOXICITY": {"summaryScore": {"value": value}}}
    return {"comment": {"text": text}, "attributeScores": scores, **fields}


def lines(queue: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in queue.read_text("ascii").splitlines()]


def test_without_a_file_nothing_is_kept_and_that_is_said(make_client: Callable[..., TestClient]) -> None:
    response = make_client().post(URL, json=suggestion())
    assert response.status_code == 501
    assert response.json()["error"]["status"] == "UNIMPLEMENTED"
    assert "nothing was stored" in response.json()["error"]["message"]
    assert response.headers["x-should-retry"] == "false"


def test_a_suggestion_becomes_a_line(client: TestClient, queue: Path) -> None:
    body = suggestion(
        "\ud83d\ude00 Get busy \ud800",
        1,
        languages=["en"],
        communityId="/forum/films",
        clientToken="comment-7",
        context={"entries": [{"text": "somebody else's words"}]},
        sessionId="who",
    )
    body["attributeScores"]["FLIRTATION"] = {
        "spanScores": [{"begin": 0, "end": 2, "score": {"value": 0.5, "type": "PROBABILITY"}}]
    }
    response = client.post(URL, content=json.dumps(body), headers={"x-request-id": "r-1"})
    assert response.status_code == 200
    assert response.json() == {"clientToken": "comment-7"}
    [line] = lines(queue)
    assert line.pop("time") > 1.7e9
    assert line.pop("model").startswith("tiny-")
    assert line == {
        "request": "r-1",
        "text": "\U0001f600 Get busy \ud800",
        "attributeScores": {
            "TOXICITY": {"summary": 1.0},
            "FLIRTATION": {"spans": [{"begin": 0, "end": 2, "value": 0.5}]},
        },
        "languages": ["en"],
        "communityId": "/forum/films",
        "clientToken": "comment-7",
    }


def test_the_file_is_for_its_owner_and_may_be_moved_away(client: TestClient, queue: Path) -> None:
    assert client.post(URL, json=suggestion("one")).json() == {}
    assert stat.S_IMODE(queue.stat().st_mode) == 0o600
    queue.rename(queue.with_suffix(".1"))
    client.post(URL, json=suggestion("two"))
    assert [line["text"] for line in lines(queue)] == ["two"]


def test_lines_of_many_at_once_stay_whole(client: TestClient, queue: Path) -> None:
    texts = [f"{i} " * 2000 for i in range(16)]
    threads = [
        threading.Thread(target=client.post, args=(URL,), kwargs={"json": suggestion(t)}) for t in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line["text"] for line in lines(queue)) == sorted(texts)


def test_a_full_queue_takes_nothing(client: TestClient, queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client.post(URL, json=suggestion())
    size = queue.stat().st_size
    monkeypatch.setattr(feedback, "_LARGEST", size)
    response = client.post(URL, json=suggestion())
    assert response.status_code == 429
    assert response.json()["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert queue.stat().st_size == size


def test_what_cannot_be_written_is_an_error(client: TestClient, queue: Path, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    os.symlink(tmp_path / "other", queue)  # whoever made it may not choose where texts go
    response = client.post(URL, json=suggestion())
    assert response.status_code == 500
    assert response.json()["error"]["status"] == "INTERNAL"
    assert (tmp_path / "other").read_bytes() == b""


def scores(**of_toxicity: Any) -> dict[str, Any]:
    return {"comment": {"text": "a b"}, "attributeScores": {"TOXICITY": of_toxicity}}


def span(begin: Any, end: Any, value: Any = 1) -> dict[str, Any]:
    return scores(spanScores=[{"begin": begin, "end": end, "score": {"value": value}}])


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"comment": {"text": "a"}},
        {"comment": {"text": "a"}, "attributeScores": {}},
        {"comment": {"text": "a"}, "attributeScores": {"TOXIC": {"summaryScore": {"value": 1}}}},
        {"comment": {"text": ""}, "attributeScores": {"TOXICITY": {"summaryScore": {"value": 1}}}},
        suggestion(doNotStore=True),
        suggestion(unknown=1),
        suggestion(languages=7),
        suggestion(communityId=7),
        scores(),
        scores(spanScores=[]),
        scores(summaryScore={}),
        scores(summaryScore={"value": 2}),
        scores(summaryScore={"value": -0.1}),
        scores(summaryScore={"value": "1"}),
        scores(summaryScore={"value": True}),
        scores(summaryScore={"value": 1, "type": "RAW"}),
        scores(summaryScore=1),
        span(0, 4),
        span(-1, 1),
        span(1, 1),
        span(2, 1),
        span(0.5, 1),
        span(0, None),
        span(0, 1, 7),
        span(0, 1, None),
    ],
    ids=str,
)
def test_what_is_malformed_is_refused_and_not_kept(client: TestClient, queue: Path, body: Any) -> None:
    response = client.post(URL, json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert not queue.exists()


def test_a_long_comment_is_refused(
    make_client: Callable[..., TestClient], attributes_path: Path, queue: Path
) -> None:
    client = make_client(model=str(attributes_path), feedback=str(queue), max_text_bytes=10)
    assert client.post(URL, json=suggestion("a" * 10)).status_code == 200
    response = client.post(URL, json=suggestion("\u00e9" * 6))
    assert response.json()["error"]["details"][0]["errorType"] == "COMMENT_TOO_LONG"


def test_a_key_is_needed_where_there_are_keys(
    make_client: Callable[..., TestClient], queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFETYCLF_API_KEYS", "good")
    client = make_client(feedback=str(queue))
    assert client.post(URL, json=suggestion()).status_code == 401
    assert not queue.exists()
