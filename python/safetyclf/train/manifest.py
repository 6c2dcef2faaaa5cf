"""What a data set is made of, for the record: files, sources, labels, and what was left out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .config import TrainingConfig
from .data import SPLIT_NAMES, UNKNOWN, Dataset


def manifest(dataset: Dataset, config: TrainingConfig) -> dict[str, Any]:
    """The manifest as JSON values. It holds no text, and the same data give the same manifest."""
    return {
        "config_sha256": config.sha256,
        "data_sha256": dataset.sha256,
        "categories": list(config.scored),
        "derived": {name: asdict(derived) for name, derived in config.derived.items()},
        "near_duplicates": asdict(config.data.near_duplicates),
        "files": [asdict(file) for file in dataset.files],
        "rows_read": dataset.rows_read,
        "rows": _by_split(dataset, np.full(len(dataset.split), True)),
        "sources": {
            name: _source(dataset, config, index, name) for index, name in enumerate(dataset.sources)
        },
        "removed": asdict(dataset.removed),
    }


def write_manifest(dataset: Dataset, config: TrainingConfig, path: Path) -> None:
    """Writes the manifest as JSON with sorted keys.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps(manifest(dataset, config), indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _source(dataset: Dataset, config: TrainingConfig, index: int, name: str) -> dict[str, Any]:
    own = dataset.source == index
    labels = dataset.labels[own]
    counts = {
        category: {
            "positives": int((labels[:, c] == 1).sum()),
            "negatives": int((labels[:, c] == 0).sum()),
            "unknown": int((labels[:, c] == UNKNOWN).sum()),
        }
        for c, category in enumerate(config.scored)
    }
    return {**asdict(config.source(name)), "rows": _by_split(dataset, own), "labels": counts}


def _by_split(dataset: Dataset, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, int]:
    return {name: int((dataset.split[rows] == split).sum()) for split, name in enumerate(SPLIT_NAMES)}
