"""`safetyclf policy`: a group of commands, one module each."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from . import (
    policy_check,
    policy_compile,
    policy_diff,
    policy_init,
    policy_render,
    policy_schema,
    policy_test,
)
from ._common import Subparsers

_COMMANDS: Final[tuple[ModuleType, ...]] = (
    policy_check, policy_test, policy_render, policy_diff, policy_compile, policy_init, policy_schema,
)  # fmt: skip


def add_parser(subparsers: Subparsers) -> None:
    """Registers the group."""
    parser = subparsers.add_parser("policy", help="check, test, render, compare and compile policies")
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(inner)
