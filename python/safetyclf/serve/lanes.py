"""Queues before a model: requests of all connections, read in common batches or one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from .._classifier import Classifier
from .._engine import Engine as AnyEngine
from .._native import Batcher, Engine
from .._verdict import State as VerdictState
from .refusals import overloaded
from .settings import Settings

if TYPE_CHECKING:
    from .._native import Batch


class Answer(NamedTuple):
    """What came out of a batch for one request; lists have an entry for each text."""

    states: list[VerdictState]
    depths: list[int]
    tokens: list[int]
    waited: float  # seconds


# Gets the future that a request waits for; cancelling that drops the work.
Watch: TypeAlias = Callable[["asyncio.Future[Any]"], None]


class Lane(Protocol):
    """A queue before a model, for one event loop. Its methods are called on the loop's thread."""

    @property
    def waiting(self) -> int:
        """Requests in the queue."""

    async def score(self, texts: Sequence[str], policy: Classifier, watch: Watch) -> Answer:
        """Waits for its turn. Raises Refusal when the queue is full."""

    async def close(self) -> None:
        """Answers what waits, then ends."""


def open_lane(classifier: Classifier, settings: Settings, on_batch: Callable[[Batch], None]) -> Lane:
    """The lane for the classifier's engine; `on_batch` is told what was read together."""
    if isinstance(classifier._engine, Engine):
        return BatchLane(classifier._engine, settings, on_batch)
    return SingleLane(classifier._engine, settings, on_batch)


class BatchLane:
    """A native engine reads requests of all connections in common batches."""

    def __init__(self, engine: Engine, settings: Settings, on_batch: Callable[[Batch], None]) -> None:
        self._batcher = Batcher(
            engine,
            batch_tokens=settings.batch_tokens,
            max_wait=settings.max_wait / 1000,
            queue_requests=settings.queue,
            queue_bytes=settings.queue_bytes,
        )
        self._loop = asyncio.get_running_loop()
        self._on_batch = on_batch
        self._pending: dict[int, asyncio.Future[Answer]] = {}
        self._seconds_each = 0.001  # a request's share of a batch, lately
        self._loop.add_reader(self._batcher.fileno(), self._deliver)

    @property
    def waiting(self) -> int:
        """See `Lane`."""
        return self._batcher.waiting

    async def score(self, texts: Sequence[str], policy: Classifier, watch: Watch) -> Answer:
        """See `Lane`."""
        number = self._batcher.submit(texts, policy._in_force.native, policy._level)
        if number == 0:
            raise overloaded(self._seconds_each * self._batcher.waiting)
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._pending[number] = future
        watch(future)
        try:
            return await future
        except asyncio.CancelledError:
            self._batcher.cancel(number)
            self._pending.pop(number, None)
            raise

    def _deliver(self) -> None:
        answers, batches = self._batcher.take()
        for number, states, depths, tokens, waited in answers:
            future = self._pending.pop(number, None)
            if future is None or future.done():
                continue  # cancelled
            if isinstance(states, Exception):
                future.set_exception(states)
            else:
                future.set_result(Answer(states, depths, tokens, waited))
        for batch in batches:
            self._seconds_each += 0.1 * (batch[3] / batch[0] - self._seconds_each)
            self._on_batch(batch)

    async def close(self) -> None:
        """See `Lane`."""
        await asyncio.to_thread(self._batcher.close)
        self._deliver()
        self._loop.remove_reader(self._batcher.fileno())


class SingleLane:
    """Another engine reads one request after the other, in a thread.

    With ONNX Runtime the last bits of a score depend on what else is in a batch. A verdict must not depend on
    who asks at the same time, so nobody shares one.
    """

    def __init__(self, engine: AnyEngine, settings: Settings, on_batch: Callable[[Batch], None]) -> None:
        self._engine, self._settings, self._on_batch = engine, settings, on_batch
        self._thread = ThreadPoolExecutor(1, "safetyclf-lane")
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._requests = self._bytes = 0  # that were not answered yet
        self._seconds_each = 0.01  # for a request, lately

    @property
    def waiting(self) -> int:
        """See `Lane`."""
        return max(self._requests - 1, 0)  # one of them is read

    async def score(self, texts: Sequence[str], policy: Classifier, watch: Watch) -> Answer:
        """See `Lane`."""
        size, arrived = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts), time.monotonic()
        full = self._requests > 0 and self._bytes + size > self._settings.queue_bytes
        if full or self.waiting >= self._settings.queue or not self._open:
            raise overloaded(self._seconds_each * self._requests)
        self._requests, self._bytes = self._requests + 1, self._bytes + size
        work = self._loop.run_in_executor(self._thread, self._read, texts, policy, arrived)
        work.add_done_callback(lambda _: self._leave(size))
        watch(work)
        answer, seconds = await work
        self._seconds_each += 0.1 * (seconds - self._seconds_each)
        self._on_batch((1, len(texts), sum(answer.tokens), seconds))
        return answer

    def _leave(self, size: int) -> None:
        """Answered, failed or cancelled."""
        self._requests, self._bytes = self._requests - 1, self._bytes - size

    def _read(self, texts: Sequence[str], policy: Classifier, arrived: float) -> tuple[Answer, float]:
        begin = time.monotonic()
        states = self._engine.verdicts(texts, policy._in_force.native, policy._level)
        tokens = [len(self._engine.tokenize(text)[0]) for text in texts]
        depths = [self._engine.depths - 1] * len(texts)
        return Answer(states, depths, tokens, begin - arrived), time.monotonic() - begin

    async def close(self) -> None:
        """See `Lane`."""
        self._open = False
        await asyncio.to_thread(self._thread.shutdown)
