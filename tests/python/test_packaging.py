"""What a user installs: the wheel, the sdist, and the programs in wheels/ that judge them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("scikit_build_core", reason="the build backend is not installed")
pytest.importorskip("pybind11", reason="pybind11 is not installed")


def build_environment() -> dict[str, str]:
    """This environment without what would change a build or an import."""
    unwanted = ("SAFETYCLF_", "SKBUILD_", "PYTHONPATH", "LD_PRELOAD")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    result = subprocess.run(
        command, cwd=cwd, env=build_environment(), capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `pip install .` would."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT
    )
    (path,) = folder.glob("safetyclf-*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_passes_its_check(wheel: Path) -> None:
    assert "0 problems" in run(sys.executable, ROOT / "wheels" / "check_wheel.py", wheel)


@pytest.mark.slow
def test_the_wheel_works_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import safetyclf\n"
        f"assert safetyclf.__file__.startswith({str(site)!r})\n"
        "assert 'numpy' not in sys.modules, 'importing the package imports numpy'\n"
        "verdict = safetyclf.Classifier().classify('have a nice day')\n"
        "assert 'numpy' not in sys.modules, 'a verdict imports numpy'\n"
        "print(verdict.action)\n"
    )
    assert run(sys.executable, "-I", "-c", program, cwd=tmp_path).strip() == "allow"


@pytest.mark.slow
def test_the_sdist_has_all_that_a_build_needs(tmp_path: Path) -> None:
    program = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    run(sys.executable, "-c", program, tmp_path)
    (path,) = tmp_path.glob("safetyclf-*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"CMakeLists.txt", "LICENSE", "NOTICE", "README.md", "pyproject.toml", "wheels/exports.map"}
    for folder in ("cpp", "python/safetyclf"):
        wanted |= {
            file.relative_to(ROOT).as_posix()
            for file in (ROOT / folder).rglob("*")
            if file.is_file() and "cache" not in str(file.relative_to(ROOT)) and file.suffix != ".so"
        }
    assert wanted - names == set()
    unwanted = ("build/", ".venv/", "dist/", ".ci/", ".hypothesis/")
    assert [
        name for name in sorted(names) if name.startswith(unwanted) or name.endswith((".so", ".pyc"))
    ] == []


@pytest.fixture
def check_wheel() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_wheel", ROOT / "wheels" / "check_wheel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOOD = {
    "safetyclf/__init__.py",
    "safetyclf/_native.cpython-311-x86_64-linux-gnu.so",
    "safetyclf/_native.pyi",
    "safetyclf/py.typed",
    "safetyclf/models/background.npz",
    "safetyclf/models/default.safetensors",
    "safetyclf/policy/default.toml",
    "safetyclf/policy/schema.json",
    "safetyclf-1.dist-info/METADATA",
    "safetyclf-1.dist-info/licenses/LICENSE",
    "safetyclf-1.dist-info/licenses/NOTICE",
}


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (GOOD, None),
        (GOOD - {"safetyclf/models/default.safetensors"}, "default.safetensors is missing"),
        (GOOD - {"safetyclf-1.dist-info/licenses/NOTICE"}, "licenses/NOTICE is missing"),
        (GOOD | {"safetyclf/_native_testing.cpython-311-x86_64-linux-gnu.so"}, "does not belong"),
        (GOOD | {"safetyclf/notes.txt"}, "does not belong"),
        (GOOD | {"tests/test_api.py"}, "outside the package"),
        (GOOD | {"safetyclf/_other.so"}, "expected the one extension module"),
    ],
)
def test_contents_are_judged(
    check_wheel: ModuleType, tmp_path: Path, names: set[str], problem: str | None
) -> None:
    with zipfile.ZipFile(tmp_path / "some.whl", "w") as archive:
        for name in names:
            archive.writestr(name, "")
    with zipfile.ZipFile(tmp_path / "some.whl") as archive:
        found = list(check_wheel.contents_problems(archive))
    assert any(problem in line for line in found) if problem else not found
