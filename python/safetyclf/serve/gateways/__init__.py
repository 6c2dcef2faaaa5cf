"""The shapes that gateways and model servers speak, on the same verdicts. docs/gateways.md is the guide.

models     names of what is served, in the shapes of OpenAI and KServe
classify   text classification: vLLM's /classify, and /predict of Text Embeddings Inference and Hugging Face
kserve     KServe's v1 prediction
detector   FMS guardrails: a detector of text contents
guardrail  LiteLLM's generic guardrail API
schema     this family's part of the OpenAPI document
"""

from __future__ import annotations

from starlette.routing import Route

from ..state import State
from . import classify, detector, guardrail, kserve, models
from .schema import PATHS, SCHEMAS

__all__ = ["PATHS", "SCHEMAS", "routes"]


def routes(state: State) -> list[Route]:
    """The routes of this family. Predictions come before models: their paths begin alike."""
    return [route for part in (kserve, models, classify, detector, guardrail) for route in part.routes(state)]
