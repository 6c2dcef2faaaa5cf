"""ONNX models in many threads, in forked processes and on devices; and that nobody is told of them."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from onnx_models import CORPUS, write_model
from safetyclf import Classifier, InvalidArgumentError, SafetyclfError
from safetyclf.onnx.runtime import load_runtime

TEXTS = ["", *CORPUS, CORPUS[0] * 5]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path)


@pytest.fixture
def onnx_classifier(model: Path) -> Classifier:
    return Classifier(model, threads=2)


def test_threads(onnx_classifier: Classifier) -> None:
    texts = TEXTS * 10
    expected = onnx_classifier.scores(texts).tobytes()
    start = threading.Barrier(8)

    def work(_: int) -> bool:
        start.wait()
        return all(onnx_classifier.scores(texts).tobytes() == expected for _ in range(5))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_goes_on(onnx_classifier: Classifier) -> None:
    texts = TEXTS * 10
    expected = onnx_classifier.scores(texts).tobytes()
    results: Any = multiprocessing.get_context("fork").SimpleQueue()

    def work() -> None:
        threads = [
            threading.Thread(target=lambda: results.put(onnx_classifier.scores(texts).tobytes()))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    children = [multiprocessing.get_context("fork").Process(target=work) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert [results.get() == expected for _ in range(6)] == [True] * 6
    assert onnx_classifier.scores(texts).tobytes() == expected


@pytest.mark.parametrize("call", ["pass", "classifier.scores(['dog'])"])
def test_a_forked_child_can_end(call: str, model: Path) -> None:
    """Its interpreter takes everything apart and must not wait for threads that stayed with the parent."""
    program = f"""
import os, safetyclf
classifier = safetyclf.Classifier({str(model)!r}, threads=3)
classifier.scores(["dog"] * 100)
child = os.fork()
{call}
if child:
    raise SystemExit(os.waitpid(child, 0)[1])
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_notices_that_files_have_changed(onnx_classifier: Classifier, model: Path) -> None:
    (model.parent / "tokenizer.json").write_text("{}")
    results: Any = multiprocessing.get_context("fork").SimpleQueue()

    def work() -> None:
        try:
            onnx_classifier.classify("dog")
        except SafetyclfError as error:
            results.put(str(error))

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert "a file of the model has changed" in results.get()


def test_nothing_is_reported_to_anybody(model: Path) -> None:
    """ONNX Runtime's telemetry has a thread of its own, and is off."""
    program = f"""
import os, safetyclf
safetyclf.Classifier({str(model)!r}, threads=1)
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
print(len(os.listdir("/proc/self/task")))
"""
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stdout == "1\n"


def test_devices(model: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    fallen = Classifier(model, device="auto")
    assert fallen.info()["architecture"]["device"] == fallen.device == "cpu"
    assert "ONNX Runtime has no CUDA" in str(fallen.device_note)
    with pytest.raises(
        InvalidArgumentError, match="'cuda:1' is not for ONNX models; allowed: 'cpu', 'cuda', 'auto'"
    ):
        Classifier(model, device="cuda:1")
    with pytest.raises(InvalidArgumentError, match=r"has no CUDA: .*safetyclf\[onnx-gpu\]"):
        Classifier(model, device="cuda")


class WithCuda:
    """ONNX Runtime that says it has CUDA, and starts it or not. The model runs on the CPU all the same."""

    def __init__(self, starts: bool) -> None:
        runtime = load_runtime()
        self.__version__, self.SessionOptions = runtime.__version__, runtime.SessionOptions
        self._starts = starts

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, path: str, options: Any, providers: list[str]) -> Any:
        session = load_runtime().InferenceSession(path, options, providers=["CPUExecutionProvider"])
        if self._starts:
            session.get_providers = lambda: providers
        return session


def test_the_device_of_the_environment(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safetyclf.onnx.session.load_runtime", lambda: WithCuda(starts=True))
    monkeypatch.setenv("SAFETYCLF_DEVICE", "cuda")
    assert Classifier(model).info()["isa"].endswith(" cuda")
    assert Classifier(model, device="cpu").info()["isa"].endswith(" cpu")
    monkeypatch.setenv("SAFETYCLF_DEVICE", "tpu")
    with pytest.raises(
        InvalidArgumentError, match=r"device='tpu'; allowed: 'cpu', 'cuda', 'cuda:1', \.\.\., 'auto'"
    ):
        Classifier(model)


def test_cuda_that_does_not_start(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safetyclf.onnx.session.load_runtime", lambda: WithCuda(starts=False))
    assert Classifier(model, device="auto").info()["architecture"]["device"] == "cpu"
    with pytest.raises(InvalidArgumentError, match="ONNX Runtime could not start CUDA"):
        Classifier(model, device="cuda")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_cuda_is_refused_after_a_fork(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safetyclf.onnx.session.load_runtime", lambda: WithCuda(starts=True))
    classifier = Classifier(model, device="auto")
    assert classifier.info()["isa"].endswith(" cuda")
    assert Classifier(model).info()["isa"].endswith(" cpu")
    results: Any = multiprocessing.get_context("fork").SimpleQueue()

    def work() -> None:
        try:
            classifier.classify("dog")
        except SafetyclfError as error:
            results.put(str(error))

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert "CUDA does not survive a fork" in results.get()
