"""`safetyclf export`: a model file as an fp32 ONNX graph."""

from __future__ import annotations

import argparse

from ._common import OK, Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "export",
        help="write a model as an ONNX graph",
        description="Writes the model as a standard fp32 ONNX graph: token ids in, logits out.",
    )
    parser.add_argument("--onnx", required=True, metavar="FILE", help="the ONNX file to write")
    parser.add_argument("--model", required=True, metavar="FILE", help="the model file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from ..onnx_graph import export

    export(arguments.model, arguments.onnx)
    return OK
