"""Scores of the bundled model and files made from a seed must not change by a bit unless we mean it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetyclf
from tiny_model import TinyModel

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.mark.parametrize("isa", safetyclf.build_info()["supported_isas"])
def test_bundled_model_gives_the_golden_scores(isa: str) -> None:
    golden = json.loads((DATA / "golden.json").read_text(encoding="ascii"))
    classifier = safetyclf.Classifier(isa=isa)
    assert classifier.model_id == golden["model"], "another model is bundled: run scripts/make_golden.py"
    assert list(classifier.categories) == golden["categories"]
    bits = classifier.scores(golden["texts"]).view(np.uint32).tolist()
    assert [[f"{value:08x}" for value in row] for row in bits] == golden["scores"]


def test_tiny_model_file_is_what_its_generator_writes(tmp_path: Path) -> None:
    TinyModel().write(tmp_path / "tiny.safetensors")
    assert (tmp_path / "tiny.safetensors").read_bytes() == (DATA / "tiny.safetensors").read_bytes(), (
        "run python tests/python/tiny_model.py tests/data/tiny.safetensors"
    )
