"""A tiny model with every part of a real one: 64 hidden, 2 layers of 2 heads, windows of 30 tokens.

It is the same on every machine: all numbers come from SHAKE-256 of a seed, not from a random generator
whose stream could change with numpy. The encoder is random, so scores mean nothing; ranges are like those
of trained models.

Run as a program, `python tiny_model.py FILE` writes the default one.
"""

from __future__ import annotations

import hashlib
import os
import string
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from safetyclf import _modelfile
from safetyclf._modelfile import Architecture, Category, ModelFile, ModelInfo, TokenizerInfo

WORDS = """
the an and or not is are was be to of in on for with you we they he she it this that good bad nice kind
rude happy sad angry friend people thing day time weather music food game team city river tree book house
dog cat bird red blue green one two three hello please thank sorry help stop go come see say think know
like love hate want need make take give tell ask
"""
ENDINGS = "ed ing er ly ness ful est able tion"
CHARACTERS = string.ascii_lowercase + string.digits


def vocabulary() -> list[str]:
    """Special tokens, punctuation, letters and digits, words, endings, two ideographs."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *string.punctuation]
    tokens += [*CHARACTERS, *(f"##{character}" for character in CHARACTERS)]
    tokens += [*WORDS.split(), *(f"##{ending}" for ending in ENDINGS.split())]
    return [*tokens, "\u65e5", "\u672c"]


@dataclass
class Numbers:
    """Uniform numbers from SHAKE-256; every tensor has a stream of its own, named by the tensor."""

    seed: int

    def uniform(self, name: str, shape: tuple[int, ...], low: float, high: float) -> npt.NDArray[np.float32]:
        """float32 in [low, high)."""
        return (low + (high - low) * self._fractions(name, shape)).astype(np.float32)

    def int8(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.int8]:
        """int8 in [-127, 127], rounded sums of two uniform numbers: small values are more frequent."""
        pair = self._fractions(name, (2, *shape))
        values: npt.NDArray[np.int8] = np.rint(127 * (pair[0] + pair[1] - 1)).astype(np.int8)
        return values

    def _fractions(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        count = int(np.prod(shape))
        data = hashlib.shake_256(f"{self.seed} {name}".encode()).digest(4 * count)
        return (np.frombuffer(data, "<u4") / 2.0**32).reshape(shape)


@dataclass(frozen=True, kw_only=True)
class TinyModel:
    """What to make. `rules` are normalisation rules of docs/text.md."""

    seed: int = 1
    hidden: int = 64
    layers: int = 2
    heads: int = 2
    intermediate: int = 128
    window_tokens: int = 30
    overlap_tokens: int = 8
    rules: tuple[str, ...] = ()
    categories: tuple[Category, ...] = field(
        default=(
            Category(name="harassment", coverage="trained"),
            Category(name="illicit", coverage="none"),
            Category(name="violence", coverage="weak"),
            Category(name="violence/graphic", coverage="derived"),
        )
    )

    def build(self) -> ModelFile:
        """A complete model file, with heads, calibration and thresholds."""
        tokens = vocabulary()
        architecture = Architecture(
            hidden=self.hidden,
            layers=self.layers,
            heads=self.heads,
            intermediate=self.intermediate,
            positions=self.window_tokens + 2,
            vocabulary=len(tokens),
            norm_epsilon=1e-12,
        )
        scored = sum(category.coverage != "none" for category in self.categories)
        return ModelFile(
            info=ModelInfo(
                name="tiny", version="0.1.0", licence="Apache-2.0", description="random numbers for tests"
            ),
            architecture=architecture,
            tokenizer=TokenizerInfo(
                window_tokens=self.window_tokens, overlap_tokens=self.overlap_tokens, rules=self.rules
            ),
            tensors={**self._encoder(architecture), **self._decision(architecture, scored)}
            | {"tokenizer.vocabulary": _modelfile.vocabulary_tensor(tokens)},
            categories=self.categories,
            calibration={"numerics_revision": _modelfile.NUMERICS_REVISION, "data_sha256": "0" * 64, "n": 0},
        )

    def write(self, path: str | os.PathLike[str]) -> ModelFile:
        """Writes the model file; returns it with its id."""
        return _modelfile.write(path, self.build())

    def _encoder(self, a: Architecture) -> Mapping[str, npt.NDArray[Any]]:
        numbers = Numbers(self.seed)
        tensors: dict[str, npt.NDArray[Any]] = {}

        def uniform(name: str, shape: tuple[int, ...], low: float, high: float) -> None:
            tensors[name] = numbers.uniform(name, shape, low, high)

        def norm(name: str) -> None:
            uniform(f"{name}.gamma", (a.hidden,), 0.7, 1.3)
            uniform(f"{name}.beta", (a.hidden,), -0.2, 0.2)

        tensors["encoder.words.weight"] = numbers.int8("encoder.words.weight", (a.vocabulary, a.hidden))
        uniform("encoder.words.scale", (a.vocabulary,), 0.001, 0.002)
        uniform("encoder.positions", (a.positions, a.hidden), -0.05, 0.05)
        norm("encoder.embedding_norm")
        for layer in range(a.layers):
            prefix = f"encoder.layers.{layer}"
            for linear, (n, k) in a.linear_shapes().items():
                tensors[f"{prefix}.{linear}.weight"] = numbers.int8(f"{prefix}.{linear}.weight", (n, k))
                # Outputs of order 1: the root mean square of an int8 weight is 127 / sqrt(6) = 52.
                uniform(f"{prefix}.{linear}.scale", (n,), 0.7 / 52 / k**0.5, 1.3 / 52 / k**0.5)
                uniform(f"{prefix}.{linear}.bias", (n,), -0.3, 0.3)
                uniform(f"{prefix}.{linear}.inverse_smooth", (k,), 0.5, 2.0)
            norm(f"{prefix}.attention_norm")
            norm(f"{prefix}.ffn_norm")
        return tensors

    def _decision(self, a: Architecture, scored: int) -> Mapping[str, npt.NDArray[Any]]:
        numbers = Numbers(self.seed)
        knots = 4
        logit = np.tile(np.linspace(-2, 2, knots, dtype=np.float32), scored)
        probability = np.sort(numbers.uniform("calibration.probability", (scored, knots), 0.02, 0.98), axis=1)
        review = numbers.uniform("thresholds.review", (scored,), 0.3, 0.6)
        return {
            "heads.weight": numbers.uniform("heads.weight", (a.layers + 1, scored, a.hidden), -0.5, 0.5),
            "heads.bias": numbers.uniform("heads.bias", (a.layers + 1, scored), -0.2, 0.2),
            "calibration.offsets": np.arange(0, knots * scored + 1, knots, dtype=np.int32),
            "calibration.logit": logit,
            "calibration.probability": probability.reshape(-1),
            "thresholds.review": review,
            "thresholds.block": review + np.float32(0.2),
        }


def random_exits(file: ModelFile, threshold: float = 0.0) -> Mapping[str, npt.NDArray[Any]]:
    """Rules for leaving early by which about half of the windows leave at each depth."""
    a, c, numbers, pairs = file.architecture, len(file.scored), Numbers(7), 64
    rules: dict[str, npt.NDArray[Any]] = {
        "lexicon": numbers.int8("lexicon", (a.vocabulary + pairs,)),
        "lexicon.scale": np.array([0.01], np.float32),
        "weight": numbers.uniform("weight", (a.layers, a.hidden), -0.3, 0.3),
        "slope": numbers.uniform("slope", (a.layers, c), 0.5, 1.5),
        "shift": numbers.uniform("shift", (a.layers, c), -0.5, 0.5),
        "floor_logit": numbers.uniform("floor_logit", (c,), -0.2, 0.2),
        "floor": np.array([[0.25] * c, [0.125] * c], np.float32),
        "threshold": np.stack([np.full(a.layers, threshold - lower, np.float32) for lower in (0, 0.3)]),
    }
    for name in ("bias", "lexical", "highest"):
        rules[name] = numbers.uniform(name, (a.layers,), -0.2, 0.8)
    return rules


if __name__ == "__main__":
    print(TinyModel().write(sys.argv[1]).id)
