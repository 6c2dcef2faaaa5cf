"""Labelled text: JSONL files -> one row per distinct text, with splits that share no near-duplicates."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .._errors import DataFileError
from .._jsonl import sha256_of
from .config import TrainingConfig
from .duplicates import Rows, duplicate_key, near_duplicates, split_key
from .reading import OFFICIAL, Row, families, read_file
from .reading import UNKNOWN as UNKNOWN  # everyone who reads labels needs it

TRAIN, SELECTION, CALIBRATION, TEST = range(4)
SPLIT_NAMES = ("train", "selection", "calibration", "test")
_CONTRADICTED = -2  # copies of a text disagree: unknown at the end, whatever further copies say
# Of similar rows the one whose split is stricter stays; calibration makes promises, selection only choices.
_STRICTNESS = np.array([0, 1, 2, 3])  # by split
_RANKS = ("guide", "written", "human", "domain", "weak")  # then the one whose labels are the better
_MADE_FOR_THE_CATEGORIES = ("guide", "written")


@dataclass(frozen=True)
class FileRecord:
    """A file that was read: its path below the data folder, hash of its bytes, and rows."""

    path: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class Removed:
    """What became of rows that are not in the data set.

    Attributes:
        duplicates: rows by source whose text another row has but for its form.
        near_held_out: rows by source left out for a near-duplicate in a stricter split.
        near_training: training rows by source left out for a near-duplicate among training rows.
        conflicts: cells by category that are unknown because duplicates contradict each other.
        near_conflicts: the same for near-duplicates.
        sampled_out: training rows left out because only a sample was asked for.
    """

    duplicates: Mapping[str, int] = field(default_factory=dict)
    near_held_out: Mapping[str, int] = field(default_factory=dict)
    near_training: Mapping[str, int] = field(default_factory=dict)
    conflicts: Mapping[str, int] = field(default_factory=dict)
    near_conflicts: Mapping[str, int] = field(default_factory=dict)
    sampled_out: int = 0


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
        files: what was read, in this order.
        removed: what was left out.
    """

    texts: Sequence[str]
    labels: npt.NDArray[np.int8]
    source: npt.NDArray[np.int32]
    sources: tuple[str, ...]
    split: npt.NDArray[np.uint8]
    rows_read: int
    sha256: str
    files: tuple[FileRecord, ...] = ()
    removed: Removed = field(default_factory=Removed)

    def rows(self, split: int) -> npt.NDArray[np.int64]:
        """Indices of the rows of a split, ascending."""
        return np.flatnonzero(self.split == split)

    def texts_of(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The texts of these rows."""
        return [self.texts[i] for i in rows.tolist()]


def read_dataset(
    root: Path,
    config: TrainingConfig,
    sample: float = 1.0,
    report: Callable[[str], None] = lambda _: None,
) -> Dataset:
    """Reads the files of the configuration below `root`.

    Texts that are equal but for case, spaces and punctuation are one row. Its labels are those of the last
    of `data.files` that has the text; copies there that disagree on a category make it unknown. Its split is
    the strictest one that a copy asks for (test before valid before train), else a hash of the text decides.
    Then near-duplicates go, across splits and within training, and derived categories are filled in.

    Args:
        root: the data folder.
        config: the run's configuration.
        sample: share of the training rows to keep; the other splits stay whole.
        report: gets lines of progress.

    Raises:
        DataFileError: a glob finds no file, or a line is wrong; the message names file and line.
        MissingDependencyError: near-duplicates are to be found, and the package rensa is not installed.
    """
    joined, files, duplicates = _read(root, config)
    rows = list(joined.values())
    labels = np.array([row.labels for row in rows], np.int8).reshape(len(rows), len(config.scored))
    splits = np.array([_split_of(key, row.official, config) for key, row in joined.items()], np.uint8)
    _apply_families(labels, config.scored)
    conflicts = _count_conflicts(labels, config)
    report(f"data: {sum(duplicates.values())} duplicates {dict(duplicates)}")

    instead = _near_duplicates(rows, labels, splits, config)
    across = (instead >= 0) & (splits[instead] != splits)
    within = (instead >= 0) & ~across
    _mark_contradicted(labels, rows, np.flatnonzero(within), instead, config)
    near_conflicts = _count_conflicts(labels, config) - conflicts
    fill_derived(labels, config)
    labels[labels == _CONTRADICTED] = UNKNOWN

    wanted = np.array([_fraction("sample", split_key(key)) < sample for key in joined], bool)
    sampled_out = (instead < 0) & (splits == TRAIN) & ~wanted
    kept = np.flatnonzero((instead < 0) & ~sampled_out)
    removed = Removed(
        duplicates=_sorted(duplicates),
        near_held_out=_sorted(Counter(rows[i].source for i in np.flatnonzero(across).tolist())),
        near_training=_sorted(Counter(rows[i].source for i in np.flatnonzero(within).tolist())),
        conflicts=_sorted(conflicts),
        near_conflicts=_sorted(near_conflicts),
        sampled_out=int(sampled_out.sum()),
    )
    report(
        f"data: near-duplicates of held-out texts {removed.near_held_out}, "
        f"within training {removed.near_training}; "
        f"contradicted labels {removed.conflicts} and {removed.near_conflicts}"
    )

    sources = tuple(sorted({rows[i].source for i in kept.tolist()}))
    index = {name: i for i, name in enumerate(sources)}
    source = np.array([index[rows[i].source] for i in kept.tolist()], np.int32)
    labels, splits = labels[kept], splits[kept]
    texts = [rows[i].text for i in kept.tolist()]
    digest = hashlib.sha256(json.dumps([config.scored, sources]).encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8")).digest())
    for array in (labels, source, splits):
        digest.update(array.tobytes())
    rows_read = sum(file.rows for file in files)
    return Dataset(texts, labels, source, sources, splits, rows_read, digest.hexdigest(), files, removed)


def _read(root: Path, config: TrainingConfig) -> tuple[dict[str, Row], tuple[FileRecord, ...], Counter[str]]:
    """Distinct texts by `duplicate_key`, the files, and the rows by source that were copies."""
    joined: dict[str, Row] = {}
    files: list[FileRecord] = []
    duplicates: Counter[str] = Counter()
    for group, pattern in enumerate(config.data.files):
        paths = sorted(root.glob(pattern))
        if not paths:
            raise DataFileError(f"{root}: no file matches '{pattern}'")
        for path in paths:
            count = 0
            for row in read_file(path, group, config):
                count += 1
                key = duplicate_key(row.text)
                known = joined.get(key)
                if known is not None:
                    duplicates[known.source if row.group > known.group else row.source] += 1
                joined[key] = row if known is None else _join(known, row)
            files.append(FileRecord(path.relative_to(root).as_posix(), sha256_of(path), count))
    return joined, tuple(files), duplicates


def _near_duplicates(
    rows: Sequence[Row], labels: npt.NDArray[np.int8], splits: npt.NDArray[np.uint8], config: TrainingConfig
) -> npt.NDArray[np.int64]:
    entries = {name: config.source(name) for name in {row.source for row in rows}}
    rank = {name: _RANKS.index(entry.kind) for name, entry in entries.items()}
    contrast = {n: e.contrast or e.kind in _MADE_FOR_THE_CATEGORIES for n, e in entries.items()}
    found = Rows(
        texts=[row.text for row in rows],
        labels=labels,
        strictness=_STRICTNESS[splits],
        rank=np.array([rank[row.source] for row in rows], np.int64),
        contrast=np.array([contrast[row.source] for row in rows], bool),
    )
    return near_duplicates(found, config.data.near_duplicates)


def _mark_contradicted(
    labels: npt.NDArray[np.int8],
    rows: Sequence[Row],
    left_out: npt.NDArray[np.int64],
    instead: npt.NDArray[np.int64],
    config: TrainingConfig,
) -> None:
    """Marks labels that a near-duplicate denies, unless they were made for these very categories."""
    unsure = [
        i
        for i in left_out.tolist()
        if config.source(rows[instead[i]].source).kind not in _MADE_FOR_THE_CATEGORIES
    ]
    stay = instead[unsure]
    denied = (labels[unsure] >= 0) & (labels[stay] >= 0) & (labels[unsure] != labels[stay])
    for row, cells in zip(stay.tolist(), denied, strict=True):
        labels[row, cells] = _CONTRADICTED


def fill_derived(labels: npt.NDArray[np.int8], config: TrainingConfig) -> None:
    """Fills in derived categories of labels int8 [n, categories], in place, where rows do not give them."""
    for name, derived in config.derived.items():
        own = labels[:, config.scored.index(name)]
        of = labels[:, [config.scored.index(base) for base in derived.any]]
        unknown = own == UNKNOWN
        own[unknown & (of == 0).all(axis=1)] = 0
        own[unknown & (of == 1).any(axis=1)] = 1


def _count_conflicts(labels: npt.NDArray[np.int8], config: TrainingConfig) -> Counter[str]:
    return Counter(dict(zip(config.scored, (labels == _CONTRADICTED).sum(axis=0).tolist(), strict=True)))


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count > 0}


def _fraction(purpose: str, key: str) -> float:
    """A number in [0, 1) that depends on the text and the purpose alone, so that it survives new data."""
    digest = hashlib.sha256(f"{purpose}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def _split_of(key: str, official: int, config: TrainingConfig) -> int:
    data = config.data
    if official < 0:
        place = _fraction("split", split_key(key))
        official = 2 if place < data.test_share else 1 if place < data.test_share + data.valid_share else 0
    if official == OFFICIAL["valid"]:
        return CALIBRATION if _fraction("calibration", split_key(key)) < data.calibration_share else SELECTION
    return TEST if official == OFFICIAL["test"] else TRAIN


def _join(old: Row, new: Row) -> Row:
    official = max(old.official, new.official)
    if new.group > old.group:
        return Row(new.text, new.labels, new.source, official, new.group)
    labels = [
        a if b in (a, UNKNOWN) else b if a == UNKNOWN else _CONTRADICTED
        for a, b in zip(old.labels, new.labels, strict=True)
    ]
    return Row(old.text, labels, old.source, official, old.group)


def _apply_families(labels: npt.NDArray[np.int8], scored: tuple[str, ...]) -> None:
    """Fills in what children and parents imply; where copies of a text contradict each other: unknown."""
    for child_name, parent_name in families(scored):
        child, parent = labels[:, scored.index(child_name)], labels[:, scored.index(parent_name)]
        contradicted = (child == 1) & (parent == 0)
        child[contradicted] = parent[contradicted] = _CONTRADICTED
        parent[(child == 1) & (parent == UNKNOWN)] = 1
        child[(parent == 0) & (child == UNKNOWN)] = 0
