"""Every kernel of every instruction set that this CPU runs, against numpy and against docs/numerics.md.

The runner behind `native.kernels` puts guard bytes round each buffer and aborts when one was written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

native = pytest.importorskip("safetyclf._native_testing", reason="built without SAFETYCLF_TESTING")

from safetyclf.reference import arithmetic  # noqa: E402

kernels = native.kernels
ISAS: list[str] = kernels.supported()
F32 = np.float32
EXAMPLES = 40

each_isa = pytest.mark.parametrize("isa", ISAS)
seeds = st.integers(0, 2**32 - 1)
hidden_sizes = st.sampled_from([64, 128, 192, 384])
row_counts = st.integers(1, 20)
shifts = st.integers(0, 3)

Array = npt.NDArray[Any]


def int8s(random: np.random.Generator, shape: tuple[int, ...], fill: str = "random") -> Array:
    if fill == "random":
        return random.integers(-127, 128, shape).astype(np.int8)
    if fill == "one hot":
        out = np.zeros(shape, np.int8)
        out.flat[random.integers(out.size)] = random.choice([-127, 127])
        return out
    if fill == "alternating":
        return np.where(np.indices(shape).sum(axis=0) % 2 == 0, 127, -127).astype(np.int8)
    return np.full(shape, {"high": 127, "low": -127, "zero": 0}[fill], np.int8)


fills = st.sampled_from(["random", "random", "high", "low", "zero", "one hot", "alternating"])


def rows_of(random: np.random.Generator, rows: int, columns: int) -> Array:
    """Rows of very different sizes: zero, too small to count, subnormal, ordinary, with outliers, large."""
    x = random.standard_normal((rows, columns)).astype(F32)
    size = random.choice([0.0, 1e-36, 1e-42, 1.0, 1.0, 1.0, 3e4], rows)
    outliers = random.random((rows, columns)) < 0.01
    return (x * np.where(outliers, 50, 1) * size[:, None]).astype(F32)


def positive(random: np.random.Generator, count: int, size: float = 1.0) -> Array:
    return (random.uniform(0.01, 2.0, count) * size).astype(F32)


def accumulators(random: np.random.Generator, rows: int, columns: int) -> Array:
    limit = random.choice([0, 1000, 2**24, 2**31 - 1], rows)
    return np.rint(random.uniform(-1, 1, (rows, columns)) * limit[:, None]).astype(np.int32)


def assert_same_bits(actual: Array, expected: Array) -> None:
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    if actual.dtype == F32:
        assert np.isfinite(expected).all(), "the arithmetic is defined for finite values only"
        actual, expected = actual.view(np.uint32), np.ascontiguousarray(expected).view(np.uint32)
    np.testing.assert_array_equal(actual, expected)


def assert_all_same_bits(actual: tuple[Array, ...], expected: tuple[Array, ...]) -> None:
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert_same_bits(a, e)


# Dispatch


def test_dispatch_takes_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAFETYCLF_ISA", raising=False)
    assert ISAS[-1] == "scalar"
    assert kernels.active() == ISAS[0]
    assert [name for name in kernels.compiled() if name in ISAS] == ISAS


@each_isa
def test_dispatch_can_be_forced(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels.find(isa) == isa
    monkeypatch.setenv("SAFETYCLF_ISA", isa)
    assert kernels.active() == isa


@pytest.mark.parametrize("name", ["sse2", "AVX2", "avx2 ", "\N{SNOWMAN}"])
def test_unknown_instruction_set_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="unknown instruction set"):
        kernels.find(name)
    monkeypatch.setenv("SAFETYCLF_ISA", name)
    with pytest.raises(RuntimeError, match="this build has: "):
        kernels.active()


def test_unsupported_instruction_set_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [name for name in kernels.compiled() if name not in ISAS]
    if not missing:
        pytest.skip("this CPU runs every instruction set; tests/cross runs CPUs that do not")
    for name in missing:
        monkeypatch.setenv("SAFETYCLF_ISA", name)
        with pytest.raises(RuntimeError, match="this CPU cannot run"):
            kernels.active()


# Integer products


@each_isa
@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(
    m=st.integers(1, 140),
    n=st.integers(1, 9).map(lambda x: 16 * x),
    k=st.integers(1, 6).map(lambda x: 64 * x),
    fill_a=fills,
    fill_w=fills,
    shift=shifts,
    seed=seeds,
)
def test_gemm_is_exact(
    isa: str, m: int, n: int, k: int, fill_a: str, fill_w: str, shift: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    a, w = int8s(random, (m, k), fill_a), int8s(random, (n, k), fill_w)
    expected = a.astype(np.int64) @ w.astype(np.int64).T
    np.testing.assert_array_equal(kernels.gemm(isa, a, w, shift), expected)


@each_isa
@pytest.mark.parametrize("m", [1, 2, 16, 17, 33])
def test_gemm_at_the_longest_reduction(isa: str, m: int) -> None:
    k = 66_311 // 64 * 64
    for a, w in [("high", "high"), ("low", "high"), ("low", "low")]:
        random = np.random.default_rng(0)
        left, right = int8s(random, (m, k), a), int8s(random, (16, k), w)
        expected = left.astype(np.int64) @ right.astype(np.int64).T
        np.testing.assert_array_equal(kernels.gemm(isa, left, right), expected)


# Rows, against docs/numerics.md as safetyclf.reference.arithmetic writes it


@each_isa
@settings(max_examples=EXAMPLES, deadline=None)
@given(rows=row_counts, hidden=hidden_sizes, seed=seeds)
def test_embed(isa: str, rows: int, hidden: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    ids = random.integers(0, 50, rows).astype(np.int32)
    position = random.integers(0, 7, rows).astype(np.uint32)
    words, scale = int8s(random, (50, hidden)), positive(random, 50, 0.01)
    positions = random.standard_normal((7, hidden)).astype(F32)
    gamma, beta = positive(random, hidden), positive(random, hidden)
    actual = kernels.embed(isa, ids, position, words, scale, positions, gamma, beta, 1e-12)
    summed = words[ids].astype(F32) * scale[ids][:, None] + positions[position]
    assert_same_bits(actual, arithmetic.layer_norm(summed, gamma, beta, F32(1e-12)))


@each_isa
@settings(max_examples=EXAMPLES, deadline=None)
@given(rows=row_counts, hidden=hidden_sizes, seed=seeds)
def test_quantize(isa: str, rows: int, hidden: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, smooth = rows_of(random, rows, hidden), positive(random, hidden)
    assert_all_same_bits(kernels.quantize(isa, x, smooth), arithmetic.quantize(x * smooth))


@each_isa
def test_quantize_rounds_ties_to_even(isa: str) -> None:
    """With a largest value of 127 the scale is 1, so halves are exact ties."""
    x = np.zeros((1, 64), F32)
    x[0, :8] = [127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5]
    q, scale = kernels.quantize(isa, x, np.ones(64, F32))
    assert q[0, :8].tolist() == [127, 0, 2, 2, 0, -2, -2, 126]
    assert scale[0] == F32(127) * (F32(1) / F32(127))


@each_isa
@settings(max_examples=EXAMPLES, deadline=None)
@given(rows=row_counts, hidden=hidden_sizes, head_size=st.sampled_from([32, 64]), seed=seeds)
def test_split_qkv(isa: str, rows: int, hidden: int, head_size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    heads = hidden // head_size
    acc, row_scale = accumulators(random, rows, 3 * hidden), positive(random, rows, 0.01)
    column_scale, bias = positive(random, 3 * hidden, 0.01), positive(random, 3 * hidden)
    actual = kernels.split_qkv(isa, acc, row_scale, column_scale, bias, heads)
    out = arithmetic.dequantize(acc, row_scale, column_scale, bias)
    q, q_scale = arithmetic.quantize(out[:, :hidden].reshape(rows, heads, head_size))
    k, k_scale = arithmetic.quantize(out[:, hidden : 2 * hidden].reshape(rows, heads, head_size))
    expected = q.reshape(rows, hidden), q_scale, k.reshape(rows, hidden), k_scale, out[:, 2 * hidden :]
    assert_all_same_bits(actual, expected)


@each_isa
@settings(max_examples=EXAMPLES, deadline=None)
@given(rows=row_counts, hidden=hidden_sizes, seed=seeds)
def test_add_norm(isa: str, rows: int, hidden: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, acc = rows_of(random, rows, hidden), accumulators(random, rows, hidden)
    row_scale, column_scale, bias, gamma, beta = (positive(random, n) for n in (rows, *[hidden] * 4))
    actual = kernels.add_norm(isa, x, acc, row_scale, column_scale, bias, gamma, beta, 1e-12)
    summed = x + arithmetic.dequantize(acc, row_scale, column_scale, bias)
    assert_same_bits(actual, arithmetic.layer_norm(summed, gamma, beta, F32(1e-12)))


@each_isa
@settings(max_examples=EXAMPLES, deadline=None)
@given(rows=row_counts, hidden=hidden_sizes, size=st.sampled_from([1e-7, 1e-4, 1e-2]), seed=seeds)
def test_gelu_quantize(isa: str, rows: int, hidden: int, size: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    acc, row_scale = accumulators(random, rows, hidden), positive(random, rows, size)
    column_scale, bias, smooth = (positive(random, hidden) for _ in range(3))
    actual = kernels.gelu_quantize(isa, acc, row_scale, column_scale, bias, smooth)
    activated = arithmetic.gelu(arithmetic.dequantize(acc, row_scale, column_scale, bias))
    assert_all_same_bits(actual, arithmetic.quantize(activated * smooth))


@each_isa
@settings(max_examples=EXAMPLES, deadline=None)
@given(rows=row_counts, hidden=hidden_sizes, classes=st.integers(1, 25), seed=seeds)
def test_pooling_and_heads(isa: str, rows: int, hidden: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, w = rows_of(random, rows, hidden), rows_of(random, classes, hidden)
    assert_same_bits(kernels.mean_rows(isa, x), arithmetic.mean_rows(x))
    assert_same_bits(kernels.dot_rows(isa, x, w), arithmetic.lane_sum(x[:, None, :] * w[None, :, :]))


# Attention


def attention_inputs(
    random: np.random.Generator, length: int, heads: int, head_size: int, sharpness: float
) -> tuple[Array, ...]:
    q, k = (int8s(random, (length, heads * head_size)) for _ in range(2))
    q_scale, k_scale = (positive(random, length * heads, sharpness).reshape(length, heads) for _ in range(2))
    v = random.standard_normal((length, heads * head_size)).astype(F32)
    return q, q_scale, k, k_scale, v


def by_head(x: Array, heads: int) -> Array:
    """[tokens, heads * size] to [heads, tokens, size]."""
    return x.reshape(x.shape[0], heads, -1).swapaxes(0, 1)


attention_cases = given(
    length=st.one_of(st.integers(1, 70), st.sampled_from([127, 128, 129, 255, 256])),
    heads=st.integers(1, 3),
    head_size=st.sampled_from([32, 64]),
    sharpness=st.sampled_from([1e-4, 3e-3, 1e-2, 3e-2, 0.3]),
    in_place=st.booleans(),
    seed=seeds,
)


@each_isa
@settings(max_examples=EXAMPLES, deadline=None)
@attention_cases
def test_attention(
    isa: str, length: int, heads: int, head_size: int, sharpness: float, in_place: bool, seed: int
) -> None:
    q, q_scale, k, k_scale, v = attention_inputs(
        np.random.default_rng(seed), length, heads, head_size, sharpness
    )
    actual = kernels.attention(isa, q, q_scale, k, k_scale, v, in_place)
    expected = arithmetic.attention(
        by_head(q, heads), q_scale.T, by_head(k, heads), k_scale.T, by_head(v, heads)
    )
    assert_same_bits(actual, np.ascontiguousarray(expected.swapaxes(0, 1)).reshape(v.shape))


@each_isa
@settings(max_examples=EXAMPLES, deadline=None)
@attention_cases
def test_attention_approximates_softmax(
    isa: str, length: int, heads: int, head_size: int, sharpness: float, in_place: bool, seed: int
) -> None:
    """Against softmax in float64 of the same quantised queries and keys and the unquantised values.

    With u = 2^x <= 1, Z = sum u >= 1 and P = 255 u + e, the weights P / sum P differ from u / Z by
    (e_j - u_j / Z * sum e) / sum P, in sum over j at most 2 L max|e| / sum P. |e| <= 1/2 for rounding,
    255 * 4e-6 for the polynomial, and 255 * 2^-20 below the clamp at x = -20. x comes of at most eight
    roundings (scales, their products, the difference) of numbers of up to 2 max|x|, and a change of x by d
    changes u by a factor of 1 + d ln 2, the sum of weights by twice that. Values are off by half a step,
    max|v| / 254, and the last multiplications and the scales by 2^-21 in all.
    """
    q, q_scale, k, k_scale, v = attention_inputs(
        np.random.default_rng(seed), length, heads, head_size, sharpness
    )
    actual = by_head(kernels.attention(isa, q, q_scale, k, k_scale, v, in_place), heads).astype(np.float64)
    values = by_head(v, heads).astype(np.float64)
    queries = by_head(q, heads) * q_scale.T[..., None].astype(np.float64)
    keys = by_head(k, heads) * k_scale.T[..., None].astype(np.float64)
    x = queries @ keys.swapaxes(-1, -2) * (math.log2(math.e) / math.sqrt(head_size))
    largest = np.abs(x).max(axis=-1)
    u = np.exp2(x - x.max(axis=-1, keepdims=True))
    expected = u / u.sum(axis=-1, keepdims=True) @ values

    step = 0.5 + 255 * 4e-6 + 255 * 2.0**-20
    total = np.maximum(255 - step, 255 * u.sum(axis=-1) - length * step)
    weights = 2 * length * step / total + 2 * math.log(2) * 8 * 2.0**-24 * 2 * largest
    tolerance = np.abs(values).max(axis=1)[:, None, :] * (weights[..., None] + 1 / 254 + 2.0**-21)
    assert (np.abs(actual - expected) <= tolerance).all()


@each_isa
def test_attention_to_one_token_is_its_value(isa: str) -> None:
    """A window of one token: probability 255 / 255, so the value comes back but for its quantisation."""
    random = np.random.default_rng(1)
    q, q_scale, k, k_scale, v = attention_inputs(random, 1, 2, 32, 0.01)
    out = kernels.attention(isa, q, q_scale, k, k_scale, v)
    np.testing.assert_allclose(out, v, rtol=4 * 2.0**-23, atol=0)


# Accuracy of the approximations


@each_isa
def test_gelu_accuracy(isa: str) -> None:
    """Rows of equal elements: the row's scale is |gelu(x)| * fl(1/127), all 24 bits of it."""
    numbers = np.concatenate([np.arange(-8 * 2**12, 8 * 2**12 + 1, 3), np.arange(8, 100) * 2**12])
    acc = np.repeat(numbers.astype(np.int32)[:, None], 64, axis=1)
    row_scale = np.full(len(numbers), 2.0**-12, F32)
    ones, zeros = np.ones(64, F32), np.zeros(64, F32)
    q, scale = kernels.gelu_quantize(isa, acc, row_scale, ones, zeros, ones)
    x = numbers * 2.0**-12
    exact = np.array([value * 0.5 * math.erfc(-value / math.sqrt(2)) for value in x])
    actual = np.sign(q[:, 0]) * scale.astype(np.float64) * 127
    # Two roundings of the scale; zero rows have the smallest scale that there is.
    error = np.abs(actual - exact) - np.abs(exact) * 2 * 2.0**-24 - 1e-30
    assert error[np.abs(x) <= 8].max() <= 6e-5
    assert (error <= np.maximum(6e-5, 1.4e-6 * np.abs(x))).all()
    assert_same_bits(scale, arithmetic.quantize(arithmetic.gelu(x.astype(F32))[:, None])[1])


def test_exp2_accuracy() -> None:
    """Of the reference: kernels show only the 8-bit probabilities made from it (test_attention)."""
    x = np.linspace(-20, 0, 1_000_001).astype(F32)
    exact = np.exp2(x.astype(np.float64))
    assert (np.abs(arithmetic.exp2(x) / exact - 1)).max() <= 4e-6


@each_isa
def test_all_probabilities(isa: str) -> None:
    """Values that are one-hot per token show every probability of softmax rows from flat to sharp."""
    random = np.random.default_rng(2)
    for sharpness in (1e-4, 3e-3, 1e-2, 3e-2):
        q, q_scale, k, k_scale, _ = attention_inputs(random, 32, 1, 32, sharpness)
        out = kernels.attention(isa, q, q_scale, k, k_scale, np.eye(32, dtype=F32)).astype(np.float64)
        x = (q * q_scale.astype(np.float64)) @ (k * k_scale.astype(np.float64)).T
        x = (x - x.max(axis=1, keepdims=True)) * math.log2(math.e) / math.sqrt(32)
        p = out / out.max(axis=1, keepdims=True) * 255
        np.testing.assert_allclose(p, np.rint(p), atol=1e-3)
        # Half a step, the polynomial, and float rounding of exponents up to 2^5: 255 * 32 * 4 * 2^-24 < 0.01.
        assert np.abs(p - 255 * np.exp2(x)).max() <= 0.5 + 255 * 4e-6 + 0.01


# Rows do not see each other


def row_entries(random: np.random.Generator, isa: str, rows: int) -> list[tuple[str, Callable[[slice], Any]]]:
    hidden = 128
    x, acc = rows_of(random, rows, hidden), accumulators(random, rows, hidden)
    acc3, row_scale = accumulators(random, rows, 3 * hidden), positive(random, rows, 0.01)
    a, w = int8s(random, (rows, hidden)), int8s(random, (48, hidden))
    weights = rows_of(random, 5, hidden)
    column = [positive(random, hidden) for _ in range(4)]
    column3 = [positive(random, 3 * hidden) for _ in range(2)]
    ids = random.integers(0, 20, rows).astype(np.int32)
    position = random.integers(0, 20, rows).astype(np.uint32)
    words, word_scale = int8s(random, (20, hidden)), positive(random, 20)
    places = rows_of(random, 20, hidden)
    return [
        ("gemm", lambda s: kernels.gemm(isa, a[s], w)),
        (
            "embed",
            lambda s: kernels.embed(isa, ids[s], position[s], words, word_scale, places, *column[:2], 1e-12),
        ),
        ("quantize", lambda s: kernels.quantize(isa, x[s], column[0])),
        ("split_qkv", lambda s: kernels.split_qkv(isa, acc3[s], row_scale[s], *column3, 4)),
        ("add_norm", lambda s: kernels.add_norm(isa, x[s], acc[s], row_scale[s], *column, 1e-12)),
        ("gelu_quantize", lambda s: kernels.gelu_quantize(isa, acc[s], row_scale[s], *column[:3])),
        ("dot_rows", lambda s: kernels.dot_rows(isa, x[s], weights)),
    ]


@each_isa
@settings(max_examples=EXAMPLES, deadline=None)
@given(rows=st.integers(2, 70), data=st.data(), seed=seeds)
def test_rows_are_independent(isa: str, rows: int, data: st.DataObject, seed: int) -> None:
    first = data.draw(st.integers(0, rows - 1))
    some = slice(first, data.draw(st.integers(first + 1, rows)))
    for _, call in row_entries(np.random.default_rng(seed), isa, rows):
        together, apart = call(slice(0, rows)), call(some)
        if not isinstance(together, tuple):
            together, apart = (together,), (apart,)
        assert_all_same_bits(apart, tuple(part[some] for part in together))
