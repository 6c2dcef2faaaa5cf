"""Keys, addresses, CORS."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from safetyclf import InvalidArgumentError
from safetyclf._cli import main
from safetyclf._errors import DataFileError
from safetyclf.serve.keys import Keys
from safetyclf.serve.metrics import families
from safetyclf.serve.refusals import Refusal
from safetyclf.serve.settings import PolicySource, Settings, policy_source
from server_helpers import Running
from starlette.testclient import TestClient

URL = "/v1/moderations"


@pytest.fixture
def locked(make_client: Callable[..., TestClient], tmp_path: Path) -> TestClient:
    path = tmp_path / "keys"
    path.write_text("# for the forum\nsecret-1\n\n  secret-2  \n")
    return make_client(api_keys_file=str(path))


@pytest.mark.parametrize("key", ["secret-1", "secret-2"])
def test_a_key_opens(locked: TestClient, key: str) -> None:
    assert (
        locked.post(URL, json={"input": "x"}, headers={"authorization": f"Bearer {key}"}).status_code == 200
    )
    assert (
        locked.post(URL, json={"input": "x"}, headers={"authorization": f"bearer {key}"}).status_code == 200
    )


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("Bearer secret", "invalid_api_key"),
        ("Bearer secret-11", "invalid_api_key"),
        ("Bearer # for the forum", "invalid_api_key"),
        ("Bearer \u00e9", "invalid_api_key"),
        ("Bearer ", None),
        ("secret-1", None),
        ("Basic c2VjcmV0LTE=", None),
        (None, None),
    ],
)
def test_anything_else_does_not(locked: TestClient, authorization: str | None, code: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization.encode("utf-8")}
    for answer in (
        locked.post(URL, json={"input": "x"}, headers=headers),
        locked.get("/info", headers=headers),
        locked.get("/metrics", headers=headers),
    ):
        assert answer.status_code == 401
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert error["code"] == code
        assert answer.headers["x-should-retry"] == "false"
        assert answer.headers["www-authenticate"] == 'Bearer realm="safetyclf"'


def test_a_wrong_key_is_told_before_the_body_is_read(locked: TestClient) -> None:
    assert locked.post(URL, content=b"{", headers={"authorization": "Bearer no"}).status_code == 401


@pytest.mark.parametrize("path", ["/health", "/ready", "/openapi.json", "/docs"])
def test_some_pages_need_no_key(locked: TestClient, path: str) -> None:
    assert locked.get(path).status_code == 200


def test_all_keys_are_compared_always(monkeypatch: pytest.MonkeyPatch) -> None:
    from safetyclf.serve import keys as module

    compared: list[bytes] = []
    compare = module.hmac.compare_digest
    monkeypatch.setattr(module.hmac, "compare_digest", lambda a, b: compared.append(b) or compare(a, b))
    keys = Keys(["one", "two", "three"])
    keys.check("one")
    assert len(compared) == 3
    with pytest.raises(Refusal):
        keys.check("four")
    assert len(compared) == 6


def test_keys_from_the_environment() -> None:
    assert len(Keys.read(None, {"SAFETYCLF_API_KEYS": "a, b,"})) == 2
    assert len(Keys.read(None, {})) == 0


def test_a_file_without_a_key_is_no_open_door(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# nothing yet\n")
    with pytest.raises(DataFileError, match="no key"):
        Keys.read(str(path), {})
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataFileError, match="UTF-8"):
        Keys.read(str(path), {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_keys_only_loopback(host: str) -> None:
    with pytest.raises(InvalidArgumentError, match="--without-keys"):
        Settings(host=host).check(0)
    Settings(host=host).check(1)
    Settings(host=host, without_keys=True).check(0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    Settings(host=host).check(0)


def test_the_command_refuses_an_open_server() -> None:
    command = [sys.executable, "-m", "safetyclf", "serve", "--host", "0.0.0.0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "--without-keys" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_its_packages_the_command_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "safetyclf.serve.run", raising=False)
    monkeypatch.delitem(sys.modules, "safetyclf.serve.protocol", raising=False)
    assert main(["serve"]) == 2
    assert "safetyclf[serve]" in capsys.readouterr().err


def test_keys_can_be_changed_by_a_reload(serve: Callable[..., Running], tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("old\n")
    server = serve("--api-keys-file", str(path))
    server.wait_ready()
    assert server.moderate("x", authorization="Bearer old").status_code == 200
    path.write_text("new\n")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("reloaded")
    assert server.moderate("x", authorization="Bearer old").status_code == 401
    assert server.moderate("x", authorization="Bearer new").status_code == 200


def test_no_cors_by_default(client: TestClient, make_client: Callable[..., TestClient]) -> None:
    asked = {"origin": "https://forum.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in client.options(URL, headers=asked).headers
    allowing = make_client(cors=("https://forum.example",))
    assert allowing.options(URL, headers=asked).headers["access-control-allow-origin"] == asked["origin"]
    other = {**asked, "origin": "https://elsewhere.example"}
    assert "access-control-allow-origin" not in allowing.options(URL, headers=other).headers


def test_other_paths_and_methods_have_the_same_envelope(client: TestClient) -> None:
    for answer, status, code in (
        (client.get("/v1/nothing"), 404, "not_found"),
        (client.get(URL), 405, "method_not_allowed"),
        (client.delete("/health"), 405, "method_not_allowed"),
    ):
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == code
        assert answer.headers["x-should-retry"] == "false"
        assert answer.headers["x-request-id"]
    assert client.get(URL).headers["allow"] == "POST"


def test_settings_from_options_and_environment() -> None:
    environment = {
        "SAFETYCLF_PORT": "81",
        "SAFETYCLF_QUEUE": "7",
        "SAFETYCLF_POLICY": "a.toml, b=c.toml#teens",
    }
    settings = Settings.read({"port": 80}, environment)
    assert (settings.port, settings.queue) == (80, 7)
    assert settings.policy == (PolicySource("a", "a.toml", None), PolicySource("b", "c.toml", "teens"))
    with pytest.raises(InvalidArgumentError, match="SAFETYCLF_QUEUE"):
        Settings.read({}, {"SAFETYCLF_QUEUE": "none"})
    with pytest.raises(InvalidArgumentError, match="SAFETYCLF_ACCESS_LOG"):
        Settings.read({}, {"SAFETYCLF_ACCESS_LOG": "maybe"})


@pytest.mark.parametrize("value", ["", "=x", "a=", "a=#b", "\u00e9=x"])
def test_what_is_no_policy_source(value: str) -> None:
    with pytest.raises(ValueError, match="not of the form"):
        policy_source(value)


def test_two_policies_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="same name"):
        Settings(policy=(PolicySource("a", "x", None), PolicySource("a", "y", None))).check(0)


def test_the_audit_log_is_for_its_owner(make_client: Callable[..., TestClient], tmp_path: Path) -> None:
    make_client(audit=str(tmp_path / "audit"))
    assert stat.S_IMODE(os.stat(tmp_path / "audit").st_mode) == 0o600


DOCUMENTED = (Path(__file__).resolve().parents[3] / "docs" / "serve.md").read_text("utf-8")


@pytest.mark.parametrize("option", [field.name for field in fields(Settings)])
def test_every_option_is_documented(option: str) -> None:
    assert re.search(rf"^\| .*`--{option.replace('_', '-')}[ `]", DOCUMENTED, re.MULTILINE)


@pytest.mark.parametrize("name", [f.name for f in families(["a"], ["b"], 3)])
def test_every_metric_is_documented(name: str) -> None:
    assert re.search(rf"^\| .*`{name}(_total)?`", DOCUMENTED, re.MULTILINE)
