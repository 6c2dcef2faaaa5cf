"""The encoder, the heads and the decision from a model file's tensors (docs/model-format.md)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from .. import _modelfile
from . import arithmetic as ar
from .arithmetic import F32, Floats
from .text import Tokenizer

Action = Literal["allow", "review", "block"]
MAX_TEXT_BYTES = 1 << 30


def load(path: str | os.PathLike[str]) -> ReferenceModel:
    """Reads a model file.

    Normalisation rules in the file are applied by the native engine, which is loaded only if there are any.

    Raises:
        ModelFileError: the file cannot be read.
        ModelFormatError: the file breaks a rule of docs/model-format.md.
    """
    file = _modelfile.read(path)
    if not file.tokenizer.rules:
        return ReferenceModel(file)
    from .. import _native

    engine = _native.Engine(os.fspath(path), threads=1, max_text_bytes=MAX_TEXT_BYTES, isa="scalar")
    return ReferenceModel(file, engine.normalize)


class ReferenceModel:
    """One model.

    Args:
        file: the model file's content; the stage "encoder" is enough for `encode`, "heads" for `logits`.
        apply_rules: what the file's normalisation rules do to a text; needed if there are any.
    """

    def __init__(self, file: _modelfile.ModelFile, apply_rules: Callable[[str], str] | None = None) -> None:
        if file.tokenizer.rules and apply_rules is None:
            raise ValueError("the model file has normalisation rules: apply_rules is needed")
        self.file = file
        self.tensors = file.tensors
        self.architecture = file.architecture
        self.categories = tuple(category.name for category in file.scored)
        self._apply_rules = apply_rules
        self._tokenizer = Tokenizer(
            file.vocabulary,
            file.tokenizer.lowercase,
            file.tokenizer.window_tokens,
            file.tokenizer.overlap_tokens,
        )

    # Text --------------------------------------------------------------------------------------------------

    def windows(self, text: str) -> list[list[int]]:
        """Token ids of each window of a text, with [CLS] and [SEP]; at least one window."""
        return self._tokenizer.windows(self._apply_rules(text) if self._apply_rules else text)

    # Encoder -----------------------------------------------------------------------------------------------

    def encode(self, ids: Sequence[int]) -> list[Floats]:
        """Hidden states of one window, float32 [tokens, hidden], of the embedding and after each layer."""
        states = [self._embed(np.asarray(ids, np.int32))]
        for layer in range(self.architecture.layers):
            states.append(self._layer(layer, states[-1]))
        return states

    def pool(self, ids: Sequence[int]) -> Floats:
        """Mean over the tokens of one window at every depth: float32 [layers + 1, hidden]."""
        return np.stack([ar.mean_rows(x) for x in self.encode(ids)])

    def _embed(self, ids: npt.NDArray[np.int32]) -> Floats:
        t = self.tensors
        words = t["encoder.words.weight"][ids].astype(F32) * t["encoder.words.scale"][ids, None]
        return self._norm("encoder.embedding_norm", words + t["encoder.positions"][: len(ids)])

    def _layer(self, layer: int, x: Floats) -> Floats:
        prefix = f"encoder.layers.{layer}"
        mixed = self._attention(self._linear(layer, "qkv", x))
        x = self._norm(f"{prefix}.attention_norm", x + self._linear(layer, "attention_output", mixed))
        inner = ar.gelu(self._linear(layer, "ffn_in", x))
        return self._norm(f"{prefix}.ffn_norm", x + self._linear(layer, "ffn_out", inner))

    def _attention(self, qkv: Floats) -> Floats:
        """[tokens, 3 hidden] -> [tokens, hidden]: all heads of one window."""
        tokens, heads = len(qkv), self.architecture.heads
        q, k, v = qkv.reshape(tokens, 3, heads, -1).transpose(1, 2, 0, 3)
        mixed = ar.attention(*ar.quantize(q), *ar.quantize(k), v)
        joined: Floats = mixed.transpose(1, 0, 2).reshape(tokens, -1)
        return joined

    def _linear(self, layer: int, name: str, x: Floats) -> Floats:
        weight, scale, bias, inverse_smooth = self.file.linear(layer, name)
        q, row_scale = ar.quantize(x * inverse_smooth)
        return ar.dequantize(ar.integer_product(q, weight), row_scale, scale, bias)

    def _norm(self, name: str, x: Floats) -> Floats:
        epsilon = F32(self.architecture.norm_epsilon)
        return ar.layer_norm(x, self.tensors[f"{name}.gamma"], self.tensors[f"{name}.beta"], epsilon)

    # Heads and decision ------------------------------------------------------------------------------------

    def logits(self, text: str, depth: int | None = None) -> Floats:
        """Largest logit over the windows, float32 [categories], after `depth` layers.

        By default of each head after as many layers as the model file says.
        """
        pooled = np.stack([self.pool(ids) for ids in self.windows(text)], axis=1)
        if depth is not None:
            largest: Floats = self.head_logits(pooled[depth], depth).max(axis=0)
            return largest
        every = np.stack([self.head_logits(states, d).max(axis=0) for d, states in enumerate(pooled)])
        columns = np.arange(every.shape[1])
        last = np.full(len(columns), self.architecture.layers)
        chosen: Floats = every[self.tensors.get("heads.depth", last), columns]
        return chosen

    def head_logits(self, pooled: Floats, depth: int) -> Floats:
        """Logits float32 [windows, categories] from pooled states [windows, hidden] of one depth."""
        dots = ar.dot_rows(pooled, self.tensors["heads.weight"][depth])
        logits: Floats = dots + self.tensors["heads.bias"][depth]
        return logits

    # Leaving early (docs/adaptive-depth.md) -----------------------------------------------------------------

    def adaptive_probabilities(self, text: str, level: int = 0) -> tuple[Floats, int]:
        """Probabilities float32 [categories] and the depth at which the last window of the text left."""
        windows = [self._adaptive_window(ids, level) for ids in self.windows(text)]
        highest: Floats = np.stack([probabilities for probabilities, _ in windows]).max(axis=0)
        return highest, max(depth for _, depth in windows)

    def _adaptive_window(self, ids: Sequence[int], level: int) -> tuple[Floats, int]:
        t = self.tensors
        thresholds, floor = t["exits.threshold"][level], t["exits.floor"][level]
        lexical = self.lexical_sum(ids)
        for depth, pooled in enumerate(self.pool(ids)):
            logits = self.head_logits(pooled[None], depth)[0]
            if depth == self.architecture.layers:
                break
            score = ar.dot_rows(pooled[None], t["exits.weight"][depth : depth + 1])[0, 0]
            score = score + t["exits.bias"][depth] + t["exits.lexical"][depth] * lexical
            score = score + t["exits.highest"][depth] * (logits - t["exits.floor_logit"]).max()
            if score < thresholds[depth]:
                probabilities = self.calibrate(t["exits.slope"][depth] * logits + t["exits.shift"][depth])
                below = np.nextafter(floor, F32(-1))
                return np.where(probabilities >= floor, below, probabilities).astype(F32), depth
        return self.calibrate(logits), self.architecture.layers

    def lexical_sum(self, ids: Sequence[int]) -> np.float32:
        """Weights of a window's tokens and pairs of neighbours, over the root of the number of tokens."""
        lexicon = self.tensors["exits.lexicon"]
        vocabulary = self.architecture.vocabulary
        tokens = np.asarray(ids, np.int64)
        pairs = pair_hashes(tokens) & (len(lexicon) - vocabulary - 1)
        total = int(lexicon[tokens[1:-1]].sum(dtype=np.int64)) + int(
            lexicon[vocabulary + pairs].sum(dtype=np.int64)
        )
        scaled = F32(total) * self.tensors["exits.lexicon.scale"][0]
        result: np.float32 = scaled / np.sqrt(F32(len(tokens)))
        return result

    def calibrate(self, logits: Floats) -> Floats:
        """Probabilities, float32 [categories]: piecewise linear between the knots, flat outside."""
        offsets = self.tensors["calibration.offsets"]
        curves = [slice(begin, end) for begin, end in pairwise(offsets)]
        return np.array([self._interpolate(x, curve) for x, curve in zip(logits, curves, strict=True)], F32)

    def _interpolate(self, x: np.float32, curve: slice) -> np.float32:
        knots = self.tensors["calibration.logit"][curve]
        probabilities = self.tensors["calibration.probability"][curve]
        i = int(np.searchsorted(knots, x, side="right")) - 1
        if i < 0 or i == len(knots) - 1:
            flat: np.float32 = probabilities[i if i > 0 else 0]
            return flat
        low, high = probabilities[i], probabilities[i + 1]
        t = (x - knots[i]) / (knots[i + 1] - knots[i])
        p: np.float32 = min(max(low + t * (high - low), low), high)
        return p

    def decide(self, probabilities: Floats) -> tuple[npt.NDArray[np.bool_], Action]:
        """Which categories are flagged, bool [categories], and the strictest action."""
        flagged = probabilities >= self.tensors["thresholds.review"]
        blocked = probabilities >= self.tensors["thresholds.block"]
        return flagged, "block" if blocked.any() else "review" if flagged.any() else "allow"


def pair_hashes(tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Hashes in [0, 2**32) of all pairs of neighbours, int64 [tokens - 1]."""
    mask = 0xFFFFFFFF
    left = tokens[:-1] * 0x9E3779B1 & mask
    right = (tokens[1:] * 0x85EBCA77 + 0x61) & mask
    hashed: npt.NDArray[np.int64] = (left ^ right) ^ (left ^ right) >> 15
    return hashed
