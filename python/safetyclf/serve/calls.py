"""One route: what happens around a handler, and what the handler gets."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qsl

from starlette.responses import Response

from .._results import Explanation, OffsetUnit
from .._texts import problem_of
from .engines import Judged
from .protocol import EXTENSION, Connection, answer, whole_body
from .refusals import Envelope, Refusal, internal, openai_envelope
from .state import State

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_JSON: Final = (b"content-type", b"application/json")
# A client that is told too early that its body is too large does not read that: so much is thrown away first.
_DISCARD: Final = 64 << 20

Handler: TypeAlias = "Callable[[Call], Awaitable[Any]]"


class Call:
    """One request.

    Attributes:
        state: of this worker.
        scope: of ASGI.
        connection: None under another server, or in a test.
        request_id: what the answer's x-request-id says.
        policy: the name of the policy that judged last.
    """

    __slots__ = ("_receive", "connection", "headers", "policy", "request_id", "scope", "state")

    def __init__(self, state: State, scope: Scope, receive: Receive) -> None:
        self.state, self.scope, self._receive = state, scope, receive
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.policy: str | None = None
        ours: dict[str, Connection] = scope.get("extensions", {}).get(EXTENSION, {})
        self.connection = ours.get("connection")
        given = self.header(b"x-request-id")
        self.request_id = given if given and _GIVEN_ID.fullmatch(given) else state.request_id()

    def header(self, name: bytes) -> str | None:
        """A header by its name in small letters; the last one if it was given more than once."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def query(self) -> dict[str, str]:
        """The query string's fields."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))

    async def body(self) -> bytes:
        """The body. Raises Refusal: it is too large, comes too slowly, or the client is gone."""
        limit = self.state.settings.max_body
        announced = self.headers.get(b"content-length")
        if announced is not None and int(announced) > limit:
            await self._discard(int(announced))
            raise _too_large(limit)
        here = whole_body(self._receive)
        if here is not None and len(here) <= limit:
            return here
        message = await self._next()
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            try:
                body = await asyncio.wait_for(self._rest(body, limit), self.state.settings.read_timeout)
            except asyncio.TimeoutError:
                raise Refusal(
                    408, "The request did not arrive in time.", retry=True, headers=_CLOSE
                ) from None
        if len(body) > limit:
            raise _too_large(limit)
        return body

    async def json(self) -> Any:
        """The body as JSON. Raises Refusal 400, too."""
        body = await self.body()
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise Refusal(400, "The body is not valid JSON.", code="invalid_json") from None

    def judge(
        self, texts: Sequence[str], *, param: str = "input", policy: str | None = None
    ) -> Awaitable[list[Judged]]:
        """Verdicts by the policy that the request names, or the one given.

        Args:
            texts: at most so many and so long as the settings say; else Refusal 400.
            param: the field that holds them, for the refusal.
            policy: of the loaded ones; None is the header x-safetyclf-policy, or the default.
        """
        settings = self.state.settings
        if len(texts) > settings.max_texts:
            raise Refusal(
                400,
                f"{len(texts)} texts in one request; at most {settings.max_texts} are taken.",
                code="array_above_max_length",
                param=param,
            )
        for i, text in enumerate(texts):
            # Four bytes are the most that a character takes.
            if 4 * len(text) > settings.max_text_bytes:
                if problem_of(text, "", settings.max_text_bytes) is None:
                    continue
                raise Refusal(
                    400,
                    f"A text is too long; at most {settings.max_text_bytes} bytes are taken.",
                    code="string_above_max_length",
                    param=param if len(texts) == 1 else f"{param}[{i}]",
                )
        self.policy = self.state.policy(self.header(b"x-safetyclf-policy") if policy is None else policy)
        return self.state.judge(texts, self.policy, self._watch, self.request_id)

    async def explain(self, judged: Judged, category: str, unit: OffsetUnit = "codepoint") -> Explanation:
        """The words behind a category's score: the model once more, in a thread.

        Raises:
            InvalidArgumentError: the category is not scored.
            Refusal: the model cannot say.
        """
        if not self.state.loaded.explains:
            raise Refusal(400, "This model cannot say which words count: no spans.", code="spans_unsupported")
        return await asyncio.to_thread(judged.verdict.explain, category, unit=unit)

    def _watch(self, future: asyncio.Future[Any]) -> None:
        if self.connection is not None:
            self.connection.on_gone = future.cancel

    @property
    def gone(self) -> bool:
        """Whether the client is known to have left."""
        return self.connection is not None and self.connection.transport.is_closing()

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        return message

    async def _rest(self, first: bytes, limit: int) -> bytes:
        parts, size, more = [first], len(first), True
        while more:
            message = await self._next()
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            if size <= limit:
                parts.append(part)
            elif size > _DISCARD:
                raise _too_large(limit)
        return b"".join(parts) if size <= limit else b" " * (limit + 1)

    async def _discard(self, announced: int) -> None:
        """Reads what is too large, up to a point, unless the client waits to be asked for it."""
        if self.header(b"expect") is not None or announced > _DISCARD:
            return
        try:
            await asyncio.wait_for(self._read_away(), self.state.settings.read_timeout)
        except asyncio.TimeoutError:
            return

    async def _read_away(self) -> None:
        while (await self._next()).get("more_body", False):
            pass


class ClientGoneError(Exception):
    """Nobody waits for the answer."""


_CLOSE: Final = {"connection": "close"}


def _too_large(limit: int) -> Refusal:
    return Refusal(
        413,
        f"The request is too large; at most {limit} bytes are taken.",
        code="request_too_large",
        headers=_CLOSE,
    )


def bearer(scope: Scope) -> str | None:
    """The key of `Authorization: Bearer KEY`."""
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            key: str = value[7:].strip().decode("latin-1")
            return key
    return None


class Endpoint:
    """A route's ASGI application.

    The handler returns JSON-able values or JSON as bytes, both sent with status 200, or a Starlette response;
    or it raises Refusal.
    """

    def __init__(
        self,
        name: str,
        handler: Handler,
        state: State,
        *,
        envelope: Envelope = openai_envelope,
        key_of: Callable[[Scope], str | None] = bearer,
        public: bool = False,
    ) -> None:
        """`name` stands for the route in metrics and logs; `public` ones need no key."""
        self._name, self._handler, self._state = name, handler, state
        self._envelope, self._key_of, self._public = envelope, key_of, public
        state.route_names.append(name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        begin, state = time.perf_counter(), self._state
        state.in_progress += 1
        call = Call(state, scope, receive)
        span = None if state.telemetry is None else state.telemetry.begin(self._name, scope)
        status = 499  # as nginx says it: the client is gone
        try:
            headers: list[tuple[bytes, bytes]] = []
            made = 200
            try:
                if state.keys.needed and not self._public:
                    state.keys.check(self._key_of(scope))
                body = await self._handler(call)
            except ClientGoneError:
                raise
            except Exception as error:
                made, body = self._failed(call, error, headers)
            quick = made == 200 and isinstance(body, bytes)
            if not quick or not answer(send, call.request_id, body, close=state.draining):
                made = await self._send(call, send, made, headers, body)
            status = made
        except ClientGoneError:
            pass
        except asyncio.CancelledError:
            if not call.gone:
                raise
        finally:
            seconds = time.perf_counter() - begin
            state.leave(self._name, status, seconds)
            if span is not None and state.telemetry is not None:
                state.telemetry.end(span, status, call.policy)
            if state.settings.access_log:
                self._log(call, status, seconds)

    async def _send(
        self, call: Call, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: Any
    ) -> int:
        """Answers as ASGI has it. Returns the status."""
        headers.append((b"x-request-id", call.request_id.encode("latin-1")))
        if self._state.draining:
            headers.append((b"connection", b"close"))
        if isinstance(body, Response):
            headers += body.raw_headers
            status, body = body.status_code, bytes(body.body)
        else:
            if not isinstance(body, bytes):
                body = json.dumps(body, separators=(",", ":")).encode()
            headers += (_JSON, (b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return status

    def _failed(self, call: Call, error: Exception, headers: list[tuple[bytes, bytes]]) -> tuple[int, Any]:
        """The status and the body for an error; adds to the headers."""
        if isinstance(error, Refusal):
            return error.status, self._refused(error, headers)
        self._state.log.error(
            "internal error",
            exc_info=error,
            extra={"fields": {"request": call.request_id, "route": self._name}},
        )
        return 500, self._refused(internal(), headers)

    def _refused(self, refusal: Refusal, headers: list[tuple[bytes, bytes]]) -> Any:
        headers.append((b"x-should-retry", b"true" if refusal.retry else b"false"))
        headers += [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
        return self._envelope(refusal)

    def _log(self, call: Call, status: int, seconds: float) -> None:
        fields = {
            "request": call.request_id,
            "route": self._name,
            "method": call.scope["method"],
            "status": status,
            "milliseconds": round(1000 * seconds, 3),
            "policy": call.policy,
        }
        call.state.log.info("request", extra={"fields": fields})
