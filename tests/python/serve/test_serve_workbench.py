"""The workbench's files and routes, without a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from safetyclf.attacks import KINDS, attack
from safetyclf.serve.openapi import document
from safetyclf.serve.settings import PolicySource
from safetyclf.serve.workbench.schema import SOURCES
from server_helpers import write_policy
from starlette.testclient import TestClient


def test_every_file_is_served_with_its_type_and_rules(client: TestClient) -> None:
    folder = files("safetyclf.serve.workbench")
    there = {entry.name for entry in folder.iterdir() if entry.name.endswith((".html", ".css", ".js"))}
    assert there == {name for name, _ in SOURCES.values()}
    for path, (name, media) in SOURCES.items():
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"{media}; charset=utf-8"
        assert answer.content == folder.joinpath(name).read_bytes()
        rules = answer.headers["content-security-policy"]
        assert "default-src 'none'" in rules
        assert "unsafe" not in rules
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_sources_make_no_html_and_load_nothing_from_elsewhere() -> None:
    for name, _ in SOURCES.values():
        text = files("safetyclf.serve.workbench").joinpath(name).read_text("utf-8")
        assert not re.search(r"https?://|//[a-z]+\.|innerHTML|outerHTML|insertAdjacent|document\.write", text)
        assert not re.search(r"\b(eval|Function)\(|localStorage|sessionStorage|indexedDB|cookie", text)
        if name.endswith(".html"):
            assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)


def test_without_it_there_is_no_such_route(make_client: Callable[..., TestClient]) -> None:
    client = make_client(no_workbench=True)
    for path in ("/", "/workbench/words", "/workbench/workbench.js"):
        assert client.get(path).status_code == 404
    assert client.post("/workbench/disguise", json={}).status_code == 404


def test_words_of_thresholds(make_client: Callable[..., TestClient], tmp_path: Path) -> None:
    policy = write_policy(tmp_path / "strict.toml", 0.25)
    client = make_client(policy=(PolicySource("strict", str(policy), None),))
    said = client.get("/workbench/words").json()
    assert said["disguises"] == list(KINDS)
    strict = said["policies"]["strict"]
    assert list(strict) == list(client.get("/info").json()["policies"]["strict"]["thresholds"])
    assert strict["harassment"]["title"] == "Harassment"
    assert strict["harassment"]["review"].startswith("A number that the policy's authors chose")
    assert strict["violence"]["block"] == "The policy does not name this category."


def test_words_of_the_model_s_own_thresholds(client: TestClient) -> None:
    said = client.get("/workbench/words").json()["policies"]["default"]
    assert set(said) == {"harassment", "violence", "violence/graphic"}
    for words in said.values():
        assert words["review"].startswith("Comes with the model file")
        assert words["block"].startswith("Comes with the model file")


def test_the_model_in_the_package_states_its_promises(
    make_client: Callable[..., TestClient], model_path: Path
) -> None:
    if model_path.name != "default.safetensors":
        pytest.skip("the package was built without its model")
    said = make_client(model=None).get("/workbench/words").json()["policies"]["default"]
    assert re.search(r"flag at most the share 0\.\d+ %, with probability 95 %", said["hate"]["block"])


@pytest.mark.parametrize("kind", KINDS)
def test_disguise_is_the_attack(client: TestClient, kind: str) -> None:
    text = "What a nice day, dear friends."
    answer = client.post("/workbench/disguise", json={"text": text, "kind": kind, "strength": 0.5})
    assert answer.json() == {"text": attack([text], kind, strength=0.5)[0]}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"text": 1}, "text"),
        ({"text": "long " * 20}, "text"),
        ({"kind": "rot13"}, "kind"),
        ({"kind": []}, "kind"),
        *(({"strength": value}, "strength") for value in (0, -1, 1.5, True, "1", None, 10**400)),
    ],
)
def test_wrong_requests_for_a_disguise(
    make_client: Callable[..., TestClient], change: dict[str, Any], param: str
) -> None:
    client = make_client(max_text_bytes=64)
    answer = client.post(
        "/workbench/disguise", json={"text": "hello", "kind": "leet", "strength": 1, **change}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert client.post("/workbench/disguise", json=[]).status_code == 400


def test_the_page_is_public_and_its_routes_are_not(
    make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFETYCLF_API_KEYS", "sk-test")
    client = make_client()
    for path in SOURCES:
        assert client.get(path).status_code == 200
    asked = {"text": "hello", "kind": "leet", "strength": 1}
    assert client.get("/workbench/words").status_code == 401
    assert client.post("/workbench/disguise", json=asked).status_code == 401
    key = {"authorization": "Bearer sk-test"}
    assert client.get("/workbench/words", headers=key).status_code == 200
    assert client.post("/workbench/disguise", json=asked, headers=key).status_code == 200


def test_answers_are_as_described(client: TestClient) -> None:
    paths = document()["paths"]
    for method, path, answer in (
        ("get", "/workbench/words", client.get("/workbench/words")),
        (
            "post",
            "/workbench/disguise",
            client.post("/workbench/disguise", json={"text": "hi", "kind": "case", "strength": 1}),
        ),
    ):
        described = paths[path][method]["responses"]["200"]["content"]["application/json"]["schema"]
        Draft202012Validator(described).validate(answer.json())
