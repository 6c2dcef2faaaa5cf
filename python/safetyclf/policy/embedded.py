"""A policy inside a model file that was compiled with it (docs/custom-categories.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .._errors import PolicyError
from .._results import Thresholds
from . import sections
from .document import PolicyDocument
from .problems import Problems, nearest
from .reading import canonical


def section(document: PolicyDocument, thresholds: Mapping[str, Mapping[str, Thresholds]]) -> dict[str, Any]:
    """The policy for a model file, in JSON types.

    Args:
        document: the policy.
        thresholds: of each audience, by category; everybody's are in the file's tensors.
    """
    return {
        **canonical(document),
        "sha256": document.sha256,
        "audience_thresholds": {name: {c: list(t) for c, t in of.items()} for name, of in thresholds.items()},
    }


def document(section: Mapping[str, Any]) -> PolicyDocument:
    """The policy of `section`. Raises PolicyError if it is none."""
    data = {key: section[key] for key in section if key not in ("sha256", "audience_thresholds")}
    problems = Problems("the model file's policy", {})
    found = sections.build(_without_none(data), None, problems)
    problems.raise_if_any()
    # JSON of model files has its keys sorted.
    categories = {
        name: replace(category, severity=tuple(sorted(category.severity, key=lambda level: level[1])))
        for name, category in found.categories.items()
    }
    return replace(found, categories=categories, sha256=section["sha256"])


def thresholds(
    section: Mapping[str, Any], audience: str | None, everybody: Mapping[str, Thresholds]
) -> dict[str, Thresholds]:
    """The thresholds for an audience. Raises PolicyError for one that the policy does not have."""
    if audience is None:
        return dict(everybody)
    known = section["audience_thresholds"]
    if audience not in known:
        raise PolicyError(f"the model file's policy has no audience {audience!r}; {nearest(audience, known)}")
    return {name: Thresholds(*known[audience][name]) for name in everybody}


def _without_none(value: Any) -> Any:
    """TOML has no null, and the reader of policies knows none."""
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return value
