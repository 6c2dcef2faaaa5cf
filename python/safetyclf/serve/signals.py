"""What signals do to a worker: SIGHUP reloads, SIGTERM and SIGINT let it end without dropping a request."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .state import State


@contextmanager
def handled(state: State) -> Iterator[None]:
    """Sets the handlers while the application runs. Only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def reload() -> None:
        task = loop.create_task(state.reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def end(number: signal.Signals, handler: object) -> None:
        """Connections that are in use close after their next answer; the rest a little later, by uvicorn."""
        if not state.draining:
            state.draining = True
            state.log.info("draining")
            if callable(handler):
                loop.call_later(state.settings.drain, handler, number, None)
        elif callable(handler):
            handler(number, None)  # a second signal does not wait

    loop.add_signal_handler(signal.SIGHUP, reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number, signal.getsignal(number))
    try:
        yield
    finally:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
