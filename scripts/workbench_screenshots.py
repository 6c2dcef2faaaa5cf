"""Makes the pictures in docs/workbench.md: python scripts/workbench_screenshots.py [FOLDER].

Needs playwright and Pillow, and Chromium as the command `chromium`. Starts a server of its own, with the
model in the package.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
TEXT = "What a dumb moron you are. Have a nice day!"
ROWS = ["message,author", "See you at noon!,Ada", "You stupid loser!,Bob", '"Good game, well played",Cleo']


@contextmanager
def served() -> Iterator[str]:
    """The address of a server with two policies."""
    command = [sys.executable, "-m", "safetyclf", "serve", "--port", "0"]
    for policy in ("python/safetyclf/policy/default.toml", "examples/community.toml"):
        command += ["--policy", str(ROOT / policy)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            entries = map(json.loads, server.stderr)
            address = next(entry["url"] for entry in entries if entry["event"] == "serving")
            next(entry for entry in entries if entry["event"] == "ready")
            yield address
        finally:
            server.terminate()
            server.communicate()


def picture(browser: Browser, address: str, scheme: str, path: Path) -> None:
    """One picture of the page after a text and a file."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1080, "height": 1000})
    page.goto(address)
    page.get_by_label("Type or paste a text").fill(TEXT)
    expect(page.locator("#verdict")).to_contain_text("Flagged", timeout=60_000)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "messages.csv"
        file.write_text("\n".join(ROWS), encoding="utf-8")
        page.get_by_label("CSV file").set_input_files(file)
        page.get_by_role("button", name="Judge all rows").click()
        expect(page.locator("#batch-status")).to_contain_text("3 rows", timeout=60_000)
    page.screenshot(path=path, full_page=True)
    Image.open(path).quantize(64).save(path, optimize=True)
    page.close()


def main(argv: list[str]) -> int:
    """Writes both pictures."""
    folder = Path(argv[0]) if argv else ROOT / "docs"
    with sync_playwright() as playwright, served() as address:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            path = folder / f"workbench-{scheme}.png"
            picture(browser, address, scheme, path)
            print(f"{path.name}: {path.stat().st_size:,} bytes")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
