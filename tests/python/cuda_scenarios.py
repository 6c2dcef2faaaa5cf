"""What test_cuda.py runs in processes of their own, each with the emulated CUDA driver and its settings.

`python cuda_scenarios.py NAME FOLDER` runs the function of that name; FOLDER has the model files that
`write_models` puts there. A process each, since a driver is opened once and settings are read once.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetyclf
from safetyclf import Classifier, DeviceError, InternalError, _modelfile, _native
from tiny_model import TinyModel, random_exits

# Of the tiny model these leave at every depth, and at other ones by another level.
TEXTS = [
    "nice " * 28,
    "hello friend",
    "",
    "the angry dog loves the weather",
    "the rude cat and the tree " * 12,  # several windows
    "\u65e5\u672c book",
    "go see the river",
]
EFFORTS = ("full", "adaptive")


class Counts(ctypes.Structure):
    """Counts of tests/cpp/cuda/emulated_device.hpp."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("launches", "graph_launches", "live_bytes", "peak_bytes", "live_pieces")
    ]


def counts() -> Counts:
    """What the emulated driver did so far."""
    found = Counts()
    ctypes.CDLL("libcuda.so.1").safetyclf_emulated_counts(ctypes.byref(found))
    return found


def write_models(folder: Path) -> None:
    """Model files: with rules for leaving early, with heads at several depths, with heads of 64."""
    file = TinyModel(layers=3).build()
    _modelfile.write(folder / "tiny.safetensors", file.with_exits(random_exits(file), {"bound": 0.002}))
    file = TinyModel(layers=3).build()
    depths = np.array([2, 0, 3], np.int32)
    _modelfile.write(
        folder / "depths.safetensors", replace(file, tensors={**file.tensors, "heads.depth": depths}, id="")
    )
    file = TinyModel(hidden=128, window_tokens=70, layers=1).build()
    _modelfile.write(folder / "wide.safetensors", file.with_exits(random_exits(file), {}))


def same_bits(path: Path, texts: list[str], device: str = "cuda", efforts: tuple[str, ...] = EFFORTS) -> None:
    """Scores, depths and verdicts on the device are those on the CPU."""
    for effort in efforts:
        gpu = None  # one at a time: memory may be little
        gc.collect()
        cpu = Classifier(path, effort=effort, threads=2)
        gpu = Classifier(path, effort=effort, device=device, threads=2)
        assert gpu.device == (device if ":" in device else f"{device}:0")
        expected, found = cpu.scores(texts, depths=True), gpu.scores(texts, depths=True)
        assert found[0].tobytes() == expected[0].tobytes(), effort
        assert found[1].tolist() == expected[1].tolist()
        assert gpu.classify_batch(texts[:3]) == cpu.classify_batch(texts[:3])


def bits(folder: Path) -> None:
    """All efforts and models, a few texts, one of them alone."""
    path = folder / "tiny.safetensors"
    depths = Classifier(path, effort="adaptive").scores(TEXTS, depths=True)[1]
    assert set(depths.tolist()) == {0, 1, 2, 3}  # or else some way is not tested
    same_bits(path, TEXTS)
    same_bits(path, TEXTS[:1])
    same_bits(folder / "depths.safetensors", TEXTS[:4], efforts=("full",))
    same_bits(folder / "wide.safetensors", TEXTS[2:5])
    assert Classifier(folder / "tiny.safetensors", device="cuda").scores([]).shape == (0, 3)


def default_model(_: Path) -> None:
    """The model in the package; short texts, for they take long."""
    path = Path(safetyclf.__file__).parent / "models" / "default.safetensors"
    if path.exists():
        same_bits(path, ["hello there", "", "you are an idiot and I will find you"])


def graphs(folder: Path) -> None:
    """The first batch of a kind is launched kernel by kernel, the second recorded, the third replayed."""
    for effort in EFFORTS:
        cpu = Classifier(folder / "tiny.safetensors", effort=effort)
        gpu = Classifier(folder / "tiny.safetensors", effort=effort, device="cuda")
        before = counts().graph_launches
        for text in ("hello friend", "the dog", "a kind day", "you and they"):  # of one size
            assert gpu.scores([text]).tobytes() == cpu.scores([text]).tobytes()
        assert counts().graph_launches == before + 3
        # As large as the graph's capacity, and smaller than it.
        for texts in (TEXTS, TEXTS[:5], TEXTS[1:4], TEXTS):
            assert gpu.scores(texts).tobytes() == cpu.scores(texts).tobytes()
        assert counts().graph_launches > before + 3


def levels(folder: Path) -> None:
    """A graph belongs to a level of the rules for leaving early."""
    cpu, gpu = (Classifier(folder / "tiny.safetensors", device=device)._engine for device in ("cpu", "cuda"))
    for _ in range(3):
        found = [gpu.adaptive_probabilities(TEXTS, level)[0].tobytes() for level in (0, 1)]
        assert found == [cpu.adaptive_probabilities(TEXTS, level)[0].tobytes() for level in (0, 1)]
        assert found[0] != found[1]
    assert counts().graph_launches >= 4


def many_batches(folder: Path) -> None:
    """More than one slot takes: several are under way, and the windows of a text are in different ones."""
    texts = [*TEXTS, *(f"the cat {i} is rude " * (1 + i % 9) for i in range(60)), *TEXTS]
    same_bits(folder / "tiny.safetensors", texts)
    found = counts()
    assert found.peak_bytes <= int(os.environ["LIMIT"])


def no_room(folder: Path) -> None:
    """Too little for the model, or for one window."""
    with pytest.raises(DeviceError, match=os.environ["MESSAGE"]):
        Classifier(folder / "tiny.safetensors", device="cuda").scores(TEXTS)


def threads(folder: Path) -> None:
    """Many threads at once: more than slots, with calls of several batches and of one text."""
    path = folder / "tiny.safetensors"
    cpu, gpu = (
        Classifier(path, effort="adaptive"),
        Classifier(path, effort="adaptive", device="cuda", threads=2),
    )
    calls = [TEXTS[i % 7 : i % 7 + 1 + i % 3] for i in range(20)]
    start = threading.Barrier(8)

    def work(number: int) -> bool:
        start.wait()
        return all(
            gpu.scores(texts).tobytes() == cpu.scores(texts).tobytes() for texts in [*calls[number::4], TEXTS]
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def devices(folder: Path) -> None:
    """Two devices in one process, at once."""
    with ThreadPoolExecutor(2) as pool:
        list(
            pool.map(
                lambda device: same_bits(folder / "tiny.safetensors", TEXTS, device), ["cuda:0", "cuda:1"]
            )
        )
    with pytest.raises(DeviceError, match="there is no cuda:2: the driver shows 2 GPUs"):
        Classifier(folder / "tiny.safetensors", device="cuda:2")


def lost(folder: Path) -> None:
    """The call and all later ones say what happened; the CPU still works."""
    path = folder / "tiny.safetensors"
    gpu = Classifier(path, device="cuda")
    message = "cuda:0: working on a batch: CUDA_ERROR_LAUNCH_FAILED .*start the process again"

    def until_it_fails() -> None:
        for _ in range(100):  # how many calls it lives depends on the setting
            gpu.scores(TEXTS[:3])

    with pytest.raises(DeviceError, match=message) as first:
        until_it_fails()
    with pytest.raises(DeviceError, match=message) as again:
        gpu.classify("hello")
    assert str(again.value) == str(first.value)
    with pytest.raises(DeviceError, match="CUDA_ERROR_LAUNCH_FAILED"):
        Classifier(path, device="cuda")
    assert Classifier(path, device="auto").device == "cpu"
    assert gpu.classify_batch([]) == []
    assert Classifier(path).scores(TEXTS).shape == (7, 3)


def refused(folder: Path) -> None:
    """No driver or device that would do: an error for "cuda", the CPU and a reason for "auto"."""
    path = folder / "tiny.safetensors"
    with pytest.raises(DeviceError, match=os.environ["MESSAGE"]) as refusal:
        Classifier(path, device="cuda")
    fallen = Classifier(path, device="auto")
    assert (fallen.device, fallen.device_note) == ("cpu", str(refusal.value))
    assert fallen.info()["device_note"] == str(refusal.value)
    assert fallen.scores(TEXTS).tobytes() == Classifier(path).scores(TEXTS).tobytes()
    assert Classifier(path).device_note is None


def auto(folder: Path) -> None:
    """Takes the GPU, unless an option is for the CPU alone."""
    path = folder / "tiny.safetensors"
    taken = Classifier(path, device="auto")
    assert (taken.device, taken.device_note) == ("cuda:0", None)
    bounded = Classifier(path, device="auto", max_memory=1 << 30)
    assert (bounded.device, bounded.device_note) == ("cpu", "max_memory is for the CPU")
    os.environ["SAFETYCLF_DEVICE"] = "cuda:0"
    assert Classifier(path).info()["device"] == "cuda:0"
    assert "cuda:0" in repr(Classifier(path))


def fork(folder: Path) -> None:
    """A child works on the CPU, also one that was forked while calls were under way. So do its children."""
    path = folder / "tiny.safetensors"
    gpu = Classifier(path, device="cuda", effort="adaptive")
    expected = gpu.scores(TEXTS).tobytes()
    stop = threading.Event()

    def calls() -> None:
        while not stop.is_set():
            assert gpu.scores(TEXTS[:3]).tobytes() == expected[: 3 * 3 * 4]

    def child() -> bool:
        same = gpu.device == "cpu" and gpu.scores(TEXTS).tobytes() == expected
        return same and in_child(lambda: gpu.scores(TEXTS).tobytes() == expected)

    caller = threading.Thread(target=calls)
    caller.start()
    assert all(in_child(child) for _ in range(3))
    stop.set()
    caller.join()

    def dropped() -> bool:
        nonlocal gpu
        del gpu
        return gc.collect() >= 0

    def made_there() -> bool:
        with pytest.raises(DeviceError, match="does not survive fork"):
            Classifier(path, device="cuda")
        return Classifier(path, device="auto").device == "cpu"

    assert in_child(made_there)
    assert in_child(dropped)  # without a call to the driver, which would end it
    assert gpu.scores(TEXTS).tobytes() == expected


def in_child(work: Callable[[], bool]) -> bool:
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def pickles(folder: Path) -> None:
    """The option travels, the device does not: "auto" is asked again."""
    for device in ("cuda", "auto"):
        there = pickle.loads(pickle.dumps(Classifier(folder / "tiny.safetensors", device=device)))
        assert there.device == "cuda:0"


def on_the_cpu(folder: Path) -> None:
    """What does not score texts runs on the CPU."""
    path = folder / "tiny.safetensors"
    cpu, gpu = Classifier(path), Classifier(path, device="cuda")
    texts = TEXTS[:4]
    engines = [classifier._engine for classifier in (cpu, gpu)]
    windows, _ = (engine.tokenize(texts[3]) for engine in engines)
    for found in (
        [engine.logits(texts, 1)[0].tobytes() for engine in engines],
        [engine.pooled(texts)[0].tobytes() for engine in engines],  # type: ignore[attr-defined]
        [engine.explain(texts[3], 0) for engine in engines],
        [engine.window_probabilities(windows[0], windows[3], 0) for engine in engines],
    ):
        assert found[0] == found[1]
    assert counts().launches == 0


def batcher(folder: Path) -> None:
    """The server's way to score."""
    path = folder / "tiny.safetensors"
    cpu, gpu = Classifier(path), Classifier(path, device="cuda")
    queue = _native.Batcher(
        gpu._engine,  # type: ignore[arg-type]
        batch_tokens=1024,
        max_wait=0.01,
        queue_requests=64,
        queue_bytes=1 << 20,
    )
    numbers = [queue.submit([text], gpu._in_force.native, None) for text in TEXTS]
    answers: dict[int, Any] = {}
    while len(answers) < len(numbers):
        time.sleep(0.01)
        answers.update({number: states for number, states, *_ in queue.take()[0]})
    queue.close()
    assert [answers[n][0] for n in numbers] == cpu._engine.verdicts(TEXTS, cpu._in_force.native, None)
    assert counts().launches > 0


def leaks(folder: Path) -> None:
    """What classifiers take they give back, those that failed to open included."""
    for effort in EFFORTS:
        gpu = Classifier(folder / "tiny.safetensors", effort=effort, device="cuda")
        for texts in (TEXTS[:1], TEXTS[:2], TEXTS[:1], TEXTS):
            gpu.scores(texts)
        assert counts().live_pieces >= 3
        del gpu
        gc.collect()
        assert (counts().live_pieces, counts().live_bytes) == (0, 0)


def not_finite(folder: Path) -> None:
    """An error, never a verdict; the next call works."""
    file = TinyModel().build()
    bias = np.array(file.tensors["heads.bias"])
    weight = np.array(file.tensors["heads.weight"])
    bias[...] = 0
    weight[:, 1] = 3e38
    file = replace(file, tensors={**file.tensors, "heads.bias": bias, "heads.weight": weight}, id="")
    path = folder / "overflows.safetensors"
    _modelfile.write(path, file.with_exits(random_exits(file), {}))
    for effort in EFFORTS:
        for device in ("cpu", "cuda"):
            with pytest.raises(InternalError, match="a logit is not finite"):
                Classifier(path, device=device, effort=effort).scores(TEXTS[:3])


def info(folder: Path) -> None:
    """Prints what a command would show."""
    print(json.dumps(Classifier(folder / "tiny.safetensors", device="auto").info()))


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
