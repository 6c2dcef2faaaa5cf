"""The command line; docs/cli.md describes it.

One module per command, each with `add_parser(subparsers)` and `run(arguments) -> exit code`. Modules import
what is heavy inside `run`, so that one command does not pay for the others.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from .._errors import SafetyclfError
from . import calibrate, classify, compare, convert, eval, export, info, policy, serve, train, upgrade_report
from ._common import BUG, CLOSED_PIPE, ERROR, INTERRUPTED, UsageError, complain
from ._output import Output

_COMMANDS = (classify, info, serve, policy, calibrate, upgrade_report, eval, compare, convert, train, export)


class _Version(argparse.Action):
    """Prints the version together with what else decides a score."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show version, model and instruction set")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        Output().write(info.version_line() + "\n")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code (docs/cli.md lists them).

    Usage errors raise SystemExit(2), as argparse does.
    """
    try:
        arguments = _parser().parse_args(argv)
        code: int = arguments.run(arguments)
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our output has seen enough. Python flushes at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return CLOSED_PIPE
    except (SafetyclfError, UsageError, OSError) as error:
        complain(f"error: {error}")
        return ERROR
    except Exception:
        import traceback

        traceback.print_exc()
        complain("this is a bug in safetyclf, please report it")
        return BUG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="safetyclf", description="Text safety classification in process, without network."
    )
    parser.add_argument("--version", action=_Version)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(subparsers)
    return parser
