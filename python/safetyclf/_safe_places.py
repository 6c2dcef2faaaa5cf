"""Where a growing text can be cut: what comes before no continuation can change.

At a safe place the pieces of the whole text are those of the part before it and those of the part behind it,
each tokenised alone, however the text goes on. docs/conversations.md derives the patterns from the rules.
"""

from __future__ import annotations

import re
from typing import Final

_IDEOGRAPH: Final = "\u3400-\u4dbf\u4e00-\u9fff"
_KANA: Final = "\u3041-\u3096\u30a1-\u30fa"
# No normalisation rule makes a blank, a punctuation mark or nothing of these.
WORD: Final = (
    "A-Za-z0-9@$\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u0391-\u03c9\u0400-\u0481\u048a-\u052f\u05d0-\u05ea"
    "\u0620-\u0652\u0671-\u06d3\u0900-\u0963\u0e01-\u0e3a\u0e40-\u0e4e\u10d0-\u10fa\u1e00-\u1eff\uac00-\ud7a3"
)
# No normalisation rule makes nothing of these, or a letter, or a sign that stands for one.
NO_LETTER: Final = "\\x00-#%-/2689:-?\\[-`{-\\x7f\u00ab\u00bb\u2013\u2014\u2018-\u201d\u2026"
_SAFE: Final = re.compile(
    rf"(?s:.*)(?:[\t\n\r]|(?<=[{NO_LETTER}]) |(?<=[{WORD}][{WORD}]) "
    rf"|[{_IDEOGRAPH}\u3001\u3002](?=[{_IDEOGRAPH}{_KANA}]))"
)
# Those of them that end a sentence.
_SENTENCE: Final = re.compile(
    rf"(?s:.*)(?:\n|[.!?\u2026][\"')\]\u2019\u201d]* |\u3002(?=[{_IDEOGRAPH}{_KANA}]))"
)


def last_safe_place(text: str) -> int:
    """The last safe place of `text`, which begins at one; 0 if it has none."""
    return _end_of(_SAFE, text)


def last_sentence_end(text: str) -> int:
    """The last safe place that ends a sentence or a line; 0 if there is none."""
    return _end_of(_SENTENCE, text)


def _end_of(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.match(text)
    return match.end() if match else 0
