"""comments:analyze: the shape that clients of the Perspective API know, and the classifier's scores in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from perspective_model import write_model
from safetyclf import Classifier
from safetyclf.serve.settings import PolicySource
from server_helpers import write_policy
from starlette.testclient import TestClient

URL = "/v1alpha1/comments:analyze"
Client = Callable[..., TestClient]


@pytest.fixture(scope="session")
def attributes_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("attributes") / "model.safetensors")


@pytest.fixture
def make(make_client: Client, attributes_path: Path) -> Client:
    return lambda **options: make_client(model=str(attributes_path), **options)


@pytest.fixture
def client(make: Client) -> TestClient:
    return make()


def asking(text: str = "the angry dog", *attributes: str, **fields: Any) -> dict[str, Any]:
    return {
        "comment": {"text": text},
        "requestedAttributes": {name: {} for name in attributes or ("TOXICITY",)},
        **fields,
    }


def answered(client: TestClient, body: Any, **headers: str) -> dict[str, Any]:
    # Not as `json`: lone surrogates travel as escape sequences only.
    response = client.post(URL, content=json.dumps(body), headers=headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def refused(client: TestClient, body: Any, status: int = 400) -> dict[str, Any]:
    response = client.post(URL, json=body)
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert error["code"] == status
    assert error["message"]
    return error


def kind(error: dict[str, Any]) -> str:
    """The errorType of a refusal."""
    assert error["status"] == "INVALID_ARGUMENT"
    [detail] = error["details"]
    assert detail["@type"] == "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
    found: str = detail["errorType"]
    return found


def test_an_attribute_has_the_score_of_its_category(client: TestClient, attributes_path: Path) -> None:
    classifier, text = Classifier(attributes_path), "the angry dog"
    answer = answered(client, asking(text, "TOXICITY", "INSULT"))
    assert set(answer) == {"attributeScores", "languages", "detectedLanguages"}
    assert answer["languages"] == answer["detectedLanguages"] == ["en"]
    scores = classifier.classify(text).scores
    for name in ("TOXICITY", "INSULT"):
        score = {"value": float(f"{scores[name.lower()]:.9g}"), "type": "PROBABILITY"}
        span = {"begin": 0, "end": len(text), "score": score}
        assert answer["attributeScores"][name] == {"summaryScore": score, "spanScores": [span]}


def test_categories_of_our_own_can_be_asked_for(client: TestClient) -> None:
    assert set(answered(client, asking("a", "harassment"))["attributeScores"]) == {"harassment"}


def test_sentences_are_judged_alone_and_counted_in_utf16(client: TestClient, attributes_path: Path) -> None:
    first, second = "An \U0001f600 angry cat!", "Nice weather, is it not?"
    text = f"{first}  {second}"
    entry = answered(client, asking(text, spanAnnotations=True))["attributeScores"]["TOXICITY"]
    begin = len(first) + 1 + 2  # the emoji has two code units, and two blanks follow
    assert [(span["begin"], span["end"]) for span in entry["spanScores"]] == [
        (0, len(first) + 1),
        (begin, begin + len(second)),
    ]
    units = text.encode("utf-16-le")
    for span, part in zip(entry["spanScores"], (first, second), strict=True):
        assert units[2 * span["begin"] : 2 * span["end"]].decode("utf-16-le") == part
        score = Classifier(attributes_path).classify(part).scores["toxicity"]
        assert span["score"]["value"] == float(f"{score:.9g}")


def test_sentences_are_no_decisions_of_their_own(make: Client, tmp_path: Path) -> None:
    client = make(audit=str(tmp_path / "audit"))
    answered(client, asking("One. Two. Three.", spanAnnotations=True))
    assert len((tmp_path / "audit").read_text().splitlines()) == 1


def test_more_sentences_than_texts_allowed_are_joined(make: Client) -> None:
    client = make(max_texts=3)
    spans = answered(client, asking("A. " * 10, spanAnnotations=True))["attributeScores"]["TOXICITY"][
        "spanScores"
    ]
    assert [(span["begin"], span["end"]) for span in spans] == [(0, 11), (12, 23), (24, 29)]


def test_a_very_long_comment_is_one_span(client: TestClient) -> None:
    text = "Good dog. " * 2049
    [span] = answered(client, asking(text, spanAnnotations=True))["attributeScores"]["TOXICITY"]["spanScores"]
    assert (span["begin"], span["end"]) == (0, len(text))


def test_scores_below_the_threshold_are_left_out(client: TestClient) -> None:
    text = "The angry dog. Nice."
    whole = answered(client, asking(text, spanAnnotations=True))["attributeScores"]["TOXICITY"]
    spans = [span["score"]["value"] for span in whole["spanScores"]]
    assert len({whole["summaryScore"]["value"], *spans}) == 3

    def above(threshold: float) -> dict[str, Any]:
        asked = {"TOXICITY": {"scoreThreshold": threshold, "scoreType": "PROBABILITY"}}
        body = {"comment": {"text": text}, "requestedAttributes": asked, "spanAnnotations": True}
        found: dict[str, Any] = answered(client, body)["attributeScores"]
        return found

    assert above(min(spans))["TOXICITY"]["spanScores"] == whole["spanScores"]
    [span] = above(max(spans))["TOXICITY"]["spanScores"]
    assert span["score"]["value"] == max(spans)
    assert above(1.0) == {}


def test_the_token_comes_back_and_nothing_else_does(client: TestClient) -> None:
    answer = answered(client, asking(clientToken="t-1", sessionId="s", communityId="c", doNotStore=True))
    assert answer["clientToken"] == "t-1"
    assert set(answer) == {"attributeScores", "languages", "detectedLanguages", "clientToken"}


def test_context_is_taken_and_changes_nothing(client: TestClient) -> None:
    entry = {"text": "before", "type": "PLAIN_TEXT"}
    plain = answered(client, asking())
    for context in (
        {"entries": [entry]},
        {"articleAndParentComment": {"article": entry, "parentComment": entry}},
        {},
    ):
        assert answered(client, asking(context=context)) == plain


@pytest.mark.parametrize("languages", [["en"], ["en-GB"], ["EN_us"], []])
def test_the_models_language_is_read(client: TestClient, languages: list[str]) -> None:
    assert answered(client, asking(languages=languages))["languages"] == (languages or ["en"])


@pytest.mark.parametrize("languages", [["fr"], ["en", "fr"], ["english"], [""]])
def test_another_language_is_refused_as_the_original_did(client: TestClient, languages: list[str]) -> None:
    error = refused(client, asking(languages=languages))
    assert kind(error) == "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"
    assert (
        error["message"] == f"Attribute TOXICITY does not support request languages: {', '.join(languages)}"
    )
    about = error["details"][0]["languageNotSupportedByAttributeError"]
    assert about == {"attribute": "TOXICITY", "detectedLanguages": ["en"], "requestedLanguages": languages}


def test_a_language_is_told_by_its_script(client: TestClient, make: Client) -> None:
    error = refused(client, asking("\u3053\u308c\u306f\u65e5\u672c\u8a9e\u3067\u3059"))
    assert kind(error) == "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"
    assert error["details"][0]["languageNotSupportedByAttributeError"]["detectedLanguages"] == ["ja"]
    # Who says that it is English is believed.
    answer = answered(client, asking("\u65e5\u672c", languages=["en"]))
    assert (answer["languages"], answer["detectedLanguages"]) == (["en"], ["zh"])
    other = make(perspective_language=("de", "ja"))
    assert answered(other, asking("\u3053\u308c"))["languages"] == ["ja"]
    assert answered(other, asking("Guten Tag"))["languages"] == ["de"]
    assert kind(refused(other, asking("Hello", languages=["en"]))) == "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"


@pytest.mark.parametrize(
    "name", ["PROFANITY", "SEVERE_TOXICITY", "TOXICITY_EXPERIMENTAL", "SPAM", "FLIRTATION"]
)
def test_an_attribute_without_a_score_is_refused_or_dropped(
    client: TestClient, make: Client, name: str
) -> None:
    error = refused(client, asking("a", "TOXICITY", name))
    assert kind(error) == "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"
    assert error["details"][0]["languageNotSupportedByAttributeError"]["attribute"] == name
    dropped = answered(client, asking("a", "TOXICITY", name, dropUnsupportedAttributes=True))
    assert set(dropped["attributeScores"]) == {"TOXICITY"}
    lenient = make(perspective_unscored="drop")
    assert set(answered(lenient, asking("a", "TOXICITY", name))["attributeScores"]) == {"TOXICITY"}
    # That option is about attributes, not about languages.
    assert kind(refused(lenient, asking("a", languages=["fr"]))) == "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"


@pytest.mark.parametrize("name", ["TOXIC", "", "TOXICITY@6", "illicit", "x" * 5000])
def test_an_unknown_attribute_is_refused_even_if_others_may_be_dropped(make: Client, name: str) -> None:
    error = refused(make(perspective_unscored="drop"), asking("a", name, dropUnsupportedAttributes=True))
    assert kind(error) == "INVALID_REQUEST"
    assert error["message"] == f"Unknown requested attribute: {name[:100]}"


COMMENT = {"text": "a"}
ASKED: dict[str, Any] = {"TOXICITY": {}}


@pytest.mark.parametrize(
    ("body", "error_type"),
    [
        ({"comment": {"text": ""}, "requestedAttributes": ASKED}, "COMMENT_EMPTY"),
        ({"comment": {}, "requestedAttributes": ASKED}, "COMMENT_EMPTY"),
        ({"requestedAttributes": ASKED}, "COMMENT_EMPTY"),
        ({"comment": COMMENT}, "NO_REQUESTED_ATTRIBUTES"),
        ({"comment": COMMENT, "requestedAttributes": {}}, "NO_REQUESTED_ATTRIBUTES"),
    ],
)
def test_what_is_missing_has_its_own_error_type(client: TestClient, body: Any, error_type: str) -> None:
    assert kind(refused(client, body)) == error_type


@pytest.mark.parametrize(
    "body",
    [
        [],
        "text",
        None,
        7,
        {"comment": "a", "requestedAttributes": ASKED},
        {"comment": {"text": 7}, "requestedAttributes": ASKED},
        {"comment": {"text": ["a"]}, "requestedAttributes": ASKED},
        {"comment": {"text": "a", "type": "HTML"}, "requestedAttributes": ASKED},
        {"comment": {"text": "a", "type": "TEXT"}, "requestedAttributes": ASKED},
        {"comment": {"text": "a", "lang": "en"}, "requestedAttributes": ASKED},
        {"comment": COMMENT, "requestedAttributes": ["TOXICITY"]},
        {"comment": COMMENT, "requestedAttributes": "TOXICITY"},
        {"comment": COMMENT, "requestedAttributes": {"TOXICITY": True}},
        {"comment": COMMENT, "requestedAttributes": {"TOXICITY": {"scoreTreshold": 0.5}}},
        {"comment": COMMENT, "requestedAttributes": {"TOXICITY": {"scoreThreshold": "0.5"}}},
        {"comment": COMMENT, "requestedAttributes": {"TOXICITY": {"scoreThreshold": True}}},
        {"comment": COMMENT, "requestedAttributes": {"TOXICITY": {"scoreThreshold": 1.5}}},
        {"comment": COMMENT, "requestedAttributes": {"TOXICITY": {"scoreType": "RAW"}}},
        {"comment": COMMENT, "requestedAttributes": {"TOXICITY": {"scoreType": 1}}},
        asking(languages="en"),
        asking(languages=[1]),
        asking(languages={}),
        asking(spanAnnotations=1),
        asking(doNotStore="true"),
        asking(clientToken=5),
        asking(sessionId=5),
        asking(communityId=[]),
        asking(context="before"),
        asking(context={"entries": "before"}),
        asking(context={"entries": [{"text": "a", "type": "HTML"}]}),
        asking(context={"entries": [{"text": "a"}], "articleAndParentComment": {}}),
        asking(spanAnnotation=True),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_malformed_is_refused(client: TestClient, body: Any) -> None:
    assert kind(refused(client, body)) == "INVALID_REQUEST"


@pytest.mark.parametrize("text", [b"{", b"", b"\xff", b'{"comment":', b"[" * 100_000])
def test_what_is_no_json_is_refused(client: TestClient, text: bytes) -> None:
    response = client.post(URL, content=text)
    assert response.status_code == 400
    assert kind(response.json()["error"]) == "INVALID_REQUEST"


def test_not_a_number_is_no_threshold(client: TestClient) -> None:
    body = json.dumps(
        {"comment": COMMENT, "requestedAttributes": {"TOXICITY": {"scoreThreshold": float("nan")}}}
    )
    assert client.post(URL, content=body).status_code == 400


def test_lone_surrogates_and_controls_are_text(client: TestClient) -> None:
    for text in ("\ud800 you. And you\udfff!", "\0\x1b[2J", "\u202e\u200b", "\U0001f468\u200d\U0001f469"):
        entry = answered(client, asking(text, spanAnnotations=True, languages=["en"]))["attributeScores"][
            "TOXICITY"
        ]
        assert entry["spanScores"][-1]["end"] == len(text.encode("utf-16-le", "surrogatepass")) // 2


def test_a_text_is_long_or_too_long(make: Client) -> None:
    client = make(max_text_bytes=20_000)
    answered(client, asking("a" * 20_000))
    for text in ("a" * 20_001, "\u00e9" * 10_001):
        error = refused(client, asking(text))
        assert kind(error) == "COMMENT_TOO_LONG"
        assert error["message"] == "Comment text too long."


def test_a_body_can_be_too_large(make: Client) -> None:
    error = refused(make(max_body=1024), asking("a" * 2000), 413)
    assert "details" not in error


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("?key=good", {}, 200),
        ("?alt=json&key=good", {}, 200),
        ("", {"x-goog-api-key": "good"}, 200),
        ("", {"authorization": "Bearer good"}, 200),
        ("?key=bad", {}, 401),
        ("?key=bad", {"authorization": "Bearer good"}, 401),
        ("?key=", {}, 401),
        ("", {"x-goog-api-key": "bad"}, 401),
        ("", {}, 401),
    ],
)
def test_the_key_stands_where_google_has_it(
    make: Client, monkeypatch: pytest.MonkeyPatch, query: str, headers: dict[str, str], status: int
) -> None:
    monkeypatch.setenv("SAFETYCLF_API_KEYS", "good")
    response = make().post(URL + query, json=asking(), headers=headers)
    assert response.status_code == status
    if status == 401:
        assert response.json()["error"]["status"] == "UNAUTHENTICATED"
        assert response.headers["x-should-retry"] == "false"


def test_scores_do_not_depend_on_the_policy_but_it_must_exist(make: Client, tmp_path: Path) -> None:
    strict = PolicySource("strict", str(write_policy(tmp_path / "strict.toml")), None)
    client = make(
        policy=(PolicySource("loose", str(write_policy(tmp_path / "loose.toml", 0.9)), None), strict)
    )
    assert answered(client, asking()) == answered(client, asking(), **{"x-safetyclf-policy": "strict"})
    assert client.post(URL, json=asking(), headers={"x-safetyclf-policy": "none"}).status_code == 404


def test_only_post_is_answered(client: TestClient) -> None:
    assert client.get(URL).status_code == 405
    assert client.post("/v1alpha1/comments:other", json={}).status_code == 404
