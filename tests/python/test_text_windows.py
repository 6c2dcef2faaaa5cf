"""Windows of long texts, linear time, and bad configurations."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_helpers import END, START, UNKNOWN, UNLIMITED, native, pieces, read_vocabulary, tokenizer, windows

WHOLE = tokenizer(window=UNLIMITED)


def check_windows(texts: list[bytes], window: int, overlap: int) -> None:
    found = windows(tokenizer(window=window, overlap=overlap), texts)
    for text, whole, cut in zip(texts, pieces(WHOLE, texts), found, strict=True):
        fewest = 1 if len(whole) <= window else -(-(len(whole) - overlap) // (window - overlap))
        assert len(cut) == fewest
        assert all(rows[0] == (START, 0, 0) and rows[-1] == (END, len(text), len(text)) for rows in cut)
        inner = [rows[1:-1] for rows in cut]
        sizes = [len(rows) for rows in inner]
        assert max(sizes) <= window
        assert max(sizes) - min(sizes) <= 1
        joined = inner[0]
        for rows in inner[1:]:
            assert overlap == 0 or rows[:overlap] == joined[-overlap:]
            joined = joined + rows[overlap:]
        assert joined == whole


@pytest.mark.parametrize("count", [0, 1, 509, 510, 511, 512, 573, 574, 575, 956, 957, 1402, 1403, 10_000])
def test_default_windows(count: int) -> None:
    check_windows([b"word " * count, b"next text"], 510, 64)


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(st.text(st.sampled_from("ab \xe9.\u4e00x"), max_size=200).map(str.encode), max_size=4),
    window=st.integers(1, 40),
    data=st.data(),
)
def test_any_windows(texts: list[bytes], window: int, data: st.DataObject) -> None:
    check_windows(texts, window, data.draw(st.integers(0, window - 1)))


def test_batch_layout() -> None:
    ids, rows, text_rows, begins, ends = tokenizer(window=4, overlap=1).encode(
        [b"", b"a b c d e", b" \n"], True
    )
    assert (ids.dtype, rows.dtype, text_rows.dtype) == (np.int32, np.uint32, np.uint32)
    assert text_rows.tolist() == [0, 1, 3, 4]
    assert rows.tolist() == [0, 2, 7, 12, 14]
    assert begins.tolist() == [0, 0, 0, 0, 2, 4, 9, 0, 4, 6, 8, 9, 0, 2]
    assert ends.tolist() == [0, 0, 0, 1, 3, 5, 9, 0, 5, 7, 9, 9, 0, 2]
    assert ids[rows[:-1]].tolist() == [START] * 4
    assert ids[rows[1:] - 1].tolist() == [END] * 4
    nothing = tokenizer().encode([], True)
    assert [array.tolist() for array in nothing] == [[], [0], [0], [], []]


MEGABYTE = 1 << 20
HARD_TEXTS: dict[str, Callable[[int], bytes]] = {
    "one letter": lambda size: b"a" * size,
    "one word that never matches": lambda size: b"zq" * (size // 2),
    "words of the longest length": lambda size: (
        (b"internationalizationx" * 5)[:100].ljust(101) * (size // 101)
    ),
    "combining marks": lambda size: "\u0301".encode() * (size // 2),
    "marks of falling class": lambda size: "\u0345\u0301\u0323\u0327".encode() * (size // 8),
    "marks that stay": lambda size: "\u302e\u1b44\u0301".encode() * (size // 8),
    "controls": lambda size: b"\x01" * size,
    "zero-width joiners": lambda size: "\u200d".encode() * (size // 3),
    "one emoji and joiners": lambda size: "\U0001f469".encode() + "\u200d".encode() * (size // 3),
    "emoji and joiners": lambda size: "\U0001f469\u200d".encode() * (size // 7),
    "digits before marks": lambda size: "1\u200d".encode() * (size // 4),
    "regional indicators": lambda size: "\U0001f1e6".encode() * (size // 4),
    "ill-formed": lambda size: b"\xe2\x82" * (size // 2),
    "mixed scripts": lambda size: "a\u0430".encode() * (size // 3),
    "ideographs": lambda size: "\u4e00".encode() * (size // 3),
    "punctuation": lambda size: b"." * size,
    "letters apart": lambda size: b"a " * (size // 2),
    "a sentence apart": lambda size: b"t h e g a r d e n " * (size // 18),
    "digits in words": lambda size: b"a0" * (size // 2),
    "words with digits": lambda size: b"a0a0 " * (size // 5),
    "words with signs": lambda size: b"a!!" * (size // 3),
    "signs": lambda size: b"!" * size,
}


@pytest.mark.parametrize("rules", [[], native.known_rules()], ids=["no rules", "all rules"])
@pytest.mark.parametrize("name", HARD_TEXTS)
def test_time_is_linear(name: str, rules: list[str]) -> None:
    subject = tokenizer(rules=rules)
    small, large = HARD_TEXTS[name](MEGABYTE // 8), HARD_TEXTS[name](MEGABYTE)

    def best(text: bytes) -> float:
        times = []
        for _ in range(3):
            begin = time.process_time()
            subject.encode([text], True)
            times.append(time.process_time() - begin)
        return min(times)

    # Eight times the text: 8 when linear, 64 when quadratic. The slack is for caches, clocks and neighbours.
    assert best(large) < 24 * best(small) + 0.01


# How many times the work reads or copies a byte of the text: encode without rules and with all, normalize
# with all. With rules: is a rule concerned (twice 1, and 1 for words that might be leet, or 0 if the first
# characters say so), mapping (1), then each rule reads (1, more where it looks ahead) and copies (1).
PASSES = {
    "one letter": (1, 3, 14),
    "marks that stay": (3.6, 5.6, 14),
    "zero-width joiners": (1, 4, 4),
    "one emoji and joiners": (1, 5, 5),
    "mixed scripts": (1, 12.5, 12.5),
    "letters apart": (2.7, 21.6, 18.4),
    "digits in words": (1, 4, 14),
    "words with digits": (3.7, 6.5, 13.8),
}


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_over_a_text_can_be_stopped(name: str) -> None:
    text = HARD_TEXTS[name](2 * MEGABYTE)
    plain, ruled = tokenizer(), tokenizer(rules=native.known_rules())
    calls = (
        (plain, lambda stop_at: plain.encode([text], True, stop_at)),
        (ruled, lambda stop_at: ruled.encode([text], True, stop_at)),
        (ruled, lambda stop_at: ruled.normalize(text, stop_at)),
    )
    for (subject, call), passes in zip(calls, PASSES[name], strict=True):
        expected = call(0)
        checks = subject.checks
        # 64 KiB from one question to the next; a loop that does not count is a whole pass less.
        assert checks >= (passes - 0.2) * len(text) / 65536
        for stop_at in (1, checks // 2, checks):
            with pytest.raises(Exception, match="stopped by the caller"):
                call(stop_at)
            assert subject.checks == stop_at
        for found, array in zip(call(0), expected, strict=True):
            assert np.array_equal(found, array)


def test_texts_of_a_batch_count_together() -> None:
    subject = tokenizer()
    subject.encode([b"word " * 100] * 1000, False)
    assert subject.checks >= 1000 * 500 / 65536 - 1


def test_one_megabyte_word_is_one_unknown_piece() -> None:
    text = b"a" * MEGABYTE
    assert pieces(WHOLE, [text]) == [[(UNKNOWN, 0, MEGABYTE)]]
    text = b"b" + "\u0301".encode() * (MEGABYTE // 2)
    assert pieces(WHOLE, [text + b" c"]) == [[(1038, 0, 1), (1039, len(text) + 1, len(text) + 2)]]


GOOD = [b"[PAD]", b"[UNK]", b"[CLS]", b"[SEP]", b"a", b"##a", b"ab"]


def test_small_vocabulary() -> None:
    subject = native.Tokenizer(b"\n".join(GOOD) + b"\n")
    assert subject.vocabulary_size == 7
    ids = subject.encode([b"aba aa ac A"], False)[0]
    assert ids.tolist() == [2, 6, 5, 4, 5, 1, 4, 3]


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ([], "token 0 is empty"),
        ([*GOOD, b"", b"c"], "token 7 is empty"),
        ([*GOOD, b"a"], "token 7 is a repetition"),
        ([*GOOD, b"##a"], "token 7 is a repetition"),
        ([*GOOD, b"\xff"], "token 7 is not UTF-8"),
        ([*GOOD, b"\xe2\x82"], "token 7 is not UTF-8"),
        ([*GOOD, b"a\0"], "token 7 contains NUL"),
        ([b"[PAD]", b"[CLS]", b"[SEP]"], "is missing"),
        ([b"[UNK]", b"[SEP]"], "is missing"),
        ([b"[UNK]", b"[CLS]"], "is missing"),
    ],
)
def test_bad_vocabulary_is_refused(vocabulary: list[bytes], message: str) -> None:
    with pytest.raises(Exception, match=message):
        native.Tokenizer(b"\n".join(vocabulary))


def test_very_long_token_is_harmless() -> None:
    subject = native.Tokenizer(b"\n".join([*GOOD, b"b" * MEGABYTE]))
    assert subject.encode([b"a " + b"b" * MEGABYTE], False)[0].tolist() == [2, 4, 1, 3]


@pytest.mark.parametrize(("window", "overlap"), [(0, 0), (1, 1), (64, 64), (10, 11)])
def test_bad_windows_are_refused(window: int, overlap: int) -> None:
    with pytest.raises(Exception, match="overlap"):
        tokenizer(window=window, overlap=overlap)


def test_bad_rules_are_refused() -> None:
    for rules, message in (
        (["emoji_names/2"], "not known"),
        (["strip_invisible/1"] * 2, "twice"),
        ([""], "not known"),
    ):
        with pytest.raises(Exception, match=message):
            native.Tokenizer(read_vocabulary(), rules=rules)
