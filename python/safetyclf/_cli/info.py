"""`safetyclf info`: what model, thresholds and build a verdict comes from."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .._classifier import Classifier
from .._errors import SafetyclfError
from .._native import build_info
from ._common import OK, Subparsers, add_classifier_options
from ._output import Output


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "info",
        help="show model, categories, thresholds and build",
        description="Shows the model, its categories and thresholds, and the build.",
    )
    parser.add_argument("--json", action="store_true", help="all of it, as one JSON object")
    add_classifier_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    classifier = Classifier(arguments.model, threads=arguments.threads, isa=arguments.isa)
    info = classifier.info()
    text = json.dumps(info, indent=2, ensure_ascii=False) if arguments.json else _text(info)
    Output().write(text + "\n")
    return OK


def version_line() -> str:
    """Version, model and instruction set, even where the model cannot be loaded."""
    build = build_info()
    try:
        model = Classifier(threads=1).model_id
    except SafetyclfError as error:
        model = f"none ({error})"
    return f"safetyclf {build['version']}, model {model}, isa {build['isa']}"


def _text(info: dict[str, Any]) -> str:
    architecture, tokenizer, build = info["architecture"], info["tokenizer"], info["build"]
    lines = [
        f"model         {info['model']}",
        f"file          {info['path']}",
        f"description   {info['description']}",
        f"licence       {info['licence']}",
        f"architecture  {architecture['type']}: {architecture['layers']} layers of {architecture['hidden']}, "
        f"{architecture['heads']} heads, {architecture['vocabulary']} tokens",
        f"long texts    windows of {tokenizer['window_tokens']} tokens, {tokenizer['overlap_tokens']} shared",
        f"version       safetyclf {build['version']}, numerics revision {build['numerics_revision']}, "
        f"compiler {build['compiler']}",
        f"running on    {info['isa']} (this CPU can run {', '.join(build['supported_isas'])}), "
        f"{info['threads']} threads",
        "",
        f"{'category':<24} {'coverage':<8} {'review':>7} {'block':>7}  what the thresholds promise",
    ]
    for category in info["categories"]:
        review, block = (
            "-" if category["coverage"] == "none" else "never" if value is None else f"{value:.4f}"
            for value in (category["review"], category["block"])
        )
        statement = category["threshold_statement"]
        said = "" if statement is None else "; ".join(f"{key} {value}" for key, value in statement.items())
        lines.append(
            f"{category['name']:<24} {category['coverage']:<8} {review:>7} {block:>7}  {said}".rstrip()
        )
    return "\n".join(lines)
