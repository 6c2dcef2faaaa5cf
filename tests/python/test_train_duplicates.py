"""Near-duplicates, derived categories, and the manifest that records them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetyclf._errors import MissingDependencyError

pytest.importorskip("rensa")

from safetyclf.train.config import Derived, NearDuplicatesConfig, Source, TrainingConfig
from safetyclf.train.data import TEST, TRAIN, UNKNOWN, Dataset
from safetyclf.train.duplicates import Rows, bands, jaccard, near_duplicates, shingles
from safetyclf.train.manifest import write_manifest
from train_helpers import CONFIG, dataset_of, labels_of, row

NEAR = replace(
    CONFIG,
    data=replace(CONFIG.data, near_duplicates=NearDuplicatesConfig()),
    sources={
        "guide_*": Source(kind="guide", licence="MIT"),
        "written_*": Source(kind="written"),
        "domain": Source(kind="domain"),
        "weak": Source(kind="weak"),
        "pairs": Source(contrast=True),
    },
)
LONG = "we walked along the river in the morning and had a very long talk about the weather and the garden"
NEARLY = f"so {LONG}"


def near_of(tmp_path: Path, rows: list[dict[str, Any]], config: TrainingConfig = NEAR) -> Dataset:
    return dataset_of(tmp_path, rows, [row("something else entirely", "train", harassment=0)], config=config)


def as_rows(texts: list[str], **changes: Any) -> Rows:
    n = len(texts)
    zeros = np.zeros(n, np.int64)
    values = {
        "texts": texts,
        "labels": np.zeros((n, 1), np.int8),
        "strictness": zeros,
        "rank": zeros,
        "contrast": np.zeros(n, bool),
    }
    return Rows(**(values | changes))


def random_texts(n: int) -> list[str]:
    """Sentences in families: copies of a few with some words changed."""
    rng = random.Random(11)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 8))) for _ in range(300)]
    families = [rng.choices(words, k=rng.randint(5, 40)) for _ in range(n // 10)]
    texts = []
    for i in range(n):
        text = list(families[i % len(families)])
        for _ in range(rng.randint(0, 4)):
            text[rng.randrange(len(text))] = rng.choice(words)
        texts.append(" ".join(text))
    return texts


def test_near_duplicates_equal_an_exhaustive_search() -> None:
    texts = random_texts(400)
    rng = np.random.default_rng(2)
    rows = as_rows(
        texts,
        labels=rng.integers(-1, 2, (400, 2)).astype(np.int8),
        strictness=rng.integers(0, 4, 400),
        rank=rng.integers(0, 5, 400),
        contrast=rng.random(400) < 0.5,
    )
    config = NearDuplicatesConfig()
    sets = [frozenset(shingles(text, 5)) for text in texts]
    order = sorted(range(400), key=lambda i: (-rows.strictness[i], rows.rank[i], i))
    expected = np.full(400, -1)
    for place, i in enumerate(order):
        for j in order[:place]:
            pair = rows.contrast[i] and rows.contrast[j] and rows.contradict(i, j)
            both_held_out = rows.strictness[i] == rows.strictness[j] > 0
            alike = jaccard(sets[i], sets[j]) >= config.threshold
            if expected[j] < 0 and alike and not pair and not both_held_out:
                expected[i] = j
                break
    found = near_duplicates(rows, config)
    assert (expected >= 0).sum() > 50
    # A pair at the threshold is overlooked with a chance of 1e-3 at most; with this seed none is.
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.75, 0.9, 1.0])
def test_bands_miss_few_pairs(threshold: float) -> None:
    config = NearDuplicatesConfig(threshold=threshold)
    count = bands(config)
    assert config.permutations % count == 0
    assert (1 - threshold ** (config.permutations / count)) ** count <= 1e-3


def test_shingles_ignore_form_but_not_emoji() -> None:
    assert shingles("One,  TWO!", 5) == shingles("one two", 5)
    assert shingles("one two \U0001f600", 5) != shingles("one two \U0001f52a", 5)
    assert list(shingles("abc", 5)) == ["abc"]
    assert list(shingles("?!", 5)) == ["?!"]


def test_the_stricter_split_keeps_its_text(tmp_path: Path) -> None:
    rows = [
        row(NEARLY, "train", "guide_a", harassment=1),
        row(f"{LONG} too", "valid", "guide_a"),
        row(LONG, "test", "weak", harassment=0),
    ]
    dataset = near_of(tmp_path, rows)
    assert list(dataset.texts) == [LONG, "something else entirely"]
    assert dataset.split.tolist() == [TEST, TRAIN]
    assert labels_of(dataset, LONG) == [0, 0]
    assert dataset.removed.near_held_out == {"guide_a": 2}
    assert dataset.removed.near_training == {}


def test_held_out_texts_of_one_split_all_stay(tmp_path: Path) -> None:
    dataset = near_of(tmp_path, [row(LONG, "test", harassment=0), row(NEARLY, "test", harassment=1)])
    assert len(dataset.texts) == 3


def test_in_training_the_best_kind_stays(tmp_path: Path) -> None:
    kinds = ["weak", "domain", "human", "written_a", "guide_a"]
    texts = [f"{LONG} {word}" for word in ("a", "b", "c", "d", "e")]
    for best in range(1, 6):
        rows = [row(t, "train", s, harassment=0) for t, s in zip(texts[:best], kinds, strict=False)]
        dataset = near_of(tmp_path, rows)
        assert list(dataset.texts) == [texts[best - 1], "something else entirely"]
        assert dataset.removed.near_training == dict.fromkeys(sorted(kinds[: best - 1]), 1)


def test_contradicted_labels_become_unknown_except_where_made_for_the_categories(tmp_path: Path) -> None:
    old = row(LONG, "train", "human", harassment=1, harassment_threatening=1)
    dataset = near_of(tmp_path, [old, row(NEARLY, "train", "weak", harassment=1, harassment_threatening=0)])
    assert labels_of(dataset, LONG) == [1, UNKNOWN]
    assert dataset.removed.near_conflicts == {"harassment/threatening": 1}
    dataset = near_of(tmp_path, [old, row(NEARLY, "train", "guide_a", harassment=0)])
    assert labels_of(dataset, NEARLY) == [0, 0]
    assert dataset.removed.near_conflicts == {}


@pytest.mark.parametrize(
    ("sources", "distinct"),
    [
        (("written_a", "guide_a"), 2),
        (("pairs", "pairs"), 2),
        (("pairs", "human"), 1),
        (("human", "human"), 1),
    ],
)
def test_minimal_pairs_stay_apart(tmp_path: Path, sources: tuple[str, str], distinct: int) -> None:
    first, second = sources
    for split in ("train", "test"):
        rows = [row(LONG, "train", first, harassment=0), row(NEARLY, split, second, harassment=1)]
        assert len(near_of(tmp_path, rows).texts) == distinct + 1
    rows[1]["labels"] = {"harassment": 0}
    assert len(near_of(tmp_path, rows).texts) == 2


def test_result_does_not_depend_on_the_process(tmp_path: Path) -> None:
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps(random_texts(300)))
    script = (
        "import json, sys, numpy as np\n"
        "from safetyclf.train.config import NearDuplicatesConfig\n"
        "from safetyclf.train.duplicates import Rows, near_duplicates\n"
        "texts = json.load(open(sys.argv[1]))\n"
        "zeros = np.zeros(len(texts), np.int64)\n"
        "rows = Rows(texts, zeros[:, None].astype(np.int8), zeros, zeros, zeros > 0)\n"
        "print(near_duplicates(rows, NearDuplicatesConfig()).tolist())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script, str(texts)],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(MissingDependencyError, match=r"rensa: pip install 'safetyclf\[train\]'"):
        near_duplicates(as_rows(["a", "b"]), NearDuplicatesConfig())
    assert near_duplicates(as_rows(["a", "b"]), NearDuplicatesConfig(threshold=0)).tolist() == [-1, -1]


# Derived categories -----------------------------------------------------------------------------------------

DERIVING = replace(
    NEAR,
    categories=("harassment", "hate", "toxicity"),
    uncovered={},
    derived={"toxicity": Derived(any=("harassment", "hate"), definition="either")},
)


@pytest.mark.parametrize(
    ("labels", "toxicity"),
    [
        ({"harassment": 1}, 1),
        ({"harassment": 0, "hate": 1}, 1),
        ({"harassment": 0, "hate": 0}, 0),
        ({"harassment": 0}, UNKNOWN),
        ({}, UNKNOWN),
        ({"harassment": 1, "toxicity": 0}, 0),
        ({"harassment": 0, "toxicity": 1}, 1),
    ],
)
def test_derived_labels(tmp_path: Path, labels: dict[str, int], toxicity: int) -> None:
    dataset = near_of(tmp_path, [row(LONG, "train", **labels)], DERIVING)
    assert labels_of(dataset, LONG)[2] == toxicity


def test_labels_are_derived_from_what_duplicates_leave(tmp_path: Path) -> None:
    for text in (LONG.upper(), NEARLY):
        rows = [row(LONG, "train", harassment=1, hate=0), row(text, "train", harassment=0, hate=0)]
        assert labels_of(near_of(tmp_path, rows, DERIVING), LONG) == [UNKNOWN, 0, UNKNOWN]
    rows = [row(LONG, "train", toxicity=1, hate=0, harassment=0), row(LONG.upper(), "train", toxicity=0)]
    assert labels_of(near_of(tmp_path, rows, DERIVING), LONG) == [0, 0, UNKNOWN]


# Manifest ---------------------------------------------------------------------------------------------------


def test_manifest_adds_up(tmp_path: Path) -> None:
    rows = [
        row(LONG, "train", "human", harassment=1),
        row(LONG.upper(), "train", "human", harassment=0),
        row(NEARLY, "train", "guide_a", harassment=0),
        row(f"{LONG} too", "test", "domain", harassment=0),
        row("another text", "train", "guide_a", harassment=1),
    ]
    dataset = near_of(tmp_path, rows)
    path = tmp_path / "manifest.json"
    write_manifest(dataset, NEAR, path)
    first = path.read_bytes()
    found = json.loads(first)
    write_manifest(near_of(tmp_path, rows), NEAR, path)
    assert path.read_bytes() == first

    assert LONG.encode() not in first
    assert found["data_sha256"] == dataset.sha256
    for file in found["files"]:
        assert file["sha256"] == hashlib.sha256((tmp_path / file["path"]).read_bytes()).hexdigest()
    assert [(file["path"], file["rows"]) for file in found["files"]] == [
        ("old/rows.jsonl", 5),
        ("new/rows.jsonl.gz", 1),
    ]
    removed = found["removed"]
    assert removed == {
        "duplicates": {"human": 1},
        "near_held_out": {"guide_a": 1, "human": 1},
        "near_training": {},
        "conflicts": {"harassment": 1},
        "near_conflicts": {},
        "sampled_out": 0,
    }
    gone = sum(sum(removed[key].values()) for key in ("duplicates", "near_held_out", "near_training"))
    assert found["rows_read"] == sum(found["rows"].values()) + gone
    guide = found["sources"]["guide_a"]
    assert (guide["kind"], guide["licence"], guide["rows"]["train"]) == ("guide", "MIT", 1)
    assert guide["labels"]["harassment"] == {"positives": 1, "negatives": 0, "unknown": 0}
    assert guide["labels"]["harassment/threatening"] == {"positives": 0, "negatives": 0, "unknown": 1}
