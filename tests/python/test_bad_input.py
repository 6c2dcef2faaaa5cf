"""Input as bad as it comes: a clear error or a defined result, never a crash or a hang.

Files of messages are in test_cli.py.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetyclf
from hypothesis import given
from hypothesis import strategies as st
from safetyclf import Classifier

# Wrong types -----------------------------------------------------------------------------------------------

NOT_TEXT = [None, 7, 1.5, True, b"hello", bytearray(b"hello"), ["hello"], {"text": "hello"}, object()]
NOT_TEXTS = [None, 7, b"hello", bytearray(b"hello"), "hello", object()]


@pytest.mark.parametrize("value", NOT_TEXT, ids=repr)
def test_classify_takes_one_str(value: Any, tiny: Classifier) -> None:
    with pytest.raises(safetyclf.InvalidInputError, match="classify takes one str, not ") as caught:
        tiny.classify(value)
    assert isinstance(caught.value, TypeError)
    assert type(value).__name__ in str(caught.value)


@pytest.mark.parametrize("value", NOT_TEXT, ids=repr)
@pytest.mark.parametrize("method", ["classify_batch", "scores"])
def test_a_bad_text_in_a_batch_is_named_by_its_index(method: str, value: Any, tiny: Classifier) -> None:
    with pytest.raises(safetyclf.InvalidInputError, match=f"text 2 must be str, not {type(value).__name__}"):
        getattr(tiny, method)(["a", "b", value, "c"])


@pytest.mark.parametrize("value", NOT_TEXTS, ids=repr)
@pytest.mark.parametrize("method", ["classify_batch", "scores", "stream"])
def test_what_is_no_list_of_texts_is_refused(method: str, value: Any, tiny: Classifier) -> None:
    with pytest.raises(
        safetyclf.InvalidInputError, match=f"{method} takes .* not (one )?{type(value).__name__}"
    ):
        list(getattr(tiny, method)(value))


@pytest.mark.parametrize("value", [{"text": "hello"}, {"hello"}], ids=repr)
def test_a_batch_needs_an_order(value: Any, tiny: Classifier) -> None:
    for method in (tiny.classify_batch, tiny.scores):
        with pytest.raises(
            safetyclf.InvalidInputError, match=f"takes a list of texts, not {type(value).__name__}"
        ):
            method(value)


def test_arrays_of_wrong_shape_or_type_are_refused(tiny: Classifier) -> None:
    for array in (np.array([["a", "b"]]), np.array("a")):
        with pytest.raises(safetyclf.InvalidInputError, match="one-dimensional"):
            tiny.scores(array)
    with pytest.raises(safetyclf.InvalidInputError, match="text 0 must be str, not bytes; decode it first"):
        tiny.scores(np.array([b"a"]))
    with pytest.raises(safetyclf.InvalidInputError, match="text 0 must be str, not float"):
        tiny.scores(np.array([1.0]))


# Strange texts ---------------------------------------------------------------------------------------------

STRANGE = {
    "empty": "",
    "blank": " \t\r\n\u00a0\u2003\u3000",
    "NUL": "a\0b\0",
    "control characters": "".join(map(chr, range(32))),
    "emoji": "\U0001f600\U0001f4a9",
    "ZWJ sequence": "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "skin tone and variation selector": "\U0001f44d\U0001f3fd \u2764\ufe0f",
    "half a ZWJ sequence": "\u200d\U0001f469\u200d",
    "flags and tags": "\U0001f1e9\U0001f1ea\U0001f1e9 \U0001f3f4\U000e0067\U000e007f",
    "right-to-left marks": "\u202eabc\u202c \u200f\u05e9\u05dc\u2067x\u2069",
    "deeply combining": "Z" + "\u0301\u0327\u0489" * 500 + "algo",
    "combining first": "\u0301\u0301",
    "zero width only": "\u200b\ufeff\u2060",
    "special tokens": "[CLS] hello [SEP] [PAD] [UNK] [MASK] ##ing",
    "noncharacters": "\uffff\U0010ffff\ufdd0",
    "replacement characters": "\ufffd\ufffd",
    "hangul jamo": "\u1112\u1161\u11ab",
    "lone surrogates": "a\ud800b\udfff",
    "surrogates in pairs": "\ud83d\ude00",
    "fullwidth and mathematical": "\uff28\uff45\uff4c\uff4c\uff4f \U0001d4f1\U0001d4f2",
}


def assert_defined(classifier: Classifier, text: str) -> safetyclf.Verdict:
    verdict = classifier.classify(text)
    assert all(0 <= score <= 1 for score in verdict.scores.values())
    assert verdict == classifier.classify(text)
    assert verdict.repaired == any("\ud800" <= c <= "\udfff" for c in text)
    assert classifier.classify_batch(["dog", text, "cat"])[1] == verdict
    return verdict


@pytest.mark.parametrize("name", STRANGE)
def test_strange_texts_have_a_defined_result(name: str, classifier: Classifier) -> None:
    verdict = assert_defined(classifier, STRANGE[name])
    for category in verdict.scores:
        verdict.spans(category)


@given(text=st.text(st.characters(codec=None, exclude_categories=()), max_size=200))
def test_any_text_has_a_defined_result(text: str, tiny: Classifier) -> None:
    assert_defined(tiny, text)


def test_nothing_behind_a_nul_is_lost(classifier: Classifier) -> None:
    whole = classifier.scores(["the dog is\0 angry and bad", "the dog is angry and bad", "the dog is"])
    assert (whole[0] == whole[1]).all()
    assert (whole[0] != whole[2]).any()


def test_a_lone_surrogate_reads_as_the_replacement_character(classifier: Classifier) -> None:
    bad, good = classifier.classify_batch(["hello \ud800 dog \udcff", "hello \ufffd dog \ufffd"])
    assert bad.repaired
    assert not good.repaired
    assert bad.scores == good.scores


def test_text_that_spells_a_special_token_is_ordinary_text(tiny: Classifier) -> None:
    first, second = tiny.scores(["hello [SEP] dog", "hello [ SEP ] dog"])
    assert (first == second).all()


# Size ------------------------------------------------------------------------------------------------------


def test_the_size_cap_counts_utf8_bytes_exactly(tiny_path: Path) -> None:
    classifier = Classifier(tiny_path, max_text_bytes=10)
    assert classifier.classify("x" * 10).windows == 1
    assert classifier.classify("\xe9" * 5).windows == 1
    for text in ("x" * 11, "\xe9" * 5 + "x", "\ud800" * 4):
        for call in (
            lambda text=text: classifier.classify_batch(["a", text]),
            lambda text=text: classifier.scores(["a", text]),
            lambda text=text: list(classifier.stream(["a", text])),
        ):
            with pytest.raises(
                safetyclf.TextTooLargeError, match=r"text 1 has 1[12] bytes, more than .* = 10"
            ):
                call()


def test_ten_megabytes_are_refused_by_default(classifier: Classifier) -> None:
    with pytest.raises(
        safetyclf.TextTooLargeError, match="text 0 has 10000000 bytes, more than max_text_bytes = 1048576"
    ):
        classifier.classify("a" * 10_000_000)


@pytest.mark.parametrize("character", ["a", " ", "\0", "\u0301", "\u200d", "\ud800"], ids=ascii)
def test_ten_megabytes_of_one_character(character: str, tiny_path: Path) -> None:
    size = len(character.encode("utf-8", "surrogatepass"))
    text = character * (10_000_000 // size)
    start = time.monotonic()
    verdict = Classifier(tiny_path, max_text_bytes=1 << 24).classify(text)
    # Linear: none of these makes more than a few windows. Quadratic work would take hours.
    assert time.monotonic() - start < 60
    assert verdict.windows < 3


def test_cost_grows_linearly_with_the_number_of_words(tiny: Classifier) -> None:
    assert tiny.classify("!" * 22_008).windows == 1000
    assert tiny.classify("!" * 220_008).windows == 10_000


# Model files -----------------------------------------------------------------------------------------------


def header_of(data: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header


def with_header(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    header = header_of(data)
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return len(text).to_bytes(8, "little") + text + data[8 + int.from_bytes(data[:8], "little") :]


def overlap(header: dict[str, Any]) -> None:
    header["encoder.embedding_norm.beta"]["data_offsets"] = header["encoder.embedding_norm.gamma"][
        "data_offsets"
    ]


def beyond_the_end(header: dict[str, Any]) -> None:
    header["tokenizer.vocabulary"]["data_offsets"][1] += 10**9


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "seven bytes": lambda data: data[:7],
    "text": lambda data: b"this is not a model file, but it is longer than eight bytes\n" * 10,
    "header cut": lambda data: data[:100],
    "truncated": lambda data: data[: len(data) // 2],
    "last byte missing": lambda data: data[:-1],
    "trailing byte": lambda data: data + b"\0",
    "twice": lambda data: data + data,
    "huge header length": lambda data: b"\xff" * 8 + data[8:],
    "overlapping tensors": lambda data: with_header(data, overlap),
    "offsets beyond the end": lambda data: with_header(data, beyond_the_end),
    "tensor missing": lambda data: with_header(data, lambda header: header.pop("heads.bias")),
    "metadata missing": lambda data: with_header(data, lambda header: header.pop("__metadata__")),
    "bit flipped in the header": lambda data: flipped(data, 1000),
    "bit flipped in the weights": lambda data: flipped(data, len(data) // 2),
    "bit flipped at the end": lambda data: flipped(data, len(data) - 1),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_model_files_are_refused(name: str, tiny_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(DAMAGE[name](tiny_path.read_bytes()))
    with pytest.raises(safetyclf.ModelFormatError, match=r"damaged\.safetensors"):
        Classifier(path)


@pytest.mark.parametrize("name", ["missing.safetensors", ".", "no/such/folder", "nul\0byte", "b\udcffd"])
def test_model_files_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(safetyclf.ModelFileError) as caught:
        Classifier(f"{tmp_path}/{name}")
    assert isinstance(caught.value, OSError)
    assert not isinstance(caught.value, safetyclf.ModelFormatError)
    assert str(tmp_path) in str(caught.value)


def test_a_model_file_with_a_name_that_is_no_text(tiny_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "mod\udcffel"
    path.write_bytes(tiny_path.read_bytes())
    assert Classifier(path).classify("dog").windows == 1


# Ctrl-C ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer of CPU time")
@pytest.mark.parametrize("call", ["classify", "_explain", "tokenize", "normalize"])
def test_a_signal_stops_the_tokenising_of_one_text(call: str, tiny_path: Path) -> None:
    classifier = Classifier(tiny_path, threads=1, max_text_bytes=1 << 30)
    word = "a" * (32 << 20)  # one unknown word: all the time goes into reading it
    calls: dict[str, Callable[[], object]] = {
        "classify": lambda: classifier.classify(word),
        "_explain": lambda: classifier._explain(word, "violence", "byte"),
        "tokenize": lambda: classifier._engine.tokenize(word),
        "normalize": lambda: classifier._engine.normalize(word),
    }

    def cpu_seconds() -> float:
        begin = time.process_time()
        with contextlib.suppress(KeyboardInterrupt):
            calls[call]()
        return time.process_time() - begin

    whole = cpu_seconds()
    before = signal.signal(signal.SIGPROF, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_PROF, whole / 8)
    try:
        stopped = cpu_seconds()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    # CPU time, so that a busy machine does not matter; 50 ms may pass before signals are looked for.
    assert stopped < whole / 8 + 0.3 * whole + 0.05


INTERRUPT = """
import os, signal, sys, threading, time
import safetyclf

classifier = safetyclf.Classifier(sys.argv[1], threads=int(sys.argv[2]), max_text_bytes=1 << 30)
many = ["the angry dog and the happy cat " * 6] * 2_000_000
one = "the angry dog " * 2_000_000
calls = {
    "classify_batch": lambda: classifier.classify_batch(many),
    "scores": lambda: classifier.scores(many),
    "stream": lambda: list(classifier.stream(many, batch_size=1 << 20)),
    "classify": lambda: classifier.classify(one),
    "spans": lambda: classifier._explain(one, "violence", "byte"),
}
before = classifier.scores(many[:50]).tobytes()
sent = []

def interrupt():
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)

threading.Timer(0.5, interrupt).start()
try:
    calls[sys.argv[3]]()
except KeyboardInterrupt:
    late = time.monotonic() - sent[0]
    print("interrupted", late, classifier.scores(many[:50]).tobytes() == before)
else:
    print("ran to its end")
"""


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("call", ["classify_batch", "scores", "stream", "classify", "spans"])
def test_ctrl_c_stops_a_long_call_and_leaves_the_classifier_usable(
    call: str, threads: str, tiny_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT, str(tiny_path), threads, call],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    result, late, same = done.stdout.split()
    assert (result, same) == ("interrupted", "True")
    # Signals are looked for every 50 ms, a micro-batch takes a few more; the rest is for a busy machine.
    assert float(late) < 2
