"""Requests, errors and keys as clients of the Perspective API know them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from ..calls import bearer
from ..fields import expected, optional, strings
from ..refusals import Refusal

if TYPE_CHECKING:
    from starlette.types import Scope

_DETAIL: Final = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}
COMMON: Final = frozenset(("clientToken", "comment", "communityId", "context", "languages", "sessionId"))


class CommentRefusal(Refusal):
    """A refusal of this API: `error_type` is one of its own, `about` has fields that come with that."""

    def __init__(
        self,
        message: str,
        error_type: str = "INVALID_REQUEST",
        *,
        status: int = 400,
        retry: bool = False,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, message, code=error_type, retry=retry)
        self.detail = {"errorType": error_type, **(about or {})}


def envelope(refusal: Refusal) -> dict[str, Any]:
    """Google's: `{"error": {"code", "message", "status", "details"}}`."""
    message, detail = refusal.message, {"errorType": "INVALID_REQUEST"}
    if isinstance(refusal, CommentRefusal):
        detail = refusal.detail
    elif refusal.code == "string_above_max_length":
        message, detail = "Comment text too long.", {"errorType": "COMMENT_TOO_LONG"}
    elif refusal.status == 401:
        message = (
            "The API key is missing or not one of this server's. Send it as ?key=KEY or as x-goog-api-key."
        )
    error: dict[str, Any] = {
        "code": refusal.status,
        "message": message,
        "status": _STATUS.get(refusal.status, HTTPStatus(refusal.status).name),
    }
    if refusal.status == HTTPStatus.BAD_REQUEST:
        error["details"] = [{"@type": _DETAIL, **detail}]
    return {"error": error}


def key_of(scope: Scope) -> str | None:
    """The key as ?key=, as the header x-goog-api-key, or as a bearer token."""
    for name, value in parse_qsl(scope["query_string"].decode("latin-1")):
        if name == "key":
            return str(value)
    for header, content in scope["headers"]:
        if header == b"x-goog-api-key":
            return str(content.decode("latin-1"))
    return bearer(scope)


def known_fields(value: object, names: Set[str], place: str) -> dict[str, Any]:
    """An object without any field but these: a misspelt option must not be passed over."""
    found = expected(value, dict, place)
    for name in found:
        if name not in names:
            raise CommentRefusal(f'Unknown name "{name[:100]}" at {place}: Cannot find field.')
    return found


def comment_of(body: dict[str, Any]) -> str:
    """The text, which is not empty. Also checks the fields that both methods take and that change nothing."""
    for name in ("communityId", "sessionId"):
        optional(body, name, str)
    _check_context(body.get("context"))
    text = _text_of(body.get("comment") or {}, "comment")
    if not text:
        raise CommentRefusal("Comment must be non-empty.", "COMMENT_EMPTY")
    return text


def languages_of(body: dict[str, Any]) -> list[str]:
    """BCP-47 tags; none is left to the server."""
    given = body.get("languages")
    return [] if given is None else strings(given, "languages")


def fraction(value: object, place: str) -> float:
    """A number in [0, 1]."""
    number = float(expected(value, float, place))
    if not (math.isfinite(number) and 0 <= number <= 1):
        raise CommentRefusal(f"{place} must be in [0, 1].")
    return number


def check_score_type(holder: dict[str, Any], name: str, attribute: str, at: str) -> None:
    """Only probabilities are given and taken."""
    kind = optional(holder, name, str, at)
    if kind not in (None, "PROBABILITY", "SCORE_TYPE_UNSPECIFIED"):
        raise CommentRefusal(f"Requested score type {kind} is not supported by attribute {attribute}")


def _text_of(value: object, place: str) -> str:
    entry = known_fields(value, {"text", "type"}, place)
    kind = optional(entry, "type", str, f"{place}.")
    if kind == "HTML":
        raise CommentRefusal("Currently, only 'PLAIN_TEXT' comments are supported")
    if kind not in (None, "PLAIN_TEXT", "TEXT_TYPE_UNSPECIFIED"):
        raise CommentRefusal("Unknown text type")
    return optional(entry, "text", str, f"{place}.") or ""


def _check_context(value: object) -> None:
    """It is not considered, as it never was; but what is broken is said."""
    if value is None:
        return
    context = known_fields(value, {"entries", "articleAndParentComment"}, "context")
    entries = optional(context, "entries", list, "context.") or []
    for i, entry in enumerate(entries):
        _text_of(entry, f"context.entries[{i}]")
    pair = context.get("articleAndParentComment")
    if pair is None:
        return
    if entries:
        raise CommentRefusal(
            "Context can have either entries or article_and_parent_comment, but both fields were populated."
        )
    place = "context.articleAndParentComment"
    for name, entry in known_fields(pair, {"article", "parentComment"}, place).items():
        _text_of(entry, f"{place}.{name}")
