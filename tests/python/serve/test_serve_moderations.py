"""POST /v1/moderations: OpenAI's shape, key by key, and the verdicts of the classifier behind it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetyclf import Classifier, InvalidArgumentError
from safetyclf._native import Form
from safetyclf.serve.moderations import ALIASES
from safetyclf.serve.settings import PolicySource
from safetyclf.suites import MODERATION_CATEGORIES as CATEGORIES
from server_helpers import TERMS, write_policy
from starlette.testclient import TestClient

URL = "/v1/moderations"
TEXT, IMAGE = (
    {"type": "text", "text": "good dog"},
    {"type": "image_url", "image_url": {"url": "https://x.invalid/a"}},
)
# Of the tiny model; see tiny_model.py.
SCORED = ("harassment", "violence", "violence/graphic")


def results(client: TestClient, body: Any, **headers: str) -> list[dict[str, Any]]:
    answer = client.post(URL, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def refusal(client: TestClient, body: Any, status: int = 400, **headers: str) -> dict[str, Any]:
    answer = client.post(URL, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-request-id"]
    error: dict[str, Any] = answer.json()["error"]
    return error


def test_one_text_has_one_result_with_every_key(client: TestClient, tiny: Classifier) -> None:
    answer = client.post(URL, json={"input": "the angry dog"})
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert set(body) == {"id", "model", "results"}
    assert body["id"].startswith("modr-")
    assert body["model"] == tiny.model_id
    [result] = body["results"]
    for key in ("categories", "category_scores", "category_applied_input_types"):
        assert tuple(result[key]) == CATEGORIES
    assert len(CATEGORIES) == 13


def test_scores_are_the_classifiers_bits(client: TestClient, tiny: Classifier, messages: list[str]) -> None:
    for result, verdict in zip(
        results(client, {"input": messages}), tiny.classify_batch(messages), strict=True
    ):
        assert result["flagged"] == verdict.flagged
        assert result["safetyclf"]["action"] == verdict.action
        assert result["safetyclf"]["windows"] == verdict.windows
        for name in SCORED:
            assert result["categories"][name] == verdict.categories[name]
            # Nine digits name one float32.
            [score] = struct.unpack("f", struct.pack("f", result["category_scores"][name]))
            assert score == verdict.scores[name]
            assert result["category_applied_input_types"][name] == ["text"]


def test_categories_without_a_model_say_that_nothing_was_considered(client: TestClient) -> None:
    [result] = results(client, {"input": "good"})
    for name in set(CATEGORIES) - set(SCORED):
        assert result["categories"][name] is False
        assert result["category_scores"][name] == 0
        assert result["category_applied_input_types"][name] == []


def test_a_list_has_a_result_for_each_in_order(client: TestClient) -> None:
    one, two = results(client, {"input": ["good dog", "bad cat"]})
    assert results(client, {"input": "good dog"}) == [one]
    assert results(client, {"input": ["bad cat"]}) == [two]
    assert one["category_scores"] != two["category_scores"]


def test_parts_have_one_result_and_are_read_together(client: TestClient) -> None:
    parts = [TEXT, {"type": "text", "text": "bad cat"}]
    assert results(client, {"input": parts}) == results(client, {"input": "good dog\nbad cat"})


def test_the_empty_text_is_a_text(client: TestClient) -> None:
    assert len(results(client, {"input": ""})) == len(results(client, {"input": [""]})) == 1


def test_an_image_is_refused_unless_told_otherwise(
    client: TestClient, make_client: Callable[..., TestClient]
) -> None:
    assert refusal(client, {"input": [TEXT, IMAGE]})["code"] == "image_not_supported"
    ignoring = make_client(images="ignore")
    [result] = results(ignoring, {"input": [TEXT, IMAGE]})
    assert [result] == results(ignoring, {"input": "good dog"})
    assert not any("image" in types for types in result["category_applied_input_types"].values())
    [nothing] = results(ignoring, {"input": [IMAGE]})
    assert not nothing["flagged"]
    assert set(map(tuple, nothing["category_applied_input_types"].values())) == {()}


def test_two_images_are_too_many(make_client: Callable[..., TestClient]) -> None:
    error = refusal(make_client(images="ignore"), {"input": [IMAGE, IMAGE]})
    assert error["code"] == "too_many_images"
    assert error["param"] == "input"
    assert "2" in error["message"]
    assert "1" in error["message"]


@pytest.mark.parametrize("model", sorted(ALIASES))
def test_openais_model_names_are_understood(client: TestClient, tiny: Classifier, model: str) -> None:
    assert client.post(URL, json={"input": "x", "model": model}).json()["model"] == tiny.model_id


def test_our_own_model_id_is_understood_and_another_not(client: TestClient, tiny: Classifier) -> None:
    results(client, {"input": "x", "model": tiny.model_id})
    error = refusal(client, {"input": "x", "model": "another"}, 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ("text", None),
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"input": []}, "input"),
        ({"input": {"type": "text", "text": "x"}}, "input"),
        ({"input": ["x", 3]}, "input[0]"),
        ({"input": ["x", TEXT]}, "input[0]"),
        ({"input": [TEXT, "x"]}, "input[1]"),
        ({"input": [[1, 2]]}, "input[0]"),
        ({"input": [{"type": "audio"}]}, "input[0].type"),
        ({"input": [{"type": "text"}]}, "input[0].text"),
        ({"input": [{"type": "text", "text": None}]}, "input[0].text"),
        ({"input": [{"type": "image_url", "image_url": "https://x.invalid"}]}, "input[0].image_url"),
        ({"input": "x", "model": 3}, "model"),
        ({"input": "x", "safetyclf": True}, "safetyclf"),
        ({"input": "x", "safetyclf": {"spans": 1}}, "safetyclf.spans"),
        ({"input": "x", "safetyclf": {"spans": ["no such"]}}, "safetyclf.spans"),
        ({"input": "x", "safetyclf": {"unit": "line"}}, "safetyclf.unit"),
    ],
)
def test_wrong_types_are_refused_by_name(client: TestClient, body: Any, param: str | None) -> None:
    error = refusal(client, body)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b'{"input": "\xff"}',
        b"[" * 100_000,
        b'{"input": ' + b"9" * 10_000 + b"}",
        b"nul",
    ],
)
def test_malformed_json_is_a_400(client: TestClient, body: bytes) -> None:
    answer = client.post(URL, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_unknown_keys_and_headers_are_ignored(client: TestClient) -> None:
    headers = {"openai-organization": "o", "x-stainless-lang": "python", "authorization": "Bearer whatever"}
    assert results(client, {"input": "x", "metadata": {}}, **headers) == results(client, {"input": "x"})


def test_lone_surrogates_are_read_as_the_classifier_reads_them(client: TestClient, tiny: Classifier) -> None:
    answer = client.post(URL, content=rb'{"input": "good \ud800 dog"}')
    score = answer.json()["results"][0]["category_scores"]["harassment"]
    assert score == pytest.approx(tiny.classify("good \ud800 dog").scores["harassment"], rel=1e-8)


def test_limits(make_client: Callable[..., TestClient]) -> None:
    client = make_client(max_texts=2, max_text_bytes=10, max_body=1024)
    assert refusal(client, {"input": ["a", "b", "c"]})["code"] == "array_above_max_length"
    error = refusal(client, {"input": ["a", "b" * 11]})
    assert (error["code"], error["param"]) == ("string_above_max_length", "input[1]")
    assert refusal(client, {"input": "\u00e9" * 6})["code"] == "string_above_max_length"
    results(client, {"input": "\u00e9" * 5})
    assert refusal(client, {"input": "x", "more": "y" * 1024}, 413)["code"] == "request_too_large"


def test_a_policy_can_be_chosen(make_client: Callable[..., TestClient], tmp_path: Path) -> None:
    strict = write_policy(tmp_path / "strict.toml", 0.0, 0.0)
    lenient = write_policy(tmp_path / "lenient.toml", 1.0, 1.0)
    client = make_client(
        policy=(PolicySource("strict", str(strict), None), PolicySource("lenient", str(lenient), None))
    )
    assert results(client, {"input": "good dog"})[0]["flagged"]
    [chosen] = results(client, {"input": "good dog"}, **{"x-safetyclf-policy": "lenient"})
    assert not chosen["flagged"]
    assert chosen["safetyclf"]["policy"] == "lenient"
    error = refusal(client, {"input": "x"}, 404, **{"x-safetyclf-policy": "other"})
    assert (error["code"], error["param"]) == ("policy_not_found", "x-safetyclf-policy")


def test_what_stands_behind_a_flag_is_told(
    make_client: Callable[..., TestClient], tiny_path: Path, tmp_path: Path
) -> None:
    path = write_policy(tmp_path / "p.toml", 1.0, 1.0, TERMS)
    client = make_client(policy=(PolicySource("p", str(path), None),))
    verdict = Classifier(tiny_path, policy=path).classify("a banana")
    [result] = results(client, {"input": "a banana"})
    extra = result["safetyclf"]
    assert result["flagged"]
    assert result["categories"]["harassment"]
    assert extra["action"] == "block"
    assert extra["policy_id"] == verdict.policy
    assert extra["triggered"] == ["harassment"]
    assert extra["matches"] == [match._asdict() for match in verdict.matches]
    assert len(extra["matches"]) == 1


@pytest.mark.parametrize("unit", ["codepoint", "byte", "utf16"])
def test_spans_on_request(
    make_client: Callable[..., TestClient], tiny: Classifier, tmp_path: Path, unit: Any
) -> None:
    path = write_policy(tmp_path / "p.toml", 0.0, 1.0)
    client = make_client(policy=(PolicySource("p", str(path), None),))
    text = "the \U0001f600 angry caf\u00e9 dog"
    asked = {"input": [text, "good"], "safetyclf": {"spans": True, "unit": unit}}
    first, second = results(client, asked)
    expected = [span._asdict() for span in tiny.classify(text).spans("harassment", unit=unit)]
    assert first["safetyclf"]["spans"] == {"harassment": expected}
    assert len(second["safetyclf"]["spans"]["harassment"]) == 1
    named = {"input": text, "safetyclf": {"spans": ["violence"], "unit": unit}}
    assert list(results(client, named)[0]["safetyclf"]["spans"]) == ["violence"]
    assert "spans" not in results(client, {"input": text})[0]["safetyclf"]


def test_request_ids(client: TestClient) -> None:
    first, second = (client.post(URL, json={"input": "x"}) for _ in range(2))
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.json()["id"] != second.json()["id"]
    given = client.post(URL, json={"input": "x"}, headers={"x-request-id": "trace-17"})
    assert given.headers["x-request-id"] == "trace-17"
    odd = client.post(URL, json={"input": "x"}, headers={"x-request-id": "a b"})
    assert odd.headers["x-request-id"] != "a b"


def test_depth_of_texts_that_leave_early(make_client: Callable[..., TestClient], model_path: Path) -> None:
    adaptive = Classifier(model_path, effort="adaptive")
    client = make_client(model=str(model_path), effort="adaptive")
    texts = ["have a nice day", "see you at the office"]
    depths = adaptive.scores(texts, depths=True)[1]
    found = results(client, {"input": texts})
    assert [result["safetyclf"]["depth"] for result in found] == depths.tolist()


def test_scores_are_written_as_nine_digits_write_them() -> None:
    row = np.random.default_rng(3).random(400, np.float32) ** 9
    row = np.append(row, np.array([0, 1, 1e-45, 0.1, 1e-5, 1e-4, -3.40282347e38], np.float32))
    form = Form([(f"{i}: ", i) for i in range(len(row))], " end")
    assert (
        form.fill(row.tobytes())
        == "".join(f"{i}: {value:.9g}" for i, value in enumerate(row.tolist())) + " end"
    )
    assert Form([("\u00e4", 1), ("b", 0)], "").fill(struct.pack("2f", 0.5, 0.25)) == "\u00e40.25b0.5"
    for column in (2, 2**64 - 1):
        with pytest.raises(InvalidArgumentError):
            Form([("", column)], "").fill(bytes(11))
