"""Where the server listens, and how it stops so that nobody who came in is turned out.

A listener that is closed resets the connections which the system has made but nobody has accepted. So the
door is shut first: the system drops requests for new connections, those that wait are accepted, and only then
is the listener closed.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

from .._errors import InvalidArgumentError

_BACKLOG: Final = 4096
_SO_ATTACH_FILTER: Final = 26
# A program of the Berkeley packet filter, which sees TCP's header: drops what has SYN, but not ACK.
_NO_SYN: Final = (
    (0x30, 0, 0, 13),  # load the byte with the flags
    (0x54, 0, 0, 0x12),  # of them ACK and SYN
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep
)


class Door:
    """The socket that all workers accept from. A worker that dies takes no waiting connection with it.

    Attributes:
        listener: it listens from the beginning; who comes before a model is loaded waits.
    """

    def __init__(self, host: str, port: int, mark: Path | None) -> None:
        """Binds and listens.

        Args:
            host: a name or an address.
            port: 0 takes a free one.
            mark: a file that will say, to all workers, that the server ends; None if there is one process.

        Raises:
            InvalidArgumentError: the address cannot be had.
        """
        self._mark, self._parent = mark, os.getpid()
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self.listener = socket.socket(family, socket.SOCK_STREAM)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind(address)
            self.listener.listen(_BACKLOG)
        except OSError as error:
            raise InvalidArgumentError(
                f"cannot listen on {host} port {port}: {error.strerror or error}"
            ) from None
        self.listener.set_inheritable(True)

    @property
    def url(self) -> str:
        """Where clients find it."""
        host, port = self.listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def closes(self) -> bool:
        """Whether the whole server ends, and not only a worker that somebody killed."""
        return self._mark is None or self._mark.exists() or os.getppid() != self._parent

    def say_closing(self) -> None:
        """To the other processes."""
        assert self._mark is not None
        self._mark.touch()

    def shut(self) -> None:
        """Lets nobody in any more, whichever process would accept.

        Who connects from now on waits until the last process closes the listener, and is refused then. What
        the system has connected already can still be accepted.
        """
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _NO_SYN))
        filter_ = struct.pack("HP", len(_NO_SYN), ctypes.addressof(program))
        with suppress(OSError):  # without such filters, who comes in the last moment is reset
            self.listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)
