"""Whether new data contradict what a policy's calibrated thresholds promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .._errors import PolicyError
from .._modelfile import NEVER
from .._policy import statement_id
from ..evaluate.figures import Estimate
from .bounds import Scores, tail
from .calibrate import UNKNOWN, Labels, check_arrays
from .document import Calibrated, PolicyDocument
from .statements import Counts, threshold_keys
from .targets import goals_of, place_of

RISK: Final = 0.05  # of calling any promise contradicted although all are kept


@dataclass(frozen=True)
class Checked:
    """A promise beside new rows.

    Attributes:
        entry: the threshold and its statement.
        id: of the statement.
        observed: the promised rate on the new rows, with its exact 95 % interval.
        p: how probable a rate this bad, or worse, is if the promise is just kept.
        contradicted: whether that is too improbable, all promises considered (Holm 1979).
    """

    entry: Calibrated
    id: str
    observed: Estimate
    p: float
    contradicted: bool


def verify(
    document: PolicyDocument,
    scores: Scores,
    labels: Labels,
    categories: Sequence[str],
    model_id: str,
    *,
    audience: str | None = None,
) -> list[Checked]:
    """Compares each statement with rows that it does not rest on.

    Arguments are those of `calibrate`.

    Raises:
        PolicyError: a target has no statement, or one for another model or threshold; or the rows say
            nothing about any of them.
        InvalidArgumentError: the arrays are not as described.
    """
    check_arrays(scores, labels, categories)
    entries = _entries(document, model_id, audience)
    columns = {name: (scores[:, c], labels[:, c]) for c, name in enumerate(categories)}
    found: list[tuple[Calibrated, Estimate, float]] = []
    for entry in entries:
        if entry.category not in columns:
            raise PolicyError(f"{document.path or document.id}: there is no score for {entry.category!r}")
        column, known = columns[entry.category][0], columns[entry.category][1] != UNKNOWN
        positive = columns[entry.category][1][known] == 1
        counts = Counts.of(column[known], positive, NEVER if entry.value is None else entry.value)
        found.append((entry, counts.rate(entry.target.metric), _p(entry, counts)))
    if not any(observed.of for _, observed, _ in found):
        raise PolicyError(f"{document.path or document.id}: the data say nothing about any promise")
    bad = _holm([p for _, _, p in found])
    return [
        Checked(entry, statement_id(entry.statement), observed, p, contradicted)
        for (entry, observed, p), contradicted in zip(found, bad, strict=True)
    ]


def _entries(document: PolicyDocument, model_id: str, audience: str | None) -> list[Calibrated]:
    calibration, found, problems = document.calibration, [], []
    for goal in goals_of(document, audience):
        entry = next((e for e in calibration.thresholds if goal.met_by(e)), None) if calibration else None
        place = place_of(document, goal.category, goal.action, goal.audience)
        if entry is None or calibration is None:
            problems.append(f"{place}: {goal}: the target has no statement; run safetyclf calibrate")
        elif calibration.model != model_id:
            problems.append(f"{place}: {goal}: calibrated for model {calibration.model}, not for {model_id}")
        elif any(
            entry.statement.get(key) != value
            for key, value in threshold_keys(NEVER if entry.value is None else entry.value).items()
        ):
            problems.append(
                f"{place}: {goal}: its statement is about another threshold; run safetyclf calibrate"
            )
        else:
            found.append(entry)
    if problems:
        raise PolicyError("\n".join(problems))
    return found


def _p(entry: Calibrated, counts: Counts) -> float:
    target = entry.target
    hits, n = counts.hits(target.metric)
    # Too few hits are too many misses.
    return float(
        tail(hits, n, target.value) if target.metric == "fpr" else tail(n - hits, n, 1 - target.value)
    )


def _holm(p: Sequence[float]) -> list[bool]:
    """Which hypotheses fall, with a risk of at most RISK that a true one is among them."""
    fallen = [False] * len(p)
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[i] > RISK / (len(p) - rank):
            break
        fallen[i] = True
    return fallen
