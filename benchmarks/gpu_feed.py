"""How fast the CPU can feed a GPU: all the way from Python strings to calibrated scores, but for the kernels.

The emulated driver of the tests stands for the GPU, and its kernels do nothing, so the scores are rubbish and
no bit of them is looked at. What is left is the host's part: tokenisation, batches, copies, calibration. A
GPU that is faster than this waits for the CPU.

    python benchmarks/gpu_feed.py [--rounds N] [--texts FILE] [--count N]

Needs a package built with its test module (scripts/setup.sh).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import _machine
import corpora
import safetyclf

DRIVER = Path(safetyclf.__file__).resolve().parent / "_emulated_cuda"
SETTING = "idle=1"


def main() -> None:
    """Measures, in a process that finds the emulated driver first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=Path, help="texts as in corpora.py; default: synthetic ones")
    parser.add_argument("--count", type=int, default=50_000, help="of texts")
    arguments = parser.parse_args()
    if os.environ.get("SAFETYCLF_EMULATED_CUDA") != SETTING:
        if not (DRIVER / "libcuda.so.1").exists():
            sys.exit(
                "the emulated driver is not there: build with SAFETYCLF_TESTING, as scripts/setup.sh does"
            )
        found = {"LD_LIBRARY_PATH": str(DRIVER), "SAFETYCLF_EMULATED_CUDA": SETTING}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **found})
    print(f"{_machine.cpu()['model']}, {_machine.commit()}, load {os.getloadavg()[0]:.1f}")
    texts = corpora.load(arguments.texts, arguments.count)
    tokens = sum(text.tokens for text in texts)
    strings = [text.text for text in texts]
    cores = len(os.sched_getaffinity(0))
    for threads in sorted({1, cores}):
        classifier = safetyclf.Classifier(device="cuda", threads=threads)
        classifier.scores(strings)
        wall, cpu = [], []
        for _ in range(arguments.rounds):
            begin, used = time.perf_counter(), time.process_time()
            classifier.scores(strings)
            wall.append(tokens / (time.perf_counter() - begin) / 1e6)
            cpu.append(tokens / (time.process_time() - used) / 1e6)
        print(
            f"{threads} threads: {statistics.median(wall):.1f} M tokens/s ({min(wall):.1f}-{max(wall):.1f}), "
            f"{statistics.median(cpu):.1f} M tokens per CPU second ({min(cpu):.1f}-{max(cpu):.1f})"
        )


if __name__ == "__main__":
    main()
