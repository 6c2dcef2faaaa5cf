"""The OpenAPI document, and a page of it for people."""

from __future__ import annotations

import json
from functools import cache
from html import escape
from typing import Any, Final

from .._categories import MODERATION_CATEGORIES as CATEGORIES
from .._native import build_info
from . import gateways, perspective, workbench
from .refusals import REASONS

_ID: Final = {"x-request-id": {"schema": {"type": "string"}, "description": "names this request in logs"}}


def _by_category(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict.fromkeys(CATEGORIES, schema),
        "required": list(CATEGORIES),
        "additionalProperties": False,
    }


def _closed(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


_NULLABLE: Final = {"type": ["string", "null"]}
SCHEMAS: Final[dict[str, Any]] = {
    "Error": _closed(
        {
            "error": _closed(
                {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": _NULLABLE,
                    "code": _NULLABLE,
                }
            )
        }
    ),
    "TextPart": _closed({"type": {"const": "text"}, "text": {"type": "string"}}),
    "ImagePart": _closed({"type": {"const": "image_url"}, "image_url": _closed({"url": {"type": "string"}})}),
    "ModerationRequest": _closed(
        {
            "input": {
                "oneOf": [
                    {"type": "string"},
                    {"type": "array", "minItems": 1, "items": {"type": "string"}},
                    {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "oneOf": [
                                {"$ref": "#/components/schemas/TextPart"},
                                {"$ref": "#/components/schemas/ImagePart"},
                            ]
                        },
                        "contains": {"$ref": "#/components/schemas/ImagePart"},
                        "minContains": 0,
                        "maxContains": 1,
                    },
                ]
            },
            "model": {
                "type": ["string", "null"],
                "description": "one of OpenAI's moderation models, which stand for ours, or the id of ours",
                "examples": ["omni-moderation-latest"],
            },
            "safetyclf": {
                "type": ["object", "null"],
                "properties": {
                    "spans": {
                        "description": "true: the words behind flagged categories; or names of categories",
                        "anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}],
                    },
                    "unit": {"enum": ["codepoint", "byte", "utf16"], "description": "of offsets"},
                },
            },
        },
        "model",
        "safetyclf",
    ),
    "Moderation": _closed(
        {
            "flagged": {"type": "boolean"},
            "categories": _by_category({"type": "boolean"}),
            "category_scores": _by_category({"type": "number", "minimum": 0, "maximum": 1}),
            "category_applied_input_types": _by_category(
                {"type": "array", "items": {"enum": ["text", "image"]}}
            ),
            "safetyclf": {
                "type": "object",
                "description": "what only this server says",
                "properties": {
                    "action": {"enum": ["allow", "review", "block"]},
                    "policy": {"type": "string"},
                    "policy_id": _NULLABLE,
                    "depth": {"type": "integer"},
                    "windows": {"type": "integer"},
                    "scores": {"type": "object", "additionalProperties": {"type": "number"}},
                    "triggered": {"type": "array", "items": {"type": "string"}},
                    "severity": {"type": "object", "additionalProperties": {"type": "string"}},
                    "statements": {
                        "type": "object",
                        "additionalProperties": {"type": "array", "items": _NULLABLE},
                    },
                    "matches": {"type": "array", "items": {"type": "object"}},
                    "spans": {"type": "object", "additionalProperties": {"type": "array"}},
                },
            },
        },
        "safetyclf",
    ),
    "ModerationResponse": _closed(
        {
            "id": {"type": "string"},
            "model": {"type": "string"},
            "results": {"type": "array", "items": {"$ref": "#/components/schemas/Moderation"}},
        }
    ),
    **perspective.SCHEMAS,
    **gateways.SCHEMAS,
}


def answer(schema: dict[str, Any] | None, text: str, media: str = "application/json") -> dict[str, Any]:
    """A response object; `schema` None for what is no JSON."""
    return {"description": text, "headers": _ID, "content": {media: {"schema": schema or {"type": "string"}}}}


def refused(*statuses: int, schema: str = "Error") -> dict[str, Any]:
    """Response objects for refusals."""
    return {str(s): answer({"$ref": f"#/components/schemas/{schema}"}, REASONS[s]) for s in statuses}


def get(
    operation: str, summary: str, response: dict[str, Any], *refusals: int, public: bool = False
) -> dict[str, Any]:
    """A path that only answers GET."""
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "responses": {"200": response, **refused(*refusals, *(() if public else (401,)))},
            **({"security": []} if public else {}),
        }
    }


_OBJECT: Final = {"type": "object"}
PATHS: Final[dict[str, Any]] = {
    "/v1/moderations": {
        "post": {
            "operationId": "moderate",
            "summary": "Judge text, in the shape of OpenAI's endpoint",
            "parameters": [
                {
                    "name": "x-safetyclf-policy",
                    "in": "header",
                    "schema": {"type": "string"},
                    "description": "one of the loaded policies (GET /info); default: the first",
                }
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/ModerationRequest"}}
                },
            },
            "responses": {
                "200": answer(
                    {"$ref": "#/components/schemas/ModerationResponse"}, "one result for each text"
                ),
                **refused(400, 401, 404, 408, 413, 429),
            },
        }
    },
    "/health": get("health", "Whether the process answers", answer(_OBJECT, "it does"), public=True),
    "/ready": get(
        "ready", "Whether requests should come here", answer(_OBJECT, "they should"), 503, public=True
    ),
    "/info": get("info", "Model, policies, statements, limits", answer(_OBJECT, "all of these")),
    "/metrics": get("metrics", "Metrics for Prometheus", answer(None, "its text format", "text/plain")),
    "/openapi.json": get("openapi", "This document", answer(_OBJECT, "OpenAPI 3.1"), public=True),
    "/docs": get("docs", "This document for people", answer(None, "a page", "text/html"), public=True),
    **perspective.PATHS,
    **gateways.PATHS,
    **workbench.PATHS,
}


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1, in JSON types."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "safetyclf",
            "version": build_info()["version"],
            "description": "Text safety. Compatible with OpenAI's moderation API in shape, not in scores.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": PATHS,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "keyInQuery": {"type": "apiKey", "in": "query", "name": "key"},
            },
        },
        "security": [{"key": []}],
    }


@cache
def page() -> str:
    """The document as HTML, without scripts and other files."""
    rows = []
    for path, methods in PATHS.items():
        for method, operation in methods.items():
            statuses = ", ".join(
                f"{escape(status)} {escape(response['description'])}"
                for status, response in operation["responses"].items()
            )
            rows.append(
                f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>"
                f"<p>{escape(operation['summary'])}</p><p>Answers: {statuses}</p></section>"
            )
    schemas = [
        f"<details><summary><code>{escape(name)}</code></summary>"
        f"<pre>{escape(json.dumps(schema, indent=2))}</pre></details>"
        for name, schema in SCHEMAS.items()
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>safetyclf API</title>'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        "<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
        "pre{overflow:auto}</style></head><body><main><h1>safetyclf API</h1>"
        '<p>The machine-readable form is <a href="openapi.json">openapi.json</a>.</p>'
        f"{''.join(rows)}<h2>Types</h2>{''.join(schemas)}</main></body></html>"
    )
