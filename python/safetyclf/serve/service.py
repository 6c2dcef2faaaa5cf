"""Routes about the server itself."""

from __future__ import annotations

from typing import Any

from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from . import openapi
from .calls import Call, Endpoint
from .refusals import Refusal
from .state import State


async def health(call: Call) -> dict[str, Any]:
    """Whether the process answers."""
    return {"status": "ok"}


async def ready(call: Call) -> dict[str, Any]:
    """Whether new requests should come here."""
    if call.state.draining:
        raise Refusal(503, "The server is about to end.", kind="server_error", retry=True)
    return {"status": "ready"}


async def info(call: Call) -> dict[str, Any]:
    """Model, policies, statements and limits."""
    loaded, settings = call.state.loaded, call.state.settings
    about = loaded.classifier.info()
    del about["path"]
    return {
        **about,
        "policies": {
            name: {
                "id": classifier.policy_id,
                "audience": classifier._in_force.audience,
                "thresholds": {c: t._asdict() for c, t in classifier.thresholds.items()},
                "statements": classifier.statements,
            }
            for name, classifier in loaded.policies.items()
        },
        "default_policy": loaded.default,
        "shadow": None if loaded.shadow is None else loaded.shadow[loaded.default].model_id,
        "limits": {
            name: getattr(settings, name) for name in ("max_body", "max_texts", "max_text_bytes", "queue")
        },
        "images": settings.images,
    }


async def metrics(call: Call) -> Response:
    """For Prometheus."""
    return Response(call.state.metrics_text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def document(call: Call) -> dict[str, Any]:
    """The OpenAPI document."""
    return openapi.document()


async def page(call: Call) -> Response:
    """The same for people."""
    return HTMLResponse(openapi.page())


def routes(state: State) -> list[Route]:
    """The routes of this family."""
    return [
        Route("/health", Endpoint("health", health, state, public=True), methods=["GET"]),
        Route("/ready", Endpoint("ready", ready, state, public=True), methods=["GET"]),
        Route("/info", Endpoint("info", info, state), methods=["GET"]),
        Route("/metrics", Endpoint("metrics", metrics, state), methods=["GET"]),
        Route("/openapi.json", Endpoint("openapi", document, state, public=True), methods=["GET"]),
        Route("/docs", Endpoint("docs", page, state, public=True), methods=["GET"]),
    ]
