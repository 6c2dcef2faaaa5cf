"""The encoder in single precision: where every conversion starts, and the yardstick for the int8 one.

Plain numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ._modelfile import Architecture, ModelFile

Floats = npt.NDArray[np.float32]
Tap = Callable[[int, str, Floats], None]


@dataclass(frozen=True, kw_only=True)
class FloatEncoder:
    """An encoder's fp32 parameters under the names of the model file without the prefix `encoder.`.

    `words.weight` is [V, H]; each linear layer has `weight` [n, k], `bias` [n] and `inverse_smooth` [k]: its
    output is `(x * inverse_smooth) @ weight.T + bias`. `smoothed` says that the source came with
    inverse_smooth, which then must be kept.
    """

    architecture: Architecture
    parameters: Mapping[str, Floats]
    vocabulary: tuple[str, ...]
    lowercase: bool
    smoothed: bool = False

    def linear(self, layer: int, name: str) -> tuple[Floats, Floats, Floats]:
        """One linear layer: weight [n, k], bias [n], inverse_smooth [k]."""
        prefix, p = f"layers.{layer}.{name}", self.parameters
        return p[f"{prefix}.weight"], p[f"{prefix}.bias"], p[f"{prefix}.inverse_smooth"]


def dequantized(file: ModelFile) -> FloatEncoder:
    """The encoder of a model file with its int8 weights turned back into fp32."""
    parameters: dict[str, Floats] = {}
    for name, tensor in file.tensors.items():
        short = name.removeprefix("encoder.")
        if short == name or name.endswith(".scale"):
            continue
        if tensor.dtype == np.int8:
            scale = file.tensors[name.removesuffix("weight") + "scale"]
            parameters[short] = tensor.astype(np.float32) * scale[:, None]
        else:
            parameters[short] = tensor
    return FloatEncoder(
        architecture=file.architecture,
        parameters=parameters,
        vocabulary=tuple(file.vocabulary),
        lowercase=file.tokenizer.lowercase,
        smoothed=True,
    )


def layer_norm(x: Floats, gamma: Floats, beta: Floats, epsilon: float) -> Floats:
    """Rows of x [tokens, H] to mean 0 and variance 1, times gamma [H] plus beta [H]."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    normalized: Floats = centred / np.sqrt(variance + np.float32(epsilon)) * gamma + beta
    return normalized


def gelu(x: Floats) -> Floats:
    """x/2 (1 + erf(x / sqrt 2)).

    With erf by formula 7.1.26 of Abramowitz and Stegun, whose absolute error is below 1.5e-7.
    """
    z = np.abs(x) * np.float32(np.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    poly = np.zeros_like(t)
    for c in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        poly = (poly + np.float32(c)) * t
    erf = np.copysign(1 - poly * np.exp(-z * z), x)
    result: Floats = x * np.float32(0.5) * (1 + erf)
    return result


def encode(encoder: FloatEncoder, ids: npt.NDArray[Any], tap: Tap | None = None) -> list[Floats]:
    """Hidden states [tokens, H] of one window after the embedding and after each layer.

    `tap(layer, linear, x)` sees every input of a linear layer.
    """
    a, p = encoder.architecture, encoder.parameters
    size = a.hidden // a.heads

    def linear(layer: int, name: str, x: Floats) -> Floats:
        if tap is not None:
            tap(layer, name, x)
        weight, bias, inverse_smooth = encoder.linear(layer, name)
        product: Floats = (x * inverse_smooth) @ weight.T
        return product + bias

    def norm(name: str, x: Floats) -> Floats:
        return layer_norm(x, p[f"{name}.gamma"], p[f"{name}.beta"], a.norm_epsilon)

    x = norm("embedding_norm", p["words.weight"][ids] + p["positions"][: len(ids)])
    states = [x]
    for layer in range(a.layers):
        qkv = linear(layer, "qkv", x).reshape(len(ids), 3, a.heads, size)
        q, k, v = qkv.transpose(1, 2, 0, 3)
        scores = q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(size))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        context = (weights @ v).transpose(1, 0, 2).reshape(len(ids), a.hidden)
        x = norm(f"layers.{layer}.attention_norm", x + linear(layer, "attention_output", context))
        inner = gelu(linear(layer, "ffn_in", x))
        x = norm(f"layers.{layer}.ffn_norm", x + linear(layer, "ffn_out", inner))
        states.append(x)
    return states


def pooled(encoder: FloatEncoder, windows: Sequence[npt.NDArray[Any]]) -> Floats:
    """Mean-pooled states [windows, layers + 1, H]."""
    return np.stack([np.stack([x.mean(axis=0) for x in encode(encoder, ids)]) for ids in windows])
