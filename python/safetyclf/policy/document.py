"""A policy as data: what stands in a policy file, in frozen types. docs/policies.md defines the file.

Reading and checking is in `reading`; nothing here looks at a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

FORMAT: Final = "safetyclf-policy/1"
Metric: TypeAlias = Literal["fpr", "recall", "precision"]
ListAction: TypeAlias = Literal["allow", "review", "block"]
Match: TypeAlias = Literal["word", "anywhere", "text"]
Decided: TypeAlias = Literal["review", "block"]


@dataclass(frozen=True)
class Target:
    """A threshold as a promise, which `safetyclf calibrate` turns into a number.

    fpr: at most the share `value` of the category's negatives reaches the threshold; recall: at least that
    share of its positives does; precision: at least that share of what reaches it is positive. `value` and
    `confidence` lie in (0, 1).
    """

    metric: Metric
    value: float
    confidence: float = 0.95


# A number in [0, 1]; "model": what the model file says; "never": no score reaches it.
Limit: TypeAlias = float | Literal["model", "never"] | Target


@dataclass(frozen=True)
class Limits:
    """From where on a category is reviewed and blocked."""

    review: Limit = "model"
    block: Limit = "model"


@dataclass(frozen=True)
class Category:
    """What is not allowed, in words, in examples and in numbers.

    Attributes:
        name: of the model's category, or of a custom one that `safetyclf policy compile` fits.
        title, definition: for people; the definition is a plain sentence or two.
        includes, excludes: what belongs to it, and what does not although it looks like it.
        parent: name of the category that this one is a case of, or None.
        limits: thresholds for everybody.
        severity: level names with the lowest score of each, ascending; a score below the first has none.
        positive, negative: examples that must and must not be flagged for this category.
        crosswalk: the categories of other taxonomies that mean this one, by taxonomy; empty for "no
            equivalent".
    """

    name: str
    title: str
    definition: str = ""
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    parent: str | None = None
    limits: Limits = Limits()
    severity: tuple[tuple[str, float], ...] = ()
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    crosswalk: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Audience:
    """Thresholds that hold in place of the categories' own for some people or surface."""

    name: str
    title: str
    description: str = ""
    limits: Mapping[str, Limits] = field(default_factory=dict)


@dataclass(frozen=True)
class TermList:
    """Terms that decide by themselves.

    Attributes:
        name, title: of the list.
        action: "block" and "review" act where a term is found. "allow" takes back what other lists found
            within a term; with match "text" it also overrules the model.
        match: "word": the term stands between word boundaries; "anywhere": also inside a word; "text": it is
            the whole text.
        terms: `*` stands for any letters and digits of one word, also none; `?` for exactly one.
        category: that a match counts for, or None.
    """

    name: str
    title: str
    action: ListAction
    match: Match
    terms: tuple[str, ...]
    category: str | None = None


@dataclass(frozen=True)
class Calibrated:
    """One threshold that `safetyclf calibrate` found for a target, and what it rests on.

    `audience` is None for the category's own threshold. `value` is None for "never". `statement` is in JSON
    types: rule, bound, n, data_sha256 and more (docs/policies.md).
    """

    category: str
    action: Decided
    audience: str | None
    target: Target
    value: float | None
    statement: Mapping[str, Any]


@dataclass(frozen=True)
class Calibration:
    """The part of a policy file that `safetyclf calibrate` writes; it holds for one model's scores."""

    model: str
    thresholds: tuple[Calibrated, ...]


@dataclass(frozen=True)
class PolicyDocument:
    """A whole policy.

    Attributes:
        id, version: `id` is 1 to 64 of a-z 0-9 . _ -; `version` is MAJOR.MINOR.PATCH.
        title, description: for people.
        categories: by name, in the order of the file. What is not in it is not decided on.
        audiences, lists: by name.
        calibration: what `safetyclf calibrate` found, or None.
        sha256: of the policy's content, 64 hex digits: equal for equal policies however they are laid out.
        path: of the file it was read from, or None.
        lines: line of each key in the file, from 1, by the path of names to it; elements of a list are
            named "0", "1" and so on.
    """

    id: str
    version: str
    title: str
    description: str
    categories: Mapping[str, Category]
    audiences: Mapping[str, Audience]
    lists: Mapping[str, TermList]
    calibration: Calibration | None
    sha256: str
    path: str | None = None
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def full_id(self) -> str:
        """`id-version+sha256[:12]`, as verdicts show it."""
        return f"{self.id}-{self.version}+{self.sha256[:12]}"
