"""`safetyclf eval`: how good a model is on labelled text."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from ._common import OK, Subparsers, UsageError, add_classifier_options, add_suite_options, complain
from ._output import Output
from ._progress import TaskProgress

if TYPE_CHECKING:
    from ..evaluate import Report

NOISY: Final = 1  # the noise floor is above --max-noise


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "eval",
        help="measure a model on suites of labelled text",
        description="Scores suites of labelled text and reports what the model is worth on them, with 95 %% "
        "intervals. docs/suites.md explains suites, docs/evaluation.md every figure. Needs safetyclf[eval].",
    )
    add_suite_options(parser)
    parser.add_argument("--output", metavar="DIR", help="write report.json, report.md and report.html there")
    parser.add_argument(
        "--attacks",
        nargs="?",
        const="adaptive",
        choices=("adaptive", "full"),
        help="also attack the texts, by kind and strength; full: through all layers, with average precision",
    )
    parser.add_argument(
        "--slice",
        action="append",
        default=[],
        dest="slices",
        metavar="KEY=VALUE",
        help="take rows of this slice alone; repeatable",
    )
    parser.add_argument("--policy", metavar="FILE", help="policy file that decides")
    parser.add_argument("--audience", metavar="NAME", help="one of the policy's audiences")
    parser.add_argument(
        "--max-noise",
        type=float,
        metavar="X",
        help="exit code 1 if an input without a message scores above this in any category",
    )
    parser.add_argument("--no-speed", action="store_true", help="leave latency and throughput out")
    parser.add_argument(
        "--float-encoder",
        metavar="FOLDER",
        help="also compare with this Hugging Face folder, the same encoder in fp32",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of resamples and attacks (default: 0)"
    )
    parser.add_argument(
        "--resamples",
        type=int,
        default=1000,
        metavar="N",
        help="of the bootstrap (default: 1000); 0 leaves its intervals out",
    )
    add_classifier_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    # Here, as every other command would wait for them.
    from pathlib import Path

    from .._extras import need

    need("evaluation", "eval", scipy="scipy", sklearn="scikit-learn", matplotlib="matplotlib")
    from ..evaluate import evaluate_suites
    from ..evaluate.render import to_text, write_report

    slices = dict(_slice(text) for text in arguments.slices)
    if arguments.max_noise is not None and not 0 <= arguments.max_noise <= 1:
        raise UsageError(f"--max-noise must be in [0, 1], not {arguments.max_noise:g}")
    folder = None if arguments.output is None else Path(arguments.output)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)  # before the work, which may take long
    progress = TaskProgress()
    try:
        report = evaluate_suites(
            arguments.suites,
            model=arguments.model,
            policy=arguments.policy,
            audience=arguments.audience,
            split=arguments.split,
            attacks=arguments.attacks,
            slices=slices,
            float_encoder=arguments.float_encoder,
            speed=not arguments.no_speed,
            seed=arguments.seed,
            resamples=arguments.resamples,
            device=arguments.device,
            threads=arguments.threads,
            isa=arguments.isa,
            progress=progress,
        )
    finally:
        progress.clear()
    if folder is not None:
        write_report(report, folder)
    Output().write(to_text(report))
    return NOISY if _too_noisy(report, arguments.max_noise) else OK


def _slice(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise UsageError(f"--slice takes KEY=VALUE, not {text!r}")
    return key, value


def _too_noisy(report: Report, limit: float | None) -> bool:
    """Whether the noise floor is above the limit; says where."""
    found = [noise for noise in report.noise if limit is not None and noise.highest > limit]
    for noise in found:
        complain(
            f"noise floor: {noise.category} scores {noise.highest:.4f} on {noise.input!r}, above {limit:g}"
        )
    return bool(found)
