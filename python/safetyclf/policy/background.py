"""Background: pooled vectors of ordinary texts, against which heads of custom categories are fitted.

The bank in the package holds vectors of the model in the package, not texts; scripts/make_background.py makes
it. They say nothing about another model's vectors, so another model needs texts. docs/custom-categories.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .._errors import PolicyError
from .._jsonl import read_objects
from .._native import Engine

BANK: Final = Path(__file__).resolve().parents[1] / "models" / "background.npz"
MIN_TEXTS: Final = 200  # half of them are for fitting: fewer than 100 do not give means and deviations
_AT_A_TIME: Final = 256


def reading_depth(layers: int) -> int:
    """After how many layers of a model custom categories are read: two thirds, 4 of 6.

    The last layers have forgotten what their own categories did not need (docs/custom-categories.md).
    """
    return (2 * layers + 2) // 3


Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pooled:
    """Mean-pooled vectors after `reading_depth` layers.

    Attributes:
        vectors: float32 [windows, hidden].
        offsets: int64 [texts + 1]; text i has the windows offsets[i] .. offsets[i + 1].
    """

    vectors: Vectors
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, texts: npt.NDArray[np.int64]) -> Pooled:
        """These texts, in this order."""
        counts = np.diff(self.offsets)[texts]
        windows = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in texts.tolist()]
        chosen = np.concatenate(windows) if windows else np.zeros(0, np.int64)
        return Pooled(self.vectors[chosen], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    def shares(self) -> npt.NDArray[np.float64]:
        """What each window weighs [windows]: all windows of a text together 1."""
        counts = np.diff(self.offsets)
        return np.repeat(1.0 / counts, counts)

    def logits(self, weight: npt.NDArray[Any], bias: float) -> npt.NDArray[np.float64]:
        """A head's logit of each text, the highest of its windows' [texts]."""
        values = self.vectors.astype(np.float64) @ np.asarray(weight, np.float64) + float(bias)
        highest: npt.NDArray[np.float64] = np.maximum.reduceat(values, self.offsets[:-1])
        return highest


@dataclass(frozen=True)
class Background:
    """Ordinary texts of one model.

    Attributes:
        fitting, held_out: no text is in both.
        rounding: standard deviation of what rounding took from each of the hidden numbers [hidden].
        origin: what it was made of, in JSON types.
    """

    fitting: Pooled
    held_out: Pooled
    rounding: npt.NDArray[np.float64]
    origin: Mapping[str, Any]


def pool(engine: Engine, texts: Sequence[str]) -> Pooled:
    """The vectors that the engine's heads of custom categories see."""
    depth = reading_depth(engine.depths - 1)
    vectors, counts = [np.zeros((0, engine.hidden), np.float32)], [np.zeros(0, np.int64)]
    for begin in range(0, len(texts), _AT_A_TIME):
        every_depth, offsets = engine.pooled(list(texts[begin : begin + _AT_A_TIME]))
        vectors.append(np.ascontiguousarray(every_depth[:, depth]))
        counts.append(np.diff(offsets).astype(np.int64))
    ends = np.cumsum(np.concatenate(counts))
    return Pooled(np.concatenate(vectors), np.concatenate([[0], ends]).astype(np.int64))


def from_texts(engine: Engine, texts: Sequence[str]) -> Background:
    """A background of one's own texts; which half a text falls into depends on the texts alone.

    Raises PolicyError when there are too few.
    """
    distinct = sorted(set(texts), key=lambda text: hashlib.sha256(_bytes(text)).digest())
    if len(distinct) < MIN_TEXTS:
        raise PolicyError(f"background: {len(distinct)} different texts; give at least {MIN_TEXTS}")
    everything = pool(engine, distinct)
    half = len(distinct) // 2
    digest = hashlib.sha256(b"".join(hashlib.sha256(_bytes(text)).digest() for text in distinct))
    return Background(
        fitting=everything.take(np.arange(half)),
        held_out=everything.take(np.arange(half, len(distinct))),
        rounding=np.zeros(engine.hidden),
        origin={"texts": "the user's", "sha256": digest.hexdigest()},
    )


def read_texts(path: str | os.PathLike[str]) -> list[str]:
    """The key `text` of each line of a JSON lines file.

    Raises DataFileError when it cannot be read, PolicyError for a line without text.
    """
    texts = []
    for place, value in read_objects(Path(path)):
        text = value.get("text")
        if not isinstance(text, str) or not text.strip():
            raise PolicyError(f"{place}: needs a 'text' that is not empty")
        texts.append(text)
    return texts


def save_bank(
    path: Path, vectors: Pooled, fitting: int, weights_sha256: str, origin: Mapping[str, Any]
) -> None:
    """Writes a bank in 8 bits; its first `fitting` texts are for fitting. Same input, same bytes."""
    centre = vectors.vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = vectors.vectors - centre
    scale = np.maximum(np.abs(centred).max(axis=0) / np.float32(127), np.finfo(np.float32).tiny)
    description = {**origin, "weights_sha256": weights_sha256, "fitting": fitting}
    np.savez_compressed(
        path,
        vectors=np.rint(centred / scale).astype(np.int8),
        centre=centre,
        scale=scale,
        windows=np.diff(vectors.offsets).astype(np.uint8),
        description=np.frombuffer(json.dumps(description, sort_keys=True).encode(), np.uint8),
    )


def load_bank(weights_sha256: str, path: Path = BANK) -> Background:
    """The bank in the package.

    Raises PolicyError when it is not there, or of other weights than these.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            arrays = {name: file[name] for name in file.files}
        description = json.loads(arrays["description"].tobytes())
        fitting, made_for = description.pop("fitting"), description.pop("weights_sha256")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise PolicyError(f"{path}: cannot read the background: {error}; install the package again") from None
    if made_for != weights_sha256:
        raise PolicyError(
            "the background in the package was made with other weights than this model's; "
            "give texts of your own: --background TEXTS.jsonl"
        )
    vectors = arrays["vectors"] * arrays["scale"] + arrays["centre"]
    offsets = np.concatenate([[0], np.cumsum(arrays["windows"], dtype=np.int64)])
    everything = Pooled(vectors.astype(np.float32), offsets)
    return Background(
        fitting=everything.take(np.arange(fitting)),
        held_out=everything.take(np.arange(fitting, len(everything))),
        rounding=arrays["scale"].astype(np.float64) / np.sqrt(12),  # uniform within a step
        origin={**description, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
