"""What the model says about the texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from .._classifier import Classifier
from .._native import Engine
from .._policy import to_native
from .figures import Bools, Decision, any_of

Floats = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]  # what is being done, texts done, texts in all

_BATCH: Final = 256


@dataclass(frozen=True)
class Scores:
    """Probabilities of n texts and the decisions on them.

    Attributes:
        categories: names of the C scored categories.
        probabilities: float32 [n, C], calibrated.
        review: float32 [C]; above 1 is "never".
        block: float32 [C].
    """

    categories: tuple[str, ...]
    probabilities: Floats
    review: Floats
    block: Floats

    @cached_property
    def reviewed(self) -> Bools:
        """Which categories reach their review threshold [n, C]."""
        return _reaches(self.probabilities, self.review)

    @cached_property
    def blocked(self) -> Bools:
        """Which categories reach their block threshold [n, C]."""
        return _reaches(self.probabilities, self.block)

    @cached_property
    def highest(self) -> Floats:
        """Score of "any category": the highest probability [n]."""
        highest: Floats = self.probabilities.max(axis=1)
        return highest

    @cached_property
    def flagged(self) -> Bools:
        """`Verdict.flagged` [n]: some category reaches its review threshold."""
        return any_of(self.reviewed)

    def column(self, category: str) -> int:
        """Index of a scored category."""
        return self.categories.index(category)

    def any_decisions(self, rows: Bools) -> tuple[Decision, Decision]:
        """Review and block of the rows, by any category."""
        return Decision(self.flagged[rows]), Decision(any_of(self.blocked)[rows])


def _reaches(probabilities: Floats, thresholds: Floats) -> Bools:
    reached: Bools = probabilities >= thresholds
    return reached


class Scorer:
    """Runs the model on texts, in batches, with progress."""

    def __init__(self, classifier: Classifier, progress: Progress) -> None:
        self.classifier = classifier
        self.engine: Engine = classifier._engine  # logits and tokens are not part of the public API
        self.progress = progress
        thresholds = np.frombuffer(to_native(list(classifier.thresholds.values())), np.float32)
        self._review, self._block = thresholds.reshape(2, -1)

    def scores(self, texts: Sequence[str], task: str = "scoring") -> Scores:
        """Probabilities and decisions."""
        found = self._batches(lambda batch: self.engine.probabilities(batch)[0], texts, task)
        return Scores(self.classifier.categories, found, self._review, self._block)

    def logits(self, texts: Sequence[str], depth: int) -> Floats:
        """Logits of the head after `depth` layers, the highest over the windows: float32 [n, C]."""
        return self._batches(lambda batch: self.engine.logits(batch, depth)[0], texts, f"depth {depth}")

    def _batches(self, run: Callable[[Sequence[str]], Floats], texts: Sequence[str], task: str) -> Floats:
        parts = []
        for begin in range(0, len(texts), _BATCH):
            parts.append(run(texts[begin : begin + _BATCH]))
            self.progress(task, min(begin + _BATCH, len(texts)), len(texts))
        return np.concatenate(parts)
