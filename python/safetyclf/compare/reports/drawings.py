"""Plots of a comparison, as figures whose colours the page replaces by its own, light or dark.

Contestants differ in colour and in the kind of line, for readers who see no colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from ...evaluate.plots import PALETTE
from ..curves import HISTOGRAM, Curves, SliceCounts
from ..paired import Difference
from ..resampling import MEASURES
from ..results import Comparison, Pair
from ..runs import ANY

_COLOURS: Final = [PALETTE[name] for name in ("accent", "second", "third", "ink", "muted")]
_LINES: Final = ["-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1))]
_COLUMNS: Final = 4
_MOST_SLICES: Final = 30


def differences(pair: Pair, measure: str) -> Figure | None:
    """Intervals of one measure's differences by category; those of few texts would hide the others."""
    shown = {None, ANY, *pair.taking_part}
    found = [d for d in pair.differences if d.measure == measure and d.category in shown]
    rows = [d for d in found if d.estimate is not None]
    if not rows:
        return None
    figure = Figure(figsize=(6.5, 0.8 + 0.24 * len(rows)))
    axes = figure.add_subplot()
    axes.axvline(0, color=PALETTE["muted"], linewidth=0.8, linestyle="--")
    for place, difference in enumerate(rows):
        _interval(axes, place, difference)
    names = ["mean" if row.category is None else row.category for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"{MEASURES[measure].title}: {pair.candidate} minus {pair.reference}")
    return figure


def _interval(axes: Any, place: int, found: Difference) -> None:
    if found.low is not None and found.high is not None:
        axes.plot([found.low, found.high], [place, place], color=PALETTE["muted"], linewidth=1.5)
    marker = "D" if found.category is None else "o"
    axes.plot(found.estimate, place, marker, color=PALETTE["accent"], markersize=4)


def precision_recall(comparison: Comparison) -> Figure | None:
    """Precision against recall, by category."""

    def draw(axes: Any, curve: Curves, style: dict[str, Any]) -> None:
        axes.plot(curve.recall, curve.precision, linewidth=1.2, **style)

    return _small_multiples(comparison, draw, "recall", "precision")


def reliability(comparison: Comparison) -> Figure | None:
    """Share of positives against mean score, by category."""

    def draw(axes: Any, curve: Curves, style: dict[str, Any]) -> None:
        axes.plot([0, 1], [0, 1], color=PALETTE["muted"], linewidth=0.6)
        axes.plot(curve.probability, curve.share, marker="o", markersize=2.5, linewidth=1, **style)

    return _small_multiples(comparison, draw, "mean score of a bin", "share of positives")


def histograms(comparison: Comparison, contestant: str) -> Figure | None:
    """How the scores of positives and of negatives are spread, by category."""
    names = list(dict.fromkeys(c.category for c in comparison.curves if c.contestant == contestant))
    curves = [c for c in comparison.curves if c.contestant == contestant]
    if not curves:
        return None
    figure, all_axes = _grid(names)
    edges = np.linspace(0, 1, HISTOGRAM + 1)
    for axes, curve in zip(all_axes, curves, strict=True):
        for counts, colour, line in (
            (curve.negatives, PALETTE["muted"], "-"),
            (curve.positives, PALETTE["accent"], "--"),
        ):
            shares = np.array(counts) / max(sum(counts), 1)
            axes.stairs(shares, edges, color=colour, linestyle=line, linewidth=1.2)
        axes.set(xlim=(0, 1), xticks=(0, 1), yticks=())
    figure.supxlabel(
        f"score of {contestant}: positives dashed, negatives solid", fontsize=9, color=PALETTE["ink"]
    )
    figure.supylabel("share of texts", fontsize=9, color=PALETTE["ink"])
    return figure


def confusion(comparison: Comparison, key: str) -> Figure | None:
    """Right and wrong overall decisions by value of a slice, as parts of a bar."""
    found = [s for s in comparison.slices if s.key == key]
    values = sorted({s.value for s in found})
    if not found or len(values) > _MOST_SLICES:
        return None
    found = sorted(found, key=lambda s: s.value)
    figure = Figure(figsize=(6.5, 1.0 + 0.26 * len(found)))
    axes = figure.add_subplot()
    parts = (
        ("rightly flagged", PALETTE["accent"], ""),
        ("missed", PALETTE["second"], "////"),
        ("wrongly flagged", PALETTE["third"], "...."),
        ("rightly allowed", PALETTE["muted"], ""),
    )
    left = np.zeros(len(found))
    counts = np.array([_confusion(s) for s in found], float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for (label, colour, hatch), share in zip(parts, shares.T, strict=True):
        axes.barh(
            range(len(found)),
            share,
            left=left,
            label=label,
            facecolor="none" if hatch else colour,
            edgecolor=colour,
            hatch=hatch,
            height=0.7,
        )
        left += share
    axes.set_yticks(range(len(found)), [f"{s.value}, {s.contestant}" for s in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of texts")
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.4, 1), ncols=4)
    return figure


def _confusion(s: SliceCounts) -> tuple[int, int, int, int]:
    return s.true_positives, s.false_negatives, s.false_positives, s.true_negatives


def _small_multiples(comparison: Comparison, draw: Any, horizontal: str, vertical: str) -> Figure | None:
    categories = list(dict.fromkeys(curve.category for curve in comparison.curves))
    if not categories:
        return None
    figure, all_axes = _grid(categories)
    handles: dict[str, Any] = {}
    for category, axes in zip(categories, all_axes, strict=True):
        for place, side in enumerate(comparison.contestants):
            style = {"color": _COLOURS[place % len(_COLOURS)], "linestyle": _LINES[place % len(_LINES)]}
            for curve in comparison.curves:
                if (curve.contestant, curve.category) == (side.name, category):
                    draw(axes, curve, style)
                    handles[side.name] = axes.lines[-1]
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 1), yticks=(0, 1))
    figure.supxlabel(horizontal, fontsize=9, color=PALETTE["ink"])
    figure.supylabel(vertical, fontsize=9, color=PALETTE["ink"])
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside upper center",
        ncols=4,
        frameon=False,
        fontsize=8,
        handlelength=4,
    )
    return figure


def _grid(names: Sequence[str]) -> tuple[Figure, list[Any]]:
    lines = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(7.5, 0.5 + 1.9 * lines), layout="constrained")
    found = []
    for place, name in enumerate(names, 1):
        axes = figure.add_subplot(lines, _COLUMNS, place)
        axes.set_title(name, fontsize=8, color=PALETTE["ink"])
        found.append(axes)
    return figure, found
