"""Rows of labelled text: what is read, joined, split and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetyclf._errors import DataFileError

pytest.importorskip("scipy")

from safetyclf.train.data import CALIBRATION, SELECTION, TEST, TRAIN, UNKNOWN, read_dataset
from safetyclf.train.duplicates import duplicate_key
from train_helpers import CONFIG, dataset_of, labels_of, row, write_rows


def test_copies_are_one_row_with_the_strictest_split(tmp_path: Path) -> None:
    dataset = dataset_of(
        tmp_path,
        [row("One, two!", "train", harassment=0), row("one two", "test", harassment=0), row("ONE-TWO")],
    )
    assert dataset.rows_read == 4
    assert list(dataset.texts) == ["One, two!", "filler"]
    assert dataset.split[0] == TEST


def test_later_files_override_labels_and_source(tmp_path: Path) -> None:
    old = [row("a text", "valid", harassment=0), row("b", "train", harassment=1)]
    new = [row("A text.", "train", "better", harassment=1, harassment_threatening=0)]
    dataset = dataset_of(tmp_path, old, new)
    index = dataset.texts.index("A text.")
    assert dataset.labels[index].tolist() == [1, 0]
    assert dataset.sources[dataset.source[index]] == "better"
    assert dataset.split[index] in (SELECTION, CALIBRATION)  # the older copy's official split still counts


def test_copies_that_disagree_are_unknown_whatever_follows(tmp_path: Path) -> None:
    dataset = dataset_of(
        tmp_path, [row("x y", harassment=1), row("x, y", harassment=0), row("X Y", harassment=1)]
    )
    assert labels_of(dataset, "x y") == [UNKNOWN, UNKNOWN]
    dataset = dataset_of(tmp_path, [row("x", harassment=0), row("X", harassment_threatening=1)])
    assert labels_of(dataset, "x") == [UNKNOWN, UNKNOWN]


def test_copies_complete_each_other(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [row("x", harassment=1), row("X", harassment_threatening=0)])
    assert labels_of(dataset, "x") == [1, 0]


def test_parent_and_child_imply_each_other(tmp_path: Path) -> None:
    dataset = dataset_of(
        tmp_path, [row("x", harassment_threatening=1), row("y", harassment=0), row("z", harassment=1)]
    )
    assert [labels_of(dataset, text) for text in "xyz"] == [[1, 1], [0, 0], [1, UNKNOWN]]


def test_texts_without_letters_are_distinct() -> None:
    assert duplicate_key("?!") != duplicate_key("!!")
    assert duplicate_key("Caf\u00e9 1") == duplicate_key("CAF\u00c9-1")


def test_texts_that_differ_in_emoji_are_distinct_but_share_a_split(tmp_path: Path) -> None:
    pairs = [(f"number {i} \U0001f600", f"Number {i}! \U0001f52a\ufe0f") for i in range(40)]
    rows = [row(a, harassment=0) for a, _ in pairs] + [row(b, harassment=1) for _, b in pairs]
    dataset = dataset_of(tmp_path, rows)
    assert len(dataset.texts) == 81
    assert dataset.removed.conflicts == {}
    split = dict(zip(dataset.texts, dataset.split.tolist(), strict=True))
    assert len({split[a] for a, _ in pairs}) > 1
    assert all(split[a] == split[b] for a, b in pairs)


def test_null_is_unknown(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [row("x", harassment=None, harassment_threatening=0)])
    assert labels_of(dataset, "x") == [UNKNOWN, 0]


def test_hash_split_follows_the_shares_and_stays_when_data_grow(tmp_path: Path) -> None:
    rows = [row(f"text number {i}", harassment=0) for i in range(4000)]
    dataset = dataset_of(tmp_path / "all", rows)
    counts = np.bincount(dataset.split, minlength=4) / 4001
    # Standard deviation of a share of 4,000 is at most 0.0064: five of them.
    assert counts == pytest.approx([0.8, 0.05, 0.05, 0.1], abs=0.032)
    part = dataset_of(tmp_path / "part", rows[1000:2000])
    split = dict(zip(dataset.texts, dataset.split, strict=True))
    assert all(split[text] == part.split[i] for i, text in enumerate(part.texts))


def test_sample_thins_training_rows_only(tmp_path: Path) -> None:
    rows = [row(f"text number {i}", harassment=0) for i in range(2000)]
    whole, part = dataset_of(tmp_path, rows), dataset_of(tmp_path, rows, sample=0.25)
    for split in (SELECTION, CALIBRATION, TEST):
        assert len(part.rows(split)) == len(whole.rows(split))
    assert 0.2 < len(part.rows(TRAIN)) / len(whole.rows(TRAIN)) < 0.3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ('{"labels": {}}', "needs a 'text'"),
        ('{"text": " ", "labels": {}}', "needs a 'text'"),
        ('{"text": "x"}', "needs 'labels'"),
        ('{"text": "x", "labels": {"spam": 1}}', "unknown category 'spam'"),
        ('{"text": "x", "labels": {"harassment": 2}}', "must be 0 or 1, or null for unknown, not 2"),
        ('{"text": "x", "labels": {"harassment": true}}', "must be 0 or 1, or null for unknown, not True"),
        ('{"text": "x", "labels": {"harassment": 1.0}}', "must be 0 or 1, or null for unknown, not 1.0"),
        ('{"text": "x", "labels": {"harassment": "yes"}}', "must be 0 or 1, or null for unknown, not 'yes'"),
        ('{"text": 3, "labels": {}}', "needs a 'text'"),
        ('{"text": "x", "labels": {}, "source": 3}', "'source' must be a string"),
        ('{"text": "x", "labels": {}, "split": "dev"}', "must be train, valid or test"),
        ('{"text": "\\ud800", "labels": {}}', "lone surrogate"),
        (
            '{"text": "x", "labels": {"harassment": 0, "harassment/threatening": 1}}',
            "is 1 but 'harassment' is 0",
        ),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    write_rows(tmp_path / "new/rows.jsonl.gz", [row("filler", harassment=0)])
    path = tmp_path / "old/rows.jsonl"
    write_rows(path, [row("fine", harassment=0)])
    path.write_text(path.read_text() + "\n" + line + "\n")
    with pytest.raises(DataFileError, match=r"rows\.jsonl:3: ") as caught:
        read_dataset(tmp_path, CONFIG)
    assert message in str(caught.value)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no file matches 'old/"):
        read_dataset(tmp_path, CONFIG)
    dataset_of(tmp_path, [row("x")])
    path = tmp_path / "new/rows.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataFileError, match="cannot read"):
        read_dataset(tmp_path, CONFIG)
