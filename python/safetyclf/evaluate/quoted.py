"""Figures that others published on public sets: quoted, not measured here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CAVEAT: Final = (
    "Quoted from the named publications, not measured here. Versions, thresholds and, where a score is taken "
    "over several categories, the way to do so differ from ours; a decision figure depends on its threshold."
)


@dataclass(frozen=True)
class Quoted:
    """One published figure; `source` is the name of the set in `source` of the rows."""

    source: str
    system: str
    measure: str
    value: float
    published: str


_MARKOV: Final = 'Markov et al. 2023, "A Holistic Approach to Undesired Content Detection"'
_LLAMA_GUARD: Final = 'Inan et al. 2023, "Llama Guard"'
_SHIELDGEMMA: Final = 'Zeng et al. 2024, "ShieldGemma"'
_HATECHECK: Final = 'Röttger et al. 2021, "HateCheck"'
_OPENAI: Final = "openai_moderation"

QUOTED: Final = (
    Quoted(_OPENAI, "Perspective API", "any-category AUPRC", 0.787, f"{_LLAMA_GUARD}; set: {_MARKOV}"),
    Quoted(_OPENAI, "Llama Guard 7B", "any-category AUPRC", 0.847, f"{_LLAMA_GUARD}; set: {_MARKOV}"),
    Quoted(_OPENAI, "OpenAI moderation API", "any-category AUPRC", 0.856, f"{_LLAMA_GUARD}; set: {_MARKOV}"),
    Quoted(_OPENAI, "ShieldGemma 2B", "any-category AUPRC", 0.887, f"{_SHIELDGEMMA}; set: {_MARKOV}"),
    Quoted("hatecheck", "Perspective API", "accuracy", 0.766, _HATECHECK),
    Quoted("hatecheck", "Perspective API", "recall on non-hateful cases", 0.482, _HATECHECK),
    Quoted("hatecheck", "Perspective API", "accuracy, leet speak", 0.682, _HATECHECK),
    Quoted("hatecheck", "Perspective API", "accuracy, spaces between letters", 0.74, _HATECHECK),
)


def quoted_for(sources: Sequence[str]) -> tuple[Quoted, ...]:
    """The figures for these sets."""
    return tuple(figure for figure in QUOTED if figure.source in sources)
