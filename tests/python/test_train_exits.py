"""Fitting the rules for leaving early: what the file states is what the engine does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetyclf import _modelfile
from safetyclf._modelfile import ModelFile
from safetyclf._native import Engine
from tiny_model import TinyModel

pytest.importorskip("scipy")

from safetyclf.policy.bounds import upper_bound
from safetyclf.reference import ReferenceModel, load
from safetyclf.train import train
from safetyclf.train.config import ExitsConfig
from safetyclf.train.data import CALIBRATION, TRAIN, Dataset, read_dataset
from safetyclf.train.exits import Lexicon, read_windows
from train_helpers import make_data, run_config

EXITS = ExitsConfig(rate=0.05, texts=1000, pairs=1024)


def trained_in(root: Path, exits: ExitsConfig, lines: list[str]) -> ModelFile:
    TinyModel().write(root / "encoder.safetensors")
    make_data(root / "data")
    return train(
        replace(run_config(), exits=exits),
        data=root / "data",
        encoder=root / "encoder.safetensors",
        output=root / "model.safetensors",
        cache=root / "cache",
        threads=1,
        report=lines.append,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelFile, Dataset]:
    root = tmp_path_factory.mktemp("exits")
    file = trained_in(root, EXITS, [])
    return root / "model.safetensors", file, read_dataset(root / "data", run_config())


def engine_of(path: Path) -> Engine:
    return Engine(str(path), threads=1, max_text_bytes=1 << 20, isa="")


def test_statement_counts_what_the_engine_does(trained: tuple[Path, ModelFile, Dataset]) -> None:
    path, file, dataset = trained
    assert file.exits is not None
    texts = dataset.texts_of(dataset.rows(CALIBRATION))
    engine = engine_of(path)
    full = engine.probabilities(texts)[0]
    assert file.exits["texts"] == len(texts)
    assert len(file.exits["levels"]) == len(engine.exit_floors) == len(EXITS.margins) + 1
    for level, (stated, floors) in enumerate(zip(file.exits["levels"], engine.exit_floors, strict=True)):
        found, _, _, depths = engine.adaptive_probabilities(texts, level)
        missed = ((full >= np.array(floors)) & (found < np.array(floors))).any(axis=1)
        assert missed.sum() <= stated["violations"]
        assert stated["violations"] / len(texts) <= file.exits["bound"] <= EXITS.rate
        assert (depths == 0).any()  # the rules do something
        assert stated["left_at_depth"][0] >= (depths == 0).sum() > 0
        assert 0 < stated["mean_depth"] < file.architecture.layers


def test_bounds_hold_for_all_levels_together(trained: tuple[Path, ModelFile, Dataset]) -> None:
    _, file, _ = trained
    assert file.exits is not None
    levels = file.exits["levels"]
    confidence = 1 - (1 - EXITS.confidence) / len(levels)
    violations = max(level["violations"] for level in levels)
    assert file.exits["bound"] == upper_bound(violations, file.exits["texts"], confidence)


def test_floors_lie_below_the_thresholds(trained: tuple[Path, ModelFile, Dataset]) -> None:
    _, file, _ = trained
    floors, thresholds = file.tensors["exits.floor"], file.tensors["thresholds.review"]
    fits = (floors <= thresholds).all(axis=1)
    assert fits.any()
    # Each level lets go what the one before it may keep.
    assert (np.diff(floors[: len(EXITS.margins)], axis=0) <= 0).all()


def test_reference_agrees_on_fitted_rules(trained: tuple[Path, ModelFile, Dataset]) -> None:
    path, _, dataset = trained
    texts = dataset.texts_of(dataset.rows(CALIBRATION)[:25])
    level = len(EXITS.margins)
    found, _, _, depths = engine_of(path).adaptive_probabilities(texts, level)
    reference = load(path)
    for text, row, depth in zip(texts, found, depths, strict=True):
        expected, expected_depth = reference.adaptive_probabilities(text, level)
        assert depth == expected_depth
        assert row.tobytes() == expected.tobytes()


def test_lexicon_tells_words_and_pairs_apart(trained: tuple[Path, ModelFile, Dataset]) -> None:
    path, file, dataset = trained
    windows = read_windows(engine_of(path), dataset.texts_of(dataset.rows(TRAIN)[:600]))
    labels = dataset.labels[dataset.rows(TRAIN)[:600], 0]
    one_window = np.diff(windows.offsets) == 1
    ids = [windows.ids[begin] for begin in windows.offsets[:-1][one_window]]
    target = np.clip(labels[one_window], 0.02, 0.98).astype(np.float64)
    lexicon = Lexicon(file.architecture.vocabulary, 1024)
    lexicon.fit(ids, target, EXITS)
    sums = lexicon.sums(ids)
    assert sums[target > 0.5].mean() > sums[target < 0.5].mean() + 1
    again = Lexicon(file.architecture.vocabulary, 1024)
    again.fit(ids, target, EXITS)
    assert (again.weights == lexicon.weights).all()
    scale = {"exits.lexicon": lexicon.weights, "exits.lexicon.scale": np.array([lexicon.scale])}
    reference = ReferenceModel(replace(file, tensors={**file.tensors, **scale}), lambda text: text)
    assert [reference.lexical_sum(window.tolist()) for window in ids] == sums.tolist()


def test_too_few_rows_make_rules_that_let_nothing_leave(tmp_path: Path) -> None:
    file = trained_in(tmp_path, replace(EXITS, rate=0.001), [])
    assert file.exits is not None
    assert all(level["left_at_depth"][:-1] == [0, 0] for level in file.exits["levels"])
    assert _modelfile.read(tmp_path / "model.safetensors").exits == file.exits


def test_floors_above_the_thresholds_make_no_rules(tmp_path: Path) -> None:
    lines: list[str] = []
    file = trained_in(tmp_path, replace(EXITS, margins=(), floor_rate=0.001), lines)
    assert file.exits is None
    assert any("raise exits.floor_rate" in line for line in lines)
