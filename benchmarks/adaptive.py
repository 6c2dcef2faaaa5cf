#!/usr/bin/env python3
"""Leaving early against full depth: throughput, latency, and which decisions change.

    adaptive.py --texts workload.jsonl [--model FILE] [--count N] [--rounds N]

Both efforts take turns in one process, on one thread. `mixed` are the first texts of the workload; `benign`
are made of them: 95 % that full depth does not flag, 5 % that it does. docs: docs/adaptive-depth.md.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import corpora
import numpy as np
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
    scores, depths = fast.scores(texts, depths=True)
    review = np.array([t.review if t.review is not None else 2 for t in full.thresholds.values()], np.float32)
    changed = ((scores >= review) != (full.scores(texts) >= review)).any(axis=1)
    lengths = np.array([len(text) for text in texts])
    print(
        f"{name}: {len(texts)} texts, {spread(rates)} texts/s, {spread(ratios)} times full depth; "
        f"mean depth {np.average(depths, weights=lengths):.2f} by characters, {depths.mean():.2f} by texts; "
        f"left at depth {np.bincount(depths).tolist()}; "
        f"decisions changed {changed.sum()} ({changed.mean():.3%})"
    )


def alone(full: Classifier, fast: Classifier, texts: list[str], tokens: int) -> None:
    for name, text in zip(("harmless", "flagged"), texts, strict=True):
        times = [
            (seconds(lambda: full.classify(text)), seconds(lambda: fast.classify(text)))  # noqa: B023
            for _ in range(CALLS)
        ]
        slow, quick = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
        print(
            f"one {name} text of about {tokens} tokens: full {slow:.3f} ms, adaptive {quick:.3f} ms, median"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=Path, required=True, help="workload file")
    parser.add_argument("--model", help="model file (default: the one inside the package)")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    full = Classifier(options.model, threads=1)
    fast = Classifier(options.model, threads=1, effort="adaptive")
    pool = corpora.load(options.texts, options.count)
    texts = [entry.text for entry in pool]
    print(f"{full.model_id}, {full.info()['isa']}, 1 thread, {options.rounds} rounds; {full.info()['exits']}")
    bulk("mixed", full, fast, texts, options.rounds)

    verdicts = full.classify_batch(texts)
    harmless = [text for text, verdict in zip(texts, verdicts, strict=True) if not verdict.flagged]
    flagged = [text for text, verdict in zip(texts, verdicts, strict=True) if verdict.flagged]
    mixture = harmless + flagged[: len(harmless) * 5 // 95]
    random.Random(0).shuffle(mixture)
    bulk("benign", full, fast, mixture, options.rounds)

    for tokens in LATENCY_TOKENS:
        near = [
            min((entry for entry in pool if entry.text in part), key=lambda entry: abs(entry.tokens - tokens))
            for part in (set(harmless), set(flagged))
        ]
        alone(full, fast, [entry.text for entry in near], tokens)


if __name__ == "__main__":
    main()
