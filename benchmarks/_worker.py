"""One contestant in its own process: answers one JSON line per JSON line. `_drive.Worker` is the other end.

First line: the setup. Then any number of
    {"do": "load", "texts": [...]}              scores the texts once, to warm up
    {"do": "bulk"}                              scores all texts once
    {"do": "latency", "texts": [...], "calls": n}  scores one text at a time, n times, each in its turn
    {"do": "about"}
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import _machine

WARM_CALLS = 20


def timed(call: Any) -> dict[str, float]:
    """Wall and CPU seconds of a call, and the CPU seconds that other processes used meanwhile."""
    busy, cpu, wall = _machine.busy_seconds(), time.process_time(), time.perf_counter()
    call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "other": max(0.0, _machine.busy_seconds() - busy - cpu)}


def main() -> None:
    # Runtimes print to stdout; the answers have a copy of it to themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    setup = json.loads(sys.stdin.readline())
    _machine.pin(setup["threads"])
    if setup["deny_amx"]:
        _machine.deny_amx()
    from _contestants import CONTESTANTS, Setup

    contestant = CONTESTANTS[setup["contestant"]](
        Setup(
            threads=setup["threads"],
            latency=setup["latency"],
            models=Path(setup["models"]) if setup["models"] else None,
            model=setup["model"],
            budget=setup["budget"],
        )
    )
    texts: list[str] = []

    def answer(request: dict[str, Any]) -> Any:
        nonlocal texts
        match request["do"]:
            case "load":
                texts = request["texts"]
                contestant.score(texts)
                return {}
            case "bulk":
                return timed(lambda: contestant.score(texts))
            case "latency":
                turns = cycle([text] for text in request["texts"])
                for one in islice(turns, max(WARM_CALLS, len(request["texts"]))):
                    contestant.score(one)
                milliseconds = []
                for one in islice(turns, request["calls"]):
                    start = time.perf_counter()
                    contestant.score(one)
                    milliseconds.append((time.perf_counter() - start) * 1e3)
                return milliseconds
            case "about":
                memory = round(_machine.memory_mb("VmHWM"))
                return {**contestant.about(), "amx": _machine.amx_granted(), "peak_rss_mb": memory}
        raise ValueError(f"unknown request {request}")

    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


main()
