"""Identity terms, counterfactuals and made texts for training: harmless, in contrast, and noise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scipy")

from safetyclf.train import benign
from safetyclf.train.contrast import contrast_texts
from safetyclf.train.frames import distinct
from safetyclf.train.identity import swap_identity
from safetyclf.train.identity_terms import IDENTITY_KINDS, IDENTITY_TERMS, load_beside, rows_with

Generator = Callable[[int, int], list[str]]
GENERATORS = (
    benign.benign_sentences,
    benign.everyday_prompts,
    benign.held_out_sentences,
    benign.degenerate_texts,
)


def test_terms() -> None:
    assert len(IDENTITY_TERMS) >= 120
    assert len(set(IDENTITY_TERMS)) == len(IDENTITY_TERMS)
    for term in IDENTITY_TERMS:
        assert term.forms[0]
        assert term.forms[1]
        assert all(form == form.strip() for form in term.forms)
    for kind in IDENTITY_KINDS:
        for form in range(3):
            assert len(rows_with(frozenset({form}), kind)) >= 3


def swaps(text: str) -> set[str]:
    return {str(swap_identity(text, Random(seed))) for seed in range(400)}


@pytest.mark.parametrize(
    "text",
    [
        "", "a nice day", "black coffee and white wine", "polish the table", "oh man, what a day",
        "an old house", "a straight line", "a bipolar transistor", "blind faith", "a 20-year-old person",
        "foreign policy",
    ],
)  # fmt: skip
def test_texts_without_terms(text: str) -> None:
    assert swaps(text) == {"None"}


def test_swaps_keep_form_and_kind() -> None:
    assert "I met a Sikh." in swaps("I met a Muslim.")
    assert "I met an atheist." in swaps("I met a Muslim.")
    assert "A Ukrainian bakery" in swaps("An Irish bakery")
    assert "Two Jewish cooks" in swaps("Two Hindu cooks")
    assert not any(re.search(r"\b(?:a|A) [aAoOeEiI]|\ban [^aeiou]", s, re.I) for s in swaps("Is he a Jain?"))
    plural = {term.forms[0] for term in IDENTITY_TERMS if term.kind == "migration"}
    assert {s.removesuffix(" sing.") for s in swaps("refugees sing.")} == plural - {"refugees"}


def test_swaps_are_consistent_and_distinct() -> None:
    for result in swaps("Muslims and Jews: a Muslim and a Jew, Muslim or Jewish."):
        one, two = re.match(r"(.+?) and (.+?):", result).groups()  # type: ignore[union-attr]
        rows = {term.forms[0]: term.forms for term in IDENTITY_TERMS}
        assert one != two
        for row in (rows[one], rows[two]):
            assert f" {row[1]}" in result
            assert f" {row[2]}" in result


def test_case_is_kept() -> None:
    assert all(s.isupper() for s in swaps("MUSLIMS AND A JEW"))
    assert all(s.islower() for s in swaps("muslims and a jew"))
    assert all(s[0].isupper() for s in swaps("Wheelchair users sing."))
    assert "white people" in swaps("Black people")


def test_hyphens_do_not_hide_a_term() -> None:
    assert not any("african" in s.lower() for s in swaps("an African-American nurse"))
    assert "the anti-Sikh law" in swaps("the anti-Muslim law")
    assert swap_identity("Muſlim", Random(0)) is None  # matches "s" when case is ignored


@given(text=st.text(st.sampled_from(" aAnN.-'MmuslimſJewBlackpeoe\u0130")), seed=st.integers(0, 9))
def test_any_text_can_be_swapped(text: str, seed: int) -> None:
    assert swap_identity(text, Random(seed)) != ""


# --- Harmless texts


@pytest.mark.parametrize("make", GENERATORS)
def test_generated_texts_are_repeatable(make: Generator) -> None:
    texts = make(1, 3000)
    assert len(texts) == 3000
    assert texts == make(1, 3000)
    assert texts[:50] == make(1, 50)
    assert texts != make(2, 3000)
    assert ("" in texts) == (make is benign.degenerate_texts)  # the empty text is noise to learn as well
    assert make(1, 0) == []


def test_held_out_sentences_are_not_trained_on() -> None:
    frames = {name: load_beside(name)["frames"] for name in ("benign_frames.toml", "held_out_frames.toml")}
    trained, held_out = ({f for group in part.values() for f in group} for part in frames.values())
    assert len(held_out) > 80
    assert not trained & held_out
    assert not set(benign.benign_sentences(1, 20_000)) & set(benign.held_out_sentences(1, 20_000))


def test_the_shortest_noise_comes_again() -> None:
    texts = benign.degenerate_texts(1, 3000)
    assert sum(not text.strip() for text in texts) > 30
    letters = [text for text in texts if len(text) == 1 and text.isascii()]
    assert len(letters) > 2 * len(set(letters))
    assert len(set(texts)) > 2000


@pytest.mark.slow
@pytest.mark.parametrize("make", GENERATORS[:3])
def test_there_are_many(make: Generator) -> None:
    assert len(set(make(3, 50_000))) == 50_000


@pytest.mark.parametrize("make", GENERATORS[:3])
def test_sentences_are_well_formed(make: Generator) -> None:
    for text in make(4, 4000):
        assert not re.search(r"[{}]|  |\bNone\b|^\s|\s$| [.,?!]", text), text
        assert not re.search(r"\ba (?:[aio]\w|e(?!u))", text, re.I), text
        assert not re.search(r"\ban (?!lgbt|nda|hour)[^aeiou\W]", text, re.I), text


def test_every_benign_sentence_has_a_term() -> None:
    frames = load_beside("benign_frames.toml")["frames"]
    flat = [frame for group in frames.values() for frame in group]
    assert len(flat) == len(set(flat)) >= 150
    assert all(re.search(r"\{(?:np|ns|adj)[:}]", frame) for frame in flat)


def test_everyday_frames() -> None:
    file = load_beside("everyday_frames.toml")
    flat = [frame for part in ("frames", "howto") for group in file[part].values() for frame in group]
    assert len(flat) == len(set(flat)) >= 200
    assert set(re.findall(r"\{(\w+)\}", " ".join(flat))) == set(file["slots"])


CATEGORIES = ("hate", "harassment", "violence", "hate/threatening", "sexual", "of our own")


def test_contrast_frames() -> None:
    file = load_beside("contrast_frames.toml")
    flat = [frame for group in file["groups"].values() for frame in group["frames"]]
    assert len(flat) == len(set(flat)) >= 250
    slots = set(re.findall(r"\{(\w+?)[23]?(?::[a-z,]+)?\}", " ".join([*flat, *file["clauses"]["list"]])))
    assert slots <= {*file["slots"], "np", "ns", "adj", "clause"}
    for group in file["groups"].values():
        named = {*group.get("one", ()), *group.get("unknown", ())}
        assert named <= set(file["labels"]["known"])
        # A child's 1 implies its parent's; where a parent may be 1, its child is not known to be 0.
        for child in (name for name in named if "/" in name):
            parent = child.split("/")[0]
            assert parent in named
            if child in group.get("one", ()):
                assert parent in group["one"]


def test_contrast_texts_have_the_labels_of_their_frames() -> None:
    texts, labels = contrast_texts(3, 3000, CATEGORIES)
    assert len(set(texts)) == len(texts) == len(labels) == 3000
    assert labels.dtype == "int8"
    column = {name: labels[:, c] for c, name in enumerate(CATEGORIES)}
    # Both sides are there in numbers, and the same words on both of them.
    assert (column["hate"] == 1).sum() > 900
    assert (column["hate"] == 0).sum() > 900
    for word in ("Muslim", "gay", "vermin", "despise", "vote"):
        sides = {int(hate) for text, hate in zip(texts, column["hate"], strict=True) if word in text}
        assert {0, 1} <= sides, word
    assert (column["hate"][column["hate/threatening"] == 1] == 1).all()
    assert (column["violence"][column["hate/threatening"] == 1] == 1).all()
    assert (column["harassment"][column["hate"] == 1] != 0).all()
    assert (column["sexual"] == 0).all()
    assert (column["of our own"] == -1).all()
    for text in texts:
        assert not re.search(r"[{}]|  |\bNone\b|^\s|\s$| [.,?!]", text), text
        assert not re.search(r"\ban (?!lgbt|nda|hour|honest)[^aeiou\W]", text, re.I), text
    assert texts == contrast_texts(3, 3000, CATEGORIES)[0] != contrast_texts(4, 3000, CATEGORIES)[0]
    assert contrast_texts(3, 0, CATEGORIES)[1].shape == (0, len(CATEGORIES))


def test_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot make 3 distinct"):
        distinct(lambda: ("same", None), 3)


def test_generated_texts_do_not_depend_on_the_hash_seed() -> None:
    program = (
        "from random import Random; from safetyclf.train import benign as i, contrast, identity;"
        "print(i.benign_sentences(1, 40), i.everyday_prompts(1, 40), i.degenerate_texts(1, 40),"
        "contrast.contrast_texts(1, 40, ['hate']),"
        "identity.swap_identity('a Muslim man and two Jews', Random(1)))"
    )
    outputs = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"}
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        result = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True
        )
        outputs.add(result.stdout)
    assert len(outputs) == 1
