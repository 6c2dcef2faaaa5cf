"""The numpy reference against the kernels, the engine, Hugging Face tokenizers and BERT in float64."""

from __future__ import annotations

import ctypes
import hashlib
import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from safetyclf import _modelfile
from safetyclf._errors import InternalError, InvalidArgumentError
from safetyclf.reference import ReferenceModel, arithmetic, load
from safetyclf.reference.arithmetic import F32, Floats
from safetyclf.reference.text import Tokenizer
from tiny_model import TinyModel, vocabulary

native = pytest.importorskip("safetyclf._native")
testing = pytest.importorskip("safetyclf._native_testing", reason="built without SAFETYCLF_TESTING")
kernels = testing.kernels

ISAS = kernels.supported()
TEXTS = [
    "",
    " \t\n",
    "hello friend",
    "A kind day, is it not? 100% good!",
    "[CLS] this is ordinary text [SEP]",
    "Caf\u00e9 \u00c5ngstr\u00f6m na\u00efve \u00df \u00ad soft",
    "\u65e5\u672c\u8a9e book",
    "nul \0 and \x07 bell \ufffd replaced",
    "x" * 100 + " " + "y" * 101,
    "the weather is nice " * 7,  # 28 pieces: one window of the tiny model
    "the weather is nice today and " * 40,  # many windows
    "?" * 31,  # one piece more than a window
]


def assert_same_bits(left: npt.ArrayLike, right: npt.ArrayLike) -> None:
    """Equal dtype, shape and bits; 0 and -0 differ."""
    left, right = np.asarray(left), np.asarray(right)
    assert (left.dtype, left.shape) == (right.dtype, right.shape)
    different = np.flatnonzero(left.reshape(-1).view(np.uint8) != right.reshape(-1).view(np.uint8))
    assert different.size == 0, f"{different.size} of {left.nbytes} bytes differ"


def rows(rng: np.random.Generator, *shape: int) -> Floats:
    """Rows of very different sizes, with outliers, a row of zeros and one below the smallest maximum."""
    x = rng.standard_normal(shape) * np.exp(rng.uniform(-3, 3, (*shape[:-1], 1)))
    x[rng.random(shape) < 0.01] *= 50
    x[0] = 0
    if shape[0] > 2:
        x[1] *= 1e-35
    return x.astype(F32)


def scales(rng: np.random.Generator, *shape: int) -> Floats:
    return np.exp(rng.uniform(-8, 1, shape)).astype(F32)


# One operation at a time against every instruction set ----------------------------------------------------


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.mark.parametrize(("m", "n", "k"), [(1, 16, 64), (7, 48, 128), (33, 192, 64), (65, 64, 1536)])
def test_integer_product(isa: str, rng: np.random.Generator, m: int, n: int, k: int) -> None:
    a, w = (rng.integers(-127, 128, size, dtype=np.int8) for size in ((m, k), (n, k)))
    a[0] = w[0] = 127
    assert_same_bits(arithmetic.integer_product(a, w), kernels.gemm(isa, a, w))


@pytest.mark.parametrize(("count", "hidden"), [(1, 64), (5, 128), (70, 384)])
def test_quantize(isa: str, rng: np.random.Generator, count: int, hidden: int) -> None:
    x, inverse_smooth = rows(rng, count, hidden), scales(rng, hidden)
    q, scale = kernels.quantize(isa, x, inverse_smooth)
    expected_q, expected_scale = arithmetic.quantize(x * inverse_smooth)
    assert_same_bits(expected_q, q)
    assert_same_bits(expected_scale, scale)


def test_quantize_rounds_ties_to_even(isa: str) -> None:
    x = np.zeros((1, 64), F32)
    x[0, :6] = [127, 0.5, 1.5, 2.5, -0.5, -1.5]
    q, scale = kernels.quantize(isa, x, np.ones(64, F32))
    assert q[0, :6].tolist() == [127, 0, 2, 2, 0, -2]
    assert_same_bits(arithmetic.quantize(x)[0], q)
    assert scale[0] == F32(127) * (F32(1) / F32(127))


@pytest.mark.parametrize(("count", "hidden"), [(1, 64), (19, 128), (3, 384)])
def test_embed(isa: str, rng: np.random.Generator, count: int, hidden: int) -> None:
    words = rng.integers(-127, 128, (50, hidden), dtype=np.int8)
    word_scale, positions = scales(rng, 50), rng.standard_normal((count, hidden)).astype(F32)
    gamma, beta = scales(rng, hidden), rng.standard_normal(hidden).astype(F32)
    ids = rng.integers(0, 50, count, dtype=np.int32)
    x = kernels.embed(
        isa, ids, np.arange(count, dtype=np.uint32), words, word_scale, positions, gamma, beta, 1e-12
    )
    summed = words[ids].astype(F32) * word_scale[ids, None] + positions
    assert_same_bits(arithmetic.layer_norm(summed, gamma, beta, F32(1e-12)), x)


@pytest.mark.parametrize(("count", "heads", "head_size"), [(1, 1, 64), (21, 4, 32), (3, 12, 32)])
def test_split_qkv(isa: str, rng: np.random.Generator, count: int, heads: int, head_size: int) -> None:
    hidden = heads * head_size
    acc = rng.integers(-(2**24), 2**24, (count, 3 * hidden), dtype=np.int32)
    row_scale, column_scale = scales(rng, count), scales(rng, 3 * hidden)
    bias = rng.standard_normal(3 * hidden).astype(F32)
    q, q_scale, k, k_scale, v = kernels.split_qkv(isa, acc, row_scale, column_scale, bias, heads)
    expected = arithmetic.dequantize(acc, row_scale, column_scale, bias)
    for values, scale, part in ((q, q_scale, 0), (k, k_scale, 1)):
        by_head = expected[:, part * hidden : (part + 1) * hidden].reshape(count, heads, head_size)
        expected_q, expected_scale = arithmetic.quantize(by_head)
        assert_same_bits(expected_q.reshape(count, hidden), values)
        assert_same_bits(expected_scale, scale)
    assert_same_bits(expected[:, 2 * hidden :], v)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 63, 64, 65, 130, 512])
@pytest.mark.parametrize(("heads", "head_size"), [(2, 32), (1, 64)])
def test_attention(isa: str, rng: np.random.Generator, length: int, heads: int, head_size: int) -> None:
    q, k = (rng.integers(-127, 128, (heads, length, head_size), dtype=np.int8) for _ in range(2))
    q_scale, k_scale = (scales(rng, heads, length) for _ in range(2))
    v = rows(rng, heads, length, head_size)
    expected = arithmetic.attention(q, q_scale, k, k_scale, v)

    def token_major(x: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return np.ascontiguousarray(x.swapaxes(0, 1).reshape(length, -1))

    out = kernels.attention(isa, *map(token_major, (q, q_scale, k, k_scale, v)))
    assert_same_bits(token_major(expected), out)


@pytest.mark.parametrize(("count", "hidden"), [(1, 64), (18, 384)])
def test_add_norm(isa: str, rng: np.random.Generator, count: int, hidden: int) -> None:
    x, acc = rows(rng, count, hidden), rng.integers(-(2**25), 2**25, (count, hidden), dtype=np.int32)
    row_scale, column_scale = scales(rng, count), scales(rng, hidden)
    bias, beta = (rng.standard_normal(hidden).astype(F32) for _ in range(2))
    gamma = scales(rng, hidden)
    out = kernels.add_norm(isa, x, acc, row_scale, column_scale, bias, gamma, beta, 1e-12)
    summed = x + arithmetic.dequantize(acc, row_scale, column_scale, bias)
    assert_same_bits(arithmetic.layer_norm(summed, gamma, beta, F32(1e-12)), out)


@pytest.mark.parametrize(("count", "width"), [(1, 64), (18, 1536)])
def test_gelu_quantize(isa: str, rng: np.random.Generator, count: int, width: int) -> None:
    acc = rng.integers(-(2**20), 2**20, (count, width), dtype=np.int32)
    row_scale = np.exp(rng.uniform(-16, -8, count)).astype(F32)
    column_scale, inverse_smooth = scales(rng, width), scales(rng, width)
    bias = rng.standard_normal(width).astype(F32)
    q, scale = kernels.gelu_quantize(isa, acc, row_scale, column_scale, bias, inverse_smooth)
    inner = arithmetic.gelu(arithmetic.dequantize(acc, row_scale, column_scale, bias))
    expected_q, expected_scale = arithmetic.quantize(inner * inverse_smooth)
    assert_same_bits(expected_q, q)
    assert_same_bits(expected_scale, scale)


@pytest.mark.parametrize("count", [1, 2, 77])
def test_mean_and_dot(isa: str, rng: np.random.Generator, count: int) -> None:
    x, w = rows(rng, count, 384), rows(rng, 13, 384)
    assert_same_bits(arithmetic.mean_rows(x), kernels.mean_rows(isa, x))
    assert_same_bits(arithmetic.dot_rows(x, w), kernels.dot_rows(isa, x, w))


# The whole engine -----------------------------------------------------------------------------------------

SHAPES = {
    "default": TinyModel(),
    "head size 64": TinyModel(seed=2, hidden=128, heads=2, intermediate=64),
    "one piece per window": TinyModel(seed=3, window_tokens=1, overlap_tokens=0),
    "rules": TinyModel(seed=4, rules=tuple(testing.known_rules())),
}


@dataclass(frozen=True)
class Expected:
    """What the reference makes of TEXTS. Per window: ids and pooled states; per depth: logits."""

    path: str
    reference: ReferenceModel
    windows: list[list[list[int]]]
    pooled: Floats
    logits: list[Floats]


@pytest.fixture(scope="module", params=SHAPES)
def expected(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Expected:
    path = str(tmp_path_factory.mktemp("model") / "tiny.safetensors")
    SHAPES[request.param].write(path)
    reference = load(path)
    windows = [reference.windows(text) for text in TEXTS]
    pooled = [np.stack([reference.pool(ids) for ids in of_text]) for of_text in windows]
    logits = [
        np.stack([reference.head_logits(of_text[:, depth], depth).max(axis=0) for of_text in pooled])
        for depth in range(reference.architecture.layers + 1)
    ]
    return Expected(path, reference, windows, np.concatenate(pooled), logits)


def engine(path: str, isa: str) -> native.Engine:
    return native.Engine(path, threads=1, max_text_bytes=1 << 20, isa=isa)


def test_engine_has_the_same_ids(expected: Expected) -> None:
    subject = engine(expected.path, "scalar")
    for text, windows in zip(TEXTS, expected.windows, strict=True):
        ids, _, _, offsets = subject.tokenize(text)
        assert ids == [piece for window in windows for piece in window]
        assert np.diff(offsets).tolist() == [len(window) for window in windows]


def test_engine_has_the_same_bits(expected: Expected, isa: str) -> None:
    subject = engine(expected.path, isa)
    assert_same_bits(expected.pooled, subject.pooled(TEXTS)[0])
    for depth, logits in enumerate(expected.logits):
        found, windows, _ = subject.logits(TEXTS, depth)
        assert_same_bits(logits, found)
        assert windows.tolist() == [len(of_text) for of_text in expected.windows]


def test_engine_decides_alike(expected: Expected) -> None:
    reference, subject = expected.reference, engine(expected.path, "scalar")
    probabilities = np.stack([reference.calibrate(logits) for logits in expected.logits[-1]])
    assert_same_bits(probabilities, subject.probabilities(TEXTS)[0])
    thresholds = np.array(subject.thresholds, np.float32).T.tobytes()
    verdicts = subject.verdicts(TEXTS, thresholds, None)
    for row, (scores, flags, action, _, _) in zip(probabilities, verdicts, strict=True):
        flagged, expected_action = reference.decide(row)
        assert scores == row.tobytes()
        assert flags == bytes(flagged.tolist())
        assert action == expected_action


def test_thresholds_of_another_number_are_refused(expected: Expected) -> None:
    with pytest.raises(InvalidArgumentError, match="one review and one block threshold"):
        engine(expected.path, "scalar").verdicts(TEXTS, b"\0" * 4, None)


def test_a_logit_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    file = TinyModel().build()
    huge = np.zeros_like(file.tensors["heads.weight"])
    huge[:, :, 0] = 3e38
    path = str(tmp_path / "huge.safetensors")
    _modelfile.write(path, replace(file, tensors={**file.tensors, "heads.weight": huge}))
    with pytest.raises(InternalError, match="not finite"):
        engine(path, "scalar").logits(TEXTS, file.architecture.layers)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="writes the layout of x86-64's fenv_t")
def test_the_callers_floating_point_mode_does_not_matter(tmp_path: Path) -> None:
    """Calls the engine with rounding towards zero, flush-to-zero and denormals-are-zero."""
    library = ctypes.CDLL(None)
    flush_and_truncate = 0x8000 | 0x40 | 0x6000  # bits of MXCSR
    TinyModel().write(tmp_path / "tiny.safetensors")
    subject = engine(str(tmp_path / "tiny.safetensors"), "")
    plain = [subject.pooled(TEXTS)[0], subject.probabilities(TEXTS)[0]]

    saved = ctypes.create_string_buffer(32)  # fenv_t of glibc and musl; its last four bytes are MXCSR
    library.fegetenv(saved)
    changed = ctypes.create_string_buffer(saved.raw, 32)
    mode = int.from_bytes(saved.raw[28:], "little") | flush_and_truncate
    changed[28:32] = mode.to_bytes(4, "little")
    after = ctypes.create_string_buffer(32)
    library.fesetenv(changed)
    try:
        found = [subject.pooled(TEXTS)[0], subject.probabilities(TEXTS)[0]]
        library.fegetenv(after)
    finally:
        library.fesetenv(saved)
    assert int.from_bytes(after.raw[28:], "little") & flush_and_truncate == flush_and_truncate, "not restored"
    for left, right in zip(plain, found, strict=True):
        assert_same_bits(left, right)


def test_bundled_model() -> None:
    models = Path(str(resources.files("safetyclf"))) / "models"
    paths = sorted(models.glob("*.safetensors"))
    if not paths:
        pytest.skip("no bundled model in this checkout")
    texts = [
        "",
        "have a nice day",
        "A \U0001f600 and \uff46\uff55\uff4c\uff4c width",
        "one two three. " * 200,
    ]
    reference = load(paths[0])
    expected = np.stack([reference.logits(text) for text in texts])
    assert_same_bits(expected, engine(str(paths[0]), "").logits(texts, reference.architecture.layers)[0])


def test_calibration_matches_the_policy_core() -> None:
    file = TinyModel().build()
    reference = ReferenceModel(file)
    offsets = file.tensors["calibration.offsets"]
    knots = [
        (file.tensors["calibration.logit"][a:b], file.tensors["calibration.probability"][a:b])
        for a, b in pairwise(offsets)
    ]
    policy = testing.Policy([(x.tolist(), p.tolist()) for x, p in knots], [(0.5, 0.5)] * len(knots))
    edges = np.concatenate([x for x, _ in knots] + [np.linspace(-3, 3, 997, dtype=F32), F32([-1e30, 1e30])])
    values = np.concatenate([edges, np.nextafter(edges, F32(-9)), np.nextafter(edges, F32(9))])
    logits = np.repeat(values[:, None], len(knots), axis=1)
    expected = np.stack([reference.calibrate(row) for row in logits])
    assert_same_bits(expected, np.asarray(policy.calibrate(logits)))


def test_rules_need_the_engine() -> None:
    with pytest.raises(ValueError, match="apply_rules"):
        ReferenceModel(TinyModel(rules=tuple(testing.known_rules()[:1])).build())


# Text -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hugging_face() -> Iterator[object]:
    tokenizers = pytest.importorskip("tokenizers")
    pipeline = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            {token: i for i, token in enumerate(vocabulary())},
            unk_token="[UNK]",
            max_input_chars_per_word=100,
        )
    )
    pipeline.normalizer = tokenizers.normalizers.BertNormalizer()
    pipeline.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return pipeline


LATIN = st.lists(st.text(st.characters(max_codepoint=0x17F)) | st.sampled_from([*vocabulary(), " "])).map(
    "".join
)


@given(text=LATIN)
@example(text="".join(map(chr, range(0x180))))
@example(text=" ".join(map(chr, range(0x180))))
@example(text="x" * 101)
def test_ids_equal_hugging_face(hugging_face: object, text: str) -> None:
    subject = Tokenizer(vocabulary(), lowercase=True, window_tokens=30, overlap_tokens=8)
    assert subject.pieces(text) == hugging_face.encode(text, add_special_tokens=False).ids  # type: ignore[attr-defined]


@given(count=st.integers(0, 400), window=st.integers(1, 60), overlap=st.integers(0, 59))
def test_windows_cover_every_piece(count: int, window: int, overlap: int) -> None:
    overlap = min(overlap, window - 1)
    subject = Tokenizer(vocabulary(), lowercase=True, window_tokens=window, overlap_tokens=overlap)
    digits = "".join(str(i % 10) + " " for i in range(count))
    pieces = subject.pieces(digits)
    windows = subject.windows(digits)
    assert all(w[0] == subject.start and w[-1] == subject.end for w in windows)
    bodies = [w[1:-1] for w in windows]
    sizes = [len(body) for body in bodies]
    assert max(sizes) <= window
    assert max(sizes) - min(sizes) <= 1
    joined = bodies[0]
    for before, after in pairwise(bodies):
        assert before[len(before) - overlap :] == after[:overlap]
        joined = joined + after[overlap:]
    assert joined == pieces
    fewest = 1 if count <= window else math.ceil((count - overlap) / (window - overlap))
    assert len(windows) == fewest


# Accuracy -------------------------------------------------------------------------------------------------

HALF_ULP = 2.0**-24  # relative error of one rounding


def test_gelu_is_within_its_bound() -> None:
    x = np.concatenate([np.linspace(-8, 8, 200_001), -(2.0 ** np.arange(3, 60)), 2.0 ** np.arange(3, 60)])
    x = x.astype(F32).astype(np.float64)
    exact = x * np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])
    error = np.abs(arithmetic.gelu(x.astype(F32)) - exact)
    assert error[np.abs(x) <= 8].max() <= 6e-5
    assert (error / np.maximum(np.abs(x), 8))[np.abs(x) > 8].max() <= 1.4e-6


def test_exp2_is_within_its_bound() -> None:
    x = np.linspace(-20, 0, 400_001).astype(F32)
    exact = np.exp2(x.astype(np.float64))
    assert np.abs(arithmetic.exp2(x) / exact - 1).max() <= 4e-6
    assert arithmetic.exp2(F32([0, -1, -20])).tolist() == [1, 0.5, 2.0**-20]


def test_lane_sum_has_the_documented_order() -> None:
    # 2^24 + 1 is not a float, so that the position of the large number decides what is lost.
    for position in range(64):
        x = np.ones((1, 64), F32)
        x[0, position] = 2.0**24
        lanes = [0.0] * 16
        for i, value in enumerate(x[0].tolist()):
            lanes[i % 16] = float(F32(lanes[i % 16] + value))
        for width in (8, 4, 2, 1):
            lanes = [float(F32(lanes[i] + lanes[i + width])) for i in range(width)]
        assert arithmetic.lane_sum(x)[0] == lanes[0]


def test_quantised_linear_is_within_its_bound() -> None:
    rng = np.random.default_rng(5)
    x, weight = rng.standard_normal((20, 384)).astype(F32), rng.integers(-127, 128, (64, 384), dtype=np.int8)
    scale, bias = scales(rng, 64), rng.standard_normal(64).astype(F32)
    q, row_scale = arithmetic.quantize(x)
    product = arithmetic.integer_product(q, weight)
    out = arithmetic.dequantize(product, row_scale, scale, bias)
    effective = weight.astype(np.float64) * scale[:, None]
    exact = x.astype(np.float64) @ effective.T + bias
    # An input is off by half a step, plus what two roundings of up to 127 steps add; four roundings follow.
    quantisation = row_scale[:, None] * (0.5 + 127 * 3 * HALF_ULP) * np.abs(effective).sum(axis=1)
    magnitude = np.abs(product) * row_scale[:, None].astype(np.float64) * scale + np.abs(bias)
    assert (np.abs(out - exact) <= quantisation + 5 * HALF_ULP * magnitude).all()


def test_attention_is_within_its_bound() -> None:
    rng = np.random.default_rng(6)
    heads, length, size = 2, 40, 32
    q, k, v = rng.standard_normal((3, heads, length, size)).astype(F32)
    (q_int, q_scale), (k_int, k_scale) = arithmetic.quantize(q), arithmetic.quantize(k)
    out = arithmetic.attention(q_int, q_scale, k_int, k_scale, v)

    logits = q.astype(np.float64) @ k.astype(np.float64).swapaxes(1, 2) / math.sqrt(size)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    exact = weights @ v.astype(np.float64)

    # Logits: each q and k is off by half a step (and a thousandth of one for all roundings).
    eq, ek = (0.501 * scale.astype(np.float64)[..., None] for scale in (q_scale, k_scale))
    error = np.abs(q).sum(2)[:, :, None] * ek.swapaxes(1, 2) + np.abs(k).sum(2)[:, None, :] * eq
    error = (error + size * eq * ek.swapaxes(1, 2)) / math.sqrt(size)
    # A weight is e^logit over a sum of such: off by a factor of at most e^(2 error), twice the 4e-6 of exp2.
    # Rounding then moves each integer by up to 1/2; their sum is at least 255.
    off = weights * np.expm1(2 * error.max(axis=2, keepdims=True) + 1e-5)
    off += 0.5 * (1 + length * (weights + off)) / 255
    v_step = np.abs(v).max(axis=1, keepdims=True) / 127
    bound = off @ np.abs(v).astype(np.float64) + 0.501 * v_step
    assert (np.abs(out - exact) <= bound).all()


class Float64Bert:
    """BERT in float64 from the effective weights of a model file, with the exact functions and no quantisers.

    With `noise`, each quantiser's error is imitated by an independent uniform number of at most half a step.
    """

    def __init__(self, file: _modelfile.ModelFile, noise: np.random.Generator | None = None) -> None:
        self.tensors = {
            name: tensor.astype(np.float64)
            for name, tensor in file.tensors.items()
            if tensor.dtype != np.uint8
        }
        self.layers, self.heads = file.architecture.layers, file.architecture.heads
        self.epsilon = file.architecture.norm_epsilon
        self.noise = noise

    def disturb(self, x: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
        if self.noise is None:
            return x
        return x + np.abs(x).max(axis, keepdims=True) / 127 * self.noise.uniform(-0.5, 0.5, x.shape)

    def norm(self, name: str, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        deviation = x - x.mean(axis=1, keepdims=True)
        scale = np.sqrt((deviation**2).mean(axis=1, keepdims=True) + self.epsilon)
        return deviation / scale * self.tensors[f"{name}.gamma"] + self.tensors[f"{name}.beta"]

    def linear(self, name: str, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        weight = self.tensors[f"{name}.weight"] * self.tensors[f"{name}.scale"][:, None]
        x = self.disturb(x * self.tensors[f"{name}.inverse_smooth"], 1)
        return x @ weight.T + self.tensors[f"{name}.bias"]

    def attend(self, q, k, v):  # type: ignore[no-untyped-def]
        scores = self.disturb(q, 1) @ self.disturb(k, 1).T / math.sqrt(q.shape[1])
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        if self.noise is not None:
            weights = np.maximum(weights + self.noise.uniform(-0.5, 0.5, weights.shape) / 255, 0)
        return weights @ self.disturb(v, 0) / weights.sum(axis=1, keepdims=True)

    def encode(self, ids: list[int]) -> list[npt.NDArray[np.float64]]:
        t = self.tensors
        words = (t["encoder.words.weight"] * t["encoder.words.scale"][:, None])[ids]
        states = [self.norm("encoder.embedding_norm", words + t["encoder.positions"][: len(ids)])]
        for layer in range(self.layers):
            prefix, x = f"encoder.layers.{layer}", states[-1]
            q, k, v = (
                np.split(part, self.heads, axis=1)
                for part in np.split(self.linear(f"{prefix}.qkv", x), 3, axis=1)
            )
            mixed = np.concatenate([self.attend(*head) for head in zip(q, k, v, strict=True)], axis=1)
            x = self.norm(f"{prefix}.attention_norm", x + self.linear(f"{prefix}.attention_output", mixed))
            inner = self.linear(f"{prefix}.ffn_in", x)
            inner = inner * np.vectorize(lambda y: 0.5 * math.erfc(-y / math.sqrt(2)))(inner)
            states.append(self.norm(f"{prefix}.ffn_norm", x + self.linear(f"{prefix}.ffn_out", inner)))
        return states


def test_encoder_is_bert() -> None:
    """The error against exact BERT is that of quantisation, modelled as independent noise, and nothing else.

    The ratio of the two is between 0.8 and 1.1; 1.5 allows for what the model leaves out, for errors are not
    quite uniform and not independent. A missing bias gives a ratio of 6, a wrong order of heads 30.
    """
    file = TinyModel().build()
    reference, exact = ReferenceModel(file), Float64Bert(file)
    texts = ["hello friend, is the weather nice?", "they want music and good food", "go help the angry bird"]

    def error(states, truth):  # type: ignore[no-untyped-def]
        return np.array([np.sqrt(((a - b) ** 2).mean()) for a, b in zip(states, truth, strict=True)])

    for text in texts:
        (ids,) = reference.windows(text)
        truth = exact.encode(ids)
        found = error(reference.encode(ids), truth)
        noisy = [
            error(Float64Bert(file, np.random.default_rng(seed)).encode(ids), truth) for seed in range(8)
        ]
        # Nothing is quantised before the first layer. One value passes fewer than 64 roundings there.
        assert found[0] <= 64 * HALF_ULP * np.abs(truth[0]).max()
        assert (found[1:] <= 1.5 * np.mean(noisy, axis=0)[1:]).all(), (found, np.mean(noisy, axis=0))


def test_numerics_are_those_of_this_revision() -> None:
    """A change of this hash is a change of the arithmetic (or of the tiny model).

    docs/numerics.md, section 9: raise kNumericsRevision, then pin the new hash here.
    """
    reference = ReferenceModel(TinyModel().build())
    pooled = [reference.pool(ids) for text in TEXTS for ids in reference.windows(text)]
    logits = [reference.logits(text) for text in TEXTS]
    digest = hashlib.sha256(b"".join(x.astype("<f4").tobytes() for x in [*pooled, *logits])).hexdigest()
    pinned = {1: "ecf0f7515e96ea53c04a451b4b5775bba1020bc73b933a1d14dcce695692f174"}
    assert testing.numerics_revision == _modelfile.NUMERICS_REVISION
    assert digest == pinned[_modelfile.NUMERICS_REVISION]
