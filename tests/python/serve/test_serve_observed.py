"""What the server tells about itself: metrics, logs, audit log, pages. None of them holds a text."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from safetyclf import Classifier
from safetyclf.serve.logs import JsonFormatter
from safetyclf.serve.metrics import ACTIONS, SCORE_BOUNDS, Metrics, families
from safetyclf.serve.settings import PolicySource
from server_helpers import TERMS, Running, write_policy
from starlette.testclient import TestClient
from tiny_model import TinyModel

URL = "/v1/moderations"
SECRET = "a very secret sentence about a banana"


def counts(client: TestClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and sorted labels."""
    text = client.get("/metrics").text
    return {
        (sample.name.removeprefix("safetyclf_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_route_and_status(client: TestClient) -> None:
    for _ in range(3):
        client.post(URL, json={"input": "x"})
    client.post(URL, json={"input": []})
    found = counts(client)
    assert found["requests_total", (("route", "moderations"), ("status", "200"))] == 3
    assert found["requests_total", (("route", "moderations"), ("status", "400"))] == 1
    assert found["request_seconds_count", (("route", "moderations"),)] == 4
    assert found["requests_in_progress", ()] == 1
    assert found["queue_requests", ()] == 0
    assert found["queue_seconds_count", ()] == 3
    assert found["workers", ()] == 1


def test_scores_and_decisions_are_the_classifiers(
    client: TestClient, tiny: Classifier, messages: list[str]
) -> None:
    client.post(URL, json={"input": messages})
    client.post(URL, json={"input": messages[0]})
    texts = [*messages, messages[0]]
    verdicts, scores, found = tiny.classify_batch(texts), tiny.scores(texts), counts(client)
    for action in ACTIONS:
        assert found["texts_total", (("action", action),)] == sum(v.action == action for v in verdicts)
    for column, name in enumerate(tiny.categories):
        review, block = tiny.thresholds[name]
        label = ("category", name)
        blocked = int((scores[:, column] >= np.float32(block)).sum())
        reviewed = int((scores[:, column] >= np.float32(review)).sum()) - blocked
        assert found.get(("decisions_total", (("action", "block"), label)), 0) == blocked
        assert found.get(("decisions_total", (("action", "review"), label)), 0) == reviewed
        assert found["score_sum", (label,)] == pytest.approx(float(scores[:, column].sum()), rel=1e-5)
        for bound in SCORE_BOUNDS:
            expected = int((scores[:, column] <= np.float32(bound)).sum())
            assert found["score_bucket", (label, ("le", f"{bound:g}"))] == expected


def test_batches_and_depths(client: TestClient, tiny: Classifier, messages: list[str]) -> None:
    client.post(URL, json={"input": messages})
    found = counts(client)
    assert found["batch_requests_sum", ()] == 1
    assert found["batch_texts_sum", ()] == len(messages)
    assert found["batch_tokens_sum", ()] == sum(len(tiny._engine.tokenize(text)[0]) for text in messages)
    assert found["batch_seconds_count", ()] == 1
    assert found["depth_count", ()] == len(messages)
    assert found["depth_sum", ()] == 2 * len(messages)  # the tiny model has two layers


def test_a_dead_workers_counts_are_taken_over(tmp_path: Path) -> None:
    layout = families(["a"], ["c"], 3)
    first = Metrics(str(tmp_path), layout)
    first.add("texts", "allow", amount=5)
    first.set("requests_in_progress", 3)
    second = Metrics(str(tmp_path), layout)
    second.add("texts", "allow", amount=7)
    fcntl.flock(first._file, fcntl.LOCK_UN)  # as its process's end does
    third = Metrics(str(tmp_path), layout)
    third.add("texts", "allow", amount=11)
    lines = third.text().decode().splitlines()
    assert 'safetyclf_texts_total{action="allow"} 23.0' in lines
    assert "safetyclf_requests_in_progress 0.0" in lines
    assert len(list(tmp_path.iterdir())) == 2
    for metrics in (second, third):
        metrics.close()
    first._file.close()


def test_another_layout_has_files_of_its_own(tmp_path: Path) -> None:
    for categories in (["c"], ["c", "d"]):
        metrics = Metrics(str(tmp_path), families(["a"], categories, 3))
        metrics.add("texts", "allow", amount=1)
        assert 'safetyclf_texts_total{action="allow"} 1.0' in metrics.text().decode()
        metrics.close()


def test_shadow_counts_disagreement_only(
    make_client: Callable[..., TestClient], tiny: Classifier, tmp_path: Path, messages: list[str]
) -> None:
    path = tmp_path / "other.safetensors"
    TinyModel(seed=3).write(path)
    other = Classifier(path)
    client = make_client(shadow=str(path))
    plain = make_client()
    answers = [c.post(URL, json={"input": messages}).json()["results"] for c in (client, plain)]
    assert answers[0] == answers[1]
    ours, theirs = tiny.classify_batch(messages), other.classify_batch(messages)
    end = time.monotonic() + 20
    found = counts(client)
    while not any(name == "shadow_total" for name, _ in found):
        assert time.monotonic() < end
        found = counts(client)
    for mine in ACTIONS:
        for action in ACTIONS:
            expected = sum((a.action, b.action) == (mine, action) for a, b in zip(ours, theirs, strict=True))
            key = ("shadow_total", (("action", mine), ("shadow_action", action)))
            assert found.get(key, 0) == expected
    for name in tiny.categories:
        expected = sum(a.categories[name] != b.categories[name] for a, b in zip(ours, theirs, strict=True))
        assert found.get(("shadow_categories_total", (("category", name),)), 0) == expected
    assert client.get("/info").json()["shadow"] == other.model_id


def test_audit_lines(
    make_client: Callable[..., TestClient], tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, audit = write_policy(tmp_path / "p.toml", 1.0, 1.0, TERMS), tmp_path / "audit.jsonl"
    options: dict[str, Any] = {"policy": (PolicySource("p", str(policy), None),), "audit": str(audit)}
    answer = make_client(**options).post(URL, json={"input": [SECRET, "good dog"]})
    verdicts = Classifier(tiny_path, policy=policy).classify_batch([SECRET, "good dog"])
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    for line, text, verdict in zip(lines, [SECRET, "good dog"], verdicts, strict=True):
        assert line["hash"] == hashlib.sha256(text.encode()).hexdigest()
        assert line["request"] == answer.headers["x-request-id"]
        assert (line["action"], line["policy"], line["policy_id"]) == (verdict.action, "p", verdict.policy)
        assert {n: np.float32(s) for n, s in line["scores"].items()} == verdict.scores
    assert "secret" not in audit.read_text()
    monkeypatch.setenv("SAFETYCLF_AUDIT_KEY", "k")
    make_client(**options).post(URL, json={"input": SECRET})
    last = json.loads(audit.read_text().splitlines()[-1])
    assert last["hash"] == hmac.new(b"k", SECRET.encode(), hashlib.sha256).hexdigest()


def test_the_audit_log_can_be_rotated(serve: Callable[..., Running], tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    server = serve("--audit", str(audit))
    server.wait_ready()
    server.moderate("one")
    audit.rename(tmp_path / "audit.1")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("reloaded")
    server.moderate("two")
    assert len(audit.read_text().splitlines()) == len((tmp_path / "audit.1").read_text().splitlines()) == 1


def test_logs_are_json_and_hold_no_text(serve: Callable[..., Running], tmp_path: Path) -> None:
    server = serve("--access-log", "--log-level", "debug")
    server.wait_ready()
    server.moderate(SECRET, **{"x-request-id": "mine"})
    server.moderate({"text": SECRET})
    server.moderate([SECRET, 3])
    server.get(f"/{SECRET}")
    server.moderate(SECRET, **{"x-safetyclf-policy": SECRET})
    assert server.stop() == 0
    assert server.stray == []
    assert "banana" not in json.dumps(server.log)
    lines = [entry for entry in server.log if entry["event"] == "request"]
    [line] = [entry for entry in lines if entry["request"] == "mine"]
    assert (line["route"], line["status"], line["policy"]) == ("moderations", 200, "default")
    assert [entry["status"] for entry in lines].count(400) == 2
    assert all({"time", "level", "event", "process"} <= set(entry) for entry in server.log)


def test_an_exception_is_logged_without_its_message() -> None:
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, __file__, 1, "internal error", (), (ValueError, error, None)
        )
        record.exc_info = (ValueError, error, error.__traceback__)
        line = JsonFormatter().format(record)
    assert "banana" not in line
    assert json.loads(line)["exception"] == "ValueError"
    assert "test_serve_observed.py" in json.loads(line)["places"][0]


def test_a_bug_is_a_500_in_the_envelope(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetyclf.serve import moderations

    def broken(*_: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(moderations, "_understood", broken)
    answer = client.post(URL, json={"input": SECRET})
    assert answer.status_code == 500
    assert answer.headers["x-should-retry"] == "true"
    assert answer.json()["error"]["type"] == "server_error"
    assert "banana" not in answer.text


def test_info(client: TestClient, tiny: Classifier) -> None:
    about = client.get("/info").json()
    assert about["model"] == tiny.model_id
    assert about["policies"]["default"]["thresholds"]["harassment"]["review"] == pytest.approx(
        tiny.thresholds["harassment"].review
    )
    assert about["limits"]["max_texts"] == 1024
    assert "path" not in about


def test_health_and_ready(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}
