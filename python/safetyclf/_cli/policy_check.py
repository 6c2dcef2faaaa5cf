"""`safetyclf policy check`: what is wrong or doubtful about a policy."""

from __future__ import annotations

import argparse
import json

from .._classifier import Classifier
from ._common import FLAGGED, OK, Subparsers, add_classifier_options
from ._output import Output


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "check",
        help="find what is wrong or doubtful about a policy",
        description="Reads a policy file and reports errors and warnings about it and the model.",
    )
    parser.add_argument(
        "policy", nargs="?", metavar="FILE", help="policy file; default: the one in the package"
    )
    parser.add_argument("--strict", action="store_true", help="exit code 1 for warnings as well")
    parser.add_argument("--json", action="store_true", help="the findings as one JSON object")
    add_classifier_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from ..policy import checks
    from ..policy.reading import DEFAULT

    classifier = Classifier(
        arguments.model, device=arguments.device, threads=arguments.threads, isa=arguments.isa
    )
    file = arguments.policy or str(DEFAULT)
    findings = checks.check_file(file, classifier)
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    if arguments.json:
        result = {
            "file": file,
            "model": classifier.model_id,
            "errors": errors,
            "warnings": warnings,
            "findings": [vars(finding) for finding in findings],
        }
        Output().write(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    else:
        lines = [*map(str, findings), f"{file}: {errors} errors, {warnings} warnings"]
        Output().write("\n".join(lines) + "\n")
    return FLAGGED if errors or (arguments.strict and warnings) else OK
