"""KServe's v1 prediction: instances are texts, and a prediction has a number by label."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from ..calls import Call, Endpoint
from ..engines import Judged
from ..fields import expected, strings
from ..refusals import Refusal
from ..state import State
from .models import policy_of


async def predict(call: Call) -> dict[str, Any]:
    """Answers one request."""
    policy = policy_of(call, call.scope["path_params"]["name"])
    body = expected(await call.json(), dict, "the body")
    texts = strings(body.get("instances"), "instances")
    judged = await call.judge(texts, param="instances", policy=policy) if texts else []
    return {"predictions": [_prediction(one) for one in judged]}


def envelope(refusal: Refusal) -> dict[str, Any]:
    """KServe's."""
    return {"error": refusal.message}


def routes(state: State) -> list[Route]:
    """The route of this shape."""
    endpoint = Endpoint("kserve", predict, state, envelope=envelope)
    return [Route("/v1/models/{name}:predict", endpoint, methods=["POST"])]


def _prediction(judged: Judged) -> dict[str, float]:
    """The scores, and the policy's decision as labels of 0 or 1: what is to be blocked is to be reviewed."""
    verdict = judged.verdict
    decided = {"review": float(verdict.action != "allow"), "block": float(verdict.action == "block")}
    return {**decided, **{name: float(f"{score:.9g}") for name, score in verdict.scores.items()}}
