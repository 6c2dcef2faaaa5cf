#!/usr/bin/env python3
"""safetyclf against other runtimes with the same encoder on the same texts, in turn within one run.

    rivals.py bulk|latency|cold|all|tune --models FOLDER [--threads 1] [--no-amx] [--texts FILE ...] ...

docs: benchmarks/README.md. The rivals' models come from `../shared/peers/bench_peers.py export`,
the model of safetyclf at full depth from `make_model.py`; with adaptive depth runs the one inside the
package. `all` is bulk on each file of texts, then latency and cold on the first.
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

import _depth
import _machine
import _results
import corpora
from _drive import Worker, interleave, latency, percentile, ratios, throughput
from safetyclf import Classifier

OURS = ("safetyclf", "safetyclf-adaptive")
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
LATENCY_CALLS = {20: 80, 120: 50}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("bulk", "latency", "cold", "all", "tune"))
    parser.add_argument("--models", type=Path, required=True, help="folder of the rivals' models")
    parser.add_argument(
        "--rivals", default=",".join(RIVALS), help="names, each with its budget after a colon if not its own"
    )
    parser.add_argument(
        "--rival-python", default=sys.executable, help="interpreter that has the rivals' packages"
    )
    parser.add_argument("--model", help="safetyclf model file with the rivals' encoder (make_model.py)")
    parser.add_argument("--texts", type=Path, nargs="+", help="workload files (default: synthetic texts)")
    parser.add_argument("--count", type=int, default=1000, help="number of texts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-amx", action="store_true", help="refuse AMX to every contestant")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=_results.default_path())
    return parser.parse_args()


def packaged(threads: int) -> tuple[Classifier, Classifier]:
    """The model inside the package at full and at adaptive depth."""
    return Classifier(threads=threads), Classifier(threads=threads, effort="adaptive")


def check_layers(model: str | None) -> None:
    """A model with fewer layers than the rivals' computes less, and would win for the wrong reason."""
    layers = Classifier(model, threads=1).info()["architecture"]["layers"]
    if layers != RIVAL_LAYERS:
        raise SystemExit(
            f"safetyclf's model has {layers} layers, the rivals' {RIVAL_LAYERS}: see make_model.py"
        )


class Run:
    def __init__(self, options: argparse.Namespace, path: Path | None) -> None:
        self.options = options
        self.source = corpora.name(path)
        self.texts = corpora.load(path, options.count)
        # What a rival reads: it cuts a text at 512 tokens. We read all of it, in windows.
        self.tokens = sum(min(t.tokens, 512) for t in self.texts)
        self.strings = [t.text for t in self.texts]
        self.setting = "no AMX" if options.no_amx else "all instructions"

    def starters(self, latency: bool = False) -> dict[str, Callable[[], Worker]]:
        o = self.options

        def starter(
            name: str, *, python: str, model: str | None = None, budget: int | None = None
        ) -> Callable[[], Worker]:
            return lambda: Worker(
                name,
                threads=o.threads,
                latency=latency,
                deny_amx=o.no_amx,
                models=o.models,
                model=model,
                budget=budget,
                python=python,
            )

        starters = {
            "safetyclf": starter("safetyclf", model=o.model, python=sys.executable),
            "safetyclf-adaptive": starter("safetyclf-adaptive", python=sys.executable),
        }
        for rival in o.rivals.split(","):
            name, _, budget = rival.partition(":")
            starters[rival] = starter(name, budget=int(budget) if budget else None, python=o.rival_python)
        return starters

    def store(self, what: str, contestants: dict[str, dict[str, Any]], texts: str = "", **more: Any) -> None:
        """One entry; `texts` tells it from others of its kind."""
        entry = {
            "threads": self.options.threads,
            "setting": self.setting,
            "rounds": self.options.rounds,
            **more,
            "contestants": contestants,
        }
        key = f"{what}, threads {self.options.threads}, {self.setting}"
        if texts:
            key, entry = f"{key}, {texts}", {"texts": texts, **entry}
        _results.store(self.options.results, "rivals", key, entry)
        print(key)
        for name, figures in contestants.items():
            print(name, json.dumps({k: v for k, v in figures.items() if k not in ("rounds", "about")}))


def bulk(run: Run) -> None:
    (answers,), about = interleave(run.starters(), run.strings, [{"do": "bulk"}], run.options.rounds)
    contestants = {}
    for name, rounds in answers.items():
        contestants[name] = throughput(rounds, len(run.texts), run.tokens, run.options.threads)
        for ours in OURS:
            contestants[name][f"{ours}_is_faster_by"] = ratios(answers[ours], rounds)
        contestants[name]["about"] = about[name]
    run.store(
        "bulk",
        contestants,
        run.source,
        count=len(run.texts),
        tokens_cut_at_512=run.tokens,
        adaptive=_depth.compare(*packaged(run.options.threads), run.strings),
    )


def batch_of_one(run: Run) -> None:
    full, _ = packaged(run.options.threads)
    picked = _depth.near(full, run.texts, LATENCY_CALLS)
    wanted = [(kind, tokens, texts) for kind in picked for tokens, texts in picked[kind].items()]
    requests = [
        {"do": "latency", "texts": [t.text for t in texts], "calls": LATENCY_CALLS[tokens]}
        for _, tokens, texts in wanted
    ]
    strings = [t.text for _, _, texts in wanted for t in texts]
    answers, about = interleave(run.starters(latency=True), strings, requests, run.options.rounds)
    kinds: dict[str, dict[str, dict[str, Any]]] = {}
    for (kind, tokens, _), by_contestant in zip(wanted, answers, strict=True):
        contestants = kinds.setdefault(kind, {name: {"about": about[name]} for name in by_contestant})
        medians = {name: [percentile(r, 0.5) for r in rounds] for name, rounds in by_contestant.items()}
        for name, rounds in by_contestant.items():
            contestants[name][f"ms_{tokens}_tokens"] = latency(rounds)
            for ours in OURS:
                shares = [theirs / m for theirs, m in zip(medians[name], medians[ours], strict=True)]
                contestants[name][f"{ours}_is_faster_by_{tokens}"] = round(statistics.median(shares), 3)
    for kind, contestants in kinds.items():
        ranges = {n: [min(t.tokens for t in ts), max(t.tokens for t in ts)] for n, ts in picked[kind].items()}
        run.store("latency", contestants, f"{kind} texts of {run.source}", lengths=ranges)


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
    run.store("cold", contestants, python_and_numpy_seconds=round(statistics.median(bare), 3))


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
    kinds = ("bulk", "latency", "cold") if options.what == "all" else (options.what,)
    if options.what != "tune":
        check_layers(options.model)
        check_layers(None)
    runs = [Run(options, path) for path in options.texts or [None]]
    if "bulk" in kinds:
        for run in runs:
            bulk(run)
    for kind, measure in (("latency", batch_of_one), ("cold", cold), ("tune", tune)):
        if kind in kinds:
            measure(runs[0])


main()
