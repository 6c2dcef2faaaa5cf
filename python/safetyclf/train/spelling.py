"""Changes of spelling: what people and filters do to a text without changing what it says.

What the engine's rules undo wherever it occurs (zero-width characters, fullwidth and mathematical letters,
Cyrillic look-alikes) is left out: docs/text.md. Letters set apart and digits for letters stay in, since the
rules undo them only where the vocabulary tells how. Every function takes `strength`, the share of the words
it changes at most, and returns the text as it is where there is nothing to change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from random import Random

Operation = Callable[[str, Random, float], str]
Span = tuple[int, int]

_WORD = re.compile(r"[^\W\d_]+")
_ASCII_WORD = re.compile(r"[A-Za-z]{3,}")
_RUN_OF_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]+")
_SPACE = re.compile(r"\s+")
_LEET = {
    "a": "4@",
    "b": "8",
    "e": "3",
    "g": "9",
    "i": "1!",
    "l": "1|",
    "o": "0",
    "s": "5$",
    "t": "7+",
    "z": "2",
}
# Letters that neither the rules of the model file nor the BERT normaliser fold, and that its vocabulary has:
# others would make a word [UNK], of which there is nothing to learn.
_HOMOGLYPHS = {
    "a": "ɑ", "d": "đ", "e": "ɛə", "f": "ƒ", "g": "ɡ", "h": "ħ", "i": "ıɨ", "l": "ł", "n": "ŋ",
    "o": "ø", "r": "ɾ", "s": "ʂ", "u": "ʉ", "v": "ʋ", "z": "ʐ",
}  # fmt: skip
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def lower(text: str, rng: Random, strength: float = 0.15) -> str:
    """Small letters only."""
    return text.lower()


def upper(text: str, rng: Random, strength: float = 0.15) -> str:
    """Capitals only."""
    return text.upper()


def title_case(text: str, rng: Random, strength: float = 0.15) -> str:
    """A capital at the start of each word."""
    return _WORD.sub(lambda word: word[0][:1].upper() + word[0][1:].lower(), text)


def random_case(text: str, rng: Random, strength: float = 0.15) -> str:
    """Capitals in some words, the other case for some letters of other words."""
    return _change_words(text, rng, strength, _WORD, lambda word: _randomly_cased(word, rng))


def strip_punctuation(text: str, rng: Random, strength: float = 0.15) -> str:
    """Drops all ASCII punctuation, or half of its runs; words stay apart. Emoji stay."""
    share = rng.choice((0.5, 1.0, 1.0))

    def drop(match: re.Match[str]) -> str:
        if rng.random() >= share:
            return match[0]
        return "" if match[0] == "'" else " "

    return _SPACE.sub(" ", _RUN_OF_PUNCTUATION.sub(drop, text)).strip()


def collapse_whitespace(text: str, rng: Random, strength: float = 0.15) -> str:
    """One space for each run of white space."""
    return _SPACE.sub(" ", text).strip()


def typos(text: str, rng: Random, strength: float = 0.15) -> str:
    """A slip of the fingers in some words: letters swapped, dropped, doubled or from the key beside."""
    return _change_words(text, rng, strength, _ASCII_WORD, lambda word: _mistyped(word, rng))


def leet(text: str, rng: Random, strength: float = 0.15) -> str:
    """Digits and signs for one to three letters of some words."""
    return _change_words(text, rng, strength, _ASCII_WORD, lambda word: _replaced(word, rng, _LEET, 3))


def homoglyphs(text: str, rng: Random, strength: float = 0.15) -> str:
    """Letters that look alike for one or two letters of some words; only such as the normaliser keeps."""
    return _change_words(text, rng, strength, _ASCII_WORD, lambda word: _replaced(word, rng, _HOMOGLYPHS, 2))


def mask(text: str, rng: Random, strength: float = 0.15) -> str:
    """Signs for one or two inner letters of some words, as people write what a filter must not see."""

    def masked(word: str) -> str:
        length = 1 if len(word) < 6 else rng.randint(1, 2)
        start = rng.randint(1, len(word) - 1 - length)
        return word[:start] + rng.choice("***#-_.") * length + word[start + length :]

    return _change_words(text, rng, strength, _ASCII_WORD, masked)


def space_out(text: str, rng: Random, strength: float = 0.15) -> str:
    """Spaces, dots, dashes or underscores between the letters of one or two words."""
    separator = rng.choice("    .-_*")
    share = min(strength, 1.5 / max(1, len(text) // 5))
    return _change_words(text, rng, share, _ASCII_WORD, lambda word: separator.join(word))


def repeat_letters(text: str, rng: Random, strength: float = 0.15) -> str:
    """Draws out a letter of some words."""

    def drawn_out(word: str) -> str:
        vowels = [i for i, letter in enumerate(word) if letter in "aeiouyAEIOUY"]
        i = rng.choice(vowels) if vowels else len(word) - 1
        return word[:i] + word[i] * rng.randint(3, 6) + word[i + 1 :]

    return _change_words(text, rng, strength, _ASCII_WORD, drawn_out)


def join_words(text: str, rng: Random, strength: float = 0.15) -> str:
    """Leaves out some of the spaces between words."""
    gaps = [gap.span() for gap in re.finditer(r"(?<=\w)[ \t](?=\w)", text)]
    return _replace_spans(text, [(*gap, "") for gap in _sample(gaps, rng, strength * 0.6)])


def _change_words(
    text: str, rng: Random, strength: float, pattern: re.Pattern[str], change: Callable[[str], str]
) -> str:
    """Changes a share of the words of the text, at least one; long texts are not read word by word twice."""
    chosen = _sample([match.span() for match in pattern.finditer(text)], rng, strength)
    return _replace_spans(text, [(start, end, change(text[start:end])) for start, end in chosen])


def _sample(items: list[Span], rng: Random, share: float) -> list[Span]:
    if not items or share <= 0:
        return []
    count = min(len(items), max(1, round(len(items) * share * rng.uniform(0.4, 1.0))))
    return [items[i] for i in sorted(rng.sample(range(len(items)), count))]


def _replace_spans(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    parts: list[str] = []
    done = 0
    for start, end, new in spans:
        parts += (text[done:start], new)
        done = end
    return "".join(parts) + text[done:]


def _randomly_cased(word: str, rng: Random) -> str:
    if rng.random() < 0.5:
        return word.upper()
    return "".join(letter.swapcase() if rng.random() < 0.4 else letter for letter in word)


def _neighbours() -> dict[str, str]:
    near = {key: "" for row in _KEYBOARD for key in row}
    for keys in (*_KEYBOARD, *("".join(column) for column in zip(*_KEYBOARD, strict=False))):
        for left, right in pairwise(keys):
            near[left] += right
            near[right] += left
    return near


_NEIGHBOURS = _neighbours()


def _mistyped(word: str, rng: Random) -> str:
    # The first letter stays, and so do short words: "it" for "in" is another word, not a typo.
    i = rng.randint(1, len(word) - 2)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if kind == 1 and len(word) > 3:
        return word[:i] + word[i + 1 :]
    if kind == 2:
        return word[:i] + word[i] + word[i:]
    return word[:i] + rng.choice(_NEIGHBOURS[word[i].lower()]) + word[i + 1 :]


def _replaced(word: str, rng: Random, table: dict[str, str], most: int) -> str:
    places = [i for i, letter in enumerate(word) if letter.lower() in table]
    chosen = rng.sample(places, min(len(places), rng.randint(1, most), max(1, len(word) // 2)))
    letters = list(word)
    for i in chosen:
        letters[i] = rng.choice(table[letters[i].lower()])
    return "".join(letters)


_ALL = (
    lower,
    upper,
    title_case,
    random_case,
    strip_punctuation,
    collapse_whitespace,
    typos,
    leet,
    homoglyphs,
)
OPERATIONS: dict[str, Operation] = {
    function.__name__: function for function in (*_ALL, mask, space_out, repeat_letters, join_words)
}
