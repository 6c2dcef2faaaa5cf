"""Figures of changed decisions as JSON types and as sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .bounds import needed_negatives
from .flips import CONFIDENCE, FlipFigures, Outcome, Rate, Shift, gate
from .wording import percent


def figures_json(found: FlipFigures) -> dict[str, Any]:
    """The figures in JSON types."""
    return {
        "texts": found.texts,
        "changed": asdict(found.changed),
        **_shift_json(found.shift),
        "relabelled": asdict(found.relabelled),
        "transitions": [
            {"from": before, "to": after, "texts": count}
            for (before, after), count in found.transitions.items()
        ],
        "categories": {name: _shift_json(shift) for name, shift in found.categories.items()},
    }


def gate_json(changed: Rate, limit: float) -> dict[str, Any]:
    """What a gate says."""
    return {"limit": limit, "confidence": CONFIDENCE, "outcome": gate(changed, limit)}


def rate_words(rate: Rate) -> str:
    """Count, share, interval."""
    if rate.value is None:
        return "no texts"
    interval = f"{100 * rate.low:.3g} to {100 * rate.high:.3g}"
    return f"{rate.hits:,} of {rate.of:,}: {percent(rate.value)} ({interval})"


def gate_words(changed: Rate, limit: float) -> str:
    """What a gate says and why, in one sentence."""
    outcome: Outcome = gate(changed, limit)
    sure = f"with {percent(CONFIDENCE)} confidence"
    if outcome == "above":
        return (
            f"more than {percent(limit)} of such texts change: at least {percent(changed.at_least)}, {sure}"
        )
    if outcome == "within":
        return (
            f"no more than {percent(limit)} of such texts change: at most {percent(changed.at_most)}, {sure}"
        )
    words = (
        f"cannot tell whether more than {percent(limit)} of such texts change: "
        f"{percent(changed.at_least)} to {percent(changed.at_most)} do"
    )
    fewest = needed_negatives(limit, CONFIDENCE) if limit > 0 else None
    if fewest is not None and changed.of < fewest:
        words += f"; it takes {fewest:,} texts to tell, even if none changes"
    return words


def summary_rows(found: FlipFigures) -> list[Sequence[str]]:
    """A table: what, how many of all texts, McNemar's p; the first row is the head."""
    rows: list[Sequence[str]] = [("decisions", "texts (95 % interval)", "McNemar p")]
    rows += [
        ("changed", rate_words(found.changed), ""),
        ("to a stricter action", rate_words(found.shift.stricter), _p(found.shift)),
        ("to a laxer action", rate_words(found.shift.laxer), ""),
        ("same action, other categories", rate_words(found.relabelled), ""),
    ]
    rows += [
        (f"{before} to {after}", f"{count:,}", "") for (before, after), count in found.transitions.items()
    ]
    for name, shift in found.categories.items():
        rows.append((f"{name}: flagged by the new side only", rate_words(shift.stricter), _p(shift)))
        rows.append((f"{name}: flagged by the old side only", rate_words(shift.laxer), ""))
    return rows


def _p(shift: Shift) -> str:
    return f"{shift.p:.3g}"


def _shift_json(shift: Shift) -> dict[str, Any]:
    return {"stricter": asdict(shift.stricter), "laxer": asdict(shift.laxer), "mcnemar_p": shift.p}
