#!/usr/bin/env python3
"""Time of one text against its length: fills a table of docs/performance.md and draws its plot.

    lengths.py BENCH_KERNELS [--rounds N]

CPU time of the calling thread, one thread, one text a call; all lengths and instruction sets take turns in
each round. The floor is the encoder's multiply-accumulates at the peak that BENCH_KERNELS measures for the
instruction set, once a round; the largest counts.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import _machine
import _page
import _results
import corpora
import matplotlib
import numpy as np
import numpy.typing as npt
import safetyclf
from matplotlib.figure import Figure
from safetyclf import _modelfile
from safetyclf._native import Engine

MODEL = Path(safetyclf.__file__).parent / "models" / "default.safetensors"
PLOT = _page.PAGE.with_suffix(".svg")
LENGTHS = (8, 16, 32, 64, 128, 256, 384, 512, 1024, 2048)
SHORTEST = 5e-3  # seconds in one measurement: the clock must not matter
INK = "#7f7f7f"  # to be read on light and on dark pages
COLOURS = ("#d1603d", "#3a86c8", "#3f9b5f")


def peak(program: Path, isa: str) -> float:
    """GMAC/s; the program is stopped once it has printed that."""
    with subprocess.Popen(["stdbuf", "-oL", program, isa], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for text in process.stdout:
            if match := re.match(r"peak (\d+) GMAC/s", text):
                process.kill()
                return float(match[1])
    raise SystemExit(f"{program.name} prints no peak for {isa}")


def seconds(engine: Engine, text: str, calls: int) -> float:
    begin = time.thread_time()
    for _ in range(calls):
        engine.probabilities([text])
    return (time.thread_time() - begin) / calls


def measure(
    engines: dict[str, Engine], texts: dict[int, str], rounds: int, kernels: Path
) -> tuple[dict[str, dict[int, list[float]]], dict[str, float]]:
    """Seconds of each round, by instruction set and length; peaks."""
    calls = {
        (isa, length): 1 + int(SHORTEST / max(seconds(engine, text, 2), 1e-6))
        for isa, engine in engines.items()
        for length, text in texts.items()
    }
    found: dict[str, dict[int, list[float]]] = {isa: defaultdict(list) for isa in engines}
    peaks = dict.fromkeys(engines, 0.0)
    for _ in range(rounds):
        peaks = {isa: max(before, peak(kernels, isa)) for isa, before in peaks.items()}
        for length, text in texts.items():
            for isa, engine in engines.items():
                found[isa][length].append(seconds(engine, text, calls[isa, length]))
    return found, peaks


def line(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[float, float, npt.NDArray[np.float64]]:
    """Intercept, slope and residuals of the line with the smallest squares of relative residuals."""
    (a, b), *_ = np.linalg.lstsq(np.stack([1 / y, x / y], axis=1), np.ones_like(y), rcond=None)
    return float(a), float(b), y / (a + b * x) - 1


def draw(times: dict[str, npt.NDArray[np.float64]]) -> None:
    tokens = np.array(LENGTHS, float)
    style: dict[Any, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": "safetyclf", "font.family": "sans-serif", "font.size": 9,
        "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK,
        "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False,
        "figure.facecolor": "none", "axes.facecolor": "none", "legend.frameon": False,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for (isa, y), colour in zip(times.items(), COLOURS, strict=False):
            a, b, residuals = line(tokens, y)
            left.loglog(tokens, (a + b * tokens) * 1e3, color=colour, linewidth=1)
            left.loglog(tokens, y * 1e3, "o", color=colour, markersize=4, label=isa)
            right.semilogx(tokens, residuals * 100, "o-", color=colour, linewidth=1, markersize=4)
        for axes in (left, right):
            axes.set_xticks(LENGTHS[::2], [str(length) for length in LENGTHS[::2]])
            axes.minorticks_off()
            axes.set_xlabel("tokens")
        right.axhline(0, color=INK, linewidth=0.8)
        left.set_ylabel("ms a text; lines: a + b * tokens")
        right.set_ylabel("residual, % of the line")
        left.legend()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(PLOT, format="svg", bbox_inches="tight", metadata=metadata)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kernels", type=Path, help="the program bench_kernels")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    isas = [isa for isa in safetyclf.build_info()["supported_isas"] if isa != "scalar"]
    engines = {isa: Engine(str(MODEL), threads=1, max_text_bytes=1 << 20, isa=isa) for isa in isas}
    texts = {length: corpora.of_length(length, random.Random(corpora.SEED)).text for length in LENGTHS}
    shape = _modelfile.read(MODEL).architecture
    windows = {length: np.diff(engines[isas[0]].tokenize(text)[3]) for length, text in texts.items()}
    work = np.array([_page.macs(shape, windows[length].tolist()) for length in LENGTHS], float)
    tokens = np.array(LENGTHS, float)

    rounds, peaks = measure(engines, texts, options.rounds, options.kernels)
    _results.store(
        _results.default_path(),
        "lengths",
        engines[isas[0]].model_id,
        {
            "peaks_gmac_per_s": peaks,
            "seconds": {isa: {str(k): v for k, v in r.items()} for isa, r in rounds.items()},
        },
    )
    times = {isa: np.array([np.median(rounds[isa][length]) for length in LENGTHS]) for isa in isas}
    draw(times)

    cpu = _machine.cpu()
    parts = [
        f"{engines[isas[0]].model_id}, {cpu['model']} (family {cpu['family']}, model {cpu['number']}), "
        f"{_machine.commit()}, {time.strftime('%Y-%m-%d', time.gmtime())}, {options.rounds} rounds:\n",
        f"![Time of a text against its length, and its distance from a line]({PLOT.name})\n",
    ]
    for isa, y in times.items():
        floor = work / (peaks[isa] * 1e9)
        a, b, residuals = line(tokens, y)
        _, _, by_work = line(work, y)
        rows = [
            [
                str(length),
                str(len(windows[length])),
                f"{work[i] / 1e6:,.0f}",
                f"{y[i] * 1e3:.3f}",
                "{:.3f} - {:.3f}".format(*(np.quantile(rounds[isa][length], (0.1, 0.9)) * 1e3)),
                f"{y[i] / length * 1e6:.1f}",
                f"{floor[i] * 1e3:.3f}",
                f"{y[i] / floor[i]:.2f}",
                f"{residuals[i]:+.1%}",
                f"{by_work[i]:+.1%}",
            ]
            for i, length in enumerate(LENGTHS)
        ]
        header = (
            "tokens", "windows", "million MAC", "ms, median", "p10 - p90", "us a token", "floor, ms",
            "times the floor", "off the line over tokens", "off the line over MAC",
        )  # fmt: skip
        parts += [
            f"**{isa}**, peak {peaks[isa]:.0f} GMAC/s; line: {a * 1e6:.0f} us + {b * 1e6:.2f} us a token.\n",
            _page.table(header, rows),
        ]
    _page.fill("lengths", "\n".join(parts))


if __name__ == "__main__":
    main()
