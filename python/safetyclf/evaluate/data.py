"""Labelled text for an evaluation: JSON lines, gzipped or not."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .._errors import DataFileError
from .._jsonl import read_objects, sha256_of
from .._texts import problem_of
from .figures import UNKNOWN

MODERATION_CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
ATTRIBUTES: Final = (
    "toxicity",
    "insult",
    "profanity",
    "identity_attack",
    "threat",
    "severe_toxicity",
    "sexually_explicit",
)
MAX_TEXT_BYTES: Final = 1 << 20
EXPECTED_FLAG: Final = "expected_flag"
_SPLITS: Final = ("train", "valid", "test")


@dataclass(frozen=True)
class DataFile:
    """One input: the rows taken from it, and the hash of its bytes."""

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class EvaluationSet:
    """Labelled texts.

    Attributes:
        texts: n texts.
        categories: names of the label columns: every category that a row labels, the model's order first.
        labels: int8 [n, categories]: 1, 0 or -1 for unknown.
        sources: [n] names.
        expected_flag: int8 [n], whether the text should be flagged at all: 1, 0 or -1 for not stated.
        slices: per row the string values of `meta`.
        files: where they come from.
    """

    texts: tuple[str, ...]
    categories: tuple[str, ...]
    labels: npt.NDArray[np.int8]
    sources: npt.NDArray[np.str_]
    expected_flag: npt.NDArray[np.int8]
    slices: tuple[Mapping[str, str], ...]
    files: tuple[DataFile, ...]

    def column(self, category: str) -> npt.NDArray[np.int8]:
        """Labels of one category [n]; all unknown where no row has one."""
        if category not in self.categories:
            return np.full(len(self.texts), UNKNOWN, np.int8)
        return self.labels[:, self.categories.index(category)]

    def columns(self, categories: Sequence[str]) -> npt.NDArray[np.int8]:
        """Labels of these categories [n, len(categories)]."""
        return np.stack([self.column(name) for name in categories], axis=1)

    def any_label(self) -> npt.NDArray[np.int8]:
        """[n]: 1 if any label is 1; 0 if at least one is known and all known ones are 0; else unknown."""
        known, positive = (self.labels != UNKNOWN).any(axis=1), (self.labels == 1).any(axis=1)
        return np.where(positive, 1, np.where(known, 0, UNKNOWN)).astype(np.int8)

    def benign(self) -> npt.NDArray[np.bool_]:
        """[n]: all 13 moderation categories are labelled and no label is 1, or `meta.expected_flag` is 0."""
        complete = (self.columns(MODERATION_CATEGORIES) != UNKNOWN).all(axis=1)
        benign: npt.NDArray[np.bool_] = (complete & (self.any_label() == 0)) | (self.expected_flag == 0)
        return benign

    def source_names(self) -> list[str]:
        """Distinct sources, sorted."""
        return sorted(set(self.sources.tolist()))


def read_files(
    paths: Sequence[str | os.PathLike[str]], categories: Sequence[str], split: str | None = None
) -> EvaluationSet:
    """Reads files.

    Args:
        paths: JSONL files; the suffix .gz means gzip.
        categories: names that the model knows, beside which the 13 moderation categories and the 7
            attributes may be labelled.
        split: take rows of this split alone.

    Raises:
        DataFileError: a file cannot be read, holds no row, or a line is wrong; the message names file
            and line.
    """
    ordered = list(dict.fromkeys([*categories, *MODERATION_CATEGORIES, *ATTRIBUTES]))
    known = set(ordered)
    rows: list[_Row] = []
    files = []
    for path in map(Path, paths):
        before = len(rows)
        found = (_parse(value, place, known) for place, value in read_objects(path))
        rows += [row for row in found if split in (None, row.split)]
        if len(rows) == before:
            raise DataFileError(f"{path}: no row" + (f" of split {split!r}" if split else ""))
        files.append(DataFile(str(path), len(rows) - before, sha256_of(path)))
    labelled = {name for row in rows for name in row.labels}
    columns = tuple(name for name in ordered if name in labelled)
    labels = [[row.labels.get(name, UNKNOWN) for name in columns] for row in rows]
    return EvaluationSet(
        texts=tuple(row.text for row in rows),
        categories=columns,
        labels=np.array(labels, np.int8).reshape(len(rows), len(columns)),
        sources=np.array([row.source for row in rows], np.str_),
        expected_flag=np.array([row.expected_flag for row in rows], np.int8),
        slices=tuple(row.slices for row in rows),
        files=tuple(files),
    )


@dataclass(frozen=True)
class _Row:
    text: str
    labels: Mapping[str, int]
    source: str
    split: str | None
    expected_flag: int
    slices: Mapping[str, str]


def _parse(value: Any, place: str, categories: Collection[str]) -> _Row:
    def require(condition: bool, message: str) -> None:
        if not condition:
            raise DataFileError(f"{place}: {message}")

    def binary(value: object, name: str) -> int:
        require(type(value) is int and value in (0, 1), f"{name} must be 0 or 1, not {value!r}")
        return int(value)  # type: ignore[call-overload, no-any-return]

    text, labels, meta = value.get("text"), value.get("labels", {}), value.get("meta", {})
    source, split = value.get("source", "unnamed"), value.get("split")
    require(isinstance(text, str), "needs a string 'text'")
    problem = problem_of(text, "'text'", MAX_TEXT_BYTES)
    require(problem is None, str(problem))
    require(isinstance(source, str) and bool(source), "'source' must be a string that is not empty")
    require(split is None or split in _SPLITS, f"'split' must be train, valid or test, not {split!r}")
    require(isinstance(labels, dict), "'labels' must be an object of category: 0, 1 or null")
    require(isinstance(meta, dict), "'meta' must be an object")
    for category, label in labels.items():
        require(category in categories, f"unknown category {category!r}")
        if label is not None:
            binary(label, f"label of {category!r}")
    expected = binary(meta[EXPECTED_FLAG], f"'meta.{EXPECTED_FLAG}'") if EXPECTED_FLAG in meta else UNKNOWN
    known = {category: label for category, label in labels.items() if label is not None}
    require(bool(known) or expected != UNKNOWN, f"has neither 'labels' nor 'meta.{EXPECTED_FLAG}'")
    slices = {key: name for key, name in meta.items() if isinstance(name, str)}
    return _Row(text, known, source, split, expected, slices)
