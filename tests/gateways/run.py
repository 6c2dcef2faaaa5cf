"""Checks our routes with gateways and clients that no one here wrote. See README.md."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = {
    "litellm": ["litellm[proxy]==1.106.2"],
    "langchain": ["langchain==1.4.7", "langchain-openai==1.7.3"],
    "nemo": ["nemoguardrails==0.24.1"],
    "kserve": ["kserve==0.21.0"],
}


def main() -> int:
    """Runs what was asked for, or everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder of the environments; default: a temporary one")
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to check; default: everything")
    arguments = parser.parse_args()
    names = arguments.names or [*PYTHON]
    if unknown := {*names} - {*PYTHON}:
        parser.error(f"no such check: {', '.join(unknown)}")
    with contextlib.ExitStack() as stack:
        work = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        results = {name: run(name, work.resolve()) for name in names}
    for name, passed in results.items():
        print(f"{name:10} {'passed' if passed else 'FAILED'}")
    return 0 if all(results.values()) else 1


def run(name: str, work: Path) -> bool:
    """One check; what it prints is shown."""
    print(f"== {name}", flush=True)
    try:
        python = environment(work / name, PYTHON[name])
        key = secrets.token_hex(16)
        # NeMo Guardrails sends keys over TLS only.
        with server("" if name == "nemo" else key) as url:
            return (
                subprocess.run([python, HERE / f"check_{name}.py", url, key], cwd=work / name).returncode == 0
            )
    except subprocess.CalledProcessError as error:
        print(error)
        return False


def environment(folder: Path, packages: list[str]) -> Path:
    """The Python of a virtual environment with these packages."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


@contextlib.contextmanager
def server(key: str) -> Iterator[str]:
    """The address of a server with the model in the package."""
    process = subprocess.Popen(
        [sys.executable, "-m", "safetyclf", "serve", "--port", "0", "--log-level", "info"],
        env={**os.environ, "SAFETYCLF_API_KEYS": key},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        url: str = json.loads(process.stderr.readline())["url"]
        while not answers(f"{url}/ready"):
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.communicate()


def answers(url: str) -> bool:
    """Whether something answers there."""
    try:
        with urllib.request.urlopen(url) as response:
            return bool(response.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
