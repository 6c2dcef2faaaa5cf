"""Texts as callers have them: lists, NumPy arrays, Arrow arrays. Importing neither library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

from ._errors import InvalidInputError, SafetyclfError, TextTooLargeError


def as_tuple(texts: Any, caller: str) -> tuple[str, ...]:
    """A tuple of the texts, whose items are not checked yet. `caller` names the method in messages.

    Raises InvalidInputError for a single text, which Python would take for a sequence of characters, and for
    what has no order.
    """
    if isinstance(texts, str):
        raise InvalidInputError(
            f"{caller} takes a list of texts, not one str; use classify(text), or {caller}([text])"
        )
    if isinstance(texts, list | tuple):
        return tuple(texts)
    if isinstance(texts, bytes | bytearray | Mapping | Set):
        raise InvalidInputError(f"{caller} takes a list of texts, not {type(texts).__name__}")
    if getattr(texts, "ndim", 1) != 1:
        raise InvalidInputError(
            f"{caller} takes a one-dimensional array of texts, not one of {texts.ndim} dimensions"
        )
    for method in ("to_pylist", "tolist"):  # Arrow; NumPy and pandas
        if hasattr(texts, method):
            return tuple(getattr(texts, method)())
    if isinstance(texts, Iterable):
        return tuple(texts)
    raise InvalidInputError(f"{caller} takes a list of texts, not {type(texts).__name__}")


def problem_of(text: object, name: str, max_bytes: int) -> SafetyclfError | None:
    """The error that the engine would raise for this text, for callers that handle texts one by one."""
    if not isinstance(text, str):
        return InvalidInputError(f"{name} must be str, not {type(text).__name__}")
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        return TextTooLargeError(f"{name} has {size} bytes, more than max_text_bytes = {max_bytes}")
    return None
