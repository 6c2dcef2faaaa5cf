"""What a suite is, once it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from .._categories import ATTRIBUTES, MODERATION_CATEGORIES
from .._errors import InvalidArgumentError
from ..policy.problems import nearest

KNOWN: Final = MODERATION_CATEGORIES + ATTRIBUTES
EXPECTED_FLAG: Final = "expected_flag"
UNKNOWN: Final = -1


@dataclass(frozen=True)
class DataFile:
    """One file: the rows taken from it, and the hash of its bytes."""

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Suite:
    """Labelled texts, n of them.

    Attributes:
        name: of the header.
        version: of the header.
        licence: of the data.
        ids: n names of rows, all different.
        texts: n texts.
        categories: names of the c label columns: every category that a row labels.
        labels: int8 [n, c]: 1, 0 or -1 for unknown.
        sources: [n] names of where rows come from.
        expected_flag: int8 [n], whether the text should be flagged at all: 1, 0 or -1 for not stated.
        slices: per row the values by which figures are split, under their keys.
        sha256: of the bytes of all files, the header included, and of what was taken from them.
        files: the files with rows.
    """

    name: str
    version: str
    licence: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    categories: tuple[str, ...]
    labels: npt.NDArray[np.int8]
    sources: npt.NDArray[np.str_]
    expected_flag: npt.NDArray[np.int8]
    slices: tuple[Mapping[str, str], ...]
    sha256: str
    files: tuple[DataFile, ...]

    @property
    def full_id(self) -> str:
        """`name-version+hash`."""
        return f"{self.name}-{self.version}+{self.sha256[:12]}"

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
        """[n]: all 13 moderation categories are labelled and no label is 1, or `expected_flag` is 0."""
        complete = (self.columns(MODERATION_CATEGORIES) != UNKNOWN).all(axis=1)
        benign: npt.NDArray[np.bool_] = (complete & (self.any_label() == 0)) | (self.expected_flag == 0)
        return benign

    def source_names(self) -> list[str]:
        """Distinct sources, sorted."""
        return sorted(set(self.sources.tolist()))

    def restricted(self, wanted: Mapping[str, str]) -> Suite:
        """The rows that have all these values under their slice keys.

        Raises:
            InvalidArgumentError: no row has the key, or its value, or all of them at once.
        """
        for key, value in wanted.items():
            keys = sorted({name for row in self.slices for name in row})
            if key not in keys:
                raise InvalidArgumentError(f"suite {self.name}: no slice {key!r}; {nearest(key, keys)}")
            values = sorted({row[key] for row in self.slices if key in row})
            if value not in values:
                raise InvalidArgumentError(
                    f"suite {self.name}: the slice {key}={value} is empty; {nearest(value, values)}"
                )
        rows = [i for i, row in enumerate(self.slices) if wanted.items() <= row.items()]
        if not rows:
            named = ", ".join(f"{key}={value}" for key, value in wanted.items())
            raise InvalidArgumentError(
                f"suite {self.name}: no row is in all of {named}; take one of them out"
            )
        digest = digest_of([self.sha256, *(f"slice {key}={value}" for key, value in sorted(wanted.items()))])
        return replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            texts=tuple(self.texts[i] for i in rows),
            labels=self.labels[rows],
            sources=self.sources[rows],
            expected_flag=self.expected_flag[rows],
            slices=tuple(self.slices[i] for i in rows),
            sha256=digest,
        )


def digest_of(parts: Sequence[str]) -> str:
    """SHA-256 of lines of text, in hexadecimal."""
    return hashlib.sha256("".join(f"{part}\n" for part in parts).encode("utf-8")).hexdigest()


def combined(suites: Sequence[Suite]) -> Suite:
    """Several suites as one, their rows one after the other; ids then begin with the name of their suite.

    Raises:
        InvalidArgumentError: there is none, or two have the same name.
    """
    if not suites:
        raise InvalidArgumentError("name at least one suite")
    if len(suites) == 1:
        return suites[0]
    names = [suite.name for suite in suites]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgumentError(f"two suites are called {name!r}; rename one of them in its header")
    categories = tuple(dict.fromkeys(name for suite in suites for name in suite.categories))
    width = len(categories)
    return Suite(
        name="+".join(names),
        version="+".join(suite.version for suite in suites),
        licence="; ".join(dict.fromkeys(suite.licence for suite in suites)),
        ids=tuple(f"{suite.name}/{row}" for suite in suites for row in suite.ids),
        texts=tuple(text for suite in suites for text in suite.texts),
        categories=categories,
        labels=np.concatenate([suite.columns(categories) if width else suite.labels for suite in suites]),
        sources=np.concatenate([suite.sources for suite in suites]),
        expected_flag=np.concatenate([suite.expected_flag for suite in suites]),
        slices=tuple(row for suite in suites for row in suite.slices),
        sha256=digest_of([suite.sha256 for suite in suites]),
        files=tuple(file for suite in suites for file in suite.files),
    )
