"""`safetyclf classify`: messages in, one JSON line each out, in order."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from .._classifier import Classifier
from .._errors import DataFileError, MissingDependencyError
from .._results import Thresholds
from .._texts import problem_of
from .._verdict import Verdict
from ._common import (
    ERROR,
    FLAGGED,
    OK,
    Subparsers,
    UsageError,
    add_classifier_options,
    add_reading_options,
    complain,
)
from ._inputs import Record, Source, format_of, open_source
from ._output import Output
from ._progress import Progress

_BATCH: Final = 512  # messages
_BATCH_CHARACTERS: Final = 1 << 22
# JSON allows them in strings, but many programs that split text into lines split here, too.
_LINE_BREAKS: Final = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "classify",
        help="classify messages",
        description="Classifies messages and writes one JSON object per message, in order.",
        epilog="Exit code: 0 all messages answered; 1 with --fail-on-flagged, some flagged; "
        "2 an error, or some message could not be read or was too long.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="input files; - or none is standard input")
    parser.add_argument("--text", action="append", metavar="T", help="a message; may be repeated")
    add_reading_options(parser)
    parser.add_argument("--output", metavar="FILE", help="output file (default: standard output)")
    parser.add_argument(
        "--format", choices=("jsonl", "table"), default="jsonl", help="table: for people (default: jsonl)"
    )
    parser.add_argument("--with-text", action="store_true", help="repeat the message in the output")
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        type=_threshold,
        metavar="CATEGORY=REVIEW[,BLOCK]",
        help="thresholds in place of the model's, in [0, 1] or 'never'; may be repeated",
    )
    parser.add_argument(
        "--policy",
        default=os.environ.get("SAFETYCLF_POLICY") or None,
        metavar="FILE",
        help="policy file that decides (SAFETYCLF_POLICY; default: the model's thresholds)",
    )
    parser.add_argument("--audience", metavar="NAME", help="one of the policy's audiences")
    parser.add_argument(
        "--effort",
        choices=("full", "adaptive"),
        default=os.environ.get("SAFETYCLF_EFFORT") or "full",
        help="adaptive: texts leave the model early where it is sure that they are harmless "
        "(SAFETYCLF_EFFORT; default: full)",
    )
    parser.add_argument("--fail-on-flagged", action="store_true", help="exit code 1 if a message is flagged")
    add_classifier_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    if arguments.text and arguments.files:
        raise UsageError("give messages with --text or FILEs, not both")
    if arguments.threshold and arguments.policy:
        raise UsageError("give --threshold or --policy, not both: a policy file has its own thresholds")
    classifier = Classifier(
        arguments.model,
        policy=arguments.policy or dict(arguments.threshold) or None,
        audience=arguments.audience,
        device=arguments.device,
        threads=arguments.threads,
        isa=arguments.isa,
        effort=arguments.effort,
        max_text_bytes=arguments.max_text_bytes,
    )
    return _Job(arguments, classifier).run()


class _Job:
    def __init__(self, arguments: argparse.Namespace, classifier: Classifier) -> None:
        self._arguments = arguments
        self._classifier = classifier
        self._files: list[str] = arguments.files or ["-"]
        self._output = Output(arguments.output, self._files)
        self._flagged = self._failed = False
        shown = sys.stderr is not None and sys.stderr.isatty() and not self._output.isatty()
        self._progress = Progress(_total_size(self._files), shown=shown and not arguments.text)
        self._done_bytes = 0  # of the files before the current one

    def run(self) -> int:
        if self._arguments.text:
            records = (Record(number, text) for number, text in enumerate(self._arguments.text, 1))
            self._classify(Source("--text", records, lambda: True, lambda: 0))
        else:
            for name in self._files:
                self._classify_file(name)
        self._progress.clear()
        self._output.close()
        if self._failed:
            return ERROR
        return FLAGGED if self._flagged and self._arguments.fail_on_flagged else OK

    def _classify_file(self, name: str) -> None:
        if name == "-" and sys.stdin is not None and sys.stdin.isatty():
            complain("reading messages from the terminal, one a line; Ctrl-D ends")
        form = self._arguments.input_format
        if form == "auto":
            form = format_of(name)
        source: Source | None = None
        with self._reading(name):
            source = open_source(name, form, self._arguments.field, self._classifier.max_text_bytes)
        if source is not None:
            self._classify(source)
            self._done_bytes += source.done()

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """Reports what makes the rest of an input unreadable, and lets the next one have its turn."""
        try:
            yield
        except (DataFileError, MissingDependencyError) as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"{name}: cannot read: {error.strerror or error}")

    def _records(self, source: Source) -> Iterator[Record]:
        with self._reading(source.name):
            yield from source.records

    def _classify(self, source: Source) -> None:
        batch: list[Record] = []
        characters = 0
        for record in self._records(source):
            batch.append(self._checked(record))
            characters += len(record.text)
            if len(batch) == _BATCH or characters >= _BATCH_CHARACTERS or not source.ready():
                self._answer(source, batch)
                batch, characters = [], 0
        self._answer(source, batch)

    def _checked(self, record: Record) -> Record:
        problem = problem_of(record.text, "the message", self._classifier.max_text_bytes)
        return record if problem is None else Record(record.line, "", str(problem))

    def _answer(self, source: Source, batch: list[Record]) -> None:
        verdicts = iter(self._classifier.classify_batch([r.text for r in batch if r.error is None]))
        lines = []
        for record in batch:
            if record.error is None:
                verdict = next(verdicts)
                self._flagged |= verdict.flagged
                lines.append(self._line(source.name, record, verdict))
            else:
                self._fail(f"{source.name}:{record.line}: {record.error}")
                lines.append(self._error_line(source.name, record))
        self._output.write("".join(lines))
        self._progress.add(len(batch), self._done_bytes + source.done())

    def _line(self, name: str, record: Record, verdict: Verdict) -> str:
        # What was classified, in well-formed Unicode.
        text = _SURROGATES.sub("\ufffd", record.text) if self._arguments.with_text else None
        if self._arguments.format == "table":
            return _table_line(name, record, verdict, text)
        result: dict[str, Any] = {"file": name, "line": record.line}
        if text is not None:
            result["text"] = text
        result["flagged"] = verdict.flagged
        result["action"] = verdict.action
        result["categories"] = verdict.categories
        # Nine digits tell any two float32 apart.
        result["scores"] = {category: float(f"{score:.9g}") for category, score in verdict.scores.items()}
        result["windows"] = verdict.windows
        if verdict.repaired:
            result["repaired"] = True
        result["model"] = verdict.model
        if verdict.policy is not None:
            result["policy"] = verdict.policy
            result["severity"] = verdict.severity
            result["matches"] = [match._asdict() for match in verdict.matches]
        return _json_line(result)

    def _error_line(self, name: str, record: Record) -> str:
        if self._arguments.format == "table":
            return f"{f'{name}:{record.line}':<24} error   {record.error}\n"
        return _json_line({"file": name, "line": record.line, "error": record.error})

    def _fail(self, message: str) -> None:
        self._failed = True
        self._progress.clear()
        complain(message)


def _json_line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False).translate(_LINE_BREAKS) + "\n"


def _table_line(name: str, record: Record, verdict: Verdict, text: str | None) -> str:
    # The category that stands for the action: the highest score among the flagged ones, if any.
    category = max(verdict.scores, key=lambda c: (verdict.categories[c], verdict.scores[c]))
    line = (
        f"{f'{name}:{record.line}':<24} {verdict.action:<6}  {verdict.scores[category]:5.3f} {category:<24}"
    )
    if text is not None:
        line += " " + "".join(c if c.isprintable() else " " for c in text[:100])
    return line.rstrip() + "\n"


def _threshold(argument: str) -> tuple[str, float | tuple[float | None, float | None] | None]:
    """CATEGORY=REVIEW or CATEGORY=REVIEW,BLOCK; ranges are checked by the policy."""
    category, equals, values = argument.rpartition("=")
    try:
        numbers = [None if value.strip() == "never" else float(value) for value in values.split(",")]
        if not equals or len(numbers) > 2:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{argument!r} is not of the form CATEGORY=REVIEW[,BLOCK]") from None
    return category, numbers[0] if len(numbers) == 1 else Thresholds(*numbers)


def _total_size(files: list[str]) -> int | None:
    """Bytes of all files, if all are ordinary ones."""
    if not all(map(os.path.isfile, files)):
        return None
    return sum(map(os.path.getsize, files))
