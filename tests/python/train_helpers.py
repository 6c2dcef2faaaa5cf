"""Labelled rows and configurations for the tests of training."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetyclf._modelfile import ModelInfo
from safetyclf.train.config import DataConfig, FinetuneConfig, NearDuplicatesConfig, Source, TrainingConfig
from safetyclf.train.data import Dataset, read_dataset

INFO = ModelInfo(name="trained", version="0.1.0", licence="Apache-2.0", description="for tests")
CONFIG = TrainingConfig(
    model=INFO,
    categories=("harassment", "harassment/threatening", "sexual/minors"),
    uncovered={"sexual/minors": "no data"},
    # Rows of tests differ by a number alone.
    data=DataConfig(
        files=("old/*.jsonl", "new/*.jsonl.gz"), near_duplicates=NearDuplicatesConfig(threshold=0)
    ),
)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def row(text: str, split: str | None = None, source: str = "some", **labels: int | None) -> dict[str, Any]:
    named = {name.replace("_", "/"): label for name, label in labels.items()}
    return {"text": text, "labels": named, "source": source} | ({"split": split} if split else {})


def dataset_of(
    tmp_path: Path,
    old: list[dict[str, Any]],
    new: list[dict[str, Any]] | None = None,
    sample: float = 1.0,
    config: TrainingConfig = CONFIG,
) -> Dataset:
    write_rows(tmp_path / "old/rows.jsonl", old)
    write_rows(tmp_path / "new/rows.jsonl.gz", new or [row("filler", "train", harassment=0)])
    return read_dataset(tmp_path, config, sample)


def labels_of(dataset: Dataset, text: str) -> list[int]:
    return dataset.labels[dataset.texts.index(text)].tolist()


HARMLESS = [
    *("the", "day", "time", "food", "music", "game", "team", "city", "river", "tree"),
    *("book", "house", "dog", "cat", "bird", "friend", "people"),
]
INSULTS = ["bad", "rude", "hate"]


def make_data(root: Path, harmful_share: float = 0.25) -> None:
    rng = random.Random(3)
    rows = []
    for _ in range(1600):
        words = [rng.choice(HARMLESS) for _ in range(rng.randint(4, 9))]
        harmful = rng.random() < harmful_share
        threat = harmful and rng.random() < 0.5
        if harmful:
            words += [rng.choice(INSULTS), "you"]
        if threat:
            words += ["stop", "or", "sorry"]
        rng.shuffle(words)
        text = " ".join([*words, str(len(rows))])
        rows.append(row(text, source="guide_a", harassment=int(harmful), harassment_threatening=int(threat)))
    long = " ".join(rng.choice(HARMLESS) for _ in range(120))
    rows += [row(f"{long} {i}", harassment=0, source="guide_a") for i in range(20)]
    write_rows(root / "old/rows.jsonl", rows)
    write_rows(root / "new/rows.jsonl.gz", [row("filler", "train", harassment=0)])


def run_config() -> TrainingConfig:
    limits = replace(CONFIG.thresholds, review_rate=0.05, block_rate=0.03)
    return replace(
        CONFIG,
        data=replace(CONFIG.data, valid_share=0.3),
        calibration=replace(CONFIG.calibration, methods=("platt",)),
        finetune=FinetuneConfig(epochs=0),
        trained_positives=150,
        thresholds=limits,
        sources={"guide_*": Source(kind="guide", licence="MIT")},
    )
