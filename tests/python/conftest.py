"""What the tests of the Python package share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetyclf
from hypothesis import HealthCheck, settings
from places import BUNDLED, REPOSITORY

# Before anything imports it: ONNX Runtime reports to its maker otherwise.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# The same examples in every run; SAFETYCLF_FULL=1 tries many more.
settings.register_profile(
    "safetyclf",
    deadline=None,
    derandomize=True,
    max_examples=500 if os.environ.get("SAFETYCLF_FULL") == "1" else 30,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("safetyclf")


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> Iterator[None]:
    # SAFETYCLF_ISA stays: scripts/isas.sh runs the tests with each.
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SAFETYCLF_MODEL", "SAFETYCLF_THREADS", "SAFETYCLF_DEVICE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_reaches_child_processes() -> None:
    # Shells start background jobs with SIGINT ignored, and child processes would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with random weights; its windows have 30 tokens."""
    from tiny_model import TinyModel

    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    TinyModel().write(path)
    return path


@pytest.fixture(scope="session")
def tiny(tiny_path: Path) -> safetyclf.Classifier:
    return safetyclf.Classifier(tiny_path, threads=2)


@pytest.fixture(scope="session")
def model_path(tiny_path: Path) -> Path:
    """The model in the package; the tiny one where the package was built without."""
    return BUNDLED if BUNDLED.exists() else tiny_path


@pytest.fixture(scope="session")
def classifier(model_path: Path) -> safetyclf.Classifier:
    return safetyclf.Classifier(model_path, threads=2)


@pytest.fixture(scope="session")
def messages() -> list[str]:
    """Everyday messages in several scripts, one of them longer than a window of the model in the package."""
    return (REPOSITORY / "examples" / "messages.txt").read_text("utf-8").splitlines()


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Finds files of the data that is not part of the repository; skips the test without them."""

    def find(name: str) -> Path:
        path = REPOSITORY.parent / "shared" / "data" / name
        if not path.exists():
            pytest.skip(f"../shared/data/{name} is not there")
        return path

    return find
