"""Bounds on false-positive rates, with a stated confidence.

The rule is distribution-free. Of n held-back negatives, x may lie at or above the threshold, where x is the
largest count whose exact one-sided upper bound (Clopper and Pearson 1934) is at most the target rate; x
depends on n alone. The threshold is put just above the (x + 1)-th highest negative. That this order statistic
is chosen by looking at the scores does not weaken the bound: the share of all negatives above it follows a
beta distribution whose quantile is the same bound (Wilks 1941, tolerance limits). It holds for texts drawn
like the negatives it was computed on, and for no others.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv

from .._modelfile import NEVER


def upper_bound(hits: int, n: int, confidence: float) -> float:
    """Exact one-sided upper confidence bound (Clopper-Pearson) on a rate, after `hits` of `n`."""
    return 1.0 if hits >= n else float(betaincinv(hits + 1, n - hits, confidence))


def allowed_hits(n: int, rate: float, confidence: float) -> int:
    """The most hits of n whose upper bound is at most `rate`; -1 if even none is too many."""
    low, high = -1, n  # upper_bound(low) <= rate < upper_bound(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if upper_bound(middle, n, confidence) <= rate else (low, middle)
    return low


def needed_negatives(rate: float, confidence: float) -> int:
    """The fewest negatives with which a target rate can be promised at all."""
    return int(np.ceil(np.log1p(-confidence) / np.log1p(-rate)))


def just_above(probability: float) -> float:
    """A number just above `probability` in single precision; NEVER if there is none up to 1.

    It has three significant digits, or its distance from 1 has.
    """
    distance = min(probability, 1 - probability)
    step = 10.0 ** (np.floor(np.log10(distance)) - 2) if distance > 1e-6 else 1e-9
    value = round(float(np.floor(probability / step) + 1) * step, 9)
    while np.float32(value) <= np.float32(probability):
        value = round(value + step, 9)
    return value if value <= 1 else NEVER
