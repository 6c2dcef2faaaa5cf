"""Spans of requests."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from safetyclf import MissingDependencyError
from safetyclf.serve.telemetry import Telemetry
from starlette.testclient import TestClient

SECRET = "a secret about a banana"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_span_for_each_request(make_client: Callable[..., TestClient]) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    client = make_client(otel=True)
    client.post("/v1/moderations", json={"input": SECRET}, headers={"traceparent": PARENT})
    client.post("/v1/moderations", json={"input": []})
    first, second = exporter.get_finished_spans()
    assert first.name == "POST moderations"
    assert first.kind is trace.SpanKind.SERVER
    assert f"{first.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{first.parent.span_id:016x}" == PARENT.split("-")[2]
    assert dict(first.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/moderations",
        "http.response.status_code": 200,
        "safetyclf.policy": "default",
    }
    assert second.attributes["http.response.status_code"] == 400
    assert "banana" not in first.to_json()


def test_without_the_packages_the_message_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingDependencyError, match="opentelemetry-sdk"):
        Telemetry()
