"""Runs contestants in processes of their own, in turn: what else the machine does then meets all alike."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


class Worker:
    """A process that runs one contestant (`_worker.py`)."""

    def __init__(
        self,
        contestant: str,
        *,
        threads: int,
        latency: bool = False,
        deny_amx: bool = False,
        isa: str | None = None,
        models: Path | None = None,
        model: str | None = None,
        budget: int | None = None,
        python: str = sys.executable,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        environment = {
            **os.environ,
            **{name: str(threads) for name in _THREAD_VARIABLES},
            **(variables or {}),
        }
        environment["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
        if isa is not None:
            environment["SAFETYCLF_ISA"] = isa
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("_worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("BENCH_VERBOSE") else subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        setup = {
            "contestant": contestant,
            "threads": threads,
            "latency": latency,
            "deny_amx": deny_amx,
            "models": None if models is None else str(models),
            "model": model,
            "budget": budget,
        }
        self.name = contestant
        self._send(setup)

    def ask(self, request: dict[str, Any]) -> Any:
        self._send(request)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _ended(self) -> SystemExit:
        return SystemExit(f"{self.name} ended without an answer; BENCH_VERBOSE=1 shows its messages")


def interleave(
    start: Mapping[str, Callable[[], Worker]],
    texts: Sequence[str],
    requests: Sequence[dict[str, Any]],
    rounds: int,
) -> tuple[list[dict[str, list[Any]]], dict[str, dict[str, Any]]]:
    """Loads every contestant, then in each round puts every request to one contestant after the other.

    Returns for each request the answers by contestant, and what each contestant says of itself.
    """
    answers: list[dict[str, list[Any]]] = [{name: [] for name in start} for _ in requests]
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, make in start.items():
            progress(f"loading {name}")
            workers[name] = stack.enter_context(make())
            workers[name].ask({"do": "load", "texts": list(texts)})
        for number in range(rounds):
            for request, rows in zip(requests, answers, strict=True):
                for name, worker in workers.items():
                    progress(f"round {number + 1} of {rounds}: {name}")
                    rows[name].append(worker.ask(request))
        about = {name: worker.ask({"do": "about"}) for name, worker in workers.items()}
    progress("")
    return answers, about


def progress(message: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{message}", end="", file=sys.stderr, flush=True)


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def throughput(rounds: list[dict[str, float]], texts: int, tokens: int, threads: int) -> dict[str, Any]:
    """Rates of one contestant from the answers to "bulk"."""
    wall = [r["wall"] for r in rounds]
    cpu = statistics.median(r["cpu"] for r in rounds)
    return {
        "texts_per_s": round(texts / statistics.median(wall), 1),
        "texts_per_s_best": round(texts / min(wall), 1),
        "texts_per_s_worst": round(texts / max(wall), 1),
        "texts_per_s_by_cpu_time": round(texts * threads / cpu, 1),
        "tokens_per_s": round(tokens / statistics.median(wall)),
        "rounds": [{key: round(value, 3) for key, value in r.items()} for r in rounds],
    }


def ratios(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> dict[str, Any]:
    """How many times as fast we are: time against time in the same round, median and range."""
    wall = [t["wall"] / o["wall"] for o, t in zip(ours, theirs, strict=True)]
    cpu = [t["cpu"] / o["cpu"] for o, t in zip(ours, theirs, strict=True)]
    return {
        "wall": round(statistics.median(wall), 3),
        "wall_range": [round(min(wall), 3), round(max(wall), 3)],
        "cpu": round(statistics.median(cpu), 3),
        "cpu_range": [round(min(cpu), 3), round(max(cpu), 3)],
    }


def latency(rounds: list[list[float]]) -> dict[str, float]:
    """Milliseconds of one contestant from the answers to "latency"."""
    values = [value for r in rounds for value in r]
    return {
        "p10": round(percentile(values, 0.10), 3),
        "p50": round(percentile(values, 0.50), 3),
        "p99": round(percentile(values, 0.99), 3),
        "calls": len(values),
    }
