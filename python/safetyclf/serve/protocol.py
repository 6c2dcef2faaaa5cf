"""HTTP connections: uvicorn's protocol with limits that it lacks.

A request's head has to arrive within a time and a size, a worker has so many connections at most, and a
handler can ask to be told when its client is gone. What most requests are has short cuts: a body that has
arrived is at hand, an answer is written at once, and a connection in use keeps its timer.
"""

from __future__ import annotations

import asyncio
import json
import termios
from collections.abc import Callable
from fcntl import ioctl
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from .refusals import Refusal, openai_envelope

if TYPE_CHECKING:
    from starlette.types import Receive, Send

    from .state import State

STATE: Final = "safetyclf"  # key of the `State` in the lifespan's state
EXTENSION: Final = "safetyclf.connection"
_MAX_HEAD: Final = 64 << 10
_GRACE: Final = 1.0  # seconds for a last request
_PAUSE: Final = 0.05
_OK: Final = (
    b"HTTP/1.1 200 OK\r\nx-request-id: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b"
)


def _cycle(method: object) -> RequestResponseCycle | None:
    """Whose `receive` or `send` it is; None if it is another server's, or something stands between."""
    found = getattr(method, "__self__", None)
    return found if isinstance(found, RequestResponseCycle) else None


def whole_body(receive: Receive) -> bytes | None:
    """The body, if all of it is here: what the first `receive` gives then."""
    cycle = _cycle(receive)
    if cycle is None or cycle.more_body or cycle.disconnected or cycle.waiting_for_100_continue:
        return None
    return bytes(cycle.body)


def answer(send: Send, request_id: str, body: bytes, *, close: bool) -> bool:
    """JSON with status 200, in one write, without the checks that two messages of unknown content need.

    Returns whether it could be done; else it has to go through `send`.
    """
    cycle = _cycle(send)
    if cycle is None or cycle.disconnected or cycle.flow.write_paused or cycle.scope["method"] == "HEAD":
        return False
    more = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers])
    if close or not cycle.keep_alive:
        cycle.keep_alive = False
        more += b"connection: close\r\n"
    cycle.transport.write(_OK % (request_id.encode("ascii"), len(body), more, body))
    cycle.response_started = cycle.response_complete = True
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


class Connection(HttpToolsProtocol):
    """One connection. `on_gone`, set by a handler, is called if the client goes before it has its answer."""

    on_gone: Callable[[], object] | None = None
    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0
    _idle_since: float | None = None

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
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
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

    def on_response_complete(self) -> None:
        """Goes on with the next request, or begins to wait for one."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._expect_request(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """Lets the timer run: setting it anew for each request takes longer than to look when it rings."""
        self._idle_since = None

    def _expect_request(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Ends an idle connection, and one whose client does not read its answer."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._expect_request(left)
        elif self.transport.get_write_buffer_size():
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
