"""Rows of a split as a file, for `safetyclf eval`."""

from __future__ import annotations

import json
from pathlib import Path

from .config import TrainingConfig
from .data import UNKNOWN, Dataset


def write_rows(dataset: Dataset, config: TrainingConfig, split: int, path: Path) -> None:
    """Writes JSON lines: text, source, and the known labels as training has them.

    Those of a category without a head follow from its parent where that is 0.

    Raises:
        OSError: the file cannot be written.
    """
    columns = {name: c for c, name in enumerate(config.scored)}
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for row in dataset.rows(split).tolist():
            labels: dict[str, int] = {}
            for name in config.categories:
                own = columns.get(name)
                parent = columns.get(name.rpartition("/")[0])
                if own is not None and dataset.labels[row, own] != UNKNOWN:
                    labels[name] = int(dataset.labels[row, own])
                elif own is None and parent is not None and dataset.labels[row, parent] == 0:
                    labels[name] = 0
            source = dataset.sources[dataset.source[row]]
            value = {"text": dataset.texts[row], "labels": labels, "source": source}
            stream.write(json.dumps(value, ensure_ascii=False) + "\n")
