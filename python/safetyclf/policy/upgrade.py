"""What changes when one model file takes the place of another: scores, thresholds, decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from .._errors import InvalidArgumentError
from .._results import Thresholds
from .flip_words import figures_json, gate_json
from .flips import FlipFigures, Outcome, Tally, decide, figures, gate, tally
from .score_map import ScoreMap, fit

if TYPE_CHECKING:
    from .._classifier import Classifier
    from .._texts import Texts

Scores = npt.NDArray[np.float32]
FORMAT: Final = "safetyclf-upgrade-report/1"


@dataclass(frozen=True)
class Carried:
    """A threshold of the old model on the new one's scale, and the new model's own.

    `value` is None for "never". `seen` is False where no text of the sample lies at or above the threshold,
    or none below: there the map says nothing, and `value` is the old number.
    """

    old: float | None
    value: float | None
    seen: bool
    own: float | None


@dataclass(frozen=True)
class CategoryChange:
    """How the scores of one category moved.

    Attributes:
        forward: map of old scores to new ones.
        backward: map of new scores to old ones.
        median_absolute: median of abs(new score - forward(old score)).
        band: 5 % and 95 % quantiles of new score - forward(old score).
        rank_correlation: Spearman's; None if one side gives all texts the same score.
        review, block: the thresholds.
    """

    forward: ScoreMap
    backward: ScoreMap
    median_absolute: float
    band: tuple[float, float]
    rank_correlation: float | None
    review: Carried
    block: Carried


@dataclass(frozen=True)
class UpgradeReport:
    """What an upgrade does on some texts.

    Attributes:
        old, new: ids of the models.
        texts: how many were scored.
        unreadable: how many were left out.
        categories: by name, those that both models score.
        only_old, only_new: categories that one of them scores.
        own: decisions of each model with its own thresholds, over all its categories.
        same: both with the old model's numbers, over the categories of both.
        carried: the new model with the old one's thresholds carried over by the map, against the old one,
            over the categories of both; each half of the texts by the map of the other half.
        limit: of the gate on `own`, if there is one.
    """

    old: str
    new: str
    texts: int
    unreadable: int
    categories: Mapping[str, CategoryChange]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    own: FlipFigures
    same: FlipFigures
    carried: FlipFigures
    limit: float | None = None

    @property
    def outcome(self) -> Outcome | None:
        """What the gate says; None without a limit."""
        return None if self.limit is None else gate(self.own.changed, self.limit)

    def to_json(self) -> dict[str, Any]:
        """The report in JSON types."""
        return {
            "format": FORMAT,
            "old": self.old,
            "new": self.new,
            "texts": self.texts,
            "unreadable": self.unreadable,
            "only_old": self.only_old,
            "only_new": self.only_new,
            "categories": {name: asdict(change) for name, change in self.categories.items()},
            "decisions": {name: figures_json(getattr(self, name)) for name in ("own", "same", "carried")},
            "gate": None if self.limit is None else gate_json(self.own.changed, self.limit),
        }


@dataclass(frozen=True)
class Side:
    """One model's scores on the texts, float32 [n, C], and its thresholds."""

    model: str
    categories: tuple[str, ...]
    scores: Scores
    thresholds: Mapping[str, Thresholds]


def upgrade_report(
    old: Classifier, new: Classifier, texts: Texts, *, max_flip: float | None = None
) -> UpgradeReport:
    """Compares two classifiers on texts, with the thresholds in force in each.

    Raises:
        InvalidArgumentError: there is no text.
        InvalidInputError, TextTooLargeError: as `Classifier.scores`.
    """
    texts = texts if isinstance(texts, list | tuple) else list(texts)  # type: ignore[arg-type]
    sides = [Side(c.model_id, c.categories, c.scores(texts), c.thresholds) for c in (old, new)]
    return compare(*sides, max_flip=max_flip)


def compare(old: Side, new: Side, *, unreadable: int = 0, max_flip: float | None = None) -> UpgradeReport:
    """`upgrade_report` of scores that are already there.

    Raises:
        InvalidArgumentError: there is no text.
    """
    n = len(old.scores)
    if n == 0:
        raise InvalidArgumentError("an upgrade report needs at least one text")
    shared = tuple(name for name in old.categories if name in new.categories)
    before, after = _columns(old, shared), _columns(new, shared)
    return UpgradeReport(
        old=old.model,
        new=new.model,
        texts=n,
        unreadable=unreadable,
        categories={
            name: _category(before[:, c], after[:, c], old.thresholds[name], new.thresholds[name])
            for c, name in enumerate(shared)
        },
        only_old=tuple(name for name in old.categories if name not in shared),
        only_new=tuple(name for name in new.categories if name not in shared),
        own=figures(
            tally(
                decide(old.categories, old.scores, old.thresholds),
                decide(new.categories, new.scores, new.thresholds),
            )
        ),
        same=figures(tally(decide(shared, before, old.thresholds), decide(shared, after, old.thresholds))),
        carried=figures(_carried_tally(shared, before, after, old.thresholds)),
        limit=max_flip,
    )


def _columns(side: Side, names: Sequence[str]) -> Scores:
    return side.scores[:, [side.categories.index(name) for name in names]]


def _category(before: Scores, after: Scores, old: Thresholds, new: Thresholds) -> CategoryChange:
    forward = fit(before, after)
    residual = after - forward(before)
    low, high = np.quantile(residual, [0.05, 0.95])
    # Of a constant there is no rank correlation, and scipy would warn.
    varies = before.min() < before.max() and after.min() < after.max()
    carried = _carry(forward, old)
    return CategoryChange(
        forward=forward,
        backward=fit(after, before),
        median_absolute=float(np.median(np.abs(residual))),
        band=(float(low), float(high)),
        rank_correlation=float(spearmanr(before, after).statistic) if varies else None,
        review=Carried(old.review, carried.review, _seen(forward, old.review), new.review),
        block=Carried(old.block, carried.block, _seen(forward, old.block), new.block),
    )


def _seen(forward: ScoreMap, limit: float | None) -> bool:
    return limit is not None and forward.covers(limit)


def _carry(forward: ScoreMap, old: Thresholds) -> Thresholds:
    """Thresholds on the new scale; where no texts were seen, the old number."""

    def moved(limit: float | None) -> float | None:
        if limit is None or not forward.covers(limit):
            return limit
        return float(np.float32(forward(limit)))

    review, block = moved(old.review), moved(old.block)
    # One may have moved and the other not: what is blocked is reviewed all the same.
    if review is not None and block is not None:
        block = max(review, block)
    return Thresholds(review, block)


def _carried_tally(
    names: Sequence[str], before: Scores, after: Scores, thresholds: Mapping[str, Thresholds]
) -> Tally:
    """Each half of the texts is judged by the map of the other half: a map flatters what it was fitted on."""
    n = len(before)
    if n == 1:
        return tally(decide(names, before, thresholds), decide(names, after, thresholds))
    counts = Tally()
    for part in (0, 1):
        judged, fitted = slice(part, n, 2), slice(1 - part, n, 2)
        carried = {
            name: _carry(fit(before[fitted, c], after[fitted, c]), thresholds[name])
            for c, name in enumerate(names)
        }
        counts += tally(decide(names, before[judged], thresholds), decide(names, after[judged], carried))
    return counts
