"""`safetyclf policy render`: a policy as a page, a guide for annotators, or a prompt."""

from __future__ import annotations

import argparse

from .._classifier import Classifier
from ._common import OK, Subparsers, UsageError
from ._output import Output


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "render",
        help="write a policy as a page, a guide for annotators, or a prompt",
        description="Writes a policy for people to read. docs/policy-render.md shows the forms.",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="policy file (default: the bundled policy)")
    parser.add_argument(
        "--format",
        choices=("html", "markdown", "guide", "guide-html", "prompt"),
        default="markdown",
        help="html, markdown: for readers; guide (Markdown), guide-html: for annotators; prompt: for a "
        "language model that labels texts (default: markdown)",
    )
    parser.add_argument("--audience", metavar="A", help="for readers: the numbers for this audience alone")
    parser.add_argument("--show-terms", action="store_true", help="for readers: show the terms of lists")
    parser.add_argument("--examples", action="store_true", help="prompt: with the policy's examples")
    parser.add_argument(
        "--model",
        metavar="FILE",
        help="for readers: whose thresholds stand where the policy leaves them to the model "
        "(SAFETYCLF_MODEL; default: the one in the package)",
    )
    parser.add_argument("--output", metavar="PATH", help="output file (default: standard output)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    # Here, as every other command would wait for them.
    from ..policy.reading import load, load_default
    from ..policy.render import render

    for_readers = arguments.format in ("html", "markdown")
    for option, given in (("--audience", arguments.audience), ("--show-terms", arguments.show_terms)):
        if given and not for_readers:
            raise UsageError(f"{option} is for --format html and markdown")
    if arguments.examples and arguments.format != "prompt":
        raise UsageError("--examples is for --format prompt; guides always have them")
    document = load_default() if arguments.file is None else load(arguments.file)
    text = render(
        document,
        arguments.format,
        classifier=Classifier(arguments.model, threads=1) if for_readers else None,
        audience=arguments.audience,
        show_terms=arguments.show_terms,
        examples=arguments.examples,
    )
    output = Output(arguments.output, [arguments.file] if arguments.file else [])
    output.write(text)
    output.close()
    return OK
