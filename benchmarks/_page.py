"""docs/performance.md, which programs fill, and the work of a text in numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from safetyclf._modelfile import Architecture

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def macs(shape: Architecture, windows: Iterable[int]) -> int:
    """Multiply-accumulates of the encoder for windows of so many tokens."""
    per_token = sum(n * k for n, k in shape.linear_shapes().values())
    return shape.layers * sum(tokens * per_token + 2 * tokens**2 * shape.hidden for tokens in windows)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def fill(place: str, text: str) -> None:
    """Writes `text` between the lines `<!-- place -->` and `<!-- end -->`."""
    before = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {place} -->\n", "<!-- end -->\n"
    after, found = re.subn(
        f"({begin}).*?({end})", lambda m: f"{m[1]}\n{text}\n{m[2]}", before, flags=re.DOTALL
    )
    if found != 1:
        raise SystemExit(f"{PAGE.name} has {found} places {place}")
    PAGE.write_text(after, encoding="utf-8")
