"""What a user installs: the wheel, the sdist, and the programs in wheels/ that judge them."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import safetyclf

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
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    program = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    run(sys.executable, "-c", program, folder)
    (path,) = folder.glob("safetyclf-*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, as `pip install safetyclf` does on a platform without a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, sdist)
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
def test_the_sdist_has_all_that_a_build_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
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


def test_other_systems_get_a_clear_message(tmp_path: Path) -> None:
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    command = [cmake, "-S", str(ROOT), "-B", str(tmp_path), "-DCMAKE_SYSTEM_NAME=FreeBSD"]
    result = subprocess.run(command, env=build_environment(), capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "supports 64-bit Linux only so far, not FreeBSD" in " ".join(result.stderr.split())


def test_copies_of_the_package_do_not_meet(tmp_path: Path) -> None:
    """Two packages that brought their own copies: types, errors and term lists are each copy's own."""
    for vendor in ("one", "two"):
        ignored = shutil.ignore_patterns("_native_testing*", "__pycache__")
        shutil.copytree(Path(safetyclf.__file__).parent, tmp_path / vendor / "safetyclf", ignore=ignored)
        (tmp_path / vendor / "__init__.py").touch()
    program = (
        "from one import safetyclf as one\n"
        "from two import safetyclf as two\n"
        "from one.safetyclf import _native as first\n"
        "from two.safetyclf import _native as second\n"
        "assert first.Engine is not second.Engine\n"
        "assert first.TermMatcher is not second.TermMatcher\n"
        "for package in (one, two, one):\n"
        "    assert package.Classifier().classify('have a nice day').action == 'allow'\n"
        "    try:\n"
        "        package.Classifier('no such file')\n"
        "    except package.ModelFileError:\n"
        "        print(package.__name__)\n"
    )
    assert run(sys.executable, "-c", program, cwd=tmp_path).split() == [
        "one.safetyclf",
        "two.safetyclf",
        "one.safetyclf",
    ]


def load(name: str) -> ModuleType:
    """A program of wheels/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "wheels" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def check_wheel() -> ModuleType:
    return load("check_wheel")


GOOD = {
    "safetyclf/__init__.py",
    "safetyclf/_native.cpython-311-x86_64-linux-gnu.so",
    "safetyclf/_native.pyi",
    "safetyclf/py.typed",
    "safetyclf/models/background.npz",
    "safetyclf/models/default.safetensors",
    "safetyclf/policy/default.toml",
    "safetyclf/policy/schema.json",
    "safetyclf/serve/workbench/api.js",
    "safetyclf/serve/workbench/batch.js",
    "safetyclf/serve/workbench/csv.js",
    "safetyclf/serve/workbench/index.html",
    "safetyclf/serve/workbench/verdict.js",
    "safetyclf/serve/workbench/workbench.css",
    "safetyclf/serve/workbench/workbench.js",
    "safetyclf-1.dist-info/METADATA",
    "safetyclf-1.dist-info/licenses/LICENSE",
    "safetyclf-1.dist-info/licenses/NOTICE",
}


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (GOOD, None),
        (GOOD - {"safetyclf/models/default.safetensors"}, "default.safetensors is missing"),
        (GOOD - {"safetyclf/serve/workbench/csv.js"}, "csv.js is missing"),
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


def fatbin(check_wheel: ModuleType, bulk: int = 0) -> bytes:
    """GPU kernels for all architectures that we build, of random bytes, as nvcc lays them out."""
    entries = b""
    for name in re.findall(r"code=(\w+)", check_wheel.NVCC_OPTIONS.read_text()):
        kind, number = name.split("_")
        code = os.urandom(8 + bulk)
        entries += struct.pack(
            "<HHIQ12xI8xQ16x",
            1 if kind == "compute" else 2,
            0x101,
            64,
            len(code),
            int(number.rstrip("a")),
            0x8011 | ("a" in number) << 20,
        )
        entries += code
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entries)) + entries


@pytest.mark.parametrize(
    ("data", "wanted", "problem"),
    [
        (lambda whole: whole, True, None),
        (lambda whole: whole, False, None),
        (lambda whole: b"", False, None),
        (lambda whole: b"", True, r"holds GPU kernels for \[\] instead"),
        (lambda whole: whole.replace(struct.pack("<I", 75), struct.pack("<I", 70)), False, "sm_70.* instead"),
        (
            lambda whole: whole.replace(struct.pack("<Q", 0x108011), struct.pack("<Q", 0x8011)),
            True,
            "instead",
        ),
    ],
)
def test_gpu_kernels_are_judged(
    check_wheel: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    data: Callable[[bytes], bytes],
    wanted: bool,
    problem: str | None,
) -> None:
    found = kernel_problems(check_wheel, monkeypatch, tmp_path, data(fatbin(check_wheel)), wanted)
    assert len(found) == (problem is not None)
    assert problem is None or re.search(problem, found[0])


def test_gpu_kernels_have_a_largest_size(
    check_wheel: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (problem,) = kernel_problems(check_wheel, monkeypatch, tmp_path, fatbin(check_wheel, 500_000), True)
    assert "more than 4,000,000" in problem


def kernel_problems(
    check_wheel: ModuleType, monkeypatch: pytest.MonkeyPatch, folder: Path, data: bytes, wanted: bool
) -> list[str]:
    module = folder / "module.so"
    module.write_bytes(b"before" + data)
    line = (
        f"  [14] .nv_fatbin        PROGBITS        00000000000a0000 000006 {len(data):06x} 00   A  0   0 16\n"
    )
    monkeypatch.setattr(check_wheel, "run", lambda *_: line if data else "")
    return list(check_wheel.kernel_problems(module, wanted))


BASE = {
    "safetyclf/__init__.py": b"",
    "safetyclf-1.dist-info/METADATA": b"Name: safetyclf\n",
    "safetyclf-1.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: some 1\nTag: py3-none-any\n",
}
PORTABLE = "safetyclf-1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
MODULE = "safetyclf/_native.cpython-311-x86_64-linux-gnu.so"


def written(folder: Path, name: str = PORTABLE, module: str = MODULE) -> Path:
    build = load("build")
    path = folder / name
    tags = [f"cp311-cp311-{platform}" for platform in build.TARGETS["manylinux_2_17_x86_64"].tags]
    build.write_wheel(path, {**BASE, module: b"code"}, tags, 1_700_000_000)
    return path


def test_a_written_wheel_agrees_with_its_name_and_its_record(check_wheel: ModuleType, tmp_path: Path) -> None:
    path = written(tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert [*check_wheel.record_problems(archive), *check_wheel.tag_problems(path, archive)] == []
    (tmp_path / "again").mkdir()
    again = written(tmp_path / "again")
    assert path.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("target", "abi", "suffix"),
    [
        ("manylinux_2_17_x86_64", "cp313", ".cpython-313-x86_64-linux-gnu.so"),
        ("musllinux_1_2_x86_64", "cp311", ".cpython-311-x86_64-linux-musl.so"),
        ("musllinux_1_2_aarch64", "cp310", ".cpython-310-aarch64-linux-gnu.so"),
        ("manylinux_2_17_aarch64", "cp314t", ".cpython-314t-aarch64-linux-gnu.so"),
    ],
)
def test_modules_have_the_names_that_python_looks_for(target: str, abi: str, suffix: str) -> None:
    assert load("build").TARGETS[target].suffix(abi) == suffix


@pytest.mark.parametrize(
    ("name", "module"),
    [
        (PORTABLE.replace("x86_64", "aarch64"), MODULE),
        (PORTABLE.replace("cp311-cp311", "cp311-cp311t"), MODULE),
        (PORTABLE.replace("cp311", "cp312"), MODULE),
        ("safetyclf-1-cp311-cp311-musllinux_1_2_x86_64.whl", MODULE),
        (PORTABLE, MODULE.replace("gnu", "musl")),
    ],
)
def test_tags_are_judged(check_wheel: ModuleType, tmp_path: Path, name: str, module: str) -> None:
    path = written(tmp_path, name, module)
    with zipfile.ZipFile(path) as archive:
        assert list(check_wheel.tag_problems(path, archive)) != []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "is only in RECORD"),
        (b"other", "is not what RECORD says"),
    ],
)
def test_the_record_is_judged(
    check_wheel: ModuleType, tmp_path: Path, text: bytes | None, problem: str
) -> None:
    path = written(tmp_path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files.pop(MODULE)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**files, **({} if text is None else {MODULE: text})}.items():
            archive.writestr(name, data)
    with zipfile.ZipFile(path) as archive:
        assert [line for line in check_wheel.record_problems(archive) if problem in line] != []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the example is made of AVX2")
@pytest.mark.parametrize("called", [False, True])
def test_code_for_newer_cpus_must_not_be_called_directly(
    check_wheel: ModuleType, tmp_path: Path, called: bool
) -> None:
    compiler, objdump = shutil.which("g++"), shutil.which("objdump")
    if compiler is None or objdump is None:
        pytest.skip("g++ or objdump is not installed")
    source = tmp_path / "module.cpp"
    source.write_text(
        "typedef float Lanes __attribute__((vector_size(32)));\n"
        '__attribute__((noinline, target("avx2"))) void kernel(Lanes* x) { *x += *x; }\n'
        f"void baseline(Lanes* x) {{ {'kernel(x);' if called else '*(volatile float*)x = 1;'} }}\n"
    )
    module = tmp_path / "module.so"
    run(
        compiler,
        "-O1",
        "-shared",
        "-fPIC",
        "-fvisibility=hidden",
        "-fno-optimize-sibling-calls",
        source,
        "-o",
        module,
    )
    assert bool(list(check_wheel.instruction_problems(module, objdump))) is called


@pytest.mark.parametrize("called", [False, True])
def test_on_aarch64_a_kernel_may_be_entered_by_what_pointers_reach(
    check_wheel: ModuleType, tmp_path: Path, called: bool
) -> None:
    compiler, objdump = shutil.which("aarch64-linux-gnu-g++"), shutil.which("aarch64-linux-gnu-objdump")
    if compiler is None or objdump is None:
        pytest.skip("the compiler for aarch64 is not installed")
    source, module = tmp_path / "module.cpp", tmp_path / "module.so"
    source.write_text(
        "#include <arm_neon.h>\n"
        "__attribute__((noinline)) void kernel(int32x4_t* x, int8x16_t y);\n"
        "void part_of_kernel(int32x4_t* x) { kernel(x, vdupq_n_s8(1)); }\n"
        '__attribute__((noinline, target("+dotprod")))\n'
        "void kernel(int32x4_t* x, int8x16_t y) { *x = vdotq_s32(*x, y, y); }\n"
        f"void baseline(int32x4_t* x) {{ {'part_of_kernel(x);' if called else ''} }}\n"
    )
    options = ("-O1", "-march=armv8.2-a", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-inline")
    run(compiler, *options, "-fno-optimize-sibling-calls", source, "-o", module)
    assert bool(list(check_wheel.instruction_problems(module, objdump))) is called


def test_cibuildwheel_has_the_pythons_and_the_test_of_the_other_wheels() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    text = (ROOT / "wheels" / "cibuildwheel.toml").read_text(encoding="ascii")
    settings = tomllib.loads(text)["tool"]["cibuildwheel"]
    assert settings["build"].split() == [*(f"cp3{minor}-*" for minor in range(10, 15)), "cp314t-*"]
    assert settings["linux"]["archs"] == ["x86_64", "aarch64"]
    assert [name for name in settings["test-sources"] if not (ROOT / name).is_file()] == []
