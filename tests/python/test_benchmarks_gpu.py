"""benchmarks/gpu.py and gpu_feed.py, all of it on the CPU: what they batch, time, check and print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_model import TinyModel, random_exits

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import gpu
import gpu_feed
from _gpu_rivals import LONGEST_BATCH, Tokens
from safetyclf import _modelfile


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    file = TinyModel(window_tokens=254).build()
    _modelfile.write(path, file.with_exits(random_exits(file), {}))
    return path


def tokens(lengths: list[int]) -> Tokens:
    ends = np.cumsum(lengths)
    return Tokens(np.arange(1, ends[-1] + 1), ends - lengths, np.array(lengths))


def test_batches_hold_each_text_once_within_the_budget() -> None:
    rng = np.random.default_rng(3)
    some = tokens(rng.integers(3, 400, 3000).tolist())
    batches = list(some.batches(2000))
    assert sorted(np.concatenate(batches)) == list(range(3000))
    for batch, after in zip(batches, [*batches[1:], None], strict=True):
        longest = some.lengths[batch].max()
        assert longest * len(batch) <= 2000
        if after is not None:  # and none is smaller than it need be
            assert some.lengths[after[0]] * (len(batch) + 1) > 2000
            assert some.lengths[after].min() >= longest


def test_batches_of_short_texts_have_a_largest_number() -> None:
    assert [len(batch) for batch in tokens([3] * 2500).batches(10**6)] == [LONGEST_BATCH] * 2 + [452]


def test_a_text_beyond_the_budget_is_a_batch_of_its_own() -> None:
    assert [batch.tolist() for batch in tokens([500, 5]).batches(100)] == [[1], [0]]


def test_padding() -> None:
    ids, real = tokens([2, 3, 1]).padded(np.array([2, 1]))
    assert ids.tolist() == [[6, 0, 0], [3, 4, 5]]
    assert real.tolist() == [[True, False, False], [True, True, True]]
    assert tokens([2, 3]).padded(np.array([0]), 4)[0].tolist() == [[1, 2, 0, 0]]


def test_figures_of_a_cell() -> None:
    timing = gpu.Timing(lambda _: None, [0], rounds=[[0.1, 0.3], [0.1, 0.1], [0.4, 0.4]])
    assert timing.figures(1, 50) == {
        "texts_per_s": 5.0,
        "range": [2.5, 10.0],
        "tokens_per_s": 250,
        "seconds": [0.2, 0.1, 0.4],
        "calls": 6,
        "p50_us": 100000.0,
        "p99_us": 400000.0,
    }
    assert "p50_us" not in timing.figures(16, 50)


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="no GPU"):
        gpu.main([])


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the runtimes warn of much."""
    command = [sys.executable, str(gpu.__file__), "--smoke", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=os.environ)


@pytest.mark.slow
def test_smoke(model: Path, tmp_path: Path) -> None:
    for package in ("torch", "onnxruntime", "onnx", "tokenizers"):
        pytest.importorskip(package)
    results = tmp_path / "results.json"
    done = run("--model", model, "--results", results)
    assert done.returncode == 0, done.stderr
    found = json.loads(results.read_text())["gpu"]["smoke"]
    there = {"safetyclf", "safetyclf-adaptive", "torch", "torch-packed", "onnxruntime-cuda"}
    assert found["contestants"].keys() == there
    # int8 against fp32 with the same weights; another encoder would be far off.
    assert all(
        0 < found["contestants"][name]["mean_difference"] < 0.01 for name in there if name not in gpu.OURS
    )
    assert found["left_out"].keys() == {"torch-compile", "torch-graphs", "onnxruntime-tensorrt"}
    cells = found["speed"]["cells"]
    assert cells.keys() == {"short, 2", "short, 1"}
    assert all(cell.keys() == there for cell in cells.values())
    assert cells["short, 1"]["torch"]["from tokens"]["p99_us"] > 0
    assert found["bits"]["texts"] == 8
    assert all(not any(found["bits"][effort].values()) for effort in ("full", "adaptive"))
    assert done.stdout.count("\n| short | ") == 2 * len(there)


@pytest.mark.slow
def test_what_there_is_no_time_for_is_said(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    results = tmp_path / "results.json"
    parts = ("--only", "speed", "--contestants", "safetyclf", "--limit", "0")
    done = run("--model", model, "--results", results, *parts)
    assert done.returncode == 0, done.stderr
    found = json.loads(results.read_text())["gpu"]["smoke"]["speed"]
    assert found == {"cells": {}, "not_run": ["short, 2", "short, 1"]}


def test_feeding_without_kernels(tiny_path: Path) -> None:
    if not gpu_feed.DRIVER.is_dir():
        pytest.skip("built without the emulated driver")
    command = [sys.executable, gpu_feed.__file__, "--count", "50", "--rounds", "1"]
    environment = {**os.environ, "SAFETYCLF_MODEL": str(tiny_path)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert result.returncode == 0, result.stderr
    assert "1 threads: " in result.stdout
    assert "M tokens per CPU second" in result.stdout
