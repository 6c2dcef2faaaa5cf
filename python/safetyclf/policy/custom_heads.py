"""Linear heads for categories that no network was trained on, from a handful of examples.

Logistic regression on the pooled vectors of an earlier layer: positives against negatives and background,
each of the three a third of the weight, on features standardised by the background. Layer, strength and
weights were fixed on selection rows (docs/custom-categories.md); few examples cannot choose them.

Cross-validation says what to expect: each example is scored by heads that were fitted without it. Platt's
sigmoid on these scores is folded into the head, so that its logit is a log-odds. Thresholds rest on
background texts that no head was fitted to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from .._modelfile import NEVER
from ..evaluate.bootstrap import Ranking, generator, percentile_interval, resample
from ..evaluate.metrics import average_precision
from ..train.calibration import Curve
from .background import Background, Pooled
from .bounds import allowed_hits, at_most, just_above, lower_bound, upper_bound

L2: Final = 0.1
MIN_POSITIVES: Final = 5
FEW: Final = 10  # positives below which recall and precision are not stated
FOLDS: Final = 5
REPEATS: Final = 4
REVIEW_RATE: Final = 0.01
BLOCK_RATE: Final = 0.0025
CONFIDENCE: Final = 0.95
_RESAMPLES: Final = 1000
_MARGIN: Final = 4.0  # deviations of the bank's rounding by which a threshold is raised
_ALIKE: Final = 0.05  # a larger share of the background above the median positive is suspicious
_STEEPEST: Final = 1e3

Floats = npt.NDArray[np.float64]

# Log-odds to probability. The head's logit is a log-odds, so all custom columns share the curve.
_KNOTS: Final = np.linspace(-12, 12, 97).astype(np.float32)
SIGMOID: Final = Curve("sigmoid", _KNOTS, expit(_KNOTS.astype(np.float64)).astype(np.float32))


@dataclass(frozen=True)
class Head:
    """weight float32 [hidden], bias: logit = weight . pooled + bias."""

    weight: npt.NDArray[np.float32]
    bias: float

    def logits(self, texts: Pooled) -> Floats:
        """Log-odds of each text [n]."""
        return texts.logits(self.weight, self.bias)


@dataclass(frozen=True)
class Fitted:
    """A head, and what cross-validation and held-out background say of it.

    Attributes:
        head: whose logit is a log-odds.
        positive, negative: log-odds of the examples, each by heads fitted without it.
        background: log-odds of the background texts that were held out.
        margin: log-odds that the rounding of background vectors may hide.
    """

    head: Head
    positive: Floats
    negative: Floats
    background: Floats
    margin: float

    def above_background(self, rate: float, confidence: float = CONFIDENCE) -> float:
        """A threshold that at most the share `rate` of texts like the background reaches; or NEVER."""
        hits = allowed_hits(len(self.background), rate, confidence)
        if hits < 0:
            return NEVER
        logit = float(np.sort(self.background)[::-1][hits]) + self.margin
        if logit >= SIGMOID.logit[-1]:
            return NEVER
        return just_above(float(SIGMOID(np.array([logit], np.float32))[0]))

    def below_positives(self, recall: float, confidence: float = CONFIDENCE) -> float | None:
        """A threshold that at least the share `recall` of positives reaches; None with too few of them."""
        misses = allowed_hits(len(self.positive), 1 - recall, confidence)
        if misses < 0:
            return None
        return at_most(float(SIGMOID(np.sort(self.positive)[[misses]].astype(np.float32))[0]))

    def statement(self) -> dict[str, Any]:
        """How good the head is to be expected, in JSON types."""
        examples = np.concatenate([self.positive, self.negative, self.background])
        labels = np.concatenate([np.ones(len(self.positive)), np.zeros(len(examples) - len(self.positive))])
        labels = labels.astype(np.int8)
        found: dict[str, Any] = {
            "positives": len(self.positive),
            "negatives": len(self.negative),
            "background_held_out": len(self.background),
            "folds": FOLDS,
            "repeats": REPEATS,
        }
        if len(self.positive) < FEW:
            found["average_precision"] = None
            found["note"] = (
                f"fewer than {FEW} positives: how many of its texts it finds is not known; give more"
            )
            return found
        random = generator(1, "custom heads")
        values = resample(labels, [Ranking(examples, labels).order], _RESAMPLES, random)
        found["average_precision"] = _rounded(average_precision(examples, labels))
        found["average_precision_interval"] = [_rounded(x) for x in percentile_interval(values[0])]
        return found

    def at(self, threshold: float, rate: float | None = None) -> dict[str, Any]:
        """What a threshold does to examples and background, in JSON types, intervals of 95 %, exact.

        `rate` is that of `above_background`, where the threshold is from there: then its bound is the one
        that was fixed before any score was seen.
        """
        if threshold >= NEVER:
            return {"threshold": None}
        hits, alarms, background = (
            int((SIGMOID(side.astype(np.float32)) >= np.float32(threshold)).sum())
            for side in (self.positive, self.negative, self.background)
        )
        n = len(self.background)
        planned = 0 if rate is None else allowed_hits(n, rate, CONFIDENCE)
        result: dict[str, Any] = {
            "threshold": float(f"{np.float32(threshold):.9g}"),
            "background_flagged": background,
            "background_bound": _rounded(upper_bound(max(background, planned), n, CONFIDENCE)),
        }
        if len(self.positive) >= FEW:
            result["recall"] = _rounded(hits / len(self.positive))
            result["recall_interval"] = _interval(hits, len(self.positive))
            flagged = hits + alarms
            result["precision"] = _rounded(hits / flagged) if flagged else None
            result["precision_interval"] = _interval(hits, flagged)
        return result

    def background_alike(self) -> float | None:
        """The share of the background that scores like a typical positive, if it is large."""
        share = float((self.background >= np.median(self.positive)).mean())
        return share if share > _ALIKE else None


def fit_head(positive: Pooled, negative: Pooled, background: Pooled) -> Head:
    """A head that is not calibrated: its logits are in deviations of the background."""
    scale = _Scale.of(background)
    return scale.fold(_solve([scale(part) for part in (positive, negative, background)]), background)


def fit(positive: Pooled, negative: Pooled, background: Background) -> Fitted:
    """Fits the head of one category and cross-validates it.

    Args:
        positive: examples of the category, at least MIN_POSITIVES.
        negative: examples that are not, at least one.
        background: texts of which hardly any is of the category.
    """
    scale = _Scale.of(background.fitting)
    standard = [scale(part) for part in (positive, negative, background.fitting)]
    texts = (positive, negative)

    sums = [np.zeros(len(positive)), np.zeros(len(negative))]
    for repeat in range(REPEATS):
        for fold in _folds(len(positive), len(negative), repeat):
            kept = [np.setdiff1d(np.arange(len(side)), out) for side, out in zip(texts, fold, strict=True)]
            parts = [_Part.take(part, rows) for part, rows in zip(standard[:2], kept, strict=True)]
            head = scale.fold(_solve([*parts, standard[2]]), background.fitting)
            for side in (0, 1):
                sums[side][fold[side]] += head.logits(texts[side].take(fold[side]))
    out_of_fold = [total / REPEATS for total in sums]
    head = scale.fold(_solve(standard), background.fitting)
    slope, intercept = _platt(out_of_fold[0], out_of_fold[1], head.logits(background.fitting))
    # Short of full precision, so that sums in another order elsewhere give the same file.
    weight = (slope * head.weight.astype(np.float64)).astype(np.float16).astype(np.float32)
    bias = float(np.float32(np.float16(slope * head.bias + intercept)))
    final = Head(weight, bias)
    return Fitted(
        head=final,
        positive=slope * out_of_fold[0] + intercept,
        negative=slope * out_of_fold[1] + intercept,
        background=final.logits(background.held_out),
        margin=float(_MARGIN * np.linalg.norm(weight * background.rounding)),
    )


@dataclass(frozen=True)
class _Part:
    """Standardised windows [windows, hidden], the share of a text that each is, and its text."""

    windows: Floats
    shares: Floats
    text: npt.NDArray[np.int64]

    def take(self, texts: npt.NDArray[np.int64]) -> _Part:
        rows = np.isin(self.text, texts)
        return _Part(self.windows[rows], self.shares[rows], self.text[rows])


@dataclass(frozen=True)
class _Scale:
    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, background: Pooled) -> _Scale:
        vectors = background.vectors.astype(np.float64)
        deviation = vectors.std(axis=0)
        constant = deviation <= 1e-6 * deviation.max()  # such a number says nothing
        return cls(vectors.mean(axis=0), np.where(constant, 1.0, deviation))

    def __call__(self, texts: Pooled) -> _Part:
        windows = (texts.vectors - self.mean) / self.deviation
        text = np.repeat(np.arange(len(texts)), np.diff(texts.offsets))
        return _Part(windows, texts.shares(), text)

    def fold(self, weight: Floats, background: Pooled) -> Head:
        """The head on raw vectors, in units of its deviation on the background: heads of all folds agree."""
        raw = weight / self.deviation
        values = background.logits(raw, 0.0)
        spread = max(float(values.std()), 1e-9)
        return Head((raw / spread).astype(np.float32), float(-values.mean() / spread))


def _solve(parts: Sequence[_Part]) -> Floats:
    """Weights for standardised features: positives, negatives and background weigh a third each."""
    x = np.concatenate([part.windows for part in parts])
    sign = np.repeat([-1.0, 1.0, 1.0], [len(part.shares) for part in parts])
    share = np.concatenate([part.shares / part.shares.sum() / len(parts) for part in parts])

    def objective(parameters: Floats) -> tuple[float, Floats]:
        weight, margin = parameters[:-1], sign * (x @ parameters[:-1] + parameters[-1])
        gradient = share * sign * expit(margin)
        loss = float(share @ np.logaddexp(0, margin)) + 0.5 * L2 * float(weight @ weight)
        return loss, np.append(gradient @ x + L2 * weight, gradient.sum())

    start = np.zeros(x.shape[1] + 1)
    options = {"maxiter": 500, "gtol": 1e-9, "ftol": 0.0}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    weights: Floats = found.x[:-1]
    return weights


def _folds(positives: int, negatives: int, repeat: int) -> list[tuple[npt.NDArray[np.int64], ...]]:
    """Indices of positives and negatives that each fold holds out."""
    random = np.random.default_rng([repeat, positives, negatives])
    dealt = [np.array_split(random.permutation(n), FOLDS) for n in (positives, negatives)]
    return [(np.sort(p), np.sort(n)) for p, n in zip(*dealt, strict=True)]


def _platt(positive: Floats, negative: Floats, background: Floats) -> tuple[float, float]:
    """Slope and intercept of Platt's sigmoid (1999): both sides weigh the same, background half of its own.

    With his corrected targets, which stand for one more row on each side.
    """
    x = np.concatenate([positive, negative, background])
    parts = [len(positive), len(negative), len(background)]
    weight = np.repeat([0.5 / parts[0], 0.25 / parts[1], 0.25 / parts[2]], parts)
    high, low = (parts[0] + 1) / (parts[0] + 2), 1 / (parts[1] + parts[2] + 2)
    target = np.repeat([high, low, low], parts)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = parameters[0] * x + parameters[1]
        gradient = weight * (expit(z) - target)
        return float(weight @ (np.logaddexp(0, z) - target * z)), np.array([gradient @ x, gradient.sum()])

    # A slope that is not positive would turn the order round.
    bounds = [(1e-3, _STEEPEST), (None, None)]
    options = {"gtol": 1e-10, "ftol": 0.0}
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return float(found.x[0]), float(found.x[1])


def _interval(hits: int, n: int) -> list[float] | None:
    """Exact two-sided interval (Clopper and Pearson 1934)."""
    if n == 0:
        return None
    each = (1 + CONFIDENCE) / 2
    return [_rounded(lower_bound(hits, n, each)), _rounded(upper_bound(hits, n, each))]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
