"""Texts as callers have them: lists, NumPy arrays, Arrow arrays. Importing neither library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any, Protocol, TypeAlias

from ._errors import InvalidInputError, SafetyclfError, TextTooLargeError
from ._native import strings


class ArrowArray(Protocol):
    """What exports one array through the Arrow PyCapsule interface."""

    def __arrow_c_array__(self, requested_schema: Any = None, /) -> tuple[Any, Any]: ...


class ArrowStream(Protocol):
    """What exports a sequence of arrays through the Arrow PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: Any = None, /) -> Any: ...


Texts: TypeAlias = Iterable[str] | ArrowArray | ArrowStream


def for_engine(texts: Any, caller: str) -> tuple[str, ...] | ArrowArray | ArrowStream:
    """What the engine takes: an Arrow object as it is, whose texts stay where they lie, or `as_tuple`."""
    if _is_arrow(texts):
        arrow: ArrowArray | ArrowStream = texts
        return arrow
    return as_tuple(texts, caller)


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
    if _is_arrow(texts):
        return strings(texts)
    if getattr(texts, "ndim", 1) != 1:
        raise InvalidInputError(
            f"{caller} takes a one-dimensional array of texts, not one of {texts.ndim} dimensions"
        )
    for method in ("to_pylist", "tolist"):  # pyarrow before 14; NumPy and pandas
        if hasattr(texts, method):
            return tuple(getattr(texts, method)())
    if isinstance(texts, Iterable):
        return tuple(texts)
    raise InvalidInputError(f"{caller} takes a list of texts, not {type(texts).__name__}")


def _is_arrow(texts: Any) -> bool:
    """Whether the texts lie in Arrow arrays, as far as that can be told without making them.

    Python objects do not: a pandas Series of them would be converted first, and lone surrogates refused.
    """
    if isinstance(texts, list | tuple | Mapping | Set) or getattr(texts, "ndim", 1) != 1:
        return False
    if str(getattr(texts, "dtype", "")) == "object":
        return False
    return hasattr(texts, "__arrow_c_array__") or hasattr(texts, "__arrow_c_stream__")


def problem_of(text: object, name: str, max_bytes: int) -> SafetyclfError | None:
    """The error that the engine would raise for this text, for callers that handle texts one by one."""
    if not isinstance(text, str):
        return InvalidInputError(f"{name} must be str, not {type(text).__name__}")
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        return TextTooLargeError(f"{name} has {size} bytes, more than max_text_bytes = {max_bytes}")
    return None
