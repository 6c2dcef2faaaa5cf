"""comments:suggestscore: what people think a comment should have scored, kept for those who label.

The queue holds texts, so there is none unless the server was told a file (--feedback).
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any, Final

from ..calls import Call
from ..fields import expected, optional
from .analyze import category_of
from .texts import utf16_lengths
from .wire import COMMON, CommentRefusal, check_score_type, comment_of, fraction, known_fields, languages_of

_LARGEST: Final = 1 << 30  # bytes of the file, from which on nothing is added
_FIELDS: Final = COMMON | {"attributeScores", "doNotStore"}


async def suggest(call: Call) -> dict[str, Any]:
    """Answers one request."""
    path = call.state.settings.feedback
    if path is None:
        raise CommentRefusal(
            "This server keeps no feedback: nothing was stored. --feedback would turn that on.",
            status=501,
        )
    body = known_fields(await call.json(), _FIELDS, "the body")
    text = comment_of(body)
    if optional(body, "doNotStore", bool):
        raise CommentRefusal(
            "A suggestion is there to be stored, so doNotStore cannot be true. Nothing was stored."
        )
    limit = call.state.settings.max_text_bytes
    if len(text.encode("utf-8", "surrogatepass")) > limit:
        raise CommentRefusal("Comment text too long.", "COMMENT_TOO_LONG")
    classifier, token = call.state.loaded.classifier, optional(body, "clientToken", str)
    line = {
        "time": round(time.time(), 3),
        "request": call.request_id,
        "text": text,
        "attributeScores": _suggested(body, text, classifier.categories),
        "languages": languages_of(body),
        "communityId": body.get("communityId"),
        "clientToken": token,
        "model": classifier.model_id,
    }
    await asyncio.to_thread(_append, path, (json.dumps(line) + "\n").encode())
    return {} if token is None else {"clientToken": token}


def _suggested(body: dict[str, Any], text: str, scored: tuple[str, ...]) -> dict[str, Any]:
    """The suggested scores, checked and in one form: without types, which can only be PROBABILITY."""
    attributes = optional(body, "attributeScores", dict)
    if not attributes:
        raise CommentRefusal("Missing attribute_scores")
    length, result = utf16_lengths(text, [len(text)])[0], {}
    for name, value in attributes.items():
        category_of(name, scored)
        at = f"attributeScores.{name}"
        given = known_fields(value, {"summaryScore", "spanScores"}, at)
        entry: dict[str, Any] = {}
        if given.get("summaryScore") is not None:
            entry["summary"] = _value(given["summaryScore"], name, f"{at}.summaryScore")
        spans = optional(given, "spanScores", list, f"{at}.") or []
        if spans:
            entry["spans"] = [
                _span(span, name, length, f"{at}.spanScores[{i}]") for i, span in enumerate(spans)
            ]
        if not entry:
            raise CommentRefusal(f"{at} is empty.")
        result[name] = entry
    return result


def _span(span: object, attribute: str, length: int, at: str) -> dict[str, Any]:
    given = known_fields(span, {"begin", "end", "score"}, at)
    begin = expected(given.get("begin"), int, f"{at}.begin")
    end = expected(given.get("end"), int, f"{at}.end")
    if not 0 <= begin < end <= length:
        raise CommentRefusal(f"{at} is no part of the comment, which has {length} UTF-16 code units.")
    return {"begin": begin, "end": end, "value": _value(given.get("score"), attribute, f"{at}.score")}


def _value(score: object, attribute: str, at: str) -> float:
    given = known_fields(score, {"value", "type"}, at)
    check_score_type(given, "type", attribute, f"{at}.")
    return fraction(given.get("value"), f"{at}.value")


def _append(path: str, line: bytes) -> None:
    """One write, which the system keeps whole, to a file for its owner alone; it may be moved at any time."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(file).st_size + len(line) > _LARGEST:
            raise CommentRefusal("The feedback file is full. Nothing was stored.", status=429)
        if os.write(file, line) != len(line):
            raise OSError("a line of the feedback file was cut")
    finally:
        os.close(file)
