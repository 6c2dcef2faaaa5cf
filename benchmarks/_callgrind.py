"""Runs bench_instructions under callgrind on the AVX2 kernels, the widest that valgrind knows."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_MEASURED = "measured_section"  # the function of instructions.cpp
# Where the work of a text is done. Kernels are called by pointer, the other two from other files, so that the
# compiler makes none a part of its caller.
_KERNEL = "safetyclf::kernels::(anonymous namespace)::"
_STAGES = {
    "tokenise": "safetyclf::text::Tokenizer::encode",
    "embed": _KERNEL + "embed",
    "quantize": _KERNEL + "quantize",
    "gemm": _KERNEL + "gemm",
    "split_qkv": _KERNEL + "split_qkv",
    "attention": _KERNEL + "attention",
    "add_norm": _KERNEL + "add_norm",
    "gelu_quantize": _KERNEL + "gelu_quantize",
    "pool": _KERNEL + "mean_rows",
    "heads": _KERNEL + "dot_rows",
    "policy": "safetyclf::policy::Policy::calibrate",
}
_NAME = re.compile(r"(c?)fn=(\(\d+\))(?: (.*))?")


@dataclass(frozen=True)
class Section:
    name: str
    texts: int
    tokens: int
    instructions: int
    stages: dict[str, int]


def count(program: Path, model: Path) -> tuple[str, list[Section]]:
    """The compiler of the program, and its sections."""
    with tempfile.TemporaryDirectory() as folder:
        parts = Path(folder) / "part"
        done = subprocess.run(
            [
                *("valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={parts}"),
                *(f"--zero-before={_MEASURED}", f"--dump-after={_MEASURED}", program, model),
            ],
            env={**os.environ, "SAFETYCLF_ISA": "avx2"},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{program.name} under valgrind ended with {done.returncode}")
        compiler, *lines = done.stdout.splitlines()
        sections = []
        for part, line in enumerate(lines, 1):
            name, texts, tokens = line.split("\t")
            total, functions = parse(parts.with_name(f"part.{part}").read_text().splitlines())
            sections.append(Section(name, int(texts), int(tokens), total, stages_of(functions)))
    return compiler, sections


def stages_of(functions: Mapping[str, int]) -> dict[str, int]:
    """By stage instead of by function, whose names end with the types of their arguments."""
    starts = {f"{function}(": stage for stage, function in _STAGES.items()}
    found = dict.fromkeys(_STAGES, 0)
    for name, instructions in functions.items():
        for start, stage in starts.items():
            if name.startswith(start):
                found[stage] += instructions
    return found


def parse(lines: Iterable[str]) -> tuple[int, dict[str, int]]:
    """All instructions of a callgrind file with one event, and those of each function with its callees.

    A function that calls itself would count twice; none that is asked for does.
    """
    names: dict[str, str] = {}
    functions: defaultdict[str, int] = defaultdict(int)
    total, current = 0, ""
    for line in lines:
        if match := _NAME.match(line):
            called, number, name = match.groups()
            if name:  # given once, later by its number alone
                names[number] = name
            if not called:
                current = names[number]
        elif line.startswith("summary:"):
            total = int(line.split()[1])
        elif line[:1].isdigit() or line[:1] in tuple("+-*"):
            functions[current] += int(line.split()[1])  # its own, or after "calls=" the callee's
    return total, dict(functions)
