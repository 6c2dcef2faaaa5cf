"""A tiny model with attributes of the Perspective API."""

from __future__ import annotations

from pathlib import Path

from safetyclf._modelfile import Category
from tiny_model import TinyModel


def write_model(path: Path) -> Path:
    """TOXICITY, INSULT and harassment are scored, PROFANITY is named without a score."""
    scored = tuple(Category(name=name, coverage="derived") for name in ("toxicity", "insult"))
    TinyModel(
        categories=(
            Category(name="harassment", coverage="trained"),
            Category(name="profanity", coverage="none"),
            *scored,
        )
    ).write(path)
    return path
