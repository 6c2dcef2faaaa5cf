"""Leaving early: the engine against the reference, batches and threads, promises, refusals, the fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetyclf
from safetyclf import Classifier, InvalidArgumentError, ModelFormatError, _modelfile
from safetyclf._native import Engine
from safetyclf.reference import load
from tiny_model import TinyModel, random_exits

SENTENCES = [
    "hello friend", "", "the dog and the cat", "A kind day, is it not?", "we hate the red house",
    "stop it now!", "the weather is nice today and " * 12, "sorry", "they think the game is bad",
    "x" * 101, "\u65e5\u672c book", "nice " * 28, "a b c d e f g", "please help me come home",
    "love " * 60, "go see the river",
]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exits") / "exits.safetensors"
    file = TinyModel(layers=3).build()
    _modelfile.write(path, file.with_exits(random_exits(file), {"bound": 0.002}))
    return path


def engine(path: Path, threads: int = 1, isa: str = "") -> Engine:
    return Engine(str(path), threads=threads, max_text_bytes=1 << 20, isa=isa)


@pytest.mark.parametrize("isa", safetyclf.build_info()["supported_isas"])
@pytest.mark.parametrize("level", [0, 1])
def test_engine_equals_the_reference(path: Path, isa: str, level: int) -> None:
    probabilities, _, _, depths = engine(path, isa=isa).adaptive_probabilities(SENTENCES, level)
    assert set(depths.tolist()) == {0, 1, 2, 3}  # or else some way is not tested
    reference = load(path)
    for text, row, depth in zip(SENTENCES, probabilities, depths, strict=True):
        expected, expected_depth = reference.adaptive_probabilities(text, level)
        assert depth == expected_depth, text
        assert row.tobytes() == expected.tobytes(), text


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_do_not_depend_on_batch_mates_or_threads(path: Path, threads: int) -> None:
    texts = [*SENTENCES * 9, *SENTENCES[::-1]]
    together = engine(path, threads).adaptive_probabilities(texts, 0)
    single = engine(path)
    alone = {text: single.adaptive_probabilities([text], 0) for text in SENTENCES}
    for i, text in enumerate(texts):
        assert together[0][i].tobytes() == alone[text][0][0].tobytes()
        assert together[1][i] == alone[text][1][0]
        assert together[3][i] == alone[text][3][0]


@pytest.mark.parametrize(("level", "floor"), [(0, 0.25), (1, 0.125)])
def test_last_depth_has_the_bits_of_full_effort(path: Path, level: int, floor: float) -> None:
    probabilities, windows, _, depths = engine(path).adaptive_probabilities(SENTENCES, level)
    full, full_windows, _ = engine(path).probabilities(SENTENCES)
    last = (depths == 3) & (windows == 1)
    assert last.any()
    assert probabilities[last].tobytes() == full[last].tobytes()
    assert (windows == full_windows).all()
    # What left early is below the floors.
    assert (probabilities[depths < 3] < floor).all()


@pytest.mark.parametrize(("threshold", "depth"), [(1e6, 0), (-1e6, 3)])
def test_thresholds_at_the_ends(tmp_path: Path, threshold: float, depth: int) -> None:
    file = TinyModel(layers=3).build()
    path = tmp_path / "file.safetensors"
    _modelfile.write(path, file.with_exits(random_exits(file, threshold), {}))
    found, _, _, depths = engine(path).adaptive_probabilities(SENTENCES, 0)
    assert (depths == depth).all()
    if depth == 3:
        assert found.tobytes() == engine(path).probabilities(SENTENCES)[0].tobytes()


def test_no_texts(path: Path) -> None:
    found, windows, repaired, depths = engine(path).adaptive_probabilities([], 0)
    assert found.shape == (0, 3)
    assert windows.shape == depths.shape == (0,)
    assert repaired == []


def test_classifier(path: Path) -> None:
    fast, full = Classifier(path, effort="adaptive", policy={}), Classifier(path)
    scores, depths = fast.scores(SENTENCES, depths=True)
    assert depths.dtype == np.uint16
    assert scores.tobytes() == fast.scores(SENTENCES).tobytes()
    assert (full.scores(SENTENCES, depths=True)[1] == 3).all()
    for text, row, verdict in zip(SENTENCES, scores, fast.classify_batch(SENTENCES), strict=True):
        assert list(verdict.scores.values()) == [float(p) for p in row]
        assert verdict.scores == fast.classify(text).scores
    assert fast.info()["effort"] == "adaptive"
    assert fast.info()["exits"] == {"bound": 0.002, "level": 0}
    assert full.info()["exits"] == {"bound": 0.002, "level": None}


def test_policies_below_the_floors_are_refused(path: Path) -> None:
    Classifier(path, effort="adaptive", policy={"violence": 0.125})
    with pytest.raises(InvalidArgumentError, match=r"'violence'.* below its floor 0\.125.*full"):
        Classifier(path, effort="adaptive", policy={"violence": (0.12, 0.9)})
    Classifier(path, effort="full", policy={"violence": 0.12})


@pytest.mark.parametrize(("threshold", "level"), [(0.25, 0), (0.24, 1), (None, 0)])
def test_the_first_level_below_the_thresholds_is_used(
    path: Path, threshold: float | None, level: int
) -> None:
    fast = Classifier(path, effort="adaptive", policy={"violence": threshold})  # type: ignore[dict-item]
    found, depths = fast.scores(SENTENCES, depths=True)
    expected, _, _, expected_depths = engine(path).adaptive_probabilities(SENTENCES, level)
    assert found.tobytes() == expected.tobytes()
    assert depths.tolist() == expected_depths.tolist()
    other = engine(path).adaptive_probabilities(SENTENCES, 1 - level)
    assert depths.tolist() != other[3].tolist()  # or else nothing is tested


def test_levels_that_are_not_there(path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="level must be below 2"):
        engine(path).adaptive_probabilities(["dog"], 2)


def test_pickle_keeps_the_effort(path: Path) -> None:
    import pickle

    copy = pickle.loads(pickle.dumps(Classifier(path, effort="adaptive")))
    assert copy.info()["effort"] == "adaptive"


def test_files_without_rules(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    TinyModel().write(path)
    assert engine(path).exit_floors == []
    with pytest.raises(InvalidArgumentError, match="no rules for leaving early"):
        engine(path).adaptive_probabilities(["dog"], 0)
    with pytest.raises(InvalidArgumentError, match="no rules for leaving early"):
        Classifier(path, effort="adaptive")
    with pytest.raises(InvalidArgumentError, match="effort='fast'"):
        Classifier(path, effort="fast")  # type: ignore[arg-type]


def rewritten(changes: Mapping[str, npt.NDArray[Any] | None]) -> bytes:
    """The file with tensors replaced or, for None, left out; hashes fit, and nothing is checked."""
    file = TinyModel(layers=3).build()
    file = file.with_exits(random_exits(file), {})
    tensors = dict(file.tensors)
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[f"exits.{name}"]
        else:
            tensors[f"exits.{name}"] = tensor
    from dataclasses import replace

    changed = replace(file, tensors=tensors)
    return _modelfile.assemble(tensors, _modelfile._metadata(changed))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": None}, 'tensor "exits.bias" is missing'),
        ({"threshold": np.zeros(3, np.float32)}, "must be F32 [1x3]"),
        ({"threshold": np.zeros((2, 2), np.float32)}, "must be F32 [2x3]"),
        ({"threshold": np.zeros((0, 3), np.float32)}, "must be F32 [1x3]"),
        ({"floor": np.full((1, 3), 0.5, np.float32)}, "must be F32 [2x3]"),
        ({"lexicon": np.zeros(10, np.int8)}, "a power of two of pairs"),
        ({"lexicon.scale": np.zeros(1, np.float32)}, "not positive"),
        ({"bias": np.full(3, np.nan, np.float32)}, "not finite"),
        ({"slope": np.full((3, 3), -1, np.float32)}, "outside [0, 1e6]"),
        ({"floor": np.zeros((2, 3), np.float32)}, "outside (0, 2]"),
        ({"more": np.zeros(3, np.float32)}, "unexpected"),
    ],
)
def test_broken_rules_are_refused(
    tmp_path: Path, changes: Mapping[str, npt.NDArray[Any] | None], message: str
) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(rewritten(changes))
    with pytest.raises(ModelFormatError) as error:
        engine(path)
    assert message in str(error.value)


def test_metadata_of_rules_must_be_there(tmp_path: Path) -> None:
    file = TinyModel(layers=3).build()
    file = file.with_exits(random_exits(file), {})
    metadata = _modelfile._metadata(file)
    del metadata["exits"]
    metadata["metadata_sha256"] = _modelfile._metadata_sha256(metadata)
    path = tmp_path / "broken.safetensors"
    path.write_bytes(_modelfile.assemble(file.tensors, metadata))
    with pytest.raises(ModelFormatError, match="exits"):
        engine(path)
