"""The calibrated part of a policy file: written after everything that people wrote, whose bytes stay."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from typing import Any, Final

from .._errors import PolicyError
from .document import Calibrated, Calibration

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MARKER: Final = "# Calibrated part: `safetyclf calibrate` writes and replaces all from here to the end."

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES: Final = {
    **{code: f"\\u{code:04x}" for code in (*range(0x20), 0x7F)},
    **{ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n", ord("\t"): "\\t"},
}


def with_calibration(source: bytes, calibration: Calibration, name: str = "the policy") -> bytes:
    """The file with this calibrated part at its end, in place of an older one.

    Raises:
        PolicyError: the file is no TOML; something else than the calibrated part stands behind the marker,
            and would be lost; or such a part stands before it.
    """
    before = without_calibration(source)
    try:
        whole, kept = (tomllib.loads(part.decode("utf-8-sig")) for part in (source, before))
    except ValueError as error:
        raise PolicyError(f"{name}: no TOML in UTF-8: {error}") from None
    if "calibrated" in kept:
        raise PolicyError(f"{name}: its [calibrated] part lacks the comment line above it; delete the part")
    if {**whole, "calibrated": None} != {**kept, "calibrated": None}:
        raise PolicyError(f"{name}: what stands below the calibrated part would be lost; move it above it")
    gap = b""
    if len(before) == len(source):  # no marker yet
        gap = b"\n" if before.endswith(b"\n") else b"\n\n"
    return before + gap + to_toml(calibration).encode("utf-8")


def without_calibration(source: bytes) -> bytes:
    """What stands before the calibrated part: before the last line that is the marker, if there is one."""
    lines = source.splitlines(keepends=True)
    found = [number for number, line in enumerate(lines) if line.strip() == MARKER.encode("ascii")]
    return b"".join(lines[: found[-1]]) if found else source


def to_toml(calibration: Calibration) -> str:
    """The calibrated part, from its marker on."""
    lines = [MARKER, "[calibrated]", f"model = {_string(calibration.model)}"]
    for entry in calibration.thresholds:
        lines += ["", "[[calibrated.thresholds]]", *_pairs(_without_statement(entry))]
        lines += ["[calibrated.thresholds.statement]", *_pairs(entry.statement)]
    return "\n".join(lines) + "\n"


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Puts a file in place whole or not at all. A link stays one, and permissions stay as they are."""
    path = os.path.realpath(path)
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".policy-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(path))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode & 0o7777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _without_statement(entry: Calibrated) -> dict[str, Any]:
    table: dict[str, Any] = {"category": entry.category, "action": entry.action}
    if entry.audience is not None:
        table["audience"] = entry.audience
    table["target"] = {entry.target.metric: entry.target.value, "confidence": entry.target.confidence}
    return table | ({"never": True} if entry.value is None else {"value": entry.value})


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items()]


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int | float):
        return repr(value)  # as TOML spells numbers, too
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_pairs(value)) + " }" if value else "{}"
    return "[" + ", ".join(map(_value, value)) + "]"


def _string(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'
