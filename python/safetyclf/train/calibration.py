"""Curves from logits to probabilities, as the knots that the model file stores.

Three ways are tried per category, and the one whose out-of-fold probabilities have the least calibration
error is kept: Platt's sigmoid (Platt 1999), beta calibration (Kull, Silva Filho and Flach 2017), which bends
either end by itself, and isotonic regression (Zadrozny and Elkan 2002), which follows whatever shape the data
have but needs many of them. All end as knots of a curve that rises strictly between the lowest and the
highest logit seen, so that calibration keeps the order of scores and a threshold on probabilities is one on
logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from ..evaluate.metrics import calibration_error
from .config import CalibrationConfig

MIN_STEP_ROWS = 50  # rows in a step of the isotonic curve: below, the deviation of its mean passes 0.07
MIN_SLOPE = 1e-3  # 0 or below would turn the order round; this keeps it where scores say nothing
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Knots float32 [k]: logits strictly increasing, probabilities strictly increasing within (0, 1)."""

    method: str
    logit: npt.NDArray[np.float32]
    probability: npt.NDArray[np.float32]

    def __call__(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The engine's arithmetic (docs/model-format.md, section 6), bit for bit: float32 [n] -> [n]."""
        x = np.asarray(logits, np.float32)
        left = np.searchsorted(self.logit, x, side="right") - 1
        low = np.clip(left, 0, len(self.logit) - 1)
        high = np.minimum(low + 1, len(self.logit) - 1)
        p, q = self.probability[low], self.probability[high]
        width = np.where(high > low, self.logit[high] - self.logit[low], np.float32(1))
        t = (x - self.logit[low]) / width
        inside = np.minimum(np.maximum(p + t * (q - p), p), q)
        return np.where(left < 0, self.probability[0], inside).astype(np.float32)

    def inverse(self, probability: float) -> float:
        """About the lowest logit of that probability; infinite for one that the curve does not reach."""
        if probability > self.probability[-1]:
            return float("inf")
        return float(np.interp(probability, self.probability, self.logit))


def fit_curve(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.integer], config: CalibrationConfig
) -> tuple[Curve, dict[str, float]]:
    """The curve of one category from its held-back rows.

    Args:
        logits: float32 [n].
        labels: 1 or 0 [n], at least one of each.
        config: methods to try, folds, number of knots.

    Returns:
        The curve of the best method, fitted on all rows; and the calibration error of each method's
        out-of-fold probabilities.
    """
    x = logits.astype(np.float64)
    fold = _folds(labels, config.folds)
    errors: dict[str, float] = {}
    for method in config.methods:
        held_out = np.empty(len(x), np.float32)
        for i in range(config.folds):
            rest = fold != i
            curve = _fit(method, x[rest], labels[rest], config.max_knots)
            held_out[~rest] = curve(logits[~rest])
        errors[method] = calibration_error(held_out, labels)
    best = min(errors, key=lambda method: errors[method])
    return _fit(best, x, labels, config.max_knots), errors


def _folds(labels: npt.NDArray[np.integer], folds: int) -> npt.NDArray[np.int64]:
    """The fold of each row, [n]: both labels are dealt out in turn, in the order of the rows."""
    fold = np.empty(len(labels), np.int64)
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        fold[rows] = np.arange(len(rows)) % folds
    return fold


def _fit(method: str, x: Floats, labels: npt.NDArray[np.integer], max_knots: int) -> Curve:
    if method == "isotonic":
        return _as_curve(method, *_isotonic_knots(x, labels, max_knots))
    knots = np.linspace(x.min(), x.max(), max_knots)
    if method == "platt":
        slope, intercept = platt(x, labels)
        return _as_curve(method, knots, expit(slope * knots + intercept))
    return _as_curve(method, knots, expit(_beta_basis(knots) @ _logistic(_beta_basis(x), labels)))


def platt(x: Floats, labels: npt.NDArray[np.integer]) -> tuple[float, float]:
    """Slope and intercept of Platt's sigmoid, expit(slope * x + intercept), on logits x [n]."""
    centre, spread = float(x.mean()), max(float(x.std()), 1e-6)  # the optimiser wants numbers near 1
    z = (x - centre) / spread
    weight, bias = _logistic(np.stack([z, np.ones_like(z)], axis=1), labels)
    return float(weight / spread), float(bias - weight * centre / spread)


def _beta_basis(z: Floats) -> Floats:
    """Ln p and -ln(1 - p) of p = sigmoid(z)."""
    return np.stack([-np.logaddexp(0, -z), np.logaddexp(0, z), np.ones_like(z)], axis=1)


def _logistic(basis: Floats, labels: npt.NDArray[np.integer]) -> Floats:
    """Logistic regression on the columns of `basis`, the last one constant and the others' slopes positive.

    With Platt's corrected targets, which stand for one more row on each side.
    """
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(weights: Floats) -> tuple[float, Floats]:
        value = basis @ weights
        gradient = basis.T @ (expit(value) - target) / len(target)
        return float((np.logaddexp(0, value) - target * value).mean()), gradient

    slopes = basis.shape[1] - 1
    start = np.array([1.0] * slopes + [0.0])
    bounds = [(MIN_SLOPE, None)] * slopes + [(None, None)]
    found: Floats = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found


def _isotonic_knots(x: Floats, labels: npt.NDArray[np.integer], max_knots: int) -> tuple[Floats, Floats]:
    """Isotonic regression, thinned: a knot at the mean of each step, and one at either end of the data."""
    order = np.argsort(x, kind="stable")
    x = x[order]
    rows, hits = _pool(np.ones(len(x)), (labels[order] == 1).astype(np.float64), prior=0.0)
    rows, hits = _thin(rows, hits, max_knots - 2)
    # Half a row of either label in each step: no finite sample shows a probability of 0 or 1.
    rows, hits = _pool(rows, hits, prior=0.5)
    means = (hits + 0.5) / (rows + 1)
    centres = np.array([step.mean() for step in np.split(x, np.cumsum(rows)[:-1].astype(np.int64))])
    # Beyond the outer centres the curve goes on half the way to 0 and 1, so that the order is kept there too.
    knots = np.concatenate([[x[0]], centres, [x[-1]]])
    return knots, np.concatenate([[means[0] / 2], means, [(1 + means[-1]) / 2]])


def _pool(rows: Floats, hits: Floats, prior: float) -> tuple[Floats, Floats]:
    """Pool adjacent violators: joins neighbours until (hits + prior) / (rows + 2 * prior) rises strictly."""
    stack: list[tuple[float, float]] = []
    for n, h in zip(rows, hits, strict=True):
        while stack and (stack[-1][1] + prior) * (n + 2 * prior) >= (h + prior) * (stack[-1][0] + 2 * prior):
            below_n, below_h = stack.pop()
            n, h = n + below_n, h + below_h
        stack.append((n, h))
    joined = np.array(stack)
    return joined[:, 0], joined[:, 1]


def _thin(rows: Floats, hits: Floats, max_steps: int) -> tuple[Floats, Floats]:
    """Joins neighbouring steps, cheapest squared error first, until all are large enough and few enough."""
    n, h = list(rows), list(hits)

    def cost(i: int) -> float:  # of joining the steps i and i + 1
        return float(n[i] * n[i + 1] / (n[i] + n[i + 1]) * (h[i] / n[i] - h[i + 1] / n[i + 1]) ** 2)

    while len(n) > 1:
        if min(n) < MIN_STEP_ROWS:
            small = n.index(min(n))
            beside = [i for i in (small - 1, small) if 0 <= i < len(n) - 1]
        elif len(n) > max_steps:
            beside = list(range(len(n) - 1))
        else:
            break
        i = min(beside, key=cost)
        n[i : i + 2] = [n[i] + n[i + 1]]
        h[i : i + 2] = [h[i] + h[i + 1]]
    return np.array(n), np.array(h)


def _as_curve(method: str, knots: Floats, probabilities: Floats) -> Curve:
    """In single precision neighbouring knots may coincide: only those stay that rise in both numbers."""
    logit, probability = knots.astype(np.float32), probabilities.astype(np.float32)
    kept = [0]
    for i in range(1, len(logit)):
        if logit[i] > logit[kept[-1]] and probability[i] > probability[kept[-1]]:
            kept.append(i)
    return Curve(method, logit[kept], probability[kept])
