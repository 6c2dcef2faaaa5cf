"""The server's processes: one, or workers under uvicorn's supervisor, which replaces those that die."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from .app import Application
from .door import Door
from .keys import Keys
from .logs import LOGGER, configuration
from .protocol import Connection
from .settings import Settings
from .state import State

_OTHER_FILES: Final = 256
_LAST_SECONDS: Final = 60  # for answers that are under way when the server ends
_PAUSE: Final = 0.1


class Factory:
    """Makes the application in the process that will run it; what travels there is only this."""

    def __init__(self, settings: Settings, folder: str, door: Door) -> None:
        self._settings, self._folder, self._door = settings, folder, door

    def __call__(self) -> Application:
        """The application."""
        application = Application(State(self._settings, self._folder, self._door))
        # The program itself is no garbage: the collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        return application


class Supervisor(Multiprocess):
    """Reloads in place: uvicorn's own way replaces the workers, and with them their connections."""

    def __init__(self, config: Config, door: Door) -> None:
        super().__init__(config, [door.listener])
        self._door = door
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)

    def _end(self, number: int, _: object) -> None:
        self._door.say_closing()
        self.signal_queue.append(number)

    def terminate_all(self) -> None:
        """Tells the workers, and leaves the listener to them: the last one that closes it ends the queue."""
        self._door.say_closing()
        super().terminate_all()
        self._door.listener.close()

    def join_all(self) -> None:
        """Waits for the workers, and hands on what hurries them."""
        while running := [process for process in self.processes if process.process.is_alive()]:
            running[0].process.join(_PAUSE)
            if signal.SIGTERM in self.signal_queue or signal.SIGINT in self.signal_queue:
                self.signal_queue.clear()
                self._send(signal.SIGTERM)

    def handle_hup(self) -> None:
        """Hands SIGHUP on."""
        self._send(signal.SIGHUP)

    def _send(self, number: signal.Signals) -> None:
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, number)


def serve(settings: Settings) -> int:
    """Runs the server until it is told to end; returns the exit code.

    Raises:
        InvalidArgumentError: the settings contradict themselves, or the address cannot be had.
        SafetyclfError, OSError: the keys cannot be read.
    """
    settings.check(len(Keys.read(settings.api_keys_file, os.environ)))
    _allow_files(settings.max_connections)
    with tempfile.TemporaryDirectory(prefix="safetyclf-") as folder:
        mark = Path(folder, "closing") if settings.workers > 1 else None
        door = Door(settings.host, settings.port, mark)
        config = Config(
            Factory(settings, folder, door),
            factory=True,
            workers=settings.workers,
            http=Connection,
            ws="none",
            loop="uvloop",
            lifespan="on",
            log_config=configuration(settings.log_level),
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=settings.keep_alive,
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
        try:
            logging.getLogger(LOGGER).info("serving", extra={"fields": {"url": door.url}})
            if settings.workers == 1:
                # uvicorn raises the signal once more when all is done: that is no failure.
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
                signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
                Server(config).run([door.listener])
                return 0
            supervisor = Supervisor(config, door)
            supervisor.run()
            failed = any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes)
            return STARTUP_FAILURE if failed else 0
        finally:
            door.listener.close()


def _allow_files(connections: int) -> None:
    """As many open files as connections need, if the system allows so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
