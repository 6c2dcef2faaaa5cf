"""Figures on rows that neither training nor selection nor calibration saw, from the engine's own logits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..evaluate import Estimate, Operation, category_figures
from ..evaluate.metrics import average_precision
from ..policy.bounds import upper_bound
from .data import UNKNOWN

Floats = npt.NDArray[np.float32]


def evaluate(
    categories: tuple[str, ...],
    probabilities: Floats,
    logits: Floats,
    labels: npt.NDArray[np.int8],
    review: Floats,
    block: Floats,
) -> dict[str, dict[str, Any]]:
    """Per category: counts, ranking (from logits), calibration error, and what the thresholds do.

    Args:
        categories: names of the C columns.
        probabilities: [n, C].
        logits: [n, C].
        labels: int8 [n, C]; unknown labels are left out, category by category.
        review: thresholds [C].
        block: thresholds [C].
    """
    found = category_figures(categories, probabilities, logits, labels, review, block, resamples=0)
    return {
        name: {
            "positives": f.positives,
            "negatives": f.negatives,
            "auroc": _rounded(f.auroc),
            "average_precision": _rounded(f.average_precision),
            "recall_at_1_percent": _rounded(f.recall_at_1_percent),
            "calibration_error": _rounded(f.calibration_error),
            **_shares("review", f.review, f.positives, f.negatives),
            **_shares("block", f.block, f.positives, f.negatives),
        }
        for name, f in found.items()
    }


def benign_flagged(
    probabilities: Floats, labels: npt.NDArray[np.int8], review: Floats, block: Floats, confidence: float
) -> Mapping[str, Any]:
    """How many texts that are 0 in every category get flagged in any, or blocked, with upper bounds."""
    benign = probabilities[(labels == 0).all(axis=1)]
    flagged = int((benign >= review).any(axis=1).sum())
    blocked = int((benign >= block).any(axis=1).sum())
    return {
        "texts": len(benign),
        "flagged": flagged,
        "flagged_bound": rounded(upper_bound(flagged, len(benign), confidence)),
        "blocked": blocked,
        "blocked_bound": rounded(upper_bound(blocked, len(benign), confidence)),
        "confidence": confidence,
    }


def mean_precision_by_depth(logits: Floats, labels: npt.NDArray[np.int8]) -> list[float | None]:
    """Mean average precision over the categories, by depth, of logits [depths, n, C]."""
    result = []
    for at_depth in logits:
        found = [
            average_precision(at_depth[known, c], labels[known, c])
            for c, known in enumerate((labels != UNKNOWN).T)
        ]
        result.append(rounded(float(np.nanmean(found))))
    return result


def rounded(value: float) -> float | None:
    """Four significant digits; None for NaN, which JSON lacks."""
    return None if math.isnan(value) else float(f"{value:.4g}")


def _rounded(estimate: Estimate) -> float | None:
    return None if estimate.value is None else rounded(estimate.value)


def _shares(
    action: str, operation: Operation | None, positives: int, negatives: int
) -> dict[str, float | None]:
    if operation is None:  # a threshold that no probability reaches
        return {f"{action}_recall": 0.0 if positives else None, f"{action}_rate": 0.0 if negatives else None}
    return {f"{action}_recall": _rounded(operation.recall), f"{action}_rate": _rounded(operation.rate)}
