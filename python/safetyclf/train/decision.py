"""From logits to decisions: calibration curves, and thresholds that keep a false-positive rate.

The promise is about harmless texts as a whole: all categories together flag at most the target share of them.
How that budget is dealt out is decided on the selection rows: beyond a high quantile the logits of harmless
texts fall off about exponentially (peaks over threshold, Pickands 1975), so that each category's excess over
its quantile, divided by its mean excess, is on one scale. A text's score is the largest of its categories;
its threshold is then an order statistic of the calibration rows, which were not used for the scale: the bound
is exact (`thresholds`). Each category gets about the same share of false alarms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._modelfile import NEVER
from .calibration import Curve, fit_curve
from .config import TrainingConfig
from .data import UNKNOWN
from .evaluation import rounded
from .thresholds import allowed_hits, just_above, needed_negatives, upper_bound

Floats = npt.NDArray[np.float32]
TAIL_SHARE = 0.02  # of the harmless selection rows, per category: what its scale is measured on


@dataclass(frozen=True)
class Scored:
    """Logits float32 [n, C] of the engine, and labels int8 [n, C]."""

    logits: Floats
    labels: npt.NDArray[np.int8]

    def harmless(self) -> Floats:
        """Logits of the texts that are 0 in every category."""
        rows: Floats = self.logits[(self.labels == 0).all(axis=1)]
        return rows


@dataclass(frozen=True)
class Decision:
    """Curves and thresholds [C]; statements by category; calibration errors by category and method."""

    curves: list[Curve]
    review: Floats
    block: Floats
    statements: dict[str, dict[str, Any]]
    calibration_errors: dict[str, dict[str, float | None]]


def decide(config: TrainingConfig, selection: Scored, calibration: Scored, data_sha256: str) -> Decision:
    """Fits the curves and chooses the thresholds."""
    curves: list[Curve] = []
    errors: dict[str, dict[str, float | None]] = {}
    for c, name in enumerate(config.scored):
        known = calibration.labels[:, c] != UNKNOWN
        curve, tried = fit_curve(
            calibration.logits[known, c], calibration.labels[known, c], config.calibration
        )
        curves.append(curve)
        errors[name] = {method: rounded(value) for method, value in tried.items()}

    limits = config.thresholds
    scale = TailScale.of(selection.harmless())
    harmless = calibration.harmless()
    highest = np.sort(scale(harmless).max(axis=1))[::-1]
    probabilities = np.stack([curve(harmless[:, c]) for c, curve in enumerate(curves)], axis=1)
    chosen: dict[str, tuple[Floats, float]] = {}
    for action, rate in (("review", limits.review_rate), ("block", limits.block_rate)):
        hits = allowed_hits(len(harmless), rate, limits.confidence)
        bound = upper_bound(max(hits, 0), len(harmless), limits.confidence)
        if hits < 0:
            chosen[action] = np.full(len(curves), NEVER, np.float32), bound
        else:
            logits = scale.inverse(float(highest[hits]))
            chosen[action] = _probabilities_above(curves, logits), bound
    chosen["block"] = np.maximum(chosen["block"][0], chosen["review"][0]), chosen["block"][1]

    statements: dict[str, dict[str, Any]] = {}
    for c, name in enumerate(config.scored):
        labels, p = calibration.labels[:, c], curves[c](calibration.logits[:, c])
        statement: dict[str, Any] = {
            "rule": "of texts that are harmless in every category, all categories together flag at most the "
            "share `bound`, with probability `confidence` (exact, one-sided)",
            "set": "calibration rows of the training data",
            "data_sha256": data_sha256,
            "negatives": len(harmless),
            "positives": int((labels == 1).sum()),
            "confidence": limits.confidence,
        }
        for action, rate in (("review", limits.review_rate), ("block", limits.block_rate)):
            thresholds, bound = chosen[action]
            flagged = p >= thresholds[c]
            statement[action] = {
                "target": rate,
                "bound": rounded(bound),
                "threshold": float(f"{thresholds[c]:.9g}"),
                "false_positives": int((probabilities[:, c] >= thresholds[c]).sum()),
                "false_positives_of_all_categories": int((probabilities >= thresholds).any(axis=1).sum()),
                "recall": rounded(float(flagged[labels == 1].mean())),
                "rate_on_all_negatives": rounded(float(flagged[labels == 0].mean())),
            }
            if thresholds[c] >= NEVER:
                needed = needed_negatives(rate, limits.confidence)
                statement[action]["never"] = (
                    f"needs {needed} harmless texts"
                    if len(harmless) < needed
                    else "no logit seen was high enough"
                )
        statements[name] = statement
    return Decision(curves, chosen["review"][0], chosen["block"][0], statements, errors)


@dataclass(frozen=True)
class TailScale:
    """Per category a quantile of harmless texts' logits and their mean excess over it, float64 [C]."""

    quantile: npt.NDArray[np.float64]
    excess: npt.NDArray[np.float64]

    @classmethod
    def of(cls, logits: Floats) -> TailScale:
        """The scale of logits [n, C], at least one row."""
        count = max(1, round(len(logits) * TAIL_SHARE))
        highest = np.sort(logits.astype(np.float64), axis=0)[::-1][: count + 1]
        quantile = highest[-1]
        # The floor keeps a category whose highest logits are all equal from taking the whole budget.
        return cls(quantile, np.maximum((highest[:-1] - quantile).mean(axis=0), 0.05))

    def __call__(self, logits: Floats) -> npt.NDArray[np.float64]:
        """Excess over the quantile in units of its mean, float64 [n, C]."""
        scaled: npt.NDArray[np.float64] = (logits.astype(np.float64) - self.quantile) / self.excess
        return scaled

    def inverse(self, score: float) -> Floats:
        """The logits float32 [C] of a score."""
        return (self.quantile + score * self.excess).astype(np.float32)


def _probabilities_above(curves: Sequence[Curve], logits: Floats) -> Floats:
    """Thresholds on probabilities just above those of `logits` [C]; NEVER beyond the end of a curve."""
    found = [
        NEVER if logit >= curve.logit[-1] else just_above(float(curve(np.array([logit]))[0]))
        for curve, logit in zip(curves, logits, strict=True)
    ]
    return np.array(found, np.float32)
