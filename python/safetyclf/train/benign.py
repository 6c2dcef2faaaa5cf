"""Harmless texts for training: identity terms, words that look dangerous, and noise.

All 13 categories of these texts are 0. The frames are in the TOML files beside this module. Everything is
drawn from a generator with the caller's seed: equal in every process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import accumulate
from random import Random

from .frames import Slots, distinct, fill, sums_of_weights
from .identity_terms import load_beside


@cache
def _frames(name: str) -> tuple[Slots, list[str], list[float]]:
    """Slots, frames, sums of weights."""
    file = load_beside(name)
    slots: Slots = file["slots"]
    frames = [frame for group in file["frames"].values() for frame in group]
    alone = len(frames)
    wrappers: list[str] = file.get("wrappers", {}).get("list", [])
    verbs = [verb for group in file.get("howto", {}).values() for verb in group]
    frames += [wrapper.replace("{x}", verb) for verb in verbs for wrapper in wrappers]
    shares = [1.0 if i < alone else 4.0 / len(wrappers) for i in range(len(frames))]
    return slots, frames, sums_of_weights(frames, slots, shares)


def _drawn(name: str, seed: int, count: int) -> list[str]:
    slots, frames, weights = _frames(name)
    rng = Random(f"{name} {seed}")

    def draw() -> tuple[str, None]:
        text = fill(rng.choices(frames, cum_weights=weights)[0], slots, rng)
        return (text.lower() if rng.random() < 0.15 else text), None

    return list(distinct(draw, count))


def benign_sentences(seed: int, count: int) -> list[str]:
    """Distinct ordinary sentences with an identity term, in many registers; harmless in all categories."""
    return _drawn("benign_frames.toml", seed, count)


def held_out_sentences(seed: int, count: int) -> list[str]:
    """As `benign_sentences`, of frames and words that training never sees: for thresholds."""
    return _drawn("held_out_frames.toml", seed, count)


def everyday_prompts(seed: int, count: int) -> list[str]:
    """Distinct harmless prompts, searches and chat lines with words that look dangerous."""
    return _drawn("everyday_frames.toml", seed, count)


# --- Noise

_SYLLABLES = ("ha", "he", "hi", "lo", "la", "na", "bla", "ho", "he", "wo", "yo", "uh", "hm", "ta", "do", "mi")
# Weather, food, animals, things, faces, transport: ranges of single characters.
_EMOJI_RANGES = (
    (0x1F300, 0x1F320), (0x1F32D, 0x1F37F), (0x1F380, 0x1F393), (0x1F3A0, 0x1F3CA), (0x1F400, 0x1F43E),
    (0x1F440, 0x1F4FC), (0x1F500, 0x1F53D), (0x1F600, 0x1F64F), (0x1F680, 0x1F6C5), (0x1F90C, 0x1F93A),
)  # fmt: skip
_EMOJI = (
    "".join(chr(code) for first, last in _EMOJI_RANGES for code in range(first, last + 1)) + "❤☕✈⚽✅❌⭐☀❄"
)
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
    "test", "ok", "foo", "bar", "hello", "hi", "yes", "no", "data", "main", "index", "abc", "item", "tmp",
)  # fmt: skip
_SMALL_WORDS = (
    "the", "a", "an", "I", "you", "he", "she", "it", "we", "they", "me", "him", "her", "us", "them", "my",
    "your", "this", "that", "these", "who", "what", "when", "where", "why", "how", "and", "or", "but", "if",
    "so", "as", "of", "in", "on", "at", "to", "for", "from", "with", "by", "is", "are", "was", "be", "been",
    "do", "does", "did", "have", "has", "had", "can", "will", "would", "not", "never", "always", "maybe",
    "here", "there", "now", "then", "again", "too", "very", "well", "oh", "wow", "hey", "hi", "hello", "bye",
    "thanks", "please", "sorry", "lol", "ok", "okay", "yes", "no", "yeah", "nope", "hmm", "sure", "nice",
    "good", "one", "two", "first", "last", "today", "Monday", "morning", "thing", "time", "way", "day",
    "more", "most",
)  # fmt: skip


def degenerate_texts(seed: int, count: int) -> list[str]:
    """Texts without content: white space, single signs, runs, mashed keys, numbers, file names, code, emoji.

    The shortest ones come again and again: there are few of them, and each must be learnt.
    """
    rng = Random(f"degenerate {seed}")

    def letters(alphabet: str, shortest: int, longest: int) -> str:
        return "".join(rng.choices(alphabet, k=rng.randint(shortest, longest)))

    def number() -> str:
        return str(rng.randrange(10 ** rng.randint(1, 7)))

    def word() -> str:
        return rng.choice((*_WORDS, *_LATIN)) + rng.choice(("", "", number()))

    def repeated(unit: str) -> str:
        """Mostly short, now and then longer than a window."""
        return (unit + rng.choice((" ", " ", "  ", ", ", "! ", "\n"))) * int(2 ** rng.uniform(1, 9))

    small = "abcdefghijklmnopqrstuvwxyz"
    kinds: tuple[Callable[[], str], ...] = (
        lambda: letters(small + small.upper() + "0123456789?!.,-#*", 1, 2),
        lambda: " ".join(rng.choices(_SMALL_WORDS, k=rng.choice((1, 1, 2, 3)))) + rng.choice(("", "", ".")),
        lambda: rng.choice("?!.,-_=*~#/") * rng.randint(1, 40),
        lambda: letters("?!.,;:-_=*~#/()&%$@", 2, 20),
        lambda: rng.choice((" ", "\n", "\t", "\u00a0")) * rng.randint(0, 12) + rng.choice(("", ".", "-")),
        lambda: rng.choice(_SYLLABLES) * rng.randint(2, 60),
        lambda: repeated(rng.choice(_SYLLABLES) * rng.randint(1, 2)),
        lambda: repeated(rng.choice((rng.choice(_WORDS), rng.choice(small), rng.choice(_EMOJI)))),
        lambda: rng.choice(small) * rng.randint(3, 80),
        lambda: letters(rng.choice(("asdfghjkl", "qwertyuiop", "zxcvbnm,.", "asdfjkl;", small)), 4, 30),
        lambda: " ".join(letters(small, 2, 9) for _ in range(rng.randint(2, 12))),
        lambda: rng.choice(_EMOJI),
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
    weights = list(accumulate([3.0, 4.0, *[1.0] * (len(kinds) - 2)]))
    return [rng.choices(kinds, cum_weights=weights)[0]() for _ in range(count)]
