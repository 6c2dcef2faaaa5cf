"""Thresholds: the model file's, and what a caller puts in their place."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ._errors import PolicyError
from ._results import Thresholds

Threshold: TypeAlias = float | None
Policy: TypeAlias = Mapping[str, float | tuple[Threshold, Threshold]]

_NEVER = 2.0  # as the model file says it: no probability reaches it


def from_file(native: tuple[float, float]) -> Thresholds:
    """Thresholds as the engine reports them."""
    review, block = (None if value == _NEVER else value for value in native)
    return Thresholds(review, block)


def to_native(thresholds: Sequence[Thresholds]) -> bytes:
    """The thresholds for the engine: float32 [2, C], review and block."""
    columns = [[_NEVER if t is None else t for t in column] for column in zip(*thresholds, strict=True)]
    return struct.pack(f"{2 * len(thresholds)}f", *columns[0], *columns[1])


def apply(
    policy: Policy, defaults: Mapping[str, Thresholds], coverage: Mapping[str, str]
) -> dict[str, Thresholds]:
    """`defaults` with the policy's thresholds in place of theirs. Raises PolicyError."""
    result = dict(defaults)
    for category, value in policy.items():
        if category not in defaults:
            reason = "no score: its coverage is 'none'" if category in coverage else "no such category"
            raise PolicyError(
                f"policy: the model has {reason}: {category!r}; scored are: {', '.join(defaults)}"
            )
        result[category] = _thresholds(category, value, defaults[category])
    return result


def statement_id(statement: Mapping[str, object]) -> str:
    """Twelve hex digits that stand for a threshold's statement: of the SHA-256 of its canonical JSON."""
    import hashlib
    import json

    canonical = json.dumps(statement, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:12]


def _thresholds(category: str, value: object, default: Thresholds) -> Thresholds:
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise PolicyError(
                f"policy: {category!r} needs one threshold or a pair (review, block), not {value!r}"
            )
        review, block = _checked(category, value[0]), _checked(category, value[1])
        if block is not None and (review is None or block < review):
            raise PolicyError(
                f"policy: {category!r}: the block threshold {block} is below the review threshold {review}"
            )
        return Thresholds(review, block)
    review, block = _checked(category, value), default.block
    # One number moves the review threshold; what is not even reviewed cannot be blocked.
    if block is not None and (review is None or block < review):
        block = review
    return Thresholds(review, block)


def rounded(value: float) -> float:
    """A threshold as the engine will compare it: `score >= threshold` then means the same in Python."""
    result: float = struct.unpack("f", struct.pack("f", value))[0]
    return result


def _checked(category: str, value: object) -> Threshold:
    if value is None:
        return None
    try:
        if isinstance(value, bool | str) or not 0 <= value <= 1:  # type: ignore[operator]
            raise ValueError
        return rounded(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, struct.error):
        raise PolicyError(
            f"policy: {category!r}: a threshold is a number in [0, 1], or None for never, not {value!r}"
        ) from None
