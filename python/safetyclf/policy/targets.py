"""The thresholds of a policy that are promises, and where a problem with one stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .._errors import PolicyError
from .document import Calibrated, Decided, Limits, PolicyDocument, Target


@dataclass(frozen=True)
class Goal:
    """One target: for a category's action, for an audience or (None) for everybody."""

    category: str
    action: Decided
    audience: str | None
    target: Target

    def met_by(self, found: Calibrated) -> bool:
        """Whether an entry of the calibrated part is for this target as it now stands."""
        return self == Goal(found.category, found.action, found.audience, found.target)

    def __str__(self) -> str:
        where = f"{self.category!r}, {self.action}"
        return where if self.audience is None else f"{where}, audience {self.audience!r}"


def limits_of(document: PolicyDocument) -> Iterator[tuple[str, str | None, Limits]]:
    """Category, audience and both thresholds, wherever the policy sets them; everybody's first."""
    for category in document.categories.values():
        yield category.name, None, category.limits
    for audience in document.audiences.values():
        for name, limits in audience.limits.items():
            yield name, audience.name, limits


def goals_of(document: PolicyDocument, audience: str | None = None) -> list[Goal]:
    """All targets, or those of one audience.

    An audience that gives one threshold of a category has its other one from the category; if that is a
    target, it is the audience's as well.

    Raises:
        PolicyError: there is no such audience, or no target.
    """
    if audience is not None and audience not in document.audiences:
        known = ", ".join(document.audiences) or "none"
        raise PolicyError(f"{_file(document)}: no audience {audience!r}; there are: {known}")
    actions: tuple[Decided, Decided] = ("review", "block")
    goals = [
        Goal(category, action, of, limit)
        for category, of, limits in limits_of(document)
        for action, limit in zip(actions, (limits.review, limits.block), strict=True)
        if isinstance(limit, Target) and audience in (None, of)
    ]
    if not goals:
        raise PolicyError(f"{_file(document)}: no threshold is a target; nothing to do")
    return goals


def place_of(document: PolicyDocument, category: str, action: str, audience: str | None) -> str:
    """`FILE:LINE` of a threshold, for messages."""
    path: tuple[str, ...] = ("categories", category, action)
    if audience is not None:
        own = ("audiences", audience, "thresholds", category, action)
        path = own if own in document.lines or path not in document.lines else path
    while path and path not in document.lines:
        path = path[:-1]
    return f"{_file(document)}:{document.lines[path]}" if path else _file(document)


def _file(document: PolicyDocument) -> str:
    return document.path or f"policy {document.id}"
