"""Fitting of heads, curves and thresholds, and the figures that judge them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from safetyclf._modelfile import NEVER

pytest.importorskip("scipy")

from safetyclf.policy.bounds import allowed_hits, just_above, needed_negatives, upper_bound
from safetyclf.train.calibration import Curve, fit_curve
from safetyclf.train.config import CalibrationConfig, FitConfig
from safetyclf.train.data import UNKNOWN
from safetyclf.train.heads import cell_weights, fit_heads
from scipy.stats import binom

# Heads ------------------------------------------------------------------------------------------------------


def test_fit_is_the_minimum_of_the_stated_objective() -> None:
    rng = np.random.default_rng(5)
    n, hidden, classes = 900, 6, 3
    x = (rng.normal(size=(n, hidden)) @ rng.normal(size=(hidden, hidden)) * 3 + 7).astype(np.float32)
    labels = (rng.random((n, classes)) < 1 / (1 + np.exp(1 - x[:, :classes] / 4))).astype(np.int8)
    labels[rng.random((n, classes)) < 0.3] = UNKNOWN
    l2 = np.array([1e-3, 1e-2, 1e-1])
    weights = cell_weights(labels, rng.random(n) + 0.5, 0.5)
    heads = fit_heads(x, labels, weights, l2, FitConfig(max_iterations=500, gradient_tolerance=1e-7))

    # The gradient in standardised features, computed plainly in double precision, must vanish.
    x64 = x.astype(np.float64)
    mean, deviation = x64.mean(axis=0), x64.std(axis=0)
    v = heads.weight.astype(np.float64) * deviation
    z = x64 @ heads.weight.T.astype(np.float64) + heads.bias
    residual = weights * (1 / (1 + np.exp(-z)) - (labels == 1))
    gradient = residual.T @ ((x64 - mean) / deviation) + l2[:, None] * v
    # Columns of weights add up to 1, so residuals are below 1 in sum; single precision leaves 1e-5 of that.
    assert np.abs(gradient).max() < 1e-5
    assert np.abs(residual.sum(axis=0)).max() < 1e-5
    assert np.abs(v).max() > 0.1


def test_cell_weights_mask_and_balance() -> None:
    labels = np.array([[1], [0], [0], [UNKNOWN], [0]], np.int8)
    rows = np.ones(5)
    assert cell_weights(labels, rows, 0.0)[:, 0] == pytest.approx([0.25, 0.25, 0.25, 0, 0.25])
    assert cell_weights(labels, rows, 1.0)[:, 0] == pytest.approx([1 / 2, 1 / 6, 1 / 6, 0, 1 / 6])
    with pytest.raises(ValueError, match="lacks positives"):
        cell_weights(np.zeros((3, 1), np.int8), np.ones(3), 0.5)


# Calibration ------------------------------------------------------------------------------------------------


def sigmoid_rows(n: int, slope: float, intercept: float, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(scale=2, size=n).astype(np.float32)
    truth = 1 / (1 + np.exp(-(slope * x + intercept)))
    return x, (rng.random(n) < truth).astype(np.int8), truth


@pytest.mark.parametrize(("n", "method"), [(20_000, "isotonic"), (800, "platt"), (800, "beta")])
def test_curves_find_the_truth_and_keep_the_order(n: int, method: str) -> None:
    x, labels, truth = sigmoid_rows(n, 0.8, -1.5)
    curve, errors = fit_curve(x, labels, CalibrationConfig(methods=(method,), max_knots=32))
    assert curve.method == method
    assert list(errors) == [method]
    assert 2 <= len(curve.logit) <= 32
    assert (np.diff(curve.logit) > 0).all()
    assert (np.diff(curve.probability) > 0).all()
    assert curve.probability[0] > 0
    assert curve.probability[-1] < 1
    p = curve(x)
    # Standard error of a frequency from n / 30 rows (one step of the curve) is at most 0.5 / sqrt(n / 30):
    # the mean over all steps stays within it.
    assert np.abs(p - truth).mean() < 0.5 / np.sqrt(n / 30)
    order = np.argsort(x, kind="stable")
    assert (np.diff(p[order]) >= 0).all()


def test_the_method_of_least_error_is_chosen() -> None:
    x, labels, _ = sigmoid_rows(4000, 1.0, 0.0)
    curve, errors = fit_curve(x, labels, CalibrationConfig())
    assert curve.method == min(errors, key=lambda name: errors[name])
    assert set(errors) == {"platt", "beta", "isotonic"}
    # A step is beyond any sigmoid: only isotonic regression follows it.
    rng = np.random.default_rng(3)
    truth = np.where(x > 1, 0.9, np.where(x > -1, 0.5, 0.1))
    curve, errors = fit_curve(x, (rng.random(4000) < truth).astype(np.int8), CalibrationConfig())
    assert curve.method == "isotonic"
    assert errors["isotonic"] < 0.8 * errors["platt"]


def test_beta_calibration_bends_one_end_alone() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(scale=3, size=20_000).astype(np.float32)
    p = 1 / (1 + np.exp(-x.astype(np.float64)))
    odds = 1.5 * np.log(p) - 0.3 * np.log(1 - p)  # two slopes, which Platt's sigmoid lacks
    truth = 1 / (1 + np.exp(-odds))
    labels = (rng.random(20_000) < truth).astype(np.int8)
    beta, _ = fit_curve(x, labels, CalibrationConfig(methods=("beta",)))
    platt, _ = fit_curve(x, labels, CalibrationConfig(methods=("platt",)))
    assert np.abs(beta(x) - truth).mean() < 0.3 * np.abs(platt(x) - truth).mean()


@pytest.mark.parametrize("method", ["platt", "beta", "isotonic"])
def test_a_score_that_says_nothing_still_gives_a_rising_curve(method: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=1000).astype(np.float32)
    labels = (rng.random(1000) < 0.5).astype(np.int8)
    curve, _ = fit_curve(-x, labels, CalibrationConfig(methods=(method,)))
    assert (np.diff(curve.probability) > 0).all()
    assert np.abs(curve(x) - 0.5).mean() < 0.1


@pytest.mark.parametrize("method", ["platt", "beta", "isotonic"])
def test_perfectly_separated_rows(method: str) -> None:
    x = np.linspace(-3, 3, 600, dtype=np.float32)
    labels = (x > 0).astype(np.int8)
    curve, _ = fit_curve(x, labels, CalibrationConfig(methods=(method,)))
    assert curve(np.array([-3.0, 3.0], np.float32)) == pytest.approx([0, 1], abs=0.01)


def test_curve_outside_its_knots_is_flat() -> None:
    curve = Curve("platt", np.array([-1, 2], np.float32), np.array([0.25, 0.75], np.float32))
    assert curve(np.array([-9, -1, 0.5, 2, 9], np.float32)).tolist() == [0.25, 0.25, 0.5, 0.75, 0.75]


# Thresholds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 200), (40, 5000)])
def test_upper_bound_is_exact(hits: int, n: int) -> None:
    # By definition: with the bound as the true rate, as few hits as this have probability 1 - confidence.
    assert binom.cdf(hits, n, upper_bound(hits, n, 0.95)) == pytest.approx(0.05, abs=1e-9)
    assert upper_bound(n, n, 0.95) == 1.0


@pytest.mark.parametrize("n", [10, 298, 299, 1000, 12_345])
def test_allowed_hits_is_the_largest(n: int) -> None:
    hits = allowed_hits(n, 0.01, 0.95)
    if n < needed_negatives(0.01, 0.95):
        assert hits == -1
    else:
        assert upper_bound(hits, n, 0.95) <= 0.01 < upper_bound(hits + 1, n, 0.95)
    assert needed_negatives(0.01, 0.95) == 299


@pytest.mark.parametrize("probability", [1e-8, 0.000123456, 0.0999999, 0.5, 0.998765, 0.9999999])
def test_a_threshold_lies_just_above_a_probability(probability: float) -> None:
    value = just_above(float(np.float32(probability)))
    assert np.float32(value) > np.float32(probability)
    assert value - probability <= 0.02 * min(probability, 1 - probability) + 1e-7
    assert just_above(1.0) == NEVER
