"""Reading of policy files. docs/policies.md defines what stands in them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from .._errors import PolicyError
from . import relations, sections
from .document import FORMAT, Limit, Limits, PolicyDocument, Target
from .lines import key_lines
from .problems import Problems

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT: Final = Path(__file__).with_name("default.toml")
SCHEMA: Final = Path(__file__).with_name("schema.json")

_PLACE_OF_PARSER: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def load(path: str | os.PathLike[str]) -> PolicyDocument:
    """Reads and checks a policy file.

    Files of terms that it names are looked for relative to its folder.

    Raises:
        PolicyError: the file cannot be read or breaks a rule of docs/policies.md. The message has a line for
            each problem: `FILE:LINE: what is wrong; what to do`.
    """
    name = os.fspath(path)
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PolicyError(f"{name}: cannot read the policy: {reason}; correct the path") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The object of the error lacks the byte order mark, if there was one.
        before = error.object[: error.start]
        line, byte = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise PolicyError(
            f"{name}:{line}: not UTF-8 at byte {byte} of the line; save the file as UTF-8"
        ) from None
    return replace(loads(text, name, folder=os.path.dirname(name)), path=name)


def loads(text: str, name: str = "policy", *, folder: str | None = None) -> PolicyDocument:
    """Reads and checks the text of a policy file.

    Args:
        text: TOML.
        name: stands for the file in messages.
        folder: where files of terms are looked for; without it a policy that names one is refused.

    Raises:
        PolicyError: as `load`.
    """
    try:
        data = _parse(text, name)
        lines = key_lines(text.replace("\r\n", "\n"))
        problems = Problems(name, lines)
        document = sections.build(data, folder, problems)
    except RecursionError:
        raise PolicyError(
            f"{name}:1: tables or lists are nested too deeply; a policy needs no such depth"
        ) from None
    relations.check(document, problems)
    problems.raise_if_any()
    return replace(document, sha256=_digest(document), lines=lines)


def load_default() -> PolicyDocument:
    """The policy that comes with the package, for the model in the package."""
    return load(DEFAULT)


def canonical(document: PolicyDocument) -> dict[str, Any]:
    """What the policy says, without what was calibrated, in JSON types: equal for equal policies."""
    return {
        "format": FORMAT,
        "id": document.id,
        "version": document.version,
        "title": document.title,
        "description": document.description,
        "categories": {
            name: {
                "title": category.title,
                "definition": category.definition,
                "includes": list(category.includes),
                "excludes": list(category.excludes),
                "parent": category.parent,
                **_limits(category.limits),
                "severity": dict(category.severity),
                "positive": list(category.positive),
                "negative": list(category.negative),
                "crosswalk": {taxonomy: list(names) for taxonomy, names in category.crosswalk.items()},
            }
            for name, category in document.categories.items()
        },
        "audiences": {
            name: {
                "title": audience.title,
                "description": audience.description,
                "thresholds": {category: _limits(limits) for category, limits in audience.limits.items()},
            }
            for name, audience in document.audiences.items()
        },
        "lists": {
            name: {
                "title": terms.title,
                "action": terms.action,
                "match": terms.match,
                "category": terms.category,
                "terms": list(terms.terms),
            }
            for name, terms in document.lists.items()
        },
    }


def _digest(document: PolicyDocument) -> str:
    text = json.dumps(canonical(document), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _limits(limits: Limits) -> dict[str, Any]:
    return {"review": _limit(limits.review), "block": _limit(limits.block)}


def _limit(limit: Limit) -> Any:
    if isinstance(limit, Target):
        return {limit.metric: limit.value, "confidence": limit.confidence}
    return limit


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise PolicyError(f"{name}:{line}: a lone surrogate is not text; take it out") from None
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except ValueError as error:
        message = str(error)
        match = _PLACE_OF_PARSER.search(message)
        last = len(text.splitlines()) or 1
        line = int(match[1]) if match and match[1] else last
        what = message[: match.start()] if match else message
        column = f" at column {match[2]}" if match and match[2] else ""
        raise PolicyError(
            f"{name}:{line}: not valid TOML: {what}{column}; look at quotes, brackets and keys there"
        ) from None
    return data
