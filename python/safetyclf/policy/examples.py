"""A policy's examples, tried on a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from .document import PolicyDocument
from .problems import line_of
from .tables import shown

if TYPE_CHECKING:
    from .._classifier import Classifier
    from .._results import Thresholds

Kind = Literal["positive", "negative"]

_NOT_IN_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Outcome:
    """What became of one example.

    Attributes:
        category, kind, number: which example; numbers count from 1.
        line: in the policy file.
        text: of the example.
        score, review: of the category; None where the model has no score, or the threshold is "never".
    """

    category: str
    kind: Kind
    number: int
    line: int
    text: str
    score: float | None
    review: float | None

    @property
    def passed(self) -> bool | None:
        """Whether it fits; None if there was nothing to try."""
        if self.score is None or self.review is None:
            return None
        return (self.score >= self.review) == (self.kind == "positive")

    def describe(self, *, whole: bool = False) -> str:
        """One line: what is wrong, with the beginning of the text or all of it."""
        name = f"{self.category} {self.kind} {self.number}"
        if self.score is None or self.review is None:
            why = "the model has no score for it" if self.score is None else "its review threshold is never"
            result = f"not tried, {why}"
        else:
            relation = "reaches" if self.score >= self.review else "is below"
            result = f"score {self.score:.4f} {relation} review {self.review:.4f}"
        return f"{name}: {result}: {repr(self.text) if whole else shown(self.text)}"


def run(
    document: PolicyDocument, classifier: Classifier, thresholds: Mapping[str, Thresholds]
) -> list[Outcome]:
    """Tries every example against the thresholds of its category, in the order of the file.

    A positive example must reach the review threshold and a negative one must not. Lists of terms play no
    part: examples test what the model makes of the category.
    """
    places: list[tuple[str, Kind, int, str]] = []
    for name, category in document.categories.items():
        places += [(name, "positive", i, text) for i, text in enumerate(category.positive)]
        places += [(name, "negative", i, text) for i, text in enumerate(category.negative)]
    verdicts = classifier.classify_batch([text for _, _, _, text in places])
    return [
        Outcome(
            category=name,
            kind=kind,
            number=i + 1,
            line=line_of(document.lines, ("categories", name, kind, str(i))),
            text=text,
            score=verdict.scores.get(name),
            review=thresholds[name].review if name in thresholds else None,
        )
        for (name, kind, i, text), verdict in zip(places, verdicts, strict=True)
    ]


def junit(document: PolicyDocument, outcomes: Sequence[Outcome], *, whole: bool = False) -> str:
    """The outcomes as JUnit XML: a suite for each category, a case for each example."""
    from xml.etree import ElementTree

    root = ElementTree.Element("testsuites", name=document.full_id)
    for category in dict.fromkeys(outcome.category for outcome in outcomes):
        cases = [outcome for outcome in outcomes if outcome.category == category]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=category,
            tests=str(len(cases)),
            failures=str(sum(case.passed is False for case in cases)),
            errors="0",
            skipped=str(sum(case.passed is None for case in cases)),
        )
        for case in cases:
            element = ElementTree.SubElement(
                suite,
                "testcase",
                classname=f"{document.id}.{category}",
                name=f"{case.kind} {case.number}",
                file=document.path or "policy",
                line=str(case.line),
            )
            if not case.passed:
                result = "failure" if case.passed is False else "skipped"
                said = _NOT_IN_XML.sub("\ufffd", case.describe(whole=whole))
                ElementTree.SubElement(element, result, message=said)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
