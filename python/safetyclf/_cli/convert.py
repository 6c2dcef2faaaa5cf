"""`safetyclf convert`: an encoder model file from a Hugging Face folder or an ONNX file."""

from __future__ import annotations

import argparse

from ._common import OK, Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "convert",
        help="make a model file from a BERT-family encoder",
        description="Makes a model file without heads, the start of training, from a Hugging Face folder "
        "or from an ONNX file exported from such a model.",
    )
    parser.add_argument("source", help="folder with config.json, weights and tokenizer, or an .onnx file")
    parser.add_argument("output", help="the model file to write")
    parser.add_argument("--name", required=True, help="name for the model's id")
    parser.add_argument("--version", required=True, metavar="X.Y.Z", help="version for the model's id")
    parser.add_argument("--licence", required=True, help="licence of the weights, as an SPDX expression")
    parser.add_argument("--description", default="", help="one sentence for the model's card")
    parser.add_argument(
        "--vocab", metavar="FILE", help="vocab.txt or tokenizer.json, where the source has none"
    )
    parser.add_argument(
        "--calibration", metavar="FILE", help="a few hundred texts, one a line, like those to be classified"
    )
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="NAME",
        help="normalisation rule of docs/text.md; repeatable",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from ..convert import convert

    file = convert(
        arguments.source,
        arguments.output,
        name=arguments.name,
        version=arguments.version,
        licence=arguments.licence,
        description=arguments.description,
        vocab=arguments.vocab,
        calibration=arguments.calibration,
        rules=arguments.rule,
    )
    print(f"{arguments.output}: {file.id}")
    return OK
