#!/usr/bin/env python3
"""Where the instructions of a text go, by stage: fills the table of docs/performance.md.

    stages.py BENCH_INSTRUCTIONS

The model is the one in the package. Counts are exact, so the machine need not be quiet.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import _callgrind
import _machine
import _page
import safetyclf
from safetyclf import _modelfile

MODEL = Path(safetyclf.__file__).parent / "models" / "default.safetensors"
LENGTHS = (8, 64, 512)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", type=Path)
    options = parser.parse_args()
    file = _modelfile.read(MODEL)
    compiler, found = _callgrind.count(options.program, MODEL)
    sections = {section.name: section for section in found}
    full = [sections[f"full {length}"] for length in LENGTHS]
    work = [_page.macs(file.architecture, [length]) for length in LENGTHS]

    rows = [[stage, *(f"{s.stages[stage] / s.instructions:.2%}" for s in full)] for stage in full[0].stages]
    rest = [s.instructions - sum(s.stages.values()) for s in full]
    rows += [
        ["rest", *(f"{r / s.instructions:.2%}" for r, s in zip(rest, full, strict=True))],
        ["all, million instructions", *(f"{s.instructions / 1e6:,.1f}" for s in full)],
        ["million instructions a token", *(f"{s.instructions / s.tokens / 1e6:.2f}" for s in full)],
        ["million MAC", *(f"{w / 1e6:,.1f}" for w in work)],
        [
            "instructions for 32 MAC",
            *(f"{32 * s.instructions / w:.2f}" for s, w in zip(full, work, strict=True)),
        ],
    ]
    early, late = sections["adaptive many short"], sections["full many short"]
    _page.fill(
        "stages",
        f"{file.id}, {compiler}, AVX2, {_machine.commit()}, {time.strftime('%Y-%m-%d', time.gmtime())}:\n\n"
        + _page.table(["stage", *(f"{length} tokens" for length in LENGTHS)], rows)
        + f"\nLeaving early, {late.texts} harmless texts of {late.tokens} tokens together: "
        f"{early.instructions / 1e6:,.1f} instead of {late.instructions / 1e6:,.1f} million instructions.\n",
    )


if __name__ == "__main__":
    main()
