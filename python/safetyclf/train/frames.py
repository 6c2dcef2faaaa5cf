"""Texts from frames: sentences with slots for words and for identity terms.

A slot is `{name}`, a list of words of the frame file, or `{np}`, `{ns}`, `{adj}`: plural noun, singular noun
and adjective of one identity term. A digit asks for a second or third term; kinds after a colon narrow the
choice. "a" becomes "an" where it must. Everything is drawn from the caller's generator: equal in every
process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import TypeVar

from .identity_terms import FORMS, IDENTITY_KINDS, IDENTITY_TERMS, IdentityTerm, article_for, rows_with

Slots = Mapping[str, Sequence[str]]
T = TypeVar("T")

_SLOT = re.compile(r"(?:\b([Aa]n?) )?\{(\w+?)([23]?)(?::([a-z,]+))?\}")
# In these frames "man" and "woman" would contradict a pronoun.
_GENDERED = re.compile(
    r"\{relative\}|\b(?:s?he|his|her|mother|mum|dad|grandma|godmother|girl|guy|twins)\b", re.I
)


def fill(frame: str, slots: Slots, rng: Random, kinds: Sequence[str] = IDENTITY_KINDS) -> str:
    """Puts words into the slots of a frame; equal slots get different words, but one term has one number."""
    terms: dict[str, IdentityTerm] = {}
    last: dict[str, str] = {}
    needed, kinds_of, neutral = _needs(frame)
    neutral = [kind for kind in neutral if kind in kinds]

    def term(number: str) -> IdentityTerm:
        while number not in terms:
            rows = rows_with(needed[number], rng.choice(kinds_of[number] or neutral))
            chosen = rng.choice(rows)
            if chosen not in terms.values():
                terms[number] = chosen
        return terms[number]

    def value(match: re.Match[str]) -> str:
        article, name, number, _ = match.groups()
        if name in FORMS:
            word = term(number).forms[FORMS[name]]
        else:
            word = rng.choice(slots[name])
            while word == last.get(name):
                word = rng.choice(slots[name])
            last[name] = word
        return article_for(article + " ", word) + word if article else word

    text = _SLOT.sub(value, frame)
    # A frame in small letters is a chat line; one that starts with a slot is a sentence if it ends as one.
    chat = frame[0].islower() or (frame[0] == "{" and frame[-1] not in ".!?'\"")
    return text if chat else _capitalised(text)


@lru_cache(maxsize=10_000)
def _needs(frame: str) -> tuple[dict[str, frozenset[int]], dict[str, list[str]], list[str]]:
    """Per number of a term the forms needed and the kinds allowed, if told; and the kinds that fit if not."""
    needed: dict[str, frozenset[int]] = {}
    kinds: dict[str, list[str]] = {}
    for _, name, number, told in _SLOT.findall(frame):
        if name in FORMS:
            needed[number] = needed.get(number, frozenset()) | {FORMS[name]}
            kinds[number] = kinds.get(number) or (told.split(",") if told else [])
    neutral = [kind for kind in IDENTITY_KINDS if kind != "gender" or not _GENDERED.search(frame)]
    return needed, kinds, neutral


def _capitalised(text: str) -> str:
    return re.sub(r"(^|[.!?] )([a-z])", lambda match: match[1] + match[2].upper(), text)


def outcomes(frame: str, slots: Slots) -> float:
    """How many texts a frame can become."""
    product = 1.0
    for _, slot, _, _ in _SLOT.findall(frame):
        product *= len(IDENTITY_TERMS) if slot in FORMS else len(slots[slot])
    return product


def sums_of_weights(
    frames: Sequence[str], slots: Slots, shares: Sequence[float] | None = None
) -> list[float]:
    """For `random.choices`. Frames that can say little are drawn seldom: they would soon repeat."""
    weights = [min(outcomes(frame, slots), 1000.0) ** 0.5 for frame in frames]
    if shares is not None:
        weights = [weight * share for weight, share in zip(weights, shares, strict=True)]
    return list(accumulate(weights))


def distinct(draw: Callable[[], tuple[str, T]], count: int) -> dict[str, T]:
    """`count` different texts and what belongs to each, in the order drawn."""
    texts: dict[str, T] = {}
    for _ in range(50 * count + 1000):
        if len(texts) >= count:
            return texts
        text, value = draw()
        texts.setdefault(text, value)
    raise ValueError(f"cannot make {count} distinct texts: stopped at {len(texts)}")
