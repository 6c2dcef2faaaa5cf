"""How much each row of the data set counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .config import TrainingConfig
from .data import TRAIN, Dataset


def row_weights(dataset: Dataset, config: TrainingConfig) -> npt.NDArray[np.float64]:
    """Weight of each row of the data set, float64 [n].

    The factor of its kind and of its source, less for each row of a large source: n training rows beyond
    `weights.full_rows` count like sqrt(n * full_rows) rows. Fine-tuning draws a row so often in an epoch;
    heads for a frozen encoder weigh its loss so.
    """
    size = np.bincount(dataset.source[dataset.split == TRAIN], minlength=len(dataset.sources))
    weight = np.sqrt(np.minimum(1.0, config.weights.full_rows / np.maximum(size, 1)))
    for i, name in enumerate(dataset.sources):
        source = config.source(name)
        weight[i] *= config.weight_of_kind(source.kind) * source.weight
    by_row: npt.NDArray[np.float64] = weight[dataset.source]
    return by_row
