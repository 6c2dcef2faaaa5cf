"""What stands differently in two policies. What that does to decisions is counted by `flips`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Final, Literal, TypeAlias, TypeVar

from .document import Audience, Category, Decided, Limits, PolicyDocument, Target, TermList
from .problems import spelled
from .resolve import calibrated
from .wording import level, limit_of, target_words

Kind: TypeAlias = Literal["added", "removed", "changed"]
Effect: TypeAlias = Literal["stricter", "laxer"]
Path: TypeAlias = tuple[str, ...]
_ACTIONS: Final[tuple[Decided, Decided]] = ("review", "block")


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        path: names as the file has them: ("categories", "hate", "review").
        kind: "added" and "removed" speak of a whole category, audience or list, or of a value.
        old, new: the values in words; None where there is none, and for sequences.
        come, gone: of a sequence, what the new policy adds and what it removes.
        private: `come` and `gone` hold terms or examples, which are shown only to those who ask.
        effect: of a threshold, if it can be told from the files.
    """

    path: Path
    kind: Kind
    old: str | None = None
    new: str | None = None
    come: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    private: bool = False
    effect: Effect | None = None

    @property
    def key(self) -> str:
        """The path as a TOML key."""
        return spelled(self.path)


@dataclass(frozen=True)
class _Items:
    """A sequence of texts, compared as a set."""

    texts: tuple[str, ...]
    private: bool = False


@dataclass(frozen=True)
class _Threshold:
    """A limit in words; `value` is the number behind it if the file says so, infinite for "never"."""

    words: str
    value: float | None


_Value: TypeAlias = str | _Items | _Threshold
_Values: TypeAlias = Iterator[tuple[Path, _Value]]
_Part = TypeVar("_Part", Category, Audience, TermList)


def differences(old: PolicyDocument, new: PolicyDocument) -> list[Change]:
    """All differences, in the order of the new policy's file; what only the old one has comes last."""
    return [
        *_changes((), dict(_head(old)), dict(_head(new))),
        *_section(
            "categories", old.categories, new.categories, partial(_category, old), partial(_category, new)
        ),
        *_section(
            "audiences", old.audiences, new.audiences, partial(_audience, old), partial(_audience, new)
        ),
        *_section("lists", old.lists, new.lists, _list, _list),
    ]


def _section(
    section: str,
    old: Mapping[str, _Part],
    new: Mapping[str, _Part],
    describe_old: Callable[[_Part], _Values],
    describe_new: Callable[[_Part], _Values],
) -> Iterator[Change]:
    for name in dict.fromkeys([*new, *old]):
        path = (section, name)
        if name not in old:
            yield Change(path, "added", new=new[name].title)
        elif name not in new:
            yield Change(path, "removed", old=old[name].title)
        else:
            yield from _changes(path, dict(describe_old(old[name])), dict(describe_new(new[name])))


def _head(document: PolicyDocument) -> _Values:
    for name in ("id", "version", "title", "description"):
        yield (name,), getattr(document, name)
    if document.calibration is not None:
        yield ("calibrated", "model"), document.calibration.model


def _category(document: PolicyDocument, category: Category) -> _Values:
    yield ("title",), category.title
    yield ("definition",), category.definition
    yield ("parent",), category.parent or ""
    yield ("includes",), _Items(category.includes)
    yield ("excludes",), _Items(category.excludes)
    yield from _limits(document, category.name, None, category.limits)
    yield ("severity",), ", ".join(f"{name} from {level(start)}" for name, start in category.severity)
    yield ("positive",), _Items(category.positive, private=True)
    yield ("negative",), _Items(category.negative, private=True)
    for taxonomy, names in category.crosswalk.items():
        yield ("crosswalk", taxonomy), ", ".join(names) or "no equivalent"


def _audience(document: PolicyDocument, audience: Audience) -> _Values:
    yield ("title",), audience.title
    yield ("description",), audience.description
    for name, limits in audience.limits.items():
        everybody = dict(_limits(document, name, None, document.categories[name].limits))
        for (action,), value in _limits(document, name, audience.name, limits):
            # The reader fills in what the audience does not change; that is not the audience's.
            if value != everybody[(action,)]:
                yield ("thresholds", name, action), value


def _list(terms: TermList) -> _Values:
    yield ("title",), terms.title
    yield ("action",), terms.action
    yield ("match",), terms.match
    yield ("category",), terms.category or ""
    yield ("terms",), _Items(terms.terms, private=True)


def _limits(
    document: PolicyDocument, category: str, audience: str | None, limits: Limits
) -> Iterator[tuple[tuple[str], _Threshold]]:
    for action in _ACTIONS:
        limit = limit_of(limits, action)
        if isinstance(limit, Target):
            found = calibrated(document.calibration, category, action, audience, limit)
            if found is None:
                threshold = _Threshold(f"{target_words(limit)}, not calibrated", None)
            elif found.value is None:
                threshold = _Threshold(f"{target_words(limit)}, found: never", inf)
            else:
                threshold = _Threshold(f"{target_words(limit)}, found: {level(found.value)}", found.value)
        elif limit == "model":
            threshold = _Threshold("the model's", None)
        elif limit == "never":
            threshold = _Threshold("never", inf)
        else:
            threshold = _Threshold(level(limit), limit)
        yield (action,), threshold


def _changes(path: Path, old: Mapping[Path, _Value], new: Mapping[Path, _Value]) -> Iterator[Change]:
    for key in dict.fromkeys([*new, *old]):
        before, after = old.get(key), new.get(key)
        if before != after:
            change = _change((*path, *key), before, after)
            if change is not None:
                yield change


def _change(path: Path, before: _Value | None, after: _Value | None) -> Change | None:
    if isinstance(before, _Items) and isinstance(after, _Items):
        come = tuple(text for text in after.texts if text not in set(before.texts))
        gone = tuple(text for text in before.texts if text not in set(after.texts))
        # The same texts in another order mean the same.
        return Change(path, "changed", come=come, gone=gone, private=after.private) if come or gone else None
    old, new = _words(before), _words(after)
    kind: Kind = "added" if old is None else "removed" if new is None else "changed"
    return Change(path, kind, old=old, new=new, effect=_effect(before, after))


def _words(value: _Value | None) -> str | None:
    """None for what is absent or empty."""
    text = value.words if isinstance(value, _Threshold) else value
    return text or None if isinstance(text, str) else None


def _effect(before: _Value | None, after: _Value | None) -> Effect | None:
    if not isinstance(before, _Threshold) or not isinstance(after, _Threshold):
        return None
    if before.value is None or after.value is None or before.value == after.value:
        return None
    return "stricter" if after.value < before.value else "laxer"
