"""`safetyclf serve`: the moderation server."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from .._extras import need
from ._common import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    from ..serve.settings import PREFIX, Settings

    parser = subparsers.add_parser(
        "serve",
        help="answer over HTTP, in the shape of OpenAI's moderation endpoint",
        description="Answers over HTTP until SIGTERM or SIGINT; SIGHUP reads model, policies and keys again. "
        f"Each option has a twin {PREFIX}OPTION in the environment. docs/serve.md is the guide.",
    )
    for option in fields(Settings):
        name, about = "--" + option.name.replace("_", "-"), option.metadata
        text = about["help"].replace("%", "%%")
        if about["metavar"] is None:
            parser.add_argument(name, action="store_true", default=None, help=text)
        else:
            if not about["repeat"] and option.default is not None:
                text += f" (default: {option.default})"
            parser.add_argument(
                name,
                type=_typed(about["parse"]),
                action="append" if about["repeat"] else "store",
                metavar=about["metavar"],
                help=text,
            )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from ..serve.settings import Settings

    need(
        "serve",
        "serve",
        httptools="httptools",
        prometheus_client="prometheus-client",
        starlette="starlette",
        uvicorn="uvicorn",
        uvloop="uvloop",
    )
    from ..serve.run import serve

    return serve(Settings.read(vars(arguments), os.environ))


def _typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """The same, with the message of its ValueError."""

    def convert(value: str) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
