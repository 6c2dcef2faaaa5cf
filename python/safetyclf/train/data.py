"""Labelled text: JSONL files -> one row per distinct text, with a split that near-duplicates cannot cross."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from .._errors import DataFileError
from .config import TrainingConfig

TRAIN, SELECTION, CALIBRATION, TEST = range(4)
SPLIT_NAMES = ("train", "selection", "calibration", "test")
UNKNOWN = -1
_CONTRADICTED = -2  # copies of a text disagree: unknown at the end, whatever further copies say
_OFFICIAL = {"train": 0, "valid": 1, "test": 2}
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Dataset:
    """Distinct texts.

    Attributes:
        texts: n texts.
        labels: int8 [n, categories], columns as the configuration's scored categories: 1, 0 or UNKNOWN.
        source: int32 [n], index into `sources`.
        sources: names of the sources, sorted.
        split: uint8 [n]: TRAIN, SELECTION, CALIBRATION or TEST.
        rows_read: rows of the files, before duplicates were joined.
        sha256: of all of the above.
    """

    texts: Sequence[str]
    labels: npt.NDArray[np.int8]
    source: npt.NDArray[np.int32]
    sources: tuple[str, ...]
    split: npt.NDArray[np.uint8]
    rows_read: int
    sha256: str

    def rows(self, split: int) -> npt.NDArray[np.int64]:
        """Indices of the rows of a split, ascending."""
        return np.flatnonzero(self.split == split)

    def texts_of(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The texts of these rows."""
        return [self.texts[i] for i in rows.tolist()]


@dataclass
class _Row:
    text: str
    labels: list[int]
    source: str
    official: int  # of _OFFICIAL, -1 for none
    group: int


def read_dataset(root: Path, config: TrainingConfig, sample: float = 1.0) -> Dataset:
    """Reads the files of the configuration below `root`.

    Texts that are equal but for case, spaces and punctuation are one row. Its labels are those of the last
    of `data.files` that has the text; copies there that disagree on a category make it unknown. Its split is
    the strictest one that a copy asks for (test before valid before train), else a hash of the text decides.

    Args:
        root: the data folder.
        config: the run's configuration.
        sample: share of the training rows to keep; the other splits stay whole.

    Raises:
        DataFileError: a glob finds no file, or a line is wrong; the message names file and line.
    """
    joined: dict[str, _Row] = {}
    rows_read = 0
    for group, pattern in enumerate(config.data.files):
        paths = sorted(root.glob(pattern))
        if not paths:
            raise DataFileError(f"{root}: no file matches '{pattern}'")
        for path in paths:
            for row in _read_file(path, group, config):
                rows_read += 1
                key = duplicate_key(row.text)
                known = joined.get(key)
                joined[key] = row if known is None else _join(known, row)

    kept: list[_Row] = []
    splits: list[int] = []
    for key, row in joined.items():
        split = _split_of(key, row.official, config)
        if split != TRAIN or _fraction("sample", key) < sample:
            kept.append(row)
            splits.append(split)
    sources = tuple(sorted({row.source for row in kept}))
    index = {name: i for i, name in enumerate(sources)}
    labels = np.array([row.labels for row in kept], np.int8).reshape(len(kept), len(config.scored))
    _apply_families(labels, config.scored)
    labels[labels == _CONTRADICTED] = UNKNOWN
    source = np.array([index[row.source] for row in kept], np.int32)
    split_array = np.array(splits, np.uint8)
    digest = hashlib.sha256(json.dumps([config.scored, sources]).encode())
    for row in kept:
        digest.update(hashlib.sha256(row.text.encode("utf-8")).digest())
    for array in (labels, source, split_array):
        digest.update(array.tobytes())
    texts = [row.text for row in kept]
    return Dataset(texts, labels, source, sources, split_array, rows_read, digest.hexdigest())


def duplicate_key(text: str) -> str:
    """Equal for near-duplicates: lower-case letters and digits; a text without any stands for itself."""
    return _NOT_ALPHANUMERIC.sub("", text.casefold()) or text.strip()


def _fraction(purpose: str, key: str) -> float:
    """A number in [0, 1) that depends on the text and the purpose alone, so that it survives new data."""
    digest = hashlib.sha256(f"{purpose}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def _split_of(key: str, official: int, config: TrainingConfig) -> int:
    data = config.data
    if official < 0:
        place = _fraction("split", key)
        official = 2 if place < data.test_share else 1 if place < data.test_share + data.valid_share else 0
    if official == _OFFICIAL["valid"]:
        return CALIBRATION if _fraction("calibration", key) < data.calibration_share else SELECTION
    return TEST if official == _OFFICIAL["test"] else TRAIN


def _join(old: _Row, new: _Row) -> _Row:
    official = max(old.official, new.official)
    if new.group > old.group:
        return _Row(new.text, new.labels, new.source, official, new.group)
    labels = [
        a if b in (a, UNKNOWN) else b if a == UNKNOWN else _CONTRADICTED
        for a, b in zip(old.labels, new.labels, strict=True)
    ]
    return _Row(old.text, labels, old.source, official, old.group)


def _families(categories: tuple[str, ...]) -> list[tuple[str, str]]:
    """(child, parent): a child's 1 implies its parent's, a parent's 0 its children's."""
    parents = [(name, name.rpartition("/")[0]) for name in categories]
    return [(child, parent) for child, parent in parents if parent in categories]


def _apply_families(labels: npt.NDArray[np.int8], scored: tuple[str, ...]) -> None:
    """Fills in what children and parents imply; where copies of a text contradict each other: unknown."""
    for child_name, parent_name in _families(scored):
        child, parent = labels[:, scored.index(child_name)], labels[:, scored.index(parent_name)]
        contradicted = (child == 1) & (parent == 0)
        child[contradicted] = parent[contradicted] = _CONTRADICTED
        parent[(child == 1) & (parent == UNKNOWN)] = 1
        child[(parent == 0) & (child == UNKNOWN)] = 0


def _read_file(path: Path, group: int, config: TrainingConfig) -> Iterator[_Row]:
    parse = _Parser(config)
    number = 0
    try:
        with _open(path) as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield parse(line, group, f"{path}:{number}")
    except (OSError, EOFError, zlib.error) as error:
        raise DataFileError(f"{path}: after line {number}: cannot read: {error}") from error


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


class _Parser:
    def __init__(self, config: TrainingConfig) -> None:
        self.categories = config.categories
        self.scored = config.scored
        self.families = _families(config.categories)

    def __call__(self, line: bytes, group: int, place: str) -> _Row:
        def require(condition: bool, message: str) -> None:
            if not condition:
                raise DataFileError(f"{place}: {message}")

        try:
            value = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise DataFileError(f"{place}: not a JSON object in UTF-8: {error}") from None
        require(isinstance(value, dict), "not a JSON object")
        text, labels = value.get("text"), value.get("labels")
        source, split = value.get("source", "unnamed"), value.get("split")
        require(isinstance(text, str) and text.strip() != "", "needs a 'text' that is not empty")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise DataFileError(f"{place}: 'text' holds a lone surrogate") from None
        require(isinstance(source, str), "'source' must be a string")
        require(split is None or split in _OFFICIAL, f"'split' must be train, valid or test, not {split!r}")
        require(isinstance(labels, dict), "needs 'labels', an object of category: 0 or 1")
        for category, label in labels.items():
            require(category in self.categories, f"unknown category {category!r}")
            require(
                type(label) is int and label in (0, 1), f"label of {category!r} must be 0 or 1, not {label!r}"
            )
        for child, parent in self.families:
            contradicted = labels.get(child) == 1 and labels.get(parent) == 0
            require(not contradicted, f"{child!r} is 1 but {parent!r} is 0")
        row = [labels.get(category, UNKNOWN) for category in self.scored]
        return _Row(text, row, source, -1 if split is None else _OFFICIAL[split], group)
