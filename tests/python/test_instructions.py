"""The gate on instruction counts: what it refuses, and how it reads callgrind's files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import _callgrind
from instructions import BASELINE, SKIPPED, judge

COMPILER = "g++ 1.2.3"
BASE = {"compiler": COMPILER, "date": "2026-01-01", "instructions": {"load": 1_000_000, "full 8": 200_000}}


@pytest.mark.parametrize(
    ("load", "status", "said"),
    [
        (1_000_000, 0, ""),
        (1_020_000, 0, ""),
        (1_020_001, 1, "error: load: +2.00%"),
        (2_000_000, 1, "error: load: +100.00%"),
        (980_000, 0, ""),
        (979_000, 0, "load: -2.10%; keep that"),
    ],
)
def test_two_per_cent(load: int, status: int, said: str) -> None:
    found, lines = judge(COMPILER, {"load": load, "full 8": 200_000}, BASE)
    assert found == status
    assert len(lines) == bool(said)
    assert "".join(lines).startswith(said)


def test_each_section_is_judged() -> None:
    status, lines = judge(COMPILER, {"load": 900_000, "full 8": 210_000}, BASE)
    assert status == 1
    assert [line.split(";")[0] for line in lines] == [
        "error: full 8: +5.00%, more than 2% above the baseline",
        "load: -10.00%",
    ]


@pytest.mark.parametrize("counts", [{"load": 1}, {"load": 1, "full 8": 1, "full 9": 1}, {}])
def test_sections_must_be_those_of_the_baseline(counts: dict[str, int]) -> None:
    status, (line,) = judge(COMPILER, counts, BASE)
    assert status == 1
    assert "--update" in line


def test_another_compiler_is_not_compared() -> None:
    status, (line,) = judge("g++ 1.2.4", {"load": 9_000_000}, BASE)
    assert status == SKIPPED
    assert line == "skipped: instruction counts are of g++ 1.2.3, this is g++ 1.2.4"


def test_the_baseline_counts_every_stage() -> None:
    baseline = json.loads(BASELINE.read_text())
    counts: dict[str, int] = baseline["instructions"]
    assert judge(baseline["compiler"], counts, baseline) == (0, [])
    assert min(counts.values()) > 0  # a function that was renamed would be found nowhere
    stages = {name.partition(": ")[2] for name in counts} - {""}
    assert stages == _callgrind.stages_of({}).keys()


CALLGRIND = """\
# callgrind format
positions: line
events: Ir
summary: 1111

ob=(1) /program
fl=(1) ???
fn=(7) measured_section
0 11
cfn=(2) safetyclf::kernels::(anonymous namespace)::gemm(unsigned char const*, unsigned long)
calls=2 0
0 1000

fn=(2)
0 300
+3 200
cob=(2) /other
cfi=(2) x.c
cfn=(5) safetyclf::kernels::(anonymous namespace)::gemm_blocks(unsigned char const*)
calls=1 80
* 500

fn=(5)
0 500

fn=(9) safetyclf::policy::Policy::calibrate(float)
0 60
cfn=(10) memcpy
calls=1 0
-2 40

totals: 1111
"""


def test_stages_hold_what_they_call() -> None:
    total, functions = _callgrind.parse(CALLGRIND.splitlines())
    assert total == 1111
    assert functions["measured_section"] == 1011
    stages = _callgrind.stages_of(functions)
    assert {stage: n for stage, n in stages.items() if n} == {"gemm": 1000, "policy": 100}
