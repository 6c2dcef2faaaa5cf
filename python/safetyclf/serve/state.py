"""What one worker process has. The application's lifespan opens and closes it."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._errors import SafetyclfError
from .audit import Audit
from .door import Door
from .engines import Judged, Loaded
from .keys import Keys
from .lanes import Watch
from .logs import LOGGER
from .metrics import Metrics, families
from .refusals import Refusal
from .settings import Settings
from .tally import Tally
from .telemetry import Telemetry

if TYPE_CHECKING:
    from .._native import Batch

_FLUSH: float = 0.5  # seconds between two counts of scores


class State:
    """Settings, models, keys, counters.

    Attributes:
        loaded: the models and policies in force; another object after a reload.
        telemetry: with --otel only.
        draining: the server is about to end: answers close their connections.
        hurried: it was told so a second time: nothing is waited for that may not come.
        in_progress: requests that are being answered.
        keys: those that open the server now.
    """

    loaded: Loaded
    metrics: Metrics
    _tally: Tally

    def __init__(self, settings: Settings, folder: str, door: Door | None = None) -> None:
        """`folder` is where all workers keep their counters; `door` is what they listen at."""
        self.settings, self._folder, self.door = settings, folder, door
        self.log = logging.getLogger(LOGGER)
        self.draining = self.hurried = False
        self.in_progress = 0
        self.route_names: list[str] = []  # of the endpoints made with this state
        self.telemetry: Telemetry | None = None
        self._audit: Audit | None = None
        self.keys = Keys([])
        self._beside: set[asyncio.Task[None]] = set()  # the shadow model's work
        self._reloading = asyncio.Lock()
        self._token, self._number = secrets.token_hex(8), 0
        self._parent = os.getppid()

    async def open(self) -> None:
        """Loads all there is to load. Raises SafetyclfError or OSError."""
        environment, settings = os.environ, self.settings
        self.keys = Keys.read(settings.api_keys_file, environment)
        if settings.otel:
            self.telemetry = Telemetry()
        if settings.audit is not None:
            self._audit = Audit(settings.audit, environment)
        self._use(await asyncio.to_thread(Loaded, settings))
        self._flush()
        self._say("ready", model=self.loaded.classifier.model_id, policies=list(self.loaded.policies))

    async def close(self) -> None:
        """Answers what waits, and ends."""
        self._timer.cancel()
        await self.loaded.close()
        await asyncio.gather(*self._beside)
        self._tally.flush()
        self.metrics.close()
        if self._audit is not None:
            self._audit.close()

    async def reload(self) -> None:
        """Reads model, policies and keys again, and opens the audit log anew.

        Requests go on meanwhile, those in the queues are answered by what they came to. What cannot be read
        leaves everything as it was.
        """
        async with self._reloading:
            try:
                keys = Keys.read(self.settings.api_keys_file, os.environ)
                if self._audit is not None:
                    self._audit.reopen()
                loaded = await asyncio.to_thread(Loaded, self.settings)
            except (SafetyclfError, OSError) as error:
                self.metrics.add("reloads", "failed")
                # Such an error speaks of files, not of requests.
                self.log.error("reload failed", extra={"fields": {"error": str(error)}})
                return
            before, self.keys = self.loaded, keys
            self._use(loaded)
            await before.close()
            self.metrics.add("reloads", "ok")
            self._say("reloaded", model=loaded.classifier.model_id, policies=list(loaded.policies))

    def request_id(self) -> str:
        """A new one, that no other process gives."""
        self._number += 1
        return f"req_{self._token}{self._number:08x}"

    def policy(self, name: str | None) -> str:
        """The name of the policy, or of the default for None. Raises Refusal: there is none."""
        loaded = self.loaded
        if name is not None and name not in loaded.policies:
            raise Refusal(
                404,
                f"No such policy is loaded; loaded are: {', '.join(loaded.policies)}.",
                code="policy_not_found",
                param="x-safetyclf-policy",
            )
        return loaded.default if name is None else name

    async def judge(self, texts: Sequence[str], policy: str, watch: Watch, request_id: str) -> list[Judged]:
        """Verdicts by the policy of that name, which exists. Counts them and writes them down.

        Raises:
            Refusal: the queue is full.
        """
        loaded = self.loaded
        # After a reload these may be others, which do not know the categories.
        metrics, tally = self.metrics, self._tally
        judged, answer = await loaded.judge(texts, policy, watch)
        tally.add(loaded.policies[policy]._in_force.rules, answer)
        if self._audit is not None:
            self._audit.write(request_id, texts, policy, judged)
        if loaded.shadow is not None:
            task = asyncio.create_task(self._compare(loaded, metrics, texts, policy, judged))
            self._beside.add(task)
            task.add_done_callback(self._beside.discard)
        return judged

    def leave(self, route: str, status: int, seconds: float) -> None:
        """Counts a request that is no longer in progress."""
        self.in_progress -= 1
        self._tally.add_request(route, status, seconds)

    def metrics_text(self) -> bytes:
        """For Prometheus."""
        self._refresh()
        return self.metrics.text()

    def _use(self, loaded: Loaded) -> None:
        classifier = loaded.classifier
        layout = families(self.route_names, classifier.categories, classifier._engine.depths)
        if not hasattr(self, "metrics") or self.metrics.layout != layout:
            if hasattr(self, "metrics"):
                self._tally.flush()
                self.metrics.close()
            self.metrics = Metrics(self._folder, layout)
            self.metrics.set("workers", 1)
            self._tally = Tally(self.metrics)
        loaded.start(self._count_batch)
        self.loaded = loaded

    def _count_batch(self, batch: Batch) -> None:
        requests, texts, tokens, seconds = batch
        self.metrics.observe("batch_requests", requests)
        self.metrics.observe("batch_texts", texts)
        self.metrics.observe("batch_tokens", tokens)
        self.metrics.observe("batch_seconds", seconds)

    async def _compare(
        self, loaded: Loaded, metrics: Metrics, texts: Sequence[str], policy: str, judged: list[Judged]
    ) -> None:
        """Counts where the shadow model decides otherwise. Nothing else is kept of it."""
        try:
            others = await loaded.second_opinion(texts, policy)
        except (Refusal, SafetyclfError):
            metrics.add("shadow_dropped", amount=len(texts))
            return
        assert loaded.shadow is not None
        names = loaded.shadow[policy].categories
        for ours, (_, flags, action, _, _) in zip(judged, others, strict=True):
            metrics.add("shadow", ours.verdict.action, action)
            theirs = dict(zip(names, map(bool, flags), strict=True))
            for category, flagged in ours.verdict.categories.items():
                if flagged != theirs.get(category, False):
                    metrics.add("shadow_categories", category)

    def _refresh(self) -> None:
        self._tally.flush()
        self.metrics.set("requests_in_progress", self.in_progress)
        self.metrics.set("queue_requests", self.loaded.waiting)

    def _flush(self) -> None:
        """Every now and then, so that other workers, when asked, know what this one did."""
        self._refresh()
        if self.settings.workers > 1 and os.getppid() != self._parent:
            signal.raise_signal(signal.SIGTERM)  # nobody is left who would end this worker
        self._timer = asyncio.get_running_loop().call_later(_FLUSH, self._flush)

    def _say(self, event: str, **fields: Any) -> None:
        self.log.info(event, extra={"fields": fields})
