#!/usr/bin/env python3
"""Makes the background of custom categories, python/safetyclf/models/background.npz.

    make_background.py --data DATA [--model FILE] [--output FILE]

Embeds a sample of training rows with the model in the package: 90 % rows that no source calls harmful, 10 %
others, small sources more often than their size. Never held-out rows, and no health text of real people. The
same data and model give the same bytes. docs/custom-categories.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from safetyclf import _modelfile
from safetyclf._native import Engine
from safetyclf.policy.background import BANK, Pooled, load_bank, pool, save_bank
from safetyclf.train import load_config
from safetyclf.train.data import TRAIN, Dataset, read_dataset

ROWS = 3600
FITTING = 1600
HARMFUL = 0.1
SEED = 1
LEFT_OUT = ("cssrs_reddit_weak", "annotated_cssrs_reddit_weak")


def sample(dataset: Dataset) -> np.ndarray:
    """Rows of the bank, in an order that says nothing."""
    random = np.random.default_rng(SEED)
    training = dataset.split == TRAIN
    training &= ~np.isin(dataset.source, [i for i, name in enumerate(dataset.sources) if name in LEFT_OUT])
    harmful = (dataset.labels == 1).any(axis=1)
    chosen = []
    for kind, count in ((~harmful, ROWS - round(ROWS * HARMFUL)), (harmful, round(ROWS * HARMFUL))):
        rows = np.flatnonzero(training & kind)
        weight = (
            1
            / np.sqrt(np.bincount(dataset.source[rows], minlength=len(dataset.sources)))[dataset.source[rows]]
        )
        chosen.append(random.choice(rows, count, replace=False, p=weight / weight.sum()))
    return random.permutation(np.concatenate(chosen))


def main() -> None:
    """Runs the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=BANK.with_name("default.safetensors"))
    parser.add_argument("--output", type=Path, default=BANK)
    arguments = parser.parse_args()

    dataset = read_dataset(arguments.data, load_config())
    rows = sample(dataset)
    model = _modelfile.read(arguments.model)
    engine = Engine(str(arguments.model).encode(), threads=1, max_text_bytes=1 << 20, isa="")
    vectors: Pooled = pool(engine, dataset.texts_of(rows))
    names, counts = np.unique(dataset.source[rows], return_counts=True)
    origin = {
        "texts": f"{len(rows)} training rows of the model in the package",
        "data_sha256": dataset.sha256,
        "sources": {dataset.sources[i]: int(n) for i, n in zip(names.tolist(), counts.tolist(), strict=True)},
    }
    save_bank(arguments.output, vectors, FITTING, model.weights_sha256(), origin)

    bank = load_bank(model.weights_sha256(), arguments.output)
    error = np.concatenate([bank.fitting.vectors, bank.held_out.vectors]) - vectors.vectors
    print(
        f"{arguments.output}: {len(rows)} texts, {arguments.output.stat().st_size} bytes, "
        f"rounding {np.sqrt((error**2).mean() / vectors.vectors.var()):.4f} of the deviation"
    )


if __name__ == "__main__":
    main()
