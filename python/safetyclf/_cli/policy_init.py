"""`safetyclf policy init`: a policy file to begin with."""

from __future__ import annotations

import argparse

from ._common import OK, Subparsers, UsageError
from ._output import Output


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "init",
        help="write a policy file to begin with",
        description="Writes the default policy to a new file, to be edited.",
    )
    parser.add_argument("policy", metavar="FILE", help="must not exist")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from ..policy.reading import DEFAULT

    content = DEFAULT.read_bytes()
    try:
        with open(arguments.policy, "xb") as file:
            file.write(content)
    except FileExistsError:
        raise UsageError(f"{arguments.policy} exists, and is left as it is; name a new file") from None
    except OSError as error:
        raise UsageError(f"{arguments.policy}: cannot write: {error.strerror}") from None
    Output().write(
        f"{arguments.policy} is a copy of the default policy: give it an id and a title of its own\n"
    )
    return OK
