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
    classifier = Classifier(
        arguments.model, device=arguments.device, threads=arguments.threads, isa=arguments.isa
    )
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
    tokenizer, build = info["tokenizer"], info["build"]
    lines = [
        f"model         {info['model']}",
        f"file          {info['path']}",
        f"description   {info['description']}",
        f"licence       {info['licence']}",
        f"architecture  {_architecture(info['architecture'])}",
        f"long texts    windows of {tokenizer['window_tokens']} tokens, {tokenizer['overlap_tokens']} shared",
        f"version       safetyclf {build['version']}, numerics revision {build['numerics_revision']}, "
        f"compiler {build['compiler']}",
        f"running on    {info['isa']} (this CPU can run {', '.join(build['supported_isas'])}), "
        f"{info['threads']} threads",
        f"device        {_device(info)}",
        "",
        *_table(info["categories"]),
        *_notes(info),
    ]
    return "\n".join(lines)


def _device(info: dict[str, Any]) -> str:
    kernels = info["build"]["cuda_architectures"]
    built = f"kernels for {', '.join(kernels)}" if kernels else "no kernels for GPUs in this build"
    return f"{info['device']} ({info['device_note'] or built})"


def _architecture(found: dict[str, Any]) -> str:
    if found["type"] == "onnx":
        return f"onnx: {', '.join(found['inputs'])} to {found['output']} of {len(found['labels'])} labels"
    return (
        f"{found['type']}: {found['layers']} layers of {found['hidden']}, {found['heads']} heads, "
        f"{found['vocabulary']} tokens"
    )


def _table(categories: list[dict[str, Any]]) -> list[str]:
    """One line per category: thresholds, and what the file says of them."""
    width = max([len("category"), *(len(category["name"]) for category in categories)])
    action = "{:>7} {:>7} {:>7}"
    line = f"{{:<{width}}}  {{:<8}}  {action}  {action}  {{:>9}} {{:>9}}"
    lines = [
        line.format(
            "category",
            "coverage",
            *("review", "recall", "bound"),
            *("block", "recall", "bound"),
            *("positives", "negatives"),
        )
    ]
    for category in categories:
        statement = category["threshold_statement"] or {}
        lines.append(
            line.format(
                category["name"],
                category["coverage"],
                *_action(category, statement, "review"),
                *_action(category, statement, "block"),
                *(str(statement.get(count, "-")) for count in ("positives", "negatives")),
            )
        )
    return lines


def _action(category: dict[str, Any], statement: dict[str, Any], action: str) -> tuple[str, str, str]:
    """Threshold, recall and bound. The format leaves the keys of a statement open, so any may be absent."""
    if category["coverage"] == "none":
        return "-", "-", "-"
    if category[action] is None:
        return "never", "-", "-"
    found = statement.get(action, {})
    recall = f"{found['recall']:.1%}" if "recall" in found else "-"
    bound = f"{found['bound']:.3%}" if "bound" in found else "-"
    return f"{category[action]:.4f}", recall, bound


def _notes(info: dict[str, Any]) -> list[str]:
    """What the table means, once for all categories that say the same, and why something is missing."""
    promises: dict[str, list[str]] = {}
    absent: dict[tuple[str, str], list[str]] = {}
    gaps = []
    for category in info["categories"]:
        name, statement = category["name"], category["threshold_statement"] or {}
        if category["coverage"] == "none":
            reason = info["provenance"].get("uncovered", {}).get(name, "the file gives no reason")
            gaps.append(f"{name} has no score: {reason}")
        if "rule" in statement:
            confidence = f"; confidence {statement['confidence']:.0%}" if "confidence" in statement else ""
            on = f"; on {statement['set']}" if "set" in statement else ""
            promises.setdefault(f"{statement['rule']}{confidence}{on}", []).append(name)
        reasons: dict[str, list[str]] = {}
        for action in ("review", "block"):
            reason = statement.get(action, {}).get("never")
            if reason is not None and category[action] is None:
                reasons.setdefault(reason, []).append(action)
        for reason, actions in reasons.items():
            absent.setdefault((" or ".join(actions), reason), []).append(name)
    said = [
        f"bound: {promise}" + (f" ({', '.join(names)})" if len(promises) > 1 else "")
        for promise, names in promises.items()
    ]
    if info["exits"] and {"rule", "bound", "levels", "texts"} <= info["exits"].keys():
        exits = info["exits"]
        seen = ", ".join(str(level["violations"]) for level in exits["levels"])
        said.append(
            f"effort adaptive: {exits['rule']}; bound {exits['bound']:.3%}, {exits['texts']} texts, "
            f"seen at each level of floors: {seen}"
        )
    gaps += [
        f"no {actions} threshold for {', '.join(names)}: {why}" for (actions, why), names in absent.items()
    ]
    notes = [*said, *gaps]
    return ["", *notes] if notes else []
