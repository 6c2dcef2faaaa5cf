"""HTTP connections: uvicorn's protocol with limits that it lacks.

A request's head has to arrive within a time and a size, a worker has so many connections at most, and a
handler can ask to be told when its client is gone.
"""

from __future__ import annotations

import asyncio
import json
import termios
from collections.abc import Callable
from fcntl import ioctl
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .refusals import Refusal, openai_envelope

if TYPE_CHECKING:
    from .state import State

STATE: Final = "safetyclf"  # key of the `State` in the lifespan's state
EXTENSION: Final = "safetyclf.connection"
_MAX_HEAD: Final = 64 << 10
_GRACE: Final = 1.0  # seconds for a last request
_PAUSE: Final = 0.05


class Connection(HttpToolsProtocol):
    """One connection. `on_gone`, set by a handler, is called if the client goes before it has its answer."""

    on_gone: Callable[[], object] | None = None
    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._state: State = self.app_state[STATE]
        self._settings = self._state.settings

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first request."""
        super().connection_made(transport)
        if len(self.connections) > self._settings.max_connections:
            self._refuse(Refusal(503, "Too many connections.", kind="server_error", retry=True))
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the handler."""
        self._stop_timer()
        super().connection_lost(exc)
        if self.on_gone is not None:
            self.on_gone()

    def data_received(self, data: bytes) -> None:
        """Feeds the parser."""
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MAX_HEAD:
            self._refuse(Refusal(431, "The request's head is too large."))
        elif self._timer is None and not self.transport.is_closing():
            self._expect_head()

    def on_message_begin(self) -> None:
        """The first bytes of a request."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self.scope["extensions"] = {EXTENSION: {"connection": self}}

    def on_headers_complete(self) -> None:
        """The head is here; the body is the application's matter."""
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()
        if self._state.draining:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """The server ends. Who has asked nothing may still do so for a moment: it could be on its way."""
        if self._asked:
            super().shutdown()
        else:
            self._leave(self.loop.time() + _GRACE)

    def _leave(self, end: float) -> None:
        if self._asked or (self._in_head and self._head_bytes) or self.transport.is_closing():
            return  # a request comes, and its answer will close the connection
        if (self.loop.time() >= end or self._state.hurried) and not self._unread():
            self.transport.close()
        else:
            self.loop.call_later(_PAUSE, self._leave, end)

    @property
    def _asked(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _unread(self) -> bool:
        """Whether something has come that the loop has not read yet."""
        waiting = ioctl(self.transport.get_extra_info("socket").fileno(), termios.FIONREAD, bytes(4))
        return waiting != bytes(4)

    def timeout_keep_alive_handler(self) -> None:
        """Ends an idle connection, and one whose client does not read its answer."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _expect_head(self) -> None:
        self._timer = self.loop.call_later(self._settings.read_timeout, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if not self._head_bytes:
            self.transport.close()  # nothing was asked
        else:
            self._refuse(Refusal(408, "The request did not arrive in time.", retry=True))

    def _refuse(self, refusal: Refusal) -> None:
        if self.transport.is_closing():
            return
        body = json.dumps(openai_envelope(refusal)).encode()
        head = (
            f"HTTP/1.1 {refusal.status} Refused\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nx-should-retry: {str(refusal.retry).lower()}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
