"""Figures on rows that neither training nor selection nor calibration saw, from the engine's own logits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from . import metrics
from .data import UNKNOWN
from .thresholds import upper_bound

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
    result: dict[str, dict[str, Any]] = {}
    for c, name in enumerate(categories):
        known = labels[:, c] != UNKNOWN
        x, p, y = logits[known, c], probabilities[known, c], labels[known, c]
        positive = y == 1
        figures: dict[str, Any] = {"positives": int(positive.sum()), "negatives": int((~positive).sum())}
        measures = {
            "auroc": metrics.auroc(x, y),
            "average_precision": metrics.average_precision(x, y),
            "recall_at_1_percent": metrics.recall_at_rate(x, y, 0.01),
            "calibration_error": metrics.calibration_error(p, y),
            "review_recall": _share(p[positive] >= review[c]),
            "review_rate": _share(p[~positive] >= review[c]),
            "block_recall": _share(p[positive] >= block[c]),
            "block_rate": _share(p[~positive] >= block[c]),
        }
        result[name] = figures | {key: rounded(value) for key, value in measures.items()}
    return result


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


def rounded(value: float) -> float | None:
    """Four significant digits; None for NaN, which JSON lacks."""
    return None if math.isnan(value) else float(f"{value:.4g}")


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else float("nan")
