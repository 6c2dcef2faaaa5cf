"""Promises are kept as often as they say, in simulations where the truth is known.

Each test draws rows from a known distribution many times, and counts how often the true rate breaks the
promise. The count may exceed what the confidence allows only by chance; its limit makes a false alarm rarer
than one in ten million. Wrong procedures that look right are held to the same limit, and must fail it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("scipy")
pytest.importorskip("sklearn")

from safetyclf._modelfile import NEVER
from safetyclf.policy import bounds
from safetyclf.policy.calibrate import calibrate
from safetyclf.policy.document import Calibrated, Category, Limits, PolicyDocument, Target
from scipy.stats import binom

RISK = 0.05
Generator = np.random.Generator
Scores = npt.NDArray[np.float32]


def most_broken(draws: int, risk: float = RISK) -> int:
    """More broken promises than this are no chance."""
    return int(binom.isf(1e-7, draws, risk))


@dataclass(frozen=True)
class Continuous:
    """Scores with P(score >= t) = 1 - t ** power."""

    power: float

    def draw(self, rng: Generator, n: int) -> Scores:
        return (rng.random(n) ** (1 / self.power)).astype(np.float32)

    def reach(self, threshold: float) -> float:
        return max(0.0, 1 - float(np.float32(threshold)) ** self.power)


@dataclass(frozen=True)
class Discrete:
    """A few scores, the ends 0 and 1 among them, with probabilities."""

    scores: tuple[float, ...]
    weights: tuple[float, ...]

    def draw(self, rng: Generator, n: int) -> Scores:
        return np.array(self.scores, np.float32)[np.searchsorted(np.cumsum(self.weights)[:-1], rng.random(n))]

    def reach(self, threshold: float) -> float:
        reached = np.array(self.scores, np.float32) >= np.float32(threshold)
        return float(np.array(self.weights)[reached].sum())


LEVELS = tuple(level / 10 for level in range(11))
STEEP = Discrete(LEVELS, (0.4, 0.2, 0.1, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02, 0.015, 0.005))
DISTRIBUTIONS = [Continuous(0.3), Continuous(4.0), STEEP]
DISTRIBUTION_NAMES = ["continuous-low", "continuous-high", "discrete"]


def broken_promises(
    seed: int,
    draws: int,
    distribution: Continuous | Discrete,
    n: int,
    choose: Callable[[Scores], float],
    bad: Callable[[float], bool],
) -> int:
    rng = np.random.default_rng(seed)
    return sum(bad(distribution.reach(choose(distribution.draw(rng, n)))) for _ in range(draws))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=DISTRIBUTION_NAMES)
@pytest.mark.parametrize(("n", "rate"), [(59, 0.05), (153, 0.05)])
def test_false_positive_rates_are_kept(distribution: Continuous | Discrete, n: int, rate: float) -> None:
    draws = 3000
    hits = bounds.allowed_hits(n, rate, 1 - RISK)

    def broken(choose: Callable[[Scores], float]) -> int:
        return broken_promises(1, draws, distribution, n, choose, lambda reached: reached > rate)

    count = broken(lambda scores: bounds.threshold_above(scores, hits))
    assert count <= most_broken(draws)
    # As many negatives as the rate allows on average, and one too many.
    assert broken(lambda scores: bounds.threshold_above(scores, int(rate * n))) > most_broken(draws)
    if isinstance(distribution, Continuous):
        assert broken(lambda scores: bounds.threshold_above(scores, hits + 1)) > most_broken(draws)
        # Without ties the risk is used up, but for whole numbers and rounded thresholds.
        assert count > draws * binom.cdf(hits, n, rate) / 2


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=DISTRIBUTION_NAMES)
@pytest.mark.parametrize(("n", "rate"), [(29, 0.9), (50, 0.8)])
def test_recall_is_kept(distribution: Continuous | Discrete, n: int, rate: float) -> None:
    draws = 3000
    misses = n - bounds.required_hits(n, rate, 1 - RISK)

    def broken(choose: Callable[[Scores], float]) -> int:
        return broken_promises(2, draws, distribution, n, choose, lambda reached: reached < rate)

    count = broken(lambda scores: bounds.threshold_below(scores, misses))
    assert count <= most_broken(draws)
    if isinstance(distribution, Continuous):
        assert broken(lambda scores: bounds.threshold_below(scores, int((1 - rate) * n))) > most_broken(draws)
        assert broken(lambda scores: bounds.threshold_below(scores, misses + 1)) > most_broken(draws)
        assert count > draws * binom.cdf(misses, n, 1 - rate) / 2


# Precision -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mixed:
    """Scores of all rows, and the chance of a positive at each level of them (tenths of a score)."""

    scores: Continuous | Discrete
    chances: tuple[float, ...]

    def draw(self, rng: Generator, n: int) -> tuple[Scores, npt.NDArray[np.bool_]]:
        scores = self.scores.draw(rng, n)
        tenths = np.minimum((scores * np.float32(10) + np.float32(1e-3)).astype(int), len(self.chances) - 1)
        return scores, rng.random(n) < np.array(self.chances)[tenths]

    @functools.cache  # noqa: B019
    def precision(self, threshold: float) -> float:
        """Of the texts that reach a threshold the share of positives; 1 if none does."""
        edges = [max(level / 10 - 1e-4, threshold) for level in range(len(self.chances))]
        above = [self.scores.reach(edge) for edge in edges] + [0.0]
        reached = [(lower - upper) for lower, upper in itertools.pairwise(above)]
        return float(np.dot(reached, self.chances) / above[0]) if above[0] > 0 else 1.0


TARGET = 0.8
JUST_WRONG = tuple([TARGET - 1e-6] * 11)
PRECISE = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.85, 0.95, 0.98, 0.99, 1.0)
# The highest scores are mostly wrong, and precision passes the target twice on the way down.
WAVES = (0.0, 0.1, 0.2, 0.95, 0.95, 0.55, 0.55, 0.98, 0.98, 0.98, 0.3)
MIXED = {
    "just wrong everywhere": Mixed(Continuous(1.0), JUST_WRONG),
    "just wrong everywhere, discrete": Mixed(STEEP, JUST_WRONG),
    "precise": Mixed(Continuous(0.6), PRECISE),
    "precise, discrete": Mixed(STEEP, PRECISE),
    "waves": Mixed(Continuous(1.0), WAVES),
    "waves, discrete": Mixed(
        Discrete(LEVELS, (0.2, 0.1, 0.1, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.04, 0.01)), WAVES
    ),
}
Chooser = Callable[[Scores, npt.NDArray[np.bool_]], list[float]]


def split(scores: Scores, positive: npt.NDArray[np.bool_]) -> list[float]:
    """What `calibrate` does: all thresholds that pass."""
    exploring = bounds.explored(len(scores))
    tried = bounds.sequence(scores[exploring], positive[exploring], TARGET)
    return bounds.passing(tried, scores[~exploring], positive[~exploring], TARGET, 1 - RISK)


def same_rows_twice(scores: Scores, positive: npt.NDArray[np.bool_]) -> list[float]:
    """Wrong: the rows that choose the sequence also test it."""
    tried = bounds.sequence(scores, positive, TARGET)
    return bounds.passing(tried, scores, positive, TARGET, 1 - RISK)


def each_alone(scores: Scores, positive: npt.NDArray[np.bool_]) -> list[float]:
    """Wrong: many thresholds are tested, each with the whole risk."""
    tried = np.linspace(0.02, 0.98, 49, dtype=np.float32)
    selected, hits = bounds.reaching(scores, tried), bounds.reaching(scores[positive], tried)
    return [float(t) for t in tried[bounds.tail(hits, selected, TARGET) <= RISK]]


def observed(scores: Scores, positive: npt.NDArray[np.bool_]) -> list[float]:
    """Wrong: the lowest threshold at which the rows have the precision."""
    tried = np.linspace(0.02, 0.98, 49, dtype=np.float32)
    selected, hits = bounds.reaching(scores, tried), bounds.reaching(scores[positive], tried)
    return [float(t) for t in tried[hits >= TARGET * np.maximum(selected, 1)][:1]]


def wrong_and_empty(seed: int, draws: int, mixed: Mixed, n: int, choose: Chooser) -> tuple[int, int]:
    """How often some threshold that passes is wrong, and how often none passes."""
    rng = np.random.default_rng(seed)
    wrong = empty = 0
    for _ in range(draws):
        passed = choose(*mixed.draw(rng, n))
        wrong += any(mixed.precision(threshold) < TARGET for threshold in passed)
        empty += not passed
    return wrong, empty


@pytest.mark.parametrize("name", MIXED)
def test_precision_is_kept(name: str) -> None:
    draws = 1000
    wrong, empty = wrong_and_empty(3, draws, MIXED[name], 500, split)
    assert wrong <= most_broken(draws)
    if name.startswith("precise"):
        assert empty < draws / 2


def test_precision_uses_its_risk() -> None:
    draws = 1000
    wrong, _ = wrong_and_empty(4, draws, MIXED["just wrong everywhere"], 300, split)
    assert wrong > draws * RISK / 3


@pytest.mark.parametrize("choose", [same_rows_twice, each_alone, observed])
def test_wrong_procedures_for_precision_are_caught(choose: Chooser) -> None:
    draws = 1000
    wrong, _ = wrong_and_empty(5, draws, MIXED["just wrong everywhere"], 300, choose)
    assert wrong > most_broken(draws)


# All at once -----------------------------------------------------------------------------------------------


def test_joint_promises_hold_at_once_and_single_ones_need_not() -> None:
    n, risk = 500, 0.1
    limits = {
        "a": Limits(Target("recall", 0.8, 1 - risk), Target("fpr", 0.1, 1 - risk)),
        "b": Limits(Target("recall", 0.7, 1 - risk), Target("fpr", 0.1, 1 - risk)),
        "c": Limits("model", Target("precision", TARGET, 1 - risk)),
    }
    document = PolicyDocument(
        id="simulated",
        version="1.0.0",
        title="Simulated",
        description="",
        categories={name: Category(name, name, limits=found) for name, found in limits.items()},
        audiences={},
        lists={},
        calibration=None,
        sha256="",
    )
    positives, negatives = Continuous(4.0), Continuous(0.3)
    third = Mixed(Continuous(1.0), (0.5,) * 5 + (1.0,) * 6)

    def kept(entry: Calibrated) -> bool:
        threshold = NEVER if entry.value is None else entry.value
        if entry.target.metric == "fpr":
            return negatives.reach(threshold) <= entry.target.value
        if entry.target.metric == "recall":
            return positives.reach(threshold) >= entry.target.value
        return third.precision(threshold) >= entry.target.value

    def broken(draws: int, joint: bool) -> int:
        rng, count = np.random.default_rng(6), 0
        for _ in range(draws):
            labels = (rng.random((n, 3)) < 0.5).astype(np.int8)
            drawn = [
                np.where(labels[:, c] == 1, positives.draw(rng, n), negatives.draw(rng, n)) for c in range(2)
            ]
            scores, labels[:, 2] = third.draw(rng, n)
            found = calibrate(
                document,
                np.stack([*drawn, scores], axis=1),
                labels,
                ("a", "b", "c"),
                "model",
                "0" * 64,
                joint=joint,
            )
            count += not all(map(kept, found.thresholds))
        return count

    assert broken(1000, joint=True) <= most_broken(1000, risk)
    assert broken(300, joint=False) > most_broken(300, risk)
