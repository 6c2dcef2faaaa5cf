"""When two texts count as the same."""

from __future__ import annotations

import unicodedata


def fold(text: str) -> str:
    """`text` without differences of case, width, composition and blanks."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())
