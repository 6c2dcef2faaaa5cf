"""Routes in the shapes of vLLM, TEI, KServe, FMS and LiteLLM, on the classifier's verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetyclf import Classifier
from safetyclf.serve.settings import PolicySource
from server_helpers import TERMS, write_policy
from starlette.testclient import TestClient

Client = Callable[..., TestClient]
TEXTS = ["the angry dog", "", "nice weather \U0001f600"]
SCORED = ("harassment", "violence", "violence/graphic")  # of the tiny model
FREE_TERMS = TERMS.replace('category = "harassment"\n', "")
# Route, a body that is fine, the field that holds its texts.
ROUTES = [
    ("/classify", {"input": ["a"]}, "input"),
    ("/v1/classify", {"input": ["a"]}, "input"),
    ("/predict", {"inputs": [["a"]]}, "inputs"),
    ("/v1/models/safetyclf:predict", {"instances": ["a"]}, "instances"),
    ("/api/v1/text/contents", {"contents": ["a"]}, "contents"),
    ("/beta/litellm_basic_guardrail_api", {"input_type": "request", "texts": ["a"]}, "texts"),
]
each_route = pytest.mark.parametrize(("url", "body", "field"), ROUTES, ids=[route[0] for route in ROUTES])


def answered(client: TestClient, url: str, body: Any, **headers: str) -> Any:
    # Not as `json`: lone surrogates travel as escape sequences only.
    response = client.post(url, content=json.dumps(body), headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def written(classifier: Classifier, text: str) -> dict[str, float]:
    """The scores with nine digits."""
    return {name: float(f"{score:.9g}") for name, score in classifier.classify(text).scores.items()}


@pytest.fixture
def two_policies(make_client: Client, tmp_path: Path) -> TestClient:
    """`loose` flags nothing by its score and has a list; `strict` flags everything."""
    loose = write_policy(tmp_path / "loose.toml", 1.0, rest=FREE_TERMS)
    strict = write_policy(tmp_path / "strict.toml", 0.0)
    return make_client(
        policy=(PolicySource("loose", str(loose), None), PolicySource("strict", str(strict), None))
    )


def test_vllm_has_a_label_and_all_probabilities(client: TestClient, tiny: Classifier) -> None:
    answer = answered(client, "/classify", {"input": TEXTS, "model": "safetyclf", "priority": 3})
    assert answer["object"] == "list"
    assert answer["id"].startswith("classify-")
    assert answer["model"] == tiny.model_id
    for index, (text, entry) in enumerate(zip(TEXTS, answer["data"], strict=True)):
        verdict = tiny.classify(text)
        assert entry["index"] == index
        assert entry["probs"] == list(written(tiny, text).values())
        assert entry["num_classes"] == len(SCORED)
        assert entry["safetyclf"]["labels"] == list(SCORED)
        assert entry["safetyclf"]["action"] == verdict.action
        assert entry["label"] == (verdict.triggered[0] if verdict.triggered else "safe")
    tokens = sum(len(tiny._engine.tokenize(text)[0]) for text in TEXTS)
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] == tokens > 0
    assert answered(client, "/classify", {"input": []})["usage"]["total_tokens"] == 0
    assert answered(client, "/classify", {"input": TEXTS[0]})["data"] == answer["data"][:1]


def test_the_label_follows_the_policy(two_policies: TestClient) -> None:
    def label(text: str, **headers: str) -> Any:
        return answered(two_policies, "/classify", {"input": text}, **headers)["data"][0]["label"]

    assert label("a kind dog") == "safe"
    assert label("banana") == "block"  # the list has no category
    assert label("a kind dog", **{"x-safetyclf-policy": "strict"}) == "harassment"
    named = answered(two_policies, "/classify", {"input": "a kind dog", "model": "strict"})
    assert named["data"][0]["label"] == "harassment"


def test_tei_has_labels_by_falling_score(client: TestClient, tiny: Classifier) -> None:
    ranked = answered(client, "/predict", {"inputs": TEXTS[0], "truncate": True})
    assert {entry["label"]: entry["score"] for entry in ranked} == written(tiny, TEXTS[0])
    scores = [entry["score"] for entry in ranked]
    assert scores == sorted(scores, reverse=True)
    assert answered(client, "/predict", {"inputs": [[text] for text in TEXTS]})[0] == ranked


def test_hugging_face_has_it_in_one_more_list(client: TestClient) -> None:
    ranked = answered(client, "/predict", {"inputs": TEXTS[0]})
    for parameters in ({}, {"top_k": None}, {"function_to_apply": "sigmoid"}, {"top_k": 99}):
        assert answered(client, "/predict", {"inputs": TEXTS[0], "parameters": parameters}) == [ranked]
    for one in (1, 1.0):  # JSON has one kind of number
        assert len(answered(client, "/predict", {"inputs": TEXTS[0], "parameters": {"top_k": one}})[0]) == 1
    batch = answered(client, "/predict", {"inputs": TEXTS, "parameters": {"top_k": 1}})
    assert batch[0] == ranked[:1]
    assert [len(entry) for entry in batch] == [1] * len(TEXTS)


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": ["one", "other"]},  # a pair of texts to TEI
        {"inputs": [["one", "other"]]},
        {"inputs": [["one"], []]},
        {"inputs": [["one"], "other"]},
        {"inputs": "a", "raw_scores": True},
        {"inputs": "a", "raw_scores": 1},
        {"inputs": "a", "parameters": {"top_k": 0}},
        {"inputs": "a", "parameters": {"top_k": "1"}},
        {"inputs": "a", "parameters": {"top_k": 1.5}},
        {"inputs": "a", "parameters": {"function_to_apply": "softmax"}},
        {"inputs": "a", "parameters": []},
        {"inputs": [["a"]], "parameters": {}},
    ],
    ids=str,
)  # fmt: skip
def test_what_tei_cannot_be_asked_here_is_refused(client: TestClient, body: Any) -> None:
    response = client.post("/predict", json=body)
    assert response.status_code == 400, response.text
    assert set(response.json()) == {"error", "error_type"}
    assert response.json()["error_type"] == "Validation"


def test_kserve_has_numbers_by_label(client: TestClient, tiny: Classifier) -> None:
    answer = answered(client, f"/v1/models/{tiny.model_id}:predict", {"instances": TEXTS})
    assert set(answer) == {"predictions"}
    for text, prediction in zip(TEXTS, answer["predictions"], strict=True):
        action = tiny.classify(text).action
        decided = {"review": float(action != "allow"), "block": float(action == "block")}
        assert prediction == {**decided, **written(tiny, text)}
    assert answered(client, "/v1/models/safetyclf:predict", {"instances": []}) == {"predictions": []}


def test_kserve_names_policies(two_policies: TestClient) -> None:
    def decided(name: str, text: str) -> tuple[float, float]:
        [entry] = answered(two_policies, f"/v1/models/{name}:predict", {"instances": [text]})["predictions"]
        return entry["review"], entry["block"]

    assert decided("loose", "a kind dog") == decided("safetyclf", "a kind dog") == (0, 0)
    assert decided("strict", "a kind dog") == (1, 0)
    assert decided("loose", "banana") == (1, 1)


def test_fms_has_detections_of_the_whole_text(
    client: TestClient, two_policies: TestClient, tiny: Classifier
) -> None:
    url, text = "/api/v1/text/contents", TEXTS[2]
    scores = written(tiny, text)
    body = {"contents": TEXTS, "detector_params": {"threshold": min(tiny.classify(text).scores.values())}}
    found = answered(client, url, body, **{"detector-id": "any"})[2]
    assert {entry["detection_type"]: entry["score"] for entry in found} == scores
    assert [entry["score"] for entry in found] == sorted(scores.values(), reverse=True)
    for entry in found:
        assert entry["detection"] == entry["detection_type"]
        assert (entry["start"], entry["end"], entry["text"]) == (0, len(text), text)
    assert answered(client, url, {"contents": [text], "detector_params": {"threshold": 1}}) == [[]]
    # Without a threshold the policy decides.
    assert answered(two_policies, url, {"contents": ["a kind dog"]}) == [[]]
    [[entry]] = answered(two_policies, url, {"contents": ["a kind dog"]}, **{"x-safetyclf-policy": "strict"})
    assert entry["detection_type"] == "harassment"
    [[entry]] = answered(two_policies, url, {"contents": ["banana"]})
    assert (entry["detection_type"], entry["score"]) == ("block", 1)


@pytest.mark.parametrize(
    "body",
    [
        {"contents": []},
        {"contents": "a"},
        {"contents": ["a"], "detector_params": []},
        {"contents": ["a"], "detector_params": {"threshold": 2}},
        {"contents": ["a"], "detector_params": {"threshold": "0.5"}},
        {"contents": ["a"], "detector_params": {"threshold": True}},
    ],
    ids=str,
)
def test_fms_errors_have_code_and_message(client: TestClient, body: Any) -> None:
    response = client.post("/api/v1/text/contents", json=body)
    assert response.status_code == 400, response.text
    assert set(response.json()) == {"code", "message"}
    assert response.json()["code"] == 400


def guarded(client: TestClient, texts: list[str] | None, **fields: Any) -> Any:
    body = {"input_type": "request", "texts": texts, "request_data": {}, **fields}
    return answered(client, "/beta/litellm_basic_guardrail_api", body)


def test_litellm_is_told_to_block_what_is_flagged(two_policies: TestClient) -> None:
    answer = guarded(two_policies, ["a kind dog", "banana"], input_type="response")
    assert answer["action"] == "BLOCKED"
    assert answer["blocked_reason"] == "Flagged by a list of terms."
    assert [entry["action"] for entry in answer["safetyclf"]] == ["allow", "block"]
    assert guarded(two_policies, ["a kind dog"])["action"] == "NONE"
    for texts in ([], None):
        assert guarded(two_policies, texts) == {"action": "NONE", "safetyclf": []}
    strict = two_policies.post(
        "/beta/litellm_basic_guardrail_api",
        json={"input_type": "request", "texts": ["a kind dog"]},
        headers={"x-safetyclf-policy": "strict"},
    ).json()
    assert strict["blocked_reason"] == "Flagged for harassment."


def test_what_users_of_a_gateway_send_cannot_loosen_it(two_policies: TestClient) -> None:
    chosen = {"policy": "loose", "x-safetyclf-policy": "loose", "block_on": "block", "threshold": 1}
    answer = two_policies.post(
        "/beta/litellm_basic_guardrail_api",
        json={
            "input_type": "request",
            "texts": ["a kind dog"],
            "additional_provider_specific_params": chosen,
            "request_headers": chosen,
        },
        headers={"x-safetyclf-policy": "strict"},
    )
    assert answer.json()["action"] == "BLOCKED"


def test_litellm_images_are_refused_or_ignored(client: TestClient, make_client: Client) -> None:
    body = {"input_type": "request", "texts": ["a"], "images": ["https://x.invalid/a.png"]}
    response = client.post("/beta/litellm_basic_guardrail_api", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "image_not_supported"
    plain = guarded(client, ["a"])
    assert guarded(client, ["a"], images=[]) == plain
    assert guarded(make_client(images="ignore"), ["a"], images=body["images"]) == plain


@pytest.mark.parametrize("input_type", [None, "other", 1])
def test_litellm_says_whether_it_asks_or_answers(client: TestClient, input_type: Any) -> None:
    body = {"input_type": input_type, "texts": ["a"]}
    assert client.post("/beta/litellm_basic_guardrail_api", json=body).status_code == 400


def test_models_are_listed_for_two_kinds_of_clients(two_policies: TestClient) -> None:
    answer = two_policies.get("/v1/models").json()
    assert answer["models"] == ["safetyclf", "loose", "strict"]
    assert [card["id"] for card in answer["data"]] == answer["models"]
    for name in (*answer["models"], two_policies.get("/info").json()["model"]):
        card = two_policies.get(f"/v1/models/{name}").json()
        assert card["ready"] is True
        assert card["name"] == card["id"] == name
        assert card["object"] == "model"


def test_another_model_is_not_found(client: TestClient) -> None:
    assert client.get("/v1/models/gpt-4").status_code == 404
    assert (
        client.post("/classify", json={"model": "gpt-4", "input": "a"}).json()["error"]["code"]
        == "model_not_found"
    )
    response = client.post("/v1/models/gpt-4:predict", json={"instances": ["a"]})
    assert response.status_code == 404
    assert set(response.json()) == {"error"}


@each_route
def test_texts_must_be_texts(client: TestClient, url: str, body: dict[str, Any], field: str) -> None:
    answered(client, url, body)
    for broken in (7, [7], {"a": "b"}, [None], [["a", 7]], True, [True]):
        response = client.post(url, json={**body, field: broken})
        assert response.status_code == 400, (broken, response.text)
    for broken in ([], "a", 7, None):
        assert client.post(url, json=broken).status_code == 400
    for content in (b"{", b"", b"\xff", b"[" * 100_000):
        assert client.post(url, content=content).status_code == 400


@each_route
def test_any_string_is_a_text(client: TestClient, url: str, body: dict[str, Any], field: str) -> None:
    for text in ("", "\ud800 and\udfff", "\0\x1b[2J", "\u202e", "a" * 100_000):
        answered(
            client, url, {**body, field: json.loads(json.dumps(body[field]).replace('"a"', json.dumps(text)))}
        )


@each_route
def test_limits_hold(make_client: Client, url: str, body: dict[str, Any], field: str) -> None:
    client = make_client(max_texts=2, max_text_bytes=10, max_body=2048)
    [item] = body[field]
    answered(client, url, {**body, field: [item, item]})
    assert client.post(url, json={**body, field: [item] * 3}).status_code == 400
    long = ["a" * 11] if isinstance(item, list) else "a" * 11
    assert client.post(url, json={**body, field: [long]}).status_code == 400
    assert client.post(url, json={**body, field: ["a" * 3000]}).status_code == 413


@pytest.mark.parametrize(("url", "body"), [route[:2] for route in ROUTES], ids=[route[0] for route in ROUTES])
def test_a_key_is_needed(make_client: Client, monkeypatch: pytest.MonkeyPatch, url: str, body: Any) -> None:
    monkeypatch.setenv("SAFETYCLF_API_KEYS", "good")
    client = make_client()
    assert client.post(url, json=body).status_code == 401
    assert client.post(url, json=body, headers={"authorization": "Bearer bad"}).status_code == 401
    assert client.post(url, json=body, headers={"authorization": "Bearer good"}).status_code == 200
    assert client.get("/v1/models").status_code == 401
    # LiteLLM has it there.
    expected = 200 if "litellm" in url else 401
    assert client.post(url, json=body, headers={"x-api-key": "good"}).status_code == expected
    assert client.post(url, json=body, headers={"x-api-key": "bad"}).status_code == 401
