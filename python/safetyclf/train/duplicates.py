"""Copies of a text: an exact key for those that differ in form alone, MinHash for those that nearly agree."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .._errors import MissingDependencyError
from .config import NearDuplicatesConfig

BATCH_TEXTS = 2048
MISSED = 1e-3  # chance that a pair exactly at the threshold is not compared; more similar ones: far less
_SETS_KEPT = 4096

# Emoji stand for words: texts that differ in one alone can have opposite labels.
_EMOJI = "\u2600-\u27bf\U0001f000-\U0001faff"
_FORM = re.compile(rf"[^\w{_EMOJI}]+|_+")
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")

Labels = npt.NDArray[np.int8]


def duplicate_key(text: str) -> str:
    """Equal for texts that differ in case, spaces and punctuation alone; where nothing is left, the text."""
    return _FORM.sub("", text.casefold()) or text.strip()


def split_key(key: str) -> str:
    """What decides the split of a text with this `duplicate_key`: without emoji, so pairs stay together."""
    return _NOT_ALPHANUMERIC.sub("", key) or key


def shingles(text: str, length: int) -> dict[str, None]:
    """All runs of `length` characters of the text in lower case without punctuation; never empty.

    A dict as a set in the order of the text: the order of a set of strings differs from process to process.
    """
    plain = " ".join(_FORM.sub(" ", text.casefold()).split()) or text.strip()
    return dict.fromkeys([plain[i : i + length] for i in range(max(1, len(plain) - length + 1))])


def jaccard(a: Set[str], b: Set[str]) -> float:
    """Size of the intersection over size of the union."""
    common = len(a & b)
    return common / (len(a) + len(b) - common)


def bands(config: NearDuplicatesConfig) -> int:
    """Bands of the index: the fewest that miss a pair at the threshold with probability MISSED at most."""
    counts = [n for n in range(1, config.permutations + 1) if config.permutations % n == 0]

    def missed(count: int) -> float:
        return float((1 - config.threshold ** (config.permutations / count)) ** count)

    return next((n for n in counts if missed(n) <= MISSED), config.permutations)


@dataclass(frozen=True)
class Rows:
    """What decides which of two similar texts goes.

    Attributes:
        texts: n texts, all different by `duplicate_key`.
        labels: int8 [n, categories]; 1 and 0 are known, everything else is not.
        strictness: int [n], of the row's split; the lowest is that of training rows.
        rank: int [n], of who labelled it; 0 is the best.
        contrast: bool [n]: the source sets texts that differ little against each other on purpose.
    """

    texts: Sequence[str]
    labels: Labels
    strictness: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    contrast: npt.NDArray[np.bool_]

    def contradict(self, a: int, b: int) -> bool:
        """Whether a category has 1 in one of these rows and 0 in the other."""
        first, second = self.labels[a], self.labels[b]
        return bool((((first == 1) & (second == 0)) | ((first == 0) & (second == 1))).any())


def near_duplicates(rows: Rows, config: NearDuplicatesConfig) -> npt.NDArray[np.int64]:
    """Finds the texts to leave out.

    Rows are taken in the order strictest split, best rank, index. One goes if an earlier row that stayed has
    a Jaccard similarity of shingles of at least the threshold: of another split, or both of training. So
    every text left out resembles one that stayed directly, and chains of small changes do not collapse into
    one. Two rows of contrast sources that contradict each other are a minimal pair: both stay.

    MinHash proposes pairs, the exact similarity decides. The result depends on the arguments alone.

    Returns:
        int64 [n]: the row that stays instead (the first in the order above), or -1 for one that stays.

    Raises:
        MissingDependencyError: the package rensa is not installed.
    """
    n = len(rows.texts)
    instead = np.full(n, -1, np.int64)
    if config.threshold == 0:
        return instead
    rensa = _rensa()
    sketches, sizes = _sketches(rensa, rows.texts, config)
    index = rensa.RMinHashLSH(config.threshold, config.permutations, bands(config))
    training = rows.strictness.min(initial=0)
    order = np.lexsort((np.arange(n), rows.rank, -rows.strictness))
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)

    @lru_cache(maxsize=_SETS_KEPT)
    def shingles_of(i: int) -> frozenset[str]:
        return frozenset(shingles(rows.texts[i], config.shingle))

    def alike(i: int, j: int) -> bool:
        if rows.strictness[i] == rows.strictness[j] != training:
            return False
        # The union is at least as large as the larger set: sizes alone rule most pairs out.
        if min(sizes[i], sizes[j]) < config.threshold * max(sizes[i], sizes[j]):
            return False
        if jaccard(shingles_of(i), shingles_of(j)) < config.threshold:
            return False
        return not (rows.contrast[i] and rows.contrast[j] and rows.contradict(i, j))

    for i in order.tolist():
        found = sorted(index.query(sketches[i]), key=place.__getitem__)
        instead[i] = next((j for j in found if alike(i, j)), -1)
        if instead[i] < 0:
            index.insert(i, sketches[i])
    return instead


def _rensa() -> Any:
    try:
        import rensa
    except ImportError as error:
        raise MissingDependencyError(
            "near-duplicates are found with the package rensa: pip install 'safetyclf[train]', "
            "or set data.near_duplicates.threshold = 0 to keep them"
        ) from error
    return rensa


def _sketches(rensa: Any, texts: Sequence[str], config: NearDuplicatesConfig) -> tuple[list[Any], list[int]]:
    """MinHash sketch and number of shingles of each text."""
    sketches: list[Any] = []
    sizes: list[int] = []
    for begin in range(0, len(texts), BATCH_TEXTS):
        sets = [list(shingles(text, config.shingle)) for text in texts[begin : begin + BATCH_TEXTS]]
        sketches += rensa.RMinHash.from_token_sets(sets, config.permutations, config.seed)
        sizes += map(len, sets)
    return sketches, sizes
