"""Languages by script, sentences, and offsets in UTF-16."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetyclf.serve.perspective.texts import language_of, sentences, utf16_lengths

TEXT = st.text(
    st.sampled_from(["a", "B", ".", "!", "?", " ", "\n", "\u3002", "\u00e9", "\U0001f600", "\ud800", '"'])
)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", "en"),
        ("hello", "en"),
        ("123 !?", "en"),
        ("\U0001f600\U0001f44d", "en"),
        ("caf\u00e9 \u00e0 la carte", "en"),
        ("\u65e5\u672c\u8a9e\u3067\u3059", "ja"),
        ("\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e\u3067", "ja"),
        ("\u4f60\u597d\u5417", "zh"),
        ("\uc548\ub155\ud558\uc138\uc694", "ko"),
        ("\u043f\u0440\u0438\u0432\u0435\u0442, \u0434\u0440\u0443\u0436\u0438\u0449\u0435", "ru"),
        ("\u03ba\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1 \u03c6\u03af\u03bb\u03b5", "el"),
        ("\u0645\u0631\u062d\u0628\u0627", "ar"),
        ("\u05e9\u05dc\u05d5\u05dd", "he"),
        ("\u0928\u092e\u0938\u094d\u0924\u0947", "hi"),
        ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "th"),
        ("hello \u4f60\u597d", "en"),
        ("ok \u4f60\u597d\u5417", "zh"),
    ],
)
def test_the_script_of_most_letters_tells(text: str, language: str) -> None:
    assert language_of(text, "en") == language


def test_letters_that_pass_for_latin_ones_are_no_other_language() -> None:
    # "coca paca" in Cyrillic letters, "you are" with Greek and Cyrillic ones among the Latin.
    for text in (
        "\u0441\u043e\u0441\u0430 \u0440\u0430\u0441\u0430",
        "\u0443\u03bf\u03c5 \u0430\u0433\u0435",
    ):
        assert language_of(text, "en") == "en"


@given(TEXT, st.integers(1, 5))
def test_sentences_lie_in_order_and_leave_only_blanks_between(text: str, limit: int) -> None:
    ranges = sentences(text, limit)
    assert len(ranges) <= limit
    places = [place for pair in ranges for place in pair]
    assert places == sorted(places)
    for begin, end in ranges:
        assert text[begin:end].strip() == text[begin:end] != ""
    left, done = "", 0
    for begin, end in [*ranges, (len(text), len(text))]:
        left += text[done:begin]
        done = end
    assert not left.strip()


@given(TEXT)
def test_offsets_are_those_of_the_utf16_form(text: str) -> None:
    places = list(range(len(text) + 1))
    expected = [len(text[:place].encode("utf-16-le", "surrogatepass")) // 2 for place in places]
    assert utf16_lengths(text, places) == expected


def test_long_texts_take_linear_time() -> None:
    for text in (
        "." * 1_000_000,
        '."' * 500_000,
        "." + '"' * 1_000_000,
        ". " * 500_000,
        ' "' * 500_000,
        "\n" * 1_000_000,
        "\u0430" * 1_000_000,
    ):
        begin = time.process_time()
        sentences(text, 1024)
        language_of(text, "en")
        assert time.process_time() - begin < 5
