"""A policy as a page for its readers, a guide for annotators, or a prompt for a judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from .annotator_guide import annotator_guide
from .document import PolicyDocument
from .judge_prompt import judge_prompt
from .lay_page import lay_page
from .origins import ModelSide
from .render_html import to_html
from .render_markdown import to_markdown

if TYPE_CHECKING:
    from .._classifier import Classifier

Form = Literal["html", "markdown", "guide", "guide-html", "prompt"]
FORMS: Final[tuple[Form, ...]] = ("html", "markdown", "guide", "guide-html", "prompt")


def render(
    document: PolicyDocument,
    form: Form,
    *,
    classifier: Classifier | None = None,
    audience: str | None = None,
    show_terms: bool = False,
    examples: bool = False,
) -> str:
    """The text of the page. The same policy and model give the same text.

    Args:
        document: the policy.
        form: "html" and "markdown" are for readers, "guide" (Markdown) and "guide-html" for annotators,
            "prompt" for a language model.
        classifier: its model fills in, on pages for readers, the thresholds that the policy leaves to it.
        audience: pages for readers give the numbers for this one alone.
        show_terms: pages for readers show the terms of lists.
        examples: the prompt holds the policy's examples; guides always do.

    Raises:
        PolicyError: there is no such audience.
    """
    if form == "prompt":
        return judge_prompt(document, examples=examples)
    if form in ("guide", "guide-html"):
        page = annotator_guide(document)
    else:
        model = ModelSide() if classifier is None else ModelSide.of(classifier)
        page = lay_page(document, model=model, audience=audience, show_terms=show_terms)
    return to_html(page) if form.endswith("html") else to_markdown(page)
