"""Checks the object files of a build: instructions of newer CPUs only where dispatch guards them.

python wheels/check_objects.py BUILD_FOLDER

The oldest CPU of the architecture runs everything but the kernel files of one instruction set each. So no other object may hold a
VEX or EVEX encoded instruction, and no kernel object may define a weak symbol: the linker could take that copy for everybody.
On other architectures than x86-64 only the second is checked.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

KERNELS = re.compile(r"^(avx|sha256_(shani|armv8)|neon_)")
# VEX, EVEX and AMX mnemonics: those that begin with v, but for four old ones and virtualisation; tiles; masks; BMI.
NEWER = re.compile(
    r"^\s+[0-9a-f]+:\s+((?!verr|verw|vm[a-z]+)v[a-z0-9]+|tile\w+|ldtilecfg|sttilecfg|tdp\w+"
    r"|k(?:mov|and|or|xor|not|test|ortest|shift|unpck|add)[a-z0-9]*|andn|bextr|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx)\b",
    re.MULTILINE,
)


def newer_instructions(path: Path) -> list[str]:
    """Mnemonics in an object file that CPUs before AVX do not have."""
    listing = run("objdump", "--disassemble", "--no-show-raw-insn", str(path))
    return sorted({match[1] for match in NEWER.finditer(listing)})


def weak_symbols(path: Path) -> list[str]:
    """Functions of an object file that other files may define as well. (Weak data, V, is the same bytes for every CPU.)"""
    symbols = (line.split() for line in run("nm", "--defined-only", "--demangle", str(path)).splitlines())
    return [" ".join(fields[2:]) for fields in symbols if len(fields) > 2 and fields[1] in "Ww"]


def run(*command: str) -> str:
    """Standard output of a command that must succeed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def problems(objects: list[Path], x86: bool) -> Iterator[str]:
    """Everything wrong with the objects."""
    kernels = [path for path in objects if KERNELS.match(path.name)]
    for path in kernels:
        if symbols := weak_symbols(path):
            yield f"{path.name} defines weak symbols: {symbols[:3]}"
    if not x86:
        return
    if not any(newer_instructions(path) for path in kernels):
        yield "no newer instruction was found even in the kernels: the search does not work"
    for path in objects:
        if path not in kernels and (found := newer_instructions(path)):
            yield f"{path.name} holds {found[:5]}"


def main(argv: list[str]) -> int:
    """Checks the build folder named on the command line."""
    (folder,) = argv
    objects = sorted(Path(folder).rglob("*.o"))
    found = list(problems(objects, platform.machine() in ("x86_64", "AMD64"))) if objects else ["no object files"]
    print(f"{folder}: {len(objects)} object files, {len(found)} problems")
    for problem in found:
        print(f"  {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
