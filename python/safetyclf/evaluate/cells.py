"""What reports are made of: tables of text, sections, and how a figure is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .figures import Estimate

Row = Sequence[str]
NONE = "–"  # a figure that the rows cannot support, or a threshold that is never reached


@dataclass(frozen=True)
class Table:
    """Cells of text; the first row is the head."""

    rows: Sequence[Row]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """One part of a report. `plots` names figures of `plots.py` that belong to it."""

    title: str
    text: str
    tables: Sequence[Table] = field(default_factory=tuple)
    plots: Sequence[str] = field(default_factory=tuple)


def number(e: Estimate) -> str:
    """Three digits and the interval."""
    if e.value is None:
        return NONE
    interval = "" if e.low is None else f" ({e.low:.3f} to {e.high:.3f})"
    return f"{e.value:.3f}{interval}"


def percent(e: Estimate) -> str:
    """Per cent and the interval."""
    if e.value is None:
        return NONE
    interval = "" if e.low is None or e.high is None else f" ({100 * e.low:.3g} to {100 * e.high:.3g})"
    return f"{100 * e.value:.3g} %{interval}"


def signed(e: Estimate) -> str:
    """A difference and its interval."""
    if e.value is None:
        return NONE
    interval = "" if e.low is None else f" ({e.low:+.3f} to {e.high:+.3f})"
    return f"{e.value:+.3f}{interval}"
