"""Processes and signals, under load: no answer that was promised is lost, and none is wrong."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetyclf import Classifier
from safetyclf._modelfile import Category
from server_helpers import Running, write_policy
from tiny_model import TinyModel

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
import _load

Serve = Callable[..., Running]


@pytest.fixture
def requests(tiny: Classifier, messages: list[str]) -> list[tuple[bytes, bytes]]:
    """Requests, each with what its answer has to hold."""
    column = tiny.categories.index("harassment")
    return [
        (_load.request(text), _load.expectation([float(scores[column])], ["harassment"]))
        for text, scores in zip(messages, tiny.scores(messages), strict=True)
    ]


class Load:
    """A load that runs meanwhile, in a thread with a loop of its own."""

    def __init__(self, server: Running, requests: list[tuple[bytes, bytes]], **options: Any) -> None:
        self._result: _load.Outcome | None = None
        self._arguments = (server.address, requests)
        self._options = {"connections": 16, **options}
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._result = asyncio.run(_load.drive(*self._arguments, **self._options))

    def outcome(self) -> _load.Outcome:
        self._thread.join()
        assert self._result is not None
        assert self._result.wrong == 0
        return self._result


def wait_for_answers(server: Running, count: int) -> None:
    """Until so many were given."""
    end, given = time.monotonic() + 20, 0.0
    while given < count:
        assert time.monotonic() < end
        time.sleep(0.05)
        lines = server.get("/metrics").text.splitlines()
        found = [line for line in lines if 'route="moderations",status="200"' in line]
        given = max([float(line.split()[1]) for line in found if "requests_total" in line], default=0.0)


@pytest.mark.parametrize(("count", "seconds"), [(1, 4), (2, 6)])
def test_sigterm_under_load_loses_no_answer(
    serve: Serve, requests: list[tuple[bytes, bytes]], count: int, seconds: int
) -> None:
    server = serve("--drain", "0.5", "--workers", str(count))
    workers = server.wait_ready(count)
    load = Load(server, requests, seconds=seconds)
    wait_for_answers(server, 60)
    assert server.stop() == 0
    outcome = load.outcome()
    assert outcome.lost == 0
    assert set(outcome.statuses) == {200}
    assert outcome.statuses[200] > 50
    assert outcome.refused > 0  # it had ended before the load did
    assert not any(map(_alive, workers))


def test_a_worker_told_to_end_loses_no_answer_and_is_replaced(
    serve: Serve, requests: list[tuple[bytes, bytes]]
) -> None:
    server = serve("--drain", "0.2", "--workers", "2")
    first, second = server.wait_ready(2)
    load = Load(server, requests, seconds=5)
    time.sleep(0.7)
    os.kill(first, signal.SIGTERM)
    assert server.wait_for("ready")["process"] not in (first, second)
    outcome = load.outcome()
    # The listener is the others', too: who waits there is accepted by them.
    assert (outcome.lost, outcome.refused) == (0, 0)
    assert set(outcome.statuses) == {200}
    os.kill(second, 0)


def test_all_processes_told_at_once_still_wait(serve: Serve) -> None:
    """As Ctrl-C and service managers do: the supervisor's own signal is no second one."""
    server = serve("--workers", "2", "--drain", "3")
    workers = server.wait_ready(2)
    begin = time.monotonic()
    for process in (server.process.pid, *workers):
        os.kill(process, signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert time.monotonic() - begin > 3


def test_a_second_signal_hurries_all_workers(serve: Serve) -> None:
    server = serve("--workers", "2", "--drain", "60")
    server.wait_ready(2)
    server.process.send_signal(signal.SIGTERM)
    for _ in range(2):
        server.wait_for("draining")
    time.sleep(1.2)  # sooner, it could be the same signal by another way
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < 20


def test_who_comes_early_waits_for_the_model(serve: Serve) -> None:
    for workers in ("1", "2"):
        server = serve("--workers", workers)
        assert server.get("/ready").status_code == 200  # nobody has waited for "ready"
        assert server.moderate("good dog").status_code == 200


def test_a_second_signal_does_not_wait(serve: Serve) -> None:
    server = serve("--drain", "60")
    server.wait_ready()
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("draining")
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < 20


def test_not_ready_while_draining(serve: Serve) -> None:
    server = serve("--drain", "2")
    server.wait_ready()
    assert server.get("/ready").status_code == 200
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("draining")
    answer = server.get("/ready")
    assert answer.status_code == 503
    assert answer.headers["connection"] == "close"
    assert server.get("/health").status_code == 200


def test_reload_under_load(
    serve: Serve, requests: list[tuple[bytes, bytes]], tiny_path: Path, tmp_path: Path
) -> None:
    policy = write_policy(tmp_path / "p.toml", 1.0, 1.0)
    server = serve("--policy", str(policy), "--workers", "2")
    server.wait_ready(2)
    before = server.get("/info").json()["policy"]
    assert not server.moderate("good dog").json()["results"][0]["flagged"]
    load = Load(server, requests, seconds=3)
    for review in (0.5, 0.25, 0.0):
        time.sleep(0.4)
        write_policy(policy, review, 1.0)
        server.process.send_signal(signal.SIGHUP)
        for _ in range(2):
            server.wait_for("reloaded")
    outcome = load.outcome()
    assert (outcome.lost, outcome.refused) == (0, 0)
    assert set(outcome.statuses) == {200}
    assert server.get("/info").json()["policy"] != before
    assert server.moderate("good dog").json()["results"][0]["flagged"]


def test_a_reload_that_fails_changes_nothing(serve: Serve, tmp_path: Path) -> None:
    policy = write_policy(tmp_path / "p.toml", 0.0, 1.0)
    server = serve("--policy", str(policy))
    server.wait_ready()
    before = server.get("/info").json()["policy"]
    policy.write_text("nonsense")
    server.process.send_signal(signal.SIGHUP)
    assert str(policy) in server.wait_for("reload failed")["error"]
    assert server.get("/info").json()["policy"] == before
    assert server.moderate("good dog").json()["results"][0]["flagged"]


def test_reload_takes_another_model(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    TinyModel().write(path)
    server = serve("--model", str(path))
    server.wait_ready()
    before = server.moderate("good dog").json()
    other = TinyModel(seed=2).write(tmp_path / "other.safetensors")
    shutil.move(tmp_path / "other.safetensors", path)  # the mapped file stays as it was
    server.process.send_signal(signal.SIGHUP)
    assert server.wait_for("reloaded")["model"] == other.id
    after = server.moderate("good dog").json()
    assert after["model"] == other.id != before["model"]
    assert after["results"][0]["category_scores"] != before["results"][0]["category_scores"]


def test_a_request_survives_a_reload_to_other_categories(
    serve: Serve, requests: list[tuple[bytes, bytes]], tmp_path: Path
) -> None:
    path, other = tmp_path / "model.safetensors", tmp_path / "other.safetensors"
    first = TinyModel().write(path)
    categories = (Category(name="violence", coverage="trained"), Category(name="hate", coverage="weak"))
    second = TinyModel(categories=categories).write(other)
    server = serve("--model", str(path))
    server.wait_ready()
    answers: list[Any] = []
    long = "the angry dog loves music " * 30_000
    asking = threading.Thread(target=lambda: answers.append(server.moderate(long)))
    asking.start()
    while "safetyclf_requests_in_progress 2.0" not in server.get("/metrics").text:
        time.sleep(0.01)
    shutil.move(other, path)
    server.process.send_signal(signal.SIGHUP)
    assert server.wait_for("reloaded")["model"] == second.id
    asking.join()
    assert answers[0].status_code == 200
    assert answers[0].json()["model"] == first.id
    assert server.moderate("good dog").json()["model"] == second.id
    time.sleep(1.2)
    found = server.get("/metrics").text.splitlines()
    assert 'safetyclf_score_count{category="hate"} 1.0' in found
    assert "safetyclf_requests_in_progress 1.0" in found
    assert not [entry for entry in server.log if entry["level"] == "error"]


def test_a_killed_worker_is_replaced_and_the_others_go_on(
    serve: Serve, requests: list[tuple[bytes, bytes]]
) -> None:
    server = serve("--workers", "2")
    first, second = server.wait_ready(2)
    load = Load(server, requests, seconds=5, connections=8)
    time.sleep(1)
    os.kill(first, signal.SIGKILL)
    replacement = server.wait_for("ready")["process"]
    assert replacement not in (first, second)
    outcome = load.outcome()
    # What the killed one had accepted is gone, and the client sees that; at most one request a connection.
    assert outcome.lost <= 8
    assert set(outcome.statuses) == {200}
    assert outcome.statuses[200] > 100
    os.kill(second, 0)
    counted = server.get("/metrics").text
    assert "safetyclf_workers 2.0" in counted


def test_counts_of_all_workers_add_up(serve: Serve, requests: list[tuple[bytes, bytes]]) -> None:
    server = serve("--workers", "2")
    server.wait_ready(2)
    outcome = Load(server, requests, count=200).outcome()
    assert outcome.statuses[200] == 200
    time.sleep(1.2)  # the other worker counts its scores twice a second
    lines = server.get("/metrics").text.splitlines()
    assert 'safetyclf_requests_total{route="moderations",status="200"} 200.0' in lines
    assert 'safetyclf_score_count{category="harassment"} 200.0' in lines


def test_workers_end_together(serve: Serve) -> None:
    server = serve("--workers", "2", "--drain", "0.1")
    workers = server.wait_ready(2)
    assert server.stop() == 0
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
    assert server.stray == []


def test_workers_do_not_outlive_their_supervisor(serve: Serve) -> None:
    server = serve("--workers", "2", "--drain", "0")
    workers = server.wait_ready(2)
    server.process.kill()
    server.process.wait()
    end = time.monotonic() + 20
    while any(map(_alive, workers)):
        assert time.monotonic() < end
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    """Not only a process that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_model_that_is_not_there_ends_the_server(serve: Serve) -> None:
    for workers in ("1", "2"):
        server = serve("--workers", workers, "--model", "/nowhere/model.safetensors")
        assert "/nowhere/model.safetensors" in server.wait_for("cannot start")["error"]
        assert server.process.wait(30) == 3
