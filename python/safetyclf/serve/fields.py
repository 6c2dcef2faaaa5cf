"""Typed fields of a JSON body: what has another type than the API says is refused by its place."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from .refusals import Refusal

T = TypeVar("T")
_NAMES: Final = {
    str: "a string",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    int: "an integer",
    float: "a number",
}


def expected(value: object, kind: type[T], place: str) -> T:
    """The value, which stands at that place of the body. A number may be an integer. Raises Refusal 400."""
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON does not tell 3.0 from 3
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise Refusal(400, f"{place} must be {_NAMES[kind]}.", code="invalid_type", param=place)
    return value  # type: ignore[return-value]


def optional(holder: dict[str, Any], name: str, kind: type[T], at: str = "") -> T | None:
    """The field of that name, None where it is absent or null; `at` is the holder's place with a dot."""
    value = holder.get(name)
    return None if value is None else expected(value, kind, at + name)


def strings(value: object, place: str) -> list[str]:
    """A list of strings. Raises Refusal 400."""
    return [expected(item, str, f"{place}[{i}]") for i, item in enumerate(expected(value, list, place))]
