"""FMS guardrails: a detector of text contents, as its orchestrator and NeMo Guardrails call it."""

from __future__ import annotations

import math
from typing import Any

from starlette.routing import Route

from ..calls import Call, Endpoint
from ..fields import expected, optional, strings
from ..refusals import Refusal
from ..state import State


async def contents(call: Call) -> list[list[dict[str, Any]]]:
    """A list of detections for each content, which cover all of it."""
    body = expected(await call.json(), dict, "the body")
    texts = strings(body.get("contents"), "contents")
    if not texts:
        raise Refusal(400, "contents must not be empty.", param="contents")
    threshold = _threshold(optional(body, "detector_params", dict) or {})
    judged = await call.judge(texts, param="contents")
    found = []
    for text, one in zip(texts, judged, strict=True):
        verdict, scores = one.verdict, one.verdict.scores
        if threshold is None:
            names = [*verdict.triggered]
        else:
            names = [
                name for name in sorted(scores, key=lambda name: -scores[name]) if scores[name] >= threshold
            ]
        found.append([_detection(text, name, scores[name]) for name in names])
        if not names and threshold is None and verdict.action != "allow":
            found[-1].append(_detection(text, verdict.action, 1.0))  # by a term list without a category
    return found


def envelope(refusal: Refusal) -> dict[str, Any]:
    """The detectors'."""
    return {"code": refusal.status, "message": refusal.message}


def routes(state: State) -> list[Route]:
    """The route of this shape."""
    return [
        Route(
            "/api/v1/text/contents",
            Endpoint("detector", contents, state, envelope=envelope),
            methods=["POST"],
        )
    ]


def _threshold(parameters: dict[str, Any]) -> float | None:
    """From which score on a category is detected; None leaves it to the policy."""
    given = optional(parameters, "threshold", float, "detector_params.")
    if given is not None and not (math.isfinite(given) and 0 <= given <= 1):
        raise Refusal(400, "detector_params.threshold must be in [0, 1].", param="detector_params.threshold")
    return given


def _detection(text: str, category: str, score: float) -> dict[str, Any]:
    return {
        "start": 0,
        "end": len(text),
        "text": text,
        "detection": category,
        "detection_type": category,
        "score": float(f"{score:.9g}"),
    }
