"""From logits to decisions: calibration curves, and thresholds that keep a false-positive rate.

The promises are about harmless texts as a whole: all categories together flag at most the target share.
How that budget is dealt out is decided on the selection rows: Platt's sigmoid makes logits of different
categories comparable, and a text's score is the largest, over categories, of the log-odds of its
probability minus those of the mean probability of the category's positives. So a category whose harmful
texts are hard to tell gets a lower threshold than one whose are plain. The threshold is then an order
statistic of the calibration rows, which were not used for that, and the bound is exact (`thresholds`).

Sentences that only name a group of people get the promise of ordinary text. They are made of frames that no
training sees. Categories that flag more than a few of a first sample have their thresholds raised until the
promise holds on a second one; the others stay as they are (docs/decisions/0009).

Derived categories repeat what others say. They are scored and calibrated, but decide nothing: their
thresholds are "never" until a user sets some (docs/decisions/0007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from .._modelfile import NEVER
from ..policy.bounds import allowed_hits, just_above, upper_bound
from .calibration import Curve, fit_curve, platt
from .config import TrainingConfig
from .data import UNKNOWN
from .evaluation import rounded

Floats = npt.NDArray[np.float32]
ACTIONS = ("review", "block")
_SMALL_PART = 0.05  # of the sentences that may be flagged: who flags no more keeps its threshold


@dataclass(frozen=True)
class Scored:
    """Logits float32 [n, C] of the engine, labels int8 [n, C], and bool [n]: what is ordinary text."""

    logits: Floats
    labels: npt.NDArray[np.int8]
    ordinary: npt.NDArray[np.bool_]

    def harmless(self) -> npt.NDArray[np.bool_]:
        """Which texts are 0 in every category [n]."""
        rows: npt.NDArray[np.bool_] = (self.labels == 0).all(axis=1)
        return rows


@dataclass(frozen=True)
class Decision:
    """Curves and thresholds [C]; statements by category; calibration errors by category and method."""

    curves: list[Curve]
    review: Floats
    block: Floats
    statements: dict[str, dict[str, Any]]
    calibration_errors: dict[str, dict[str, float | None]]


def decide(
    config: TrainingConfig,
    selection: Scored,
    calibration: Scored,
    data_sha256: str,
    naming: tuple[Floats, Floats] | None = None,
) -> Decision:
    """Fits the curves and chooses the thresholds.

    Args:
        config: of the run.
        selection: rows that decide how the budget of false alarms is dealt out.
        calibration: rows that curves and thresholds are fitted to.
        data_sha256: for the statements.
        naming: logits [n, C] of two samples of harmless sentences that name a group of people.
    """
    curves: list[Curve] = []
    errors: dict[str, dict[str, float | None]] = {}
    for c, name in enumerate(config.scored):
        known = calibration.labels[:, c] != UNKNOWN
        curve, tried = fit_curve(
            calibration.logits[known, c], calibration.labels[known, c], config.calibration
        )
        curves.append(curve)
        errors[name] = {method: rounded(value) for method, value in tried.items()}

    promises = _promises(config, calibration)
    scale = Scale.of(selection)
    decides = np.array([name not in config.derived for name in config.scored])
    highest = scale(calibration.logits)[:, decides].max(axis=1)
    chosen = {}
    for action in ACTIONS:
        needed = [_limit(highest, promise) for promise in promises[action]]
        above = _probabilities_above(curves, scale.inverse(max(needed)))
        chosen[action] = np.where(decides, above, np.float32(NEVER))
        if naming is not None:
            hits = allowed_hits(len(naming[1]), promises[action][0].rate, config.thresholds.confidence)
            chosen[action] = _spared(chosen[action], curves, scale, naming, hits)
    chosen["block"] = np.maximum(chosen["block"], chosen["review"])
    probabilities = _calibrated(curves, calibration.logits)

    statements: dict[str, dict[str, Any]] = {}
    for c, name in enumerate(config.scored):
        labels = calibration.labels[:, c]
        statement: dict[str, Any] = {
            "rule": "of texts that are harmless in every category, all categories together flag at most the "
            "share `bound`, with probability `confidence` (exact, one-sided)",
            "set": f"{promises['review'][0].name} among the calibration rows",
            "data_sha256": data_sha256,
            "negatives": int(promises["review"][0].rows.sum()),
            "positives": int((labels == 1).sum()),
            "confidence": config.thresholds.confidence,
        }
        for action in ACTIONS:
            thresholds, first = chosen[action], promises[action][0]
            flagged = probabilities >= thresholds
            statement[action] = {
                "target": first.rate,
                "bound": rounded(first.bound),
                "threshold": float(f"{thresholds[c]:.9g}"),
                "false_positives": int(flagged[first.rows, c].sum()),
                "false_positives_of_all_categories": int(flagged[first.rows].any(axis=1).sum()),
                "recall": rounded(float(flagged[labels == 1, c].mean())),
                "rate_on_all_negatives": rounded(float(flagged[labels == 0, c].mean())),
                "promises": [
                    {
                        "set": promise.name,
                        "texts": int(promise.rows.sum()),
                        "target": promise.rate,
                        "bound": rounded(promise.bound),
                        "flagged": int(flagged[promise.rows].any(axis=1).sum()),
                    }
                    for promise in promises[action]
                ],
            }
            if naming is not None:
                statement[action]["promises"].append(
                    _naming_promise(config, first.rate, _calibrated(curves, naming[1]) >= thresholds)
                )
            if thresholds[c] >= NEVER:
                statement[action]["never"] = _why_never(promises[action], bool(decides[c]))
        statements[name] = statement
    return Decision(curves, chosen["review"], chosen["block"], statements, errors)


def _calibrated(curves: Sequence[Curve], logits: Floats) -> Floats:
    return np.stack([curve(logits[:, c]) for c, curve in enumerate(curves)], axis=1)


def _spared(
    thresholds: Floats, curves: Sequence[Curve], scale: Scale, naming: tuple[Floats, Floats], hits: int
) -> Floats:
    """Thresholds that flag at most `hits` of the second sample, raised where the first one needs it."""
    first, second = (_calibrated(curves, logits) >= thresholds for logits in naming)
    raised = first.sum(axis=0) > _SMALL_PART * max(hits, 0)
    if hits < 0 or not raised.any():
        return np.where(raised, np.float32(NEVER), thresholds)
    highest = scale(naming[1])[:, raised].max(axis=1)
    highest[second[:, ~raised].any(axis=1)] = np.inf  # flagged in any case
    limit = float(np.sort(highest)[::-1][hits])
    return np.where(
        raised, np.maximum(thresholds, _probabilities_above(curves, scale.inverse(limit))), thresholds
    )


def _naming_promise(config: TrainingConfig, rate: float, flagged: npt.NDArray[np.bool_]) -> dict[str, Any]:
    n, confidence = len(flagged), config.thresholds.confidence
    return {
        "set": "made harmless sentences that name a group of people, of frames never trained on",
        "texts": n,
        "target": rate,
        "bound": rounded(upper_bound(max(allowed_hits(n, rate, confidence), 0), n, confidence)),
        "flagged": int(flagged.any(axis=1).sum()),
    }


def _why_never(promises: Sequence[_Promise], decides: bool) -> str:
    if not decides:
        return "derived from other categories: scored, not decided on"
    few = any(promise.hits < 0 for promise in promises)
    return "needs more harmless texts" if few else "no logit seen was high enough"


@dataclass(frozen=True)
class _Promise:
    """At most `rate` of texts like `rows` (bool [n]) is flagged: `hits` of them, -1 for too few rows."""

    name: str
    rows: npt.NDArray[np.bool_]
    rate: float
    hits: int
    bound: float


def _promises(config: TrainingConfig, calibration: Scored) -> dict[str, list[_Promise]]:
    """By action, for ordinary text first if there is any, then for all harmless text."""
    limits, harmless = config.thresholds, calibration.harmless()
    rates = {"review": (limits.review_rate, limits.hard_review_rate)}
    rates["block"] = (limits.block_rate, limits.hard_block_rate)
    result: dict[str, list[_Promise]] = {}
    for action, (rate, hard_rate) in rates.items():
        sets = [("harmless texts", harmless, rate)]
        if limits.ordinary:
            ordinary = ("harmless ordinary texts", harmless & calibration.ordinary, rate)
            sets = [ordinary, ("harmless texts of all kinds, look-alikes included", harmless, hard_rate)]
        result[action] = []
        for name, rows, target in sets:
            n = int(rows.sum())
            hits = allowed_hits(n, target, limits.confidence)
            bound = upper_bound(max(hits, 0), n, limits.confidence)
            result[action].append(_Promise(name, rows, target, hits, bound))
    return result


def _limit(highest: npt.NDArray[np.float64], promise: _Promise) -> float:
    """The score that a text must pass to be flagged; infinite if there are too few rows to promise."""
    if promise.hits < 0:
        return float("inf")
    return float(np.sort(highest[promise.rows])[::-1][promise.hits])


@dataclass(frozen=True)
class Scale:
    """Per category the logit of score 0, and the logits that make a difference of 1; float64 [C]."""

    zero: npt.NDArray[np.float64]
    unit: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rows: Scored) -> Scale:
        """The scale that selection rows give; each category needs both labels among them."""
        zero, unit = [], []
        for x, labels in zip(rows.logits.T.astype(np.float64), rows.labels.T, strict=True):
            known = labels != UNKNOWN
            slope, intercept = platt(x[known], labels[known])
            typical = float(expit(slope * x[labels == 1] + intercept).mean())
            zero.append((logit(typical) - intercept) / slope)
            unit.append(1 / slope)
        return cls(np.array(zero), np.array(unit))

    def __call__(self, logits: Floats) -> npt.NDArray[np.float64]:
        """Scores float64 [n, C] of logits [n, C]."""
        scores: npt.NDArray[np.float64] = (logits.astype(np.float64) - self.zero) / self.unit
        return scores

    def inverse(self, score: float) -> Floats:
        """The logits float32 [C] of a score, rounded up."""
        exact = self.zero + score * self.unit
        rounded_to = exact.astype(np.float32)
        up = np.nextafter(rounded_to, np.float32(np.inf))
        return np.where(rounded_to < exact, up, rounded_to).astype(np.float32)


def _probabilities_above(curves: Sequence[Curve], logits: Floats) -> Floats:
    """Thresholds on probabilities just above those of `logits` [C]; NEVER beyond the end of a curve."""
    found = [
        NEVER if x >= curve.logit[-1] else just_above(float(curve(np.array([x]))[0]))
        for curve, x in zip(curves, logits, strict=True)
    ]
    return np.array(found, np.float32)
