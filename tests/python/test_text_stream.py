"""Growing texts: the verdict of the whole text, releases that are prefixes, work that does not grow."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from safetyclf import (
    Classifier,
    InvalidArgumentError,
    InvalidInputError,
    SafetyclfError,
    TextTooLargeError,
    Verdict,
)
from safetyclf._safe_places import NO_LETTER, WORD, last_safe_place, last_sentence_end
from safetyclf._text_stream import LONGEST_STRETCH, TextStream
from tiny_model import TinyModel

RULES = (
    "emoji_names/1", "strip_invisible/1", "fold_compatibility/1", "fold_confusables/1", "join_spelled/1",
    "fold_leet/1",
)  # fmt: skip

# Words, disguises, several scripts, emoji sequences and what stands between: all that the rules look at.
PARTS = [
    "the ", "dog ", "hates ", "hello, ", "it's ", "a ", "I ", "a b c ", "s t o p ", "c.a.t", "h|i|t ",
    "st0p ", "h!t", "b1rd ", "x@y.", "co ", "1 ", "4 ", "$ ", "9 ", "# ", "! ", "... ", "\u2026 ", "\n",
    "\t", " ", "  ", "\u65e5\u672c", "\u8a9e\u3002", "\u3053\u306e", "\u3099", "\u0301", "\ufe0f",
    "\u20e3", "1\ufe0f\u20e3", "\u043f\u0440\u0438\u0432\u0435\u0442 ", "\u0432 ", "p\u0430yp\u0430l ",
    "\uff41 ", "\uff42", "\u24b7 ", "\U0001d41a ", "\u200b", "\u3164", "\xad", "\u3000", "\xe9",
    "\U0001f469\u200d\U0001f680", "\U0001f1e9", "\U0001f1ea", "\U0001f44d", "\U0001f3fd ", "\ud83d",
    "\ude00", "\x00", "\x01 ", "xyz" * 40 + " ",
]  # fmt: skip
parts = st.one_of(st.sampled_from(PARTS), st.text("abAB01 .!-'|@$", max_size=6), st.characters())
texts = st.lists(parts, max_size=30).map("".join)
long_texts = st.builds(
    lambda some, times: "".join(some) * times, st.lists(parts, max_size=12), st.integers(1, 12)
)


def never_blocks(path: Path) -> Classifier:
    names = Classifier(path, threads=1).categories
    return Classifier(path, threads=1, policy=dict.fromkeys(names, (0.3, None)))


@pytest.fixture(scope="module")
def ruled_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with all normalisation rules: windows of 30 tokens."""
    path = tmp_path_factory.mktemp("ruled") / "ruled.safetensors"
    TinyModel(rules=RULES).write(path)
    return path


@pytest.fixture(scope="module")
def ruled(ruled_path: Path) -> Classifier:
    return never_blocks(ruled_path)


@pytest.fixture(scope="module")
def blocking(ruled_path: Path) -> Classifier:
    """Blocks about half of all texts."""
    classifier = Classifier(ruled_path, threads=1)
    scores = sorted(classifier.classify(part * 3).scores["harassment"] for part in PARTS)
    return Classifier(ruled_path, threads=1, policy={"harassment": (0.0, scores[len(scores) // 2])})


@pytest.fixture(scope="module")
def releasing(tiny_path: Path) -> Classifier:
    return never_blocks(tiny_path)


def cut(data: st.DataObject, text: str) -> list[str]:
    """The text in parts, cut anywhere."""
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def run(stream: TextStream, chunks: Sequence[str]) -> tuple[str, Verdict]:
    """All that was released, and the verdict; checks what holds for every stream."""
    text, shown, was_blocked = "".join(chunks), "", False
    for chunk in chunks:
        release = stream.feed(chunk)
        assert not was_blocked or (release.blocked and release.text == "")
        was_blocked = release.blocked
        assert (
            release.verdict is None or was_blocked or release.blocked == (release.verdict.action == "block")
        )
        shown += release.text
        assert text.startswith(shown)
    verdict = stream.finish()
    assert stream.finish() is verdict is stream.verdict
    assert stream.blocked == (was_blocked or verdict.action == "block")
    assert stream.rest == "" if stream.blocked else shown + stream.rest == text
    return shown + stream.rest, verdict


every = st.one_of(st.integers(1, 60), st.just("sentence"))


@settings(max_examples=600)
@given(text=st.one_of(texts, long_texts), check_every=every, hold=st.integers(0, 20), data=st.data())
def test_finish_is_classify(
    ruled: Classifier, blocking: Classifier, text: str, check_every: Any, hold: int, data: st.DataObject
) -> None:
    chunks = cut(data, text)
    for classifier in (ruled, blocking):
        verdict = run(classifier.open_text(check_every=check_every, hold=hold), chunks)[1]
        assert verdict == classifier.classify(text)


@pytest.mark.slow
@settings(max_examples=500)
@given(text=st.one_of(texts, long_texts), check_every=every, data=st.data())
@example(text="All the birds sat in the trees. " * 200, check_every=40, data=None)
def test_finish_is_classify_with_the_bundled_model(
    classifier: Classifier, text: str, check_every: Any, data: st.DataObject | None
) -> None:
    chunks = [text[i : i + 500] for i in range(0, len(text), 500)] if data is None else cut(data, text)
    verdict = run(classifier.open_text(check_every=check_every), chunks)[1]
    assert verdict == classifier.classify(text)


def test_finish_is_classify_when_texts_leave_early(model_path: Path, messages: list[str]) -> None:
    try:
        adaptive = Classifier(model_path, threads=1, effort="adaptive")
    except InvalidArgumentError:
        pytest.skip("the model has no rules for leaving early")
    for text in messages[:40]:
        assert run(adaptive.open_text(), [text[:30], text[30:]])[1] == adaptive.classify(text)


def pieces(classifier: Classifier, text: str) -> list[int]:
    ids, _, _, rows = classifier._engine.tokenize(text)
    overlap = classifier._section("tokenizer")["overlap_tokens"]
    windows = [ids[begin + 1 : end - 1] for begin, end in pairwise(rows)]
    return windows[0] + [piece for window in windows[1:] for piece in window[overlap:]]


@settings(max_examples=3000)
@given(text=texts, more=texts)
def test_no_continuation_changes_what_is_before_a_safe_place(
    classifier: Classifier, ruled: Classifier, text: str, more: str
) -> None:
    for place in {last_safe_place(text), last_sentence_end(text)}:
        for each in (classifier, ruled):
            before, behind = pieces(each, text[:place]), pieces(each, text[place:] + more)
            assert pieces(each, text + more) == before + behind


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", 0),
        ("hello", 0),
        ("hello ", 6),
        ("hello the", 6),
        ("hello, a", 7),
        ("s t o p", 0),  # may go on
        ("so s t o p ", 3),
        ("so s t o p it ", 14),
        ("1 2 3", 4),  # no letter is spelled with a 2
        ("line\nA", 5),
        ("\u0434\u0430 \u043d", 3),
        ("\u65e5\u672c\u8a9e", 2),  # the last one may be followed by a word that it touches
        ("\uff41 \uff42 ", 0),  # fullwidth letters, which may be spelled words
        ("ok \U0001f469 ", 3),
    ],
)
def test_safe_places(text: str, place: int) -> None:
    assert last_safe_place(text) == place


def test_sentences_end_where_they_do() -> None:
    for text, place in [
        ("No. ", 4),
        ("No.", 0),
        ("3.14 is", 0),
        ('"Go!" he', 6),
        ("a\nb", 2),
        ("\u3002\u6c34", 1),
    ]:
        assert last_sentence_end(text) == place, text
        assert place <= last_safe_place(text)


def test_characters_of_the_patterns_stay_what_they_are(classifier: Classifier) -> None:
    """No rule turns one of WORD into nothing or a boundary, or one of NO_LETTER into a letter or sign."""
    word, no_letter = re.compile(f"[{WORD}]"), re.compile(f"[{NO_LETTER}]")
    for character in map(chr, [*range(0xD800), *range(0xE000, 0x110000)]):
        if word.match(character):
            becomes = classifier._engine.normalize(character)
            assert re.fullmatch("[A-Za-z0-9@$\u0080-\U0010ffff]+", becomes), hex(ord(character))
        if no_letter.match(character):
            becomes = classifier._engine.normalize(character)
            assert re.fullmatch("[^A-Za-z013457@$]+", becomes), hex(ord(character))


@settings(max_examples=200)
@given(text=texts, check_every=every, data=st.data())
def test_a_verdict_so_far_is_that_on_what_was_judged(
    ruled: Classifier, text: str, check_every: Any, data: st.DataObject
) -> None:
    assume(len(pieces(ruled, text)) <= 30 and len(text) <= LONGEST_STRETCH)
    stream = ruled.open_text(check_every=check_every)
    for chunk in cut(data, text):
        verdict = stream.feed(chunk).verdict
        if verdict is not None:
            so_far = ruled.classify(text[: stream._judged])
            assert (verdict.scores, verdict.action, verdict.windows) == (so_far.scores, so_far.action, 1)
            assert verdict.spans("harassment") == so_far.spans("harassment")


@settings(max_examples=100)
@given(text=long_texts, data=st.data())
def test_long_texts_are_covered_by_windows_half_a_window_apart(
    ruled: Classifier, text: str, data: st.DataObject
) -> None:
    chunks = cut(data, text)
    stream = ruled.open_text(check_every=10)
    judged = [stream.feed(chunk).verdict for chunk in chunks][-1] if chunks else None
    assume(judged is not None and len(text) <= LONGEST_STRETCH)
    assert judged is not None
    ids = pieces(ruled, text[: stream._judged])
    starts = [start for start in range(0, max(len(ids), 1), 15) if start == 0 or len(ids) > start + 15]
    rows = [ids[start : start + 30] for start in starts]
    begin, end = ruled._engine.tokenize("")[0]
    windows = [[begin, *row, end] for row in rows]
    offsets = [sum(map(len, windows[:count])) for count in range(len(windows) + 1)]
    found = ruled._engine.window_probabilities([*chain(*windows)], offsets, None)
    assert judged.windows == len(windows)
    assert tuple(judged.scores.values()) == tuple(map(max, zip(*found, strict=True)))


class CountingEngine:
    """Counts the tokens that the encoder runs on, and the bytes that are tokenised."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.tokens, self.characters = engine, 0, 0

    def tokenize(self, text: str) -> Any:
        self.characters += len(text)
        return self.engine.tokenize(text)

    def window_probabilities(self, ids: list[int], *rest: Any) -> Any:
        self.tokens += len(ids)
        return self.engine.window_probabilities(ids, *rest)


def counted(stream: TextStream) -> CountingEngine:
    stream._scorer._engine = counting = CountingEngine(stream._scorer._engine)
    return counting


@pytest.mark.parametrize("part", ["the dog is good and ", "a b c d e ", "x" * 30, "\u65e5\u672c", "\u0301"])
def test_work_per_chunk_does_not_grow_with_the_text(ruled: Classifier, part: str) -> None:
    stream = ruled.open_text(check_every=20)
    work = counted(stream)
    for number in range(2000):
        before = work.tokens, work.characters
        stream.feed(part)
        # The window that grows and those that it fills, and what was not judged before.
        assert work.characters - before[1] <= LONGEST_STRETCH + len(part)
        assert work.tokens - before[0] <= 32 * (2 + (work.characters - before[1]) // 15), number
        assert len(stream._unjudged) <= LONGEST_STRETCH + 20


def test_no_window_runs_twice(ruled: Classifier) -> None:
    text = "the dog is good and "  # one window
    stream = ruled.open_text(check_every=1)
    work = counted(stream)
    stream.feed(text)
    tokens = work.tokens
    assert tokens > 0
    assert stream.finish() == ruled.classify(text)
    assert work.tokens == tokens
    # 52 pieces: two windows of 30, of which only the second was not there before.
    text = "the dog is good and " * 10 + "the dog "
    stream = ruled.open_text(check_every=1)
    for word in re.findall(r"\S+ ", text):
        stream.feed(word)
    work = counted(stream)
    assert stream.finish() == ruled.classify(text)
    assert stream.verdict is not None
    assert stream.verdict.windows == 2
    assert work.tokens == 32


def test_blocked_stays_blocked(tiny_path: Path) -> None:
    classifier = Classifier(tiny_path, policy={"harassment": (0.0, 0.0)})
    stream = classifier.open_text(check_every=5)
    assert stream.feed("dog ") == ("", None, False)
    release = stream.feed("hate ")
    assert (release.text, release.blocked) == ("", True)
    assert release.verdict is not None
    assert release.verdict.action == "block"
    work = counted(stream)
    assert stream.feed("and more of it " * 20) == ("", release.verdict, True)
    assert work.tokens == 0
    assert stream.finish() == classifier.classify("dog hate " + "and more of it " * 20)
    assert stream.blocked
    assert stream.rest == ""


def test_the_end_can_block_too(tiny_path: Path) -> None:
    stream = Classifier(tiny_path, policy={"harassment": (0.0, 0.0)}).open_text(check_every=100)
    assert stream.feed("dog ") == ("", None, False)
    assert stream.finish().action == "block"
    assert stream.blocked
    assert stream.rest == ""


def test_what_is_released_when(releasing: Classifier) -> None:
    def released(stream: TextStream, *chunks: str) -> list[str]:
        return [stream.feed(chunk).text for chunk in chunks]

    words = ("the ", "dog", " is good. ", "It", " runs ", "fast")
    assert released(releasing.open_text(check_every=1), *words) == [
        "the ",
        "",
        "dog is good. ",
        "",
        "It runs ",
        "",
    ]
    assert released(releasing.open_text(check_every=10), *words) == ["", "", "the dog is good. ", "", "", ""]
    assert released(releasing.open_text(check_every="sentence"), *words) == [
        "",
        "",
        "the dog is good. ",
        "",
        "",
        "",
    ]
    held = releasing.open_text(check_every=1, hold=6)
    assert released(held, *words) == ["", "", "the dog is ", "", "good. It", ""]
    held.finish()
    assert held.rest == " runs fast"


@pytest.mark.parametrize("check_every", [1, "sentence"])
@pytest.mark.parametrize("part", ["x", "a b c d ", "\u0e01", "\U0001f44d"])
def test_a_stretch_without_a_safe_place_is_not_held_for_ever(
    releasing: Classifier, part: str, check_every: Any
) -> None:
    stream = releasing.open_text(check_every=check_every)
    shown = 0
    for count in range(1, 3000 // len(part)):
        shown += len(stream.feed(part).text)
        assert count * len(part) - shown <= LONGEST_STRETCH


def test_explanations(tiny: Classifier) -> None:
    stream = tiny.open_text(check_every=1)
    verdict = stream.feed("hello dog and bi").verdict
    assert verdict is not None
    stream.feed("rd")
    assert verdict.explain("violence") == tiny.classify("hello dog and ").explain("violence")
    assert stream.finish().spans("violence") == tiny.classify("hello dog and bird").spans("violence")


def test_neither_streams_nor_conversations_import_numpy(model_path: Path) -> None:
    code = (
        "import sys, safetyclf; classifier = safetyclf.Classifier(sys.argv[1]);"
        "stream = classifier.open_text(); stream.feed('hello there. ' * 20); stream.finish();"
        "classifier.classify_chat([{'role': 'user', 'content': 'hello'}] * 2);"
        "assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(model_path)], check=True)


def test_lone_surrogates(tiny: Classifier) -> None:
    stream = tiny.open_text(check_every=1)
    assert not stream.feed("hello ").verdict.repaired  # type: ignore[union-attr]
    assert stream.feed("\ud83d").text == ""
    assert stream.feed("\ude00 dog ").verdict.repaired  # type: ignore[union-attr]
    verdict = stream.finish()
    assert verdict == tiny.classify("hello \ud83d\ude00 dog ")
    assert verdict.repaired


def test_bad_input(tiny: Classifier, tiny_path: Path) -> None:
    for bad in (0, -1, 1.5, True, "word", None):
        with pytest.raises(InvalidArgumentError, match="check_every must be 'sentence' or a number"):
            tiny.open_text(check_every=bad)  # type: ignore[arg-type]
    for bad in (-1, 1.5, True, "1"):
        with pytest.raises(InvalidArgumentError, match="hold must be a number"):
            tiny.open_text(hold=bad)  # type: ignore[arg-type]
    stream = tiny.open_text()
    with pytest.raises(InvalidInputError, match=r"feed takes a str, not bytes; decode it first"):
        stream.feed(b"hello")  # type: ignore[arg-type]
    with pytest.raises(SafetyclfError, match="no rest before finish"):
        _ = stream.rest
    small = Classifier(tiny_path, max_text_bytes=10).open_text(check_every=1)
    assert small.feed("hello ").text == "hello "
    with pytest.raises(
        TextTooLargeError, match="the text would have 11 bytes, more than max_text_bytes = 10"
    ):
        small.feed("there")
    small.feed("al\xe9")  # ten bytes: what was refused was not taken
    assert small.finish() == tiny.classify("hello al\xe9")


def test_ends(tiny: Classifier) -> None:
    with tiny.open_text() as stream:
        stream.feed("hello")
        verdict = stream.finish()
    assert stream.finish() is verdict
    with pytest.raises(SafetyclfError, match="has ended"):
        stream.feed("more")
    with tiny.open_text() as closed:
        closed.feed("hello")
    with pytest.raises(SafetyclfError, match="closed before it was finished"):
        closed.finish()
    assert tiny.open_text().finish() == tiny.classify("")


def test_windows_of_ids_are_checked(tiny: Classifier) -> None:
    score = tiny._engine.window_probabilities
    begin, end = tiny._engine.tokenize("")[0]
    assert score([], [0], None) == []
    for ids, rows in [
        ([begin, end], []),
        ([begin, end], [0, 1]),
        ([begin, end], [1, 2]),
        ([begin, -1], [0, 2]),
        ([begin, 10**6], [0, 2]),
        ([begin, end], [0, 0, 2]),
        ([begin] * 33, [0, 33]),
    ]:
        with pytest.raises(InvalidArgumentError, match="no windows of this model"):
            score(ids, rows, None)


# Policies ---------------------------------------------------------------------------------------------------


def test_term_lists_hold_back_and_block_a_growing_text(tiny_path: Path) -> None:
    from safetyclf.policy import loads

    rules = loads(
        'format = "safetyclf-policy/1"\nid = "house"\nversion = "1.0.0"\ntitle = "House rules"\n'
        '[lists.names]\ntitle = "Names"\naction = "block"\nterms = ["wombat"]\n'
    )
    classifier = Classifier(tiny_path, policy=rules)
    text = "the dog and the wombat and the cat "
    with classifier.open_text(check_every=1) as stream:
        releases = [stream.feed(letter) for letter in text]
        verdict = stream.finish()
    shown = "".join(release.text for release in releases)
    assert text.startswith(shown)
    assert "wombat" not in shown
    assert releases[-1].blocked
    assert verdict == classifier.classify(text)
    assert [match.term for match in verdict.matches] == ["wombat"]
