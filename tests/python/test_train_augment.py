"""Augmentation of training texts: spelling, joined and cut texts, and the labels that follow."""

from __future__ import annotations

import os
import re
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import BUNDLED
from safetyclf._native import Engine

pytest.importorskip("scipy")

from safetyclf.train import spelling
from safetyclf.train.augment import AugmentConfig, Augmenter, concatenate, perturb, truncate

SENTENCE = "The quick brown fox's friends, however, jumped over three sleepy dogs (again)!"
ALWAYS = AugmentConfig(perturb=1.0, identity_swap=1.0, perturb_twice=1.0, concatenate=0.5, truncate=0.5)


def labels_of(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.int8)


def some_rows(count: int = 60) -> tuple[list[str], np.ndarray]:
    texts = [f"Row {i}. The Muslim teacher met an old friend. They had tea! It rained." for i in range(count)]
    return texts, np.array([[i % 3 - 1, 0, -(i % 2)] for i in range(count)], np.int8)


# --- Spelling


@pytest.mark.parametrize("name", spelling.OPERATIONS)
@given(text=st.text(max_size=60), seed=st.integers(0, 99), strength=st.floats(0, 1))
def test_any_text_can_be_misspelt(name: str, text: str, seed: int, strength: float) -> None:
    changed = spelling.OPERATIONS[name](text, Random(seed), strength)
    assert changed == spelling.OPERATIONS[name](text, Random(seed), strength)
    if name in ("typos", "leet", "homoglyphs", "mask", "space_out", "repeat_letters"):
        assert bool(changed.strip()) == bool(text.strip())


@given(text=st.text(max_size=30), seed=st.integers(0, 999))
def test_perturb_never_empties_a_text(text: str, seed: int) -> None:
    assert bool(perturb(text, Random(seed)).strip()) == bool(text.strip())


@pytest.mark.parametrize("text", ["", "?", "!!!", "a", "😀😀", " \n ", "ok", "日本語", "מה"])
def test_texts_without_words_stay(text: str) -> None:
    for seed in range(20):
        assert spelling.typos(text, Random(seed)) == text
        assert (perturb(text, Random(seed)) == "") == (text == "")


def test_case_and_space() -> None:
    rng = Random(0)
    assert spelling.lower("Ab C", rng) == "ab c"
    assert spelling.upper("Ab C", rng) == "AB C"
    assert spelling.title_case("one TWO", rng) == "One Two"
    assert spelling.collapse_whitespace(" a \n\n b\t", rng) == "a b"
    assert spelling.random_case(SENTENCE, rng, 1.0).lower() == SENTENCE.lower()


def test_punctuation_goes_and_words_stay_apart() -> None:
    results = {spelling.strip_punctuation("Don't,stop: it (now)!", Random(seed)) for seed in range(30)}
    assert "Dont stop it now" in results
    assert len(results) > 1  # some keep a part of it
    assert spelling.strip_punctuation("ok 😀!", Random(1)) in ("ok 😀", "ok 😀!")


def test_marks_in_words() -> None:
    word = "wonderful"
    for seed in range(50):
        masked = spelling.mask(word, Random(seed), 1.0)
        assert len(masked) == len(word)
        assert masked[0] == "w"
        assert masked[-1] == "l"
        assert 1 <= sum(a != b for a, b in zip(masked, word, strict=True)) <= 2
        assert re.fullmatch(r"w(.)o(\1)n\1d\1e\1r\1f\1u\1l", spelling.space_out(word, Random(seed), 1.0))
        drawn_out = spelling.repeat_letters(word, Random(seed), 1.0)
        assert re.sub(r"(.)\1+", r"\1", drawn_out) == word
        typo = spelling.typos(word, Random(seed), 1.0)
        assert abs(len(typo) - len(word)) <= 1
        assert typo[0] == "w"
        assert 1 <= sum(not c.isalpha() for c in spelling.leet(word, Random(seed), 1.0)) <= 3
    assert spelling.join_words("one two", Random(0)) == "onetwo"


def test_strength_bounds_the_words_changed() -> None:
    words = " ".join(["sunshine"] * 100)
    for name in ("typos", "leet", "homoglyphs", "mask", "repeat_letters"):
        changed = spelling.OPERATIONS[name](words, Random(3), 0.1).split(" ")
        assert 1 <= sum(word != "sunshine" for word in changed) <= 10


def test_keys_beside() -> None:
    assert sorted(spelling._NEIGHBOURS["s"]) == ["a", "d", "w", "x"]
    assert sorted(spelling._NEIGHBOURS["p"]) == ["o"]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(os.fspath(BUNDLED), threads=1, max_text_bytes=1 << 20, isa="")


def test_the_normaliser_keeps_the_look_alikes(engine: Engine) -> None:
    for letter, others in spelling._HOMOGLYPHS.items():
        for other in others:
            word = f"wo{other}d"
            assert engine.normalize(word) == word, "undone before the encoder: of no use"
            assert engine.tokenize(word)[0] != engine.tokenize(f"wo{letter}d")[0]
            assert len(engine.tokenize(word)[0]) > 3, "a word of one piece: unknown to the vocabulary"


def changes_seen(engine: Engine, name: str, sentence: str = SENTENCE) -> int:
    """In how many of 20 changes of a sentence the encoder gets other tokens."""
    plain = engine.tokenize(sentence)[0]
    return sum(
        engine.tokenize(spelling.OPERATIONS[name](sentence, Random(seed), 0.15))[0] != plain
        for seed in range(20)
    )


@pytest.mark.parametrize("name", ["typos", "homoglyphs", "mask", "repeat_letters"])
def test_the_encoder_sees_the_change(engine: Engine, name: str) -> None:
    assert changes_seen(engine, name) == 20


@pytest.mark.parametrize("name", ["leet", "space_out"])
def test_rules_undo_some_disguises_and_leave_some_to_learn(engine: Engine, name: str) -> None:
    assert changes_seen(engine, name) < 20
    # Words that the vocabulary lacks.
    assert changes_seen(engine, name, "gobbledygook, flibbertigibbet and skulduggery in Wigglesworth") > 10


# --- Labels


def test_concatenated_labels() -> None:
    first = ("One.", labels_of([1, 1, 1, 0, 0, -1])[0])
    second = ("Two.", labels_of([1, 0, -1, 0, -1, -1])[0])
    text, labels = concatenate([first, second], Random(0))
    assert text.split() == ["One.", "Two."]
    assert labels.tolist() == [1, 1, 1, 0, -1, -1]
    assert labels.dtype == np.int8
    assert concatenate([first], Random(0))[1].tolist() == first[1].tolist()


def test_cut_texts_lose_positives_only() -> None:
    text = " ".join(f"This is sentence number {i}." for i in range(20))
    row = labels_of([1, 0, -1])[0]
    small = 0
    for seed in range(200):
        kept, labels = truncate(text, row, Random(seed))
        assert kept in text
        assert kept.startswith("This")
        assert kept.endswith(".")
        assert len(kept) >= 0.25 * len(text)
        assert labels.tolist()[1:] == [0, -1]
        lost = len(text) - len(kept)
        assert labels[0] == (1 if lost <= 0.1 * len(text) else -1)
        small += labels[0] == 1
    assert 0 < small < 200
    assert row.tolist() == [1, 0, -1]


@given(text=st.text(max_size=80), seed=st.integers(0, 99))
def test_cut_texts_are_not_empty(text: str, seed: int) -> None:
    kept, _ = truncate(text, labels_of([0])[0], Random(seed))
    assert bool(kept.strip()) == bool(text.strip())


# --- Augmenter


def test_rows_do_not_depend_on_order_or_chunks() -> None:
    texts, labels = some_rows()
    before = labels.copy()
    whole, whole_labels = Augmenter(5, ALWAYS)(texts, labels, 2)
    order = [17, 3, 3, 59, 0]
    part, part_labels = Augmenter(5, ALWAYS)(texts, labels, 2, order)
    assert part == [whole[i] for i in order]
    assert np.array_equal(part_labels, whole_labels[order])
    assert np.array_equal(labels, before)
    assert whole_labels.dtype == np.int8


def test_epochs_and_seeds_differ() -> None:
    texts, labels = some_rows()
    runs = [Augmenter(seed, ALWAYS)(texts, labels, epoch)[0] for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert runs[0] != runs[1] != runs[2] != runs[0]


def test_probabilities_of_zero_change_nothing() -> None:
    texts, labels = some_rows()
    off = AugmentConfig(perturb=0.0, identity_swap=0.0, concatenate=0.0, truncate=0.0)
    new, new_labels = Augmenter(1, off)(texts, labels, 0)
    assert new == texts
    assert np.array_equal(new_labels, labels)


def test_about_half_of_the_rows_stay() -> None:
    texts, labels = some_rows(2000)
    new, _ = Augmenter(1)(texts, labels, 0)
    assert 0.45 < np.mean([a == b for a, b in zip(texts, new, strict=True)]) < 0.65


def test_positives_stay_positive_or_become_unknown() -> None:
    texts, labels = some_rows(900)
    new, new_labels = Augmenter(1, ALWAYS)(texts, labels, 0)
    assert not ((labels == 1) & (new_labels == 0)).any()
    assert not ((labels == 0) & (new_labels == 1)).any()  # the context is benign
    assert not ((labels == -1) & (new_labels != -1)).any()
    assert all(new)


def test_context_is_benign_and_short_enough() -> None:
    texts = ["bad " * 20] + ["good " * 20] * 9 + ["unknown " * 10]
    labels = labels_of([1, 1], *[[0, 0]] * 9, [0, -1])
    config = AugmentConfig(perturb=0, identity_swap=0, truncate=0, concatenate=1.0, max_chars=350)
    for epoch in range(30):
        (text,), new = Augmenter(1, config)(texts, labels, epoch, [0])
        assert "good" in text
        assert "unknown" not in text
        assert text.count("bad") == 20
        assert len(text) <= 350
        assert new.tolist() == [[1, 1]]


def test_strange_and_few_rows() -> None:
    texts = ["", " ", "😀", "a", "\u0301", "日本", "x" * 5000]
    labels = np.full((len(texts), 2), 1, np.int8)  # nobody can be context
    for epoch in range(20):
        new, _ = Augmenter(3, ALWAYS)(texts, labels, epoch)
        assert [bool(text.strip()) for text in new] == [bool(text.strip()) for text in texts]
    assert Augmenter(1)([], np.empty((0, 13), np.int8), 0)[0] == []


def test_every_operation_has_a_weight() -> None:
    assert set(spelling.OPERATIONS) <= set(AugmentConfig.__dataclass_fields__)
    assert all(f.type in ("float", "int") for f in AugmentConfig.__dataclass_fields__.values())
