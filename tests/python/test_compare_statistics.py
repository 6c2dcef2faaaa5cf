"""Figures of comparisons against other people's implementations, and intervals against the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from compare_worlds import CATEGORIES, squashed, world_labels, world_run, world_suite
from safetyclf import SafetyclfError
from safetyclf.compare.comparison import compare_runs
from safetyclf.compare.paired import mcnemar, paired_difference, quantile
from safetyclf.compare.resampling import MEASURES, Column, replicates, strata
from safetyclf.evaluate import metrics
from safetyclf.evaluate.bootstrap import Ranking
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)


def column(seed: int, n: int = 400) -> Column:
    random = np.random.default_rng(seed)
    labels = world_labels(n, random, 1, 0.3)[:, 0]
    scores = squashed((labels == 1) * 1.5 + random.normal(size=n)).round(2)  # with ties
    return Column(labels, scores, scores >= 0.6)


def of_scikit_learn(y: np.ndarray, s: np.ndarray, flagged: np.ndarray) -> dict[str, float]:
    false, true, _ = roc_curve(y, s, drop_intermediate=False)
    return {
        "auprc": average_precision_score(y, s),
        "auroc": roc_auc_score(y, s),
        "recall_at_fpr": true[false <= 0.01 + 1e-12].max(),
        "precision": precision_score(y, flagged),
        "recall": recall_score(y, flagged),
        "f1": f1_score(y, flagged),
        "accuracy": accuracy_score(y, flagged),
        "fpr": 1 - recall_score(1 - y, ~flagged),
        "flag_rate": flagged.mean(),
        "ece": metrics.calibration_error(s, y),
        "brier": brier_score_loss(y, s.astype(np.float64)),
    }


@pytest.mark.parametrize("seed", range(3))
def test_measures_equal_those_of_scikit_learn(seed: int) -> None:
    c = column(seed)
    assert c.flagged is not None
    known = c.labels != -1
    expected = of_scikit_learn(c.labels[known], c.scores[known], c.flagged[known])
    assert {name: c.value(name) for name in MEASURES} == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_measures_of_a_resample_are_those_of_repeated_texts(seed: int) -> None:
    c = column(seed)
    assert c.flagged is not None
    counts = np.random.default_rng(seed).integers(0, 4, (5, len(c.labels))).astype(np.int32)
    found = c.replicates(counts, list(MEASURES))
    for row, values in zip(counts, found.T, strict=True):
        rows = np.repeat(np.arange(len(row)), row)
        rows = rows[c.labels[rows] != -1]
        expected = of_scikit_learn(c.labels[rows], c.scores[rows], c.flagged[rows])
        assert dict(zip(MEASURES, values, strict=True)) == pytest.approx(expected, abs=1e-9)


def test_the_calibration_error_of_a_calibrated_score_may_be_0() -> None:
    random = np.random.default_rng(5)
    scores = random.random((2000, 1)).astype(np.float32)
    suite = world_suite((random.random((2000, 1)) < scores).astype(np.int8), ("hate",))
    comparison = compare_runs(suite, [world_run(suite, "calibrated", scores)], resamples=200)
    found = comparison.contestants[0].categories["hate"].figures["ece"]
    assert found.value is not None
    assert found.value > 0.01
    assert found.low == 0  # percentiles of resamples all lie above the value
    assert 0.005 < found.high < 0.03


def test_the_interval_of_a_difference_stays_in_its_range() -> None:
    labels = np.array([[1]] * 2 + [[0]] * 100, np.int8)
    suite = world_suite(labels, ("hate",))
    scores = np.linspace(1, 0, len(labels)).reshape(-1, 1)
    pair = compare_runs(
        suite, [world_run(suite, "one", scores), world_run(suite, "other", scores * 0.99)], resamples=50
    ).pairs[0]
    found = pair.difference("auprc", "hate")
    assert found is not None
    assert (found.low, found.high) == (-1, 1)  # of two positives nothing is known


def test_a_resample_without_positives_has_no_figure_rather_than_a_wrong_one() -> None:
    c = column(0)
    counts = np.where(c.labels == 1, 0, 1)[None, :].astype(np.int32)
    found = dict(zip(MEASURES, c.replicates(counts, list(MEASURES))[:, 0], strict=True))
    assert [name for name, value in found.items() if np.isnan(value)] == [
        "auprc",
        "auroc",
        "recall_at_fpr",
        "recall",
    ]


def test_rows_without_positives_can_be_measured_for_calibration_alone() -> None:
    scores, labels = squashed(np.arange(8.0)), np.zeros(8, np.int8)
    ranking, counts = Ranking(scores, labels), np.ones((2, 8), np.int32)
    assert np.isnan(ranking.order(counts)).all()
    error, brier = ranking.calibration(counts)
    assert error.tolist() == pytest.approx([metrics.calibration_error(scores, labels)] * 2)
    assert brier.tolist() == pytest.approx([metrics.brier(scores, labels)] * 2)


def test_strata_keep_positives_of_rare_categories_together() -> None:
    labels = np.zeros((100, 2), np.int8)
    labels[:60, 0] = 1  # frequent
    labels[:20, 1] = 1  # rare
    labels[90:97] = -1  # fewer than ten alike: joined with others of no positive
    groups = strata(labels)
    assert len(set(groups[:20])) == len(set(groups[20:60])) == len(set(groups[60:90])) == 1
    assert len({groups[0], groups[20], groups[60], groups[90]}) == 4


def test_mcnemar_equals_the_exact_binomial_test() -> None:
    truth = np.array([1] * 50 + [0] * 50 + [-1] * 9, np.int8)
    a, b = truth.copy(), truth.copy()
    a[:5] = 0  # b alone is right
    b[40:60] = 1 - truth[40:60]  # a alone is right
    a[-9:], b[-9:] = 0, 1
    found = mcnemar(a, b, truth)
    assert found is not None
    assert (found.texts, found.only_reference, found.only_candidate) == (100, 20, 5)
    assert found.p == pytest.approx(binomtest(5, 25).pvalue)
    assert found.p == pytest.approx(2 * sum(math.comb(25, k) for k in range(6)) / 2**25)
    assert found.difference == pytest.approx(-0.15)
    assert found.low < -0.15 < found.high


def test_mcnemar_without_a_change_and_without_texts() -> None:
    same = np.array([1, 0, 1], np.int8)
    found = mcnemar(same, same, same)
    assert found is not None
    assert (found.p, found.difference) == (1.0, 0.0)
    # No event among three, with half of the error for each of two counts, and half of that for each side.
    assert found.high == -found.low == pytest.approx(1 - 0.0125 ** (1 / 3))
    assert mcnemar(same, same, np.full(3, -1, np.int8)) is None


def test_the_interval_of_mcnemar_covers() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        kind = random.choice(3, 80, p=[0.8, 0.15, 0.05])
        truth = np.ones(80, np.int8)
        found = mcnemar((kind != 2).astype(np.int8), (kind != 1).astype(np.int8), truth)
        assert found is not None
        covered += found.low <= 0.05 - 0.15 <= found.high
    assert covered >= 0.95 * 300  # exact: never below


WORLD_TRUTH = 20_000  # texts that stand for all texts


def drawn(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and scores of two contestants that mostly err on the same texts."""
    labels = (np.arange(n) < 0.3 * n).astype(np.int8)
    shared = 1.5 * labels + random.normal(size=n)
    scores = [shared + noise * random.normal(size=n) for noise in (0.2, 0.5)]
    return labels, squashed(scores[0]), squashed(scores[1])


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["auprc", "recall", "brier"])
def test_intervals_of_differences_cover_the_truth(measure: str) -> None:
    """Of 120 intervals of 90 %, 108 are expected to cover, +- 2.7 standard deviations of 3.3."""
    random = np.random.default_rng(7)

    def columns(n: int) -> list[Column]:
        labels, *scores = drawn(random, n)
        return [Column(labels, s, s >= 0.8) for s in scores]

    worlds = [columns(WORLD_TRUTH) for _ in range(6)]
    truth = np.mean([other.value(measure) - one.value(measure) for one, other in worlds])
    paired = unpaired = 0
    for seed in range(120):
        one, other = columns(400)
        found = paired_difference(
            one.labels,
            one.scores,
            other.scores,
            measure,
            seed=seed,
            resamples=120,
            confidence=0.9,
            flagged_a=one.flagged,
            flagged_b=other.flagged,
        )
        paired += found.low <= truth <= found.high  # type: ignore[operator]
        # The wrong procedure: each contestant on resamples of its own.
        groups = strata(one.labels[:, None])
        own = [replicates([c], groups, [measure], 60, np.random.default_rng(seed)) for c in (one, other)]
        reach = quantile(0.95) * float(np.hypot(own[0].std(), own[1].std()))
        unpaired += abs(found.estimate - truth) <= reach  # type: ignore[operator]
    assert 99 <= paired <= 117
    assert unpaired > 117  # the same check refuses it


@pytest.mark.slow
def test_the_mean_over_categories_covers_although_they_share_texts() -> None:
    random = np.random.default_rng(11)

    def world(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        hard = random.normal(size=(n, 1))  # makes a text hard in all categories
        labels = ((hard + random.normal(size=(n, 3))) > 1.2).astype(np.int8)
        shared = 1.8 * labels + random.normal(size=(n, 3))
        blur = 0.5 * random.normal(size=(n, 1)) + 0.3 * random.normal(size=(n, 3))
        return labels, squashed(shared), squashed(shared + blur)

    def mean_difference(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        ap = metrics.average_precision
        return float(np.mean([ap(b[:, c], labels[:, c]) - ap(a[:, c], labels[:, c]) for c in range(3)]))

    truth = np.mean([mean_difference(*world(WORLD_TRUTH)) for _ in range(6)])
    covered = 0
    for seed in range(100):
        labels, a, b = world(400)
        suite = world_suite(labels)
        runs = [world_run(suite, "a", a), world_run(suite, "b", b)]
        found = compare_runs(suite, runs, seed=seed, resamples=120, confidence=0.9, measures=["auprc"])
        mean = found.pairs[0].difference("auprc")
        assert mean is not None
        covered += mean.low <= truth <= mean.high  # type: ignore[operator]
    assert 82 <= covered <= 98  # 90 expected, +- 2.7 standard deviations of 3


def test_equal_seeds_give_equal_bits_and_categories_do_not_change_each_other() -> None:
    random = np.random.default_rng(3)
    labels = world_labels(300, random)
    suite = world_suite(labels)
    scores = (labels == 1) + random.normal(size=labels.shape)
    runs = [
        world_run(suite, "a", squashed(scores)),
        world_run(suite, "b", squashed(scores + random.normal(size=scores.shape))),
    ]
    first, second = (compare_runs(suite, runs, resamples=50) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert compare_runs(suite, runs, resamples=50, seed=1).to_json() != first.to_json()
    fewer = compare_runs(suite, runs, resamples=50, measures=["auprc"])
    for category in (None, *CATEGORIES):
        assert fewer.pairs[0].difference("auprc", category) == first.pairs[0].difference("auprc", category)


def test_contestants_that_answer_the_same_differ_by_nothing() -> None:
    random = np.random.default_rng(4)
    labels = world_labels(200, random)
    suite = world_suite(labels)
    scores = squashed((labels == 1) + random.normal(size=labels.shape))
    found = compare_runs(suite, [world_run(suite, "a", scores), world_run(suite, "b", scores)], resamples=20)
    for difference in found.pairs[0].differences:
        assert (difference.estimate, difference.low, difference.high) == (0, 0, 0)
    assert found.pairs[0].changed == ()


def test_differences_that_no_resample_shows_are_not_taken_for_none() -> None:
    """Both rank perfectly, with other scores: 25 positives say little about 1 %."""
    labels = np.array([1] * 25 + [0] * 100, np.int8)
    a = np.linspace(0.9, 0.1, 125).astype(np.float32)
    found = paired_difference(labels, a, a**2, "auprc", seed=0, resamples=100, confidence=0.9)
    assert found.estimate == 0
    assert found.high == pytest.approx(3 / 25)  # the rule of three


def test_unanswered_texts_are_left_out_of_pairs_alone() -> None:
    random = np.random.default_rng(5)
    labels = world_labels(300, random)
    suite = world_suite(labels)
    scores = (labels == 1) * 2 + random.normal(size=labels.shape)
    a = world_run(suite, "a", squashed(scores))
    b = world_run(suite, "b", squashed(scores + random.normal(size=scores.shape)), failed=range(0, 100, 2))
    found = compare_runs(suite, [a, b], resamples=20)
    whole, part = found.contestants
    assert (whole.answered, part.answered, len(part.failed)) == (300, 250, 50)
    assert part.failed[1] == ("t2", "out of order")
    kept = np.setdiff1d(np.arange(300), np.arange(0, 100, 2))
    y = labels[kept, 0]
    expected = [average_precision_score(y[y >= 0], s.scores[kept, 0][y >= 0]) for s in (a, b)]
    difference = found.pairs[0].difference("auprc", "harassment")
    assert difference is not None
    assert [difference.reference, difference.candidate] == pytest.approx(expected)
    assert (found.pairs[0].texts, found.pairs[0].unanswered) == (250, 50)
    assert whole.categories["harassment"].positives == (labels[:, 0] == 1).sum()


def test_changed_decisions_are_named_by_id() -> None:
    labels = np.array([[1], [0], [-1], [1]] * 10, np.int8)
    suite = world_suite(labels, ["hate"])
    before, after = np.full((40, 1), 0.4), np.full((40, 1), 0.4)
    after[:3] = 0.8
    found = compare_runs(
        suite, [world_run(suite, "a", before), world_run(suite, "b", after)], resamples=5
    ).pairs[0]
    assert [tuple(change) for change in found.changed] == [
        ("t0", False, True, True),
        ("t1", False, True, False),
        ("t2", False, True, None),
    ]
    assert (found.decisions["any"].only_candidate, found.decisions["any"].only_reference) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measure": "auc"}, "unknown measure 'auc'"),
        ({"scores_b": np.zeros(3, np.float32)}, "4 labels, but scores_b has shape"),
        ({"scores_a": np.array([0, 1, np.nan, 0], np.float32)}, "scores_a must be finite"),
        ({"confidence": 1.0}, "confidence must be 0.5 or more"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"resamples": 10**6}, "resamples must be 0 to 100000"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, object], message: str) -> None:
    usual: dict[str, object] = {
        "labels": np.array([1, 0, 1, 0], np.int8),
        "scores_a": np.zeros(4, np.float32),
        "scores_b": np.zeros(4, np.float32),
        "measure": "auprc",
        "seed": 0,
        "resamples": 10,
        "confidence": 0.95,
    }
    with pytest.raises(SafetyclfError, match=message):
        paired_difference(**(usual | arguments))  # type: ignore[arg-type]
