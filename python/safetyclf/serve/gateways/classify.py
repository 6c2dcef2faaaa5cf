"""Text classification in the shapes of vLLM, Text Embeddings Inference and Hugging Face's pipelines."""

from __future__ import annotations

import time
from typing import Any

from starlette.routing import Route

from ..calls import Call, Endpoint
from ..engines import Judged
from ..fields import expected, optional, strings
from ..refusals import Refusal
from ..state import State
from .models import policy_of


async def classify(call: Call) -> dict[str, Any]:
    """vLLM's: one label for each text, by the policy, and the scores of all categories."""
    body = expected(await call.json(), dict, "the body")
    given = body.get("input")
    texts = [given] if isinstance(given, str) else strings(given, "input")
    model = optional(body, "model", str)
    policy = None if model is None else policy_of(call, model)
    judged = await call.judge(texts, policy=policy) if texts else []
    tokens = sum(one.tokens for one in judged)
    return {
        "id": f"classify-{call.request_id.removeprefix('req_')}",
        "object": "list",
        "created": int(time.time()),
        "model": call.state.loaded.classifier.model_id,
        "data": [_labelled(i, one) for i, one in enumerate(judged)],
        "usage": {
            "prompt_tokens": tokens,
            "total_tokens": tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }


async def predict(call: Call) -> list[Any]:
    """All labels by falling score: of one text a list, of a batch `[[text], ...]` a list of lists.

    With `parameters` the request is one of Hugging Face's pipelines: a list of texts is a batch, and also one
    text's answer stands within a list.
    """
    body = expected(await call.json(), dict, "the body")
    given, parameters = body.get("inputs"), optional(body, "parameters", dict)
    most = _checked_parameters(parameters) if parameters is not None else None
    if optional(body, "raw_scores", bool):
        raise Refusal(400, "There are no raw scores here, only calibrated ones.", param="raw_scores")
    if isinstance(given, str):
        texts, alone = [given], parameters is None
    else:
        texts, alone = _batch(given, parameters is not None), False
    judged = await call.judge(texts, param="inputs") if texts else []
    ranked = [_ranked(one)[:most] for one in judged]
    return ranked[0] if alone else ranked


def envelope(refusal: Refusal) -> dict[str, Any]:
    """Text Embeddings Inference's."""
    kind = "Overloaded" if refusal.status == 429 else "Validation" if refusal.status < 500 else "Backend"
    return {"error": refusal.message, "error_type": kind}


def routes(state: State) -> list[Route]:
    """The routes of these shapes."""
    endpoint = Endpoint("classify", classify, state)
    return [
        Route("/classify", endpoint, methods=["POST"]),
        Route("/v1/classify", endpoint, methods=["POST"]),
        Route("/predict", Endpoint("predict", predict, state, envelope=envelope), methods=["POST"]),
    ]


def _labelled(index: int, judged: Judged) -> dict[str, Any]:
    verdict = judged.verdict
    triggered, scores = verdict.triggered, verdict.scores
    # A term list may act without a category: then the action is all there is to say.
    label = triggered[0] if triggered else "safe" if verdict.action == "allow" else verdict.action
    return {
        "index": index,
        "label": label,
        "probs": _rounded(list(scores.values())),
        "num_classes": len(scores),
        "safetyclf": {"action": verdict.action, "triggered": list(triggered), "labels": list(scores)},
    }


def _ranked(judged: Judged) -> list[dict[str, Any]]:
    scores = judged.verdict.scores
    return [
        {"label": name, "score": _rounded([score])[0]}
        for name, score in sorted(scores.items(), key=lambda item: -item[1])
    ]


def _rounded(scores: list[float]) -> list[float]:
    # Nine digits tell any two float32 apart.
    return [float(f"{score:.9g}") for score in scores]


def _batch(given: object, flat: bool) -> list[str]:
    items = expected(given, list, "inputs")
    if flat:
        return strings(items, "inputs")
    if items and all(isinstance(item, str) for item in items):
        raise Refusal(
            400,
            "A flat list is a pair of texts, and pairs are not judged: send [[text], ...].",
            param="inputs",
        )
    texts = []
    for i, item in enumerate(items):
        if len(found := strings(item, f"inputs[{i}]")) != 1:
            raise Refusal(400, f"inputs[{i}] must hold one text.", param="inputs")
        texts += found
    return texts


def _checked_parameters(parameters: dict[str, Any]) -> int | None:
    """How many labels are wanted, None for all."""
    if optional(parameters, "function_to_apply", str, "parameters.") not in (None, "sigmoid"):
        raise Refusal(400, "Scores are calibrated probabilities of each label by itself.", param="parameters")
    most = optional(parameters, "top_k", int, "parameters.")
    if most is not None and most < 1:
        raise Refusal(400, "parameters.top_k must be at least 1.", param="parameters.top_k")
    return most
