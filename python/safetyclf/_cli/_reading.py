"""Texts of files in batches, for commands that count over all of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from .._errors import DataFileError, MissingDependencyError
from .._texts import problem_of
from ._common import complain
from ._inputs import Record, format_of, open_source
from ._progress import Progress

_BATCH: Final = 512  # texts
_BATCH_CHARACTERS: Final = 1 << 22


class Placed(NamedTuple):
    """A text and where it stands, `file:line`."""

    place: str
    text: str


class Reading:
    """All texts of some files. What cannot be read is reported, counted in `failed`, and left out."""

    def __init__(self, files: Sequence[str], arguments: argparse.Namespace) -> None:
        self._files = files
        self._arguments = arguments
        shown = sys.stderr is not None and sys.stderr.isatty()
        self._progress = Progress(None, shown=shown)
        self.failed = 0

    def batches(self) -> Iterator[list[Placed]]:
        """The texts in order; no batch is empty."""
        batch: list[Placed] = []
        characters = 0
        for placed in self._texts():
            batch.append(placed)
            characters += len(placed.text)
            if len(batch) == _BATCH or characters >= _BATCH_CHARACTERS:
                yield batch
                self._progress.add(len(batch), 0)
                batch, characters = [], 0
        if batch:
            yield batch
        self._progress.clear()

    def _texts(self) -> Iterator[Placed]:
        longest = self._arguments.max_text_bytes
        for name in self._files:
            form = self._arguments.input_format
            with self._reported(name):
                form = format_of(name) if form == "auto" else form
                source = open_source(name, form, self._arguments.field, longest)
                for record in source.records:
                    place = f"{source.name}:{record.line}"
                    problem = _problem(record, longest)
                    if problem is None:
                        yield Placed(place, record.text)
                    else:
                        self._fail(f"{place}: {problem}")

    @contextmanager
    def _reported(self, name: str) -> Iterator[None]:
        try:
            yield
        except (DataFileError, MissingDependencyError) as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"{name}: cannot read: {error.strerror or error}")

    def _fail(self, message: str) -> None:
        self.failed += 1
        self._progress.clear()
        complain(message)


def _problem(record: Record, longest: int) -> str | None:
    if record.error is not None:
        return record.error
    problem = problem_of(record.text, "the text", longest)
    return None if problem is None else str(problem)
