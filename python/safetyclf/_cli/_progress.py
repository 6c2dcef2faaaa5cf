"""A progress line on standard error, drawn only on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Final

_INTERVAL: Final = 0.1  # seconds between two drawings
_WIDTH: Final = 24


class Progress:
    """Counts messages and, where the size of the input is known, shows how much of it is done."""

    def __init__(self, total_bytes: int | None, *, shown: bool) -> None:
        self._total = total_bytes
        self._shown = shown
        self._start = self._drawn = time.monotonic()
        self._messages = 0

    def add(self, messages: int, done_bytes: int) -> None:
        """More messages were answered; `done_bytes` of the whole input were read."""
        self._messages += messages
        now = time.monotonic()
        if not self._shown or now - self._drawn < _INTERVAL:
            return
        self._drawn = now
        bar = ""
        if self._total:
            done = min(done_bytes / self._total, 1)
            bar = f"[{'#' * round(done * _WIDTH):<{_WIDTH}}] {done:4.0%}  "
        rate = self._messages / max(now - self._start, 1e-9)
        sys.stderr.write(f"\r{bar}{self._messages:,} messages, {rate:,.0f}/s \x1b[K")
        sys.stderr.flush()

    def clear(self) -> None:
        """Wipes the line, so that a message can be printed in its place."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class TaskProgress:
    """A bar for one task after another."""

    def __init__(self) -> None:
        self._shown = sys.stderr is not None and sys.stderr.isatty()
        self._drawn = 0.0

    def __call__(self, task: str, done: int, total: int) -> None:
        """Draws the line, unless it was drawn a moment ago and the task is not done."""
        now = time.monotonic()
        if self._shown and (now - self._drawn >= _INTERVAL or done == total):
            self._drawn = now
            bar = f"[{'#' * round(done / max(total, 1) * _WIDTH):<{_WIDTH}}]"
            sys.stderr.write(f"\r{bar} {task}: {done:,} of {total:,} \x1b[K")
            sys.stderr.flush()

    def clear(self) -> None:
        """Wipes the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
