"""From targets to thresholds: `safetyclf calibrate` (docs/calibrate.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .._errors import InvalidArgumentError, PolicyError
from .._modelfile import NEVER
from . import bounds
from .bounds import Bools, Scores
from .document import Calibrated, Calibration, PolicyDocument
from .search import Found, find, fixed, ordered
from .statements import Counts, rule, threshold_keys
from .targets import Goal, goals_of, limits_of, place_of

Labels = npt.NDArray[np.int8]
UNKNOWN: Final = -1


def calibrate(
    document: PolicyDocument,
    scores: Scores,
    labels: Labels,
    categories: Sequence[str],
    model_id: str,
    data_sha256: str,
    *,
    split: str | None = None,
    audience: str | None = None,
    joint: bool = False,
) -> Calibration:
    """Finds a threshold for each target of a policy, and states what it promises.

    Args:
        document: the policy.
        scores: float32 [n, C], probabilities of the C categories.
        labels: int8 [n, C]: 1, 0, or -1 for unknown. Rows are taken to be independent.
        categories: names of the columns.
        model_id: of the model that gave the scores.
        data_sha256: of the data, for the statements.
        split: part of the data that the rows are, for the statements.
        audience: calibrate the targets of this audience alone and keep the other entries of the policy.
        joint: all promises hold at once with their confidence (Bonferroni), not each by itself.

    Raises:
        PolicyError: the rows cannot support a target, or two contradict each other; one line for each.
        InvalidArgumentError: the arrays are not as described; or `joint` together with `audience`.
    """
    check_arrays(scores, labels, categories)
    if joint and audience is not None:
        raise InvalidArgumentError("joint promises are made in one run: not for one audience alone")
    goals = goals_of(document, audience)
    run = _Run(
        document,
        {name: (scores[:, c], labels[:, c]) for c, name in enumerate(categories)},
        len({(goal.category, goal.target) for goal in goals}) if joint else 1,
    )
    found = run.solve(goals)
    joint_keys: dict[str, Any] = {}
    if joint:
        risks = {(goal.category, goal.target): 1 - goal.target.confidence for goal in goals}
        joint_keys = {"joint": run.share, "joint_confidence": round(1 - sum(risks.values()) / run.share, 9)}
    origin = {"model": model_id, "data_sha256": data_sha256, **({"split": split} if split else {})}
    new = [run.calibrated(goal, found[goal], joint_keys, origin) for goal in goals]
    return Calibration(model_id, (*_kept(document, model_id, audience), *new))


def check_arrays(scores: Scores, labels: Labels, categories: Sequence[str]) -> None:
    """Raises InvalidArgumentError unless scores and labels are as `calibrate` takes them."""
    shape = (len(scores), len(categories))
    if scores.dtype != np.float32 or scores.shape != shape:
        raise InvalidArgumentError(
            f"scores must be float32 {list(shape)}, not {scores.dtype} {list(scores.shape)}"
        )
    if labels.shape != shape or not np.isin(labels, (1, 0, UNKNOWN)).all():
        raise InvalidArgumentError(f"labels must be {list(shape)} of 1, 0 and {UNKNOWN} for unknown")
    wrong = np.argwhere(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        row, column = map(int, wrong[0])
        raise InvalidArgumentError(
            f"scores must lie in [0, 1]: row {row}, {categories[column]!r}: {scores[row, column]}"
        )


def _kept(document: PolicyDocument, model_id: str, audience: str | None) -> list[Calibrated]:
    """Entries that a run for one audience leaves as they are."""
    if audience is None or document.calibration is None:
        return []
    if document.calibration.model != model_id:
        raise PolicyError(
            f"{document.path or document.id}: the calibrated part is of model {document.calibration.model}, "
            f"not {model_id}; calibrate the whole policy first, without an audience"
        )
    others = [goal for goal in goals_of(document) if goal.audience != audience]
    return [entry for entry in document.calibration.thresholds if any(goal.met_by(entry) for goal in others)]


class _Problems:
    """What cannot be promised: collected, so that all of it is said at once."""

    def __init__(self) -> None:
        self._found: list[str] = []

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Takes the PolicyError of a block of work."""
        try:
            yield
        except PolicyError as problem:
            self._found.append(f"{place}: {problem}")

    def raise_if_any(self) -> None:
        """Raises one PolicyError, with a line for each."""
        if self._found:
            raise PolicyError("\n".join(self._found))


class _Run:
    """One run over one set of rows. `share`: into how many parts the risk of each promise is divided."""

    def __init__(
        self,
        document: PolicyDocument,
        columns: Mapping[str, tuple[Scores, Labels]],
        share: int,
    ) -> None:
        self.document, self.columns, self.share = document, columns, share

    def solve(self, goals: Sequence[Goal]) -> dict[Goal, Found]:
        """A threshold for each goal. Raises one PolicyError for all that cannot be had."""
        sides: dict[Goal, Found] = {}
        problems = _Problems()
        for goal in goals:
            with problems.at(self._place(goal)):
                sides[goal] = self._found(goal)
        problems.raise_if_any()
        for category, audience, limits in limits_of(self.document):
            review, block = (
                next((goal for goal in goals if (goal.category, goal.action, goal.audience) == key), None)
                for key in ((category, "review", audience), (category, "block", audience))
            )
            last = block or review
            if last is None:
                continue
            with problems.at(self._place(last)):
                pair = ordered(
                    sides[review] if review else fixed(limits.review, gives_way=0.0),
                    sides[block] if block else fixed(limits.block, gives_way=NEVER),
                )
                sides |= {goal: side for goal, side in zip((review, block), pair, strict=True) if goal}
        problems.raise_if_any()
        return sides

    def calibrated(
        self, goal: Goal, side: Found, joint: Mapping[str, Any], origin: Mapping[str, str]
    ) -> Calibrated:
        """The entry of the file, with its statement."""
        target, (scores, positive) = goal.target, self._known(goal.category)
        counts = Counts.of(scores, positive, side.value)
        hits, n = counts.hits(target.metric)
        if target.metric == "precision":  # of the rows that tested, without those that chose the sequence
            testing = ~bounds.explored(len(scores))
            hits, n = Counts.of(scores[testing], positive[testing], side.value).hits("precision")
        statement = {
            "rule": rule(target.metric, goal.category, bool(joint)),
            "category": goal.category,
            "action": goal.action,
            **({"audience": goal.audience} if goal.audience is not None else {}),
            **threshold_keys(side.value),
            **({"moved": side.moved} if side.moved else {}),
            "metric": target.metric,
            "target": target.value,
            "confidence": target.confidence,
            **joint,
            "bound": side.bound,
            "n": n,
            "hits": hits,
            **(side.counted or {}),
            "negatives": counts.negatives,
            "positives": counts.positives,
            "selected": counts.selected,
            "rates": counts.rates(),
            **origin,
        }
        value = None if side.value >= NEVER else side.value
        return Calibrated(goal.category, goal.action, goal.audience, target, value, statement)

    def _found(self, goal: Goal) -> Found:
        risk = (1 - goal.target.confidence) / self.share
        return find(goal.category, goal.target, *self._known(goal.category), 1 - risk)

    def _known(self, category: str) -> tuple[Scores, Bools]:
        if category not in self.columns:
            raise PolicyError(
                f"there is no score for {category!r}; scored are: {', '.join(self.columns)}; a custom "
                "category needs a model file made by safetyclf policy compile"
            )
        scores, labels = self.columns[category]
        known = labels != UNKNOWN
        return scores[known], labels[known] == 1

    def _place(self, goal: Goal) -> str:
        return place_of(self.document, goal.category, goal.action, goal.audience)
