"""Control of bias: counterfactual identity terms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from .identity_terms import (
    ADJECTIVE,
    IDENTITY_TERMS,
    SINGULAR,
    TERM_FILE,
    IdentityTerm,
    article_for,
    rows_with,
)

_GAP = re.compile(r"[\s-]+")
_ONLY_BEFORE_PERSON = {_GAP.sub(" ", word.lower()) for word in TERM_FILE["only_before_person"]}
_ONLY_CAPITAL = {word.lower() for word in TERM_FILE["only_capital"]}
_ONLY_AFTER_DETERMINER = set(TERM_FILE["only_after_determiner"])
_PERSON = re.compile(rf"[\s-]+(?:{'|'.join(TERM_FILE['person_nouns'])})\b", re.I)
_DETERMINER = re.compile(
    r"\b(?:an?|the|this|that|every|each|any|some|another|one|no|my|your|his|her|our|their)\s+(?:[a-z-]+\s+)?$",
    re.I,
)
# What may follow a noun but not an adjective before its noun.
_NOUN_END = re.compile(
    r"\s*(?:$|[^\w\s'-]|'s\b|\s(?:is|was|are|were|who|that|and|or|in|at|on|from|of|with|to|as|has|had|but|can"
    r"|will|would|should|could|does|did|i)\b)",
    re.I,
)


def _key(word: str) -> str:
    """Equal for "African American", "african-american" and the like."""
    return _GAP.sub(" ", word.lower())


def _occurrences() -> dict[str, tuple[tuple[IdentityTerm, int], ...]]:
    found: dict[str, tuple[tuple[IdentityTerm, int], ...]] = {}
    for term in IDENTITY_TERMS:
        for form, word in enumerate(term.forms):
            # A word that several rows share belongs to the first: "Jewish".
            known = found.get(_key(word), ())
            if word and all(form != other and term is t for t, other in known):
                found[_key(word)] = (*known, (term, form))
    return found


_OCCURRENCES = _occurrences()
_FIRST_WORD = re.compile(r"[a-z]+", re.I | re.A)  # or else a long s would match "s"
_ARTICLE = re.compile(r"\b(an?)(\s+)$", re.I)


def _patterns() -> dict[str, re.Pattern[str]]:
    """The terms by their first word: one alternation of all would be tried at every word of a text."""
    groups: dict[str, list[str]] = {}
    for word in sorted(_OCCURRENCES, key=lambda word: (-len(word), word)):
        first = _FIRST_WORD.match(word)
        assert first is not None
        groups.setdefault(first[0], []).append(r"[\s-]+".join(map(re.escape, word.split(" "))))
    return {
        first: re.compile(rf"(?:{'|'.join(words)})(?![\w-])", re.I | re.A) for first, words in groups.items()
    }


_PATTERNS = _patterns()


@dataclass(frozen=True)
class _Place:
    begin: int
    end: int
    article: str
    term: IdentityTerm
    form: int


def swap_identity(text: str, rng: Random) -> str | None:
    """The same text about others: every identity term becomes another of its kind and form.

    A term has one replacement in the whole text, and two terms never the same one; articles and case follow.
    None if there is no term. It keeps the labels of all categories: hate stays hate, whoever it is aimed at.
    """
    places = _places(text)
    needed: dict[IdentityTerm, set[int]] = {}
    for place in places:
        needed.setdefault(place.term, set()).add(place.form)
    replacement: dict[IdentityTerm, IdentityTerm] = {}
    for term, forms in needed.items():
        others = [
            other
            for other in rows_with(frozenset(forms), term.kind)
            if all(other.forms[form].lower() != term.forms[form].lower() for form in forms)
            and other not in replacement.values()
        ]
        usual = [other for other in others if {other.forms[0], term.forms[0]} == {"men", "women"}]
        if others:
            # Men and women are in so many texts that the rarer terms would come up too often.
            replacement[term] = rng.choice(usual if usual and rng.random() < 0.7 else others)
    if not replacement:
        return None
    parts: list[str] = []
    done = 0
    for place in places:
        if place.term in replacement:
            new, old = replacement[place.term].forms[place.form], place.term.forms[place.form]
            word = _cased(new, text[place.begin : place.end], old, text)
            if place.article:
                parts += (text[done : place.begin - len(place.article)], article_for(place.article, word))
            else:
                parts.append(text[done : place.begin])
            parts.append(word)
            done = place.end
    return "".join(parts) + text[done:]


def _places(text: str) -> list[_Place]:
    places: list[_Place] = []
    end = 0
    for first in _FIRST_WORD.finditer(text):
        begin = first.start()
        pattern = _PATTERNS.get(first[0].lower())
        if pattern is None or begin < end or text[begin - 1 : begin].isalnum():
            continue
        match = pattern.match(text, begin)
        found = _read(text, begin, match.end()) if match else None
        if match and found:
            article = _ARTICLE.search(text[max(0, begin - 8) : begin])
            end = match.end()
            places.append(_Place(begin, end, article[0] if article else "", *found))
    return places


def _read(text: str, begin: int, end: int) -> tuple[IdentityTerm, int] | None:
    """Which term and form an occurrence is; None where the word most likely means something else."""
    written, word = text[begin:end], _key(text[begin:end])
    readings = {form: term for term, form in _OCCURRENCES[word]}
    if word in _ONLY_CAPITAL and written.islower():
        return None
    determined = _DETERMINER.search(text[max(0, begin - 24) : begin]) is not None
    form = min(readings)
    if len(readings) > 1:
        is_noun = SINGULAR in readings and determined and _NOUN_END.match(text, end)
        form = SINGULAR if is_noun else ADJECTIVE
    if form == ADJECTIVE and word in _ONLY_BEFORE_PERSON and not _PERSON.match(text, end):
        return None
    if form == SINGULAR and word in _ONLY_AFTER_DETERMINER and not determined:
        return None
    if readings[form].kind == "age" and text[begin - 1 : begin] == "-":  # "a 20-year-old man"
        return None
    return readings[form], form


def _cased(new: str, written: str, plain: str, text: str) -> str:
    if written.isupper() and len(written) > 2:
        return new.upper()
    if written.islower() and (plain != plain.lower() or text.islower()):
        return new.lower()
    if written[0].isupper() and not plain[0].isupper():
        return new[0].upper() + new[1:]
    return new
