"""A policy for those whom it concerns: what is not allowed and what happens then."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Final

from .blocks import Block, Grid, Heading, Items, Page, Paragraph
from .document import Category, Decided, ListAction, Match, PolicyDocument, TermList
from .origins import ModelSide, Start, check_audience, starts
from .wording import level

_OUTCOMES: Final[dict[Decided, str]] = {
    "review": "a person should look at the text",
    "block": "the text should not be published",
}
_MATCHES: Final[dict[Match, str]] = {
    "word": "as a whole word",
    "anywhere": "anywhere, also inside a word",
    "text": "as the whole text",
}
_LIST_ACTIONS: Final[dict[ListAction, str]] = {
    "review": "A text with one of these terms is reviewed, whatever its score.",
    "block": "A text with one of these terms is blocked, whatever its score.",
    "allow": "Terms of other lists are taken as harmless where they stand within one of these.",
}
_NO_SCORE: Final = "The program does not act on this by score. That does not make it allowed."
_ALLOW_TEXT: Final = "A text that consists of one of these terms is allowed, whatever its score."


def lay_page(
    document: PolicyDocument, *, model: ModelSide, audience: str | None = None, show_terms: bool = False
) -> Page:
    """The page.

    Args:
        document: the policy.
        model: fills in the thresholds that the policy leaves to the model.
        audience: numbers are for this one alone.
        show_terms: shows the terms of lists and not only their number.

    Raises:
        PolicyError: there is no such audience.
    """
    check_audience(document, audience)
    model_words = "" if model.id is None else f" Scores by {model.id}."
    return Page(
        title=document.title,
        lead=document.description,
        blocks=tuple(_Writer(document, model, audience, show_terms).blocks()),
        source=f"Policy {document.full_id}.{model_words}",
    )


class _Writer:
    def __init__(
        self, document: PolicyDocument, model: ModelSide, audience: str | None, show_terms: bool
    ) -> None:
        self._document = document
        self._audience = audience
        self._show_terms = show_terms
        self._starts = {name: starts(document, model, name, audience) for name in document.categories}
        self._by_audience = {
            name: {category: starts(document, model, category, name) for category in found.limits}
            for name, found in document.audiences.items()
            if audience is None
        }

    def blocks(self) -> Iterator[Block]:
        yield from self._short()
        yield Heading(2, "What is not allowed")
        for category in self._document.categories.values():
            yield from self._category(category)
        if self._by_audience:
            yield Heading(2, "Audiences")
            yield Paragraph("For these the numbers below hold in place of those above.")
            for name in self._by_audience:
                yield from self._audience_part(name)
        if self._document.lists:
            yield Heading(2, "Lists of terms")
            for terms in self._document.lists.values():
                yield from self._list(terms)
        yield from self._origins()

    def _short(self) -> Iterator[Block]:
        yield Heading(2, "In short")
        yield Paragraph(
            "A program reads every text and gives it a score from 0 to 1 for each category below: how sure "
            "it is that the text belongs there. The score decides what happens; without a score that is high "
            "enough the text is allowed."
        )
        yield Items(tuple(f"{action.capitalize()}: {outcome}." for action, outcome in _OUTCOMES.items()))
        whom = ""
        if self._audience is not None:
            found = self._document.audiences[self._audience]
            whom = f", for {found.title}"
            yield Paragraph(f"This page is for {found.title}. {found.description}".strip())
        yield Grid(
            f"From which score on{whom}",
            ("category", "review from", "block from"),
            tuple(
                (self._title(name), found["review"].words, found["block"].words)
                for name, found in self._starts.items()
            ),
        )

    def _category(self, category: Category) -> Iterator[Block]:
        yield Heading(3, category.title)
        if category.definition:
            yield Paragraph(category.definition)
        if category.parent is not None:
            yield Paragraph(f"This is a special case of {self._title(category.parent)}.")
        for title, texts in (("Includes", category.includes), ("Does not include", category.excludes)):
            if texts:
                yield Heading(4, title)
                yield Items(texts)
        yield Heading(4, "What happens")
        yield Items(tuple(self._consequences(self._starts[category.name])))
        if category.severity:
            yield Heading(4, "How serious")
            yield Items(
                tuple(f"{name}: from a score of {level(score)} on" for name, score in category.severity)
            )

    def _consequences(self, found: dict[Decided, Start]) -> Iterator[str]:
        if all(start.value == inf for start in found.values()):
            yield _NO_SCORE
            return
        for action, start in found.items():
            if start.value is None:
                yield f"{action.capitalize()}: {start.words}."
            elif start.value == inf:
                yield f"{action.capitalize()}: never by score."
            else:
                yield f"{action.capitalize()}: from a score of {start.words} on {_OUTCOMES[action]}."

    def _audience_part(self, name: str) -> Iterator[Block]:
        audience = self._document.audiences[name]
        yield Heading(3, audience.title)
        if audience.description:
            yield Paragraph(audience.description)
        if audience.limits:
            yield Grid(
                f"From which score on, for {audience.title}",
                ("category", "review from", "block from"),
                tuple(
                    (self._title(category), found["review"].words, found["block"].words)
                    for category, found in self._by_audience[name].items()
                ),
            )
        else:
            yield Paragraph("The same numbers as for everybody.")

    def _list(self, terms: TermList) -> Iterator[Block]:
        yield Heading(3, terms.title)
        count = "1 term" if len(terms.terms) == 1 else f"{len(terms.terms):,} terms"
        overrules = terms.action == "allow" and terms.match == "text"
        text = f"{count}, found {_MATCHES[terms.match]}. "
        text += _ALLOW_TEXT if overrules else _LIST_ACTIONS[terms.action]
        if terms.category is not None:
            text += f" It counts as {self._title(terms.category)}."
        yield Paragraph(text)
        if self._show_terms:
            yield Items(terms.terms)

    def _origins(self) -> Iterator[Block]:
        """Each origin once, with what it holds for."""
        yield Heading(2, "Where the numbers come from")
        of: dict[str, dict[str, list[str]]] = {}
        parts = [("", self._starts)]
        parts += [(f", {self._document.audiences[n].title}", found) for n, found in self._by_audience.items()]
        for whom, found in parts:
            for category, both in found.items():
                for action, start in both.items():
                    places = of.setdefault(start.origin, {})
                    places.setdefault(f"{action.capitalize()}{whom}", []).append(self._title(category))
        for origin, places in of.items():
            yield Paragraph(f"{origin} This is so for:")
            yield Items(tuple(f"{what}: {', '.join(titles)}" for what, titles in places.items()))

    def _title(self, category: str) -> str:
        return self._document.categories[category].title
