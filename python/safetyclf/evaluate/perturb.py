"""Ways in which people disguise or mangle a text; for measuring, not for training.

Every change is drawn from a seed, the kind and the text's number, so that it depends on nothing else. People
can still read the results.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

_WORD: Final = re.compile(r"[^\W\d_]{4,}")
_LEET: Final = {"a": "4@", "e": "3", "g": "9", "i": "1!", "o": "0", "s": "5$", "t": "7+"}
_HOMOGLYPHS: Final = {  # Cyrillic and Greek letters that look like Latin ones
    "a": "\u0430",
    "c": "\u0441",
    "e": "\u0435",
    "i": "\u0456",
    "o": "\u043e\u03bf",
    "p": "\u0440",
    "s": "\u0455",
    "x": "\u0445",
    "y": "\u0443",
    "A": "\u0410\u0391",
    "B": "\u0412\u0392",
    "E": "\u0415\u0395",
    "H": "\u041d\u0397",
    "K": "\u041a\u039a",
    "M": "\u041c\u039c",
    "O": "\u041e\u039f",
    "P": "\u0420\u03a1",
    "T": "\u0422\u03a4",
    "X": "\u0425\u03a7",
}
_INVISIBLE: Final = "\u200b\u200c\u200d\u2060\u00ad"
_KEYBOARD: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def perturb(texts: Sequence[str], kind: str, seed: int) -> list[str]:
    """The texts, changed in the way that `kind`, a key of PERTURBATIONS, names."""
    change = PERTURBATIONS[kind]
    return [change(text, random.Random(f"{seed}/{kind}/{i}")) for i, text in enumerate(texts)]


def _upper(text: str, _: random.Random) -> str:
    return text.upper()


def _lower(text: str, _: random.Random) -> str:
    return text.lower()


def _no_punctuation(text: str, _: random.Random) -> str:
    return "".join(c for c in text if not unicodedata.category(c).startswith("P"))


def _leet(text: str, draw: random.Random) -> str:
    return _replaced(text.lower(), _LEET, 0.7, draw)


def _spaced(text: str, draw: random.Random) -> str:
    return _words(text, 0.5, draw, " ".join)


def _typos(text: str, draw: random.Random) -> str:
    return _words(text, 0.35, draw, lambda word: _typo(word, draw))


def _homoglyphs(text: str, draw: random.Random) -> str:
    return _replaced(text, _HOMOGLYPHS, 0.4, draw)


def _zero_width(text: str, draw: random.Random) -> str:
    return "".join(c + draw.choice(_INVISIBLE) if c.isalpha() and draw.random() < 0.3 else c for c in text)


def _repeated(text: str, draw: random.Random) -> str:
    def stretch(word: str) -> str:
        place = draw.randrange(len(word))
        return word[:place] + word[place] * draw.randint(3, 5) + word[place + 1 :]

    return _words(text, 0.5, draw, stretch)


def _replaced(text: str, table: dict[str, str], share: float, draw: random.Random) -> str:
    return "".join(draw.choice(table[c]) if c in table and draw.random() < share else c for c in text)


def _words(text: str, share: float, draw: random.Random, change: Callable[[str], str]) -> str:
    """Changes a share of the words of four letters and more."""
    return _WORD.sub(lambda found: change(found[0]) if draw.random() < share else found[0], text)


def _typo(word: str, draw: random.Random) -> str:
    place = draw.randrange(len(word) - 1)
    here, after = word[place], word[place + 1]
    slip = draw.randrange(4)
    if slip == 0:  # two letters swapped
        return word[:place] + after + here + word[place + 2 :]
    if slip == 1:  # one left out
        return word[:place] + word[place + 1 :]
    if slip == 2:  # one doubled
        return word[:place] + here + word[place:]
    return word[:place] + draw.choice(_beside(here)) + word[place + 1 :]


def _beside(letter: str) -> str:
    """Keys to the left and right on an English keyboard; the letter itself if it has no key."""
    for row in _KEYBOARD:
        place = row.find(letter.lower())
        if place >= 0:
            return row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
    return letter


PERTURBATIONS: Final[dict[str, Callable[[str, random.Random], str]]] = {
    "upper case": _upper,
    "lower case": _lower,
    "no punctuation": _no_punctuation,
    "leet": _leet,
    "spaced letters": _spaced,
    "typos": _typos,
    "homoglyphs": _homoglyphs,
    "zero-width": _zero_width,
    "repeated letters": _repeated,
}
