"""What a calibrated threshold promises, in words and numbers, in JSON types (docs/calibrate.md)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any, Final

import numpy as np

from .._modelfile import NEVER
from ..evaluate.figures import Estimate
from .bounds import Bools, Scores, lower_bound, upper_bound
from .document import Metric

_RULES: Final[dict[Metric, str]] = {
    "fpr": "of texts that are not {category}, at most the share `bound` reaches the threshold",
    "recall": "of texts that are {category}, at least the share `bound` reaches the threshold",
    "precision": "of texts that reach the threshold, at least the share `bound` is {category}",
}
_CONDITION: Final = ", with probability `confidence` over the drawing of the rows, for texts drawn like them"
_JOINT: Final = "; so do all `joint` promises of the file at once, with probability `joint_confidence`"


def rule(metric: Metric, category: str, joint: bool) -> str:
    """The promise in words."""
    return _RULES[metric].format(category=f"'{category}'") + _CONDITION + (_JOINT if joint else "")


def rounded_bound(bound: float, metric: Metric) -> float:
    """Four digits, rounded so that the promise is not made stronger."""
    rounding = ROUND_CEILING if metric == "fpr" else ROUND_FLOOR
    return float(Context(prec=4, rounding=rounding).create_decimal_from_float(bound))


@dataclass(frozen=True)
class Counts:
    """What a threshold does to labelled rows."""

    negatives: int
    positives: int
    false_positives: int
    true_positives: int

    @classmethod
    def of(cls, scores: Scores, positive: Bools, threshold: float) -> Counts:
        """Counts rows, comparing as the engine does: in single precision."""
        reached = scores >= np.float32(threshold)
        hits, positives = int((reached & positive).sum()), int(positive.sum())
        return cls(len(scores) - positives, positives, int(reached.sum()) - hits, hits)

    @property
    def selected(self) -> int:
        """Rows that reach the threshold."""
        return self.false_positives + self.true_positives

    def hits(self, metric: Metric) -> tuple[int, int]:
        """Hits, and of how many, of the rate by that name."""
        return {
            "fpr": (self.false_positives, self.negatives),
            "recall": (self.true_positives, self.positives),
            "precision": (self.true_positives, self.selected),
        }[metric]

    def rate(self, metric: Metric) -> Estimate:
        """The rate with its exact 95 % interval."""
        hits, n = self.hits(metric)
        if n == 0:
            return Estimate(None, hits=0, of=0)
        return Estimate(hits / n, lower_bound(hits, n, 0.975), upper_bound(hits, n, 0.975), hits, n)

    def rates(self) -> dict[str, Any]:
        """Those rates that the rows show anything of, in JSON types."""
        metrics: tuple[Metric, ...] = ("fpr", "recall", "precision")
        return {metric: _json(self.rate(metric)) for metric in metrics if self.hits(metric)[1]}


def threshold_keys(value: float) -> dict[str, Any]:
    """How a statement says its threshold."""
    return {"never": True} if value >= NEVER else {"threshold": value}


def _json(e: Estimate) -> dict[str, Any]:
    numbers = {"value": e.value, "low": e.low, "high": e.high}
    return {name: float(f"{value:.4g}") for name, value in numbers.items()} | {"hits": e.hits, "of": e.of}
