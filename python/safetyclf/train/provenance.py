"""What a model file says of its origin: coverage of categories, sources, recipe, software."""

from __future__ import annotations

from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import scipy

from .._modelfile import Category, Coverage
from .._native import build_info
from .config import TrainingConfig
from .data import SPLIT_NAMES, TRAIN, Dataset


def coverage(dataset: Dataset, config: TrainingConfig) -> tuple[Category, ...]:
    """Categories in the configuration's order.

    A category is "trained" with at least `trained_positives` training positives that are not weak, and
    "derived" if its labels follow from other categories', however many there are.
    """
    found: dict[str, Coverage] = {}
    for name, by_kind in training_positives(dataset, config).items():
        strong = sum(count for kind, count in by_kind.items() if kind != "weak")
        enough: Coverage = "trained" if strong >= config.trained_positives else "weak"
        found[name] = "derived" if name in config.derived else enough
    return tuple(Category(name=n, coverage=found.get(n, "none")) for n in config.categories)


def training_positives(dataset: Dataset, config: TrainingConfig) -> dict[str, dict[str, int]]:
    """Training positives of each scored category by kind of source."""
    kinds = np.array([config.source(name).kind for name in dataset.sources])[dataset.source]
    training = dataset.split == TRAIN
    result: dict[str, dict[str, int]] = {}
    for c, name in enumerate(config.scored):
        of_kind, counts = np.unique(kinds[(dataset.labels[:, c] == 1) & training], return_counts=True)
        result[name] = {str(kind): int(count) for kind, count in zip(of_kind, counts, strict=True)}
    return result


def provenance(
    config: TrainingConfig, dataset: Dataset, about: dict[str, Any], sample: float
) -> dict[str, Any]:
    """The provenance of a trained file; `about` holds `method`, `encoder`, `recipe` and maybe `software`."""
    used = np.bincount(dataset.source, minlength=len(dataset.sources))
    patterns = {
        name: next((p for p in config.sources if fnmatchcase(name, p)), name) for name in dataset.sources
    }
    sources: dict[str, dict[str, Any]] = {}
    for name, count in zip(dataset.sources, used, strict=True):
        entry = sources.setdefault(patterns[name], {**asdict(config.source(name)), "texts": 0})
        entry["texts"] += int(count)
    encoder = {"origin": config.encoder.origin, "licence": config.encoder.licence, **about["encoder"]}
    versions = {"safetyclf": build_info()["version"], "numpy": np.__version__, "scipy": scipy.__version__}
    return {
        "config_sha256": config.sha256,
        "data_sha256": dataset.sha256,
        "sample": sample,
        "splits": {name: len(dataset.rows(split)) for split, name in enumerate(SPLIT_NAMES)},
        "sources": sources,
        "uncovered": dict(config.uncovered),
        "derived": {name: asdict(derived) for name, derived in config.derived.items()},
        "trained_positives": config.trained_positives,
        "training_positives": training_positives(dataset, config),
        **about,
        "encoder": encoder,
        "software": {**versions, **about.get("software", {})},
    }
