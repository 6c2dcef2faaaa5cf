"""Pooled features of texts at every depth, computed by the native engine and kept in a cache folder.

Texts go through the engine in chunks. A chunk's file is named by the hash of the encoder and of its texts, so
an interrupted pass goes on where it stopped, and other data or another encoder can never meet a stale file.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .._modelfile import NUMERICS_REVISION
from .._native import Engine

CHUNK_TEXTS = 2048


@dataclass(frozen=True)
class Features:
    """Mean-pooled hidden states of n texts.

    Attributes:
        pooled: float16 [depths, windows, hidden]; half precision is far finer than what int8 layers left.
        offsets: int64 [n + 1]; text i has the windows offsets[i] .. offsets[i + 1].
    """

    pooled: npt.NDArray[np.float16]
    offsets: npt.NDArray[np.int64]

    def text_of_window(self) -> npt.NDArray[np.int64]:
        """int64 [windows]: the text that each window belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def compute_features(
    engine: Engine, weights_sha256: str, texts: Sequence[str], cache: Path, report: Callable[[str], None]
) -> Features:
    """Features of `texts`, from the cache where they are there.

    Needs about 5.4 kB of memory and of disk a text for the default encoder.
    """
    cache.mkdir(parents=True, exist_ok=True)
    pooled: list[npt.NDArray[np.float16]] = []
    counts: list[npt.NDArray[np.int64]] = []
    started = time.monotonic()
    computed = 0
    for begin in range(0, len(texts), CHUNK_TEXTS):
        chunk = texts[begin : begin + CHUNK_TEXTS]
        path = cache / f"pooled-{_chunk_name(weights_sha256, chunk)}.npz"
        arrays = _load(path)
        if arrays is None:
            arrays = _compute(engine, chunk)
            _save(path, *arrays)
            computed += len(chunk)
            done = begin + len(chunk)
            rate = computed / (time.monotonic() - started)
            left = (len(texts) - done) / rate / 60
            report(f"features: {done}/{len(texts)} texts, {rate:.0f} texts/s, {left:.1f} minutes left")
        pooled.append(arrays[0])
        counts.append(arrays[1])
    if not computed:
        report(f"features: all {len(texts)} texts were in the cache")
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return Features(np.concatenate(pooled, axis=1), offsets)


def _chunk_name(weights_sha256: str, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(f"{weights_sha256} {NUMERICS_REVISION}".encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8")).digest())
    return digest.hexdigest()[:32]


def _compute(engine: Engine, texts: Sequence[str]) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]]:
    pooled, offsets = engine.pooled(list(texts))
    by_depth = np.ascontiguousarray(pooled.transpose(1, 0, 2), np.float16)
    counts: npt.NDArray[np.int64] = np.diff(offsets).astype(np.int64)
    return by_depth, counts


def _load(path: Path) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]] | None:
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            return file["pooled"], file["counts"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # absent, or not ours: it is made again


def _save(path: Path, pooled: npt.NDArray[np.float16], counts: npt.NDArray[np.int64]) -> None:
    # Renamed when complete: an interrupted run leaves no half file under the final name.
    handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=path.parent)
    with os.fdopen(handle, "wb") as stream:
        np.savez(stream, pooled=pooled, counts=counts)
    os.replace(temporary, path)
