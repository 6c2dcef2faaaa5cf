"""Tests the package that is installed for this interpreter, from outside the source tree.

python test_installed.py GOLDEN_FILE MESSAGES

With the best instruction set of this CPU, which must be the one chosen, and then with each other one forced,
scores must be the bits that tests/data/golden.json holds. Needs nothing but the package and NumPy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def check_golden(golden_file: str) -> None:
    """Raises AssertionError when a score differs from the golden file by a bit."""
    import safetyclf

    golden = json.loads(Path(golden_file).read_text(encoding="ascii"))
    classifier = safetyclf.Classifier()
    assert classifier.model_id == golden["model"], (
        f"{classifier.model_id} is installed, not {golden['model']}"
    )
    found = [
        [f"{bits:08x}" for bits in row] for row in classifier.scores(golden["texts"]).view("uint32").tolist()
    ]
    different = [number for number, (a, b) in enumerate(zip(found, golden["scores"], strict=True)) if a != b]
    assert not different, f"{safetyclf.build_info()['isa']}: the scores of texts {different} differ"


def check_place_and_isa() -> list[str]:
    """The other supported instruction sets, after a check that the best one is active."""
    import safetyclf

    place = Path(safetyclf.__file__).resolve()
    assert place.is_relative_to(Path(sys.prefix).resolve()), f"{place} is not installed in {sys.prefix}"
    assert not list(place.parent.glob("_native_testing*")), "the test module is installed"
    info = safetyclf.build_info()
    best, *others = info["supported_isas"]
    assert info["isa"] == best, f"{info['isa']} is active, but this CPU can run {best}"
    return others


def check_command_line(messages: str) -> int:
    """The number of lines that `safetyclf classify` prints, each checked to be a verdict."""
    command = [str(Path(sys.executable).with_name("safetyclf")), "classify", messages]
    lines = subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8")
    assert lines.returncode in (0, 1), lines.stderr
    verdicts = [json.loads(line) for line in lines.stdout.splitlines()]
    assert verdicts, "nothing was printed"
    assert all({"flagged", "action", "scores", "model"} <= verdict.keys() for verdict in verdicts)
    return len(verdicts)


def main(argv: list[str]) -> None:
    """Runs all checks; with SAFETYCLF_ISA set only the golden file."""
    golden_file, messages = argv
    if "SAFETYCLF_ISA" in os.environ:
        check_golden(golden_file)
        return
    others = check_place_and_isa()
    check_golden(golden_file)
    for isa in others:
        subprocess.run([sys.executable, *sys.argv], env={**os.environ, "SAFETYCLF_ISA": isa}, check=True)
    lines = check_command_line(messages)
    version = sys.version.split()[0]
    print(f"Python {version}: golden scores on {1 + len(others)} instruction sets, {lines} verdicts")


if __name__ == "__main__":
    main(sys.argv[1:])
