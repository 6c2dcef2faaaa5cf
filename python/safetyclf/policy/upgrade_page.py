"""An upgrade report as a page."""

from __future__ import annotations

from collections.abc import Iterator

from .blocks import Block, Grid, Heading, Items, Page, Paragraph
from .flip_words import gate_words, rate_words, summary_rows
from .flips import FlipFigures
from .map_drawing import map_drawing
from .upgrade import Carried, CategoryChange, UpgradeReport
from .wording import level

NONE = "–"
_SCENARIOS = {
    "own": (
        "Each model with its own thresholds",
        "What changes when one file takes the place of the other and no policy sets thresholds.",
    ),
    "same": (
        "The same numbers",
        "What changes when the old model's thresholds are kept as numbers, as a policy with fixed numbers "
        "does. Categories of both models only.",
    ),
    "carried": (
        "Old thresholds carried over",
        "What changes when the old model's thresholds are put where the map has them. Categories of both "
        "models only; each half of the texts is judged by the map of the other half.",
    ),
}


def upgrade_page(report: UpgradeReport) -> Page:
    """The page."""
    lead = f"{report.texts:,} texts, scored by both models."
    if report.unreadable:
        lead += f" {report.unreadable:,} could not be read and are left out."
    return Page(
        title="Upgrade report",
        lead=lead,
        blocks=tuple(_blocks(report)),
        source=f"From {report.old} to {report.new}. Intervals are exact ones (Clopper-Pearson) of 95 %.",
    )


def short_rows(report: UpgradeReport) -> list[tuple[str, ...]]:
    """The rates of changed decisions, for a terminal."""
    rows: list[tuple[str, ...]] = [("decisions", "changed (95 % interval)", "stricter", "laxer")]
    for name, (title, _) in _SCENARIOS.items():
        found: FlipFigures = getattr(report, name)
        counts = (f"{found.shift.stricter.hits:,}", f"{found.shift.laxer.hits:,}")
        rows.append((title, rate_words(found.changed), *counts))
    return rows


def _blocks(report: UpgradeReport) -> Iterator[Block]:
    yield Heading(2, "In short")
    yield Items(
        (
            f"Old model: {report.old}",
            f"New model: {report.new}",
            *([f"Only the old one scores: {', '.join(report.only_old)}"] if report.only_old else []),
            *([f"Only the new one scores: {', '.join(report.only_new)}"] if report.only_new else []),
        )
    )
    if report.limit is not None:
        yield Paragraph(f"Gate: {gate_words(report.own.changed, report.limit)}.")
    head, *rows = short_rows(report)
    yield Grid("Texts whose action changes", head, tuple(rows))
    yield Heading(2, "Decisions")
    yield Paragraph(
        "McNemar's p is how likely so uneven a split into stricter and laxer would be if both were equally "
        "frequent."
    )
    for name, (title, text) in _SCENARIOS.items():
        yield Heading(3, title)
        yield Paragraph(text)
        head, *rows = (tuple(row) for row in summary_rows(getattr(report, name)))
        yield Grid(title, head, tuple(rows))
    yield Heading(2, "Scores")
    yield Paragraph(
        "The map says what the new model gives, on average, to a text that has a certain score with the old "
        "one. Spread is how far single texts lie from it: half of them within the median, nine in ten "
        "within the band. Rank correlation is 1 if both models put the texts in the same order."
    )
    yield Grid(
        "Categories of both models",
        ("category", "rank correlation", "median spread", "90 % band"),
        tuple((name, *_spread(change)) for name, change in report.categories.items()),
    )
    yield map_drawing(report.categories)
    yield Heading(2, "Thresholds")
    yield Paragraph(
        f"An old threshold under the map, beside the new model's own. {NONE} is never. “not seen”: no text "
        "lies on one of its sides, so that the map has nothing to say and the old number stands."
    )
    yield Grid(
        "Thresholds on the new scale",
        ("category", "action", "old", "carried over", "new model's own"),
        tuple(
            (name, action, *_carried(carried))
            for name, change in report.categories.items()
            for action, carried in (("review", change.review), ("block", change.block))
        ),
    )


def _spread(change: CategoryChange) -> tuple[str, str, str]:
    correlation = NONE if change.rank_correlation is None else f"{change.rank_correlation:.3f}"
    low, high = change.band
    return correlation, f"{change.median_absolute:.3f}", f"{low:+.3f} to {high:+.3f}"


def _carried(carried: Carried) -> tuple[str, str, str]:
    def number(value: float | None) -> str:
        return NONE if value is None else level(value)

    note = "" if carried.seen or carried.value is None else " (not seen)"
    return number(carried.old), number(carried.value) + note, number(carried.own)
