"""Runs of one suite beside each other: figures of every contestant, and differences to the first.

docs/gate.md explains every figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from ..evaluate.bootstrap import Replicates, generator
from ..evaluate.calibration_interval import calibration_interval
from ..evaluate.figures import Estimate
from ..policy.bounds import lower_bound, upper_bound
from ..suites.suite import UNKNOWN
from .curves import curves_of, slice_counts
from .paired import Difference, McNemar, check_measure, check_settings, difference, mcnemar
from .resampling import MEASURES, Column, replicates, strata
from .results import CategoryFigures, Changed, Comparison, Contestant, Pair, Unanswered
from .runs import ANY
from .truth import Answers, answers_of, truths

if TYPE_CHECKING:
    from ..evaluate.benign import NoiseFigures
    from ..suites import Suite
    from .runs import Run

__all__ = ["LEAST", "Comparison", "Pair", "compare_runs"]

LEAST: Final = 20  # positives and negatives of a category that takes part in means and gates


def compare_runs(
    suite: Suite,
    runs: Sequence[Run],
    *,
    seed: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
    measures: Sequence[str] = tuple(MEASURES),
    noise: Mapping[str, Sequence[NoiseFigures]] | None = None,
) -> Comparison:
    """Compares runs with the first of them.

    Args:
        suite: the texts with their labels.
        runs: at least one, of this suite, with different names.
        seed: of the resamples, which all runs share.
        resamples: of the bootstrap; fewer than 2 leave its intervals out.
        confidence: of the two-sided intervals.
        measures: names of `MEASURES`: what is computed.
        noise: noise floors by contestant, if they were measured.

    Raises:
        InvalidArgumentError: a run is of another suite, holds scores that are no probabilities, or shares no
            category with the suite or the first run.
    """
    check_settings(seed, resamples, confidence)
    for measure in measures:
        check_measure(measure)
    answers = answers_of(suite, runs)
    work = _Work(suite, answers, measures, seed, resamples, confidence)
    common = work.common()
    return Comparison(
        suite=suite.full_id,
        licence=suite.licence,
        texts=len(suite.ids),
        seed=seed,
        resamples=resamples,
        confidence=confidence,
        reference=runs[0].contestant,
        common=common,
        contestants=tuple(work.contestant(answer, common) for answer in answers),
        pairs=tuple(work.pair(answers[0], answer) for answer in answers[1:]),
        slices=tuple(count for answer in answers for count in slice_counts(suite, answer)),
        noise={name: tuple(figures) for name, figures in (noise or {}).items()},
        curves=tuple(curve for answer in answers for curve in curves_of(answer)),
    )


class _Work:
    """Columns of all contestants, resampled together."""

    def __init__(
        self,
        suite: Suite,
        answers: Sequence[Answers],
        measures: Sequence[str],
        seed: int,
        resamples: int,
        confidence: float,
    ) -> None:
        self._suite, self._answers, self._confidence = suite, answers, confidence
        self._measures, self._seed, self._resamples = tuple(measures), seed, resamples
        # Of each contestant alone, and of each with the reference where they did not answer the same texts.
        self._columns: dict[tuple[int, int, str], Column] = {}
        for i, answer in enumerate(answers):
            for name in answer.categories:
                self._columns[i, i, name] = answer.column(name)
                if i and not np.array_equal(answer.answered, answers[0].answered):
                    self._columns[i, 0, name] = answer.column(name, answers[0].answered)
                    if name in answers[0].categories:
                        self._columns[0, i, name] = answers[0].column(name, answer.answered)
        columns = list(self._columns.values())
        draws = np.empty((len(columns), len(self._measures), 0))
        if resamples > 1:
            random = generator(seed, "comparison")
            groups = strata(truths(suite)[1])
            draws = replicates(columns, groups, self._measures, resamples, random)
        self._draws = dict(zip(self._columns, draws, strict=True))

    def common(self) -> tuple[str, ...]:
        """Categories that take part for all contestants."""
        first = self._answers[0]
        return tuple(
            name
            for name in first.categories
            if name != ANY
            and all(name in answer.categories for answer in self._answers)
            and all(_enough(self._columns[i, i, name]) for i in range(len(self._answers)))
        )

    def contestant(self, answer: Answers, common: Sequence[str]) -> Contestant:
        run, i = answer.run, self._answers.index(answer)
        columns = {name: self._columns[i, i, name] for name in answer.categories}
        means = {
            measure: float(np.mean([columns[name].value(measure) for name in common]))
            for measure in self._measures
            if common and not any(math.isnan(columns[name].value(measure)) for name in common)
        }
        speed = run.texts_per_second
        return Contestant(
            name=run.contestant,
            identity=run.identity,
            answered=int(answer.answered.sum()),
            failed=tuple(Unanswered(run.ids[f.row], f.message) for f in run.failed),
            texts_per_second=speed if math.isfinite(speed) and speed > 0 else None,
            categories={
                name: CategoryFigures(
                    column.positives,
                    column.negatives,
                    self._figures(column, self._draws[i, i, name]),
                )
                for name, column in columns.items()
            },
            means=means,
        )

    def pair(self, one: Answers, other: Answers) -> Pair:
        i, j = self._answers.index(one), self._answers.index(other)
        both = one.answered & other.answered
        shared = [name for name in one.categories if name in other.categories]
        parts = [name for name in shared if name != ANY and _enough(self._column(i, j, name))]
        differences = [
            self._difference(i, j, measure, category, names)
            for category, names in [(None, parts or [ANY]), *((name, [name]) for name in shared)]
            for measure in self._measures
        ]
        tested = {name: self._mcnemar(i, j, name) for name in shared}
        return Pair(
            reference=one.run.contestant,
            candidate=other.run.contestant,
            texts=int(both.sum()),
            unanswered=int((one.answered & ~other.answered).sum()),
            taking_part=tuple(parts or [ANY]),
            left_out={
                name: _too_few(self._column(i, j, name))
                for name in shared
                if name != ANY and name not in parts
            },
            missing=tuple(
                name
                for name in one.categories
                if name not in other.categories and _enough(self._columns[i, i, name])
            ),
            differences=tuple(differences),
            decisions={name: test for name, test in tested.items() if test is not None},
            changed=self._changed(one, other),
        )

    def _column(self, i: int, j: int, name: str) -> Column:
        """A contestant's column on the texts that the other of the two answered as well."""
        return self._columns.get((i, j, name), self._columns[i, i, name])

    def _difference(
        self, i: int, j: int, measure: str, category: str | None, names: Sequence[str]
    ) -> Difference:
        place = self._measures.index(measure)
        # A mean leaves out what the reference cannot show, as a category without thresholds.
        defined = [name for name in names if not math.isnan(self._column(i, j, name).value(measure))]
        names = defined or names

        def draws(a: int, b: int) -> Replicates:
            found = [self._draws.get((a, b, name), self._draws[a, a, name])[place] for name in names]
            return np.stack(found)

        columns = ([self._column(i, j, name) for name in names], [self._column(j, i, name) for name in names])
        return difference(measure, category, columns, (draws(i, j), draws(j, i)), self._confidence)

    def _mcnemar(self, i: int, j: int, name: str) -> McNemar | None:
        one, other = self._column(i, j, name), self._column(j, i, name)
        if one.flagged is None or other.flagged is None:
            return None
        decisions = (one.flagged.astype(np.int8), other.flagged.astype(np.int8))
        return mcnemar(*decisions, one.labels, self._confidence)

    def _changed(self, one: Answers, other: Answers) -> tuple[Changed, ...]:
        before, after = one.run.flagged, other.run.flagged
        rows = np.flatnonzero((before != after) & (before != UNKNOWN) & (after != UNKNOWN))
        truth = one.truth
        return tuple(
            Changed(
                self._suite.ids[row],
                bool(before[row]),
                bool(after[row]),
                None if truth[row] == UNKNOWN else bool(truth[row]),
            )
            for row in rows
        )

    def _figures(self, column: Column, draws: Replicates) -> Mapping[str, Estimate]:
        found = {}
        each = (1 + self._confidence) / 2
        for measure, line in zip(self._measures, draws, strict=True):
            value = column.value(measure)
            line = line[~np.isnan(line)]
            if math.isnan(value):
                found[measure] = Estimate(None)
            elif measure == "ece" and self._resamples > 1:  # whose resamples are all too high
                found[measure] = Estimate(value, *self._calibration(column))
            elif measure in column.shares:
                hits, of = column.shares[measure]
                interval = lower_bound(hits, of, each), upper_bound(hits, of, each)
                found[measure] = Estimate(value, *interval, hits, of)
            elif len(line):
                low, high = np.quantile(line, [1 - each, each])
                found[measure] = Estimate(value, float(low), float(high))
            else:
                found[measure] = Estimate(value)
        return found

    def _calibration(self, column: Column) -> tuple[float, float]:
        random = generator(self._seed, "calibration")
        rows = column.rows
        return calibration_interval(
            column.scores[rows], column.labels[rows], self._resamples, random, self._confidence
        )


def _enough(column: Column) -> bool:
    return min(column.positives, column.negatives) >= LEAST


def _too_few(column: Column) -> str:
    return f"{column.positives} positives and {column.negatives} negatives, fewer than {LEAST} of one"
