"""Curves and thresholds of all categories together, and what they promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetyclf._modelfile import NEVER

pytest.importorskip("scipy")

from safetyclf.train.config import CalibrationConfig, Derived, ThresholdsConfig, TrainingConfig
from safetyclf.train.decision import Decision, Scale, Scored, decide
from train_helpers import CONFIG

RUN = replace(
    CONFIG,
    calibration=CalibrationConfig(methods=("platt",)),
    thresholds=ThresholdsConfig(review_rate=0.05, block_rate=0.02),
)


def made_rows(seed: int, harmless: int = 400, harmful: int = 100) -> Scored:
    """Two categories whose logits are on quite different scales; harmful rows have either or both."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((harmless + harmful, 2), np.int8)
    labels[harmless:, 0] = rng.random(harmful) < 0.7
    labels[harmless:, 1] = np.where(labels[harmless:, 0] == 0, 1, rng.random(harmful) < 0.5)
    logits = rng.normal(size=labels.shape) * [1.0, 8.0] + labels * [3.0, 20.0] - [2.0, 30.0]
    return Scored(logits.astype(np.float32), labels, np.arange(len(labels)) % 2 == 0)


def flagged(decision: Decision, rows: Scored) -> np.ndarray:
    p = np.stack([curve(rows.logits[:, c]) for c, curve in enumerate(decision.curves)], axis=1)
    return p >= decision.review


def test_all_categories_together_keep_the_promise() -> None:
    config: TrainingConfig = RUN
    fresh = made_rows(10_000, harmless=40_000, harmful=0)
    draws, broken, alarms = 150, 0, np.zeros(2)
    for seed in range(draws):
        decision = decide(config, made_rows(2 * seed), made_rows(2 * seed + 1), "")
        found = flagged(decision, fresh)
        broken += int(found.any(axis=1).mean() > 0.05)
        alarms += found.mean(axis=0)
    # At most 5 % of draws may break it; 4 standard deviations of that count above.
    assert broken <= 0.05 * draws + 4 * (draws * 0.05 * 0.95) ** 0.5
    assert broken > 0  # nor is it needlessly strict
    # Both have a part of the budget, although one's logits spread eight times as far; the one whose harmful
    # texts are harder to tell has the larger part.
    assert 0.2 * alarms[1] < alarms[0] < alarms[1]


def test_statements_count_what_they_say() -> None:
    calibration = made_rows(1)
    decision = decide(RUN, made_rows(0), calibration, "abc")
    found = flagged(decision, calibration)
    harmless = (calibration.labels == 0).all(axis=1)
    for c, name in enumerate(RUN.scored):
        statement = decision.statements[name]
        assert statement["data_sha256"] == "abc"
        assert statement["negatives"] == harmless.sum()
        review = statement["review"]
        assert review["false_positives"] == found[harmless, c].sum()
        assert review["false_positives_of_all_categories"] == found[harmless].any(axis=1).sum()
        assert review["recall"] == pytest.approx(found[calibration.labels[:, c] == 1, c].mean(), rel=1e-3)
        assert review["rate_on_all_negatives"] == pytest.approx(
            found[calibration.labels[:, c] == 0, c].mean(), rel=1e-3, abs=1e-9
        )
        assert review["bound"] <= review["target"]
        assert decision.block[c] >= decision.review[c]


def test_too_few_harmless_rows_never_block() -> None:
    decision = decide(RUN, made_rows(0), made_rows(1, harmless=100), "")
    assert (decision.block == NEVER).all()
    assert (decision.review < 1).all()
    assert decision.statements["harassment"]["block"]["never"] == "needs more harmless texts"


def test_derived_categories_decide_nothing() -> None:
    derived = {"harassment/threatening": Derived(any=("harassment",), definition="for the test")}
    config = replace(RUN, derived=derived)
    alone = decide(config, made_rows(0), made_rows(1), "")
    both = decide(RUN, made_rows(0), made_rows(1), "")
    assert alone.review[1] == alone.block[1] == NEVER
    assert "derived" in alone.statements["harassment/threatening"]["review"]["never"]
    assert alone.statements["harassment/threatening"]["review"]["false_positives"] == 0
    # The other one has the budget for itself; curves are fitted as ever.
    assert alone.review[0] < both.review[0]
    assert np.array_equal(alone.curves[1].probability, both.curves[1].probability)


def test_unknown_labels_are_left_out() -> None:
    rows = made_rows(1)
    unknown = rows.labels.copy()
    unknown[::2, 1] = -1
    decision = decide(RUN, made_rows(0), Scored(rows.logits, unknown, rows.ordinary), "")
    assert decision.statements["harassment"]["negatives"] == (unknown == 0).all(axis=1).sum()
    assert decision.statements["harassment/threatening"]["positives"] == (unknown[:, 1] == 1).sum()


def test_both_promises_are_kept_where_ordinary_text_is_told_apart() -> None:
    limits = replace(RUN.thresholds, ordinary=("domain",), hard_review_rate=0.1, hard_block_rate=0.05)
    config = replace(RUN, thresholds=limits)
    for hard in (0.0, 2.0):  # look-alikes that score as ordinary text does, or higher
        rows = made_rows(1)
        logits = rows.logits + hard * (~rows.ordinary[:, None]) * np.array([1, 8], np.float32)
        rows = Scored(logits, rows.labels, rows.ordinary)
        decision = decide(config, made_rows(0), rows, "")
        found = flagged(decision, rows).any(axis=1)
        ordinary, every = decision.statements["harassment"]["review"]["promises"]
        assert ordinary["texts"] == (rows.harmless() & rows.ordinary).sum()
        assert ordinary["flagged"] == found[rows.harmless() & rows.ordinary].sum() <= 0.05 * ordinary["texts"]
        assert every["texts"] == rows.harmless().sum()
        assert every["flagged"] == found[rows.harmless()].sum() <= 0.1 * every["texts"]
        # One of the two is used up: the thresholds are not needlessly strict.
        assert ordinary["flagged"] > 0.01 * ordinary["texts"] or every["flagged"] > 0.05 * every["texts"]


def naming_logits(seed: int, lift: float, n: int = 3000) -> np.ndarray:
    """Sentences of which the first category thinks worse than of harmless rows, and the second does not."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 2)) * [1.0, 0.5] - [2.0 - lift, 60.0]
    return logits.astype(np.float32)


def test_sentences_that_name_a_group_raise_the_thresholds_that_need_it() -> None:
    calibration = made_rows(1)
    plain = decide(RUN, made_rows(0), calibration, "")
    for lift, raised in ((1.5, True), (-20.0, False)):
        naming = naming_logits(2, lift), naming_logits(3, lift)
        decision = decide(RUN, made_rows(0), calibration, "", naming)
        assert (decision.review[0] > plain.review[0]) == raised
        assert decision.review[1] == plain.review[1]
        for action, thresholds in (("review", decision.review), ("block", decision.block)):
            promise = decision.statements["harassment"][action]["promises"][-1]
            p = np.stack([curve(naming[1][:, c]) for c, curve in enumerate(decision.curves)], axis=1)
            assert promise["flagged"] == (p >= thresholds).any(axis=1).sum()
            assert promise["flagged"] <= promise["target"] * promise["texts"]
            assert 0 < promise["bound"] <= promise["target"]
            if raised and action == "review":  # and no further than it takes
                assert promise["flagged"] > 0.7 * promise["target"] * promise["texts"]


def test_too_few_sentences_that_name_a_group_promise_nothing() -> None:
    naming = naming_logits(2, 1.5, 20), naming_logits(3, 1.5, 20)
    decision = decide(RUN, made_rows(0), made_rows(1), "", naming)
    assert decision.review[0] == NEVER
    assert decision.review[1] < 1


def test_scale_puts_typical_positives_at_zero() -> None:
    rows = made_rows(5, harmless=4000, harmful=1000)
    scale = Scale.of(rows)
    assert scale(scale.inverse(2.5)[None]) == pytest.approx(2.5, abs=1e-3)
    for c in range(2):
        scores = scale(rows.logits)[:, c]
        # Scores are log-odds up to a constant, of a model that these rows follow: both classes are normal
        # with equal variance, so the odds rise by d' ^ 2 between the means (d' = 3 and 2.5).
        rise = scores[rows.labels[:, c] == 1].mean() - scores[rows.labels[:, c] == 0].mean()
        assert rise == pytest.approx([9.0, 6.25][c], rel=0.15)
        assert abs(scores[rows.labels[:, c] == 1].mean()) < 2
