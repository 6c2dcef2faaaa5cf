"""Clients of the Perspective API that no one here wrote, pointed at a server of ours."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from perspective_model import write_model
from safetyclf import Classifier
from server_helpers import Running

TEXT = "Nice weather. The \U0001f600 angry dog!"
LANGUAGE = "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.safetensors")


@pytest.fixture
def server(serve: Callable[..., Running], model: Path, tmp_path: Path) -> Running:
    """A server with a key and a queue for feedback."""
    queue = str(tmp_path / "queue.jsonl")
    running = serve("--model", str(model), "--feedback", queue, environment={"SAFETYCLF_API_KEYS": "good"})
    running.wait_ready()
    return running


def written(model: Path, text: str) -> dict[str, float]:
    return {name: float(f"{score:.9g}") for name, score in Classifier(model).classify(text).scores.items()}


@pytest.fixture
def google(server: Running) -> Iterator[Callable[[str], Any]]:
    """Makes Google's client, with a description of the two methods: google(key)."""
    discovery = pytest.importorskip(
        "googleapiclient.discovery", reason="needs google-api-python-client", exc_type=ImportError
    )

    def method(name: str) -> dict[str, Any]:
        return {
            "id": f"commentanalyzer.comments.{name}",
            "path": f"v1alpha1/comments:{name}",
            "httpMethod": "POST",
            "request": {"$ref": "Any"},
            "response": {"$ref": "Any"},
        }

    document = {
        "name": "commentanalyzer",
        "version": "v1alpha1",
        "rootUrl": f"{server.url}/",
        "servicePath": "",
        "parameters": {"key": {"type": "string", "location": "query"}},
        "schemas": {"Any": {"id": "Any", "type": "object", "additionalProperties": {"type": "any"}}},
        "resources": {"comments": {"methods": {name: method(name) for name in ("analyze", "suggestscore")}}},
    }
    with ExitStack() as services:
        yield lambda key: services.enter_context(
            discovery.build_from_document(document, developerKey=key)
        ).comments()


def test_googles_client_for_python(google: Callable[[str], Any], model: Path, tmp_path: Path) -> None:
    from googleapiclient.errors import HttpError

    comments, scores = google("good"), written(model, TEXT)
    body = {
        "comment": {"text": TEXT},
        "requestedAttributes": {"TOXICITY": {}, "INSULT": {"scoreThreshold": 1}},
        "clientToken": "token",
    }
    answer = comments.analyze(body=body).execute()
    assert answer["attributeScores"]["TOXICITY"]["summaryScore"] == {
        "value": scores["toxicity"],
        "type": "PROBABILITY",
    }
    assert set(answer["attributeScores"]) == {"TOXICITY"}
    assert answer["clientToken"] == "token"
    with pytest.raises(HttpError) as refused:
        comments.analyze(body={**body, "languages": ["de"]}).execute()
    assert refused.value.status_code == 400
    assert refused.value.reason == "Attribute TOXICITY does not support request languages: de"
    assert refused.value.error_details[0]["errorType"] == LANGUAGE
    with pytest.raises(HttpError) as unauthorised:
        google("bad").analyze(body=body).execute()
    assert unauthorised.value.status_code == 401
    suggestion = {"comment": {"text": TEXT}, "attributeScores": {"TOXICITY": {"summaryScore": {"value": 0}}}}
    assert comments.suggestscore(body={**suggestion, "clientToken": "t"}).execute() == {"clientToken": "t"}
    [line] = (tmp_path / "queue.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == TEXT


@pytest.mark.slow
def test_the_clients_for_node(server: Running, node_folder: Path, model: Path) -> None:
    result = subprocess.run(
        ["node", Path(__file__).with_name("perspective_clients.js"), server.url, "good"],
        env={**os.environ, "NODE_PATH": str(node_folder / "node_modules")},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    calls = {entry["name"]: entry for entry in map(json.loads, result.stdout.splitlines())}
    scores = written(model, TEXT)  # they strip the tags

    def summary(name: str, attribute: str) -> float:
        value: float = calls[name]["answer"]["attributeScores"][attribute]["summaryScore"]["value"]
        return value

    assert summary("default", "TOXICITY") == summary("attributes", "TOXICITY") == scores["toxicity"]
    assert summary("attributes", "INSULT") == scores["insult"]
    answer = calls["object"]["answer"]
    assert answer["clientToken"] == "token"
    assert answer["languages"] == ["en"]
    spans = answer["attributeScores"]["TOXICITY"]["spanScores"]
    assert [(span["begin"], span["end"]) for span in spans] == [(0, 13), (14, len(TEXT) + 1)]
    for name, status, error_type in (
        ("unscored", 400, LANGUAGE),
        ("unknown", 400, "INVALID_REQUEST"),
        ("language", 400, LANGUAGE),
        ("empty", 400, "COMMENT_EMPTY"),
        ("key", 401, None),
    ):
        call = calls[name]
        assert call["error"] == "ResponseError"
        assert call["response"]["status"] == status
        error = call["response"]["data"]["error"]
        assert call["message"] == error["message"]
        assert error_type is None or error["details"][0]["errorType"] == error_type
    assert calls["official"]["answer"] == {"TOXICITY": scores["toxicity"], "INSULT": scores["insult"]}
    assert "400" in calls["official-default"]["message"]  # it asks for SPAM unless told otherwise
