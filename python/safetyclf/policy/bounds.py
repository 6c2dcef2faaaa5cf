"""Thresholds that keep a promise about a rate, with a stated confidence.

All bounds are exact and distribution-free (Clopper and Pearson 1934). They hold for texts drawn like the rows
they were computed on, and for no others.

**False-positive rate, recall: order statistics.** Of n negatives, x may lie at or above the threshold, where
x is the largest count whose upper bound is at most the target rate; x depends on n alone. The threshold is
put just above the (x + 1)-th highest negative. That this order statistic is chosen by looking at the scores
does not weaken the bound: the share of all negatives above it follows a beta distribution whose quantile is
the same bound (Wilks 1941, tolerance limits); equal scores only lower it. Recall is the same seen from below:
the threshold is not above the (m + 1)-th lowest positive, where m misses are the most that n positives allow.

**Precision: Learn then Test** (Angelopoulos, Bates, Candes, Jordan and Lei 2021), with split fixed-sequence
testing. Neither the threshold nor the number of rows that reach it is fixed in advance, so no order statistic
helps. A part of the rows, drawn without a look at them, is used up to choose a sequence of thresholds, from
strict to lenient. The others test one after another: at a threshold fixed before, and given that N of them
reach it, the positives among these are binomial, so that the tail of Bin(N, target) is a valid p-value for
each N, and hence for a random one. The first that does not pass ends the sequence. For a wrong threshold to
pass, the first wrong one in the sequence must pass, and that one was fixed before: so all that pass are right
at once, with the stated confidence, however precision rises and falls between them.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc, betaincinv

from .._modelfile import NEVER

Scores = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
_EXPLORED = 64  # of 256 rows, how many choose the sequence of a precision target
_STEPS = 64  # thresholds in such a sequence, at most


def upper_bound(hits: int, n: int, confidence: float) -> float:
    """Exact one-sided upper confidence bound (Clopper-Pearson) on a rate, after `hits` of `n`."""
    return 1.0 if hits >= n else float(betaincinv(hits + 1, n - hits, confidence))


def lower_bound(hits: int, n: int, confidence: float) -> float:
    """Exact one-sided lower confidence bound (Clopper-Pearson) on a rate, after `hits` of `n`."""
    return 0.0 if hits <= 0 else float(betaincinv(hits, n - hits + 1, 1 - confidence))


def allowed_hits(n: int, rate: float, confidence: float) -> int:
    """The most hits of n whose upper bound is at most `rate`; -1 if even none is too many."""
    low, high = -1, n  # upper_bound(low) <= rate < upper_bound(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if upper_bound(middle, n, confidence) <= rate else (low, middle)
    return low


def required_hits(n: int, rate: float, confidence: float) -> int:
    """The fewest hits of n whose lower bound is at least `rate`; n + 1 if even n are too few."""
    low, high = 0, n + 1  # lower_bound(low) < rate <= lower_bound(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lower_bound(middle, n, confidence) >= rate else (middle, high)
    return high


def needed_negatives(rate: float, confidence: float) -> int:
    """The fewest negatives with which a target rate can be promised at all."""
    return int(np.ceil(np.log1p(-confidence) / np.log1p(-rate)))


def needed_positives(rate: float, confidence: float) -> int:
    """The fewest rows, all of them hits, with which a least rate (recall, precision) can be promised."""
    return int(np.ceil(np.log1p(-confidence) / np.log(rate)))


def tail(hits: Any, n: Any, rate: float) -> Any:
    """How probable so many hits of n, or more, are at a true rate; numbers or arrays."""
    return np.where(np.asarray(hits) <= 0, 1.0, bdtrc(np.maximum(hits, 1) - 1.0, n, rate))


def just_above(probability: float) -> float:
    """A number just above `probability` in single precision; NEVER if there is none up to 1.

    It has three significant digits, or its distance from 1 has.
    """
    step = _step(probability)
    value = round(float(np.floor(probability / step) + 1) * step, 9)
    while np.float32(value) <= np.float32(probability):
        value = round(value + step, 9)
    return value if value <= 1 else NEVER


def at_most(probability: float) -> float:
    """A number that `probability` reaches, and hardly less, in single precision; with digits as above."""
    step = _step(probability)
    value = min(round(float(np.floor(probability / step) + 1) * step, 9), 1.0)
    while np.float32(value) > np.float32(probability):
        value = max(round(value - step, 9), 0.0)
    return value


def _step(probability: float) -> float:
    distance = min(probability, 1 - probability)
    return float(10.0 ** (np.floor(np.log10(distance)) - 2)) if distance > 1e-6 else 1e-9


def threshold_above(negatives: Scores, hits: int) -> float:
    """The threshold that at most `hits` of the negatives reach; NEVER if only that will do."""
    return just_above(float(np.sort(negatives)[::-1][hits]))


def threshold_below(positives: Scores, misses: int) -> float:
    """The threshold that all but at most `misses` of the positives reach."""
    return at_most(float(np.sort(positives)[misses]))


def explored(n: int) -> Bools:
    """Which of n rows choose the sequence of thresholds: a quarter of them, the same for equal n.

    Drawn, because the rows of a file may be laid out in a pattern.
    """
    drawn = np.frombuffer(hashlib.shake_256(b"safetyclf calibrate").digest(n), np.uint8)
    return drawn < _EXPLORED


def sequence(scores: Scores, positive: Bools, rate: float) -> list[float]:
    """Thresholds to test for precision, from strict to lenient; none without rows.

    The first is where the rows speak most clearly for the target: where the positives exceed what the target
    asks for by most standard deviations. Each next one lets about a twentieth more rows through.
    """
    if not len(scores):
        return []
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(positive[order])
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # equal scores together
    evidence = (hits[ends] - rate * (ends + 1)) / np.sqrt(ends + 1.0)
    first = ends[np.argmax(evidence)]
    ranks = np.unique(np.geomspace(first + 1, len(scores), _STEPS).astype(int)) - 1
    return sorted({at_most(float(score)) for score in ordered[ranks]}, reverse=True)


def passing(
    thresholds: list[float], scores: Scores, positive: Bools, rate: float, confidence: float
) -> list[float]:
    """Those of a sequence, from its start, whose precision is at least `rate`.

    All of them at once are right with the confidence. The sequence must not depend on these rows.
    """
    if not thresholds:
        return []
    limits = np.array(thresholds, np.float32)
    selected, hits = reaching(scores, limits), reaching(scores[positive], limits)
    failed = tail(hits, selected, rate) > 1 - confidence
    return thresholds[: int(np.argmax(failed)) if failed.any() else len(thresholds)]


def reaching(scores: Scores, thresholds: Scores) -> npt.NDArray[np.int64]:
    """How many scores reach each threshold, compared as the engine does: in single precision."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")
