"""What a schema cannot say of a policy file: that its parts agree with each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .document import Audience, Category, Limits, PolicyDocument, Target, TermList
from .folding import fold
from .problems import Path, Problems, nearest, spelled
from .tables import shown


def check(document: PolicyDocument, problems: Problems) -> None:
    """Reports every contradiction within the document."""
    _titles(document, problems)
    _parents(document.categories, problems)
    for name, category in document.categories.items():
        own = ("categories", name)
        _order(category.limits, own, own, problems)
        _severity(category, problems)
        _examples(category, problems)
    for name, audience in document.audiences.items():
        for category_name, limits in audience.limits.items():
            path = ("audiences", name, "thresholds", category_name)
            if category_name in document.categories:
                _order(limits, path, ("categories", category_name), problems)
            else:
                problems.add(
                    path, f"unknown category {category_name!r}", nearest(category_name, document.categories)
                )
    for name, terms in document.lists.items():
        if terms.category is not None and terms.category not in document.categories:
            problems.add(
                ("lists", name, "category"),
                f"unknown category {terms.category!r}",
                nearest(terms.category, document.categories),
            )
    _calibration(document, problems)


def _titles(document: PolicyDocument, problems: Problems) -> None:
    groups: dict[str, Mapping[str, Category] | Mapping[str, Audience] | Mapping[str, TermList]] = {
        "categories": document.categories,
        "audiences": document.audiences,
        "lists": document.lists,
    }
    for group, entries in groups.items():
        titles = (
            (fold(entry.title), (group, name, "title")) for name, entry in entries.items() if entry.title
        )
        for path, first in _repeated(titles):
            problems.add(
                path,
                f"{spelled(path[:2])} has the title of {spelled(first[:2])} in line {problems.line(first)}",
                "give them different titles, or make one of them",
            )


def _repeated(entries: Iterable[tuple[str, Path]]) -> Iterable[tuple[Path, Path]]:
    """Of entries with an equal text the path of each later one, and of the first."""
    seen: dict[str, Path] = {}
    for text, path in entries:
        if text in seen:
            yield path, seen[text]
        seen.setdefault(text, path)


def _parents(categories: Mapping[str, Category], problems: Problems) -> None:
    reported: set[str] = set()
    for name, category in categories.items():
        path = ("categories", name, "parent")
        if category.parent is not None and category.parent not in categories:
            problems.add(path, f"unknown category {category.parent!r}", nearest(category.parent, categories))
        chain = [name]
        while (parent := categories[chain[-1]].parent) in categories and parent not in chain:
            chain.append(str(parent))
        if parent == name and not reported & set(chain):
            reported |= set(chain)
            circle = " -> ".join(spelled((link,)) for link in (*chain, name))
            problems.add(path, f"the parents go in a circle: {circle}", "take one of these parents out")


def _order(limits: Limits, path: Path, inherited: Path, problems: Problems) -> None:
    """Whatever is blocked is flagged as well; `model` gives way, see `resolve`."""
    review, block = limits.review, limits.block
    if isinstance(review, float) and isinstance(block, float) and block < review:
        what = f"{spelled(path)}: block at {block:g} is below review at {review:g}"
        advice = "block at the same or a higher score"
    elif review == "never" and isinstance(block, float | Target):
        what = f"{spelled(path)}: it blocks but never reviews, and what is blocked is also flagged"
        advice = "give 'review' a threshold, or write block = \"never\""
    else:
        return
    own = [key for key in ("block", "review") if problems.has((*path, key))]
    if path != inherited and len(own) < 2:
        other = "review" if own == ["block"] else "block"
        what += f" ({other} is the category's, line {problems.line((*inherited, other))})"
    problems.add((*path, own[0]) if own else path, what, advice)


def _severity(category: Category, problems: Problems) -> None:
    for (lower, low), (name, score) in zip(category.severity, category.severity[1:], strict=False):
        if score <= low:
            problems.add(
                ("categories", category.name, "severity", name),
                f"severity {name!r} begins at {score:g}, not above {low:g} where {lower!r} before it begins",
                "list the levels from the lowest to the highest score",
            )


def _examples(category: Category, problems: Problems) -> None:
    for good, bad, said in (
        ("positive", "negative", "is both a positive and a negative example"),
        ("includes", "excludes", "is both included and excluded"),
    ):
        entries = {
            key: [
                (fold(text), ("categories", category.name, key, str(number)))
                for number, text in enumerate(getattr(category, key))
                if text
            ]
            for key in (good, bad)
        }
        for key in (good, bad):
            for path, first in _repeated(entries[key]):
                problems.add(
                    path,
                    f"{_quoted(category, path)} stands twice in {key!r} (also line {problems.line(first)})",
                    "take one out",
                )
        firsts = dict(reversed(entries[good]))
        for text, path in entries[bad]:
            if text in firsts:
                problems.add(
                    path,
                    f"{_quoted(category, path)} {said} (line {problems.line(firsts[text])})",
                    "decide which, and take the other out",
                )


def _quoted(category: Category, path: Path) -> str:
    return shown(getattr(category, path[2])[int(path[3])])


def _calibration(document: PolicyDocument, problems: Problems) -> None:
    if document.calibration is None:
        return
    entries = (
        (repr((entry.category, entry.action, entry.audience, entry.target)), number)
        for number, entry in enumerate(document.calibration.thresholds)
    )
    keyed = ((key, ("calibrated", "thresholds", str(number))) for key, number in entries)
    for path, first in _repeated(keyed):
        problems.add(
            path,
            f"the same threshold as in line {problems.line(first)} is calibrated twice",
            "run safetyclf calibrate again rather than editing this part",
        )
