"""Neutral identity terms, as identity_terms.toml lists them."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PLURAL, SINGULAR, ADJECTIVE = range(3)
FORMS = {"np": PLURAL, "ns": SINGULAR, "adj": ADJECTIVE}


@dataclass(frozen=True)
class IdentityTerm:
    """One term; a form that is not in use is empty.

    Attributes:
        kind: religion, nationality, race, gender, orientation, disability, age or migration.
        forms: noun in the plural, noun in the singular, adjective.
    """

    kind: str
    forms: tuple[str, str, str]


def load_beside(name: str) -> Mapping[str, Any]:
    """A TOML file of this folder."""
    with Path(__file__).with_name(name).open("rb") as stream:
        content: dict[str, Any] = tomllib.load(stream)
    return content


def _terms(table: Mapping[str, list[str]]) -> tuple[IdentityTerm, ...]:
    terms = []
    for kind, rows in table.items():
        for row in rows:
            plural, singular, adjective = ("" if form == "-" else form for form in row.split(" | "))
            terms.append(IdentityTerm(kind, (plural, singular, adjective)))
    return tuple(terms)


TERM_FILE = load_beside("identity_terms.toml")
IDENTITY_TERMS = _terms(TERM_FILE["terms"])
IDENTITY_KINDS = tuple(dict.fromkeys(term.kind for term in IDENTITY_TERMS))


@cache
def rows_with(forms: frozenset[int], kind: str) -> tuple[IdentityTerm, ...]:
    """The terms of a kind that have all these forms."""
    return tuple(t for t in IDENTITY_TERMS if t.kind == kind and all(t.forms[form] for form in forms))


def article_for(article: str, word: str) -> str:
    """`article`, with the space that may follow, as the sound of the word needs it."""
    letter, space = article[0], article.lstrip("AaNn")
    # "a Ukrainian", "a European", but "an undocumented", "an LGBT person".
    if not re.match(r"(?!uk|eu|uni)[aeiou]|lgbt", word, re.I):
        return letter + space
    return letter + ("N" if letter == "A" and word.isupper() and word != "LGBT" else "n") + space
