"""The parts of a policy file, from TOML values to the types of `document`.

What is checked here is what schema.json can say: keys, types, ranges. `relations` checks the rest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from .._errors import PolicyError
from .document import (
    FORMAT,
    Audience,
    Calibrated,
    Calibration,
    Category,
    Decided,
    Limit,
    Limits,
    Metric,
    PolicyDocument,
    Target,
    TermList,
)
from .folding import fold
from .list_file import read_terms
from .problems import Path, Problems, spelled
from .tables import CATEGORY, NAME, ONE_LINE, TERM, VERSION, Table, is_json, shown

_KEYS: Final = (
    *("format", "id", "version", "title", "description"),
    *("categories", "audiences", "lists", "calibrated"),
)
_CATEGORY_KEYS: Final = (
    *("title", "definition", "includes", "excludes", "parent", "review", "block", "severity"),
    *("positive", "negative", "crosswalk"),
)
_LIST_KEYS: Final = ("title", "action", "match", "category", "terms", "file")
_CALIBRATED_KEYS: Final = ("category", "action", "audience", "target", "value", "never", "statement")
_METRICS: Final[tuple[Metric, ...]] = ("fpr", "recall", "precision")


def build(data: Mapping[str, Any], folder: str | None, problems: Problems) -> PolicyDocument:
    """The document, without digest, path and lines. What is wrong is reported and has its default.

    Args:
        data: the parsed file.
        folder: where files of terms are looked for; None if there is no such place.
        problems: takes what is wrong.
    """
    top = Table(data, (), problems, _KEYS)
    if top.require("format", f'begin the file with format = "{FORMAT}"') and top.get("format") != FORMAT:
        top.wrong("format", f'"{FORMAT}"', "this version of safetyclf reads no other")
    categories = {
        name: _category(name, value, path, problems)
        for name, value, path in top.tables("categories", CATEGORY, "category")
    }
    return PolicyDocument(
        id=top.pattern("id", NAME, "1 to 64 of a-z 0-9 . _ -", 'name the policy, like id = "our-forum"'),
        version=top.pattern(
            "version", VERSION, "MAJOR.MINOR.PATCH", 'write three numbers, like version = "1.0.0"'
        ),
        title=top.title(),
        description=top.prose("description"),
        categories=categories,
        audiences={
            name: _audience(name, value, path, categories, problems)
            for name, value, path in top.tables("audiences", NAME, "audience")
        },
        lists={
            name: _term_list(name, value, path, folder, problems)
            for name, value, path in top.tables("lists", NAME, "list")
        },
        calibration=_calibration(top) if "calibrated" in top else None,
        sha256="",
    )


def _category(name: str, value: Any, path: Path, problems: Problems) -> Category:
    table = Table(value, path, problems, _CATEGORY_KEYS)
    return Category(
        name=name,
        title=table.title(),
        definition=table.prose("definition"),
        includes=table.texts("includes"),
        excludes=table.texts("excludes"),
        parent=_name(table, "parent"),
        limits=_limits(table, Limits()),
        severity=_severity(table),
        positive=table.texts("positive"),
        negative=table.texts("negative"),
        crosswalk=_crosswalk(table),
    )


def _audience(
    name: str, value: Any, path: Path, categories: Mapping[str, Category], problems: Problems
) -> Audience:
    table = Table(value, path, problems, ("title", "description", "thresholds"))
    limits = {}
    for category, entry, place in table.tables("thresholds", CATEGORY, "category"):
        thresholds = Table(entry, place, problems, ("review", "block"))
        if isinstance(entry, dict) and not entry:
            problems.add(place, f"{spelled(place)!r} changes nothing", "give it a 'review' or a 'block'")
        own = categories[category].limits if category in categories else Limits()
        limits[category] = _limits(thresholds, own)
    return Audience(name=name, title=table.title(), description=table.prose("description"), limits=limits)


def _limits(table: Table, otherwise: Limits) -> Limits:
    """`otherwise` with those thresholds in place that the table has."""
    given: dict[str, Any] = {key: _limit(table, key) for key in ("review", "block") if key in table}
    return replace(otherwise, **given)


def _limit(table: Table, key: str) -> Limit:
    value = table.get(key)
    if isinstance(value, dict):
        return _target(table, key) or "model"
    if value == "model" or value == "never":
        return "model" if value == "model" else "never"
    if isinstance(value, str):
        table.wrong(key, 'a number from 0 to 1, "model", "never" or a target', "see docs/policies.md")
        return "model"
    number = table.number(key, ends=True)
    return "model" if number is None else number


def _target(table: Table, key: str) -> Target | None:
    path = table.under(key)
    target = Table(table.get(key), path, table.problems, (*_METRICS, "confidence"))
    named = [metric for metric in _METRICS if metric in target]
    numbers = {name: target.number(name, ends=False) for name in (*named, "confidence") if name in target}
    if len(named) != 1:
        has = "has " + " and ".join(named) if named else "names none"
        table.problems.add(
            path, f"{spelled(path)!r} must name one of {', '.join(_METRICS)} and {has}", "keep one of them"
        )
        return None
    value, confidence = numbers[named[0]], numbers.get("confidence", 0.95)
    return None if value is None or confidence is None else Target(named[0], value, confidence)


def _severity(table: Table) -> tuple[tuple[str, float], ...]:
    levels = []
    for name, _, path in table.tables("severity", NAME, "level of severity"):
        from_score = Table(
            table.get("severity"), path[:-1], table.problems, tuple(table.get("severity"))
        ).number(name, ends=True)
        if from_score is not None:
            levels.append((name, from_score))
    return tuple(levels)


def _crosswalk(table: Table) -> dict[str, tuple[str, ...]]:
    found = list(table.tables("crosswalk", NAME, "taxonomy"))
    if not found:
        return {}
    inner = Table(
        table.get("crosswalk"), table.under("crosswalk"), table.problems, [name for name, _, _ in found]
    )
    return {name: inner.texts(name) for name, _, _ in found}


def _name(table: Table, key: str) -> str | None:
    """The name of a category that another part mentions; whether there is one is for `relations`."""
    value = table.get(key)
    if key in table and not isinstance(value, str):
        table.wrong(key, "the name of a category in quotes", "put it in quotes")
    return value if isinstance(value, str) else None


def _term_list(name: str, value: Any, path: Path, folder: str | None, problems: Problems) -> TermList:
    table = Table(value, path, problems, _LIST_KEYS)
    if isinstance(value, dict) and "terms" not in table and "file" not in table:
        problems.add(path, f"{spelled(path)!r} has neither 'terms' nor 'file'", "give it terms")
    places = {
        (*table.under("terms"), str(number)): term for number, term in enumerate(table.texts("terms", TERM))
    }
    first: dict[str, str] = {}
    for place, term in places.items():
        if term and fold(term) in first:
            problems.add(
                place,
                f"the term {shown(term)} stands twice in the list (also {first[fold(term)]})",
                "take one out",
            )
        first.setdefault(fold(term), f"line {problems.line(place)}")
    return TermList(
        name=name,
        title=table.title(),
        action=table.choice("action", ("allow", "review", "block"), None),
        match=table.choice("match", ("word", "anywhere", "text"), "word"),
        terms=(*places.values(), *_terms_of_file(table, folder, first)),
        category=_name(table, "category"),
    )


def _terms_of_file(table: Table, folder: str | None, first: dict[str, str]) -> list[str]:
    if "file" not in table:
        return []
    advice = "write a path relative to the policy file"
    file = table.pattern("file", ONE_LINE, "the path of a file in quotes", advice)
    if not file:
        return []
    if folder is None:
        table.wrong("file", "absent in a policy that is not a file itself", "write the terms under 'terms'")
        return []
    path = os.path.join(folder, file)
    try:
        found = read_terms(path)
    except PolicyError as error:
        table.problems.add_elsewhere(str(error))
        return []
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        table.problems.add(
            table.under("file"), f"cannot read the terms in {path}: {reason}", "correct the path"
        )
        return []
    first = {term: f"in the policy, {place}" for term, place in first.items()}
    for term, line in found:
        if fold(term) in first:
            table.problems.add_elsewhere(
                f"{path}:{line}: the term {shown(term)} stands twice in the list (also {first[fold(term)]});"
                " take one out"
            )
        first.setdefault(fold(term), f"line {line}")
    return [term for term, _ in found]


def _calibration(top: Table) -> Calibration:
    advice = "run safetyclf calibrate again rather than editing this part"
    table = Table(top.get("calibrated"), ("calibrated",), top.problems, ("model", "thresholds"))
    model = table.pattern("model", ONE_LINE, "the id of a model", advice)
    entries = table.get("thresholds")
    if not isinstance(entries, list):
        if table.require("thresholds", advice):
            table.wrong("thresholds", "a list of tables", advice)
        entries = []
    found = [
        _calibrated(entry, (*table.under("thresholds"), str(number)), top.problems, advice)
        for number, entry in enumerate(entries)
    ]
    return Calibration(model=model, thresholds=tuple(entry for entry in found if entry is not None))


def _calibrated(value: Any, path: Path, problems: Problems, advice: str) -> Calibrated | None:
    table = Table(value, path, problems, _CALIBRATED_KEYS)
    if not isinstance(value, dict):
        return None
    category = table.pattern("category", CATEGORY, "the name of a category", advice)
    target = None
    if table.require("target", advice):
        if isinstance(table.get("target"), dict):
            target = _target(table, "target")
        else:
            table.wrong("target", "a target like { fpr = 0.01 }", advice)
    if ("value" in table) == ("never" in table):
        problems.add(path, f"{spelled(path)!r} needs either 'value' or 'never = true'", advice)
    if "never" in table and table.get("never") is not True:
        table.wrong("never", "true", advice)
    number = table.number("value", ends=True) if "value" in table else None
    statement = table.get("statement")
    if table.require("statement", advice) and not (isinstance(statement, dict) and is_json(statement)):
        table.wrong("statement", "a table of texts, numbers, true, false, lists and tables", advice)
    action: Decided = table.choice("action", ("review", "block"), None)
    audience = (
        table.pattern("audience", NAME, "the name of an audience", advice) if "audience" in table else None
    )
    if target is None:
        return None
    return Calibrated(category, action, audience, target, number, statement or {})
