"""Checks one wheel: what it contains, what its extension module needs and what it exports.

python wheels/check_wheel.py WHEEL

Only Linux wheels; needs `readelf` and `nm` (binutils). Prints each finding and exits with 1 if there is one.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MAX_BYTES = 30_000_000
# The C and C++ run-time libraries of the system, and nothing else.
ALLOWED_LIBRARIES = {
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "libpthread.so.0",
    "libdl.so.2",
}
ALLOWED_LIBRARIES |= {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
REQUIRED_FILES = {
    "safetyclf/__init__.py",
    "safetyclf/_native.pyi",
    "safetyclf/py.typed",
    "safetyclf/models/background.npz",
    "safetyclf/models/default.safetensors",
    "safetyclf/policy/default.toml",
    "safetyclf/policy/schema.json",
}
# Folders and endings that a package folder may hold.
SUFFIXES = {".py", ".pyi", ".typed", ".toml", ".json", ".npz", ".safetensors", ".md", ".so"}


def contents_problems(wheel: zipfile.ZipFile) -> Iterator[str]:
    """Files that are missing, and files that have no place in a wheel."""
    names = [name for name in wheel.namelist() if not name.endswith("/")]
    yield from (f"{name} is missing" for name in sorted(REQUIRED_FILES - set(names)))
    for ending in ("licenses/LICENSE", "licenses/NOTICE"):
        if not any(name.endswith(f".dist-info/{ending}") for name in names):
            yield f"{ending} is missing from the metadata"
    for name in names:
        path = PurePosixPath(name)
        if path.parts[0].endswith(".dist-info"):
            continue
        is_test = "test" in path.name and path.parent.name != "_cli"  # a command may be called test
        if path.parts[0] != "safetyclf":
            yield f"{name} lies outside the package"
        elif is_test or (path.suffix not in SUFFIXES and path.name != "py.typed"):
            yield f"{name} does not belong into a wheel"
    modules = [name for name in names if name.endswith(".so")]
    if len(modules) != 1 or not modules[0].startswith("safetyclf/_native."):
        yield f"expected the one extension module safetyclf/_native, found {modules}"


def module_problems(module: Path) -> Iterator[str]:
    """Libraries needed and symbols exported by the extension module."""
    dynamic = run("readelf", "--dynamic", "--wide", str(module))
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic))
    yield from (f"needs the library {library}" for library in sorted(needed - ALLOWED_LIBRARIES))
    if re.search(r"\((RPATH|RUNPATH|TEXTREL)\)", dynamic):
        yield "has a search path of its own or text relocations"
    exported = {
        line.split()[-1] for line in run("nm", "--dynamic", "--defined-only", str(module)).splitlines()
    }
    if exported != {"PyInit__native"}:
        yield f"exports {len(exported)} symbols instead of PyInit__native alone: {sorted(exported)[:5]}"
    if re.search(r"GNU_STACK.*RWE", run("readelf", "--segments", "--wide", str(module))):
        yield "asks for an executable stack"


def run(*command: str) -> str:
    """Standard output of a command that must succeed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def problems(path: Path) -> list[str]:
    """Everything wrong with the wheel."""
    found = []
    size = path.stat().st_size
    if size > MAX_BYTES:
        found.append(f"{size:,} bytes, more than {MAX_BYTES:,}")
    with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as folder:
        found += contents_problems(wheel)
        for name in wheel.namelist():
            if name.endswith(".so"):
                found += [
                    f"{name} {problem}" for problem in module_problems(Path(wheel.extract(name, folder)))
                ]
    return found


def main(argv: list[str]) -> int:
    """Checks the wheels named on the command line."""
    status = 0
    for path in map(Path, argv):
        found = problems(path)
        print(f"{path.name}: {path.stat().st_size:,} bytes, {len(found)} problems")
        for problem in found:
            print(f"  {problem}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
