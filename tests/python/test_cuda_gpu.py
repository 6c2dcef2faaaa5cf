"""What only a GPU can tell: run by `pytest -m gpu` on a machine that has one, skipped elsewhere."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import safetyclf
from safetyclf import Classifier, DeviceError

pytestmark = pytest.mark.gpu
MODEL = Path(safetyclf.__file__).parent / "models" / "default.safetensors"
WORDS = [
    "you",
    "are",
    "the",
    "worst",
    "person",
    "nice",
    "weather",
    "today",
    "stop",
    "it",
    "please",
    "how",
    "thanks",
]


@pytest.fixture(scope="module", autouse=True)
def driver() -> ctypes.CDLL:
    """The driver; skips where a classifier on the GPU cannot be had."""
    if not MODEL.exists():
        pytest.skip("the package was built without its model")
    try:
        Classifier(MODEL, device="cuda")
    except DeviceError as error:
        pytest.skip(f"no GPU: {error}")
    return ctypes.CDLL("libcuda.so.1")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """20,000 of all lengths, from nothing to several windows."""
    numbers = np.random.default_rng(1)
    lengths = np.minimum(numbers.geometric(0.04, 20_000) - 1, 1_200)
    lengths[:20] = 700
    return [" ".join(numbers.choice(WORDS, length)) for length in lengths]


@pytest.mark.parametrize("effort", ["full", "adaptive"])
def test_bits(effort: safetyclf._classifier.Effort, texts: list[str]) -> None:
    cpu = Classifier(MODEL, effort=effort).scores(texts, depths=True)
    gpu = Classifier(MODEL, effort=effort, device="cuda")
    for _ in range(3):
        found = gpu.scores(texts, depths=True)
        assert found[0].tobytes() == cpu[0].tobytes()
        assert (found[1] == cpu[1]).all()
    # One by one and in fours: graphs.
    for size in (1, 4):
        for first in range(0, 400, size):
            row = gpu.scores(texts[first : first + size])
            assert row.tobytes() == cpu[0][first : first + size].tobytes(), first


def test_threads(texts: list[str]) -> None:
    expected = Classifier(MODEL).scores(texts[:3000])
    gpu = Classifier(MODEL, device="cuda")

    def work(number: int) -> bool:
        rows = slice(number * 100, number * 100 + 100 + 150 * (number % 5))
        return all(gpu.scores(texts[rows]).tobytes() == expected[rows].tobytes() for _ in range(5))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))


@contextmanager
def context(driver: ctypes.CDLL) -> Iterator[None]:
    handle = ctypes.c_void_p()
    assert driver.cuDevicePrimaryCtxRetain(ctypes.byref(handle), 0) == 0
    assert driver.cuCtxPushCurrent_v2(handle) == 0
    try:
        yield
    finally:
        driver.cuCtxPopCurrent_v2(ctypes.byref(handle))
        driver.cuDevicePrimaryCtxRelease_v2(0)


def free_bytes(driver: ctypes.CDLL) -> int:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    assert driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
    return free.value


def test_memory_comes_back(driver: ctypes.CDLL, texts: list[str]) -> None:
    with context(driver):
        left = []
        for _ in range(4):
            gpu = Classifier(MODEL, device="cuda")
            gpu.scores(texts[:2000])
            del gpu
            gc.collect()
            left.append(free_bytes(driver))
    # Other programs may come and go; a classifier with three slots takes far more than this.
    assert left[-1] >= left[0] - (64 << 20)


def scores_unless_full(gpu: Classifier, texts: list[str]) -> npt.NDArray[np.float32] | None:
    try:
        return gpu.scores(texts)
    except DeviceError as error:
        if "OUT_OF_MEMORY" not in str(error):
            raise
        return None


def test_little_memory(driver: ctypes.CDLL, texts: list[str]) -> None:
    """The GPU is filled up but for some MiB: smaller batches, or a clear error; afterwards all is well."""
    expected = Classifier(MODEL).scores(texts[:4000])
    gpu = Classifier(MODEL, device="cuda")
    with context(driver):
        pieces = []
        for bits in range(36, 22, -1):
            piece = ctypes.c_ulonglong()
            while driver.cuMemAlloc_v2(ctypes.byref(piece), ctypes.c_size_t(1 << bits)) == 0:
                pieces.append(piece.value)
        try:
            found = None
            while found is None:
                found = scores_unless_full(gpu, texts[:4000])
                if found is None:  # smallest pieces first
                    driver.cuMemFree_v2(ctypes.c_ulonglong(pieces.pop()))
            assert found.tobytes() == expected.tobytes()
        finally:
            for memory in pieces:
                driver.cuMemFree_v2(ctypes.c_ulonglong(memory))
    assert gpu.scores(texts[:4000]).tobytes() == expected.tobytes()
