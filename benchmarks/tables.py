#!/usr/bin/env python3
"""Writes the tables of a results file into README.md, below the line `<!-- tables -->`.

tables.py [results/<cpu>.json]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
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


OURS = ("safetyclf", "safetyclf-adaptive")


def contestants_of_ours(entry: dict[str, Any]) -> list[str]:
    """Those of OURS that ran: entries from before adaptive depth took part have one."""
    return [name for name in OURS if name in entry["contestants"]]


def spread(faster: dict[str, Any], clock: str) -> str:
    low, high = faster[f"{clock}_range"]
    return f"{faster[clock]:.2f} ({low:.2f} - {high:.2f})"


def against_the_best(entry: dict[str, Any], figure: Callable[[str, dict[str, Any]], float]) -> str:
    """By how much each of ours beats the rival that comes closest; `figure` reads it from a rival's entry."""
    parts = []
    for ours in contestants_of_ours(entry):
        rivals = {name: figure(ours, f) for name, f in entry["contestants"].items() if name not in OURS}
        best = min(rivals, key=rivals.__getitem__)
        parts.append(f"{ours} {rivals[best]:.2f} ({best.partition(':')[0]})")
    return ", ".join(parts)


def rival_bulk(entry: dict[str, Any]) -> str:
    rows = []
    ours = contestants_of_ours(entry)
    for contestant, f in entry["contestants"].items():
        about = f["about"]
        faster = [
            "" if contestant in OURS else spread(f[f"{name}_is_faster_by"], clock)
            for name in ours
            for clock in ("wall", "cpu")
        ]
        rows.append(
            (
                name_of(contestant, about),
                f"{f['texts_per_s']} ({f['texts_per_s_worst']} - {f['texts_per_s_best']})",
                f["texts_per_s_by_cpu_time"],
                f["tokens_per_s"],
                *faster,
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
        *(title for name in ours for title in (f"{name} is faster by, wall (range)", "by CPU time (range)")),
        "AMX",
        "peak MB",
        "other CPU s",
    )
    about = build(entry["contestants"]["safetyclf"]["about"])
    texts = f"{entry['count']} texts, {entry['tokens_cut_at_512']} tokens of {entry['texts']}"

    def best(clock: str) -> str:
        return against_the_best(entry, lambda name, f: f[f"{name}_is_faster_by"][clock])

    lines = [
        source(entry, about, texts, f"{entry['rounds']} rounds"),
        f"Faster than the best rival by, wall: {best('wall')}; by CPU time: {best('cpu')}.\n",
    ]
    if "adaptive" in entry:
        lines.append(adaptive_line(entry["adaptive"]))
    return "\n".join([*lines, table(header, rows)])


def adaptive_line(depth: dict[str, Any]) -> str:
    return (
        f"safetyclf-adaptive: model {depth['model']}; on these texts, of which its full depth flags "
        f"{depth['flagged']}, a mean depth of {depth['mean_depth']} of {len(depth['left_at_depth']) - 1}; "
        f"{depth['changed']} of {depth['count']} with another decision.\n"
    )


LATENCY_HEADER = ("20 tokens, p50 ms", "p10", "p99", "120 tokens, p50 ms", "p10", "p99")


def milliseconds(figures: dict[str, Any]) -> tuple[float, ...]:
    """The cells of LATENCY_HEADER."""
    lengths = figures["ms_20_tokens"], figures["ms_120_tokens"]
    return tuple(f[percentile] for f in lengths for percentile in ("p50", "p10", "p99"))


def rival_latency(entry: dict[str, Any]) -> str:
    ours = contestants_of_ours(entry)
    rows = [
        (
            name_of(contestant, f["about"]),
            *milliseconds(f),
            *(
                "" if contestant in OURS else f[f"{name}_is_faster_by_{n}"]
                for name in ours
                for n in (20, 120)
            ),
        )
        for contestant, f in entry["contestants"].items()
    ]
    header = (
        "runtime",
        *LATENCY_HEADER,
        *(title for name in ours for title in (f"{name} is faster by, 20 tokens", "120 tokens")),
    )
    about = build(entry["contestants"]["safetyclf"]["about"])
    calls = sum(f["ms_20_tokens"]["calls"] for f in entry["contestants"].values()) // len(
        entry["contestants"]
    )
    lengths = "texts of " + " and ".join(f"{a} to {b}" for a, b in entry["lengths"].values()) + " tokens"

    def best(tokens: int) -> str:
        return against_the_best(entry, lambda name, f: f[f"{name}_is_faster_by_{tokens}"])

    lines = [
        source(entry, about, lengths, f"{calls} calls each at 20 tokens"),
        f"Faster than the best rival by, 20 tokens: {best(20)}; 120 tokens: {best(120)}.\n",
    ]
    return "\n".join([*lines, table(header, rows)])


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


def own_scaling(entry: dict[str, Any]) -> str:
    rows = [
        (
            threads,
            f"{f['texts_per_s']} ({f['texts_per_s_worst']} - {f['texts_per_s_best']})",
            spread(f["faster_by"], "wall"),
            spread(f["faster_by"], "cpu"),
            f"{median(r['other'] for r in f['rounds']):.2f}",
        )
        for threads, f in entry["by_threads"].items()
    ]
    first = next(iter(entry["by_threads"]))
    header = (
        "threads",
        "texts/s, median (range)",
        f"times as fast as {first}, wall (range)",
        f"CPU seconds of {first} by its own",
        "other CPU s",
    )
    texts = f"{entry['count']} texts of {entry['texts']}"
    return (
        source(entry, build(entry["about"]), texts, f"{entry['rounds']} rounds") + "\n" + table(header, rows)
    )


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
    ("end_to_end", "scaling", "safetyclf, threads", own_scaling),
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
