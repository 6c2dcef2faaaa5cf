"""`safetyclf policy compile`: a model file out of a policy and a model."""

from __future__ import annotations

import argparse

from ._common import OK, Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "compile",
        help="make a model file that decides by a policy, custom categories included",
        description="Writes a model file with the policy's thresholds and with heads for the categories that "
        "the model lacks, fitted to the policy's examples. docs/custom-categories.md says what to expect of "
        "them. Needs safetyclf[policy].",
    )
    parser.add_argument("policy", help="the policy file")
    parser.add_argument(
        "--model", metavar="FILE", help="model file to start from (SAFETYCLF_MODEL; default: the package's)"
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the model file to write")
    parser.add_argument(
        "--background",
        metavar="TEXTS",
        help="JSON lines of ordinary texts (key text); needed with another model than the package's",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from ..policy.reading import load

    document = load(arguments.policy)
    from ..policy.background import read_texts
    from ..policy.compile import compile_policy

    texts = None if arguments.background is None else read_texts(arguments.background)
    compiled = compile_policy(document, arguments.output, model=arguments.model, background=texts)
    for line in compiled.report:
        print(line)
    print(f"{arguments.output}: {compiled.file.id}")
    return OK
