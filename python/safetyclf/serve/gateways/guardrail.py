"""LiteLLM's generic guardrail API: may these texts pass?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from ..calls import Call, Endpoint, bearer
from ..engines import Judged
from ..fields import expected, optional, strings
from ..refusals import Refusal
from ..state import State

if TYPE_CHECKING:
    from starlette.types import Scope


async def check(call: Call) -> dict[str, Any]:
    """Blocks if a text is flagged.

    `additional_provider_specific_params` changes nothing: a gateway may fill it with what its users send, and
    they must not choose how strictly they are judged. The gateway's own headers can name a policy.
    """
    body = expected(await call.json(), dict, "the body")
    if body.get("input_type") not in ("request", "response"):
        raise Refusal(400, "input_type must be 'request' or 'response'.", param="input_type")
    optional(body, "additional_provider_specific_params", dict)
    given = body.get("texts")
    texts = [] if given is None else strings(given, "texts")
    if optional(body, "images", list) and call.state.settings.images == "refuse":
        raise Refusal(
            400,
            "This server judges text only. Leave images out, or let it ignore them (--images ignore).",
            code="image_not_supported",
            param="images",
        )
    judged = await call.judge(texts, param="texts") if texts else []
    answer: dict[str, Any] = {"action": "NONE"}
    if any(one.verdict.flagged for one in judged):
        answer = {"action": "BLOCKED", "blocked_reason": _reason(judged)}
    return {**answer, "safetyclf": [_about(one) for one in judged]}


def key_of(scope: Scope) -> str | None:
    """The key as LiteLLM sends it (x-api-key), or as a bearer token."""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return str(value.decode("latin-1"))
    return bearer(scope)


def routes(state: State) -> list[Route]:
    """The route of this shape."""
    endpoint = Endpoint("litellm", check, state, key_of=key_of)
    return [Route("/beta/litellm_basic_guardrail_api", endpoint, methods=["POST"])]


def _reason(judged: list[Judged]) -> str:
    """For the user of the gateway: categories, no text."""
    names = dict.fromkeys(name for one in judged for name in one.verdict.triggered)
    return f"Flagged for {', '.join(names)}." if names else "Flagged by a list of terms."


def _about(judged: Judged) -> dict[str, Any]:
    verdict = judged.verdict
    scores = {name: float(f"{score:.9g}") for name, score in verdict.scores.items()}
    return {"action": verdict.action, "triggered": list(verdict.triggered), "scores": scores}
