"""What `gpu.py` says: the card and the software, and the table."""

from __future__ import annotations

import importlib.metadata
import subprocess
from typing import Any

HEADER = (
    "texts", "batch", "contestant", "texts/s, median (range)", "tokens/s", "texts/s from tokens",
    "p50 µs", "p99 µs", "faster than the best rival by",
)  # fmt: skip


def card(device: str) -> dict[str, Any]:
    """What nvidia-smi says of the first card: name, driver, clocks in MHz, memory in MiB, power in W."""
    names = (
        "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,memory.total,memory.used,power.draw,power.limit,"
        "temperature.gpu,compute_cap"
    )
    number = device.partition(":")[2] or "0"
    command = ["nvidia-smi", f"--id={number}", f"--query-gpu={names}", "--format=csv,noheader,nounits"]
    try:
        line = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    return dict(zip(names.split(","), (value.strip() for value in line.split(",")), strict=False))


def table(cells: dict[str, Any]) -> str:
    lines = [" | ".join(HEADER), " | ".join(["---"] * len(HEADER))]
    for key, contestants in cells.items():
        for name, found in contestants.items():
            ours, tokens = found["from strings"], found.get("from tokens", {})
            low, high = ours["range"]
            by = f"{found['faster_by']} ({found['best_rival']})" if "faster_by" in found else ""
            row = (
                *key.split(", "),
                name,
                f"{ours['texts_per_s']:,.0f} ({low:,.0f} to {high:,.0f})",
                f"{ours['tokens_per_s']:,}",
                f"{tokens['texts_per_s']:,.0f}" if tokens else "",
                str(ours.get("p50_us", "")),
                str(ours.get("p99_us", "")),
                by,
            )
            lines.append(" | ".join(row))
    return "\n".join(f"| {line} |" for line in lines)


def versions() -> dict[str, str]:
    metadata = importlib.metadata
    names = (
        "safetyclf",
        "torch",
        "triton",
        "onnxruntime-gpu",
        "onnxruntime",
        "tensorrt",
        "tokenizers",
        "numpy",
    )
    present = {distribution.metadata["Name"] for distribution in metadata.distributions()}
    return {name: metadata.version(name) for name in names if name in present}
