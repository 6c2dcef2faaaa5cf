"""How commands write tables and foreign text for people."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence


def shown(text: str) -> str:
    """Text of a file on one line of a terminal: nothing in it moves the cursor."""
    return "".join(c if c.isprintable() else " " for c in text)


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, cells of a column below each other."""
    table = [list(map(shown, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def share(argument: str) -> float:
    """An option's share, a number in [0, 1]."""
    try:
        value = float(argument)
        if not 0 <= value <= 1:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{argument!r} is not a number from 0 to 1") from None
    return value
