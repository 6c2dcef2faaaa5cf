"""What this API says about texts besides scores: language, as far as the script tells, and sentences."""

from __future__ import annotations

import re
from typing import Final

# (language, letters of its script, those of them that do not pass for Latin ones). The language is that of
# most of what is written in the script; Latin text is not told apart.
_SCRIPTS: Final = tuple(
    (language, re.compile(f"[{letters}]"), re.compile(f"[{own or letters}]"))
    for language, letters, own in (
        ("ja", "\u3041-\u3096\u30a1-\u30fa", ""),
        ("ko", "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3", ""),
        ("zh", "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003134f", ""),
        ("ru", "\u0400-\u0481\u048a-\u052f", "\u0411\u0414\u0416\u0419\u041b\u0426-\u0429\u042b\u042d-\u042e"
               "\u0434\u0436\u0439\u043b\u0444\u0446-\u0449\u044b\u044d-\u044e"),
        ("el", "\u0370-\u03ff\u1f00-\u1fff", "\u0393\u0394\u0398\u039b\u039e\u03a0\u03a3\u03a6\u03a8\u03a9"
               "\u03b3\u03b4\u03b8\u03bb\u03be\u03c0\u03c2\u03c3\u03c6\u03c8\u03c9"),
        ("ar", "\u0620-\u064a\u0671-\u06d3", ""),
        ("he", "\u05d0-\u05ea", ""),
        ("hi", "\u0904-\u0939\u0958-\u0961", ""),
        ("th", "\u0e01-\u0e2e", ""),
    )
)  # fmt: skip
_LATIN: Final = re.compile(
    "[A-Za-z\u00c0-\u024f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d6a3]"
)
_LOOKED_AT: Final = 4096  # characters
# A run of signs is tried from its first one only: else a long one would take quadratic time.
_END: Final = re.compile(
    "(?<![.!?\u2026])[.!?\u2026]+[\"')\\]\u2019\u201d]*\\s+|[\u3002\uff01\uff1f]+[\u300d\u300f]*|[\r\n]+"
)


def language_of(text: str, latin: str) -> str:
    """The language that the script of most letters stands for; `latin` for Latin letters and for none at all.

    Letters of other scripts that only pass for Latin ones (a disguise) do not count as these scripts.
    """
    if text.isascii():
        return latin
    text = text[:_LOOKED_AT]
    most, found = len(_LATIN.findall(text)), latin
    # Japanese is written with Chinese characters as well, but Chinese without kana.
    kana = bool(_SCRIPTS[0][1].search(text))
    for language, letters, own in _SCRIPTS:
        count = len(letters.findall(text))
        if language == "zh" and kana:
            language = "ja"
        if count > most and 10 * len(own.findall(text)) >= count:
            most, found = count, language
    return found


def sentences(text: str, limit: int) -> list[tuple[int, int]]:
    """Half-open ranges of the sentences without blanks around them; neighbours together if they are many."""
    found, begin = [], 0
    for end in [*(match.end() for match in _END.finditer(text)), len(text)]:
        part = text[begin:end]
        if part.strip():
            first = begin + len(part) - len(part.lstrip())
            found.append((first, begin + len(part.rstrip())))
        begin = end
    step = -(-len(found) // limit) or 1
    return [(found[i][0], found[min(i + step, len(found)) - 1][1]) for i in range(0, len(found), step)]


def utf16_lengths(text: str, places: list[int]) -> list[int]:
    """Ascending offsets in code points as offsets in UTF-16 code units."""
    if text.isascii():
        return places
    result, done, count = [], 0, 0
    for place in places:
        count += len(text[done:place].encode("utf-16-le", "surrogatepass")) // 2
        result.append(count)
        done = place
    return result
