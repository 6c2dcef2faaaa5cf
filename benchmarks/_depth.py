"""What leaving early does to a list of texts, and texts to time it on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from corpora import Text
    from safetyclf import Classifier

NEAREST = 40  # texts of about the same length that a latency is measured on, in turn


def decisions(classifier: Classifier, scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """For each text and category, whether the score reaches the threshold for review."""
    never = 2.0
    review = [never if t.review is None else t.review for t in classifier.thresholds.values()]
    reached: np.ndarray[Any, Any] = scores >= np.array(review, np.float32)
    return reached


def compare(full: Classifier, fast: Classifier, texts: list[str]) -> dict[str, Any]:
    """How deep the texts go and for how many some decision differs from that at full depth."""
    at_full = decisions(full, full.scores(texts))
    scores, depths = fast.scores(texts, depths=True)
    return {
        "model": full.model_id,
        "count": len(texts),
        "changed": int((decisions(full, scores) != at_full).any(axis=1).sum()),
        "flagged": int(at_full.any(axis=1).sum()),
        "mean_depth": round(float(depths.mean()), 2),
        "left_at_depth": np.bincount(depths, minlength=full.info()["architecture"]["layers"] + 1).tolist(),
    }


def near(full: Classifier, pool: Sequence[Text], lengths: Iterable[int]) -> dict[str, dict[int, list[Text]]]:
    """The texts nearest to each length, of those that full depth does not flag and of those that it does."""
    reached = decisions(full, full.scores([entry.text for entry in pool]))
    picked = {}
    for name, wanted in (("harmless", False), ("flagged", True)):
        part = [entry for entry, row in zip(pool, reached, strict=True) if row.any() == wanted]
        picked[name] = {n: sorted(part, key=lambda t: abs(t.tokens - n))[:NEAREST] for n in lengths}
    return picked
