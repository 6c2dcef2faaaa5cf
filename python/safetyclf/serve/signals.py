"""What signals do to a worker: SIGHUP reloads, SIGTERM and SIGINT let it end without dropping a request."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from .state import State

_LAST_ONES: Final = 0.1  # seconds in which a connection that was begun is accepted
# Ctrl-C and service managers tell all processes, and then the supervisor tells its workers what it was told.
_ECHO: Final = 1.0  # seconds for that


@contextmanager
def handled(state: State) -> Iterator[None]:
    """Sets the handlers while the application runs. Only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    door, first = state.door, 0.0

    def reload() -> None:
        task = loop.create_task(state.reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def end(number: signal.Signals, handler: object) -> None:
        """Connections that are in use close after their next answer; the rest a little later, by uvicorn."""
        nonlocal first
        if not state.draining:
            state.draining, first = True, loop.time()
            state.log.info("draining")
            loop.call_later(state.settings.drain, close, number, handler)
        elif not state.hurried and (state.settings.workers == 1 or loop.time() - first > _ECHO):
            state.hurried = True
            close(number, handler)

    def close(number: signal.Signals, handler: object) -> None:
        """Lets nobody in any more, then in those who stand before the door, then tells uvicorn."""
        if door is not None and door.closes:
            door.shut()
        if callable(handler):
            loop.call_later(_LAST_ONES, handler, number, None)

    loop.add_signal_handler(signal.SIGHUP, reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number, signal.getsignal(number))
    try:
        yield
    finally:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
