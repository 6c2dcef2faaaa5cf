"""A real Chromium on the workbench of a real server, on the tiny model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("playwright", reason="needs playwright")

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright
from server_helpers import TERMS, Running, write_policy

# States are waited for, never times; what takes longer than this does not come.
WAIT = 60_000
expect.set_options(timeout=WAIT)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("needs the command chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=WAIT)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With three policies: all is reviewed, nothing is, and the model's own with a list."""
    folder = tmp_path_factory.mktemp("policies")
    strict = write_policy(folder / "strict.toml", 0.0, 1.0)
    lenient = write_policy(folder / "lenient.toml", 1.0, 1.0)
    fruit = write_policy(folder / "fruit.toml", 1.0, 1.0, TERMS)
    options = [part for path in (strict, lenient, fruit) for part in ("--policy", str(path))]
    running = Running("--model", str(tiny_path), "--max-text-bytes", "4096", *options)
    running.wait_ready()
    yield running
    assert running.process.poll() is None, (running.log, running.stray)
    running.stop()


class Workbench:
    """The open page. `complaints` are errors of scripts, console errors, and requests to other hosts."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("console", self._on_console)
        page.on("request", self._on_request)
        page.goto(url)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(self.url).netloc:
            self.complaints.append(f"request: {request.url}")

    def loaded(self) -> Workbench:
        """Waits for the policies."""
        expect(self.page.locator("#scores tbody tr")).not_to_have_count(0)
        return self

    def type(self, text: str) -> None:
        """Puts the text in, and waits for its verdict."""
        self.page.get_by_label("Type or paste a text").fill(text)
        expect(self.page.locator("#judged")).to_have_text(text, use_inner_text=False)

    def scores(self) -> dict[str, float]:
        """By category, as the page has them before it rounds them."""
        rows = self.page.locator("#scores tbody tr")
        found = rows.evaluate_all("all => all.map(row => [row.dataset.category, row.cells[1].dataset.value])")
        return {name: float(value) for name, value in found if value}

    def upload(self, name: str, content: bytes) -> None:
        """Chooses a file of that content."""
        file: Any = {"name": name, "mimeType": "text/csv", "buffer": content}
        self.page.get_by_label("CSV file").set_input_files(file)


@pytest.fixture
def workbench(browser: Browser, server: Running) -> Iterator[Workbench]:
    """The page, loaded; afterwards nothing may have gone wrong in it."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    bench = Workbench(context.new_page(), server.url).loaded()
    yield bench
    context.close()
    assert bench.complaints == []
