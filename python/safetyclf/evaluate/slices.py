"""Functional slices: decisions on groups of rows that share a value under a key of `meta`.

HateCheck is read this way, as its authors do (Röttger et al. 2021): accuracy on all cases and per functional
test or target group, and recall on hateful and on non-hateful cases apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from .data import EvaluationSet
from .figures import UNKNOWN, Bools, Estimate, any_of, share_of
from .metrics import Labels
from .scoring import Scores

MAX_VALUES: Final = 100  # more distinct values are notes on single rows, not slices
_HATE: Final = ("hate", "harassment")


@dataclass(frozen=True)
class SliceFigures:
    """One decision on one slice, with exact intervals.

    Attributes:
        source: source of the rows.
        key: key of `meta`; None for all rows of a source that has slices.
        value: value under the key.
        decision: "flagged" (some category reaches its review threshold, against "any label is 1"),
            "expected_flag" (the same against `meta.expected_flag`), a category (at its review threshold,
            against its label), or "hate or harassment" (either reaches its threshold, against the label of
            hate, which is HateCheck's own).
        positives: rows to be flagged.
        negatives: rows to be left alone.
        accuracy: share of right decisions.
        recall_positives: share of positives that are flagged.
        recall_negatives: share of negatives that are left alone.
    """

    source: str
    key: str | None
    value: str | None
    decision: str
    positives: int
    negatives: int
    accuracy: Estimate
    recall_positives: Estimate
    recall_negatives: Estimate


def slice_figures(data: EvaluationSet, scores: Scores) -> tuple[SliceFigures, ...]:
    """All decisions on all slices of all sources; none where no row has string values in `meta`."""
    found = []
    for source, key, value, rows in _slices(data):
        for decision, flagged, labels in _decisions(data, scores):
            known = rows & (labels != UNKNOWN)
            if known.any():
                found.append(_figures(source, key, value, decision, flagged[known], labels[known] == 1))
    return tuple(found)


def _slices(data: EvaluationSet) -> Iterator[tuple[str, str | None, str | None, Bools]]:
    for source in data.source_names():
        inside = data.sources == source
        keys = sorted({key for row, found in enumerate(data.slices) if inside[row] for key in found})
        if keys:
            yield source, None, None, inside
        for key in keys:
            values = np.array([found.get(key, "") for found in data.slices])
            has = np.array([key in found for found in data.slices]) & inside
            distinct = sorted(set(values[has].tolist()))
            if len(distinct) <= MAX_VALUES:
                yield from ((source, key, value, has & (values == value)) for value in distinct)


def _decisions(data: EvaluationSet, scores: Scores) -> Iterator[tuple[str, Bools, Labels]]:
    yield "flagged", scores.flagged, data.any_label()
    yield "expected_flag", scores.flagged, data.expected_flag
    for c, name in enumerate(scores.categories):
        yield name, scores.reviewed[:, c], data.column(name)
    if set(_HATE) <= set(scores.categories):
        either = any_of(scores.reviewed[:, [scores.column(name) for name in _HATE]])
        yield "hate or harassment", either, data.column("hate")


def _figures(
    source: str, key: str | None, value: str | None, decision: str, flagged: Bools, positive: Bools
) -> SliceFigures:
    return SliceFigures(
        source,
        key,
        value,
        decision,
        positives=int(positive.sum()),
        negatives=int((~positive).sum()),
        accuracy=share_of(flagged == positive),
        recall_positives=share_of(flagged[positive]),
        recall_negatives=share_of(~flagged[~positive]),
    )
