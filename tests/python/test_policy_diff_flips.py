"""Changed decisions: which, how often, how sure."""

from __future__ import annotations

import math

import numpy as np
import pytest
import safetyclf
from safetyclf import Thresholds
from safetyclf.policy.flips import Decisions, Tally, decide, figures, flips, gate, rate, tally
from scipy.stats import binom


def decisions(actions: list[int], flagged: list[list[int]], names: tuple[str, ...] = ("a", "b")) -> Decisions:
    return Decisions(names, np.array(actions, np.int8), np.array(flagged, bool).reshape(-1, len(names)))


OLD = decisions([0, 1, 2, 1, 1], [[0, 0], [1, 0], [1, 1], [1, 0], [0, 1]])
NEW = decisions([0, 0, 2, 2, 1], [[0, 0], [0, 0], [1, 1], [1, 1], [1, 0]])


def test_flips_name_what_changed() -> None:
    found = [(f.index, f.before, f.after, f.gained, f.lost) for f in flips(OLD, NEW)]
    assert found == [
        (1, "review", "allow", (), ("a",)),
        (3, "review", "block", ("b",), ()),
        (4, "review", "review", ("a",), ("b",)),
    ]


def test_figures_count_each_kind_of_change() -> None:
    found = figures(tally(OLD, NEW))
    assert (found.texts, found.changed.hits, found.relabelled.hits) == (5, 2, 1)
    assert (found.shift.stricter.hits, found.shift.laxer.hits) == (1, 1)
    assert found.transitions == {("review", "allow"): 1, ("review", "block"): 1}
    assert {name: (s.stricter.hits, s.laxer.hits) for name, s in found.categories.items()} == {
        "a": (1, 1),
        "b": (1, 1),
    }


def test_tallies_of_parts_add_up() -> None:
    def part(side: Decisions, rows: slice) -> Decisions:
        return Decisions(side.categories, side.actions[rows], side.flagged[rows])

    parts = [tally(part(OLD, rows), part(NEW, rows)) for rows in (slice(0, 2), slice(2, 2), slice(2, 5))]
    assert figures(sum(parts, Tally())) == figures(tally(OLD, NEW))


def test_a_category_of_one_side_alone_counts_as_not_flagged_on_the_other() -> None:
    old = decisions([1], [[1]], ("a",))
    new = decisions([1], [[1]], ("c",))
    (flip,) = flips(old, new)
    assert (flip.gained, flip.lost) == (("c",), ("a",))


def test_sides_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="5 decisions cannot be compared with 1"):
        tally(OLD, decisions([0], [[0, 0]]))


def test_decisions_compare_in_single_precision() -> None:
    limit = Thresholds(float(np.float32(0.1)), None)
    scores = np.array([[0.1, 0.99], [0.09, 0.99]], np.float32)
    found = decide(("a", "b"), scores, {"a": limit})
    assert found.flagged.tolist() == [[True, False], [False, False]]
    assert found.actions.tolist() == [1, 0]
    assert decide(("a",), scores[:, :1], {"a": Thresholds(0.05, 0.1)}).actions.tolist() == [2, 1]


def test_decide_is_what_the_engine_decides(tiny: safetyclf.Classifier, messages: list[str]) -> None:
    scores = tiny.scores(messages)
    found = decide(tiny.categories, scores, tiny.thresholds)
    verdicts = tiny.classify_batch(messages)
    assert [("allow", "review", "block")[a] for a in found.actions] == [v.action for v in verdicts]
    assert found.flagged.tolist() == [list(v.categories.values()) for v in verdicts]


@pytest.mark.parametrize(("hits", "of"), [(0, 1), (0, 40), (3, 40), (40, 40), (17, 1000)])
def test_bounds_are_the_clopper_pearson_ones(hits: int, of: int) -> None:
    """By their definition: the rates at which so few, or so many, hits have the tail's probability."""
    found = rate(hits, of)
    for low, high, tail in ((found.low, found.high, 0.025), (found.at_least, found.at_most, 0.05)):
        assert low == 0 if hits == 0 else math.isclose(binom.sf(hits - 1, of, low), tail, rel_tol=1e-6)
        assert high == 1 if hits == of else math.isclose(binom.cdf(hits, of, high), tail, rel_tol=1e-6)


def test_no_texts_say_nothing() -> None:
    found = rate(0, 0)
    assert (found.value, found.low, found.high, found.at_least, found.at_most) == (None, 0, 1, 0, 1)
    assert gate(found, 0.5) == "unknown"


@pytest.mark.parametrize(("true_rate", "n"), [(0.01, 150), (0.05, 300), (0.5, 37)])
def test_bounds_hold_as_often_as_they_say(true_rate: float, n: int) -> None:
    """Simulated: 4000 samples, whose share of misses has a standard deviation below 0.0035 at 5 %."""
    hits = np.random.default_rng(5).binomial(n, true_rate, 4000)
    of = {int(h): rate(int(h), n) for h in np.unique(hits)}
    found = [of[int(h)] for h in hits]
    assert np.mean([r.at_most < true_rate for r in found]) <= 0.05 + 3 * 0.0035
    assert np.mean([r.at_least > true_rate for r in found]) <= 0.05 + 3 * 0.0035
    assert np.mean([not r.low <= true_rate <= r.high for r in found]) <= 0.05 + 3 * 0.0035
    assert np.mean([gate(r, true_rate) == "above" for r in found]) <= 0.05 + 3 * 0.0035


@pytest.mark.parametrize(("stricter", "laxer"), [(0, 0), (1, 0), (5, 5), (9, 2), (2, 9), (40, 12)])
def test_mcnemar_is_exact(stricter: int, laxer: int) -> None:
    n = stricter + laxer
    actions = np.zeros((3, 3), np.int64)
    actions[0, 1], actions[1, 0], actions[0, 0] = stricter, laxer, 7
    tail = sum(math.comb(n, k) for k in range(min(stricter, laxer) + 1)) / 2**n
    assert math.isclose(figures(Tally(actions)).shift.p, min(1, 2 * tail), rel_tol=1e-9)


@pytest.mark.parametrize(
    ("hits", "of", "limit", "outcome"),
    [
        (0, 10, 0.01, "unknown"),  # 10 texts cannot show 1 %
        (0, 300, 0.01, "within"),
        (3, 300, 0.01, "unknown"),
        (10, 300, 0.01, "above"),
        (6, 200, 0.012, "above"),  # the one-sided bound counts: 0.0131, not 0.0111
        (1, 1000, 0.0, "above"),  # nothing may change, and something did
    ],
)
def test_gate(hits: int, of: int, limit: float, outcome: str) -> None:
    assert gate(rate(hits, of), limit) == outcome
