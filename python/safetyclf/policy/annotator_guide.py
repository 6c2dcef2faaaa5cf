"""A policy for those who label texts by it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .blocks import Block, Heading, Items, Page, Paragraph
from .document import Category, PolicyDocument


def annotator_guide(document: PolicyDocument) -> Page:
    """The page; it holds the policy's examples."""
    return Page(
        title=f"Annotator guide: {document.title}",
        lead=document.description,
        blocks=tuple(_blocks(document)),
        source=f"Policy {document.full_id}.",
    )


def _blocks(document: PolicyDocument) -> Iterator[Block]:
    yield Heading(2, "How to label")
    yield Items(
        (
            "Read the whole text before you decide anything.",
            "Go through the categories one by one. Each has its own answer, yes, no or unknown; a text may "
            "belong to several categories or to none.",
            "Decide by the definition. What stands under “Includes” and “Does not include” settles cases "
            "that it leaves open.",
            "Judge what the text does, not single words in it, and not whether you like or believe it.",
            "Do not look up what others answered.",
        ),
        ordered=True,
    )
    yield Heading(2, "When to mark unknown")
    yield Paragraph(
        "Unknown is an answer of its own: such a text is left out for that category and counts neither way. "
        "A guess does harm, unknown does not."
    )
    yield Items(
        (
            "You cannot read the language, or the text is garbled.",
            "The answer depends on something that you are not shown, such as the message before.",
            "Two readings are equally likely, and the answers differ.",
            "The definition does not settle the case. Tell whoever keeps the policy.",
        )
    )
    yield Heading(2, "How to write it down")
    answers = (1, 0, None)
    labels = {name: answers[i % 3] for i, name in enumerate(list(document.categories)[:3])}
    line = json.dumps({"text": "...", "labels": labels})
    yield Paragraph(f"One line of JSON for each text; 1 is yes, 0 is no, null is unknown: {line}")
    yield Heading(2, "Categories")
    for category in document.categories.values():
        yield from _category(document, category)


def _category(document: PolicyDocument, category: Category) -> Iterator[Block]:
    yield Heading(3, category.title)
    yield Paragraph(f"Name in the data: {category.name}")
    if category.definition:
        yield Paragraph(category.definition)
    yield Heading(4, "Decide")
    yield Items(tuple(_steps(category)), ordered=True)
    for title, texts in (
        ("Includes", category.includes),
        ("Does not include", category.excludes),
        ("Examples: yes", category.positive),
        ("Examples: no", category.negative),
        ("Edge cases", tuple(_edges(document, category))),
    ):
        if texts:
            yield Heading(4, title)
            yield Items(texts)


def _steps(category: Category) -> Iterator[str]:
    if category.excludes:
        yield "Is it a case under “Does not include”, and nothing else? Mark no."
    if category.includes:
        yield "Is it a case under “Includes”? Mark yes."
    what = "definition" if category.definition else "title"
    yield f"Does it fit the {what}? Mark yes. Does it clearly not? Mark no."
    yield "Still open? Mark unknown."


def _edges(document: PolicyDocument, category: Category) -> Iterator[str]:
    if category.parent is not None:
        parent = document.categories[category.parent].title
        yield f"This is a special case of {parent}: whatever is yes here is yes for {parent}, too."
        yield f"What fits {parent} but not this definition is yes for {parent} and no here."
    for child in document.categories.values():
        if child.parent == category.name:
            yield f"{child.title} is a special case: where it is yes, mark yes here, too."
