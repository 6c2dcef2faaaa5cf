"""One threshold for one target, and the order of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from .._errors import PolicyError
from .._modelfile import NEVER
from . import bounds
from .bounds import Bools, Scores
from .document import Limit, Target
from .statements import Counts, rounded_bound

_WORDS: Final = {
    "fpr": "false-positive rate at most",
    "recall": "recall at least",
    "precision": "precision at least",
}


@dataclass(frozen=True)
class Found:
    """A threshold on its way to its place: NEVER or a number in [0, 1].

    `passed` are all thresholds that are right for a precision target. `moved` says from where it was moved.
    """

    value: float
    target: Target | None = None
    bound: float = 0.0
    counted: Mapping[str, int] | None = None  # what the bound rests on besides hits and n
    passed: tuple[float, ...] = ()
    moved: str = ""

    def __str__(self) -> str:
        value = "never" if self.value >= NEVER else f"{self.value:g}"
        if self.target is None:
            return f"{value} (given)"
        return f"{value} ({_WORDS[self.target.metric]} {self.target.value:g})"


def find(category: str, target: Target, scores: Scores, positive: Bools, confidence: float) -> Found:
    """The threshold for a target. Raises PolicyError, without a place, if these rows cannot support it.

    Args:
        category: for messages.
        target: what is promised.
        scores: of the rows whose label is known.
        positive: which of them are of the category.
        confidence: of this promise, in place of the target's.
    """
    if target.metric == "fpr":
        return _for_fpr(category, target, scores[~positive], confidence)
    if target.metric == "recall":
        return _for_recall(category, target, scores[positive], confidence)
    return _for_precision(category, target, scores, positive, confidence)


def fixed(limit: Limit, gives_way: float) -> Found:
    """The other threshold of a pair, which is no target; where it is the model's, it gives way."""
    return Found(float(limit) if isinstance(limit, float | int) else NEVER if limit == "never" else gives_way)


def _for_fpr(category: str, target: Target, negatives: Scores, confidence: float) -> Found:
    n = len(negatives)
    hits = bounds.allowed_hits(n, target.value, confidence)
    if hits < 0:
        needed = bounds.needed_negatives(target.value, confidence)
        raise _too_few(category, target, f"{needed} rows labelled 0", n, confidence)
    bound = rounded_bound(bounds.upper_bound(hits, n, confidence), "fpr")
    return Found(
        bounds.threshold_above(negatives, hits), target, min(bound, target.value), counted={"allowed": hits}
    )


def _for_recall(category: str, target: Target, positives: Scores, confidence: float) -> Found:
    n = len(positives)
    hits = bounds.required_hits(n, target.value, confidence)
    if hits > n:
        needed = bounds.needed_positives(target.value, confidence)
        raise _too_few(category, target, f"{needed} rows labelled 1", n, confidence)
    bound = rounded_bound(bounds.lower_bound(hits, n, confidence), "recall")
    return Found(
        bounds.threshold_below(positives, n - hits),
        target,
        max(bound, target.value),
        counted={"required": hits},
    )


def _for_precision(
    category: str, target: Target, scores: Scores, positive: Bools, confidence: float
) -> Found:
    exploring = bounds.explored(len(scores))
    testing, hits = scores[~exploring], positive[~exploring]
    needed, there = bounds.needed_positives(target.value, confidence), int(hits.sum())
    selected = f"{needed} rows that reach the threshold, all labelled 1, among the three quarters that test"
    if there < needed:
        raise _too_few(category, target, selected, there, confidence)
    tried = bounds.sequence(scores[exploring], positive[exploring], target.value)
    passed = bounds.passing(tried, testing, hits, target.value, confidence)
    if not passed:
        raise _no_precision(category, target, tried, testing, hits, confidence)
    # The claim is that all which passed are right; where among them the bounds of single counts lie is not
    # part of it. So the target itself is the bound.
    return Found(
        passed[-1],
        target,
        target.value,
        counted={"chose": int(exploring.sum()), "tested": len(testing)},
        passed=tuple(passed),
    )


def _no_precision(
    category: str, target: Target, tried: Sequence[float], scores: Scores, positive: Bools, confidence: float
) -> PolicyError:
    """Why no threshold has the precision, and what the most promising one would have needed."""
    if not tried:
        return PolicyError(
            f"{_what(category, target)} needs more rows: none was left to choose thresholds with"
        )
    counts = Counts.of(scores, positive, tried[0])
    required = bounds.required_hits(counts.selected, target.value, confidence)
    needed = (
        f"{required} would have to be"
        if required <= counts.selected
        else f"at least {bounds.needed_positives(target.value, confidence)} must reach it, all of them 1"
    )
    return PolicyError(
        f"{_what(category, target)} cannot be promised: of the {counts.selected} testing rows that reach "
        f"{tried[0]:g}, the most promising threshold, {counts.true_positives} are labelled 1, and {needed} "
        f"(confidence {confidence:g}); ask for less or bring more rows"
    )


def _too_few(category: str, target: Target, needed: str, there: int, confidence: float) -> PolicyError:
    return PolicyError(
        f"{_what(category, target)} needs at least {needed} (confidence {confidence:.6g}); "
        f"the data have {there}"
    )


def _what(category: str, target: Target) -> str:
    return f"{category!r}: {_WORDS[target.metric]} {target.value:g}"


def ordered(review: Found, block: Found) -> tuple[Found, Found]:
    """The pair, with one moved if the review threshold lies above the other, and no promise broken by it.

    Raising a threshold keeps a false-positive rate, lowering one keeps recall, and each threshold that passed
    its test keeps precision. The block threshold moves first: blocking less is the smaller harm.
    """
    if np.float32(review.value) <= np.float32(block.value):
        return review, block
    if review.target is None and review.value >= NEVER:
        raise PolicyError(
            "the category is never reviewed, so it cannot be blocked; give it a review threshold"
        )
    metric = block.target.metric if block.target else None
    why = "so that what is blocked is reviewed as well; the promise holds there, too"
    higher = [value for value in block.passed if np.float32(value) >= np.float32(review.value)]
    if metric == "fpr" or higher:
        value = min(higher) if higher else review.value
        return review, replace(block, value=value, moved=f"up from {block.value:g}, {why}")
    if review.target and review.target.metric == "recall":
        return replace(review, value=block.value, moved=f"down from {_shown(review.value)}, {why}"), block
    raise PolicyError(
        f"the review threshold would be {review}, above the block threshold {block}: what is blocked must be "
        "reviewed as well, and neither can be moved without breaking its promise; ask for less in one of them"
    )


def _shown(value: float) -> str:
    return "never" if value >= NEVER else f"{value:g}"
