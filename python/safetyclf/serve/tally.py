"""Counts requests and verdicts: kept back and added up a few hundred at a time, since every score counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from .._policy import to_native
from .._results import Action
from .._verdict import Rules
from .lanes import Answer
from .metrics import SCORE_BOUNDS, STATUSES, Metrics

_MANY: Final = 4096
_BOUNDS: Final = np.array(SCORE_BOUNDS, np.float32)


class _Kept:
    """Of one policy. Scores are bytes, the rest numbers: none of it is a container for the collector."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.rows: list[bytes] = []
        self.actions: list[Action] = []
        self.depths: list[int] = []
        self.waited: list[float] = []


class Tally:
    """Of one worker and one generation of policies."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._kept: dict[int, _Kept] = {}
        self._requests: dict[tuple[str, int], list[float]] = {}

    def add(self, rules: Rules, answer: Answer) -> None:
        """Verdicts by one policy."""
        kept = self._kept.get(id(rules))
        if kept is None:
            kept = self._kept[id(rules)] = _Kept(rules)
        for row, _, action, _, _ in answer.states:
            kept.rows.append(row)
            kept.actions.append(action)
        kept.depths += answer.depths
        kept.waited.append(answer.waited)
        if len(kept.rows) >= _MANY:
            self.flush()

    def add_request(self, route: str, status: int, seconds: float) -> None:
        """A request that was answered, or given up."""
        self._requests.setdefault((route, status), []).append(seconds)

    def flush(self) -> None:
        """Brings the metrics up to date."""
        requests, self._requests = self._requests, {}
        for (route, status), times in requests.items():
            self._metrics.add(
                "requests", route, str(status) if status in STATUSES else "other", amount=len(times)
            )
            self._observe("request_seconds", times, route)
        several, self._kept = self._kept, {}
        for kept in several.values():
            scores = np.frombuffer(b"".join(kept.rows), np.float32)
            self._scores(kept.rules, scores.reshape(-1, len(kept.rules.categories)))
            for action, count in Counter(kept.actions).items():
                self._metrics.add("texts", action, amount=count)
            self._observe("depth", kept.depths)
            self._observe("queue_seconds", kept.waited)

    def _observe(self, name: str, values: Sequence[float], *labels: str) -> None:
        bounds = self._metrics.bounds(name, *labels)
        buckets = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds) + 1).tolist()
        self._metrics.observe_counts(name, *labels, buckets=buckets, total=sum(values))

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
