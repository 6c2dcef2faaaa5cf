"""From fp32 to int8 with as little loss as possible: how channels share the range, how weights are rounded.

Three steps per linear layer, all from the statistics of its inputs on calibration windows through the fp32
encoder:

1. `balance` chooses `inverse_smooth`. The engine quantises a row of activations with one scale, so a few
   channels with outliers cost all others their resolution. Multiplying channels down, and the weights up by
   as much, moves the range (SmoothQuant, Xiao et al. 2023, arXiv 2211.10438). Instead of that paper's one
   exponent we minimise the expected squared error of the output itself.
2. `round_weights` rounds column by column and lets the columns that are still to come make up for each error
   (GPTQ, Frantar et al. 2022, arXiv 2210.17323).
3. The bias takes up what is left of the mean error.

docs/conversion.md has the measurements that chose all this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ._float_encoder import FloatEncoder, Floats, encode
from ._modelfile import quantize_weights, weight_scales

Doubles = npt.NDArray[np.float64]

BALANCE_ROWS: Final = 2048
BALANCE_STEPS: Final = 80
BALANCE_RATE: Final = 0.05
DAMPING: Final = 0.2
BLOCK: Final = 64
GATHERED_ROWS: Final = 1024


def quantize_encoder(
    encoder: FloatEncoder, windows: Sequence[npt.NDArray[np.int64]] | None
) -> dict[str, npt.NDArray[Any]]:
    """The `encoder.*` tensors of the model file.

    Args:
        encoder: the fp32 parameters.
        windows: token ids of calibration windows. None keeps the encoder's inverse_smooth and rounds to
            nearest, so that an encoder that was int8 before comes out as it was.
    """
    inputs = {} if windows is None else _collect(encoder, windows)
    tensors: dict[str, npt.NDArray[Any]] = {}
    for name, value in encoder.parameters.items():
        if not name.endswith((".weight", ".bias", ".inverse_smooth")):
            tensors[f"encoder.{name}"] = value
    tensors["encoder.words.weight"], tensors["encoder.words.scale"] = quantize_weights(
        encoder.parameters["words.weight"]
    )
    for layer in range(encoder.architecture.layers):
        for name in encoder.architecture.linear_shapes():
            weight, bias, inverse_smooth = encoder.linear(layer, name)
            seen = inputs.get((layer, name))
            if seen is None:
                q, scale = quantize_weights(weight)
            else:
                # Queries and keys only steer a softmax; what the layer passes on are the values, the last
                # third of the rows.
                matters = weight[-(len(weight) // 3) :] if name == "qkv" else weight
                inverse_smooth = balance(matters, seen.rows())
                q, scale = round_weights(
                    weight / inverse_smooth, seen.covariance() * np.outer(inverse_smooth, inverse_smooth)
                )
                lost = weight - q * scale[:, None] * inverse_smooth
                bias = (bias + lost @ seen.mean()).astype(np.float32)
            prefix = f"encoder.layers.{layer}.{name}"
            tensors[f"{prefix}.weight"], tensors[f"{prefix}.scale"] = q, scale
            tensors[f"{prefix}.bias"], tensors[f"{prefix}.inverse_smooth"] = bias, inverse_smooth
    return tensors


def balance(weight: Floats, rows: Floats) -> Floats:
    """The factor [k] by which to multiply each input channel: geometric mean 1.

    With u = log factor, inputs x and weights w, errors of quantisation being uniform, the expected squared
    error of the output is proportional to A(u) + B(u) with

        A = mean over rows of (max_k |x_k| e^{u_k})^2  *  sum over k of |w_k|^2 e^{-2 u_k}
        B = sum over outputs of (max_k |w_k| e^{-u_k})^2  *  sum over k of mean(x_k^2) e^{2 u_k}

    where A comes from rounding the activations and B from rounding the weights.

    Each factor is log-convex in u, and so are products and sums of such: log(A + B) is convex and any descent
    finds its minimum. We use Adam on its subgradient.

    Args:
        weight: [n, k], the outputs that matter.
        rows: [rows, k], a sample of inputs.
    """
    log_x = np.log(np.maximum(np.abs(rows), 1e-6))
    log_w = np.log(np.maximum(np.abs(weight), 1e-8))
    column_power = np.square(weight, dtype=np.float64).sum(axis=0)
    input_power = np.square(rows, dtype=np.float64).mean(axis=0)

    u = np.zeros(rows.shape[1])
    momentum, variance = np.zeros_like(u), np.zeros_like(u)
    best, best_u = np.inf, u
    for step in range(1, BALANCE_STEPS + 1):
        range_x, slope_x = _mean_square_of_maximum(log_x, u)
        range_w, slope_w = _mean_square_of_maximum(log_w, -u)
        noise_w, noise_x = column_power * np.exp(-2 * u), len(weight) * input_power * np.exp(2 * u)
        total = range_x * noise_w.sum() + range_w * noise_x.sum()
        if total < best:
            best, best_u = total, u
        gradient = (
            slope_x * noise_w.sum() - 2 * range_x * noise_w - slope_w * noise_x.sum() + 2 * range_w * noise_x
        )
        gradient /= total
        momentum = 0.9 * momentum + 0.1 * gradient
        variance = 0.999 * variance + 0.001 * gradient**2
        rate = BALANCE_RATE * (1 - step / BALANCE_STEPS) / (1 - 0.9**step)
        u = u - rate * momentum / (np.sqrt(variance / (1 - 0.999**step)) + 1e-8)
    factor: Floats = np.exp(best_u - best_u.mean()).astype(np.float32)
    return factor


def _mean_square_of_maximum(log_values: Floats, u: Doubles) -> tuple[float, Doubles]:
    """Mean over rows of max_k (v_k e^{u_k})^2, and its gradient by u."""
    shifted = log_values + u.astype(np.float32)
    top = shifted.argmax(axis=1)
    square = np.exp(2.0 * shifted[np.arange(len(top)), top].astype(np.float64))
    return float(square.mean()), 2 * np.bincount(top, weights=square, minlength=len(u)) / len(top)


def round_weights(weight: Floats, covariance: Doubles) -> tuple[npt.NDArray[np.int8], Floats]:
    """As `quantize_weights`, but with rounding that keeps `inputs @ weight.T`.

    The inputs' mean is left to the bias. Each row's largest weight becomes +-127, so that quantising the
    dequantised weights again gives the same integers.

    Args:
        weight: [n, k].
        covariance: [k, k], of the inputs.
    """
    scale = weight_scales(weight)
    n, k = weight.shape
    power = np.maximum(np.diag(covariance), 1e-9 * np.trace(covariance) / k + 1e-30)
    # The channels that matter most come first, while all others can still make up for them.
    order = np.argsort(-power, kind="stable")
    damped = covariance + np.diag(DAMPING * power)
    # Upper triangular: row j says how the columns after j make up for an error in column j.
    compensation = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T

    left = weight[:, order].astype(np.float64)
    largest = np.abs(left).argmax(axis=1)
    extreme = np.sign(left[np.arange(n), largest]) * 127
    q = np.zeros((n, k))
    for begin in range(0, k, BLOCK):
        end = min(begin + BLOCK, k)
        errors = np.zeros((n, end - begin))
        for j in range(begin, end):
            q[:, j] = np.where(largest == j, extreme, np.clip(np.rint(left[:, j] / scale), -127, 127))
            errors[:, j - begin] = (left[:, j] - q[:, j] * scale) / compensation[j, j]
            left[:, j + 1 : end] -= np.outer(errors[:, j - begin], compensation[j, j + 1 : end])
        left[:, end:] -= errors @ compensation[begin:end, end:]
    result = np.empty((n, k), np.int8)
    result[:, order] = q
    return result, scale


class _Inputs:
    """Statistics of a linear layer's inputs [tokens, k]: sums over tokens; every `stride`-th as a sample."""

    def __init__(self, k: int, stride: int) -> None:
        self._stride = stride
        self._count = 0
        self._total: Doubles = np.zeros(k)
        self._products: Doubles = np.zeros((k, k))
        self._sample: list[Floats] = []
        self._waiting: list[Floats] = []

    def add(self, x: Floats) -> None:
        self._waiting.append(x)
        # One product of many rows is far cheaper than many of few.
        if sum(map(len, self._waiting)) >= GATHERED_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        x = np.concatenate(self._waiting)
        self._waiting.clear()
        self._sample.append(x[-self._count % self._stride :: self._stride])
        self._count += len(x)
        self._total += x.sum(axis=0, dtype=np.float64)
        self._products += x.T @ x

    def rows(self) -> Floats:
        self._flush()
        return np.concatenate(self._sample)

    def mean(self) -> Doubles:
        self._flush()
        return self._total / self._count

    def covariance(self) -> Doubles:
        mean = self.mean()
        return self._products / self._count - np.outer(mean, mean)


def _collect(
    encoder: FloatEncoder, windows: Sequence[npt.NDArray[np.int64]]
) -> dict[tuple[int, str], _Inputs]:
    stride = max(1, sum(map(len, windows)) // BALANCE_ROWS)
    inputs = {
        (layer, name): _Inputs(k, stride)
        for layer in range(encoder.architecture.layers)
        for name, (_, k) in encoder.architecture.linear_shapes().items()
    }
    for ids in windows:
        encode(encoder, ids, lambda layer, name, x: inputs[layer, name].add(x))
    return inputs
