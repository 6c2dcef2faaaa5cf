"""Without rules, ids and byte ranges equal those of Hugging Face tokenizers, on real text and any Unicode."""

from __future__ import annotations

import codecs
import itertools
import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_helpers import (
    FULL,
    SHARED,
    UNKNOWN,
    UNLIMITED,
    assert_same,
    pieces,
    reference,
    shared_texts,
    tokenizer,
)

SAMPLE_PER_FILE = 150
CODE_POINT_STRIDE = 1 if FULL else 41
EXAMPLES = 3_000 if FULL else 500

SUBJECT = tokenizer(window=UNLIMITED)
REFERENCE = reference()
CASED_SUBJECT = tokenizer(window=UNLIMITED, lowercase=False)
CASED_REFERENCE = reference(lowercase=False)

# Characters whose handling is special: classes of combining marks and letters that canonical ordering moves,
# Hangul, decompositions with several parts, characters of changed category, ideographs, controls and spaces.
SPECIAL = (
    "\u0300\u0301\u0323\u0327\u0344\u0345\u034f\u0591\u0f71\u0f72\u0f73\u1b44\u1885\u1cf2\u302e\u302f\u1734\U000111c9"
    "\U0001d165\U0001d16d\U0001d15e\U0001d160\U0001d1bc\U00011938\u166d\u0130\u0131\u1e9e\u03a3\u03c2\u01c5\u212b"
    "\uac00\uac01\u1100\u1161\u11a8\u4e00\uf900\U0002f800\U0002b820\u3042\u30ab\u3099\u037e\u0387\u1fee\u2260\u226e"
    "\x00\x01\t\n\r\x0b\x0c\x85\xa0\xad\u200b\u200d\u2028\u3000\ufeff\ufffd\ue000\ufffe\u0378\U000e0041\ufe0f"
    "\U0001f600\U0001f1fa\u20e3\u2019\u2014\xe9\xdf\xe6#[]_-'aA1z "
)
any_text = st.text(st.one_of(st.sampled_from(SPECIAL), st.characters(exclude_categories=["Cs"])), max_size=60)


def files() -> list[str]:
    if not SHARED.is_dir():
        return []
    found = [*SHARED.glob("data/*/*.jsonl.gz"), *SHARED.glob("peers/workload.jsonl")]
    return sorted(str(path.relative_to(SHARED)) for path in found)


@pytest.mark.parametrize("name", files())
def test_real_text(name: str) -> None:
    texts = list(shared_texts(SHARED / name))
    if not FULL:
        texts = random.Random(name).sample(texts, min(SAMPLE_PER_FILE, len(texts)))
    for first in range(0, len(texts), 5000):
        assert_same(SUBJECT, REFERENCE, texts[first : first + 5000])


def test_shared_data_present() -> None:
    if not files():
        pytest.skip("the shared data folder is absent; real text was not compared")


@pytest.mark.parametrize(
    "context",
    ["{}", "a{}b", "a {}s", "\u0301{}\u0301", "a\u0323\u302e{}\u0301\u302e\u0323 x", "\u4e00{}\u1b44"],
)
def test_every_code_point(context: str) -> None:
    codes = [code for code in range(0, sys.maxunicode + 1, CODE_POINT_STRIDE) if not 0xD800 <= code < 0xE000]
    codes += list(range(0x3000))
    for first in range(0, len(codes), 50_000):
        assert_same(SUBJECT, REFERENCE, [context.format(chr(code)) for code in codes[first : first + 50_000]])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(any_text, min_size=1, max_size=4))
def test_any_unicode(texts: list[str]) -> None:
    assert_same(SUBJECT, REFERENCE, texts)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.text(st.sampled_from(SPECIAL), max_size=150), min_size=1, max_size=4))
def test_special_characters(texts: list[str]) -> None:
    assert_same(SUBJECT, REFERENCE, texts)


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(st.lists(any_text, min_size=1, max_size=4))
def test_cased_model(texts: list[str]) -> None:
    assert_same(CASED_SUBJECT, CASED_REFERENCE, texts)


def test_text_that_spells_special_tokens() -> None:
    texts = ["[CLS]", "[SEP] a", "a[MASK]b", "[PAD][UNK]", "[ CLS ]", "[unused1]", "##ing", "## ing"]
    assert_same(SUBJECT, REFERENCE, texts)
    special = {0, UNKNOWN, 101, 102, 103}
    for found in pieces(SUBJECT, [text.encode() for text in texts]):
        assert special.isdisjoint(number for number, _, _ in found)


@pytest.mark.parametrize("letter", ["a", "\xe9", "\u0431", "\ud55c", "\U0001d165"])
@pytest.mark.parametrize("length", [1, 16, 17, 33, 49, 50, 51, 99, 100, 101, 102, 1000])
def test_word_length(letter: str, length: int) -> None:
    assert_same(SUBJECT, REFERENCE, [letter * length, f"x{letter * length} y", f"{letter * length}\u0301"])


@pytest.mark.parametrize("behind", ["", " ", ".", '!"', "\xe9", "\x00b", "\u2019s", " \t. y"])
def test_words_wherever_they_stand(behind: str) -> None:
    # Sixteen bytes are read together, near the end of a text from a copy.
    texts = [f"{' ' * begin}{'Ab1z' * 5:.{length}}{behind}" for begin in range(36) for length in range(20)]
    assert_same(SUBJECT, REFERENCE, texts)
    assert_same(CASED_SUBJECT, CASED_REFERENCE, texts)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.text(st.sampled_from("aeinstAZ09@[`{/:'  .\x00\x7f\xe9\u4e00"), max_size=80), max_size=4))
def test_mostly_ascii(texts: list[str]) -> None:
    assert_same(SUBJECT, REFERENCE, texts)


def decode_with_ranges(data: bytes) -> tuple[str, list[int]]:
    """Decode with U+FFFD for each maximal ill-formed subpart, as Python's decoder finds them.

    Also returns where in `data` each character begins, and the size of `data`.
    """
    ill_formed: dict[int, int] = {}

    def replace(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        ill_formed[error.start] = error.end
        return "\ufffd", error.end

    codecs.register_error("safetyclf-test-replace", replace)
    text = data.decode(errors="safetyclf-test-replace")
    begins = [0]
    for character in text:
        begins.append(ill_formed.get(begins[-1], begins[-1] + len(character.encode())))
    assert begins[-1] == len(data)
    return text, begins


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.one_of(any_text.map(str.encode), st.binary(max_size=4)), max_size=8).map(b"".join))
def test_ill_formed_utf8_reads_as_replacement_characters(data: bytes) -> None:
    text, begins = decode_with_ranges(data)
    sizes = itertools.accumulate((len(character.encode()) for character in text), initial=0)
    where = dict(zip(sizes, begins, strict=True))
    expected = [
        (number, where[begin], where[end]) for number, begin, end in pieces(SUBJECT, [text.encode()])[0]
    ]
    assert pieces(SUBJECT, [data])[0] == expected


def test_offsets_are_optional() -> None:
    texts = ["A caf\xe9.".encode(), b"", b"plain"]
    ids, rows, text_rows, begins, ends = SUBJECT.encode(texts, False)
    with_offsets = SUBJECT.encode(texts, True)
    for ours, theirs in zip((ids, rows, text_rows), with_offsets, strict=False):
        assert ours.tolist() == theirs.tolist()
    assert len(begins) == len(ends) == 0
    assert len(with_offsets[3]) == len(ids)
