"""Choice of the recipe on the selection rows, and the heads of all depths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from ..evaluate.metrics import average_precision
from .config import TrainingConfig
from .data import SELECTION, TRAIN, UNKNOWN, Dataset
from .features import Features
from .heads import Heads, cell_weights, fit_heads
from .weights import row_weights

# Kinds whose labels were made for these categories; the others have a neighbouring task's labels, mapped.
REFERENCE_KINDS = ("written", "guide")
# Selection looks at rows that can be trusted: those kinds, and sets that are benign as a whole.
TRUSTED_KINDS = (*REFERENCE_KINDS, "domain")


@dataclass(frozen=True)
class Recipe:
    """What selection chose; l2 float64 [C]."""

    reference_factor: float
    positive_exponent: float
    l2: npt.NDArray[np.float64]
    table: list[dict[str, Any]]  # every combination that was tried, for the provenance


class Trainer:
    """Heads for frozen features.

    A text of several windows counts as its windows, each with an equal part of the text's weight and with the
    text's labels; its logit is the maximum over them, as in the engine.
    """

    def __init__(
        self, dataset: Dataset, features: Features, rows: npt.NDArray[np.int64], config: TrainingConfig
    ):
        """`features` are those of the texts `rows` of `dataset`: its training and selection rows."""
        self.dataset, self.features, self.config = dataset, features, config
        self.rows = rows
        of_window = features.text_of_window()
        split = dataset.split[rows]
        self.train_windows = np.flatnonzero(split[of_window] == TRAIN)
        self.train_text = of_window[self.train_windows]  # position in `rows`
        self.windows_of_text = np.diff(features.offsets)
        kinds = np.array([config.source(name).kind for name in dataset.sources])
        trusted = np.isin(kinds, TRUSTED_KINDS)[dataset.source[rows]]
        self.reference = np.isin(kinds, REFERENCE_KINDS)[dataset.source[rows]]
        self.selected = np.flatnonzero((split == SELECTION) & trusted)

    def choose(self, report: Callable[[str], None]) -> Recipe:
        """Tries every combination at full depth; the best mean average precision wins."""
        grid = self.config.selection
        depth = len(self.features.pooled) - 1
        x = self._matrix(depth)
        table: list[dict[str, Any]] = []
        best: tuple[float, Recipe] | None = None
        for factor, exponent in product(grid.reference_factor, grid.positive_exponent):
            scores = []
            for l2 in grid.l2:
                heads = self._fit(x, factor, exponent, np.full(len(self.config.scored), l2))
                scores.append(self.precision(heads, depth))
                mean = float(np.nanmean(scores[-1]))
                report(
                    f"selection: reference_factor {factor:g}, positive_exponent {exponent:g}, l2 {l2:g}: "
                    f"mean average precision {mean:.4f} after {heads.iterations} iterations"
                )
                table.append(
                    {
                        "reference_factor": factor,
                        "positive_exponent": exponent,
                        "l2": l2,
                        "score": round(mean, 4),
                    }
                )
            # A category that the selection rows do not have keeps the l2 that is best on average.
            ranking = np.where(np.isnan(scores), np.nanmean(scores, axis=1, keepdims=True), scores)
            chosen = np.argmax(ranking, axis=0)
            total = float(np.take_along_axis(ranking, chosen[None], axis=0).mean())
            if best is None or total > best[0]:
                best = total, Recipe(factor, exponent, np.array(grid.l2)[chosen], table)
        assert best is not None  # the configuration holds no empty list
        return best[1]

    def fit(self, recipe: Recipe, depth: int) -> Heads:
        """The heads of one depth."""
        return self._fit(self._matrix(depth), recipe.reference_factor, recipe.positive_exponent, recipe.l2)

    def precision(self, heads: Heads, depth: int) -> npt.NDArray[np.float64]:
        """Average precision per category [C] on the trusted selection rows; NaN where they cannot tell."""
        begins = self.features.offsets[self.selected]
        counts = self.windows_of_text[self.selected]
        starts = np.cumsum(counts) - counts
        windows = np.repeat(begins - starts, counts) + np.arange(counts.sum())
        logits = heads.logits(self.features.pooled[depth][windows].astype(np.float32))
        highest = np.maximum.reduceat(logits, starts, axis=0)
        labels = self.dataset.labels[self.rows[self.selected]]
        known = labels != UNKNOWN
        return np.array(
            [average_precision(highest[k, c], labels[k, c]) for c, k in enumerate(known.T)], dtype=np.float64
        )

    def _matrix(self, depth: int) -> npt.NDArray[np.float32]:
        x: npt.NDArray[np.float32] = self.features.pooled[depth][self.train_windows].astype(np.float32)
        return x

    def _fit(
        self, x: npt.NDArray[np.float32], factor: float, exponent: float, l2: npt.NDArray[np.float64]
    ) -> Heads:
        labels = self.dataset.labels[self.rows[self.train_text]]
        reference = np.where(self.reference, factor, 1.0)
        weights = (row_weights(self.dataset, self.config)[self.rows] * reference / self.windows_of_text)[
            self.train_text
        ]
        return fit_heads(x, labels, cell_weights(labels, weights, exponent), l2, self.config.fit)
