"""What is served, by name: the policies that are loaded, and the model with the default one."""

from __future__ import annotations

import time
from typing import Any, Final

from starlette.routing import Route

from ..calls import Call, Endpoint
from ..refusals import Refusal
from ..state import State

NAME: Final = "safetyclf"
_SINCE: Final = int(time.time())


def policy_of(call: Call, model: str) -> str | None:
    """The policy that a model's name stands for; None leaves it to the header. Raises Refusal 404."""
    loaded = call.state.loaded
    if model in loaded.policies:
        return model
    if model in (NAME, loaded.classifier.model_id):
        return None
    names = ", ".join((NAME, *loaded.policies))
    raise Refusal(
        404, f"There is no such model here. There are: {names}.", code="model_not_found", param="model"
    )


async def listed(call: Call) -> dict[str, Any]:
    """All of them, as OpenAI's and vLLM's clients read it (`data`) and as KServe's do (`models`)."""
    names = [NAME, *call.state.loaded.policies]
    return {"object": "list", "data": [_card(name) for name in names], "models": names}


async def ready(call: Call) -> dict[str, Any]:
    """One of them, in both shapes."""
    name = call.scope["path_params"]["name"]
    policy_of(call, name)
    if call.state.draining:
        raise Refusal(503, "The server is about to end.", kind="server_error", retry=True)
    return {**_card(name), "name": name, "ready": True}


def routes(state: State) -> list[Route]:
    """The routes of this shape."""
    return [
        Route("/v1/models", Endpoint("models", listed, state), methods=["GET"]),
        Route("/v1/models/{name}", Endpoint("model", ready, state), methods=["GET"]),
    ]


def _card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _SINCE, "owned_by": NAME}
