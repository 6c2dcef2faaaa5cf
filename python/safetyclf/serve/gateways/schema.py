"""This family's part of the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from ..refusals import REASONS

_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_SCORE: Final = {"type": "number", "minimum": 0, "maximum": 1}
_SCORES: Final = {"type": "object", "additionalProperties": _SCORE}
_OBJECT: Final = {"type": ["object", "null"]}
_ACTION: Final = {"enum": ["allow", "review", "block"]}
_LABELS: Final = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"label": _TEXT, "score": _SCORE},
        "required": ["label", "score"],
    },
}
_LISTED: Final = {"type": "array", "items": {**_TEXTS, "minItems": 1, "maxItems": 1}}
_PARAMETERS: Final = {
    "type": "object",
    "properties": {
        "top_k": {"type": ["integer", "null"], "minimum": 1},
        "function_to_apply": {"enum": ["sigmoid", None]},
    },
}
_NAME: Final = {
    "name": "name",
    "in": "path",
    "required": True,
    "schema": _TEXT,
    "description": "safetyclf, the model's id, or the name of a loaded policy",
    "example": "safetyclf",
}
_POLICY: Final = {
    "name": "x-safetyclf-policy",
    "in": "header",
    "schema": _TEXT,
    "description": "one of the loaded policies (GET /info); default: the first",
}
_POSTED: Final = (400, 401, 404, 408, 413, 429)


def _of(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    found = {"type": "object", "properties": properties}
    return {**found, "required": list(required)} if required else found


SCHEMAS: Final[dict[str, Any]] = {
    "ClassifyRequest": _of(
        {
            "model": {"type": ["string", "null"], "examples": ["safetyclf"]},
            "input": {"anyOf": [_TEXT, _TEXTS]},
        },
        "input",
    ),
    "ClassifyResponse": _of(
        {
            "id": _TEXT,
            "object": {"const": "list"},
            "created": {"type": "integer"},
            "model": _TEXT,
            "data": {
                "type": "array",
                "items": _of(
                    {
                        "index": {"type": "integer"},
                        "label": {**_TEXT, "description": "the highest flagged category, or safe"},
                        "probs": {"type": "array", "items": _SCORE},
                        "num_classes": {"type": "integer"},
                        "safetyclf": _of({"action": _ACTION, "triggered": _TEXTS, "labels": _TEXTS}),
                    },
                    "index",
                    "label",
                    "probs",
                    "num_classes",
                ),
            },
            "usage": _of(
                {"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}},
                "prompt_tokens",
                "total_tokens",
            ),
        },
        "id",
        "object",
        "created",
        "model",
        "data",
        "usage",
    ),
    "PredictRequest": {
        **_of({"raw_scores": {"enum": [False, None]}}, "inputs"),
        "anyOf": [
            {
                "description": "of Text Embeddings Inference",
                "properties": {"inputs": {"anyOf": [_TEXT, _LISTED]}, "parameters": {"type": "null"}},
            },
            {
                "description": "of Hugging Face's pipelines",
                "properties": {"inputs": {"anyOf": [_TEXT, _TEXTS]}, "parameters": _PARAMETERS},
                "required": ["parameters"],
            },
        ],
    },
    "PredictResponse": {"anyOf": [_LABELS, {"type": "array", "items": _LABELS}]},
    "PredictError": _of({"error": _TEXT, "error_type": _TEXT}, "error", "error_type"),
    "InstancesRequest": _of({"instances": _TEXTS}, "instances"),
    "InstancesResponse": _of({"predictions": {"type": "array", "items": _SCORES}}, "predictions"),
    "InstancesError": _of({"error": _TEXT}, "error"),
    "ContentsRequest": _of(
        {
            "contents": {**_TEXTS, "minItems": 1},
            "detector_params": {
                "type": ["object", "null"],
                "properties": {"threshold": {"anyOf": [_SCORE, {"type": "null"}]}},
            },
        },
        "contents",
    ),
    "ContentsResponse": {
        "type": "array",
        "items": {
            "type": "array",
            "items": _of(
                {
                    "start": {"type": "integer"},
                    "end": {"type": "integer"},
                    "text": _TEXT,
                    "detection": _TEXT,
                    "detection_type": _TEXT,
                    "score": _SCORE,
                },
                "start",
                "end",
                "text",
                "detection",
                "detection_type",
                "score",
            ),
        },
    },
    "ContentsError": _of({"code": {"type": "integer"}, "message": _TEXT}, "code", "message"),
    "GuardrailRequest": _of(
        {
            "input_type": {"enum": ["request", "response"]},
            "texts": {"anyOf": [_TEXTS, {"type": "null"}]},
            "images": {"type": ["array", "null"]},
            "additional_provider_specific_params": {**_OBJECT, "description": "changes nothing"},
        },
        "input_type",
    ),
    "GuardrailResponse": _of(
        {
            "action": {"enum": ["NONE", "BLOCKED"]},
            "blocked_reason": _TEXT,
            "safetyclf": {
                "type": "array",
                "items": _of({"action": _ACTION, "triggered": _TEXTS, "scores": _SCORES}),
            },
        },
        "action",
    ),
    "Models": _of(
        {
            "object": {"const": "list"},
            "data": {"type": "array", "items": {"type": "object"}},
            "models": _TEXTS,
        },
        "object",
        "data",
        "models",
    ),
    "Model": _of(
        {"id": _TEXT, "object": {"const": "model"}, "name": _TEXT, "ready": {"type": "boolean"}}, "id"
    ),
}


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _operation(
    name: str,
    summary: str,
    response: str,
    refusals: tuple[int, ...],
    parameters: list[dict[str, Any]],
    error: str = "Error",
) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "done", "content": _content(response)},
            **{
                str(status): {"description": REASONS[status], "content": _content(error)}
                for status in refusals
            },
        },
    }


def _post(
    operation: str, summary: str, name: str, *, error: str = "Error", model: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A path; `name` begins that of its request's and its answer's schemas."""
    parameters = [_POLICY] if model is None else [model, _POLICY]
    return {
        "post": {
            **_operation(operation, summary, f"{name}Response", _POSTED, parameters, error),
            "requestBody": {"required": True, "content": _content(f"{name}Request")},
        }
    }


PATHS: Final[dict[str, Any]] = {
    "/v1/models": {"get": _operation("models", "What is served", "Models", (401,), [])},
    "/v1/models/{name}": {
        "get": _operation("model", "Whether it is ready", "Model", (401, 404, 503), [_NAME])
    },
    "/v1/models/{name}:predict": _post(
        "kserve",
        "Judge texts, in the shape of KServe's v1 prediction",
        "Instances",
        error="InstancesError",
        model=_NAME,
    ),
    "/classify": _post("classify", "Judge texts, in the shape of vLLM's classification", "Classify"),
    "/v1/classify": _post("classifyV1", "The same", "Classify"),
    "/predict": _post(
        "predict", "Judge texts, in the shape of Text Embeddings Inference", "Predict", error="PredictError"
    ),
    "/api/v1/text/contents": _post(
        "contents",
        "Judge texts, in the shape of a detector of FMS guardrails",
        "Contents",
        error="ContentsError",
    ),
    "/beta/litellm_basic_guardrail_api": _post(
        "litellm", "Judge texts, in the shape of LiteLLM's generic guardrail", "Guardrail"
    ),
}
