"""Checks wheels: what they contain and declare, what their extension modules need, export and are made of.

python wheels/check_wheel.py [--kernels] WHEEL ...

--kernels: each must hold GPU kernels, as one that was built with an nvcc does.

Only Linux wheels; needs `readelf`, `nm` and `objdump` (binutils; for another architecture its cross binutils,
or the instructions are not looked at). Asks `twine` and `auditwheel` as well, where they are installed.
Prints each finding and exits with 1 if there is one.
"""

from __future__ import annotations

import base64
import bisect
import csv
import hashlib
import importlib.util
import io
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MAX_BYTES = 30_000_000
MAX_KERNEL_BYTES = 4_000_000  # of the GPU kernels, as compressed as in a wheel
NVCC_OPTIONS = Path(__file__).resolve().parents[1] / "cpp" / "cuda" / "nvcc.options"
# What a portable wheel may need; a wheel for this machine alone (linux_*) also the C++ run-time libraries.
MUSL_LIBRARIES = {"libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"}
GLIBC_LIBRARIES = {f"lib{name}" for name in ("c.so.6", "m.so.6", "pthread.so.0", "dl.so.2")}
GLIBC_LIBRARIES |= {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
CXX_LIBRARIES = {"libgcc_s.so.1", "libstdc++.so.6"}
REQUIRED_FILES = {
    "safetyclf/__init__.py",
    "safetyclf/_native.pyi",
    "safetyclf/py.typed",
    "safetyclf/models/background.npz",
    "safetyclf/models/default.safetensors",
    "safetyclf/policy/default.toml",
    "safetyclf/policy/schema.json",
} | {
    f"safetyclf/serve/workbench/{name}"
    for name in (
        "index.html",
        "workbench.css",
        *map("{}.js".format, ("api", "batch", "csv", "verdict", "workbench")),
    )
}
# Folders and endings that a package folder may hold.
SUFFIXES = {
    ".py",
    ".pyi",
    ".typed",
    ".toml",
    ".json",
    ".npz",
    ".safetensors",
    ".md",
    ".so",
    ".html",
    ".css",
    ".js",
}
# Instructions beyond the baseline by name, besides all of VEX and EVEX: in 64-bit mode the first bytes c4, c5
# and 62 begin nothing else, and these prefixes may precede them.
BEYOND = re.compile(r"(sha(1|256)|[su]dot$|[su]mmla$|usmmla$|aes)")
VEX = {"c4", "c5", "62"}
PREFIXES = {"26", "2e", "36", "3e", "64", "65", "67"}


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
        is_test = path.name.startswith(("test_", "conftest", "_native_testing"))
        if path.parts[0] != "safetyclf":
            yield f"{name} lies outside the package"
        elif is_test or (path.suffix not in SUFFIXES and path.name != "py.typed"):
            yield f"{name} does not belong into a wheel"
    modules = [name for name in names if name.endswith(".so")]
    if len(modules) != 1 or not modules[0].startswith("safetyclf/_native."):
        yield f"expected the one extension module safetyclf/_native, found {modules}"


def record_problems(wheel: zipfile.ZipFile) -> Iterator[str]:
    """Differences between RECORD and the files."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/RECORD"))
    rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(wheel.read(name).decode()))}
    for file in sorted({n for n in wheel.namelist() if not n.endswith("/")} ^ rows.keys()):
        yield f"{file} is only in {'RECORD' if file in rows else 'the archive'}"
    for file in sorted(rows.keys() & set(wheel.namelist()) - {name}):
        data = wheel.read(file)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        if rows[file] != [f"sha256={digest}", str(len(data))]:
            yield f"{file} is not what RECORD says"


def tag_problems(path: Path, wheel: zipfile.ZipFile) -> Iterator[str]:
    """Differences between the tags of the file name, those inside, and the name of the module."""
    python, abi, platforms = path.stem.split("-")[-3:]
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/WHEEL"))
    lines = wheel.read(name).decode().splitlines()
    inside = {line.removeprefix("Tag: ") for line in lines if line.startswith("Tag: ")}
    if inside != {f"{python}-{abi}-{platform}" for platform in platforms.split(".")}:
        yield f"the tags inside are {sorted(inside)}"
    if "Root-Is-Purelib: false" not in lines:
        yield "the metadata says that it is pure Python"
    machine = "aarch64" if platforms.endswith("aarch64") else "x86_64"
    # CPython 3.10 does not tell musl from glibc in its names.
    libc = "musl" if "musllinux" in platforms and python != "cp310" else "gnu"
    module = f"safetyclf/_native.cpython-{abi[2:]}-{machine}-linux-{libc}.so"
    if module not in wheel.namelist():
        yield f"{module} is missing: Python would look for that name"


def module_problems(module: Path, platforms: str) -> Iterator[str]:
    """Libraries needed and symbols exported by the extension module."""
    machine = "AArch64" if platforms.endswith("aarch64") else "X86-64"
    if not re.search(rf"Machine:.*{machine}", run("readelf", "--file-header", str(module))):
        yield f"is not for {machine}"
    dynamic = run("readelf", "--dynamic", "--wide", str(module))
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic))
    allowed = MUSL_LIBRARIES if "musllinux" in platforms else GLIBC_LIBRARIES
    if platforms.startswith("linux_"):
        allowed = allowed | CXX_LIBRARIES
    yield from (f"needs the library {library}" for library in sorted(needed - allowed))
    promised = re.search(r"manylinux_(\d+)_(\d+)", platforms)
    if promised and glibc_needed(module) > tuple(map(int, promised.groups())):
        yield f"needs glibc {glibc_needed(module)}, its tag says {promised.group()}"
    if re.search(r"\((RPATH|RUNPATH|TEXTREL)\)", dynamic):
        yield "has a search path of its own or text relocations"
    exported = {
        line.split()[-1] for line in run("nm", "--dynamic", "--defined-only", str(module)).splitlines()
    }
    if exported != {"PyInit__native"}:
        yield f"exports {len(exported)} symbols instead of PyInit__native alone: {sorted(exported)[:5]}"
    if re.search(r"GNU_STACK.*RWE", run("readelf", "--segments", "--wide", str(module))):
        yield "asks for an executable stack"


def kernels(module: Path) -> tuple[bytes, list[str]]:
    """The GPU kernels in a module, and the architectures they are for: "sm_80", or "compute_80" for PTX.

    The layout was read off files of nvcc 13.0: a header of 16 bytes, a magic number first and the size of all
    entries last. Each entry begins with its kind (1 is PTX, 2 machine code), two bytes, the size of its own
    header and that of what follows. Byte 28 has the architecture, bit 20 of the flags at byte 40 its "a".
    """
    sections = run("readelf", "--sections", "--wide", str(module))
    place = re.search(r"\.nv_fatbin +PROGBITS +[0-9a-f]+ ([0-9a-f]+) ([0-9a-f]+) ", sections)
    if not place:
        return b"", []
    offset, size = (int(number, 16) for number in place.groups())
    data = module.read_bytes()[offset : offset + size]
    magic, end = struct.unpack_from("<I4xQ", data)
    assert magic == 0xBA55ED50, "GPU kernels of an unknown format"
    names, at = [], 16
    while at < 16 + end:
        kind, header, payload, number, flags = struct.unpack_from("<H2xIQ12xI8xQ", data, at)
        names.append(f"{ {1: 'compute', 2: 'sm'}[kind] }_{number}{'a' * (flags >> 20 & 1)}")
        at += header + payload
    return data, names


def kernel_problems(module: Path, wanted: bool) -> Iterator[str]:
    """Architectures that the GPU kernels lack, and their size."""
    data, found = kernels(module)
    size = len(zlib.compress(data))
    print(f"GPU kernels: {' '.join(found)}; {size:,} bytes of the wheel" if data else "no GPU kernels")
    expected = re.findall(r"code=(\w+)", NVCC_OPTIONS.read_text())
    if (data or wanted) and sorted(found) != sorted(expected):
        yield f"holds GPU kernels for {found} instead of {expected}"
    if size > MAX_KERNEL_BYTES:
        yield f"holds GPU kernels of {size:,} compressed bytes, more than {MAX_KERNEL_BYTES:,}"


def glibc_needed(module: Path) -> tuple[int, int]:
    """The highest version of a glibc symbol that the module refers to."""
    versions = re.findall(r"GLIBC_(\d+)\.(\d+)", run("readelf", "--version-info", "--wide", str(module)))
    return max(((int(major), int(minor)) for major, minor in versions), default=(0, 0))


def function_starts(module: Path) -> list[int]:
    """Where the functions of a stripped module begin: the sorted table that exception handling searches."""
    sections = run("readelf", "--sections", "--wide", str(module))
    place = re.search(r"\.eh_frame_hdr +PROGBITS +([0-9a-f]+) ([0-9a-f]+) ", sections)
    assert place, f"{module} has no .eh_frame_hdr"
    address, offset = (int(number, 16) for number in place.groups())
    table = module.read_bytes()[offset:]
    assert table[:4] == b"\x01\x1b\x03\x3b", "the table of functions has an unknown encoding"
    (count,) = struct.unpack_from("<I", table, 8)
    return [address + start for start, _ in struct.iter_unpack("<ii", table[12 : 12 + 8 * count])]


def instruction_problems(module: Path, objdump: str) -> Iterator[str]:
    """Instructions of newer CPUs where any CPU may come.

    Kernels are called through tables of pointers alone, after their CPU was found. So all functions with
    such instructions must lie in one region that no direct call or jump enters: an inline function that was
    compiled for a newer CPU, and kept for the whole program, would be entered, or would stretch the region
    over functions that are.

    On aarch64 a kernel's object also has functions without such instructions, and those before its first one
    lie outside. They may enter the region if, like kernels, they are called through pointers alone;
    tools/audit_kernels.py looks at the objects themselves.
    """
    starts = function_starts(module)
    special, jumps = set(), []
    for line in run(objdump, "--disassemble", "--wide", str(module)).splitlines():
        parts = line.split("\t")
        if len(parts) < 3:
            continue
        function = starts[bisect.bisect(starts, int(parts[0].strip(" :"), 16)) - 1]
        code = [byte for byte in parts[1].split() if byte not in PREFIXES]
        words = parts[2].split() if len(parts) == 3 else [parts[2], *parts[3].split()]
        if (code and code[0] in VEX) or BEYOND.match(words[0]):
            special.add(function)
        # The targets of both architectures' branches come last of the operands, before "<symbol+offset>".
        if re.match("call|j|b|cb|tb", words[0]):
            jumps += [(function, int(word, 16)) for word in words[1:] if re.fullmatch("[0-9a-f]+", word)]
    if not special:
        yield "holds no instruction beyond the baseline: where are the kernels?"
        return
    first, last = min(special), starts[bisect.bisect(starts, max(special)) % len(starts)]
    called = {target for function, target in jumps if function != target}
    aarch64 = module.read_bytes()[18] == 183  # the machine in an ELF header
    by_pointers = set(starts) - called if aarch64 else set()
    for function, target in jumps:
        if first <= target < last and not first <= function < last and function not in by_pointers:
            yield f"calls {target:#x} from {function:#x}: code for newer CPUs lies in {first:#x} to {last:#x}"


def run(*command: str) -> str:
    """Standard output of a command that must succeed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def foreign_objdump(platforms: str) -> str | None:
    """An objdump for the wheel's architecture, or None."""
    machine = "aarch64" if platforms.endswith("aarch64") else "x86_64"
    own = "objdump" if machine == platform.machine() else f"{machine}-linux-gnu-objdump"
    return shutil.which(own)


def tool_problems(path: Path) -> Iterator[str]:
    """What twine and auditwheel say, if they are installed."""
    platforms = path.stem.split("-")[-1].split(".")
    for tool, arguments, wanted in (
        ("twine", ("check", "--strict"), "PASSED"),
        ("auditwheel", ("show",), f'"{platforms[-1]}"'),
    ):
        # auditwheel judges musllinux wheels on systems with musl only, and linux wheels never.
        judged = tool == "twine" or platforms[0].startswith("manylinux")
        if importlib.util.find_spec(tool) is None or not judged:
            continue
        command = [sys.executable, "-m", tool, *arguments, str(path)]
        said = subprocess.run(command, check=False, capture_output=True, text=True)
        if said.returncode != 0 or wanted not in said.stdout:
            yield f"{tool} says: {' '.join((said.stdout + said.stderr).split())[:300]}"


def problems(path: Path, wants_kernels: bool) -> list[str]:
    """Everything wrong with the wheel."""
    found = []
    platforms = path.stem.split("-")[-1]
    size = path.stat().st_size
    if size > MAX_BYTES:
        found.append(f"{size:,} bytes, more than {MAX_BYTES:,}")
    with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as folder:
        found += [*contents_problems(wheel), *record_problems(wheel), *tag_problems(path, wheel)]
        for name in wheel.namelist():
            if name.endswith(".so"):
                module = Path(wheel.extract(name, folder))
                found += [f"{name} {problem}" for problem in module_problems(module, platforms)]
                found += [f"{name} {problem}" for problem in kernel_problems(module, wants_kernels)]
                objdump = foreign_objdump(platforms)
                if objdump is None:
                    print("skipped: no objdump for this architecture, so no look at the instructions")
                else:
                    found += [f"{name} {problem}" for problem in instruction_problems(module, objdump)]
    return [*found, *tool_problems(path)]


def main(argv: list[str]) -> int:
    """Checks the wheels named on the command line."""
    status = 0
    for path in (Path(name) for name in argv if name != "--kernels"):
        found = problems(path, "--kernels" in argv)
        print(f"{path.name}: {path.stat().st_size:,} bytes, {len(found)} problems")
        for problem in found[:20]:
            print(f"  {problem}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
