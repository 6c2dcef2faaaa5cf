"""What the commands share: exit codes, messages, options."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subparsers = Any

OK: Final = 0
FLAGGED: Final = 1
ERROR: Final = 2
BUG: Final = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED: Final = 130  # what shells report for SIGINT
CLOSED_PIPE: Final = 141  # and for SIGPIPE


class UsageError(Exception):
    """The command cannot run as asked; the message goes to the user, the exit code is ERROR."""


def complain(message: str) -> None:
    """A line on standard error, if there is one."""
    if sys.stderr is not None:
        # A file's name may hold bytes that are not text.
        print(
            "safetyclf:",
            message.encode("utf-8", "backslashreplace").decode("utf-8"),
            file=sys.stderr,
            flush=True,
        )


def add_classifier_options(parser: argparse.ArgumentParser) -> None:
    """Options that make a Classifier; each has an environment twin SAFETYCLF_*."""
    parser.add_argument(
        "--model",
        metavar="FILE",
        help="model file, or NAME.toml of an ONNX model (SAFETYCLF_MODEL; default: the one in the package)",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="worker threads (SAFETYCLF_THREADS; default: all processors)"
    )
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="cpu, cuda, cuda:1, ... or auto: a GPU if there is one (SAFETYCLF_DEVICE; default: cpu)",
    )
    parser.add_argument("--isa", metavar="NAME", help="instruction set (SAFETYCLF_ISA; default: the best)")


def add_suite_options(parser: argparse.ArgumentParser) -> None:
    """Options that say which labelled texts are taken."""
    parser.add_argument(
        "--suite",
        action="append",
        required=True,
        dest="suites",
        metavar="SUITE",
        help="folder with suite.toml, file with its header NAME.toml beside it, or header; repeatable",
    )
    parser.add_argument("--split", choices=("train", "valid", "test"), help="take rows of this split alone")


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Options that say how files of texts are read (`_inputs`)."""
    parser.add_argument(
        "--input-format",
        choices=("auto", "text", "jsonl", "csv", "parquet"),
        default="auto",
        help="of the texts; auto: by the file's suffix, else text, one a line",
    )
    parser.add_argument(
        "--field", default="text", metavar="NAME", help="key or column of the text (default: text)"
    )
    parser.add_argument(
        "--max-text-bytes", type=int, default=1 << 20, metavar="N", help="refuse longer texts"
    )
