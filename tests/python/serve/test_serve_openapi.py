"""The OpenAPI document: valid, complete, and true as far as schemathesis can find out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from safetyclf.serve.openapi import document
from server_helpers import Running
from starlette.testclient import TestClient


def test_every_route_is_described(client: TestClient) -> None:
    described = {
        (path, method.upper())
        for path, item in document()["paths"].items()
        for method in item
        if method != "parameters"
    }
    routes = {
        (route.path, method)  # type: ignore[attr-defined]
        for route in client.app.routes  # type: ignore[attr-defined]
        for method in route.methods - {"HEAD"}
    }
    assert described == routes


def test_answers_are_as_described(client: TestClient) -> None:
    schemas = document()["components"]["schemas"]
    root = {"components": {"schemas": schemas}}
    for name, answer in (
        ("ModerationResponse", client.post("/v1/moderations", json={"input": ["a", "b"]})),
        ("Error", client.post("/v1/moderations", json={})),
        ("Error", client.get("/nowhere")),
    ):
        schema = {**root, "$ref": f"#/components/schemas/{name}"}
        Draft202012Validator.check_schema(schema)
        Draft202012Validator(schema).validate(answer.json())


def test_the_page_needs_no_other_file(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    found: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(f"{tag} {value}" for name, value in attrs if name in ("src", "href"))

    Links().feed(answer.text)
    assert found == ["a openapi.json"]
    for path in document()["paths"]:
        assert path in answer.text


@pytest.mark.slow
def test_schemathesis_finds_nothing(serve: Callable[..., Running], tmp_path: Path) -> None:
    """In a process of its own: its plugin and its warnings are none of pytest's business here."""
    pytest.importorskip("schemathesis")
    queue = str(tmp_path / "queue.jsonl")
    server = serve("--images", "ignore", "--feedback", queue, environment={"SAFETYCLF_API_KEYS": "sk-test"})
    # Which attributes and languages there are is the model's matter, not the document's.
    (tmp_path / "schemathesis.toml").write_text(
        '[[operations]]\ninclude-path-regex = "comments:"\nwarnings = false\n'
        "checks.positive_data_acceptance.enabled = false\n"
    )
    server.wait_ready()
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
    command += [
        "--header",
        "Authorization: Bearer sk-test",
        "--seed",
        "1",
        "--max-examples",
        "60",
        "--no-color",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-8000:]
    assert "No issues found" in done.stdout, done.stdout[-3000:]
    assert server.stray == []
    assert not [entry for entry in server.log if entry["level"] == "error"]
