"""Neutral words for groups of people: those of Conversation AI's unintended-bias analysis, and a few more.

Terms are matched as words, whatever their case, with or without a plural s. Slurs are left out on purpose:
the question is what the mere mention of a group does.
"""

from __future__ import annotations

import re
from typing import Final

IDENTITY_TERMS: Final = (
    # gender and orientation
    "lesbian",
    "gay",
    "bisexual",
    "transgender",
    "trans",
    "queer",
    "lgbt",
    "lgbtq",
    "homosexual",
    "straight",
    "heterosexual",
    "male",
    "female",
    "nonbinary",
    "man",
    "men",
    "woman",
    "women",
    # origin
    "african",
    "african american",
    "black",
    "white",
    "european",
    "hispanic",
    "latino",
    "latina",
    "latinx",
    "mexican",
    "canadian",
    "american",
    "asian",
    "indian",
    "middle eastern",
    "chinese",
    "japanese",
    "arab",
    "immigrant",
    "refugee",
    # belief
    "christian",
    "muslim",
    "jewish",
    "buddhist",
    "catholic",
    "protestant",
    "sikh",
    "taoist",
    "hindu",
    "atheist",
    # age and ability
    "old",
    "older",
    "young",
    "younger",
    "teenage",
    "millennial",
    "middle aged",
    "elderly",
    "blind",
    "deaf",
    "paralyzed",
    "disabled",
)


def term_pattern(term: str) -> re.Pattern[str]:
    """Matches the term as a word; parts of a term may be joined by spaces or a hyphen."""
    parts = r"[\s-]+".join(map(re.escape, term.split()))
    return re.compile(rf"\b{parts}s?\b", re.IGNORECASE)
