"""Fine-tuning: the PyTorch encoder, its loss, its steps, and whole runs on a tiny encoder."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetyclf import _float_encoder, _modelfile
from safetyclf._float_encoder import FloatEncoder
from safetyclf._hf_source import read_folder, write_folder
from safetyclf._native import Engine
from tiny_model import TinyModel

pytest.importorskip("scipy")
pytest.importorskip("torch")

import torch
from safetyclf.train import train
from safetyclf.train.config import AugmentConfig, FinetuneConfig, Source
from safetyclf.train.data import TRAIN, read_dataset
from safetyclf.train.epochs import Epochs, loss_weights
from safetyclf.train.finetune import (
    Epoch,
    Finetuner,
    LossWeights,
    batches,
    logits_of,
    loss,
    padded_length,
    schedule,
    step_rows,
)
from safetyclf.train.torch_encoder import TorchEncoder
from safetyclf.train.weights import row_weights
from train_helpers import make_data, run_config

TUNING = FinetuneConfig(
    epochs=2, batch_tokens=256, batch_rows=16, max_tokens=32, learning_rate=1e-3, precision="fp32"
)


@pytest.fixture(scope="module")
def encoder() -> FloatEncoder:
    return _float_encoder.dequantized(TinyModel().build())


def made_epoch(number: int) -> Epoch:
    generator = np.random.default_rng(number)
    ids = [generator.integers(5, 60, generator.integers(3, 30)).astype(np.int64) for _ in range(90)]
    labels = np.stack([[int((row < 20).any()), -1] for row in ids]).astype(np.int8)
    labels[::3, 1] = (np.arange(30) % 2).astype(np.int8)
    return Epoch(ids, labels, np.arange(90) % 4 == 0)


def test_logits_equal_those_of_the_numpy_encoder(encoder: FloatEncoder) -> None:
    assert any((v != 1).any() for n, v in encoder.parameters.items() if n.endswith("inverse_smooth"))
    model = TorchEncoder(encoder, 3, 0.1)
    for head in model.heads:
        torch.nn.init.normal_(head.weight)
    ids = made_epoch(0).ids[:20]
    weight, bias = model.head_arrays()
    expected = np.einsum("ndh,dch->dnc", _float_encoder.pooled(encoder, ids), weight) + bias[:, None]
    assert np.abs(logits_of(model, ids, TUNING) - expected).max() < 2e-4


def test_a_folder_written_is_read_back_without_its_smoothing(encoder: FloatEncoder, tmp_path: Path) -> None:
    write_folder(encoder, tmp_path)
    read = read_folder(tmp_path, None)
    assert read.vocabulary == encoder.vocabulary
    assert read.lowercase == encoder.lowercase
    assert read.architecture == encoder.architecture
    assert not read.smoothed
    ids = made_epoch(0).ids[:5]
    difference = _float_encoder.pooled(encoder, ids) - _float_encoder.pooled(read, ids)
    assert np.abs(difference).max() < 1e-4
    assert not np.shares_memory(read.parameters["words.weight"], encoder.parameters["words.weight"])


def test_unknown_labels_have_no_gradient_but_that_of_distillation() -> None:
    logits = torch.randn(3, 4, 2, requires_grad=True)
    labels = torch.tensor([[1.0, -1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, -1.0]])
    ones, smoothing = torch.ones(2), torch.full((4, 1), 0.01)
    loss(logits, labels, smoothing, ones, ones, replace(TUNING, distillation_weight=0.0)).backward()
    assert ((logits.grad != 0) == (labels != -1)).all()
    logits.grad = None
    loss(logits, labels, smoothing, ones, ones, TUNING).backward()
    assert (logits.grad[:2, :3] != 0).all()  # the earlier depths learn from the last one
    assert (logits.grad[:, 3] == 0).all()  # a row without any label only fills up a step
    assert ((logits.grad[2] != 0) == (labels != -1)).all()  # which itself learns from labels alone


def test_loss_of_positives_is_weighted_and_summed_over_depths() -> None:
    config = replace(TUNING, exit_weight=0.25, distillation_weight=0.0)
    logits = torch.zeros(3, 1, 2)
    category, positive = torch.tensor([1.0, 0.5]), torch.tensor([4.0, 9.0])
    value = loss(logits, torch.tensor([[1.0, 0.0]]), torch.zeros(1, 1), category, positive, config)
    assert float(value) == pytest.approx(np.log(2) * (4 + 0.5) * (1 + 2 * 0.25), rel=1e-6)


def test_smoothing_is_a_rows_own() -> None:
    """Smoothed by s the loss is lowest at a probability of s; else the lower the better."""
    logits = torch.zeros(1, 2, 1, requires_grad=True)
    with torch.no_grad():
        logits[:] = float(np.log(0.01 / 0.99))
    loss(
        logits, torch.zeros(2, 1), torch.tensor([[0.01], [0.0]]), torch.ones(1), torch.ones(1), TUNING
    ).backward()
    assert logits.grad[0, 0] == pytest.approx(0, abs=1e-6)
    assert logits.grad[0, 1] == pytest.approx(0.01, rel=1e-4)


def test_batches_hold_each_row_once_in_few_shapes() -> None:
    ids = made_epoch(1).ids
    plan = batches(ids, TUNING, np.random.default_rng(0))
    assert sorted(row for rows in plan for row in rows) == list(range(len(ids)))
    for rows in plan:
        lengths = {padded_length(len(ids[row])) for row in rows}
        assert len(lengths) == 1
        assert len(rows) <= step_rows(lengths.pop(), TUNING)
    assert plan != batches(ids, TUNING, np.random.default_rng(1))
    assert [padded_length(n) for n in (1, 8, 9, 64, 65, 129, 256)] == [8, 8, 16, 64, 80, 160, 256]
    assert step_rows(512, TUNING) == 1


def test_learning_rate_rises_then_falls() -> None:
    values = [schedule(i / 100, 0.1) for i in range(101)]
    assert values[:11] == pytest.approx([i / 10 for i in range(11)])
    assert all(a > b for a, b in pairwise(values[10:]))
    assert values[100] == pytest.approx(0, abs=1e-12)


def test_training_learns_and_an_interrupted_run_ends_at_the_same_bits(
    encoder: FloatEncoder, tmp_path: Path
) -> None:
    lines: list[str] = []

    def tuner(config: FinetuneConfig = TUNING, key: str = "a") -> Finetuner:
        weights = LossWeights(np.ones(2, np.float32), np.array([2, 1], np.float32))
        return Finetuner(encoder, config, made_epoch, weights, key)

    whole = tuner().run(tmp_path / "whole.pt", lines.append).state_dict()

    class Stopped(Exception):
        pass

    broken = tuner()
    taken = iter(range(12))

    def step(*args: object, original: object = broken._train_step) -> float:
        if next(taken, None) is None:
            raise Stopped
        return original(*args)  # type: ignore[operator]

    broken._train_step = step  # type: ignore[method-assign,assignment]
    with pytest.raises(Stopped):
        broken.run(tmp_path / "part.pt", lines.append, save_seconds=0)
    assert broken.epoch * 100 + broken.step > 0
    resumed = tuner().run(tmp_path / "part.pt", lines.append).state_dict()
    assert any("goes on from epoch" in line for line in lines)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())

    # A checkpoint of another run is left alone.
    other = tuner(key="b")
    other._load(tmp_path / "whole.pt", lines.append)
    assert other.epoch == 0


def test_rows_are_drawn_by_the_weights_of_their_sources(encoder: FloatEncoder, tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    config = run_config()
    sources = {name: replace(entry, weight=2.5) for name, entry in config.sources.items()}
    sources["some"] = Source(kind="domain", licence="MIT", weight=2.5)
    tuning = replace(TUNING, contrast_texts=40, identity_sentences=7, everyday_prompts=5, degenerate_texts=3)
    config = replace(
        config,
        sources=sources,
        finetune=tuning,
        weights=replace(config.weights, full_rows=10**6, guide=1.0),
        augment=AugmentConfig(concatenate=0, truncate=0, perturb=0, identity_swap=0),
    )
    dataset = read_dataset(tmp_path / "data", config)
    TinyModel().write(tmp_path / "tokens.safetensors")
    engine = Engine(str(tmp_path / "tokens.safetensors"), threads=1, max_text_bytes=1 << 20, isa="")
    epochs = Epochs(dataset, config, engine, lambda _: None)
    expected = row_weights(dataset, config)[dataset.rows(TRAIN)].sum()
    first = epochs(0)
    harmless = 7 + 5 + 3
    assert len(first.ids) - harmless - 40 == pytest.approx(expected, rel=0.05)
    assert (first.labels[-harmless:] == 0).all()
    drawn, made = first.certain[: -harmless - 40], first.certain[-harmless - 40 :]
    domain = dataset.rows(TRAIN)[dataset.source[dataset.rows(TRAIN)] == dataset.sources.index("some")]
    assert abs(drawn.sum() - row_weights(dataset, config)[domain].sum()) < 1
    assert made.tolist() == [False] * 40 + [True] * harmless
    harassment = first.labels[-harmless - 40 : -harmless, 0]
    assert {0, 1} <= set(harassment.tolist())
    assert max(len(ids) for ids in first.ids) <= tuning.max_tokens
    again = epochs(0)
    assert all(np.array_equal(a, b) for a, b in zip(first.ids, again.ids, strict=True))
    assert not np.array_equal(np.concatenate(first.ids), np.concatenate(epochs(1).ids))
    weights = loss_weights(dataset, config)
    assert (weights.positive >= 1).all()
    assert weights.positive[1] > weights.positive[0]  # threats are rarer
    assert (weights.category == 1).all()


def test_run_from_start_to_file_is_reproducible(encoder: FloatEncoder, tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    write_folder(encoder, tmp_path / "source")
    config = replace(run_config(), finetune=TUNING)
    lines: list[str] = []

    def run(name: str) -> _modelfile.ModelFile:
        return train(
            config,
            data=tmp_path / "data",
            encoder=tmp_path / "source",
            output=tmp_path / f"{name}.safetensors",
            cache=tmp_path / name,
            threads=1,
            report=lines.append,
        )

    file = run("first")
    assert run("second").id == file.id
    assert file.stage == "complete"
    assert file.provenance["recipe"]["epochs"] == 2
    assert file.architecture.layers + 1 == len(file.evaluation["mean_average_precision_by_depth"])
    figures = file.evaluation["all"]["harassment"]
    assert figures["average_precision"] > 0.9
    tuned = read_folder(tmp_path / "first/float", None)
    assert tuned.vocabulary == encoder.vocabulary
