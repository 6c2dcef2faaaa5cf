"""What the tests of the server share."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx

POLICY = """\
format = "safetyclf-policy/1"
id = "strict"
version = "1.0.0"
title = "A policy for tests"

[categories.harassment]
title = "Harassment"
definition = "What the test wants it to be."
review = {review}
block = {block}
positive = ["a rude thing to say"]
negative = ["a kind thing to say"]
{rest}
"""
TERMS = """
[lists.fruit]
title = "Fruit"
action = "block"
match = "word"
terms = ["banana"]
category = "harassment"
"""


def write_policy(path: Path, review: float = 0.0, block: float = 1.0, rest: str = "") -> Path:
    """A policy whose thresholds for harassment are these; `rest` may be TERMS."""
    path.write_text(POLICY.format(review=review, block=block, rest=rest))
    return path


class Running:
    """A `safetyclf serve` of its own.

    Attributes:
        process: the supervisor, or the only worker.
        log: lines of standard error, as far as they were read.
    """

    def __init__(self, *options: str, environment: dict[str, str] | None = None) -> None:
        self.log: list[dict[str, Any]] = []
        self.stray: list[str] = []  # lines that are no JSON
        self._news: queue.Queue[dict[str, Any]] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "safetyclf", "serve", "--port", "0", *options],
            env={**os.environ, **(environment or {})},
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.url: str = self.wait_for("serving")["url"]
        self.address = ("127.0.0.1", int(self.url.rpartition(":")[2]))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                entry = json.loads(line)
            except ValueError:
                self.stray.append(line)
                continue
            self.log.append(entry)
            self._news.put(entry)

    def wait_for(self, event: str, seconds: float = 30) -> dict[str, Any]:
        """The next log entry of that event."""
        end = time.monotonic() + seconds
        while True:
            try:
                entry = self._news.get(timeout=max(0.0, min(end - time.monotonic(), 0.2)))
            except queue.Empty:
                if time.monotonic() > end or (self.process.poll() is not None and self._news.empty()):
                    raise AssertionError(f"no {event!r} in {self.log} {self.stray}") from None
                continue
            if entry["event"] == event:
                return entry

    def wait_ready(self, workers: int = 1) -> list[int]:
        """Process ids of the workers, when all are ready."""
        return [int(self.wait_for("ready")["process"]) for _ in range(workers)]

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=headers, timeout=30)

    def moderate(self, given: Any, **headers: str) -> httpx.Response:
        return httpx.post(self.url + "/v1/moderations", json={"input": given}, headers=headers, timeout=60)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join()
            assert self.process.stderr is not None
            self.process.stderr.close()
        return code
