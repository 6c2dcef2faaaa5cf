"""The results file of one CPU: a benchmark replaces its own entries, `tables.py` prints all of them."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

import _machine

FOLDER = Path(__file__).parent / "results"


def default_path() -> Path:
    return FOLDER / f"{_machine.slug()}.json"


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def store(path: Path, section: str, key: str, entry: dict[str, Any]) -> None:
    """Puts `entry` at section and key, with what it was measured on."""
    content = read(path)
    content["machine"] = _machine.cpu()
    content.setdefault(section, {})[key] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": _machine.command(),
        "commit": _machine.commit(),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        **entry,
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
