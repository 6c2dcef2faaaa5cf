"""Parts of a policy in plain words, as the pages and the comparison of policies say them."""

from __future__ import annotations

from typing import Final

from .document import Decided, Limit, Limits, Metric, Target

_METRICS: Final[dict[Metric, str]] = {
    "fpr": "false-positive rate at most",
    "recall": "recall at least",
    "precision": "precision at least",
}


def percent(share: float) -> str:
    """A share in per cent, without digits that say nothing."""
    return f"{100 * share:.3g} %"


def level(value: float) -> str:
    """A score or a threshold; four digits, as nobody compares more by eye."""
    return f"{value:.4g}"


def target_words(target: Target) -> str:
    """A promise, short: "recall at least 90 % (confidence 95 %)"."""
    return f"{_METRICS[target.metric]} {percent(target.value)} (confidence {percent(target.confidence)})"


def limit_of(limits: Limits, action: Decided) -> Limit:
    """The limit of an action."""
    return limits.review if action == "review" else limits.block
