"""Two contestants on the same texts: differences of measures, and McNemar's test of decisions.

Differences have the bootstrap's standard normal interval (Efron and Tibshirani 1993, *An Introduction to the
Bootstrap*, chapter 13): estimate +- z * standard error, the latter that of the differences on resamples of
texts. docs/gate.md has the formulas and says how they were checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from .._errors import InvalidArgumentError
from ..evaluate.bootstrap import Replicates, generator
from ..evaluate.figures import Bools
from ..policy.bounds import lower_bound, upper_bound
from ..suites.suite import UNKNOWN
from .resampling import MEASURES, Column, Labels, Scores, replicates, strata

_THREE: Final = 3.0  # "rule of three": after no event among n, at most 3/n at 95 % confidence
_USUAL: Final = 0.95


@dataclass(frozen=True)
class Difference:
    """What a measure gains from the reference to the candidate.

    Attributes:
        measure: a name of `MEASURES`.
        category: whose; None for the mean over the categories that take part.
        reference: its value for the reference; None where the texts cannot support it.
        candidate: its value for the candidate.
        estimate: candidate minus reference.
        low, high: two-sided interval, within [-1, 1].
        error: standard error. 0 only between contestants that answer the same.
        positives, negatives: texts of known label, over all categories of a mean.
    """

    measure: str
    category: str | None
    reference: float | None
    candidate: float | None
    estimate: float | None
    low: float | None
    high: float | None
    error: float | None
    positives: int
    negatives: int

    @property
    def drop(self) -> float | None:
        """By how much the candidate is worse; a rise of a measure of which less is better."""
        if self.estimate is None:
            return None
        return 0.0 - self.estimate * MEASURES[self.measure].better


@dataclass(frozen=True)
class McNemar:
    """Decisions against the truth, text by text (McNemar 1947, in its exact form).

    Attributes:
        texts: with a truth and both decisions.
        only_reference: b, texts that only the reference decides rightly.
        only_candidate: c, texts that only the candidate decides rightly.
        p: how likely so uneven a split of b + c, or a more uneven one, would be if both were equally likely.
        difference: share of right decisions, candidate minus reference: (c - b) / texts.
        low, high: its exact interval, from those of Clopper and Pearson of b and of c, each with half of the
            error allowed: at least as wide as it need be.
    """

    texts: int
    only_reference: int
    only_candidate: int
    p: float
    difference: float
    low: float
    high: float


def quantile(confidence: float) -> float:
    """z: a standard normal number is at most that with this probability."""
    return NormalDist().inv_cdf(confidence)


def difference(
    measure: str,
    category: str | None,
    columns: tuple[list[Column], list[Column]],
    draws: tuple[Replicates, Replicates],
    confidence: float,
) -> Difference:
    """The mean over categories of the difference of a measure.

    Args:
        measure: its name.
        category: as it shall stand in the result.
        columns: of reference and candidate, [categories] each; of the same texts.
        draws: the measure on shared resamples, [categories, B] each; B may be 0.
        confidence: of the interval.
    """
    values = np.array([[column.value(measure) for column in side] for side in columns])
    positives = sum(column.positives for column in columns[0])
    negatives = sum(column.negatives for column in columns[0])
    if not values.size or np.isnan(values).any():
        reference, candidate = (
            None if not row.size or np.isnan(row).any() else float(row.mean()) for row in values
        )
        nothing = (None,) * 4
        return Difference(measure, category, reference, candidate, *nothing, positives, negatives)
    reference, candidate = values.mean(axis=1)
    estimate = float(candidate - reference)
    low = high = error = None
    found = (draws[1] - draws[0]).mean(axis=0)
    found = found[~np.isnan(found)]
    if len(found) > 1:
        error = float(found.std(ddof=1))
        same = all(one.answers_as(other) for one, other in zip(*columns, strict=True))
        if error < 1e-12:
            # No resample can show what none of the texts does.
            error = 0.0 if same else _THREE / max(positives, 1) / quantile(_USUAL)
        reach = quantile((1 + confidence) / 2) * error
        low, high = max(estimate - reach, -1.0), min(estimate + reach, 1.0)
    return Difference(
        measure,
        category,
        float(reference),
        float(candidate),
        estimate,
        low,
        high,
        error,
        positives,
        negatives,
    )


def paired_difference(
    labels: Labels,
    scores_a: Scores,
    scores_b: Scores,
    measure: str,
    *,
    seed: int,
    resamples: int,
    confidence: float,
    flagged_a: Bools | None = None,
    flagged_b: Bools | None = None,
) -> Difference:
    """The difference of one measure of one category, b minus a.

    Args:
        labels: int8 [n]: 1, 0 or -1 for unknown, which is left out.
        scores_a: of the reference [n], finite.
        scores_b: of the candidate [n], finite.
        measure: a name of `MEASURES`.
        seed: of the resamples.
        resamples: their number; fewer than 2 leave the interval out.
        confidence: of the two-sided interval, in (0, 1).
        flagged_a: decisions of the reference [n], for measures of decisions.
        flagged_b: decisions of the candidate [n].

    Raises:
        InvalidArgumentError: an argument is out of its range, or they do not fit together.
    """
    check_settings(seed, resamples, confidence)
    check_measure(measure)
    known = labels != UNKNOWN
    for name, scores in (("a", scores_a), ("b", scores_b)):
        if scores.shape != labels.shape:
            raise InvalidArgumentError(f"{len(labels)} labels, but scores_{name} has shape {scores.shape}")
        if not np.isfinite(scores[known]).all():
            raise InvalidArgumentError(f"scores_{name} must be finite where a label is known")
    columns = (Column(labels, scores_a, flagged_a), Column(labels, scores_b, flagged_b))
    found = np.empty((2, 1, 0))
    if resamples > 1 and known.any():
        random = generator(seed, "paired difference")
        found = replicates(columns, strata(labels[:, None]), [measure], resamples, random)
    return difference(measure, None, ([columns[0]], [columns[1]]), (found[0], found[1]), confidence)


def mcnemar(
    decisions_a: npt.NDArray[np.int8],
    decisions_b: npt.NDArray[np.int8],
    truth: Labels,
    confidence: float = _USUAL,
) -> McNemar | None:
    """McNemar's exact test.

    Args:
        decisions_a: of the reference [n]: 1, 0 or -1 for none.
        decisions_b: of the candidate [n].
        truth: int8 [n]: 1, 0 or -1 for unknown.
        confidence: of the interval of the difference.

    Returns:
        None where no text has a truth and both decisions.
    """
    known = (decisions_a != UNKNOWN) & (decisions_b != UNKNOWN) & (truth != UNKNOWN)
    n = int(known.sum())
    if n == 0:
        return None
    right_a, right_b = decisions_a[known] == truth[known], decisions_b[known] == truth[known]
    b, c = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    p = float(binomtest(b, b + c).pvalue) if b + c else 1.0
    each = 1 - (1 - confidence) / 4  # two counts, two sides
    return McNemar(
        n,
        b,
        c,
        p,
        (c - b) / n,
        lower_bound(c, n, each) - upper_bound(b, n, each),
        upper_bound(c, n, each) - lower_bound(b, n, each),
    )


def check_settings(seed: int, resamples: int, confidence: float) -> None:
    """Raises InvalidArgumentError for what is out of its range."""
    if seed < 0:
        raise InvalidArgumentError(f"seed must be at least 0, not {seed}")
    if not 0 <= resamples <= 100_000:
        raise InvalidArgumentError(f"resamples must be 0 to 100000, not {resamples}")
    if not 0.5 <= confidence < 1:
        raise InvalidArgumentError(f"confidence must be 0.5 or more and less than 1, not {confidence}")


def check_measure(name: str) -> None:
    """Raises InvalidArgumentError for a name that is not in `MEASURES`."""
    if name not in MEASURES:
        raise InvalidArgumentError(f"unknown measure {name!r}; there are {', '.join(MEASURES)}")
