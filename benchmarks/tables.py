#!/usr/bin/env python3
"""Writes the tables of a results file into README.md, below the line `<!-- tables -->`.

tables.py [results/<cpu>.json]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import _results

README = Path(__file__).with_name("README.md")
MARK = "<!-- tables -->\n"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def source(entry: dict[str, Any], *more: str) -> str:
    """The line under a title: how the figures came about."""
    about = [f"`{entry['command']}`", entry["date"], f"commit {entry['commit']}", f"Python {entry['python']}"]
    return ", ".join([*about, *more]) + ".\n"


def build(about: dict[str, Any]) -> str:
    return (
        f"safetyclf {about['version']} ({about['isa']}, compiler {about['compiler']}), model {about['model']}"
    )


def yes_no(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def name_of(contestant: str, about: dict[str, Any]) -> str:
    budget = f", budget {about['budget']}" if "budget" in about else ""
    return f"{contestant.partition(':')[0]} {about['version']}{budget}"


def rival_bulk(entry: dict[str, Any]) -> str:
    rows = []
    for contestant, f in entry["contestants"].items():
        faster, about = f["safetyclf_is_faster_by"], f["about"]
        low, high = faster["wall_range"]
        cpu_low, cpu_high = faster["cpu_range"]
        ours = contestant == "safetyclf"
        rows.append(
            (
                name_of(contestant, about),
                f"{f['texts_per_s']} ({f['texts_per_s_worst']} - {f['texts_per_s_best']})",
                f["texts_per_s_by_cpu_time"],
                f["tokens_per_s"],
                "" if ours else f"{faster['wall']:.2f} ({low:.2f} - {high:.2f})",
                "" if ours else f"{faster['cpu']:.2f} ({cpu_low:.2f} - {cpu_high:.2f})",
                yes_no(about["amx"]),
                about["peak_rss_mb"],
                f"{median(r['other'] for r in f['rounds']):.2f}",
            )
        )
    header = (
        "runtime",
        "texts/s, median (range)",
        "texts/s by CPU time",
        "tokens/s",
        "safetyclf is faster by, wall (range)",
        "by CPU time (range)",
        "AMX",
        "peak MB",
        "other CPU s",
    )
    about = build(entry["contestants"]["safetyclf"]["about"])
    texts = f"{entry['count']} texts, {entry['tokens_cut_at_512']} tokens of {entry['texts']}"
    return source(entry, about, texts, f"{entry['rounds']} rounds") + "\n" + table(header, rows)


LATENCY_HEADER = ("20 tokens, p50 ms", "p10", "p99", "120 tokens, p50 ms", "p10", "p99")


def milliseconds(figures: dict[str, Any]) -> tuple[float, ...]:
    """The cells of LATENCY_HEADER."""
    lengths = figures["ms_20_tokens"], figures["ms_120_tokens"]
    return tuple(f[percentile] for f in lengths for percentile in ("p50", "p10", "p99"))


def rival_latency(entry: dict[str, Any]) -> str:
    rows = [
        (
            name_of(contestant, f["about"]),
            *milliseconds(f),
            "" if contestant == "safetyclf" else f["safetyclf_is_faster_by_20"],
            "" if contestant == "safetyclf" else f["safetyclf_is_faster_by_120"],
        )
        for contestant, f in entry["contestants"].items()
    ]
    header = (
        "runtime",
        *LATENCY_HEADER,
        "safetyclf is faster by, 20 tokens",
        "120 tokens",
    )
    about = build(entry["contestants"]["safetyclf"]["about"])
    calls = sum(f["ms_20_tokens"]["calls"] for f in entry["contestants"].values()) // len(
        entry["contestants"]
    )
    return source(entry, about, f"{calls} calls each at 20 tokens") + "\n" + table(header, rows)


def rival_cold(entry: dict[str, Any]) -> str:
    rows = [
        (name_of(contestant, f["about"]), f["seconds_median"], f["seconds_best"], f["peak_rss_mb"])
        for contestant, f in entry["contestants"].items()
    ]
    bare = f"Python with `import numpy` alone: {entry['python_and_numpy_seconds']} s"
    return (
        source(entry, f"{entry['rounds']} runs", bare)
        + "\n"
        + table(("runtime", "s, median", "s, best", "peak MB"), rows)
    )


def own_bulk(entry: dict[str, Any]) -> str:
    rows = [
        (
            isa,
            f["count"],
            f["tokens"],
            f"{f['texts_per_s']} ({f['texts_per_s_worst']} - {f['texts_per_s_best']})",
            f["texts_per_s_by_cpu_time"],
            f["tokens_per_s"],
        )
        for isa, f in entry["isas"].items()
    ]
    header = (
        "instruction set",
        "texts",
        "tokens",
        "texts/s, median (range)",
        "texts/s by CPU time",
        "tokens/s",
    )
    return source(entry, *own_source(entry)) + "\n" + table(header, rows)


def own_source(entry: dict[str, Any]) -> tuple[str, ...]:
    about = next(iter(entry["isas"].values()))["about"]
    version = f"safetyclf {about['version']} (compiler {about['compiler']}), model {about['model']}"
    return version, entry["texts"], f"{entry['rounds']} rounds"


def own_latency(entry: dict[str, Any]) -> str:
    rows = [(isa, *milliseconds(f)) for isa, f in entry["isas"].items()]
    header = ("instruction set", *LATENCY_HEADER)
    return source(entry, *own_source(entry)) + "\n" + table(header, rows)


def own_cold(entry: dict[str, Any]) -> str:
    rows = [(name.replace("_", " "), f["median"], f["best"], f["worst"]) for name, f in entry["ms"].items()]
    return source(entry, f"{entry['runs']} runs") + "\n" + table(("", "ms, median", "best", "worst"), rows)


def own_memory(entry: dict[str, Any]) -> str:
    stream = entry["stream"]
    quarters = ", ".join(str(x) for x in stream["resident_mb_at_quarters"])
    rows = [
        ("peak of `safetyclf classify --text`", entry["classify_text_peak_mb"]),
        (
            f"streaming {stream['texts']} texts, {stream['threads']} threads: before load",
            stream["before_load_mb"],
        ),
        ("after each quarter", quarters),
        ("peak", stream["peak_mb"]),
    ]
    return source(entry, entry["texts"]) + "\n" + table(("", "MB"), rows)


def accuracy(entry: dict[str, Any]) -> str:
    def row(name: str, f: dict[str, Any]) -> tuple[object, ...]:
        return (
            name,
            f["mean_abs_difference"],
            f["p99_abs_difference"],
            f["max_abs_difference"],
            f"{f['positive_share']:.2%}",
            f"{f['flipped_share']:.2%}",
        )

    rows = [row("all, at 0.5", entry["at_0.5"]), row("all, at review", entry["at_review_thresholds"])]
    if "other_head" in entry:
        other = entry["other_head"]
        rows.append(row(f"{other['head']}, {other['count']} texts, at 0.5", other))
    rows += [row(f"{name}, at 0.5", f) for name, f in entry["categories"].items()]
    header = ("", "mean abs. difference", "99 % below", "largest", "positive in fp32", "flipped")
    about = (
        f"model {entry['model']} ({entry['isa']}, {entry['layers']} layers), {entry['count']} texts, "
        f"{entry['windows']} windows"
    )
    return source(entry, about) + "\n" + table(header, rows)


SECTIONS = (
    ("rivals", "bulk", "Rivals, bulk", rival_bulk),
    ("rivals", "latency", "Rivals, one text at a time", rival_latency),
    ("rivals", "cold", "Rivals, cold start", rival_cold),
    ("end_to_end", "bulk", "safetyclf, bulk", own_bulk),
    ("end_to_end", "latency", "safetyclf, one text at a time", own_latency),
    ("end_to_end", "cold", "safetyclf, cold start", own_cold),
    ("end_to_end", "memory", "safetyclf, memory", own_memory),
    ("accuracy", "", "Accuracy against fp32", accuracy),
)


def render(results: dict[str, Any]) -> str:
    cpu = results["machine"]
    kind = "virtual cores" if cpu["virtual"] else "cores"
    parts = [
        f"CPU of all tables: {cpu['model']}, family {cpu['family']}, model {cpu['number']}, "
        f"{cpu['cores']} {kind}; {', '.join(cpu['flags'])}.\n"
    ]
    for section, start, title, show in SECTIONS:
        for key, entry in results.get(section, {}).items():
            if key.startswith(start):
                detail = key.removeprefix(start).strip(", ")
                parts += [f"### {title}{': ' if detail else ''}{detail}\n", show(entry)]
    return "\n".join(parts)


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else _results.default_path()
    before, mark, _ = README.read_text().partition(MARK)
    if not mark:
        raise SystemExit(f"{README.name} has no line {MARK.strip()}")
    README.write_text(before + mark + "\n" + render(_results.read(path)))


main()
