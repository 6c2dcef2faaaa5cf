"""How often the gate calls what, on suites drawn at random: the table of docs/gate.md.

    python benchmarks/gate_power.py [--times 200] [--seed 0]

Scores are normal numbers, two standard deviations higher for positives, with a little noise of each
contestant's own. "Worse" candidates have as much more noise as costs 3 points of AUPRC; "equal" ones as
much as the reference.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import NamedTuple

import numpy as np
from safetyclf.compare.gate import GateResult, judge
from safetyclf.compare.paired import difference
from safetyclf.compare.resampling import Column, replicates, strata
from safetyclf.compare.results import Comparison, Pair
from safetyclf.evaluate import metrics

OWN = 0.2  # noise of each contestant's own
RESAMPLES = 300
ALLOWED = 0.01
DROP = 0.03


class World(NamedTuple):
    categories: int
    share: float


WORLDS = (World(1, 0.10), World(1, 0.25), World(3, 0.15), World(12, 0.05))
SIZES = (500, 1000, 2000, 5000)


def drawn(world: World, texts: int, noise: float, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    labels = (random.random((texts, world.categories)) < world.share).astype(np.int8)
    shared = 2 * labels + random.normal(size=labels.shape)
    scores = [shared + level * random.normal(size=labels.shape) for level in (OWN, noise)]
    return labels, *(score.astype(np.float32) for score in scores)


def noise_for(world: World, drop: float) -> float:
    """How much noise costs so much AUPRC, on 400,000 texts."""
    low, high = OWN, 3.0
    for _ in range(16):
        middle = (low + high) / 2
        labels, one, other = drawn(World(1, world.share), 400_000, middle, np.random.default_rng(1))
        values = [metrics.average_precision(scores[:, 0], labels[:, 0]) for scores in (one, other)]
        low, high = (middle, high) if values[0] - values[1] < drop else (low, middle)
    return (low + high) / 2


def judged(world: World, texts: int, noise: float, seed: int) -> GateResult:
    random = np.random.default_rng(seed)
    labels, *scores = drawn(world, texts, noise, random)
    sides = [[Column(labels[:, c], s[:, c], None) for c in range(world.categories)] for s in scores]
    draws = replicates([*sides[0], *sides[1]], strata(labels), ["auprc"], RESAMPLES, random)[:, 0]
    found = difference(
        "auprc", None, (sides[0], sides[1]), (draws[: len(sides[0])], draws[len(sides[0]) :]), 0.95
    )
    names = tuple(f"category {c}" for c in range(world.categories))
    pair = Pair("old", "new", texts, 0, names, {}, (), (found,), {}, ())
    comparison = Comparison("drawn", "", texts, seed, RESAMPLES, 0.95, "old", names, (), (pair,), (), {}, ())
    return judge(comparison, {"auprc": ALLOWED}, 0.95)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    columns = [
        "worse: regression",
        "cannot tell",
        "pass",
        "equal: regression",
        "cannot tell",
        "pass",
        "detectable",
    ]
    print(f"| categories | positives of each | texts | {' | '.join(columns)} |")
    print("|---|---|---:|" + "---:|" * len(columns))
    for world in WORLDS:
        worse = noise_for(world, DROP)
        for texts in SIZES:
            cells = []
            detectable = []
            for noise in (worse, OWN):
                results = [
                    judged(world, texts, noise, arguments.seed + 1000 * i) for i in range(arguments.times)
                ]
                counts = Counter(result.outcome for result in results)
                cells += [
                    f"{100 * counts[name] / arguments.times:.3g} %"
                    for name in ("regression", "cannot tell", "pass")
                ]
                detectable += [c.detectable for r in results for c in r.checks if c.detectable is not None]
            middle = f"{np.median(detectable):.3f}" if detectable else "-"
            line = [str(world.categories), f"{100 * world.share:g} %", f"{texts:,}", *cells, middle]
            print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()
