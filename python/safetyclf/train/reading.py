"""Lines of JSONL files as rows: every line is checked, and a wrong one is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._errors import DataFileError
from .._jsonl import read_objects
from .config import TrainingConfig

UNKNOWN = -1
OFFICIAL = {"train": 0, "valid": 1, "test": 2}


@dataclass
class Row:
    """One line of a file; labels in the order of the scored categories, 1, 0 or UNKNOWN."""

    text: str
    labels: list[int]
    source: str
    official: int  # of OFFICIAL, -1 for none
    group: int


def families(categories: tuple[str, ...]) -> list[tuple[str, str]]:
    """(child, parent): a child's 1 implies its parent's, a parent's 0 its children's."""
    parents = [(name, name.rpartition("/")[0]) for name in categories]
    return [(child, parent) for child, parent in parents if parent in categories]


def read_file(path: Path, group: int, config: TrainingConfig) -> Iterator[Row]:
    """The rows of the file that belongs to the `group`-th entry of `data.files`.

    Raises:
        DataFileError: the file cannot be read, or a line is wrong; the message names file and line.
    """
    parse = _Parser(config)
    for place, value in read_objects(path):
        yield parse(value, group, place)


class _Parser:
    def __init__(self, config: TrainingConfig) -> None:
        self.categories = config.categories
        self.scored = config.scored
        self.families = families(config.categories)

    def __call__(self, value: Any, group: int, place: str) -> Row:
        def require(condition: bool, message: str) -> None:
            if not condition:
                raise DataFileError(f"{place}: {message}")

        text, labels = value.get("text"), value.get("labels")
        source, split = value.get("source", "unnamed"), value.get("split")
        require(isinstance(text, str) and text.strip() != "", "needs a 'text' that is not empty")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise DataFileError(f"{place}: 'text' holds a lone surrogate") from None
        require(isinstance(source, str), "'source' must be a string")
        require(split is None or split in OFFICIAL, f"'split' must be train, valid or test, not {split!r}")
        require(isinstance(labels, dict), "needs 'labels', an object of category: 0, 1 or null")
        for category, label in labels.items():
            require(category in self.categories, f"unknown category {category!r}")
            valid = label is None or (type(label) is int and label in (0, 1))
            require(valid, f"label of {category!r} must be 0 or 1, or null for unknown, not {label!r}")
        for child, parent in self.families:
            contradicted = labels.get(child) == 1 and labels.get(parent) == 0
            require(not contradicted, f"{child!r} is 1 but {parent!r} is 0")
        known = {category: label for category, label in labels.items() if label is not None}
        row = [known.get(category, UNKNOWN) for category in self.scored]
        return Row(text, row, source, -1 if split is None else OFFICIAL[split], group)
