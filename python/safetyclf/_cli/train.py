"""`safetyclf train`: labelled text and an encoder in, a model file out."""

from __future__ import annotations

import argparse
import sys
import time

from ._common import OK, Subparsers, UsageError


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "train",
        help="fit a model file on labelled text",
        description="Fits linear heads on a frozen encoder, calibrates them, chooses thresholds and writes a "
        "model file. docs/training.md explains data and configuration. Needs safetyclf[train].",
    )
    parser.add_argument(
        "config", nargs="?", help="TOML file (default: the one that made the model in the package)"
    )
    parser.add_argument(
        "--heads-only", action="store_true", help="keep the encoder frozen (required in this version)"
    )
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="folder that the configuration's globs start from"
    )
    parser.add_argument(
        "--encoder",
        required=True,
        metavar="FILE",
        help="model file, or a Hugging Face folder or ONNX file to convert",
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="model file to write")
    parser.add_argument("--card", metavar="FILE", help="also write a model card (Markdown)")
    parser.add_argument(
        "--cache", metavar="DIR", help="features and the converted encoder (default: OUTPUT.cache)"
    )
    parser.add_argument(
        "--sample", type=float, default=1.0, metavar="F", help="use this share of the training rows"
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="engine threads (default: all)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    # Here, as every other command would wait for them.
    import importlib.util
    from pathlib import Path

    if not args.heads_only:
        raise UsageError("full fine-tuning is not in this version: give --heads-only (a frozen encoder)")
    if args.threads < 0:
        raise UsageError(f"--threads must be at least 0, not {args.threads}")
    needed = ["scipy"] + (["tomli"] if sys.version_info < (3, 11) else [])
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"training needs {', '.join(missing)}: pip install 'safetyclf[train]'")
    from ..train import DEFAULT_CONFIG, load_config, model_card, train_heads

    started = time.monotonic()

    def report(line: str) -> None:
        print(f"[{time.monotonic() - started:6.0f} s] {line}", file=sys.stderr, flush=True)

    file = train_heads(
        load_config(args.config or DEFAULT_CONFIG),
        data=args.data,
        encoder=args.encoder,
        output=args.output,
        cache=args.cache or f"{args.output}.cache",
        sample=args.sample,
        threads=args.threads,
        report=report,
    )
    if args.card:
        Path(args.card).write_text(model_card(file), encoding="utf-8")
    report(f"wrote {args.output}: {file.id}")
    return OK
