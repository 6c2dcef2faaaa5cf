"""The server's processes: one, or workers under uvicorn's supervisor, which replaces those that die."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import sys
import tempfile
from typing import Final

from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from .._errors import InvalidArgumentError
from .app import Application
from .keys import Keys
from .logs import LOGGER, configuration
from .protocol import Connection
from .settings import Settings
from .state import State

_BACKLOG: Final = 4096
_OTHER_FILES: Final = 256
_LAST_SECONDS: Final = 60  # for answers that are under way when the server ends


class Factory:
    """Makes the application in the process that will run it; what travels there is only this."""

    def __init__(self, settings: Settings, folder: str) -> None:
        self._settings, self._folder = settings, folder

    def __call__(self) -> Application:
        """The application."""
        return Application(State(self._settings, self._folder))


class Supervisor(Multiprocess):
    """Reloads in place: uvicorn's own way replaces the workers, and with them their connections."""

    def handle_hup(self) -> None:
        """Hands SIGHUP on."""
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, signal.SIGHUP)


def serve(settings: Settings) -> int:
    """Runs the server until it is told to end; returns the exit code.

    Raises:
        InvalidArgumentError: the settings contradict themselves, or the address cannot be had.
        SafetyclfError, OSError: the keys cannot be read.
    """
    settings.check(len(Keys.read(settings.api_keys_file, os.environ)))
    _allow_files(settings.max_connections)
    with tempfile.TemporaryDirectory(prefix="safetyclf-") as folder:
        config = Config(
            Factory(settings, folder),
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
            backlog=_BACKLOG,
            timeout_keep_alive=settings.keep_alive,
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
        listener = _bound(settings.host, settings.port)
        try:
            _announce(listener)
            if settings.workers == 1:
                # uvicorn raises the signal once more when all is done: that is no failure.
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
                signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
                Server(config).run([listener])
                return 0
            supervisor = Supervisor(config, [listener])
            supervisor.run()
            failed = any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes)
            return STARTUP_FAILURE if failed else 0
        finally:
            listener.close()


def _allow_files(connections: int) -> None:
    """As many open files as connections need, if the system allows so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _bound(host: str, port: int) -> socket.socket:
    """The socket that all workers accept from. A worker that dies takes no waiting connection with it."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise InvalidArgumentError(
            f"cannot listen on {host} port {port}: {error.strerror or error}"
        ) from None
    listener.set_inheritable(True)
    return listener


def _announce(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    logging.getLogger(LOGGER).info("serving", extra={"fields": {"url": url}})
