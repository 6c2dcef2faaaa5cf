#!/usr/bin/env python3
"""Leaving early against full depth: throughput, latency, and which decisions change.

    adaptive.py --texts FILE ... [--model FILE] [--count N] [--rounds N]

Both efforts take turns in one process, on one thread, on each file of texts: a workload, and what `benign.py`
makes of it. Latency is measured on texts of the first file. docs: docs/adaptive-depth.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import _depth
import corpora
from safetyclf import Classifier

LATENCY_TOKENS = (20, 120)
CALLS = 200


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def bulk(name: str, full: Classifier, fast: Classifier, texts: list[str], rounds: int) -> None:
    rates: list[float] = []
    ratios: list[float] = []
    for _ in range(rounds):
        slow, quick = seconds(lambda: full.scores(texts)), seconds(lambda: fast.scores(texts))
        rates.append(len(texts) / quick)
        ratios.append(slow / quick)
    print(f"{name}: {spread(rates)} texts/s, {spread(ratios)} times full depth; ", end="")
    print(_depth.compare(full, fast, texts))


def alone(full: Classifier, fast: Classifier, kind: str, texts: list[str], tokens: int) -> None:
    times = [
        (seconds(lambda: full.classify(text)), seconds(lambda: fast.classify(text)))  # noqa: B023
        for text in islice(cycle(texts), CALLS)
    ]
    slow, quick = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
    print(
        f"{len(texts)} {kind} texts of about {tokens} tokens, one at a time: "
        f"full {slow:.3f} ms, adaptive {quick:.3f} ms, median"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=Path, nargs="+", required=True, help="workload files")
    parser.add_argument("--model", help="model file (default: the one inside the package)")
    parser.add_argument("--count", type=int, default=1000, help="texts of each file")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    full = Classifier(options.model, threads=1)
    fast = Classifier(options.model, threads=1, effort="adaptive")
    print(f"{full.model_id}, {full.info()['isa']}, 1 thread, {options.rounds} rounds; {full.info()['exits']}")
    pools = {path: corpora.load(path, options.count) for path in options.texts}
    for path, pool in pools.items():
        bulk(corpora.name(path), full, fast, [entry.text for entry in pool], options.rounds)
    for kind, by_length in _depth.near(full, pools[options.texts[0]], LATENCY_TOKENS).items():
        for tokens, texts in by_length.items():
            alone(full, fast, kind, [entry.text for entry in texts], tokens)


if __name__ == "__main__":
    main()
