"""`safetyclf policy`: a group of commands, one module each."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from ._common import Subparsers

_COMMANDS: Final[tuple[ModuleType, ...]] = ()


def add_parser(subparsers: Subparsers) -> None:
    """Registers the group."""
    parser = subparsers.add_parser("policy", help="check, test, render, compare and compile policies")
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(inner)
