"""`safetyclf compare`: contestants on the same texts, and a gate for CI."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ._common import ERROR, OK, Subparsers, UsageError, add_suite_options, complain
from ._output import Output
from ._progress import TaskProgress
from ._shown import columns, share, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..compare.contest import Contest
    from ..compare.gate import GateResult
    from ..compare.results import Comparison
    from ..compare.runs import Run
    from ..suites import Suite

_LONGEST: Final = 100  # characters of a text on a terminal


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "compare",
        help="compare models, policies and rivals on labelled text",
        description="Runs contestants on the texts of a suite and compares each with the first: differences "
        "with intervals, changed decisions, and with --max-drop a gate. docs/compare.md explains the "
        "contestants, docs/gate.md the figures. Needs safetyclf[eval].",
        epilog="Exit code: 0, also of a gate that passes; 1 the gate found a regression; 2 no answer: the "
        "gate cannot tell, a contestant did not start or failed on some text, wrong usage, or an error.",
    )
    parser.add_argument(
        "contestants",
        nargs="+",
        metavar="CONTESTANT",
        help="[NAME=] default, a model file, policy:FILE, module:function, openai+URL, perspective+URL, "
        "detoxify:VARIANT, alt-profanity-check, llm-guard:SCANNER, or a table of --contestants; the first is "
        "what the others are compared with, unless there is a baseline",
    )
    add_suite_options(parser)
    parser.add_argument("--contestants", dest="file", metavar="FILE", help="TOML that says more about some")
    parser.add_argument("--baseline", metavar="FILE", help="compare with this run, from --save-baseline")
    parser.add_argument("--save-baseline", metavar="FILE", help="write the first contestant's run there")
    parser.add_argument(
        "--max-drop",
        metavar="M=DROP,...",
        help="gate: what may be lost at most, as auprc=0.01,recall_at_fpr=0.02",
    )
    parser.add_argument(
        "--max-noise", type=share, metavar="SCORE", help="gate: highest score of degenerate strings"
    )
    parser.add_argument(
        "--confidence", type=float, default=0.95, metavar="C", help="of intervals and gate (default: 0.95)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the resamples (default: 0)")
    parser.add_argument(
        "--resamples", type=int, default=1000, metavar="N", help="of the bootstrap (default: 1000)"
    )
    parser.add_argument(
        "--output", metavar="DIR", help="write compare.json, compare.md and compare.html there"
    )
    parser.add_argument("--junit", metavar="FILE", help="write the gate's checks as JUnit XML")
    parser.add_argument("--json", action="store_true", help="print compare.json instead of tables")
    parser.add_argument("--show-texts", action="store_true", help="show texts whose decision changed")
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="list N changed texts at most (default: 20)"
    )
    parser.add_argument("--cache", metavar="DIR", help="keep the answers of slow contestants there")
    parser.add_argument("--threads", type=int, metavar="N", help="worker threads (SAFETYCLF_THREADS)")
    parser.add_argument("--isa", metavar="NAME", help="instruction set (SAFETYCLF_ISA; default: the best)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    # Here, as every other command would wait for them.
    _check(arguments)
    from ..compare.baseline import read_baseline
    from ..compare.comparison import compare_runs
    from ..compare.gate import judge, parse_max_drops

    max_drops = {} if arguments.max_drop is None else parse_max_drops(arguments.max_drop)
    gated = bool(max_drops) or arguments.max_noise is not None
    baseline = None if arguments.baseline is None else read_baseline(Path(arguments.baseline))
    contest = _held(arguments, baseline)
    comparison = compare_runs(
        contest.suite,
        _runs(contest, baseline, gated),
        seed=arguments.seed,
        resamples=arguments.resamples,
        confidence=arguments.confidence,
        noise=contest.noise,
    )
    result = None
    if gated:
        result = judge(comparison, max_drops, arguments.confidence, max_noise=arguments.max_noise)
    _write(arguments, contest, comparison, result)
    code = OK if result is None else result.exit_code
    return ERROR if contest.problems and code == OK else code


def _check(arguments: argparse.Namespace) -> None:
    """What cannot be asked for, before anything takes long."""
    from .._extras import need

    need("comparing", "eval", scipy="scipy", sklearn="scikit-learn", matplotlib="matplotlib")
    alone = len(arguments.contestants) == 1 and arguments.baseline is None
    if alone and arguments.save_baseline is None:
        raise UsageError("one contestant: name another to compare it with, --baseline, or --save-baseline")
    if alone and arguments.max_drop is not None:
        raise UsageError("--max-drop compares with something: name another contestant, or --baseline")
    if arguments.junit is not None and arguments.max_drop is None and arguments.max_noise is None:
        raise UsageError("--junit writes the checks of a gate: give --max-drop or --max-noise")
    if arguments.limit < 0:
        raise UsageError("--limit must be at least 0")
    from ..compare.paired import check_settings

    check_settings(arguments.seed, arguments.resamples, arguments.confidence)
    if arguments.output is not None:
        Path(arguments.output).mkdir(parents=True, exist_ok=True)


def _held(arguments: argparse.Namespace, baseline: Run | None) -> Contest:
    from ..compare.comparison import compare_runs
    from ..compare.contest import hold
    from ..suites import KNOWN, combined, read_suite

    def suite(names: Sequence[str]) -> Suite:
        known = tuple(dict.fromkeys([*KNOWN, *names]))
        read = combined([read_suite(path, split=arguments.split, known=known) for path in arguments.suites])
        if baseline is not None:
            compare_runs(read, [baseline], resamples=0)  # it may be of another suite: say so before the work
        return read

    progress = TaskProgress()
    try:
        contest = hold(
            arguments.contestants,
            suite,
            file=arguments.file,
            cache=arguments.cache,
            noise=arguments.max_noise is not None,
            progress=progress,
            messages=arguments.show_texts,
            threads=arguments.threads,
            isa=arguments.isa,
        )
    finally:
        progress.clear()
    for line in (*contest.problems, *contest.notes):
        complain(shown(line))
    return contest


def _runs(contest: Contest, baseline: Run | None, gated: bool) -> list[Run]:
    """Those to compare, the reference first."""
    from dataclasses import replace

    runs = list(contest.runs)
    if not runs:
        raise UsageError("no contestant answered anything")
    if baseline is not None:
        name = "baseline" if baseline.contestant in contest.names else baseline.contestant
        return [replace(baseline, contestant=name), *runs]
    if gated and runs[0].contestant != contest.names[0]:
        raise UsageError(f"the gate has nothing to compare with: {contest.names[0]} has no answers")
    return runs


def _write(
    arguments: argparse.Namespace, contest: Contest, comparison: Comparison, result: GateResult | None
) -> None:
    from ..compare.baseline import save_baseline
    from ..compare.reports import to_json, to_junit, to_text, write_reports
    from ..compare.results import plain

    suite = contest.suite
    texts = dict(zip(suite.ids, suite.texts, strict=True)) if arguments.show_texts else None
    if arguments.output is not None:
        write_reports(comparison, result, Path(arguments.output), texts)
    if arguments.junit is not None and result is not None:
        Path(arguments.junit).write_text(to_junit(comparison, result), encoding="utf-8")
    if arguments.json:
        Output().write(to_json(comparison, result))
    else:
        Output().write(to_text(comparison, result) + _changed(comparison, texts, arguments.limit))
    if arguments.save_baseline is not None:
        if contest.names[0] not in [run.contestant for run in contest.runs]:
            raise UsageError(f"no baseline was written: {contest.names[0]} has no answers")
        (first,) = (one for one in comparison.contestants if one.name == contest.names[0])
        save_baseline(Path(arguments.save_baseline), contest.runs[0], plain(first))


def _changed(comparison: Comparison, texts: Mapping[str, str] | None, limit: int) -> str:
    """Texts whose decision changed."""
    from ..compare.reports import tables

    lines = []
    for pair in comparison.pairs:
        table = tables.changed(pair, texts, limit)
        if table is not None and limit:
            more = len(pair.changed) - limit
            lines += ["", *columns([[cell[:_LONGEST] for cell in row] for row in table.rows])]
            lines += [f"and {more:,} more"] if more > 0 else []
    return "".join(f"{line}\n" for line in lines)
