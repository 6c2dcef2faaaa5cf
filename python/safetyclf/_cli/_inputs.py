"""Messages out of files: text, JSON lines, CSV, Parquet.

A message that cannot be read becomes a record that says why; the next ones are read all the same.
"""

from __future__ import annotations

import csv
import json
import os
import select
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple

from .._errors import DataFileError, MissingDependencyError

Format = Literal["text", "jsonl", "csv", "parquet"]

_FORMATS: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}
_BOM: Final = b"\xef\xbb\xbf"
_PARQUET_ROWS: Final = 512


class Record(NamedTuple):
    """One message: its text, or the error that stands in its place."""

    line: int  # from 1; in CSV the line where the row begins, in Parquet the row
    text: str
    error: str | None = None


class Source(NamedTuple):
    """One input."""

    name: str  # for people and JSON: of a file name that is not UTF-8 the bad bytes are replaced
    records: Iterator[Record]
    ready: Callable[[], bool]  # whether the next record can be had without waiting for the input
    done: Callable[[], int]  # bytes read so far


def format_of(name: str) -> Format:
    """The format that a file's name suggests."""
    return _FORMATS.get(os.path.splitext(name)[1].lower(), "text")


def open_source(name: str, form: Format, field: str, max_text_bytes: int) -> Source:
    """Opens a file; "-" is standard input.

    Raises:
        OSError: the file cannot be opened. Later reads may raise it, too.
        DataFileError: the file is not of the format, or lacks the field. Records may raise it, too.
        MissingDependencyError: Parquet without pyarrow.
    """
    if form == "parquet":
        return _parquet(name, field)
    # Room for escapes (six bytes for one character at worst) and for other fields beside the text.
    longest = max_text_bytes + len(_BOM) + 2 if form == "text" else 8 * max_text_bytes + (16 << 20)
    lines = LineReader(os.dup(0) if name == "-" else os.open(name, os.O_RDONLY | os.O_CLOEXEC), longest)
    if form == "text":
        records = _text_records(lines)
    elif form == "jsonl":
        records = _jsonl_records(lines, field)
    else:
        records = _csv_records(name, lines, field, longest)
    return Source(_shown(name), records, lines.ready, lines.done)


def _shown(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")


class LineReader:
    """Lines of a file descriptor without their line feeds; of a line above `longest` bytes only its size.

    Owns the descriptor. `ready` tells whether a line can be had at once: what allows to answer a slow
    producer line by line.
    """

    _CHUNK = 1 << 16

    def __init__(self, descriptor: int, longest: int) -> None:
        self._descriptor = descriptor
        self._longest = longest
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer known to hold no line feed
        self._dropped = 0  # bytes of a too long line that are no longer in the buffer
        self._read = 0
        self._ended = False

    def ready(self) -> bool:
        """Whether the next line, or the end of the file, is there without waiting."""
        while not self._ended and not self._has_line():
            if not self._poll.poll(0):
                return False
            try:
                self._fill()
            except OSError:
                return True  # whoever takes the next line meets it again, and reports it
        return True

    def done(self) -> int:
        """Bytes read so far."""
        return self._read

    def __iter__(self) -> Iterator[bytes | int]:
        """The lines; in the place of one that is too long its size in bytes."""
        try:
            while True:
                while not self._ended and not self._has_line():
                    self._fill()
                end = self._buffer.find(b"\n", self._searched)
                if end < 0:
                    if self._buffer or self._dropped:
                        yield self._take(len(self._buffer))
                    return
                line = self._take(end)
                del self._buffer[:1]
                yield line
        finally:
            os.close(self._descriptor)

    def _has_line(self) -> bool:
        found = self._buffer.find(b"\n", self._searched)
        self._searched = len(self._buffer) if found < 0 else found
        return found >= 0

    def _fill(self) -> None:
        self._poll.poll()  # a descriptor may have been made non-blocking by another process
        data = os.read(self._descriptor, self._CHUNK)
        self._ended = not data
        self._read += len(data)
        if len(self._buffer) > self._longest:
            self._dropped += len(self._buffer)
            self._buffer.clear()
            self._searched = 0
        self._buffer += data

    def _take(self, end: int) -> bytes | int:
        size = self._dropped + end
        line = bytes(self._buffer[:end]) if size <= self._longest else size
        del self._buffer[:end]
        self._searched = self._dropped = 0
        return line


class _UnreadableError(Exception):
    """What is wrong with one record."""


def _record(line: int, read: Callable[..., str], *arguments: Any) -> Record:
    try:
        return Record(line, read(*arguments))
    except _UnreadableError as error:
        return Record(line, "", str(error))


def _decode(line: bytes | int) -> str:
    if isinstance(line, int):
        raise _UnreadableError(f"the line is too long: {line} bytes (see --max-text-bytes)")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _UnreadableError(f"invalid UTF-8 at byte {error.start + 1} of the line") from None


def _numbered(lines: LineReader) -> Iterator[tuple[int, bytes | int]]:
    """Lines from 1, without byte order mark and carriage return."""
    for number, line in enumerate(lines, 1):
        if isinstance(line, bytes):
            if number == 1:
                line = line.removeprefix(_BOM)
            line = line.removesuffix(b"\r")
        yield number, line


def _text_records(lines: LineReader) -> Iterator[Record]:
    for number, line in _numbered(lines):
        yield _record(number, _decode, line)


def _jsonl_records(lines: LineReader, field: str) -> Iterator[Record]:
    for number, line in _numbered(lines):
        if isinstance(line, bytes) and not line.strip():
            continue
        yield _record(number, _text_of_json, line, field)


def _text_of_json(line: bytes | int, field: str) -> str:
    text = _decode(line)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _UnreadableError(f"invalid JSON: {error}") from None
    if isinstance(value, dict):
        if field not in value:
            raise _UnreadableError(f"no key {field!r}")
        value = value[field]
    if not isinstance(value, str):
        raise _UnreadableError(f"{field!r} must be a string, not {type(value).__name__}")
    return value


def _csv_records(name: str, lines: LineReader, field: str, longest: int) -> Iterator[Record]:
    too_long: list[int] = []  # physical lines

    def decoded() -> Iterator[str]:
        for number, line in enumerate(lines, 1):
            if isinstance(line, int):
                too_long.append(number)
                line = b""
            elif number == 1:
                line = line.removeprefix(_BOM)
            # Bytes that are not UTF-8 become lone surrogates: the row is then known to be bad, and no other
            # suffers.
            yield line.decode("utf-8", "surrogateescape") + "\n"

    csv.field_size_limit(longest)
    rows = csv.reader(decoded(), strict=True)
    try:
        header = next(rows, None)
    except csv.Error as error:
        raise DataFileError(f"{name}:1: not a CSV header: {error}") from None
    if header is None:
        return
    if field not in header:
        raise DataFileError(f"{name}:1: no column {field!r}; columns are: {', '.join(map(repr, header))}")
    column = header.index(field)
    while True:
        first = rows.line_num + 1
        try:
            row = next(rows)
            if too_long:
                raise _UnreadableError("the line is too long")
            if row:
                yield Record(first, _cell(row, column))
        except StopIteration:
            return
        except (csv.Error, _UnreadableError) as error:
            too_long.clear()
            yield Record(first, "", f"invalid CSV: {error}" if isinstance(error, csv.Error) else str(error))


def _cell(row: list[str], column: int) -> str:
    if column >= len(row):
        raise _UnreadableError(f"the row has {len(row)} columns only")
    try:
        row[column].encode("utf-8")
    except UnicodeEncodeError:
        raise _UnreadableError("invalid UTF-8") from None
    return row[column]


def _parquet(name: str, field: str) -> Source:
    if name == "-":
        raise DataFileError("-: Parquet cannot be read from standard input")
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingDependencyError(
            "reading Parquet needs the package pyarrow: pip install 'safetyclf[parquet]'"
        ) from None
    size = os.stat(name).st_size
    try:
        file = parquet.ParquetFile(name)
    except pyarrow.ArrowException as error:
        raise DataFileError(f"{name}: not a readable Parquet file: {error}") from None
    columns = file.schema_arrow.names
    if field not in columns:
        raise DataFileError(f"{name}: no column {field!r}; columns are: {', '.join(map(repr, columns))}")
    done = 0

    def records() -> Iterator[Record]:
        nonlocal done
        row = 0
        try:
            for batch in file.iter_batches(_PARQUET_ROWS, columns=[field]):
                for value in batch.column(0).to_pylist():
                    row += 1
                    if isinstance(value, str):
                        yield Record(row, value)
                    else:
                        yield Record(row, "", f"{field!r} must be a string, not {type(value).__name__}")
                done = size * row // max(file.metadata.num_rows, 1)
        except pyarrow.ArrowException as error:
            raise DataFileError(f"{name}: after row {row}: not a readable Parquet file: {error}") from None

    return Source(_shown(name), records(), lambda: True, lambda: done)
