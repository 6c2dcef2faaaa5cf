"""OpenTelemetry spans, one for each request: only with --otel, and only with its packages installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._errors import MissingDependencyError

if TYPE_CHECKING:
    from starlette.types import Scope


class Telemetry:
    """Makes spans with the provider that the process has, or with one that the OTEL_* variables describe.

    A span says method, route, status and policy: never a text, nor a score.
    """

    def __init__(self) -> None:
        """Raises MissingDependencyError."""
        try:
            from opentelemetry import propagate, trace
        except ImportError:
            raise _missing() from None
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(_exporting())
        self._tracer = trace.get_tracer("safetyclf.serve")
        self._extract, self._trace = propagate.extract, trace

    def begin(self, route: str, scope: Scope) -> Any:
        """A span that continues the caller's trace."""
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        return self._tracer.start_span(
            f"{scope['method']} {route}",
            context=self._extract(carrier),
            kind=self._trace.SpanKind.SERVER,
            attributes={"http.request.method": scope["method"], "http.route": scope["path"]},
        )

    def end(self, span: Any, status: int, policy: str | None) -> None:
        """Ends it with what became of the request."""
        span.set_attribute("http.response.status_code", status)
        if policy is not None:
            span.set_attribute("safetyclf.policy", policy)
        if status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()


def _exporting() -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise _missing() from None
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _missing() -> MissingDependencyError:
    return MissingDependencyError(
        "--otel needs two more packages: pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
    )
