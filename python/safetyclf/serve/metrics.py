"""Counters that all worker processes add to, and the text that Prometheus reads.

Each worker maps a file of float64 and writes to that alone, so that counting is an addition without a lock;
whichever worker is asked adds up all files. A worker that is killed leaves its file, with what it counted, to
the one that replaces it. prometheus_client has a way for several processes as well, but it takes a lock and
packs bytes for each value, and every score of every text is one (docs/serve.md has the figures). It writes
what Prometheus reads.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import itertools
import mmap
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final, NamedTuple

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

PREFIX: Final = "safetyclf_"
_SECONDS: Final = (
    0.0005,
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    10,
)
_COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_TOKENS: Final = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536)
SCORE_BOUNDS: Final = tuple(i / 20 for i in range(1, 20))
STATUSES: Final = (200, 204, 400, 401, 404, 405, 408, 413, 415, 429, 499, 500, 501, 503)
ACTIONS: Final = ("allow", "review", "block")


class Family(NamedTuple):
    """A metric: its labels' names, all combinations of their values, and a histogram's upper bounds."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = ((),)
    bounds: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Numbers that one combination takes: a histogram has its buckets and the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


def families(routes: Sequence[str], categories: Sequence[str], depths: int) -> list[Family]:
    """What is counted, for a server with these routes and a model with these categories and layers."""
    by_category = tuple((c,) for c in categories)
    pairs = tuple(itertools.product(ACTIONS, ACTIONS))
    p = PREFIX
    return [
        Family(f"{p}requests", "counter", "Requests answered.", ("route", "status"),
               tuple((r, str(s)) for r in routes for s in (*STATUSES, "other"))),
        Family(f"{p}request_seconds", "histogram", "From a request's head to its answer.", ("route",),
               tuple((r,) for r in routes), _SECONDS),
        Family(f"{p}requests_in_progress", "gauge", "Requests that are being answered."),
        Family(f"{p}queue_requests", "gauge", "Requests that wait for the model."),
        Family(f"{p}queue_seconds", "histogram", "How long requests waited for the model.", bounds=_SECONDS),
        Family(f"{p}batch_requests", "histogram", "Requests in one batch.", bounds=_COUNTS),
        Family(f"{p}batch_texts", "histogram", "Texts in one batch.", bounds=_COUNTS),
        Family(f"{p}batch_tokens", "histogram", "Tokens in one batch.", bounds=_TOKENS),
        Family(f"{p}batch_seconds", "histogram", "How long the model worked on one batch.", bounds=_SECONDS),
        Family(f"{p}depth", "histogram", "Layers after which texts left the model.",
               bounds=tuple(range(depths - 1))),
        Family(f"{p}texts", "counter", "Texts judged, by action.", ("action",), tuple((a,) for a in ACTIONS)),
        Family(f"{p}decisions", "counter", "Categories that reached a threshold.", ("category", "action"),
               tuple(itertools.product(categories, ACTIONS[1:]))),
        Family(f"{p}score", "histogram", "Scores of all texts.", ("category",), by_category, SCORE_BOUNDS),
        Family(f"{p}shadow", "counter", "Texts that the shadow model judged as well, by both actions.",
               ("action", "shadow_action"), pairs),
        Family(f"{p}shadow_categories", "counter", "Texts where only one model flags a category.",
               ("category",), by_category),
        Family(f"{p}shadow_dropped", "counter", "Texts that the shadow model was too busy for."),
        Family(f"{p}reloads", "counter", "Reloads.", ("result",), (("ok",), ("failed",))),
        Family(f"{p}workers", "gauge", "Worker processes."),
    ]  # fmt: skip


class Metrics:
    """This worker's numbers, and on request everybody's."""

    def __init__(self, folder: str, layout: Sequence[Family]) -> None:
        """Takes a file of `folder`: one that a worker left, or a new one."""
        self.layout = layout
        self._prefix = os.path.join(folder, hashlib.sha256(repr(layout).encode()).hexdigest()[:16])
        size = 8 * sum(len(f.values) * f.width for f in layout)
        self._file = _claimed(self._prefix)
        if os.fstat(self._file.fileno()).st_size < size:
            os.truncate(self._file.fileno(), size)
        self._numbers = memoryview(mmap.mmap(self._file.fileno(), size)).cast("d")
        # By name and labels where the numbers begin, how many they are, and the bounds.
        self._place: dict[tuple[str, ...], tuple[int, int, tuple[float, ...]]] = {}
        offset = 0
        for family in layout:
            if family.kind == "gauge":  # of a worker that was killed
                self._numbers[offset] = 0
            for labels in family.values:
                key = (family.name.removeprefix(PREFIX), *labels)
                place = offset, family.width, family.bounds
                self._place[key] = place
                offset += family.width

    def add(self, name: str, *labels: str, amount: float = 1) -> None:
        """Adds to a counter or gauge."""
        self._numbers[self._at(name, labels)[0]] += amount

    def set(self, name: str, value: float) -> None:
        """Sets a gauge."""
        self._numbers[self._place[(name,)][0]] = value

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Counts a value in its bucket."""
        at, width, bounds = self._at(name, labels)
        self._numbers[at + bisect_left(bounds, value)] += 1
        self._numbers[at + width - 1] += value

    def _at(self, name: str, labels: tuple[str, ...]) -> tuple[int, int, tuple[float, ...]]:
        key = (name, *labels)
        return self._place[key]

    def bounds(self, name: str, *labels: str) -> tuple[float, ...]:
        """A histogram's upper bounds."""
        return self._at(name, labels)[2]

    def observe_counts(self, name: str, *labels: str, buckets: Sequence[int], total: float) -> None:
        """Adds many values that were sorted into buckets elsewhere, and their sum."""
        at, width, _ = self._at(name, labels)
        for i, count in enumerate(buckets):
            self._numbers[at + i] += count
        self._numbers[at + width - 1] += total

    def text(self) -> bytes:
        """What Prometheus reads: the sums over all workers."""
        registry = CollectorRegistry()
        registry.register(_Sums(self.layout, self._sums()))
        return generate_latest(registry)

    def close(self) -> None:
        """Leaves the file to another worker."""
        for family in self.layout:
            if family.kind == "gauge":
                self.set(family.name.removeprefix(PREFIX), 0)
        fcntl.flock(self._file, fcntl.LOCK_UN)  # which the mapping would keep
        self._file.close()

    def _sums(self) -> Sequence[float]:
        import numpy

        files = glob.glob(glob.escape(self._prefix) + "-*")
        numbers = [numpy.fromfile(file, numpy.float64) for file in files]
        total: Sequence[float] = numpy.sum([n for n in numbers if len(n)], axis=0).tolist()
        return total


class _Sums(Collector):
    """Hands the sums to prometheus_client, which writes them."""

    def __init__(self, layout: Sequence[Family], sums: Sequence[float]) -> None:
        self._layout, self._sums = layout, sums

    def collect(self) -> Iterator[Metric]:
        """One metric after the other."""
        offset = 0
        for family in self._layout:
            metric: Any
            if family.kind == "histogram":
                metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
            elif family.kind == "counter":
                metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
            else:
                metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
            for labels in family.values:
                numbers = self._sums[offset : offset + family.width]
                offset += family.width
                if family.kind == "histogram":
                    counts = itertools.accumulate(numbers[:-1])
                    names = [*(f"{bound:g}" for bound in family.bounds), "+Inf"]
                    metric.add_metric(labels, list(zip(names, counts, strict=True)), numbers[-1])
                elif family.kind == "gauge" or len(family.values) == 1 or any(numbers):
                    metric.add_metric(labels, numbers[0])
            yield metric


def _claimed(prefix: str) -> IO[bytes]:
    """The first file that no living worker has."""
    for number in itertools.count():
        file = open(f"{prefix}-{number}", "a+b")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            file.close()
    raise AssertionError
