"""The model file: what both readers accept, what they make of it, and a file for every rule that can be
broken.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetyclf import _modelfile as mf
from safetyclf._errors import InvalidArgumentError, ModelFileError, ModelFormatError
from tiny_model import TinyModel

native = pytest.importorskip("safetyclf._native_testing", reason="built without SAFETYCLF_TESTING")

Tensors = dict[str, npt.NDArray[Any]]
Header = dict[str, Any]

FILE = TinyModel().build()
DATA = mf.to_bytes(FILE)
ENCODER_TENSORS = {name: t for name, t in FILE.tensors.items() if name.startswith(("encoder.", "tokenizer."))}
ENCODER = replace(FILE, categories=(), tensors=ENCODER_TENSORS, calibration=None)
HEADS = FILE.with_heads(FILE.categories, FILE.tensors["heads.weight"], FILE.tensors["heads.bias"])
STAGES = {"encoder": ENCODER, "heads": HEADS, "complete": FILE}


def header_of(data: bytes) -> Header:
    header: Header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header


def with_header(header: bytes, body: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + body


def edited(change: Callable[[Header], object], data: bytes = DATA) -> bytes:
    """The file with a changed header and the old buffer; padded as before, so that alignment stays."""
    header = header_of(data)
    change(header)
    raw = json.dumps(header).encode()
    return with_header(raw + b" " * (-(8 + len(raw)) % 64), data[8 + int.from_bytes(data[:8], "little") :])


def sealed(
    change: Callable[[Tensors, dict[str, Any]], object] = lambda tensors, metadata: None,
    file: mf.ModelFile = FILE,
) -> bytes:
    """A file with any content and hashes that fit it.

    Metadata are given to `change` as values, not as JSON.
    """
    tensors = {name: np.array(tensor) for name, tensor in file.tensors.items()}
    raw = mf._metadata(file)
    plain = {"format", "weights_sha256", "decision_sha256", "metadata_sha256"}
    metadata: dict[str, Any] = {
        key: value if key in plain else json.loads(value) for key, value in raw.items()
    }
    change(tensors, metadata)
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    before = text.get("weights_sha256")
    if {"architecture", "tokenizer"} <= text.keys():
        text["weights_sha256"] = mf._weights_sha256(tensors, text["architecture"], text["tokenizer"])
        if (
            isinstance(metadata.get("calibration"), dict)
            and metadata["calibration"].get("weights_sha256") == before
        ):
            text["calibration"] = json.dumps(
                {**metadata["calibration"], "weights_sha256": text["weights_sha256"]}
            )
    text["decision_sha256"] = mf._decision_sha256(tensors)
    text["metadata_sha256"] = mf._metadata_sha256(text)
    return mf.assemble(tensors, text)


def refused(data: bytes, message: str, by_python: bool = True) -> None:
    with pytest.raises(ValueError, match=message) as info:
        native.parse_model(data)
    assert str(info.value).startswith("memory: ")
    if by_python:
        with pytest.raises(ModelFormatError):
            mf.from_bytes(data)


# What is read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ["scalar"])
@pytest.mark.parametrize("stage", STAGES)
def test_both_readers_read_what_was_written(stage: str, isa: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    written = mf.write(path, STAGES[stage])
    assert written.stage == stage
    again = mf.read(path)
    assert again.id == written.id
    assert (again.info, again.architecture, again.tokenizer) == (
        written.info,
        written.architecture,
        written.tokenizer,
    )
    assert (again.categories, again.calibration) == (written.categories, written.calibration)
    assert again.tensors.keys() == written.tensors.keys()
    assert all(np.array_equal(again.tensors[name], t) for name, t in written.tensors.items())

    loaded = native.load_model(os.fsencode(path), isa)
    t = again.tensors
    assert loaded["id"] == written.id
    assert json.loads(loaded["metadata_json"]) == mf._metadata(written)
    assert loaded["architecture"] == pytest.approx(vars(written.architecture), rel=1e-7)  # epsilon is float32
    assert np.array_equal(loaded["words"], t["encoder.words.weight"])
    assert np.array_equal(loaded["word_scale"], t["encoder.words.scale"])
    assert np.array_equal(loaded["positions"], t["encoder.positions"])
    for layer, parts in enumerate(loaded["layers"]):
        for name in again.architecture.linear_shapes():
            _, scale, bias, inverse_smooth = again.linear(layer, name)
            assert np.array_equal(parts[name]["scale"], scale)
            assert np.array_equal(parts[name]["bias"], bias)
            assert np.array_equal(parts[name]["inverse_smooth"], inverse_smooth)
        for name in ("attention_norm", "ffn_norm"):
            for part in ("gamma", "beta"):
                assert np.array_equal(parts[name][part], t[f"encoder.layers.{layer}.{name}.{part}"])
    assert loaded["categories"] == [(c.name, c.coverage) for c in written.scored]
    assert loaded["vocabulary_size"] == len(written.vocabulary)
    if stage != "encoder":
        assert np.array_equal(loaded["head_weight"], t["heads.weight"])
        assert np.array_equal(loaded["head_bias"], t["heads.bias"])
    assert loaded["policy_categories"] == (len(written.scored) if stage == "complete" else 0)
    if stage == "complete":
        pairs = list(zip(t["thresholds.review"].tolist(), t["thresholds.block"].tolist(), strict=True))
        assert loaded["thresholds"] == pairs


def test_safetensors_reads_it(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model.safetensors"
    mf.write(path, FILE)
    tensors = safetensors.load_file(path)
    assert tensors.keys() == FILE.tensors.keys()
    assert all(np.array_equal(tensors[name], t) for name, t in FILE.tensors.items())


def test_safetensors_writes_it(tmp_path: Path) -> None:
    """Another writer chooses another order and other padding; readers must not care."""
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model.safetensors"
    safetensors.save_file({k: np.array(v) for k, v in FILE.tensors.items()}, path, mf._metadata(FILE))
    loaded = native.load_model(os.fsencode(path))
    assert np.array_equal(loaded["words"], FILE.tensors["encoder.words.weight"])
    assert mf.read(path).id == loaded["id"]


def test_bytes_are_deterministic() -> None:
    assert mf.to_bytes(mf.from_bytes(DATA)) == DATA
    shuffled = dict(reversed(FILE.tensors.items()))
    assert mf.to_bytes(replace(FILE, tensors=shuffled)) == DATA


def test_id_depends_on_content() -> None:
    def nudge(tensors: Tensors, metadata: Header) -> None:
        tensors["thresholds.review"][0] = 0.25

    first, second = native.parse_model(DATA)["id"], native.parse_model(sealed(nudge))["id"]
    assert first.split("+")[0] == second.split("+")[0] == "tiny-0.1.0"
    assert first != second
    header = DATA[8 : 8 + int.from_bytes(DATA[:8], "little")]
    assert first == "tiny-0.1.0+" + hashlib.sha256(header).hexdigest()[:12]


def test_calibration_does_not_change_the_weights_hash() -> None:
    assert ENCODER.weights_sha256() != FILE.weights_sha256()
    assert HEADS.weights_sha256() == FILE.weights_sha256()
    curve = (np.array([0], np.float32), np.array([0.5], np.float32))
    c = len(FILE.scored)
    changed = HEADS.with_decision([curve] * c, np.full(c, 0.5), np.full(c, mf.NEVER), FILE.calibration or {})
    assert changed.weights_sha256() == FILE.weights_sha256()
    assert native.parse_model(mf.to_bytes(changed))["thresholds"] == [(0.5, 2.0)] * c


def test_constants_agree() -> None:
    assert native.numerics_revision == mf.NUMERICS_REVISION


@pytest.mark.parametrize("isa", ["avx2", "avxvnni", "avx512vnni", "avx512amx", "neon_dotprod", "neon_i8mm"])
def test_other_instruction_sets_load_the_same(isa: str) -> None:
    try:
        loaded = native.parse_model(DATA, isa)
    except RuntimeError as error:
        pytest.skip(str(error))
    scalar = native.parse_model(DATA)
    assert loaded["isa"] == isa
    assert loaded["id"] == scalar["id"]
    assert np.array_equal(loaded["words"], scalar["words"])


def test_further_metadata_keys_are_ignored_but_kept() -> None:
    data = sealed(lambda tensors, metadata: metadata.update(score_map="[1, 2]"))
    assert json.loads(native.parse_model(data)["metadata_json"])["score_map"] == "[1, 2]"


# Files that cannot be read ----------------------------------------------------------------------------------


def load_fails(path: Path | bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as info:
        native.load_model(path if isinstance(path, bytes) else os.fsencode(path))
    if isinstance(path, Path):
        assert str(path) in str(info.value)


def test_missing_file(tmp_path: Path) -> None:
    load_fails(tmp_path / "absent", OSError, "cannot open the file: No such file")
    with pytest.raises(ModelFileError, match="cannot read"):
        mf.read(tmp_path / "absent")


def test_directory(tmp_path: Path) -> None:
    load_fails(tmp_path, OSError, "is a directory")
    with pytest.raises(ModelFileError, match="cannot read"):
        mf.read(tmp_path)


def test_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    load_fails(tmp_path / "pipe", OSError, "not a regular file")


def test_path_with_nul() -> None:
    load_fails(b"a\0b", OSError, "NUL")


def test_path_that_is_not_utf8(tmp_path: Path) -> None:
    load_fails(os.fsencode(tmp_path) + b"/\xff\n", OSError, r"\\xff\\x0a: cannot open")


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"")
    load_fails(path, ValueError, "the file is empty")
    refused(b"", "the file is empty")


def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(DATA)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    load_fails(path, OSError, "cannot open the file: Permission denied")


# The container ----------------------------------------------------------------------------------------------

U64 = 2**64


def entry(name: str, **changes: object) -> Callable[[Header], None]:
    return lambda header: header[name].update(changes)


def offsets(name: str, begin: int, end: int) -> Callable[[Header], None]:
    """Shifts the offsets of a tensor."""

    def change(header: Header) -> None:
        old = header[name]["data_offsets"]
        header[name]["data_offsets"] = [old[0] + begin, old[1] + end]

    return change


WORDS, BETA, VOCABULARY = "encoder.words.weight", "encoder.embedding_norm.beta", "tokenizer.vocabulary"
END = header_of(DATA)[VOCABULARY]["data_offsets"][1]

CONTAINERS: dict[str, tuple[bytes, str]] = {
    "seven bytes": (DATA[:7], "7 bytes, too few"),
    "header length 0": (with_header(b"", DATA[8:]), "header length is 0"),
    "header length over the cap": (((16 << 20) + 1).to_bytes(8, "little") + DATA[8:], "above the limit"),
    "header length 2^64 - 1": (b"\xff" * 8 + DATA[8:], "above the limit"),
    "header beyond the file": (len(DATA).to_bytes(8, "little") + DATA[8:], "beyond the end"),
    "header cut": (DATA[:100], "beyond the end"),
    "header not UTF-8": (with_header(b'{"\xff": 1}', b""), "not valid JSON: invalid UTF-8 at byte 2"),
    "header not JSON": (with_header(b"{", b""), "not valid JSON"),
    "header not an object": (with_header(b"[1]", b""), "not a JSON object"),
    "text after the header": (with_header(b"{} x", b""), "text after the value"),
    "duplicate tensor": (with_header(b'{"a": 1, "a": 2}', b""), 'duplicate key "a"'),
    "duplicate key in an entry": (
        with_header(b'{"a": {"dtype": "I8", "dtype": "I8", "shape": [], "data_offsets": [0, 1]}}', b"0"),
        'duplicate key "dtype"',
    ),
    "deep nesting": (with_header(b'{"a":' * 40 + b"1" + b"}" * 40, b""), "nested deeper than 32"),
    "metadata not an object": (edited(lambda h: h.update(__metadata__=[])), "__metadata__ is not an object"),
    "metadata value not a string": (
        edited(lambda h: h["__metadata__"].update(format=1)),
        '"format" is not a string',
    ),
    "entry not an object": (edited(lambda h: h.update({WORDS: 1})), f'"{WORDS}": its header entry is not'),
    "entry lacks a key": (edited(lambda h: h[WORDS].pop("shape")), "exactly the keys"),
    "entry has one key more": (edited(entry(WORDS, more=1)), "exactly the keys"),
    "dtype not a string": (edited(entry(WORDS, dtype=8)), "dtype is not a string"),
    "unknown dtype": (edited(entry(WORDS, dtype="F16")), 'unknown dtype "F16"'),
    "shape not an array": (edited(entry(WORDS, shape=64)), "shape is not an array"),
    "negative size": (edited(entry(WORDS, shape=[-1, 64])), "non-negative"),
    "fractional size": (edited(entry(WORDS, shape=[1.5, 64])), "non-negative"),
    "size as a float": (edited(entry(WORDS, shape=[1e1, 64])), "non-negative"),
    "size above 2^64": (edited(entry(WORDS, shape=[U64, 1])), "non-negative 64-bit"),
    "huge shape": (edited(entry(WORDS, shape=[2**62, 2])), "63-bit"),
    "shape overflows to what fits": (edited(entry(WORDS, shape=[2**32, 2**32, 64])), "63-bit"),
    "nine dimensions": (edited(entry(WORDS, shape=[1] * 9)), "more than 8 dimensions"),
    "offsets not a pair": (edited(entry(WORDS, data_offsets=[0])), "not a pair"),
    "negative offset": (edited(entry(WORDS, data_offsets=[-1, 3])), "non-negative"),
    "offsets reversed": (edited(entry(WORDS, data_offsets=[9, 3])), "end before they begin"),
    "offsets and shape differ": (edited(offsets(WORDS, 0, 1)), "but data_offsets span"),
    "offsets near 2^64": (edited(entry(WORDS, shape=[1], data_offsets=[U64 - 2, U64 - 1])), "a hole of"),
    "hole before the first": (edited(offsets(BETA, 4, 4)), "a hole of 4 bytes"),
    "overlap": (edited(offsets(WORDS, -1, -1)), "overlaps another"),
    "two tensors in one place": (
        edited(lambda h: h.update({"copy": dict(h[BETA])})),
        "overlaps another",
    ),
    "tensor beyond the end": (edited(lambda h: None)[:-1], "truncated or the offsets are wrong"),
    "half of the file": (DATA[: len(DATA) // 2], "truncated"),
    "trailing byte": (DATA + b"\0", "1 trailing bytes"),
    "last tensor unnamed": (edited(lambda h: h.pop(VOCABULARY)), "trailing bytes after the last tensor"),
    "misaligned": (
        with_header(DATA[8 : 8 + int.from_bytes(DATA[:8], "little")] + b" ", DATA[-END:]),
        "misaligned",
    ),
}


@pytest.mark.parametrize("case", CONTAINERS)
def test_broken_container(case: str) -> None:
    refused(*CONTAINERS[case])


BAD_JSON = {
    b'{"a": 01}': "object does not end",
    b'{"a": 1.}': "not a JSON value",
    b'{"a": +1}': "not a JSON value",
    b'{"a": NaN}': "not a JSON value",
    b'{"a": Infinity}': "not a JSON value",
    b"{'a': 1}": "must be a string",
    b'{"a": 1,}': "must be a string",
    b'{"a" 1}': "no colon",
    b'{"a": [1,]}': "not a JSON value",
    b'{"a": [1': "array does not end",
    b'{"a": "': "string does not end",
    b'{"a": "\n"}': "control character",
    b'{"a": "\\x"}': "bad escape",
    b'{"a": "\\u12G4"}': "bad \\\\u escape",
    b'{"a": "\\ud800"}': "lone surrogate",
    b'{"a": "\\udc00"}': "lone surrogate",
    b'{"a": "\\ud800\\u0041"}': "lone surrogate",
    b'{"a": "\xc0\x80"}': "invalid UTF-8",
    b'{"a": "\xed\xa0\x80"}': "invalid UTF-8",
    b'{"a": "\xf4\x90\x80\x80"}': "invalid UTF-8",
    b"[" + b"1," * 262_144 + b"1]": "more than 262144 values",
}


@pytest.mark.parametrize("source", BAD_JSON, ids=range(len(BAD_JSON)))
def test_bad_json(source: bytes) -> None:
    refused(with_header(source, b""), BAD_JSON[source])


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4), st.booleans())
def test_any_json_is_accepted_as_provenance(value: dict[str, Any], ascii_only: bool) -> None:
    def change(tensors: Tensors, metadata: Header) -> None:
        metadata["provenance"] = json.dumps(value, ensure_ascii=ascii_only)

    metadata = json.loads(native.parse_model(sealed(change))["metadata_json"])
    assert json.loads(metadata["provenance"]) == value


# Content ----------------------------------------------------------------------------------------------------


def put(section: str, **values: object) -> Callable[[Tensors, Header], None]:
    return lambda tensors, metadata: metadata[section].update(values)


def category(**values: object) -> Callable[[Tensors, Header], None]:
    return lambda tensors, metadata: metadata["categories"][0].update(values)


def tensor(
    name: str, make: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> Callable[[Tensors, Header], None]:
    return lambda tensors, metadata: tensors.update({name: make(tensors[name])})


def value(name: str, number: float, index: int = 0) -> Callable[[Tensors, Header], None]:
    return lambda tensors, metadata: tensors[name].reshape(-1).__setitem__(index, number)


def drop(name: str) -> Callable[[Tensors, Header], object]:
    return lambda tensors, metadata: tensors.pop(name)


def forget(key: str) -> Callable[[Tensors, Header], object]:
    return lambda tensors, metadata: metadata.pop(key)


def text(key: str, content: str) -> Callable[[Tensors, Header], None]:
    return lambda tensors, metadata: metadata.update({key: content})


def decisions_dropped(tensors: Tensors, metadata: Header) -> None:
    for name in [name for name in tensors if name.startswith(("calibration.", "thresholds."))]:
        del tensors[name]


QKV, NAN, INF = "encoder.layers.1.qkv", float("nan"), float("inf")
V = FILE.architecture.vocabulary

# The rule, how to break it, the message, and whether the Python reader, which checks less, must refuse it
# too.
CONTENT: dict[str, tuple[Callable[[Tensors, Header], object], str, bool]] = {
    "no format": (forget("format"), 'lacks the key "format"', True),
    "other format": (text("format", "safetyclf/2"), 'format is "safetyclf/2"', True),
    "pytorch's format": (text("format", "pt"), 'format is "pt"', True),
    **{
        f"no {key}": (forget(key), f'lacks the key "{key}"', True)
        for key in (
            "model",
            "architecture",
            "tokenizer",
            "categories",
            "provenance",
            "evaluation",
            "calibration",
        )
    },
    "metadata key": (text("a key", "1"), 'metadata key "a key"', False),
    "section not JSON": (text("model", "{"), "metadata model is not valid JSON", True),
    "section not an object": (text("model", "[]"), "metadata model is not a JSON object", True),
    "provenance not an object": (text("provenance", "[]"), "metadata provenance is not", False),
    "duplicate key in a section": (text("evaluation", '{"a":1,"a":1}'), "duplicate key", True),
    "model: unknown key": (put("model", author="x"), 'model has the unknown key "author"', True),
    "model: name": (put("model", name="Tiny"), "metadata model.name", True),
    "model: empty name": (put("model", name=""), "metadata model.name", True),
    "model: long name": (put("model", name="a" * 65), "metadata model.name", True),
    "model: name not a string": (put("model", name=1), "model.name is not a string", False),
    **{
        f"model: version {bad!r}": (put("model", version=bad), "metadata model.version", False)
        for bad in (
            "1",
            "1.0",
            "1.0.0.0",
            "01.0.0",
            "1.0.0+x",
            "1.0.0-",
            "1.0.0-a..b",
            "v1.0.0",
            "1.0.0 ",
            "-1.0.0",
            "",
        )
    },
    "architecture: type": (put("architecture", type="roberta"), 'type has the unknown value "roberta"', True),
    "architecture: activation": (put("architecture", activation="relu"), "activation has the unknown", True),
    "architecture: pooling": (put("architecture", pooling="cls"), "pooling has the unknown value", True),
    "architecture: unknown key": (put("architecture", rotary=True), 'unknown key "rotary"', True),
    "architecture: hidden no multiple": (put("architecture", hidden=96), "hidden is no multiple of 64", True),
    "architecture: intermediate": (
        put("architecture", intermediate=100),
        "intermediate is no multiple",
        True,
    ),
    "architecture: reduction": (put("architecture", intermediate=66368), "above 66311", True),
    "architecture: head size": (put("architecture", heads=4), "head size of 32 or 64", False),
    "architecture: heads do not divide": (put("architecture", heads=3), "head size of 32 or 64", False),
    "architecture: no heads": (put("architecture", heads=0), "not an integer from 1", False),
    "architecture: no layers": (put("architecture", layers=0), "not an integer from 1 to 256", True),
    "architecture: too many layers": (put("architecture", layers=257), "not an integer from 1 to 256", True),
    "architecture: size as a string": (put("architecture", hidden="64"), "not an integer", True),
    "architecture: size 2^31": (put("architecture", vocabulary=2**31), "not an integer", True),
    **{
        f"architecture: epsilon {bad}": (put("architecture", norm_epsilon=bad), "norm_epsilon is not", False)
        for bad in (0, -1e-12, 2, 1e-60, "1e-12")
    },
    "tokenizer: type": (put("tokenizer", type="bpe"), 'type has the unknown value "bpe"', True),
    "tokenizer: lowercase": (put("tokenizer", lowercase=1), "lowercase is not true or false", False),
    "tokenizer: unknown rule": (put("tokenizer", rules=["rot13/1"]), 'rules names "rot13/1", which', False),
    "tokenizer: rule not a string": (put("tokenizer", rules=[1]), "other than strings", False),
    "tokenizer: rules not an array": (put("tokenizer", rules={}), "rules is not an array", False),
    "tokenizer: window": (
        put("tokenizer", window_tokens=31),
        "window_tokens is not an integer from 1 to 30",
        False,
    ),
    "tokenizer: no window": (put("tokenizer", window_tokens=0), "window_tokens is not an integer", False),
    "tokenizer: overlap": (
        put("tokenizer", overlap_tokens=30),
        "overlap_tokens is not an integer from 0 to 29",
        False,
    ),
    "categories not an array": (text("categories", "{}"), "categories is not a JSON array", True),
    "category: name": (category(name="Hate!"), r"categories\[0\].name is not", False),
    "category: twice": (category(name="violence"), 'name repeats "violence"', False),
    "category: coverage": (category(coverage="good"), 'coverage has the unknown value "good"', False),
    "category: statement": (category(threshold_statement=1), "threshold_statement is neither", False),
    "category: unknown key": (category(colour="red"), 'unknown key "colour"', True),
    "category: column lacks a head": (category(coverage="none"), "must be", True),
    "missing tensor": (drop(f"{QKV}.bias"), f'"{QKV}.bias" is missing', True),
    "missing heads": (drop("heads.weight"), '"heads.weight" is missing', True),
    "thresholds without calibration": (drop("calibration.logit"), '"calibration.logit" is missing', True),
    "calibration without tensors": (decisions_dropped, "without calibration tensors", True),
    "unexpected tensor": (lambda t, m: t.update(extra=np.zeros(1, np.int8)), '"extra" is unexpected', True),
    "layer too many": (put("architecture", layers=1), "is unexpected|must be F32", True),
    "wrong dtype": (tensor(f"{QKV}.weight", lambda t: t.view(np.uint8)), "is U8 .* must be I8", True),
    "wrong shape": (
        tensor(f"{QKV}.weight", lambda t: t.reshape(-1)),
        r"\[12288\], must be I8 \[192x64\]",
        True,
    ),
    "scalar instead of a vector": (
        tensor(f"{QKV}.bias", lambda t: t[0].reshape(())),
        r"F32 \[\], must be",
        True,
    ),
    "vocabulary size": (put("architecture", vocabulary=V + 1), "must be", True),
    "token too many": (
        tensor(VOCABULARY, lambda t: np.append(t, np.uint8([10, 65]))),
        f"has {V + 1} tokens",
        True,
    ),
    "token too few": (tensor(VOCABULARY, lambda t: t[: bytes(t).rindex(b"\n")]), f"has {V - 1} tokens", True),
    "empty token": (tensor(VOCABULARY, lambda t: np.append(t, np.uint8([10]))), "empty token", True),
    "vocabulary not UTF-8": (
        tensor(VOCABULARY, lambda t: np.append(t, np.uint8([0xC3]))),
        "not valid UTF-8",
        True,
    ),
    "no tokens": (tensor(VOCABULARY, lambda t: t[:0]), "empty token", True),
    "token twice": (
        lambda t, m: t.update({VOCABULARY: mf.vocabulary_tensor([*FILE.vocabulary[:-1], "the"])}),
        "memory: ",
        False,
    ),
    "-128 in a linear layer": (value(f"{QKV}.weight", -128, 12287), f'"{QKV}.weight" holds -128', True),
    "-128 in the words": (value(WORDS, -128, 77), f'"{WORDS}" holds -128', True),
    "scale 0": (value(f"{QKV}.scale", 0.0, 191), f'"{QKV}.scale" holds a value that is not positive', True),
    "scale -0": (value(f"{QKV}.scale", -0.0), "not positive", True),
    "scale negative": (value("encoder.words.scale", -1.0), "not positive", True),
    "inverse_smooth 0": (value(f"{QKV}.inverse_smooth", 0.0), "inverse_smooth.*not positive", True),
    "scale NaN": (value(f"{QKV}.scale", NAN), "not finite", True),
    "bias infinite": (value(f"{QKV}.bias", -INF, 5), f'"{QKV}.bias" holds a value that is not finite', True),
    "position NaN": (value("encoder.positions", NAN, 100), "not finite", True),
    "gamma infinite": (value("encoder.embedding_norm.gamma", INF), "not finite", True),
    "head NaN": (value("heads.weight", NAN), "not finite", True),
    "threshold NaN": (value("thresholds.review", NAN), "not finite", True),
    "knot infinite": (value("calibration.logit", INF, 3), "not finite", True),
    "knots out of order": (
        value("calibration.logit", 5.0),
        "category 0: calibration logits must increase",
        False,
    ),
    "knots equal": (value("calibration.logit", -2.0, 1), "must increase strictly", False),
    "knot far out": (value("calibration.logit", -2e6), "outside", False),
    "probability falls": (value("calibration.probability", 1.0), "must not decrease", False),
    "probability above 1": (value("calibration.probability", 1.5, 3), "outside", False),
    "offsets do not begin at 0": (value("calibration.offsets", 1), "does not rise from 0", False),
    "offsets fall": (value("calibration.offsets", 9, 1), "does not rise from 0", False),
    "offsets negative": (value("calibration.offsets", -1, 1), "does not rise from 0", False),
    "offsets end early": (value("calibration.offsets", 11, 3), "does not rise from 0", False),
    "offsets end late": (value("calibration.offsets", 2**31 - 1, 3), "does not rise from 0", False),
    "category without knots": (value("calibration.offsets", 0, 1), "at least one knot", False),
    "knot sizes differ": (tensor("calibration.logit", lambda t: t[:-1]), "must be F32", False),
    "threshold above 1": (value("thresholds.block", 1.5), "category 0: threshold neither", False),
    "threshold negative": (value("thresholds.review", -0.5, 1), "category 1: threshold neither", False),
    "block below review": (value("thresholds.block", 0.0), "block threshold below", False),
    "calibration of other weights": (
        put("calibration", weights_sha256="0" * 64),
        "fitted on other weights",
        True,
    ),
    "other numerics": (put("calibration", numerics_revision=0), "numerics revision 0", False),
    "data hash": (put("calibration", data_sha256="x"), "data_sha256 is not 64", False),
    "calibration lacks n": (lambda t, m: m["calibration"].pop("n"), 'calibration lacks the key "n"', False),
}


@pytest.mark.parametrize("rule", CONTENT)
def test_broken_rule(rule: str) -> None:
    change, message, by_python = CONTENT[rule]
    refused(sealed(change), message, by_python)


def test_sealed_without_a_change_is_legal() -> None:
    """Else the tests above could pass for the wrong reason."""
    assert native.parse_model(sealed())["id"]
    assert mf.from_bytes(sealed()).stage == "complete"
    assert native.parse_model(edited(lambda header: None))["id"]


def test_encoder_with_calibration_metadata_is_refused() -> None:
    refused(sealed(text("calibration", "{}"), ENCODER), "without calibration tensors")


@pytest.mark.parametrize("key", ["weights_sha256", "decision_sha256", "metadata_sha256"])
def test_wrong_hash(key: str) -> None:
    other = DATA.replace(header_of(DATA)["__metadata__"][key].encode(), b"0" * 64)
    refused(other, "does not match the content|other weights")
    refused(edited(lambda header: header["__metadata__"].pop(key)), f'lacks the key "{key}"|does not match')
    refused(
        edited(lambda header: header["__metadata__"].update({key: "A" * 64})), "64 lower-case|does not match"
    )


@settings(deadline=None)
@given(
    st.sampled_from(["model", "architecture", "tokenizer", "categories", "calibration"]),
    json_values,
    st.data(),
)
def test_values_of_any_type_are_refused_cleanly(section: str, value: Any, data: st.DataObject) -> None:
    """Neither reader may fail in another way than by refusing; the C++ one refuses all that Python does."""

    def change(tensors: Tensors, metadata: Header) -> None:
        part = metadata[section][0] if section == "categories" else metadata[section]
        part[data.draw(st.sampled_from(sorted(part)))] = value

    broken = sealed(change)
    try:
        mf.from_bytes(broken)
    except ModelFormatError:
        assert not survives(broken)


def flipped(bit: int) -> bytes:
    data = bytearray(DATA)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def survives(data: bytes) -> bool:
    try:
        native.parse_model(data)
    except ValueError:
        return False
    return True


def test_every_flipped_bit_is_found() -> None:
    header_bits = 8 * (8 + int.from_bytes(DATA[:8], "little"))
    generator = random.Random(1)
    bits = [
        *generator.sample(range(header_bits), 4000),
        *generator.sample(range(header_bits, 8 * len(DATA)), 2000),
    ]
    assert [bit for bit in bits if survives(flipped(bit))] == []


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file_on_disk(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(DATA[: int(len(DATA) * keep)])
    load_fails(path, ValueError, "empty|header|truncated")


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert not survives(data)
    with pytest.raises(ModelFormatError):
        mf.from_bytes(data)


# Writing ----------------------------------------------------------------------------------------------------


def test_write_refuses_what_readers_would(tmp_path: Path) -> None:
    tensors = dict(FILE.tensors)
    tensors[WORDS] = np.full_like(tensors[WORDS], -128)
    with pytest.raises(ModelFormatError, match="-128"):
        mf.write(tmp_path / "model", replace(FILE, tensors=tensors))
    with pytest.raises(ModelFormatError, match="name"):
        mf.write(tmp_path / "model", replace(FILE, info=replace(FILE.info, name="A B")))
    tensors[WORDS] = FILE.tensors[WORDS].astype(np.float64)
    with pytest.raises(ModelFormatError, match="float64"):
        mf.write(tmp_path / "model", replace(FILE, tensors=tensors))
    assert list(tmp_path.iterdir()) == []


def test_unwritable_output(tmp_path: Path) -> None:
    for path in (tmp_path / "absent" / "model", tmp_path):
        with pytest.raises(ModelFileError, match="cannot write the model file"):
            mf.write(path, FILE)
    assert list(tmp_path.iterdir()) == []


def test_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")
    mf.write(path, FILE)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert path.read_bytes() == DATA
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_open_model_survives_replacement(tmp_path: Path) -> None:
    """Writers rename: a mapping of the old file stays whole."""
    path = tmp_path / "model"
    mf.write(path, FILE)
    before = native.model_id(os.fsencode(path), "scalar")
    mf.write(path, ENCODER)
    assert native.model_id(os.fsencode(path), "scalar") != before


def test_vocabulary_tensor_refuses_unusable_tokens() -> None:
    for tokens in (["a", ""], ["a\nb"]):
        with pytest.raises(InvalidArgumentError, match="vocabulary: token"):
            mf.vocabulary_tensor(tokens)


def test_with_decision_keeps_categories() -> None:
    curve = (np.zeros(1), np.zeros(1))
    c = len(FILE.scored)
    with pytest.raises(InvalidArgumentError, match="must stay"):
        HEADS.with_decision([curve] * c, np.ones(c), np.ones(c), {}, categories=())


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_quantize_weights(seed: int) -> None:
    generator = np.random.default_rng(seed)
    weight = (generator.normal(size=(5, 64)) * 10.0 ** generator.integers(-6, 6, size=(5, 1))).astype(
        np.float32
    )
    weight[2] = 0
    q, scale = mf.quantize_weights(weight)
    assert q.dtype == np.int8
    assert np.abs(q).max(axis=1).tolist() == [127, 127, 0, 127, 127]
    assert (scale > 0).all()
    # Half a step, and the rounding of the division and of the scale: three operations of 2^-24 relative
    # error.
    bound = scale[:, None] * np.float64(0.5) + np.abs(weight) * 3 * 2.0**-24
    assert (np.abs(q * scale[:, None].astype(np.float64) - weight) <= bound).all()
    with pytest.raises(InvalidArgumentError, match="not finite"):
        mf.quantize_weights(np.array([[np.nan]], np.float32))


# SHA-256 ----------------------------------------------------------------------------------------------------

IMPLEMENTATIONS = native.sha256_implementations()
# FIPS 180-4 examples and NIST's byte-oriented short and long messages.
VECTORS = {
    b"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq": (
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
    bytes.fromhex("d3"): "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1",
    b"a" * 1_000_000: "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
}


def test_portable_sha256_is_there() -> None:
    assert IMPLEMENTATIONS[-1] == "portable"


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("message", VECTORS, ids=lambda m: f"{len(m)} bytes")
def test_sha256_vectors(message: bytes, implementation: str) -> None:
    assert native.sha256(message, implementation) == VECTORS[message]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_sha256_of_every_length(implementation: str) -> None:
    data = random.Random(2).randbytes(300)
    for size in range(len(data) + 1):
        assert native.sha256(data[:size], implementation) == hashlib.sha256(data[:size]).hexdigest()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@given(data=st.binary(max_size=2000))
@settings(deadline=None)
def test_sha256_equals_hashlib(implementation: str, data: bytes) -> None:
    assert native.sha256(data, implementation) == hashlib.sha256(data).hexdigest()
