#!/usr/bin/env python3
"""safetyclf against other runtimes with the same encoder on the same texts, in turn within one run.

    rivals.py bulk|latency|cold|tune --models FOLDER [--threads 1] [--no-amx] [--texts workload.jsonl] ...

docs: benchmarks/README.md. The rivals' models come from `../shared/peers/bench_peers.py export`,
safetyclf's from `make_model.py`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _machine
import _results
import corpora
from _drive import Worker, interleave, latency, percentile, ratios, throughput

RIVALS = (
    "openvino-int8",
    "openvino-int8-bf16",
    "openvino-bf16",
    "onnxruntime-int8",
    "onnxruntime-fp32",
    "ctranslate2-int8",
)
RIVAL_LAYERS = 6
BUDGETS = (256, 512, 1024, 2048, 4096, 8192)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("bulk", "latency", "cold", "tune"))
    parser.add_argument("--models", type=Path, required=True, help="folder of the rivals' models")
    parser.add_argument(
        "--rivals", default=",".join(RIVALS), help="names, each with its budget after a colon if not its own"
    )
    parser.add_argument(
        "--rival-python", default=sys.executable, help="interpreter that has the rivals' packages"
    )
    parser.add_argument("--model", help="safetyclf model file with the rivals' encoder (make_model.py)")
    parser.add_argument("--texts", type=Path, help="workload file (default: synthetic texts)")
    parser.add_argument("--count", type=int, default=1000, help="number of texts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-amx", action="store_true", help="refuse AMX to every contestant")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=_results.default_path())
    return parser.parse_args()


def check_layers(model: str | None) -> None:
    """A model with fewer layers than the rivals' computes less, and would win for the wrong reason."""
    import safetyclf

    layers = safetyclf.Classifier(model, threads=1).info()["architecture"]["layers"]
    if layers != RIVAL_LAYERS:
        raise SystemExit(
            f"safetyclf's model has {layers} layers, the rivals' {RIVAL_LAYERS}: see make_model.py"
        )


class Run:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        if options.what != "tune":
            check_layers(options.model)
        self.texts = corpora.load(options.texts, options.count)
        # What a rival reads: it cuts a text at 512 tokens. We read all of it, in windows.
        self.tokens = sum(min(t.tokens, 512) for t in self.texts)
        self.strings = [t.text for t in self.texts]
        self.setting = "no AMX" if options.no_amx else "all instructions"
        self.key = f"{options.what}, threads {options.threads}, {self.setting}"

    def starters(self, latency: bool = False) -> dict[str, Callable[[], Worker]]:
        o = self.options

        def starter(name: str, budget: int | None, python: str) -> Callable[[], Worker]:
            return lambda: Worker(
                name,
                threads=o.threads,
                latency=latency,
                deny_amx=o.no_amx,
                models=o.models,
                model=o.model,
                budget=budget,
                python=python,
            )

        starters = {"safetyclf": starter("safetyclf", None, sys.executable)}
        for rival in o.rivals.split(","):
            name, _, budget = rival.partition(":")
            starters[rival] = starter(name, int(budget) if budget else None, o.rival_python)
        return starters

    def store(self, contestants: dict[str, dict[str, Any]], **more: Any) -> None:
        entry = {
            "threads": self.options.threads,
            "setting": self.setting,
            "rounds": self.options.rounds,
            **more,
            "contestants": contestants,
        }
        _results.store(self.options.results, "rivals", self.key, entry)
        for name, figures in contestants.items():
            print(name, json.dumps({k: v for k, v in figures.items() if k not in ("rounds", "about")}))


def bulk(run: Run) -> None:
    answers, about = interleave(run.starters(), run.strings, {"do": "bulk"}, run.options.rounds)
    contestants = {}
    for name, rounds in answers.items():
        contestants[name] = throughput(rounds, len(run.texts), run.tokens, run.options.threads)
        contestants[name]["safetyclf_is_faster_by"] = ratios(answers["safetyclf"], rounds)
        contestants[name]["about"] = about[name]
    run.store(
        contestants, texts=corpora.name(run.options.texts), count=len(run.texts), tokens_cut_at_512=run.tokens
    )


def batch_of_one(run: Run) -> None:
    contestants: dict[str, dict[str, Any]] = {}
    pool = corpora.load(run.options.texts, run.options.count)
    for tokens, calls in ((20, 80), (120, 50)):
        text = corpora.first_of_length(pool, tokens).text
        request = {"do": "latency", "text": text, "calls": calls}
        answers, about = interleave(run.starters(latency=True), [text], request, run.options.rounds)
        for name, rounds in answers.items():
            figures = contestants.setdefault(name, {"about": about[name]})
            figures[f"ms_{tokens}_tokens"] = latency(rounds)
            medians = [percentile(ours, 0.5) for ours in answers["safetyclf"]]
            shares = [percentile(r, 0.5) / m for r, m in zip(rounds, medians, strict=True)]
            figures[f"safetyclf_is_faster_by_{tokens}"] = round(statistics.median(shares), 3)
    run.store(contestants, texts=corpora.name(run.options.texts))


def cold(run: Run) -> None:
    """Fresh process until the scores of one text: start of Python, imports, load, score, exit."""
    seconds: dict[str, list[float]] = {name: [] for name in run.starters()}
    about: dict[str, dict[str, Any]] = {}
    for _ in range(run.options.rounds):
        for name, start in run.starters().items():
            begin = time.perf_counter()
            with start() as worker:
                worker.ask({"do": "load", "texts": ["you are a wonderful person, have a nice day"]})
            seconds[name].append(time.perf_counter() - begin)
    for name, start in run.starters().items():
        with start() as worker:
            worker.ask({"do": "load", "texts": ["you are a wonderful person, have a nice day"]})
            about[name] = worker.ask({"do": "about"})
    contestants = {
        name: {
            "seconds_median": round(statistics.median(values), 3),
            "seconds_best": round(min(values), 3),
            "peak_rss_mb": about[name]["peak_rss_mb"],
            "about": about[name],
        }
        for name, values in seconds.items()
    }
    bare = []
    for _ in range(run.options.rounds):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import numpy"], check=True)
        bare.append(time.perf_counter() - begin)
    run.store(contestants, python_and_numpy_seconds=round(statistics.median(bare), 3))


def tune(run: Run) -> None:
    """CPU seconds of each rival by budget, the least of the rounds; nothing is stored."""
    o = run.options
    for rival in o.rivals.split(","):
        best = {}
        for budget in BUDGETS:
            with Worker(
                rival,
                threads=o.threads,
                deny_amx=o.no_amx,
                models=o.models,
                budget=budget,
                python=o.rival_python,
            ) as worker:
                worker.ask({"do": "load", "texts": run.strings})
                best[budget] = round(min(worker.ask({"do": "bulk"})["cpu"] for _ in range(o.rounds)), 3)
        print(f"{rival}, {run.setting}, {len(run.texts)} texts: CPU seconds by budget {best}", flush=True)


def main() -> None:
    options = arguments()
    _machine.pin(options.threads)
    run = Run(options)
    {"bulk": bulk, "latency": batch_of_one, "cold": cold, "tune": tune}[options.what](run)


main()
