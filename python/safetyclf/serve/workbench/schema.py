"""Which files the workbench consists of, and what the OpenAPI document says of its routes."""

from __future__ import annotations

from typing import Any, Final

from ...attacks import KINDS

# By path: the file and its type.
SOURCES: Final = {
    "/": ("index.html", "text/html"),
    "/workbench/workbench.css": ("workbench.css", "text/css"),
    **{
        f"/workbench/{name}": (name, "text/javascript")
        for name in ("workbench.js", "verdict.js", "batch.js", "csv.js", "api.js")
    },
}


def _answers(schema: dict[str, Any], text: str, media: str, **refusals: str) -> dict[str, Any]:
    refused = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "200": {"description": text, "content": {media: {"schema": schema}}},
        **{status[1:]: {"description": why, "content": refused} for status, why in refusals.items()},
    }


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_KEY: Final = {"_401": "no key, or a wrong one"}
_TEXT: Final = {"type": "string"}
_TITLED: Final = _object(title=_TEXT, review=_TEXT, block=_TEXT)
_BY_CATEGORY: Final = {"type": "object", "additionalProperties": _TITLED}
PATHS: Final[dict[str, Any]] = {
    **{
        path: {
            "get": {
                "operationId": f"workbench_{name.replace('.', '_')}",
                "summary": "The page for trying texts and policies" if path == "/" else "A part of that page",
                "responses": _answers({"type": "string"}, name, media),
                "security": [],
            }
        }
        for path, (name, media) in SOURCES.items()
    },
    "/workbench/words": {
        "get": {
            "operationId": "workbench_words",
            "summary": "What each threshold rests on, in plain words",
            "responses": _answers(
                _object(
                    disguises={"type": "array", "items": _TEXT},
                    policies={"type": "object", "additionalProperties": _BY_CATEGORY},
                ),
                "by policy and category; and the kinds of disguise",
                "application/json",
                **_KEY,
            ),
        }
    },
    "/workbench/disguise": {
        "post": {
            "operationId": "workbench_disguise",
            "summary": "A text, disguised as docs/robustness.md describes",
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": _object(
                            text=_TEXT,
                            kind={"enum": list(KINDS)},
                            strength={"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                        )
                    }
                },
            },
            "responses": _answers(
                _object(text=_TEXT),
                "the disguised text",
                "application/json",
                **_KEY,
                _400="the request breaks a rule",
                _408="the request came too slowly",
                _413="the body is too large",
            ),
        }
    },
}
