"""Robustness: the same texts, disguised or mangled (`perturb`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .bootstrap import generator
from .compared import compare_columns
from .data import EvaluationSet
from .figures import UNKNOWN, Bools, Estimate, share_of
from .metrics import Floats, Labels
from .perturb import PERTURBATIONS, perturb
from .scoring import Scorer, Scores

CLEAN: Final = "clean"


@dataclass(frozen=True)
class RobustnessFigures:
    """One category, or "any", under one perturbation.

    `difference` is average precision minus that of the clean texts, paired. `recall` and `rate` (of false
    positives) are those at the shipped review thresholds.
    """

    category: str
    perturbation: str
    positives: int
    negatives: int
    average_precision: Estimate
    difference: Estimate
    recall: Estimate
    rate: Estimate


def robustness_figures(
    data: EvaluationSet, clean: Scores, scorer: Scorer, *, seed: int, resamples: int
) -> tuple[RobustnessFigures, ...]:
    """By category and perturbation, the clean texts first; categories with labels of both kinds only."""
    runs = {CLEAN: clean} | {
        kind: scorer.scores(perturb(data.texts, kind, seed), kind) for kind in PERTURBATIONS
    }
    found: list[RobustnessFigures] = []
    for category, labels in _targets(data, clean):
        known = labels != UNKNOWN
        positive = labels[known] == 1
        if positive.all() or not positive.any():
            continue
        outputs = [_output(scores, category, known) for scores in runs.values()]
        compared = compare_columns(
            [score for score, _ in outputs],
            labels[known],
            random=generator(seed, "robustness", category),
            resamples=resamples,
        )
        found += [
            RobustnessFigures(
                category,
                kind,
                positives=int(positive.sum()),
                negatives=int((~positive).sum()),
                average_precision=figures.average_precision,
                difference=figures.difference,
                recall=share_of(flagged[positive]),
                rate=share_of(flagged[~positive]),
            )
            for kind, (_, flagged), figures in zip(runs, outputs, compared, strict=True)
        ]
    return tuple(found)


def _targets(data: EvaluationSet, scores: Scores) -> Iterator[tuple[str, Labels]]:
    yield "any", data.any_label()
    for name in scores.categories:
        yield name, data.column(name)


def _output(scores: Scores, category: str, rows: Bools) -> tuple[Floats, Bools]:
    """Scores and review decisions of the rows."""
    if category == "any":
        return scores.highest[rows], scores.flagged[rows]
    c = scores.column(category)
    return scores.probabilities[rows, c], scores.reviewed[rows, c]
