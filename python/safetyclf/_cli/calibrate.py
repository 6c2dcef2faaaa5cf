"""`safetyclf calibrate`: the targets of a policy become thresholds with statements."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ._common import OK, Subparsers, UsageError, add_classifier_options, complain
from ._output import Output
from ._progress import TaskProgress

if TYPE_CHECKING:
    from ..policy.document import Calibrated, Calibration, PolicyDocument, Target
    from ..policy.verify import Checked

CONTRADICTED: Final = 1
_HEAD: Final = ("category", "action", "audience", "target", "threshold")


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "calibrate",
        help="turn the targets of a policy into thresholds, or check them on new data",
        description="Finds a threshold for each target of a policy on labelled text, and writes thresholds "
        "and statements into the policy file. docs/calibrate.md says what they promise. Needs "
        "safetyclf[policy].",
    )
    parser.add_argument("policy", metavar="POLICY", help="policy file (TOML)")
    parser.add_argument("data", nargs="+", metavar="DATA", help="JSONL files, gzipped or not")
    parser.add_argument("--output", metavar="FILE", help="write there and leave POLICY as it is")
    parser.add_argument("--split", choices=("train", "valid", "test"), help="take rows of this split alone")
    parser.add_argument(
        "--audience", metavar="NAME", help="targets of this audience alone; other entries stay as they are"
    )
    parser.add_argument(
        "--joint", action="store_true", help="promises that all hold at once with their confidence"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit code 1 if the data contradict a statement of the policy",
    )
    add_classifier_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    # Here, as every other command would wait for them.
    from pathlib import Path

    from .._extras import need

    need("calibration", "policy", scipy="scipy", sklearn="scikit-learn")
    if arguments.check and (arguments.output or arguments.joint):
        raise UsageError("--check changes nothing: --output and --joint have no part in it")
    if arguments.audience is not None and arguments.joint:
        raise UsageError("--joint is about all targets of the policy, not about those of one --audience")
    from .. import Classifier, PolicyError
    from ..policy import calibrated_file
    from ..policy.calibrate import calibrate
    from ..policy.targets import goals_of
    from ..policy.verify import verify
    from ..suites import read_files

    output = Path(arguments.output or arguments.policy)
    if not output.parent.is_dir():
        raise UsageError(f"{output}: there is no folder {output.parent}")
    source = Path(arguments.policy).read_bytes()
    document = _document(arguments.policy, source, arguments.check or arguments.audience is not None)
    goals_of(document, arguments.audience)  # whether there is anything to do, before the long part
    classifier = Classifier(
        arguments.model, device=arguments.device, threads=arguments.threads, isa=arguments.isa
    )
    data = read_files(arguments.data, [*classifier.categories, *document.categories], arguments.split)
    _warn_of_repeated(data.texts)
    digest = _digest([file.sha256 for file in data.files])
    labels = data.columns(classifier.categories)
    scores = _scores(classifier, data.texts)
    if arguments.check:
        found = verify(
            document,
            scores,
            labels,
            classifier.categories,
            classifier.model_id,
            audience=arguments.audience,
        )
        stated = [checked.entry.statement for checked in found]
        if any((s.get("data_sha256"), s.get("split")) == (digest, arguments.split) for s in stated):
            complain("warning: these are the data that statements rest on; they cannot contradict them")
        Output().write(_checked_table(found))
        return CONTRADICTED if any(checked.contradicted for checked in found) else OK
    calibration = calibrate(
        document,
        scores,
        labels,
        classifier.categories,
        classifier.model_id,
        digest,
        split=arguments.split,
        audience=arguments.audience,
        joint=arguments.joint,
    )
    content = calibrated_file.with_calibration(source, calibration, arguments.policy)
    if Path(arguments.policy).read_bytes() != source:
        raise PolicyError(f"{arguments.policy}: was changed meanwhile; run safetyclf calibrate again")
    calibrated_file.write_file(output, content)
    Output().write(_table(document, calibration, arguments.audience))
    return OK


def _document(path: str, source: bytes, calibrated: bool) -> PolicyDocument:
    """The policy. Its calibrated part may be broken where it is made anew: that is how to mend it."""
    import os
    from dataclasses import replace

    from .. import PolicyError
    from ..policy.calibrated_file import without_calibration
    from ..policy.reading import load, loads

    try:
        return load(path)
    except PolicyError:
        above = without_calibration(source)
        if calibrated or above == source:
            raise
        folder = os.path.dirname(path)
        return replace(loads(above.decode("utf-8-sig"), path, folder=folder), path=path)


def _scores(classifier: Any, texts: Any) -> Any:
    from ..evaluate.scoring import Scorer

    progress = TaskProgress()
    try:
        return Scorer(classifier, progress).scores(texts).probabilities
    finally:
        progress.clear()


def _digest(files: list[str]) -> str:
    """Of one file its own; of several that of their digests, a line each, in order."""
    import hashlib

    return (
        files[0] if len(files) == 1 else hashlib.sha256("".join(f"{f}\n" for f in files).encode()).hexdigest()
    )


def _warn_of_repeated(texts: tuple[str, ...]) -> None:
    repeated = len(texts) - len({" ".join(text.split()).casefold() for text in texts})
    if repeated:
        complain(
            f"warning: {repeated} of {len(texts)} rows repeat the text of another; rows must be independent, "
            "and with copies among them the promises are stronger than the data allow"
        )


def _table(document: PolicyDocument, calibration: Calibration, audience: str | None) -> str:
    from .._policy import statement_id
    from ..policy.targets import goals_of

    goals = goals_of(document, audience)
    new = [entry for entry in calibration.thresholds if any(goal.met_by(entry) for goal in goals)]
    rests_on = {"fpr": "negatives", "recall": "positives", "precision": "selected"}
    rows: list[tuple[str, ...]] = [(*_HEAD, "bound", "rests on", "fpr", "recall", "precision", "statement")]
    moved = []
    for entry in new:
        s = entry.statement
        rests = f"{s['n']} {rests_on[entry.target.metric]}"
        shares = (_percent(s["rates"].get(metric, {})) for metric in rests_on)
        rows.append((*_cells(entry), f"{100 * s['bound']:.4g} %", rests, *shares, statement_id(s)))
        if "moved" in s:
            moved.append(f"{entry.category}, {entry.action}: moved {s['moved']}")
    return "\n".join([f"model {calibration.model}", *_aligned(rows), *moved]) + "\n"


def _checked_table(found: list[Checked]) -> str:
    from ..evaluate.cells import percent

    rows: list[tuple[str, ...]] = [(*_HEAD, "observed", "of", "p", "result", "statement")]
    for checked in found:
        observed = checked.observed
        result = "contradicted" if checked.contradicted else "not contradicted"
        cells = (
            percent(observed),
            str(observed.of),
            f"{checked.p:.2g}",
            result if observed.of else "no rows",
        )
        rows.append((*_cells(checked.entry), *cells, checked.id))
    return "\n".join(_aligned(rows)) + "\n"


def _cells(entry: Calibrated) -> tuple[str, ...]:
    """What stands below _HEAD."""
    value = "never" if entry.value is None else f"{entry.value:g}"
    return entry.category, entry.action, entry.audience or "everybody", _target(entry.target), value


def _target(target: Target) -> str:
    sign = "<=" if target.metric == "fpr" else ">="
    return f"{target.metric} {sign} {100 * target.value:g} % ({100 * target.confidence:g} %)"


def _percent(rate: dict[str, Any]) -> str:
    if not rate:
        return "–"
    return f"{100 * rate['value']:.3g} % ({100 * rate['low']:.3g} to {100 * rate['high']:.3g})"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
