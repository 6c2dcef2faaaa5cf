#!/usr/bin/env python3
"""Instruction counts of fixed work against a committed baseline: the gate that runs in CI.

    instructions.py BENCH_INSTRUCTIONS [--update]

More than 2 % above the baseline fails. Counts hold for one compiler; with another they are printed, and
nothing is compared. The model has the shape and the rules of the one in the package and numbers that never
change, so that training another moves nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import _callgrind
from safetyclf import _modelfile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "python"))
from tiny_model import TinyModel, random_exits  # noqa: E402

BASELINE = ROOT / "benchmarks" / "results" / "instructions.json"
TOLERANCE = 0.02
SKIPPED = 77
STAGES_OF = "full 512"  # small stages could double within 2 % of the whole
RULES = (
    "emoji_names/1", "strip_invisible/1", "fold_compatibility/1", "fold_confusables/1", "join_spelled/1",
    "fold_leet/1",
)  # fmt: skip


def fixed_model() -> _modelfile.ModelFile:
    file = TinyModel(
        hidden=384, layers=6, heads=12, intermediate=1536, window_tokens=510, overlap_tokens=64, rules=RULES
    ).build()
    return file.with_exits(random_exits(file), {})


def judge(compiler: str, counts: Mapping[str, int], baseline: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Exit status and what to say."""
    if compiler != baseline["compiler"]:
        return SKIPPED, [f"skipped: instruction counts are of {baseline['compiler']}, this is {compiler}"]
    expected: Mapping[str, int] = baseline["instructions"]
    if counts.keys() != expected.keys():
        names = ", ".join(sorted(counts.keys() ^ expected.keys()))
        return 1, [f"error: only here or only in the baseline: {names}; run scripts/instructions.sh --update"]
    above, below = [], []
    for name, base in expected.items():
        change = counts[name] - base
        if change > TOLERANCE * base:
            above.append(f"error: {name}: {change / base:+.2%}, more than {TOLERANCE:.0%} above the baseline")
        elif change < -TOLERANCE * base:
            below.append(f"{name}: {change / base:+.2%}; keep that with scripts/instructions.sh --update")
    return int(bool(above)), above + below


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", type=Path)
    parser.add_argument("--update", action="store_true", help="write the baseline")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.safetensors"
        _modelfile.write(model, fixed_model())
        compiler, sections = _callgrind.count(options.program, model)
    counts = {section.name: section.instructions for section in sections}
    (staged,) = (section for section in sections if section.name == STAGES_OF)
    counts |= {f"{STAGES_OF}: {stage}": value for stage, value in staged.stages.items()}
    if options.update:
        baseline = {
            "compiler": compiler,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "instructions": counts,
        }
        BASELINE.write_text(json.dumps(baseline, indent=1) + "\n")
    baseline = json.loads(BASELINE.read_text())
    print(f"{compiler}, avx2")
    for name, value in counts.items():
        print(f"{name:24} {value:15,}")
    status, lines = judge(compiler, counts, baseline)
    print(*lines, sep="\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
