"""Counts verdicts: kept back and added up a few hundred at a time, since every score of every text counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from .._policy import to_native
from .._verdict import Rules, State
from .metrics import SCORE_BOUNDS, Metrics

_MANY: Final = 4096
_BOUNDS: Final = np.array(SCORE_BOUNDS, np.float32)


class Tally:
    """Of one worker and one generation of policies."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._kept: dict[int, tuple[Rules, list[bytes], list[int]]] = {}
        self._count = 0

    def add(self, rules: Rules, states: Sequence[State], depths: Sequence[int]) -> None:
        """Verdicts by one policy."""
        _, rows, left = self._kept.setdefault(id(rules), (rules, [], []))
        rows += [state[0] for state in states]
        left += depths
        for state in states:
            self._metrics.add("texts", state[2])
        self._count += len(states)
        if self._count >= _MANY:
            self.flush()

    def flush(self) -> None:
        """Brings the metrics up to date."""
        kept, self._kept, self._count = self._kept, {}, 0
        for rules, rows, depths in kept.values():
            scores = np.frombuffer(b"".join(rows), np.float32).reshape(-1, len(rules.categories))
            self._scores(rules, scores)
            counts = np.bincount(depths).tolist()
            # Layers are counted from 0, so that a depth is the number of its bucket.
            self._metrics.observe_counts("depth", buckets=counts, total=sum(depths))

    def _scores(self, rules: Rules, scores: np.ndarray) -> None:
        width, columns = len(SCORE_BOUNDS) + 1, len(rules.categories)
        buckets = np.searchsorted(_BOUNDS, scores) + width * np.arange(columns)
        counts = np.bincount(buckets.ravel(), minlength=width * columns).reshape(columns, width).tolist()
        totals = scores.sum(axis=0, dtype=np.float64).tolist()
        limits = np.frombuffer(to_native(list(rules.thresholds.values())), np.float32).reshape(2, 1, columns)
        reached = (scores >= limits).sum(axis=1).tolist()
        for i, category in enumerate(rules.categories):
            self._metrics.observe_counts("score", category, buckets=counts[i], total=totals[i])
            self._metrics.add("decisions", category, "review", amount=reached[0][i] - reached[1][i])
            self._metrics.add("decisions", category, "block", amount=reached[1][i])
