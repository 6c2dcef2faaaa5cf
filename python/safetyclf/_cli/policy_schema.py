"""`safetyclf policy schema`: the JSON Schema of policy files."""

from __future__ import annotations

import argparse

from ._common import OK, Subparsers
from ._output import Output


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "schema",
        help="print the JSON Schema of policy files",
        description="Prints the JSON Schema (draft 2020-12) of policy files, for editors.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from ..policy.reading import SCHEMA

    Output().write(SCHEMA.read_text(encoding="utf-8"))
    return OK
