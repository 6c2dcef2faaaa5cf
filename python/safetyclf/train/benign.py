"""Harmless texts for training: identity terms, words that look dangerous, and noise.

All 13 categories of these texts are 0. The frames are in the TOML files beside this module. Everything is
drawn from a generator with the caller's seed: equal in every process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from itertools import accumulate
from random import Random

from .identity_terms import (
    FORMS,
    IDENTITY_KINDS,
    IDENTITY_TERMS,
    IdentityTerm,
    article_for,
    load_beside,
    rows_with,
)

_SLOT = re.compile(r"(?:\b([Aa]n?) )?\{(\w+?)([23]?)(?::([a-z,]+))?\}")
# In these frames "man" and "woman" would contradict a pronoun.
_GENDERED = re.compile(
    r"\{relative\}|\b(?:s?he|his|her|mother|mum|dad|grandma|godmother|girl|guy|twins)\b", re.I
)


def _fill(frame: str, slots: Mapping[str, list[str]], rng: Random) -> str:
    """Puts words into the slots of a frame; equal slots get different words, but one term has one number."""
    terms: dict[str, IdentityTerm] = {}
    last: dict[str, str] = {}
    needed, kinds_of, neutral = _needs(frame)

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
    chat = frame[0].islower() or (frame[0] == "{" and frame[-1] not in ".!?'")
    return text if chat else _capitalised(text)


@cache
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


def _distinct(draw: Callable[[], str], count: int) -> list[str]:
    """`count` different texts, in the order drawn."""
    texts: dict[str, None] = {}
    for _ in range(50 * count + 1000):
        if len(texts) >= count:
            return list(texts)
        texts.setdefault(draw())
    raise ValueError(f"cannot make {count} distinct texts: stopped at {len(texts)}")


@cache
def _frames(name: str) -> tuple[Mapping[str, list[str]], list[str], list[float]]:
    """Slots, frames, sums of weights. Frames that can say little are drawn seldom: they would soon repeat."""
    file = load_beside(name)
    slots: Mapping[str, list[str]] = file["slots"]
    frames = [frame for group in file["frames"].values() for frame in group]
    alone = len(frames)
    wrappers: list[str] = file.get("wrappers", {}).get("list", [])
    verbs = [verb for group in file.get("howto", {}).values() for verb in group]
    frames += [wrapper.replace("{x}", verb) for verb in verbs for wrapper in wrappers]
    weights = []
    for i, frame in enumerate(frames):
        outcomes = 1.0
        for _, slot, _, _ in _SLOT.findall(frame):
            outcomes *= len(IDENTITY_TERMS) if slot in FORMS else len(slots[slot])
        share = 1.0 if i < alone else 4.0 / len(wrappers)
        weights.append(share * min(outcomes, 1000.0) ** 0.5)
    return slots, frames, list(accumulate(weights))


def _drawn(name: str, seed: int, count: int) -> list[str]:
    slots, frames, weights = _frames(name)
    rng = Random(f"{name} {seed}")

    def draw() -> str:
        text = _fill(rng.choices(frames, cum_weights=weights)[0], slots, rng)
        return text.lower() if rng.random() < 0.15 else text

    return _distinct(draw, count)


def benign_sentences(seed: int, count: int) -> list[str]:
    """Distinct ordinary sentences with an identity term, in many registers; harmless in all categories."""
    return _drawn("benign_frames.toml", seed, count)


def everyday_prompts(seed: int, count: int) -> list[str]:
    """Distinct harmless prompts, searches and chat lines with words that look dangerous."""
    return _drawn("everyday_frames.toml", seed, count)


# --- Noise

_SYLLABLES = ("ha", "he", "hi", "lo", "la", "na", "bla", "ho", "he", "wo", "yo", "uh", "hm", "ta", "do", "mi")
_EMOJI = "😀😂🤣😊😍😎🤔😴😭😡👍👎👏🙏💪🎉🔥❤💔🐶🐱🌞🌧🍕🍔☕🚗✈⚽🏠📷💻📚🎵✅❌⭐🌈🏳"
_LATIN = (
    "lorem", "ipsum", "dolor", "sit", "amet", "elit", "sed", "tempor", "magna", "aliqua", "enim", "quis",
    "nulla", "nisi", "commodo", "velit", "esse", "fugiat", "sint", "culpa", "mollit", "anim", "laborum",
)  # fmt: skip
_CODE = (
    "x = {n}", "for i in range({n}):", "if (a < {n}) {{ return b; }}", "SELECT * FROM t{n} WHERE id = {m};",
    "<div id='{w}'></div>", "def {w}(): pass", "git commit -m '{w}'", "#include <{w}.h>", "{{'{w}': {n}}}",
    "import {w}", "let {w} = [{n}, {m}];", "console.log({w})", "0x{n}{m}", "{w}->{w}()", "// TODO {w}",
)  # fmt: skip
_WORDS = (
    "test",
    "ok",
    "foo",
    "bar",
    "hello",
    "hi",
    "yes",
    "no",
    "data",
    "main",
    "index",
    "abc",
    "item",
    "tmp",
)


def degenerate_texts(seed: int, count: int) -> list[str]:
    """Distinct texts without content: single signs, runs, mashed keys, numbers, file names, code, emoji."""
    rng = Random(f"degenerate {seed}")

    def letters(alphabet: str, shortest: int, longest: int) -> str:
        return "".join(rng.choices(alphabet, k=rng.randint(shortest, longest)))

    def number() -> str:
        return str(rng.randrange(10 ** rng.randint(1, 7)))

    def word() -> str:
        return rng.choice((*_WORDS, *_LATIN)) + rng.choice(("", "", number()))

    small = "abcdefghijklmnopqrstuvwxyz"
    kinds: tuple[Callable[[], str], ...] = (
        lambda: letters(small + small.upper() + "0123456789?!.,-#*", 1, 2),
        lambda: rng.choice("?!.,-_=*~#/") * rng.randint(1, 40),
        lambda: letters("?!.,;:-_=*~#/()&%$@", 2, 20),
        lambda: rng.choice((" ", "\n", "\t", "\u00a0")) * rng.randint(1, 12) + rng.choice(("", ".", "-")),
        lambda: rng.choice(_SYLLABLES) * rng.randint(2, 60),
        lambda: rng.choice(small) * rng.randint(3, 80),
        lambda: letters(rng.choice(("asdfghjkl", "qwertyuiop", "zxcvbnm,.", small)), 4, 30),
        lambda: letters(_EMOJI, 1, 8),
        lambda: rng.choice(_EMOJI) * rng.randint(1, 20),
        lambda: f"https://{word()}.{rng.choice(('com', 'org', 'net', 'io'))}/{word()}?{word()}={number()}",
        lambda: " ".join(rng.choices(_LATIN, k=rng.randint(2, 40))),
        lambda: rng.choice(_CODE).format(n=number(), m=number(), w=word()),
        lambda: f"{word()}_{number()}.{rng.choice(('txt', 'jpg', 'pdf', 'csv', 'py', 'tar.gz', 'docx'))}",
        lambda: f"20{rng.randrange(10, 30)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
        f" {rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}",
        lambda: rng.choice((" ", ", ", "\n", ";")).join(number() for _ in range(rng.randint(1, 25))),
        lambda: rng.choice((" ", "  ", "")).join([rng.choice(_WORDS)] * rng.randint(2, 30)),
        lambda: " ".join(word() for _ in range(rng.randint(1, 4))),
        lambda: f"{word()}{rng.choice('.@')}{word()}@example.com",
    )  # fmt: skip
    return _distinct(lambda: rng.choice(kinds)(), count)
