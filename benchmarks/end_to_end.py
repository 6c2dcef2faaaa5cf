#!/usr/bin/env python3
"""safetyclf by itself: throughput and latency for each instruction set, scaling, cold start, memory.

    end_to_end.py [bulk|latency|scaling|cold|memory|all] [--texts workload.jsonl] [--model FILE] ...

docs: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _results
import corpora
from _drive import Worker, interleave, latency, ratios, throughput

KINDS = ("bulk", "latency", "scaling", "cold", "memory")
SLOW = {"scalar": 100}  # instruction sets that get fewer texts
LATENCY_CALLS = {20: 80, 120: 50}
STREAMED = 100_000
GREETING = "you are a wonderful person, have a nice day"

FIRST_VERDICT = """
import time
start, cpu = time.perf_counter(), time.process_time()
import safetyclf
imported = time.perf_counter()
classifier = safetyclf.Classifier({model!r})
loaded = time.perf_counter()
classifier.classify({text!r})
end, cpu = time.perf_counter(), time.process_time() - cpu
print(imported - start, loaded - imported, end - loaded, end - start, cpu)
"""

FIRST_VERDICT_PARTS = ("import", "load", "first_verdict", "import_load_first_verdict", "the_same_in_cpu_time")

STREAM = """
import sys
sys.path.insert(0, {folder!r})
import _machine, corpora, safetyclf
from itertools import cycle, islice
from pathlib import Path

texts = [t.text for t in corpora.load({path!r} and Path({path!r}), {count})]
before = _machine.memory_mb("VmRSS")
classifier = safetyclf.Classifier({model!r})
resident = []
for i, _ in enumerate(classifier.stream(islice(cycle(texts), {streamed}))):
    if (i + 1) % ({streamed} // 4) == 0:
        resident.append(_machine.memory_mb("VmRSS"))
print(before, *resident, _machine.memory_mb("VmHWM"))
"""

# The peak of a child counts from the memory of the process that started it: a small one must.
PEAK_OF_CHILD = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss * 1024 / 1e6, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=(*KINDS, "all"), default="all")
    parser.add_argument("--model", help="model file (default: the one inside the package)")
    parser.add_argument("--texts", type=Path, help="workload file (default: synthetic texts)")
    parser.add_argument("--count", type=int, default=1000, help="number of texts")
    parser.add_argument("--threads", default="1,2", help="numbers of threads for bulk, latency and scaling")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=_results.default_path())
    return parser.parse_args()


def starters(options: argparse.Namespace, threads: int, *, slow: bool) -> dict[str, Callable[[], Worker]]:
    """One worker for each instruction set that this CPU has; `slow` picks the slow ones or the others."""
    import safetyclf

    def starter(isa: str) -> Callable[[], Worker]:
        return lambda: Worker("safetyclf", threads=threads, isa=isa, model=options.model)

    return {isa: starter(isa) for isa in safetyclf.build_info()["supported_isas"] if (isa in SLOW) == slow}


def bulk(options: argparse.Namespace, threads: int) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for slow in (False, True):
        makers = starters(options, threads, slow=slow)
        count = min((SLOW[isa] for isa in makers), default=0) if slow else options.count
        texts = corpora.load(options.texts, count)
        tokens = sum(t.tokens for t in texts)
        (answers,), about = interleave(makers, [t.text for t in texts], [{"do": "bulk"}], options.rounds)
        for isa, rounds in answers.items():
            figures[isa] = {
                "count": count,
                "tokens": tokens,
                **throughput(rounds, count, tokens, threads),
                "about": about[isa],
            }
    return {"texts": corpora.name(options.texts), "threads": threads, "isas": figures}


def batch_of_one(options: argparse.Namespace, threads: int) -> dict[str, Any]:
    pool = corpora.load(options.texts, options.count)
    texts = [corpora.first_of_length(pool, tokens).text for tokens in LATENCY_CALLS]
    requests = [
        {"do": "latency", "texts": [text], "calls": calls}
        for text, calls in zip(texts, LATENCY_CALLS.values(), strict=True)
    ]
    figures: dict[str, Any] = {}
    for slow in (False, True):
        makers = starters(options, threads, slow=slow)
        answers, about = interleave(makers, texts, requests, options.rounds)
        for tokens, by_isa in zip(LATENCY_CALLS, answers, strict=True):
            for isa, rounds in by_isa.items():
                figures.setdefault(isa, {"about": about[isa]})[f"ms_{tokens}_tokens"] = latency(rounds)
    return {"texts": corpora.name(options.texts), "threads": threads, "isas": figures}


def scaling(options: argparse.Namespace, threads: list[int]) -> dict[str, Any]:
    """Each number of threads against the first, in turn on the same texts."""

    def starter(count: int) -> Callable[[], Worker]:
        return lambda: Worker("safetyclf", threads=count, model=options.model)

    texts = corpora.load(options.texts, options.count)
    tokens = sum(t.tokens for t in texts)
    makers = {str(count): starter(count) for count in threads}
    (answers,), about = interleave(makers, [t.text for t in texts], [{"do": "bulk"}], options.rounds)
    figures = {}
    for count, rounds in answers.items():
        figures[count] = throughput(rounds, len(texts), tokens, int(count))
        figures[count]["faster_by"] = ratios(rounds, answers[str(threads[0])])
    return {
        "texts": corpora.name(options.texts),
        "count": len(texts),
        "about": about[str(threads[0])],
        "by_threads": figures,
    }


def run_python(*words: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode > 1:  # 1: the text was flagged
        raise SystemExit(f"{words[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    return time.perf_counter() - begin, done


def command_line(options: argparse.Namespace) -> list[str]:
    return [
        "-m",
        "safetyclf",
        "classify",
        "--text",
        GREETING,
        *(["--model", options.model] if options.model else []),
    ]


def cold(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds in fresh processes, in turn."""
    script = FIRST_VERDICT.format(model=options.model, text=GREETING)
    spent: dict[str, list[float]] = {}
    for _ in range(4 * options.rounds):
        for name, words in (
            ("bare_python", ["-c", "pass"]),
            ("python_with_first_verdict", ["-c", script]),
            ("safetyclf_classify_text", command_line(options)),
        ):
            seconds, done = run_python(*words)
            spent.setdefault(name, []).append(seconds * 1e3)
            if name == "python_with_first_verdict":
                parts = [float(x) * 1e3 for x in done.stdout.split()]
                for part, value in zip(FIRST_VERDICT_PARTS, parts, strict=True):
                    spent.setdefault(part, []).append(value)
    return {
        "runs": 4 * options.rounds,
        "ms": {
            name: {
                "median": round(statistics.median(v), 1),
                "best": round(min(v), 1),
                "worst": round(max(v), 1),
            }
            for name, v in spent.items()
        },
    }


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """MB of 10^6 bytes."""
    peaks = [
        float(
            run_python("-S", "-c", PEAK_OF_CHILD, sys.executable, *command_line(options))[1].stderr.split()[
                -1
            ]
        )
        for _ in range(options.rounds)
    ]
    path = None if options.texts is None else str(options.texts)
    script = STREAM.format(
        folder=str(Path(__file__).parent),
        path=path,
        count=options.count,
        model=options.model,
        streamed=STREAMED,
    )
    before, *resident, peak = (float(x) for x in run_python("-c", script)[1].stdout.split())
    return {
        "texts": corpora.name(options.texts),
        "classify_text_peak_mb": round(max(peaks), 1),
        "stream": {
            "texts": STREAMED,
            "threads": len(os.sched_getaffinity(0)),
            "before_load_mb": round(before, 1),
            "resident_mb_at_quarters": [round(x, 1) for x in resident],
            "peak_mb": round(peak, 1),
        },
    }


def main() -> None:
    options = arguments()
    kinds = KINDS if options.what == "all" else (options.what,)

    def store(key: str, entry: dict[str, Any]) -> None:
        _results.store(options.results, "end_to_end", key, {"rounds": options.rounds, **entry})
        print(key, json.dumps(entry, indent=1))

    threads = [int(number) for number in options.threads.split(",")]
    for kind, measure in (("bulk", bulk), ("latency", batch_of_one)):
        for number in threads:
            if kind in kinds:
                store(f"{kind}, threads {number}", measure(options, number))
    if "scaling" in kinds:
        store("scaling", scaling(options, threads))
    if "cold" in kinds:
        store("cold", cold(options))
    if "memory" in kinds:
        store("memory", memory(options))


main()
