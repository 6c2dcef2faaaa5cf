"""The interval of the calibration error.

The error is a sum of absolute values, which noise can only raise, and resampling adds the noise once more:
of a perfectly calibrated score, no percentile interval of resampled errors holds the truth, 0. So the
question is turned round, as in the inversion of a test: which true errors make the one observed neither
surprisingly large nor surprisingly small? The true gaps of the bins are taken to be the observed ones times
a factor, from 0 on. Around them gaps are drawn with the noise of their bins, and the shares of rows that
meet small and large gaps with theirs (a parametric bootstrap; Student's t, as spreads are estimated).
tests/python/test_evaluate_coverage.py measures how often the interval holds the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from .bootstrap import CONFIDENCE
from .metrics import BINS, Floats, Labels, equal_mass_bins

_HALVINGS: Final = 30


def calibration_interval(
    probabilities: Floats,
    labels: Labels,
    resamples: int,
    random: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Interval of `metrics.calibration_error`.

    Args:
        probabilities: [n].
        labels: 1 or 0 [n], n at least 1.
        resamples: of the gaps, at least 1.
        random: the stream to draw from.
        confidence: two-sided, in (0, 1).
    """
    place, n = equal_mass_bins(probabilities), len(labels)
    gap = probabilities.astype(np.float64) - labels
    rows = np.maximum(np.bincount(place, minlength=BINS), 1)
    gaps = np.bincount(place, weights=gap, minlength=BINS) / rows
    share = np.bincount(place, minlength=BINS) / n
    variance = np.bincount(place, weights=gap**2, minlength=BINS) / rows - gaps**2
    freedom = np.maximum(rows - 1, 2)
    spread = share * np.sqrt(np.maximum(variance, 0) / freedom)
    observed = float((share * np.abs(gaps)).sum())
    if observed == 0:
        return 0.0, 0.0
    between = np.sqrt(max(float((share * gaps**2).sum()) - observed**2, 0) / n)
    noise = random.standard_t(freedom, (resamples, BINS)) * spread
    mixture = random.standard_normal(resamples) * between
    tail = (1 - confidence) / 2

    def drawn(factor: float) -> Floats:
        errors: Floats = np.abs(noise + factor * share * gaps).sum(axis=1) + factor * mixture
        return errors

    # From there on no draw is as small as what was observed, whatever the noise.
    most = 2 + 4 * np.sqrt(BINS) * (spread.sum() + between) / observed
    low = _first(lambda factor: (drawn(factor) >= observed).mean() >= tail, most)
    high = _first(lambda factor: (drawn(factor) <= observed).mean() < tail, most)
    return float(low * observed), float(high * observed)


def _first(holds: Callable[[float], np.bool_], most: float) -> float:
    """The factor from which on a condition holds, that goes on holding once it does."""
    if holds(0.0):
        return 0.0
    low, high = 0.0, most
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
