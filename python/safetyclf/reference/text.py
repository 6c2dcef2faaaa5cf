"""Text to token ids: BERT's normaliser and pre-tokeniser, WordPiece, windows.

Written for reading, with the `unicodedata` of the running Python. The engine has tables of its own, which
follow the Unicode versions inside Hugging Face tokenizers (docs/text.md): categories of Unicode 8,
canonical decomposition of Unicode 9, lower case of Unicode 17. Python 3.10 to 3.13 have 13.0 to 15.1. Ids
are therefore equal for characters that have the same properties in all these versions, among them all of
Latin-1, and may differ for characters that are younger than 2015 or whose category changed since.

The normalisation rules of a model file are not repeated here: they are tables, and decisions by the
vocabulary, more than arithmetic.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

MAX_WORD_CHARACTERS = 100
# Ideographs are words of their own. The gap behind 2B81F is that of Hugging Face tokenizers.
IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
ASCII_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def is_space(character: str) -> bool:
    """Separators, and the three control characters that count as such."""
    return character in "\t\n\r" or unicodedata.category(character)[0] == "Z"


def is_dropped(character: str) -> bool:
    """NUL, the replacement character, control, format, private use and lone surrogates."""
    if is_space(character):
        return False
    return character in "\0\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs")


def is_ideograph(character: str) -> bool:
    """Whether the character lies in one of IDEOGRAPHS."""
    return any(first <= ord(character) <= last for first, last in IDEOGRAPHS)


def is_punctuation(character: str) -> bool:
    """Punctuation of any script, and ASCII symbols."""
    return character in ASCII_PUNCTUATION or unicodedata.category(character)[0] == "P"


def normalize(text: str, lowercase: bool) -> str:
    """BERT's normaliser: clean, space out ideographs and, if `lowercase`, strip accents and lower."""
    cleaned = []
    for character in text:
        if is_space(character):
            cleaned.append(" ")
        elif is_ideograph(character):
            cleaned.append(f" {character} ")
        elif not is_dropped(character):
            cleaned.append(character)
    text = "".join(cleaned)
    if lowercase:
        text = unicodedata.normalize("NFD", text)
        # One character at a time: str.lower of a whole word treats a final sigma differently.
        text = "".join(character.lower() for character in text if unicodedata.category(character) != "Mn")
    return text


def words(text: str) -> list[str]:
    """Cuts normalised text at spaces and around each punctuation mark."""
    spaced = "".join(f" {character} " if is_punctuation(character) else character for character in text)
    return [word for word in spaced.split(" ") if word]


class Tokenizer:
    """WordPiece over a vocabulary, with windows.

    Args:
        vocabulary: tokens in id order; must hold [UNK], [CLS] and [SEP].
        lowercase: the model is "uncased".
        window_tokens: most word pieces in a window, [CLS] and [SEP] not counted.
        overlap_tokens: word pieces that neighbouring windows share.
    """

    def __init__(
        self, vocabulary: Sequence[str], lowercase: bool, window_tokens: int, overlap_tokens: int
    ) -> None:
        self.ids = {token: i for i, token in enumerate(vocabulary)}
        self.unknown, self.start, self.end = (self.ids[token] for token in ("[UNK]", "[CLS]", "[SEP]"))
        self.lowercase = lowercase
        self.window_tokens = window_tokens
        self.overlap_tokens = overlap_tokens

    def word_pieces(self, word: str) -> list[int]:
        """Longest matches from left to right; [UNK] if there are none or the word has over 100 characters."""
        if len(word) > MAX_WORD_CHARACTERS:
            return [self.unknown]
        pieces = []
        begin = 0
        while begin < len(word):
            prefix = "##" if begin else ""
            for end in range(len(word), begin, -1):
                if (piece := self.ids.get(prefix + word[begin:end])) is not None:
                    break
            else:
                return [self.unknown]
            pieces.append(piece)
            begin = end
        return pieces

    def pieces(self, text: str) -> list[int]:
        """Ids of the whole text, without special tokens: text that spells one is ordinary text."""
        return [piece for word in words(normalize(text, self.lowercase)) for piece in self.word_pieces(word)]

    def windows(self, text: str) -> list[list[int]]:
        """Ids of each window, [CLS] first and [SEP] last; at least one window.

        As few windows as possible; neighbours share exactly `overlap_tokens` pieces; sizes differ by at
        most one, larger windows first.
        """
        pieces = self.pieces(text)
        count, total = 1, len(pieces)
        if total > self.window_tokens:
            count = -(-(total - self.overlap_tokens) // (self.window_tokens - self.overlap_tokens))
            total += (count - 1) * self.overlap_tokens
        windows = []
        begin = 0
        for k in range(count):
            size = total // count + (k < total % count)
            windows.append([self.start, *pieces[begin : begin + size], self.end])
            begin += size - self.overlap_tokens
        return windows
