"""`safetyclf policy test`: a policy's examples, tried on the model."""

from __future__ import annotations

import argparse

from .._classifier import Classifier
from ._common import FLAGGED, OK, Subparsers, add_classifier_options
from ._output import Output


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "test",
        help="try the examples of a policy on the model",
        description="Tries every example of a policy: positive ones must be flagged for their category,"
        " negative ones must not.",
    )
    parser.add_argument(
        "policy", nargs="?", metavar="FILE", help="policy file; default: the one in the package"
    )
    parser.add_argument("--audience", metavar="NAME", help="thresholds of this audience")
    parser.add_argument("--junit", metavar="OUT.xml", help="also write the results as JUnit XML")
    parser.add_argument("--with-text", action="store_true", help="whole texts, not their beginnings alone")
    add_classifier_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from ..policy import examples
    from ..policy.reading import DEFAULT, load
    from ..policy.resolve import resolve

    file = arguments.policy or str(DEFAULT)
    document = load(file)
    classifier = Classifier(
        arguments.model, device=arguments.device, threads=arguments.threads, isa=arguments.isa
    )
    outcomes = examples.run(document, classifier, resolve(document, classifier, arguments.audience))
    failed = [outcome for outcome in outcomes if outcome.passed is False]
    not_tried = sum(outcome.passed is None for outcome in outcomes)
    if arguments.junit:
        output = Output(arguments.junit, [file])
        output.write(examples.junit(document, outcomes, whole=arguments.with_text))
        output.close()
    lines = [
        f"{file}:{outcome.line}: failed: {outcome.describe(whole=arguments.with_text)}" for outcome in failed
    ]
    passed = len(outcomes) - len(failed) - not_tried
    lines.append(
        f"{file}: {passed} examples passed, {len(failed)} failed, {not_tried} not tried (never decides)"
    )
    Output().write("\n".join(lines) + "\n")
    return FLAGGED if failed else OK
