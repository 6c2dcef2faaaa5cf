"""Same text, same bits: whatever the batch mates, order, threads, batch size and instruction set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetyclf
from hypothesis import given
from hypothesis import strategies as st
from places import BUNDLED
from safetyclf import Classifier

ISAS = safetyclf.build_info()["supported_isas"]

# Words of the tiny model's vocabulary make texts of very different lengths: up to ten of its windows.
WORDS = ["the", "angry", "dog", "hating", "rude", "hello", "7", "!?", "[SEP]", "\u65e5\u672c", "qqq"]
words = st.sampled_from(WORDS)
texts = st.one_of(
    st.text(max_size=60),
    st.builds(lambda some, times: " ".join(some) * times, st.lists(words, max_size=12), st.integers(1, 20)),
)
batches = st.lists(texts, max_size=40)


@pytest.fixture(scope="module")
def by_isa(tiny_path: Path) -> dict[str, Classifier]:
    return {isa: Classifier(tiny_path, threads=1, isa=isa) for isa in ISAS}


@pytest.fixture(scope="module")
def by_threads(tiny_path: Path) -> dict[int, Classifier]:
    return {threads: Classifier(tiny_path, threads=threads) for threads in (1, 2, 5)}


def rows(classifier: Classifier, batch: list[str]) -> list[bytes]:
    return [row.tobytes() for row in classifier.scores(batch)]


@given(batch=batches, data=st.data())
def test_batch_mates_and_order(batch: list[str], data: st.DataObject, tiny: Classifier) -> None:
    alone = [rows(tiny, [text])[0] for text in batch]
    assert rows(tiny, batch) == alone
    order = data.draw(st.permutations(range(len(batch))))
    assert rows(tiny, [batch[i] for i in order]) == [alone[i] for i in order]


@given(batch=batches)
def test_threads(batch: list[str], by_threads: dict[int, Classifier]) -> None:
    expected = rows(by_threads[1], batch)
    for classifier in by_threads.values():
        assert rows(classifier, batch) == expected


@given(batch=batches, size=st.integers(1, 50))
def test_batch_size(batch: list[str], size: int, tiny: Classifier) -> None:
    assert list(tiny.stream(batch, batch_size=size)) == tiny.classify_batch(batch)


@given(batch=batches)
def test_instruction_sets(batch: list[str], by_isa: dict[str, Classifier]) -> None:
    expected = rows(by_isa["scalar"], batch)
    for classifier in by_isa.values():
        assert rows(classifier, batch) == expected


@given(text=texts)
def test_explanations(text: str, by_isa: dict[str, Classifier], by_threads: dict[int, Classifier]) -> None:
    classifiers = [*by_isa.values(), *by_threads.values()]
    for category in classifiers[0].categories:
        expected = classifiers[0].classify(text).explain(category)
        assert all(c.classify(text).explain(category) == expected for c in classifiers[1:])


def test_a_long_batch_on_many_threads(by_threads: dict[int, Classifier]) -> None:
    # Several chunks of the engine: more texts, and more bytes, than one holds.
    random = np.random.default_rng(1)
    vocabulary = np.array(["the", "angry", "dog", "loves", "rude", "weather", "hello"])
    batch = [" ".join(random.choice(vocabulary, random.integers(0, 60))) for _ in range(9000)]
    expected = rows(by_threads[1], batch)
    assert rows(by_threads[2], batch) == expected
    assert rows(by_threads[5], batch) == expected
    assert rows(by_threads[5], batch[::-1]) == expected[::-1]


@pytest.mark.skipif(not BUNDLED.exists(), reason="the package was built without its model")
@pytest.mark.parametrize("isa", ISAS)
def test_the_model_in_the_package(isa: str, messages: list[str], classifier: Classifier) -> None:
    for threads in (1, 3):
        other = Classifier(isa=isa, threads=threads)
        assert rows(other, messages) == rows(classifier, messages)
        assert [rows(other, [text])[0] for text in messages[::-1]] == rows(classifier, messages)[::-1]
