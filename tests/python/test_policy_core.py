"""Calibration curves and decisions: the formula of docs/model-format.md section 6, to the last bit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

native = pytest.importorskip("safetyclf._native_testing", reason="built without SAFETYCLF_TESTING")

F32 = np.float32
Curve = tuple[list[float], list[float]]

logit_values = st.floats(-1e6, 1e6, width=32)
unit_values = st.floats(0, 1, width=32)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    logits = sorted(draw(st.sets(logit_values, min_size=1, max_size=12)))
    # Equal as numbers are 0.0 and -0.0: a set keeps one of them.
    probabilities = sorted(draw(st.lists(unit_values, min_size=len(logits), max_size=len(logits))))
    return logits, probabilities


def interpolate(curve: Curve, x: np.float32) -> np.float32:
    """The specification, word by word."""
    knots, probabilities = (np.array(part, F32) for part in curve)
    if x < knots[0]:
        return F32(probabilities[0])
    i = int(np.flatnonzero(knots <= x)[-1])
    if i == len(knots) - 1:
        return F32(probabilities[i])
    t = (x - knots[i]) / (knots[i + 1] - knots[i])
    p = probabilities[i] + t * (probabilities[i + 1] - probabilities[i])
    return F32(min(max(p, probabilities[i]), probabilities[i + 1]))


def calibrate(curve: Curve, logits: npt.ArrayLike) -> npt.NDArray[np.float32]:
    policy = native.Policy([curve], [(0.5, 0.9)])
    column: npt.NDArray[np.float32] = policy.calibrate(np.asarray(logits, F32)[:, None])[:, 0]
    return column


@settings(deadline=None)
@given(curves(), st.lists(st.floats(-2e6, 2e6, width=32), min_size=1, max_size=50))
def test_bits_equal_the_specification(curve: Curve, logits: list[float]) -> None:
    expected = np.array([interpolate(curve, F32(x)) for x in logits], F32)
    assert np.array_equal(calibrate(curve, logits).view(np.uint32), expected.view(np.uint32))


@settings(deadline=None)
@given(curves(), st.lists(logit_values, max_size=50))
def test_never_falls_and_meets_the_knots(curve: Curve, logits: list[float]) -> None:
    knots, probabilities = (np.array(part, F32) for part in curve)
    near = [np.nextafter(knots, F32(side)) for side in (-np.inf, np.inf)]
    result = calibrate(curve, np.sort(np.concatenate([knots, *near, np.array(logits, F32)])))
    assert (np.diff(result) >= 0).all()
    assert result.min() >= probabilities[0]
    assert result.max() <= probabilities[-1]
    assert np.array_equal(calibrate(curve, knots), probabilities)


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (([], []), "at least one knot"),
        (([0.0], [0.5, 0.6]), "one probability per knot"),
        (([0.0, 0.0], [0.5, 0.6]), "increase strictly"),
        (([1.0, 0.0], [0.5, 0.6]), "increase strictly"),
        (([0.0, 1.0], [0.6, 0.5]), "must not decrease"),
        (([0.0], [1.5]), "probability outside"),
        (([0.0], [-0.1]), "probability outside"),
        (([0.0], [float("nan")]), "probability outside"),
        (([float("nan")], [0.5]), "logit outside"),
        (([float("inf")], [0.5]), "logit outside"),
        (([1.1e6], [0.5]), "logit outside"),
    ],
)
def test_bad_curves_are_refused(curve: Curve, message: str) -> None:
    with pytest.raises(ValueError, match=f"category 1: calibration .*{message}"):
        native.Policy([([0.0], [0.5]), curve], [(0.5, 0.9), (0.5, 0.9)])


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ((-0.1, 0.5), "threshold neither"),
        ((0.5, 1.5), "threshold neither"),
        ((float("nan"), 0.5), "threshold neither"),
        ((0.5, float("inf")), "threshold neither"),
        ((0.6, 0.5), "block threshold below"),
        ((2.0, 0.5), "block threshold below"),
    ],
)
def test_bad_thresholds_are_refused(thresholds: tuple[float, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"category 0: {message}"):
        native.Policy([([0.0], [0.5])], [thresholds])


def test_numbers_must_match() -> None:
    with pytest.raises(ValueError, match="different numbers of categories"):
        native.Policy([([0.0], [0.5])], [])
    with pytest.raises(RuntimeError, match="one logit"):
        native.Policy([([0.0], [0.5])], [(0.5, 0.5)]).calibrate(np.zeros((1, 2), F32))


@pytest.mark.parametrize("logit", [np.nan, np.inf, -np.inf])
def test_logit_that_is_not_finite(logit: float) -> None:
    with pytest.raises(RuntimeError, match="not finite"):
        calibrate(([0.0], [0.5]), [logit])


@pytest.mark.parametrize(
    ("probabilities", "action", "flagged"),
    [
        ([0.1, 0.1, 0.1], "allow", [False, False, False]),
        ([0.5, 0.1, 0.1], "review", [True, False, False]),
        ([np.nextafter(F32(0.5), F32(0)), 0.1, 0.1], "allow", [False, False, False]),
        ([0.1, 0.9, 0.1], "block", [False, True, False]),
        ([0.5, 0.9, 1.0], "block", [True, True, False]),
        ([0.1, 0.1, 1.0], "allow", [False, False, False]),
    ],
)
def test_decide(probabilities: list[float], action: str, flagged: list[bool]) -> None:
    thresholds = [(0.5, 2.0), (0.25, 0.75), (2.0, 2.0)]
    assert native.decide(probabilities, thresholds) == (action, flagged)


@settings(deadline=None)
@given(st.lists(st.tuples(unit_values, unit_values, unit_values), min_size=1, max_size=8))
def test_decision_is_the_strictest_of_all_categories(rows: list[tuple[float, float, float]]) -> None:
    probabilities = [row[0] for row in rows]
    thresholds = [(min(row[1:]), max(row[1:])) for row in rows]
    action, flagged = native.decide(probabilities, thresholds)
    order = ["allow", "review", "block"]
    single = [native.decide([p], [t])[0] for p, t in zip(probabilities, thresholds, strict=True)]
    assert action == max(single, key=order.index)
    assert flagged == [p >= t[0] for p, t in zip(probabilities, thresholds, strict=True)]
