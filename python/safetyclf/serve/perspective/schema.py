"""This family's part of the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final


def _closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    found = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found


def _of_schema(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": ["boolean", "null"]}
_OPTIONAL: Final = {"type": ["string", "null"]}
_FRACTION: Final = {"type": "number", "minimum": 0, "maximum": 1}
_LANGUAGES: Final = {"type": "array", "items": _TEXT}
_SCORE_TYPE: Final = {"enum": ["PROBABILITY", "SCORE_TYPE_UNSPECIFIED", None]}
_TEXT_TYPE: Final = {"enum": ["PLAIN_TEXT", "TEXT_TYPE_UNSPECIFIED", None]}
_ENTRY: Final = _closed({"text": _OPTIONAL, "type": _TEXT_TYPE})
_CONTEXT: Final = {
    "description": "taken, and not considered; one of the two at most",
    "anyOf": [
        {"type": "null"},
        _closed({"entries": _or_null({"type": "array", "items": _ENTRY})}),
        _closed({"articleAndParentComment": _or_null(_closed({"article": _ENTRY, "parentComment": _ENTRY}))}),
    ],
}
_COMMON: Final = {
    "comment": _closed({"text": {"type": "string", "minLength": 1}, "type": _TEXT_TYPE}, "text"),
    "context": _CONTEXT,
    "languages": _or_null({**_LANGUAGES, "description": "BCP-47 tags; default: by the script of the text"}),
    "clientToken": {**_OPTIONAL, "description": "comes back in the answer"},
    "sessionId": _OPTIONAL,
    "communityId": _OPTIONAL,
}
_SCORE: Final = _closed({"value": _FRACTION, "type": _SCORE_TYPE}, "value")
_SPAN: Final = {
    "begin": {"type": "integer", "minimum": 0, "description": "in UTF-16 code units"},
    "end": {"type": "integer", "minimum": 1, "description": "exclusive"},
    "score": _SCORE,
}
_ATTRIBUTE_SCORES: Final = {
    **_closed(
        {
            "summaryScore": _or_null(_SCORE),
            "spanScores": _or_null({"type": "array", "items": _closed(_SPAN, "begin", "end", "score")}),
        }
    ),
    "anyOf": [
        {"required": ["summaryScore"], "properties": {"summaryScore": {"type": "object"}}},
        {"required": ["spanScores"], "properties": {"spanScores": {"type": "array", "minItems": 1}}},
    ],
}
SCHEMAS: Final[dict[str, Any]] = {
    "AnalyzeCommentRequest": _closed(
        {
            **_COMMON,
            "requestedAttributes": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": _or_null(
                    _closed({"scoreType": _SCORE_TYPE, "scoreThreshold": _or_null(_FRACTION)})
                ),
                "examples": [{"TOXICITY": {}, "INSULT": {"scoreThreshold": 0.5}}],
            },
            "spanAnnotations": {**_FLAG, "description": "a score for each sentence, which is judged alone"},
            "dropUnsupportedAttributes": {**_FLAG, "description": "leave them out in place of an error"},
            "doNotStore": {**_FLAG, "description": "nothing is ever stored"},
        },
        "comment",
        "requestedAttributes",
    ),
    "AnalyzeCommentResponse": _closed(
        {
            "attributeScores": {"type": "object", "additionalProperties": _ATTRIBUTE_SCORES},
            "languages": _LANGUAGES,
            "detectedLanguages": _LANGUAGES,
            "clientToken": _TEXT,
        },
        "attributeScores",
        "languages",
        "detectedLanguages",
    ),
    "SuggestCommentScoreRequest": _closed(
        {
            **_COMMON,
            "attributeScores": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": _ATTRIBUTE_SCORES,
                "examples": [{"TOXICITY": {"summaryScore": {"value": 0}}}],
            },
            "doNotStore": {"enum": [False, None]},
        },
        "comment",
        "attributeScores",
    ),
    "SuggestCommentScoreResponse": _closed({"clientToken": _TEXT}),
    "GoogleError": _closed(
        {
            "error": _closed(
                {
                    "code": {"type": "integer"},
                    "message": _TEXT,
                    "status": _TEXT,
                    "details": {"type": "array", "items": {"type": "object"}},
                },
                "code",
                "message",
                "status",
            )
        },
        "error",
    ),
}
_REFUSALS: Final = {
    400: "the request breaks a rule, or asks for what there is no score for",
    401: "no key, or a wrong one",
    404: "no such policy",
    408: "the request came too slowly",
    413: "the body is too large",
    429: "too many requests wait already, or the queue file is full",
    501: "the server keeps no feedback",
}


def _post(operation: str, summary: str, name: str, *refusals: int) -> dict[str, Any]:
    """A path; `name` is that of its request's and its answer's schemas."""

    def content(schema: str) -> dict[str, Any]:
        return {"application/json": {"schema": _of_schema(schema)}}

    return {
        "post": {
            "operationId": operation,
            "summary": summary,
            "parameters": [
                {
                    "name": "x-safetyclf-policy",
                    "in": "header",
                    "schema": _TEXT,
                    "description": "one of the loaded policies (GET /info); default: the first",
                }
            ],
            "security": [{"keyInQuery": []}, {"key": []}],
            "requestBody": {"required": True, "content": content(f"{name}Request")},
            "responses": {
                "200": {"description": "done", "content": content(f"{name}Response")},
                **{
                    str(status): {"description": _REFUSALS[status], "content": content("GoogleError")}
                    for status in refusals
                },
            },
        }
    }


PATHS: Final[dict[str, Any]] = {
    "/v1alpha1/comments:analyze": _post(
        "analyze",
        "Judge a comment, in the shape of the Perspective API",
        "AnalyzeComment",
        400, 401, 404, 408, 413, 429,
    ),
    "/v1alpha1/comments:suggestscore": _post(
        "suggestscore",
        "Suggest what a comment should have scored, for those who label",
        "SuggestCommentScore",
        400, 401, 404, 408, 413, 429, 501,
    ),
}  # fmt: skip
