"""Augmentation of labelled text for fine-tuning.

Every row has a random generator of its own, so that its outcome depends on its seed alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from random import Random

import numpy as np
import numpy.typing as npt

from .config import AugmentConfig as AugmentConfig
from .identity import swap_identity
from .reading import UNKNOWN
from .spelling import OPERATIONS

Labels = npt.NDArray[np.int8]

_SENTENCE_END = re.compile(r"[.!?\n][\s\"')]*\s")
_SPACE = re.compile(r"\s+")
_SMALL_CUT = 0.1  # share of the characters


def perturb(text: str, rng: Random, config: AugmentConfig | None = None) -> str:
    """One operation drawn by the weights of `config`, now and then two; never empties a text."""
    config = config or AugmentConfig()
    names = [name for name in OPERATIONS if getattr(config, name) > 0]
    return _perturb(text, rng, config, names, [getattr(config, name) for name in names])


def _perturb(text: str, rng: Random, config: AugmentConfig, names: list[str], weights: list[float]) -> str:
    if not names:
        return text
    for name in rng.choices(names, weights, k=2 if rng.random() < config.perturb_twice else 1):
        changed = OPERATIONS[name](text, rng, config.strength)
        text = changed if changed.strip() else text
    return text


def concatenate(parts: Sequence[tuple[str, Labels]], rng: Random) -> tuple[str, Labels]:
    """Joins texts in this order. Per category: 1 if one part has it, 0 if no part has it, else unknown."""
    separator = rng.choice((" ", " ", "\n", "\n\n"))
    table = np.stack([labels for _, labels in parts])
    labels = np.where((table == 1).any(0), 1, np.where((table == 0).all(0), 0, UNKNOWN)).astype(np.int8)
    return separator.join(text for text, _ in parts if text), labels


def truncate(text: str, labels: Labels, rng: Random) -> tuple[str, Labels]:
    """Keeps one stretch of the text, at least 30 %, cut between sentences or else words.

    What made a label 1 may be in the part cut off: unless the cut is small, 1 becomes unknown. 0 stays.
    """
    share = rng.uniform(0.3, 0.95)
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if len(ends) < 3:
        ends = [match.end() for match in _SPACE.finditer(text)]
    if rng.random() < 0.7:  # mostly the end goes: the start says what the rest is about
        end = min((cut for cut in ends if cut >= share * len(text)), default=len(text))
        kept = text[:end].strip()
    else:
        begin = max((cut for cut in ends if cut <= (1 - share) * len(text)), default=0)
        kept = text[begin:].strip()
    if not kept or len(kept) >= len(text.strip()):
        return text, labels
    if len(text.strip()) - len(kept) > _SMALL_CUT * len(text):
        labels = np.where(labels == 1, UNKNOWN, labels).astype(np.int8)
    return kept, labels


class Augmenter:
    """Changes the rows of a data set, each epoch otherwise.

    A row's outcome depends on the seed, the epoch, its index and the data set: not on which rows are asked
    for, or in what order.
    """

    def __init__(self, seed: int, config: AugmentConfig | None = None) -> None:
        self._seed = seed
        self._config = config or AugmentConfig()
        self._names = [name for name in OPERATIONS if getattr(self._config, name) > 0]
        self._weights: list[float] = [getattr(self._config, name) for name in self._names]

    def __call__(
        self, texts: Sequence[str], labels: Labels, epoch: int, rows: Iterable[int] | None = None
    ) -> tuple[list[str], Labels]:
        """Texts and labels int8 [n, categories] of this epoch; the arguments stay as they are.

        Args:
            texts: the whole data set: rows are concatenated with other rows of it.
            labels: 1, 0 or UNKNOWN.
            epoch: from 0.
            rows: indices of the rows to return, in this order; all by default.
        """
        indices = list(range(len(texts)) if rows is None else rows)
        context = _benign_rows(labels)
        new_texts: list[str] = []
        new_labels = np.empty((len(indices), labels.shape[1]), np.int8)
        for place, index in enumerate(indices):
            # One integer for all three, so that no two rows of any epoch share a generator.
            rng = Random((self._seed << 64) | (epoch << 40) | index)
            text, new_labels[place] = self._row(texts, labels, index, context, rng)
            new_texts.append(text)
        return new_texts, new_labels

    def _row(
        self, texts: Sequence[str], labels: Labels, index: int, context: npt.NDArray[np.int64], rng: Random
    ) -> tuple[str, Labels]:
        config = self._config
        text, row = texts[index], labels[index]
        reshape, perturbed, swapped = rng.random(), rng.random(), rng.random()
        if swapped < config.identity_swap:
            text = swap_identity(text, rng) or text
        if perturbed < config.perturb:
            # Before the joining: a text in disguise among clean ones is what has to be found.
            text = _perturb(text, rng, config, self._names, self._weights)
        if reshape < config.truncate:
            return truncate(text, row, rng)
        if reshape < config.truncate + config.concatenate and len(context):
            return self._joined(text, row, texts, labels, context, rng)
        return text, row

    def _joined(
        self,
        text: str,
        row: Labels,
        texts: Sequence[str],
        labels: Labels,
        context: npt.NDArray[np.int64],
        rng: Random,
    ) -> tuple[str, Labels]:
        before: list[tuple[str, Labels]] = []
        after: list[tuple[str, Labels]] = []
        length = len(text)
        for _ in range(rng.randint(1, max(1, self._config.concatenate_rows))):
            other = int(context[rng.randrange(len(context))])
            length += len(texts[other]) + 2
            if length > self._config.max_chars:
                break
            (before if rng.random() < 0.5 else after).append((texts[other], labels[other]))
        if not before and not after:
            return text, row
        return concatenate([*before, (text, row), *after], rng)


def _benign_rows(labels: Labels) -> npt.NDArray[np.int64]:
    """Rows that keep the labels of what they surround: all 0; else, if there are none, without a 1."""
    clean = np.flatnonzero((labels == 0).all(1))
    return clean if len(clean) else np.flatnonzero(~(labels == 1).any(1))
