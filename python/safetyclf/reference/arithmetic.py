"""The arithmetic of docs/numerics.md, one function per section, in numpy.

Every float operation is one IEEE-754 single operation in the order written; sums have the order of
`lane_sum` or, over tokens, the order of the tokens. np.sum, np.mean and np.dot are not used on floats,
because their order of addition is numpy's business. Results therefore have the same bits as the kernels
(cpp/kernels/scalar.cpp), provided that all values are finite.

Functions work on all rows at once, columns on the last axis. float32 means IEEE single precision with
subnormals: numpy leaves the CPU's mode alone, so that in a process in which another library turned on
flush-to-zero the bits may differ (the engine turns it off for itself).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.signedinteger[Any]]

F32 = np.float32
LANES = 16

SMALLEST_MAXIMUM = F32(1e-30)
GELU_CLAMP = F32(4.5)
GELU = [
    F32(float.fromhex(c))
    for c in (
        "0x1.9874fep-2",
        "-0x1.0fb770p-4",
        "0x1.4236aep-7",
        "-0x1.264d86p-10",
        "0x1.9a801cp-14",
        "-0x1.ab296ap-18",
        "0x1.3db4a0p-22",
        "-0x1.3be3c2p-27",
        "0x1.753bbcp-33",
        "-0x1.8a12f8p-40",
    )
]
EXP2 = [
    F32(float.fromhex(c))
    for c in ("0x1p0", "0x1.62e0dcp-1", "0x1.ec06d8p-3", "0x1.ca1406p-5", "0x1.3997e8p-7")
]
SMALLEST_EXPONENT = F32(-20)
LOG2_E = F32(float.fromhex("0x1.715476p0"))


def lane_sum(x: Floats) -> Floats:
    """Sum over the last axis (a multiple of 16 long): sixteen running sums, then halves onto halves."""
    lanes = np.zeros((*x.shape[:-1], LANES), F32)
    for i in range(0, x.shape[-1], LANES):
        lanes = lanes + x[..., i : i + LANES]
    for width in (8, 4, 2, 1):
        lanes = lanes[..., :width] + lanes[..., width:]
    return lanes[..., 0]


def quantize(x: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """int8 values in [-127, 127] of the rows of `x`, and the scale of each row."""
    largest = np.maximum(np.abs(x).max(axis=-1), SMALLEST_MAXIMUM)
    q = np.rint(x * (F32(127) / largest)[..., None])
    return q.astype(np.int8), largest * (F32(1) / F32(127))


def integer_product(a: Integers, b: Integers) -> npt.NDArray[np.int32]:
    """c[i, j] = sum over l of a[i, l] * b[j, l], exact.

    Computed in float64: every partial sum, in any order, is an integer below 2^53, so that nothing is ever
    rounded; and numpy hands float64 to BLAS, but multiplies integers in a plain loop, many times slower.
    """
    product: npt.NDArray[np.float64] = a.astype(np.float64) @ b.astype(np.float64).swapaxes(-1, -2)
    return product.astype(np.int32)


def dequantize(acc: npt.NDArray[np.int32], row_scale: Floats, column_scale: Floats, bias: Floats) -> Floats:
    """From products back to float32: acc [rows, n], row_scale [rows], column_scale and bias [n]."""
    return acc.astype(F32) * row_scale[:, None] * column_scale + bias


def layer_norm(x: Floats, gamma: Floats, beta: Floats, epsilon: np.float32) -> Floats:
    """Rows to mean 0 and variance 1, times gamma plus beta."""
    inverse_hidden = F32(1) / F32(x.shape[-1])
    deviation = x - (lane_sum(x) * inverse_hidden)[:, None]
    variance = lane_sum(deviation * deviation) * inverse_hidden
    inverse_deviation = F32(1) / np.sqrt(variance + epsilon)
    normed: Floats = deviation * inverse_deviation[:, None] * gamma + beta
    return normed


def polynomial(coefficients: list[np.float32], x: Floats) -> Floats:
    """Horner's rule; coefficients from the constant one up."""
    p = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        p = p * x + c
    return p


def gelu(x: Floats) -> Floats:
    """Product x * Phi(x), Phi the normal distribution function; absolute error at most 6e-5 for |x| <= 8."""
    c = np.minimum(np.maximum(x, -GELU_CLAMP), GELU_CLAMP)
    activated: Floats = x * (c * polynomial(GELU, c * c) + F32(0.5))
    return activated


def exp2(x: Floats) -> Floats:
    """2^x for x in [-20, 0]; relative error at most 4e-6."""
    n = np.rint(x)
    return np.ldexp(polynomial(EXP2, x - n), n.astype(np.int32))


def logit_scale(head_size: int) -> np.float32:
    """log2(e) / sqrt(head size), each of the three operations rounded."""
    scale: np.float32 = LOG2_E / np.sqrt(F32(head_size))
    return scale


def attention(q: Integers, q_scale: Floats, k: Integers, k_scale: Floats, v: Floats) -> Floats:
    """Self-attention of one window: q, k, v and result [heads, tokens, head size], scales [heads, tokens]."""
    v_int, v_scale = quantize(v.swapaxes(-1, -2))  # one scale per channel: [heads, head size]

    t = integer_product(q, k).astype(F32) * k_scale[:, None, :]
    t = t - t.max(axis=-1, keepdims=True)
    x = np.maximum(t * (q_scale * logit_scale(q.shape[-1]))[:, :, None], SMALLEST_EXPONENT)
    p = np.rint(exp2(x) * F32(255)).astype(np.int32)

    inverse_total = F32(1) / p.sum(axis=-1).astype(F32)  # a sum of integers: any order
    mixed = integer_product(p, v_int).astype(F32)
    out: Floats = mixed * inverse_total[:, :, None] * v_scale[:, None, :]
    return out


def mean_rows(x: Floats) -> Floats:
    """Mean over the first axis, rows added in order."""
    total = np.zeros(x.shape[1:], F32)
    for row in x:
        total = total + row
    mean: Floats = total / F32(x.shape[0])
    return mean


def dot_rows(x: Floats, w: Floats) -> Floats:
    """out[i, c] = sum over l of x[i, l] * w[c, l]."""
    return lane_sum(x[:, None, :] * w[None, :, :])
