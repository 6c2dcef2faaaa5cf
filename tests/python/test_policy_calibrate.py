"""Targets of a policy become thresholds with statements, or are refused with the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetyclf import InvalidArgumentError, PolicyError

pytest.importorskip("scipy")
pytest.importorskip("sklearn")

from safetyclf._modelfile import NEVER
from safetyclf._policy import statement_id
from safetyclf.policy import bounds
from safetyclf.policy.calibrate import calibrate
from safetyclf.policy.document import (
    Audience,
    Calibrated,
    Calibration,
    Category,
    Limits,
    PolicyDocument,
    Target,
)
from safetyclf.policy.statements import rounded_bound
from safetyclf.policy.verify import verify
from scipy.stats import binom

Columns = tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]
MODEL, DATA = "model-1.0.0+0123456789ab", "d" * 64


def policy(
    limits: dict[str, Limits], audiences: dict[str, dict[str, Limits]] | None = None, **changes: Any
) -> PolicyDocument:
    document = PolicyDocument(
        id="house-rules",
        version="1.0.0",
        title="House rules",
        description="",
        categories={name: Category(name, name, limits=found) for name, found in limits.items()},
        audiences={name: Audience(name, name, limits=found) for name, found in (audiences or {}).items()},
        lists={},
        calibration=None,
        sha256="0" * 64,
    )
    return replace(document, **changes)


def rows(seed: int = 0, n: int = 2000, categories: int = 1) -> Columns:
    """Scores that tell positives (three in ten) well but not perfectly."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, categories)) < 0.3).astype(np.int8)
    logits = rng.normal(size=labels.shape) * 1.5 + 5 * labels - 3
    return (1 / (1 + np.exp(-logits))).astype(np.float32), labels


def one(limits: Limits, data: Columns | None = None, **options: Any) -> dict[str, Calibrated]:
    """Entries by action, of one category."""
    found = calibrate(policy({"a": limits}), *(data or rows()), ["a"], MODEL, DATA, **options)
    assert found.model == MODEL
    return {entry.action: entry for entry in found.thresholds}


# Bounds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (3, 20), (20, 20), (997, 1000)])
def test_lower_bound_is_exact(hits: int, n: int) -> None:
    bound = bounds.lower_bound(hits, n, 0.9)
    assert bound == 0 if hits == 0 else binom.sf(hits - 1, n, bound) == pytest.approx(0.1, abs=1e-9)


@given(st.integers(1, 400), st.floats(0.01, 0.99), st.floats(0.5, 0.999))
def test_required_hits_is_the_smallest(n: int, rate: float, confidence: float) -> None:
    hits = bounds.required_hits(n, rate, confidence)
    assert 1 <= hits <= n + 1
    assert bounds.lower_bound(hits - 1, n, confidence) < rate
    if hits <= n:
        assert bounds.lower_bound(hits, n, confidence) >= rate
        # The same as a binomial test at that level.
        assert bounds.tail(hits, n, rate) <= 1 - confidence + 1e-9
        assert bounds.tail(hits - 1, n, rate) > 1 - confidence - 1e-9


@pytest.mark.parametrize(("rate", "confidence", "n"), [(0.9, 0.95, 29), (0.95, 0.95, 59), (0.8, 0.99, 21)])
def test_needed_positives_are_the_fewest(rate: float, confidence: float, n: int) -> None:
    assert bounds.needed_positives(rate, confidence) == n
    assert bounds.required_hits(n, rate, confidence) == n
    assert bounds.required_hits(n - 1, rate, confidence) == n


@given(st.integers(0, 30), st.integers(0, 30), st.floats(0.01, 0.99))
def test_tail_is_that_of_the_binomial(hits: int, more: int, rate: float) -> None:
    n = hits + more
    assert bounds.tail(hits, n, rate) == pytest.approx(binom.sf(hits - 1, n, rate), rel=1e-9, abs=1e-300)


@given(st.floats(0, 1, width=32))
def test_rounded_thresholds_stay_on_their_side(score: float) -> None:
    above, reached = bounds.just_above(score), bounds.at_most(score)
    assert np.float32(reached) <= np.float32(score) < np.float32(above)
    assert reached >= 0
    assert above <= 1 or above == NEVER
    # Three digits are kept of the score or of its distance from 1, whichever is smaller.
    assert score - reached <= max(0.0101 * min(score, 1 - score), 1.3e-7)


@given(
    st.lists(st.sampled_from([0.0, 1e-8, 0.25, 0.5, 0.50000006, 0.99999994, 1.0]), min_size=1, max_size=12),
    st.data(),
)
def test_thresholds_count_ties_on_the_safe_side(scores: list[float], data: st.DataObject) -> None:
    column = np.array(scores, np.float32)
    hits = data.draw(st.integers(0, len(scores) - 1))
    assert (column >= np.float32(bounds.threshold_above(column, hits))).sum() <= hits
    assert (column < np.float32(bounds.threshold_below(column, hits))).sum() <= hits
    tried = np.array([0.0, 0.5, 1.0], np.float32)
    assert bounds.reaching(column, tried).tolist() == [int((column >= t).sum()) for t in tried]


def test_rows_that_explore_do_not_follow_the_layout_of_a_file() -> None:
    exploring = bounds.explored(4096)
    assert np.array_equal(bounds.explored(1000), exploring[:1000])
    for period in (2, 3, 4, 7):
        for phase in range(period):
            assert 0.15 < exploring[phase::period].mean() < 0.35


def test_a_sequence_goes_down_from_the_clearest_evidence() -> None:
    scores = np.repeat(np.array([0.9, 0.8, 0.7, 0.6, 0.1], np.float32), 20)
    positive = np.repeat([False, True, True, False, False], 20)
    tried = bounds.sequence(scores, positive, 0.6)
    assert tried[0] == 0.7
    assert tried == sorted(tried, reverse=True)
    assert len(tried) <= 64
    # The first is wrong for these rows, so none after it counts, though the second would pass.
    none = bounds.passing([0.9, 0.7], scores, positive, 0.5, 0.95)
    assert none == []
    assert bounds.passing([0.7], scores, positive, 0.5, 0.95) == [0.7]


@pytest.mark.parametrize("bound", [0.0123456, 0.999951, 0.5, 1.0])
def test_stated_bounds_are_never_stronger(bound: float) -> None:
    assert rounded_bound(bound, "recall") <= bound <= rounded_bound(bound, "fpr")
    assert rounded_bound(bound, "fpr") - rounded_bound(bound, "recall") <= 1e-3 * bound


# What is found ---------------------------------------------------------------------------------------------


def test_a_false_positive_rate() -> None:
    scores, labels = rows()
    entry = one(Limits(review=Target("fpr", 0.02)))["review"]
    negatives = scores[labels == 0]
    s = entry.statement
    assert entry.value is not None
    assert s["threshold"] == entry.value
    assert (s["n"], s["negatives"], s["positives"]) == (len(negatives), len(negatives), (labels == 1).sum())
    assert s["hits"] == (negatives >= np.float32(entry.value)).sum() <= s["allowed"]
    assert s["allowed"] == bounds.allowed_hits(len(negatives), 0.02, 0.95)
    assert bounds.upper_bound(s["allowed"], s["n"], 0.95) <= s["bound"] <= 0.02
    assert (s["model"], s["data_sha256"], s["metric"], s["target"]) == (MODEL, DATA, "fpr", 0.02)
    assert "not 'a'" in s["rule"]
    # The price is beside it.
    recall = s["rates"]["recall"]
    assert recall["hits"] == (scores[labels == 1] >= np.float32(entry.value)).sum()
    assert recall["low"] < recall["value"] < recall["high"]
    assert s["rates"]["precision"]["of"] == s["selected"] == s["hits"] + recall["hits"]


def test_a_recall() -> None:
    scores, labels = rows()
    entry = one(Limits(review=Target("recall", 0.9, 0.99)))["review"]
    positives, s = scores[labels == 1], entry.statement
    assert entry.value is not None
    assert s["n"] == len(positives)
    assert s["required"] <= s["hits"] == (positives >= np.float32(entry.value)).sum()
    assert 0.9 <= s["bound"] <= bounds.lower_bound(s["required"], s["n"], 0.99)
    # Hardly stricter than it has to be.
    higher = np.float32(entry.value * 1.02)
    assert (positives >= higher).sum() < s["required"] + 5


def test_a_precision_rests_on_the_rows_that_tested() -> None:
    scores, labels = rows()
    entry = one(Limits(block=Target("precision", 0.9)))["block"]
    s, testing = entry.statement, ~bounds.explored(len(scores))
    assert entry.value is not None
    reached = testing & (scores[:, 0] >= np.float32(entry.value))
    assert (s["n"], s["hits"]) == (reached.sum(), labels[reached, 0].sum())
    assert bounds.tail(s["hits"], s["n"], 0.9) <= 0.05
    assert s["bound"] == 0.9
    assert s["chose"] + s["tested"] == len(scores)
    assert s["rates"]["recall"]["value"] > 0.7


def test_unknown_labels_are_left_out() -> None:
    scores, labels = rows()
    unknown = labels.copy()
    unknown[1::2] = -1
    limits = Limits(Target("recall", 0.8), Target("precision", 0.8))
    assert one(limits, (scores, unknown)) == one(limits, (scores[::2], labels[::2]))


def test_the_other_column_has_no_part() -> None:
    scores, labels = rows(categories=2)
    limits = Limits(review=Target("fpr", 0.05))
    both = calibrate(policy({"b": limits}), scores, labels, ["a", "b"], MODEL, DATA)
    alone = calibrate(policy({"b": limits}), scores[:, 1:], labels[:, 1:], ["b"], MODEL, DATA)
    assert both == alone


def test_negatives_at_the_highest_score_leave_never() -> None:
    scores, labels = np.ones((400, 1), np.float32), np.zeros((400, 1), np.int8)
    entry = one(Limits(review=Target("fpr", 0.05)), (scores, labels))["review"]
    assert entry.value is None
    assert entry.statement["never"] is True
    assert "threshold" not in entry.statement
    assert entry.statement["rates"] == {
        "fpr": {"value": 0.0, "low": 0.0, "high": pytest.approx(0.00918, abs=1e-5), "hits": 0, "of": 400}
    }


def test_statements_are_json_and_named_by_their_content() -> None:
    found = one(Limits(Target("recall", 0.9), Target("precision", 0.8)))
    names = set()
    for entry in found.values():
        again = json.loads(json.dumps(entry.statement, allow_nan=False))
        assert again == entry.statement
        name = statement_id(again)
        assert name == statement_id(dict(reversed(list(again.items()))))
        assert name != statement_id({**again, "confidence": 0.951})
        names.add(name)
    assert len(names) == 2
    assert statement_id({"b": 1, "a": "é"}) == "6d9eb4528409"


# Several at once -------------------------------------------------------------------------------------------


def test_joint_promises_share_the_risk() -> None:
    limits = {
        "a": Limits(Target("recall", 0.8), Target("fpr", 0.05, 0.9)),
        "b": Limits(Target("recall", 0.8), "never"),
    }
    inherited = {"teen": {"a": limits["a"]}}
    data = rows(categories=2)
    single = calibrate(policy(limits), *data, ["a", "b"], MODEL, DATA)
    joint = calibrate(policy(limits, inherited), *data, ["a", "b"], MODEL, DATA, joint=True)
    # A target that an audience has from its category is not another promise.
    assert len(joint.thresholds) == 5
    for entry in joint.thresholds:
        assert entry.statement["joint"] == 3
        assert entry.statement["joint_confidence"] == pytest.approx(1 - (0.05 + 0.1 + 0.05) / 3)
        assert "at once" in entry.statement["rule"]
    for alone, together in zip(single.thresholds, joint.thresholds, strict=False):
        assert "joint" not in alone.statement
        risk = (1 - alone.target.confidence) / 3
        if alone.target.metric == "fpr":
            assert together.statement["allowed"] == bounds.allowed_hits(
                together.statement["n"], 0.05, 1 - risk
            )
            assert together.statement["allowed"] < alone.statement["allowed"]
        else:
            assert together.statement["required"] > alone.statement["required"]


def test_an_audience_has_statements_of_its_own() -> None:
    teen = {"teen": {"a": Limits(Target("recall", 0.95), "model")}}
    document = policy({"a": Limits(Target("recall", 0.9), "model")}, teen)
    everything = calibrate(document, *rows(), ["a"], MODEL, DATA)
    assert [entry.audience for entry in everything.thresholds] == [None, "teen"]
    assert everything.thresholds[1].statement["audience"] == "teen"
    values = [entry.value for entry in everything.thresholds]
    assert values[1] is not None
    assert values[0] is not None
    assert values[1] < values[0]

    document = replace(document, calibration=everything)
    changed = calibrate(document, *rows(1), ["a"], MODEL, "e" * 64, audience="teen")
    assert changed.thresholds[0] == everything.thresholds[0]
    assert changed.thresholds[1].statement["data_sha256"] == "e" * 64
    with pytest.raises(PolicyError, match="is of model model-1"):
        calibrate(document, *rows(1), ["a"], "other", DATA, audience="teen")
    with pytest.raises(PolicyError, match="no audience 'adult'; there are: teen"):
        calibrate(document, *rows(1), ["a"], MODEL, DATA, audience="adult")
    with pytest.raises(InvalidArgumentError, match="not for one audience"):
        calibrate(document, *rows(1), ["a"], MODEL, DATA, audience="teen", joint=True)


# Review below block ----------------------------------------------------------------------------------------

TARGETS = [Target("fpr", 0.02), Target("fpr", 0.3), Target("recall", 0.5), Target("recall", 0.97)]
TARGETS += [Target("precision", 0.6), Target("precision", 0.9)]


@pytest.mark.parametrize("review", TARGETS, ids=str)
@pytest.mark.parametrize("block", TARGETS, ids=str)
def test_what_is_blocked_is_reviewed_and_no_promise_breaks(review: Target, block: Target) -> None:
    alone = {"review": one(Limits(review, "model"))["review"], "block": one(Limits("model", block))["block"]}
    try:
        found = one(Limits(review, block))
    except PolicyError:
        # A review that may not come down stands above a block that may not go up.
        assert review.metric != "recall"
        assert block.metric != "fpr"
        with pytest.raises(PolicyError, match="above the block threshold"):
            one(Limits(review, block))
        return
    values = {action: entry.value for action, entry in found.items()}
    assert values["review"] is not None
    assert values["block"] is not None
    assert np.float32(values["review"]) <= np.float32(values["block"])
    scores, labels = rows()
    for action, entry in found.items():
        s, before = entry.statement, alone[action].value
        assert before is not None
        assert ("moved" in s) == (entry.value != before)
        if entry.target.metric == "fpr":
            assert s["hits"] <= s["allowed"]
        elif entry.target.metric == "recall":
            assert s["hits"] >= s["required"]
        else:
            exploring = bounds.explored(len(scores))
            tried = bounds.sequence(scores[exploring, 0], labels[exploring, 0] == 1, entry.target.value)
            assert entry.value in tried
            assert bounds.tail(s["hits"], s["n"], entry.target.value) <= 0.05


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(Target("recall", 0.5), 0.2), (0.2, None)),
        (Limits(0.9, Target("fpr", 0.3)), (None, 0.9)),
        (Limits(Target("fpr", 0.001), 0.2), "neither can be moved"),
        (Limits(0.99, Target("recall", 0.9)), "neither can be moved"),
        (Limits("never", Target("fpr", 0.01)), "never reviewed"),
    ],
)
def test_a_given_threshold_stays_where_it_is(limits: Limits, expected: Any) -> None:
    scores, labels = rows(n=6000)
    if isinstance(expected, str):
        with pytest.raises(PolicyError, match=expected):
            one(limits, (scores, labels))
        return
    ((action, entry),) = one(limits, (scores, labels)).items()
    assert entry.value == expected[("review", "block").index(action)]
    assert "moved" in entry.statement


# What is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "positives", "negatives", "reason"),
    [
        (
            Target("fpr", 0.01),
            5,
            298,
            "'a': false-positive rate at most 0.01 needs at least 299 rows",
        ),
        (Target("recall", 0.9), 28, 900, "'a': recall at least 0.9 needs at least 29 rows labelled 1"),
        (Target("recall", 0.9), 0, 900, r"29 rows labelled 1 \(confidence 0.95\); the data have 0"),
        (Target("precision", 0.9), 20, 900, "'a': precision at least 0.9 needs at least 29 rows that reach"),
        (Target("precision", 0.9), 0, 900, "the data have 0"),
        (Target("fpr", 0.01), 0, 0, "the data have 0"),
        (Target("precision", 0.5), 0, 0, "the data have 0"),
    ],
)
def test_too_few_rows_are_refused_with_the_number_needed(
    target: Target, positives: int, negatives: int, reason: str
) -> None:
    labels = np.array([1] * positives + [0] * negatives + [-1] * 50, np.int8)[:, None]
    scores = np.linspace(1, 0, len(labels), dtype=np.float32)[:, None]
    with pytest.raises(PolicyError, match=reason):
        one(Limits(review=target), (scores, labels))


@pytest.mark.parametrize(("target", "n"), [(Target("fpr", 0.01), 299), (Target("recall", 0.9), 29)])
def test_just_enough_rows_will_do(target: Target, n: int) -> None:
    labels = np.full((n, 1), int(target.metric == "recall"), np.int8)
    scores = np.linspace(0.1, 0.9, n, dtype=np.float32)[:, None]
    entry = one(Limits(review=target), (scores, labels))["review"]
    assert entry.value == (0.901 if target.metric == "fpr" else 0.1)


@pytest.mark.parametrize(
    ("n", "outcome"),
    [(3, "needs at least 4 rows that reach the threshold"), (8, "needs more rows: none"), (40, 0.7)],
)
def test_a_handful_of_rows_for_precision(n: int, outcome: Any) -> None:
    data = np.full((n, 1), 0.7, np.float32), np.ones((n, 1), np.int8)
    limits = Limits(block=Target("precision", 0.5, 0.9))
    if isinstance(outcome, str):
        with pytest.raises(PolicyError, match=outcome):
            one(limits, data)
    else:
        assert one(limits, data)["block"].value == outcome


def test_a_model_that_is_not_precise_enough_is_refused_with_counts() -> None:
    scores, labels = rows()
    labels = np.random.default_rng(0).permutation(labels)
    with pytest.raises(PolicyError, match=r"precision at least 0.8 cannot be promised: of the \d+ testing"):
        one(Limits(block=Target("precision", 0.8)), (scores, labels))


def test_all_that_is_wrong_is_said_at_once_with_its_place() -> None:
    lines = {
        ("categories", "a"): 5,
        ("categories", "a", "review"): 7,
        ("audiences", "teen", "thresholds", "a", "review"): 20,
    }
    recall = Limits(Target("recall", 0.9), "model")
    document = policy({"a": recall, "b": recall}, {"teen": {"a": recall}}, path="rules.toml", lines=lines)
    scores, labels = rows(n=20)
    with pytest.raises(PolicyError) as refused:
        calibrate(document, scores, labels, ["a"], MODEL, DATA)
    places = [line.partition(": ")[0] for line in str(refused.value).splitlines()]
    assert places == ["rules.toml:7", "rules.toml", "rules.toml:20"]
    assert "no score for 'b'" in str(refused.value)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.1, 1.1])
def test_scores_that_are_no_probabilities_are_refused(wrong: float) -> None:
    scores, labels = rows()
    scores[7] = wrong
    with pytest.raises(InvalidArgumentError, match="row 7, 'a'"):
        one(Limits(review=Target("fpr", 0.1)), (scores, labels))


def test_arrays_of_another_shape_are_refused() -> None:
    scores, labels = rows()
    for wrong in (
        (scores[:-1], labels),
        (scores.astype(float), labels),
        (scores, labels * 2),
        (scores, labels[:, 0]),
    ):
        with pytest.raises(InvalidArgumentError):
            one(Limits(review=Target("fpr", 0.1)), wrong)


def test_a_policy_without_targets_is_refused() -> None:
    with pytest.raises(PolicyError, match="no threshold is a target"):
        one(Limits(0.1, 0.2))


# Checking --------------------------------------------------------------------------------------------------


def calibrated_policy(limits: dict[str, Limits], data: Columns) -> PolicyDocument:
    document = policy(limits)
    return replace(document, calibration=calibrate(document, *data, list(limits), MODEL, DATA))


LIMITS = {
    "a": Limits(Target("recall", 0.9), Target("precision", 0.8)),
    "b": Limits("model", Target("fpr", 0.02)),
}


def test_new_rows_like_the_old_ones_contradict_nothing() -> None:
    document = calibrated_policy(LIMITS, rows(categories=2))
    found = verify(document, *rows(9, categories=2), ["a", "b"], MODEL)
    assert [checked.contradicted for checked in found] == [False] * 3
    assert [checked.id for checked in found] == [statement_id(checked.entry.statement) for checked in found]
    assert all(checked.observed.of for checked in found)
    for checked in found:
        hits, of, target = checked.observed.hits, checked.observed.of, checked.entry.target
        below, above = binom.cdf(hits, of, target.value), binom.sf(hits - 1, of, target.value)
        assert checked.p == pytest.approx(above if target.metric == "fpr" else below, rel=1e-6)


def test_what_the_new_rows_contradict_is_found() -> None:
    document = calibrated_policy(LIMITS, rows(categories=2))
    scores, labels = rows(9, categories=2)
    for c, metric, wrong in ((0, "recall", 0), (0, "precision", 0), (1, "fpr", 1)):
        other = labels.copy()
        other[:, c] = (
            # Many positives with low scores, or high scores without harm.
            labels[:, c] | (np.arange(len(labels)) % 5 == 0)
            if metric == "recall"
            else labels[:, c] * (np.arange(len(labels)) % 2 == wrong)
        )
        found = verify(document, scores, other, ["a", "b"], MODEL)
        assert metric in {checked.entry.target.metric for checked in found if checked.contradicted}


def test_several_promises_share_the_risk_of_an_alarm() -> None:
    labels = np.zeros((1000, 10), np.int8)
    # 63 of 1000 where 5 % are promised (p = 0.038) are improbable alone, and not among ten.
    scores = np.where(np.arange(1000)[:, None] < 63, 0.9, 0.1).astype(np.float32).repeat(10, axis=1)
    names = [f"c{i}" for i in range(10)]
    entries = [
        Calibrated(name, "review", None, Target("fpr", 0.05), 0.5, {"threshold": 0.5}) for name in names
    ]
    for count, alarms in ((1, 1), (10, 0)):
        limits = {name: Limits(Target("fpr", 0.05), "model") for name in names[:count]}
        document = policy(limits, calibration=Calibration(MODEL, tuple(entries[:count])))
        found = verify(document, scores[:, :count], labels[:, :count], names[:count], MODEL)
        assert sum(checked.contradicted for checked in found) == alarms


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"calibration": None}, "the target has no statement; run safetyclf calibrate"),
        ({"calibration": Calibration("other", ())}, "the target has no statement"),
        ({"categories": {"a": Category("a", "a", limits=Limits(Target("recall", 0.91)))}}, "no statement"),
    ],
)
def test_a_target_without_its_statement_is_an_error(change: dict[str, Any], reason: str) -> None:
    document = calibrated_policy({"a": Limits(Target("recall", 0.9))}, rows())
    with pytest.raises(PolicyError, match=reason):
        verify(replace(document, **change), *rows(1), ["a"], MODEL)


def test_a_statement_about_something_else_is_an_error() -> None:
    document = calibrated_policy({"a": Limits(Target("recall", 0.9))}, rows())
    assert document.calibration is not None
    (entry,) = document.calibration.thresholds
    edited = Calibration(MODEL, (replace(entry, value=0.77),))
    with pytest.raises(PolicyError, match="its statement is about another threshold"):
        verify(replace(document, calibration=edited), *rows(1), ["a"], MODEL)
    with pytest.raises(PolicyError, match=r"calibrated for model model-1.0.0\+0123456789ab, not for other"):
        verify(document, *rows(1), ["a"], "other")
    scores, labels = rows(1)
    with pytest.raises(PolicyError, match="say nothing about any promise"):
        verify(document, scores, np.full_like(labels, -1), ["a"], MODEL)
