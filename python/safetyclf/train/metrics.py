"""Measures of ranking and calibration for one category.

Labels are 1 or 0; the caller leaves out rows of unknown label. A measure that the rows cannot support (no
positives or no negatives) is NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]


def auroc(scores: Floats, labels: Labels) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in order, ties counted half."""
    positive, positives, negatives = _sides(labels)
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2  # mean rank of each distinct score, from 1
    return float((rank[inverse][positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(scores: Floats, labels: Labels) -> float:
    """Area under the precision-recall curve as a step function, equal scores taken together."""
    _, positives, negatives = _sides(labels)
    if not positives or not negatives:
        return float("nan")
    true, false = _cumulative(scores, labels)
    gained = np.diff(np.concatenate([[0], true]))
    return float((gained * (true / (true + false))).sum() / positives)


def recall_at_rate(scores: Floats, labels: Labels, rate: float) -> float:
    """Highest recall of a threshold that at most the share `rate` of the negatives reaches."""
    _, positives, negatives = _sides(labels)
    if not positives or not negatives:
        return float("nan")
    true, false = _cumulative(scores, labels)
    allowed = true[false <= rate * negatives]
    return float(allowed[-1] / positives) if len(allowed) else 0.0


def calibration_error(probabilities: Floats, labels: Labels, bins: int = 15) -> float:
    """Expected calibration error: mean distance of confidence and frequency over bins of equal width."""
    if not len(labels):
        return float("nan")
    place = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    expected = np.bincount(place, weights=probabilities, minlength=bins)
    observed = np.bincount(place, weights=labels, minlength=bins)
    return float(np.abs(expected - observed).sum() / len(labels))


def _sides(labels: Labels) -> tuple[npt.NDArray[np.bool_], int, int]:
    positive = labels == 1
    return positive, int(positive.sum()), int((~positive).sum())


def _cumulative(scores: Floats, labels: Labels) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """True and false positives at or above each distinct score, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # last row of each distinct score
    true = np.cumsum(labels[order] == 1)[last]
    return true, last + 1 - true
