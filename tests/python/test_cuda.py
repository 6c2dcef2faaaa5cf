"""device="cuda" from texts to verdicts, on the emulated driver of tests/cpp/cuda: bits, limits, failures.

Nothing here runs on a GPU; test_cuda_gpu.py does. docs/cuda.md says what that proves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cuda_scenarios
import pytest
import safetyclf

HERE = Path(__file__).resolve().parent
EMULATED = Path(safetyclf.__file__).resolve().parent / "_emulated_cuda"
FAST = "plain_linear=1"  # tests of the host need no emulated tensor cores


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cuda")
    cuda_scenarios.write_models(folder)
    return folder


def run(scenario: str, folder: Path, settings: str = FAST, *, driver: Path = EMULATED, **more: str) -> str:
    """Runs a scenario in a process of its own; what it prints."""
    if driver == EMULATED and not (EMULATED / "libcuda.so.1").exists():
        pytest.skip("built without the emulated driver, as with ThreadSanitizer")
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", HERE / "cuda_scenarios.py", scenario, folder],
        env={
            **os.environ,
            **more,
            "LD_LIBRARY_PATH": str(driver),
            "SAFETYCLF_EMULATED_CUDA": settings,
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


# The order in which the threads of a block run must not matter: 0 forward, 1 backward, 2 random.
@pytest.mark.parametrize("settings", ["capability=75 order=1", "capability=80", "capability=90 order=2"])
def test_bits_are_those_of_the_cpu(settings: str, folder: Path) -> None:
    run("bits", folder, settings)


def test_bits_of_the_model_in_the_package(folder: Path) -> None:
    run("default_model", folder)


@pytest.mark.parametrize(
    "scenario",
    [
        "graphs",
        "levels",
        "threads",
        "auto",
        "fork",
        "pickles",
        "on_the_cpu",
        "batcher",
        "leaks",
        "not_finite",
    ],
)
def test_host(scenario: str, folder: Path) -> None:
    run(scenario, folder)


def test_several_devices(folder: Path) -> None:
    run("devices", folder, f"{FAST} devices=2")


@pytest.mark.parametrize("memory", [500_000, 2_000_000])
def test_little_memory_makes_batches_smaller(memory: int, folder: Path) -> None:
    run("many_batches", folder, f"{FAST} memory={memory}", LIMIT=str(memory))


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        (100_000, "cuda:0: taking memory of the device: CUDA_ERROR_OUT_OF_MEMORY .*the model needs"),
        (160_000, "CUDA_ERROR_OUT_OF_MEMORY .*not even one window fits .*use device='cpu'"),
    ],
)
def test_too_little_memory(memory: int, message: str, folder: Path) -> None:
    run("no_room", folder, f"{FAST} memory={memory}", MESSAGE=message)


@pytest.mark.parametrize("launches", [0, 10, 100])
def test_a_device_that_fails(launches: int, folder: Path) -> None:
    run("lost", folder, f"{FAST} lost_after={launches}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("devices=0", "the NVIDIA driver finds no GPU"),
        ("version=12020", "driver is too old: it knows CUDA 12.2, needed is at least 12.4 .*update it"),
        ("init=803", "the NVIDIA driver does not start: CUDA_ERROR_OTHER"),
        ("image=209", r"cuda:0 \(Emulated GPU, sm_80\): the driver, which knows CUDA 13.0, takes none"),
        ("image=200 version=12060", "which knows CUDA 12.6, takes none .*update the driver to 580 or newer"),
    ],
)
def test_a_driver_that_will_not_do(settings: str, message: str, folder: Path) -> None:
    run("refused", folder, settings, MESSAGE=message)


def test_no_driver(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_text("not a library")
    run(
        "refused", folder, driver=tmp_path, MESSAGE=r"no NVIDIA driver: libcuda.so.1 could not .*device='cpu'"
    )


def test_build_info_and_commands_say_where() -> None:
    build = safetyclf.build_info()
    assert build["cuda"] == bool(build["cuda_architectures"])
    command = [sys.executable, "-m", "safetyclf", "info", "--device", "cpu"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "\ndevice        cpu (" in shown
