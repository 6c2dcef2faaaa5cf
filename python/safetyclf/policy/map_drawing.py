"""Score maps as one SVG of small plots, in the colours of the page around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from .blocks import Drawing
from .render_html import escape

if TYPE_CHECKING:
    from .upgrade import CategoryChange

_COLUMNS: Final = 4
_SIDE: Final = 120  # of one plot
_CELL: Final = (170, 172)  # of one plot with its title and room around it
_LEFT, _TOP = 30, 26


def map_drawing(categories: Mapping[str, CategoryChange]) -> Drawing:
    """A plot for each category: old score to the right, new score upwards, thresholds as points."""
    width = _COLUMNS * _CELL[0]
    height = -(-len(categories) // _COLUMNS) * _CELL[1]
    words = "Maps of old scores (to the right) to new scores (upwards); dots are the old thresholds."
    plots = "".join(
        _plot(name, change, number % _COLUMNS * _CELL[0], number // _COLUMNS * _CELL[1])
        for number, (name, change) in enumerate(categories.items())
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="10" fill="var(--ink)"><title>{words}</title>'
        f"{plots}</svg>"
    )
    return Drawing(svg, words)


def _plot(name: str, change: CategoryChange, left: int, top: int) -> str:
    x, y = left + _LEFT, top + _TOP + _SIDE  # of the origin

    def place(score: float, value: float) -> tuple[str, str]:
        return f"{x + _SIDE * score:.1f}", f"{y - _SIDE * value:.1f}"

    def text(score: float, value: float, content: str, dx: int, dy: int, anchor: str) -> str:
        px, py = place(score, value)
        return f'<text x="{px}" y="{py}" dx="{dx}" dy="{dy}" text-anchor="{anchor}">{escape(content)}</text>'

    def parts() -> Iterator[str]:
        yield text(0.5, 1, name if len(name) <= 26 else name[:25] + "…", 0, -10, "middle")
        yield (
            f'<rect x="{x}" y="{y - _SIDE}" width="{_SIDE}" height="{_SIDE}" fill="none" '
            'stroke="var(--line)"/>'
        )
        yield (
            f'<line x1="{x}" y1="{y}" x2="{x + _SIDE}" y2="{y - _SIDE}" stroke="var(--muted)" '
            'stroke-dasharray="3 3"/>'
        )
        for mark in ("0", "1"):
            yield text(float(mark), 0, mark, 0, 12, "middle")
            yield text(0, float(mark), mark, -5, 4, "end")
        knots = zip(change.forward.scores, change.forward.values, strict=True)
        points = " ".join(",".join(place(*knot)) for knot in knots)
        yield f'<polyline points="{points}" fill="none" stroke="var(--accent)" stroke-width="2"/>'
        for carried in (change.review, change.block):
            if carried.seen and carried.old is not None and carried.value is not None:
                cx, cy = place(carried.old, carried.value)
                yield f'<circle cx="{cx}" cy="{cy}" r="3.5" fill="var(--ink)"/>'

    return "".join(parts())
