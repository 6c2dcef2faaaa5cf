"""The server against the classifier in process, on the same texts and the same core.

Two cores are needed: one for what is measured (the server with one worker, or `Classifier.scores` in this
process), one for the load, which a second process makes. Both are bound to their core. Every answer is
compared with the scores that it must have.

    python benchmarks/serve.py throughput        64 connections, against `scores`
    python benchmarks/serve.py latency           one connection, against `classify`; then at 70 % load
    python benchmarks/serve.py memory            200,000 requests, and what workers share
    python benchmarks/serve.py metrics           prometheus_client's own counting against ours

Rounds alternate between the two sides. Where others use the machine, look at the shares by CPU time: a server
has two threads and so gets more of a crowded core than one thread does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _load
import _machine
import corpora
from safetyclf import Classifier
from safetyclf.suites import MODERATION_CATEGORIES as CATEGORIES

Texts = list[tuple[str, str]]  # each with what the answer has to hold, as hexadecimal digits


class Server:
    """`safetyclf serve` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def cpu(self) -> float:
        """Seconds of CPU time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(core: int | None, *options: str, workers: int = 1) -> Iterator[tuple[Server, list[int]]]:
    """A server, and the process ids of its workers."""
    bound = [] if core is None else ["taskset", "-c", str(core)]
    command = [*bound, sys.executable, "-m", "safetyclf", "serve", "--port", "0", "--drain", "0", *options]
    command += ["--workers", str(workers)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        port, ready = 0, []
        assert process.stderr is not None
        try:
            while len(ready) < workers:
                entry = json.loads(process.stderr.readline())
                if entry["event"] == "serving":
                    port = int(entry["url"].rpartition(":")[2])
                elif entry["event"] == "ready":
                    ready.append(entry["process"])
            time.sleep(0.3)
            yield Server(process, port), ready
        finally:
            process.terminate()
            process.communicate()


def load(server: Server, core: int, texts: Texts, **options: Any) -> dict[str, Any]:
    """What a load came to. Stops the benchmark at a wrong or a lost answer."""
    asked = {"host": "127.0.0.1", "port": server.port, "requests": texts, **options}
    command = ["taskset", "-c", str(core), sys.executable, str(Path(__file__).with_name("_load.py"))]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    if result["wrong"] or result["lost"] or set(result["statuses"]) != {"200"}:
        raise SystemExit(f"not all answers were right: {result}")
    return result


def expected(classifier: Classifier, texts: list[str]) -> Texts:
    """The texts, with the scores of the first categories that stand beside each other in an answer."""
    scored = [name in classifier.categories for name in CATEGORIES]
    names = CATEGORIES[: scored.index(False) if False in scored else len(CATEGORIES)]
    columns = [classifier.categories.index(name) for name in names]
    return [
        (text, _load.expectation([float(row[c]) for c in columns], names).hex())
        for text, row in zip(texts, classifier.scores(texts), strict=True)
    ]


def texts_of(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """By name: the mix of lengths of all benchmarks, and short ones alone."""
    import random

    rng = random.Random(corpora.SEED)
    return {
        "mixed lengths": [t.text for t in corpora.load(arguments.workload, 500)],
        "14 tokens each": [corpora.of_length(14, rng).text for _ in range(500)],
    }


def throughput(arguments: argparse.Namespace, classifier: Classifier) -> None:
    """64 connections against `scores`."""
    for name, texts in texts_of(arguments).items():
        pairs = expected(classifier, texts)
        rates, walls, shares = [], [], []
        with serving(arguments.server_core) as (server, _):
            load(server, arguments.load_core, pairs, connections=64, seconds=1)
            for _ in range(arguments.rounds):
                begin, cpu = time.perf_counter(), time.process_time()
                repeats = 0
                while time.perf_counter() - begin < arguments.seconds:
                    classifier.scores(texts)
                    repeats += 1
                count = repeats * len(texts)
                wall, own = count / (time.perf_counter() - begin), (time.process_time() - cpu) / count
                before = server.cpu()
                result = load(server, arguments.load_core, pairs, connections=64, seconds=arguments.seconds)
                each = (server.cpu() - before) / result["requests"]
                rates.append(result["rate"])
                walls.append(result["rate"] / wall)
                shares.append(own / each)
        print(
            f"{name}: {statistics.median(rates):.0f} requests/s at 64 connections; of in-process scores "
            f"{statistics.median(walls):.0%} ({min(walls):.0%}-{max(walls):.0%}) by the clock, "
            f"{statistics.median(shares):.0%} ({min(shares):.0%}-{max(shares):.0%}) by CPU time"
        )


def latency(arguments: argparse.Namespace, classifier: Classifier) -> None:
    """One connection, then many at 70 % of what they can get."""
    texts = texts_of(arguments)
    added: list[tuple[float, float]] = []
    with serving(arguments.server_core) as (server, _):
        pairs = expected(classifier, texts["14 tokens each"])
        for _ in range(arguments.rounds):
            alone = []
            for text, _ in pairs:
                begin = time.perf_counter()
                classifier.classify(text)
                alone.append(time.perf_counter() - begin)
            result = load(server, arguments.load_core, pairs, connections=1, seconds=arguments.seconds)
            tenth = statistics.quantiles(alone, n=10)[0]
            added.append((result["p50"] - statistics.median(alone), result["p10"] - tenth))
        for name, values in zip(("p50", "p10"), zip(*added, strict=True), strict=True):
            low, middle, high = (1000 * f(values) for f in (min, statistics.median, max))
            print(
                f"one connection, 14 tokens each: {name} {middle:.2f} ms over classify ({low:.2f}-{high:.2f})"
            )
        for name, some in texts.items():
            pairs = expected(classifier, some)
            alone = []
            for text in some:
                begin = time.perf_counter()
                classifier.classify(text)
                alone.append(time.perf_counter() - begin)
            own = statistics.quantiles(alone, n=100)[98] / statistics.median(alone)
            ratios = []
            for _ in range(arguments.rounds):
                most = load(server, arguments.load_core, pairs, connections=64, seconds=arguments.seconds)[
                    "rate"
                ]
                result = load(
                    server,
                    arguments.load_core,
                    pairs,
                    connections=64,
                    seconds=arguments.seconds,
                    rate=0.7 * most,
                )
                ratios.append((result["p99"] / result["p50"], result["p50"], result["p99"], most))
            ratio, p50, p99, most = sorted(ratios)[len(ratios) // 2]
            print(
                f"{name}, 70 % of {most:.0f} requests/s: p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms, "
                f"{ratio:.1f} times p50 ({min(ratios)[0]:.1f}-{max(ratios)[0]:.1f}); "
                f"of classify alone p99 is {own:.1f} times p50"
            )


def _memory_of(pid: int) -> dict[str, float]:
    """Megabytes: resident, and with what is shared divided by those who share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return {
        "rss": sizes["Rss"],
        "pss": sizes["Pss"],
        "private": sizes["Private_Dirty"] + sizes["Private_Clean"],
    }


def memory(arguments: argparse.Namespace, classifier: Classifier) -> None:
    """Flat or not, and shared or not."""
    pairs = expected(classifier, texts_of(arguments)["14 tokens each"])
    with serving(arguments.server_core) as (server, [worker]):
        load(server, arguments.load_core, pairs, connections=64, count=5000)
        sizes = [_memory_of(worker)["rss"]]
        for _ in range(10):
            load(server, arguments.load_core, pairs, connections=64, count=arguments.requests // 10)
            sizes.append(_memory_of(worker)["rss"])
        print(f"{arguments.requests} requests: resident MB {' '.join(f'{size:.1f}' for size in sizes)}")
    for workers in (1, 2, 4):
        with serving(None, workers=workers) as (server, found):
            load(server, arguments.load_core, pairs, connections=16, count=500)
            each = [_memory_of(worker) for worker in found]
            rss, private = (statistics.mean(e[key] for e in each) for key in ("rss", "private"))
            print(
                f"{workers} workers: resident {rss:.0f} MB each, of that private {private:.0f} MB; "
                f"together, shared pages counted once, {sum(e['pss'] for e in each):.0f} MB"
            )


def metrics(arguments: argparse.Namespace, classifier: Classifier) -> None:
    """What it costs to count the scores of one text."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        from prometheus_client import CollectorRegistry, Histogram
        from safetyclf.serve.lanes import Answer
        from safetyclf.serve.metrics import SCORE_BOUNDS, Metrics, families
        from safetyclf.serve.tally import Tally

        theirs = Histogram("score", "", ["category"], buckets=SCORE_BOUNDS, registry=CollectorRegistry())
        children = [theirs.labels(name) for name in classifier.categories]
        counted = Metrics(folder, families(["x"], classifier.categories, 7))
        tally = Tally(counted)
        rules = classifier._in_force.rules
        states = [v._state for v in classifier.classify_batch(["a good day"] * 500)]
        rows = [list(v.scores.values()) for v in classifier.classify_batch(["a good day"] * 500)]
        for name, count in (
            ("prometheus_client, several processes", lambda: _observe(children, rows)),
            ("ours", lambda: (tally.add(rules, Answer(states, [6] * len(states), [], 0.0)), tally.flush())),
        ):
            times = []
            for _ in range(5 * arguments.rounds):
                begin = time.process_time()
                count()
                times.append((time.process_time() - begin) / 500)
            print(f"{name}: {1e6 * statistics.median(times):.1f} us for the {len(children)} scores of a text")
        counted.close()


def _observe(children: list[Any], rows: list[list[float]]) -> None:
    for row in rows:
        for child, value in zip(children, row, strict=True):
            child.observe(value)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"throughput": throughput, "latency": latency, "memory": memory, "metrics": metrics}
    parser.add_argument("parts", nargs="+", choices=parts)
    parser.add_argument("--workload", type=Path, help="texts as in corpora.py; default: synthetic ones")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--server-core", type=int, default=1)
    parser.add_argument("--load-core", type=int, default=0)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.server_core})
    classifier = Classifier(threads=1)
    about = _machine.cpu()
    print(f"{about['model']}, {classifier._engine.isa}, {_machine.commit()}, load {os.getloadavg()[0]:.1f}")
    for part in arguments.parts:
        parts[part](arguments, classifier)


if __name__ == "__main__":
    main()
