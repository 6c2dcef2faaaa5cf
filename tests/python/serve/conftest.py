"""A server in this process and in others, on the tiny model."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs safetyclf[serve]")

from safetyclf.serve.app import Application
from safetyclf.serve.settings import Settings
from safetyclf.serve.state import State
from server_helpers import Running
from starlette.testclient import TestClient

NPM = ("openai@6", "perspective-api-client@3.1.0", "@conversationai/perspectiveapi-js-client@1.0.1")


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where Node finds clients that no one here wrote."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs the commands node and npm")
    folder = tmp_path_factory.mktemp("node")
    command = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(folder), *NPM]
    if subprocess.run(command, capture_output=True, timeout=300).returncode != 0:
        pytest.skip("npm cannot install packages here")
    return folder


@pytest.fixture
def make_client(tiny_path: Path, tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Starlette's client of an application in this process: make_client(max_texts=3, ...)."""
    made: list[TestClient] = []

    def make(**options: Any) -> TestClient:
        folder = tmp_path / f"counters{len(made)}"
        folder.mkdir()
        state = State(Settings(**{"model": str(tiny_path), **options}), str(folder))
        client = TestClient(Application(state), raise_server_exceptions=False)
        client.__enter__()
        made.append(client)
        return client

    yield make
    for client in made:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client()


@pytest.fixture
def serve(tiny_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts servers: serve("--workers", "2"); each is stopped after the test."""
    running: list[Running] = []

    def start(*options: str, environment: dict[str, str] | None = None) -> Running:
        model = () if "--model" in options else ("--model", str(tiny_path))
        running.append(Running(*model, *options, environment=environment))
        return running[-1]

    yield start
    for server in running:
        server.stop()
