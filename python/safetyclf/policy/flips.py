"""Two sides decide on the same texts: which decisions change, how often, and how sure that is.

The sides are two policies, two audiences or two models. Everything here is a pure function of decisions;
`Tally`s of parts of the texts add up, so that any number of texts takes the memory of one part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from .._results import Action, Thresholds
from .bounds import lower_bound, upper_bound

ACTIONS: Final[tuple[Action, Action, Action]] = ("allow", "review", "block")
CONFIDENCE: Final = 0.95
Outcome: TypeAlias = Literal["above", "within", "unknown"]
Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Decisions:
    """What one side decides on n texts.

    Attributes:
        categories: names, the columns of `flagged`.
        actions: indices into `ACTIONS`, int8 [n].
        flagged: which categories are flagged, bool [n, C].
    """

    categories: tuple[str, ...]
    actions: npt.NDArray[np.int8]
    flagged: Bools


@dataclass(frozen=True)
class Flip:
    """One text on which the sides differ, by its index: in the action, in the flagged categories, or both."""

    index: int
    before: Action
    after: Action
    gained: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Tally:
    """Counts of what changed.

    Attributes:
        actions: how many texts went from which action to which, int64 [3, 3]: rows are the old side.
        relabelled: texts with the same action for other categories.
        gained: texts by the category that only the new side flags.
        lost: texts by the category that only the old side flags.
    """

    actions: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, 3), np.int64))
    relabelled: int = 0
    gained: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.actions + other.actions,
            self.relabelled + other.relabelled,
            _sum(self.gained, other.gained),
            _sum(self.lost, other.lost),
        )


@dataclass(frozen=True)
class Rate:
    """A share of texts. `low` and `high` are its exact two-sided 95 % interval (Clopper and Pearson 1934).

    `at_least` and `at_most` are exact bounds of 95 % confidence each: one of them alone may be relied on.
    Without texts there is nothing to say: `value` is None and the interval is all of [0, 1].
    """

    hits: int
    of: int
    value: float | None
    low: float
    high: float
    at_least: float
    at_most: float


@dataclass(frozen=True)
class Shift:
    """Changes in two directions.

    `p` is that of McNemar's exact test: how likely so uneven a split, or a more uneven one, would be if both
    directions were equally frequent.
    """

    stricter: Rate
    laxer: Rate
    p: float


@dataclass(frozen=True)
class FlipFigures:
    """What there is to say about the changes.

    Attributes:
        texts: their number.
        changed: texts whose action changes; what a gate holds.
        shift: towards a stricter action and towards a laxer one.
        relabelled: texts with the same action for other categories.
        transitions: texts by (old action, new action), changes only.
        categories: by category, flagged by the new side alone (stricter) and by the old one alone (laxer);
            those without a change are left out.
    """

    texts: int
    changed: Rate
    shift: Shift
    relabelled: Rate
    transitions: Mapping[tuple[Action, Action], int]
    categories: Mapping[str, Shift]


def decide(
    categories: Sequence[str], scores: npt.NDArray[np.float32], thresholds: Mapping[str, Thresholds]
) -> Decisions:
    """Decisions as the engine makes them of scores [n, C]: what has no threshold is never flagged."""

    def reached(column: int, limit: float | None) -> Bools:
        # As the engine compares: in single precision.
        return np.asarray(scores[:, column] >= np.float32(2.0 if limit is None else limit))

    never = Thresholds(None, None)
    limits = [thresholds.get(name, never) for name in categories]
    flagged = np.zeros(scores.shape, bool)
    blocked = np.zeros(len(scores), bool)
    for column, limit in enumerate(limits):
        flagged[:, column] = reached(column, limit.review)
        blocked |= reached(column, limit.block)
    actions = np.where(blocked, 2, flagged.any(axis=1)).astype(np.int8)
    return Decisions(tuple(categories), actions, flagged)


def flips(old: Decisions, new: Decisions) -> list[Flip]:
    """The texts on which the sides differ, in order."""
    names, before, after = _aligned(old, new)
    differ = (old.actions != new.actions) | (before != after).any(axis=1)
    return [
        Flip(
            int(i),
            ACTIONS[old.actions[i]],
            ACTIONS[new.actions[i]],
            _named(names, after[i] & ~before[i]),
            _named(names, before[i] & ~after[i]),
        )
        for i in np.flatnonzero(differ)
    ]


def tally(old: Decisions, new: Decisions) -> Tally:
    """Counts of the changes."""
    names, before, after = _aligned(old, new)
    pairs = old.actions.astype(np.int64) * 3 + new.actions
    relabelled = (old.actions == new.actions) & (before != after).any(axis=1)
    return Tally(
        np.bincount(pairs, minlength=9).reshape(3, 3),
        int(relabelled.sum()),
        _counts(names, after & ~before),
        _counts(names, before & ~after),
    )


def figures(counts: Tally) -> FlipFigures:
    """Rates with their intervals."""
    n = int(counts.actions.sum())
    stricter, laxer = int(np.triu(counts.actions, 1).sum()), int(np.tril(counts.actions, -1).sum())
    return FlipFigures(
        texts=n,
        changed=rate(stricter + laxer, n),
        shift=_shift(stricter, laxer, n),
        relabelled=rate(counts.relabelled, n),
        transitions={
            (before, after): int(counts.actions[i, j])
            for i, before in enumerate(ACTIONS)
            for j, after in enumerate(ACTIONS)
            if i != j and counts.actions[i, j]
        },
        categories={
            name: _shift(counts.gained.get(name, 0), counts.lost.get(name, 0), n)
            for name in {**counts.gained, **counts.lost}
        },
    )


def rate(hits: int, of: int) -> Rate:
    """A share with its exact interval and bounds."""
    if of == 0:
        return Rate(0, 0, None, 0.0, 1.0, 0.0, 1.0)
    each = (1 + CONFIDENCE) / 2
    return Rate(
        hits,
        of,
        hits / of,
        lower_bound(hits, of, each),
        upper_bound(hits, of, each),
        at_least=lower_bound(hits, of, CONFIDENCE),
        at_most=upper_bound(hits, of, CONFIDENCE),
    )


def gate(changed: Rate, limit: float) -> Outcome:
    """Whether the rate of changes lies above a limit.

    "above" and "within" are each wrong for at most 5 % of samples; "unknown" is what too few texts give.
    """
    if changed.at_least > limit:
        return "above"
    return "within" if changed.at_most <= limit else "unknown"


def _shift(stricter: int, laxer: int, n: int) -> Shift:
    changed = stricter + laxer
    p = float(binomtest(stricter, changed).pvalue) if changed else 1.0
    return Shift(rate(stricter, n), rate(laxer, n), p)


def _aligned(old: Decisions, new: Decisions) -> tuple[list[str], Bools, Bools]:
    """The flags of both sides over the categories of either."""
    if len(old.actions) != len(new.actions):
        raise ValueError(f"{len(old.actions)} decisions cannot be compared with {len(new.actions)}")
    names = list(dict.fromkeys([*old.categories, *new.categories]))

    def spread(side: Decisions) -> Bools:
        flags = np.zeros((len(side.actions), len(names)), bool)
        flags[:, [names.index(name) for name in side.categories]] = side.flagged
        return flags

    return names, spread(old), spread(new)


def _named(names: Sequence[str], flags: Bools) -> tuple[str, ...]:
    return tuple(name for name, flag in zip(names, flags, strict=True) if flag)


def _counts(names: Sequence[str], flags: Bools) -> dict[str, int]:
    counts = flags.sum(axis=0)
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
