"""Clients that no one here wrote, as far as they are light. tests/gateways/ has the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from safetyclf import Classifier
from server_helpers import Running

TEXT = "the angry dog"


@pytest.fixture
def server(serve: Callable[..., Running]) -> Running:
    running = serve(environment={"SAFETYCLF_API_KEYS": "good"})
    running.wait_ready()
    return running


def test_hugging_faces_client_reads_predictions(server: Running, tiny: Classifier) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub")
    client = hub.InferenceClient(model=f"{server.url}/predict", token="good")
    scores = {entry.label: entry.score for entry in client.text_classification(TEXT)}
    expected = {name: float(f"{score:.9g}") for name, score in tiny.classify(TEXT).scores.items()}
    assert scores == expected
    [first] = client.text_classification(TEXT, top_k=1)
    assert first.score == max(expected.values())
    with pytest.raises(hub.errors.HfHubHTTPError):
        hub.InferenceClient(model=f"{server.url}/predict", token="bad").text_classification(TEXT)


def test_openais_client_lists_models(server: Running) -> None:
    openai = pytest.importorskip("openai", reason="needs openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="good") as client:
        assert [model.id for model in client.models.list()] == ["safetyclf", "default"]
        assert client.models.retrieve("safetyclf").owned_by == "safetyclf"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-4")
