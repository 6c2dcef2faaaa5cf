"""Errors that a client is told of, in the shape of the API that it speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

# What refusals mean, by status, in the OpenAPI document.
REASONS: Final = {
    400: "the request breaks a rule",
    401: "no key, or a wrong one",
    404: "no such model or policy",
    408: "the request came too slowly",
    413: "the body is too large",
    429: "too many requests wait already",
    503: "not ready, or about to end",
}


class Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """A request is not answered.

    Attributes:
        status: of HTTP.
        message: for people; never holds a text.
        kind, code, param: as OpenAI's errors have them: `type`, `code` and the field that is at fault.
        retry: whether the same request may succeed later.
        headers: to send besides.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        retry: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.code, self.param = status, message, kind, code, param
        self.retry, self.headers = retry, headers or {}


Envelope: TypeAlias = Callable[[Refusal], Any]


def openai_envelope(refusal: Refusal) -> dict[str, Any]:
    """`{"error": {...}}` with the four keys that OpenAI's clients read."""
    return {
        "error": {
            "message": refusal.message,
            "type": refusal.kind,
            "param": refusal.param,
            "code": refusal.code,
        }
    }


def overloaded(seconds: float) -> Refusal:
    """The queue is full; `seconds` is about how long it takes to work it off."""
    seconds = max(seconds, 0.05)
    return Refusal(
        429,
        "Too many requests wait already. Try again a little later.",
        kind="tokens",
        code="rate_limit_exceeded",
        retry=True,
        headers={"retry-after": str(max(1, round(seconds))), "retry-after-ms": str(round(1000 * seconds))},
    )


def internal() -> Refusal:
    """A bug of ours."""
    return Refusal(
        500, "The server had an error. It is logged under the request id.", kind="server_error", retry=True
    )
