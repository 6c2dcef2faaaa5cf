"""POST /v1/moderations, in the shape of OpenAI's endpoint.

Requests and answers are those that its clients know; what only we have stands under the key `safetyclf`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, cast

from starlette.routing import Route

from .._categories import MODERATION_CATEGORIES as CATEGORIES
from .._native import Form
from .._results import OffsetUnit
from .calls import Call, Endpoint
from .engines import Judged
from .refusals import Refusal
from .state import State

# Names that clients ask for; whatever they say, the answer names the model that gave it.
ALIASES: Final = frozenset(
    (
        "omni-moderation-latest",
        "omni-moderation-2024-09-26",
        "text-moderation-latest",
        "text-moderation-stable",
    )
)


class Asked(NamedTuple):
    """A request, understood.

    `texts` has the texts to judge, none if there were only images; `combined` is for a list of parts, with
    one result.
    """

    texts: list[str]
    combined: bool
    spans: tuple[str, ...] | bool
    unit: OffsetUnit


async def moderate(call: Call) -> bytes:
    """Answers one request."""
    body = await call.json()
    asked = _understood(body, call.state)
    judged = await call.judge(asked.texts) if asked.texts else []
    loaded = call.state.loaded
    model = judged[0].verdict.model if judged else loaded.classifier.model_id
    if asked.spans:
        results = [_result(one, call.policy, await _spans(call, one, asked)) for one in judged]
    else:
        results = [_result(one, call.policy, None) for one in judged]
    if asked.combined and not results:
        results = [_NOTHING]
    answer = f'{{"id":"modr-{call.request_id.removeprefix("req_")}","model":{_escaped(model)},"results":['
    return f"{answer}{','.join(results)}]}}".encode()


def routes(state: State) -> list[Route]:
    """The routes of this family."""
    return [Route("/v1/moderations", Endpoint("moderations", moderate, state), methods=["POST"])]


def _understood(body: Any, state: State) -> Asked:
    """Raises Refusal 400 for what OpenAI's types do not allow, 404 for another model."""
    if not isinstance(body, dict):
        raise _invalid("The body must be a JSON object.", None)
    if "input" not in body:
        raise _invalid("The field 'input' is missing.", "input", "missing_required_parameter")
    _check_model(body.get("model"), state)
    spans, unit = _options(body.get("safetyclf"))
    given = body["input"]
    if isinstance(given, str):
        return Asked([given], False, spans, unit)
    if not isinstance(given, list):
        raise _invalid("'input' must be a string, a list of strings, or a list of parts.", "input")
    if not given:
        raise _invalid("'input' must not be empty.", "input", "empty_array")
    if all(isinstance(item, str) for item in given):
        return Asked(given, False, spans, unit)
    texts = _texts_of_parts(given, state.settings.images)
    # Parts of one message are read as one text, so that nothing hides between them.
    return Asked(["\n".join(texts)] if texts else [], True, spans, unit)


def _check_model(model: object, state: State) -> None:
    if model is None:
        return
    if not isinstance(model, str):
        raise _invalid("'model' must be a string.", "model")
    if model not in ALIASES and model != (own := state.loaded.classifier.model_id):
        raise Refusal(
            404,
            f"This server has no such model; it has {own}, and answers to OpenAI's moderation models.",
            code="model_not_found",
            param="model",
        )


def _options(value: object) -> tuple[tuple[str, ...] | bool, OffsetUnit]:
    """What `safetyclf` asks for: {"spans": true or names of categories, "unit": ...}."""
    if value is None:
        return False, "codepoint"
    if not isinstance(value, dict):
        raise _invalid("'safetyclf' must be an object.", "safetyclf")
    spans, unit = value.get("spans", False), value.get("unit", "codepoint")
    if isinstance(spans, list) and all(isinstance(name, str) for name in spans):
        spans = tuple(spans)
    elif not isinstance(spans, bool):
        raise _invalid("'spans' must be true, false or a list of categories.", "safetyclf.spans")
    if unit not in ("codepoint", "byte", "utf16"):
        raise _invalid("'unit' must be codepoint, byte or utf16.", "safetyclf.unit")
    return spans, cast(OffsetUnit, unit)


def _texts_of_parts(parts: list[Any], images: str) -> list[str]:
    texts, count = [], 0
    for i, part in enumerate(parts):
        place = f"input[{i}]"
        if not isinstance(part, dict):
            raise _invalid("A list holds strings only, or parts only.", place)
        if part.get("type") == "text":
            if not isinstance(part.get("text"), str):
                raise _invalid("A text part needs a string 'text'.", f"{place}.text")
            texts.append(part["text"])
        elif part.get("type") == "image_url":
            image = part.get("image_url")
            if not isinstance(image, dict) or not isinstance(image.get("url"), str):
                raise _invalid("An image part needs 'image_url' with a string 'url'.", f"{place}.image_url")
            count += 1
        else:
            raise _invalid("The type of a part is 'text' or 'image_url'.", f"{place}.type")
    if count > 1:
        raise _invalid(f"{count} images were given; the maximum is 1.", "input", "too_many_images")
    if count and images == "refuse":
        raise _invalid(
            "This server judges text only. Leave the image out, or run the server with --images ignore.",
            "input",
            "image_not_supported",
        )
    return texts


def _invalid(message: str, param: str | None, code: str | None = None) -> Refusal:
    return Refusal(400, message, param=param, code=code)


async def _spans(call: Call, judged: Judged, asked: Asked) -> dict[str, list[dict[str, Any]]]:
    """The words behind the flagged categories, or behind those that were named."""
    verdict = judged.verdict
    flagged = verdict.triggered if call.state.loaded.explains else ()
    names = asked.spans if isinstance(asked.spans, tuple) else flagged
    unknown = [name for name in names if name not in verdict.scores]
    if unknown:
        raise _invalid(
            f"Not scored, so without spans; scored are: {', '.join(verdict.scores)}.", "safetyclf.spans"
        )
    found = {}
    for name in names:
        explanation = await call.explain(judged, name, asked.unit)
        found[name] = [span._asdict() for span in explanation.spans]
    return found


class _Form(NamedTuple):
    """How the verdicts of a model are written: made once for its list of categories."""

    flags: Callable[[bytes], str]
    scores: Callable[[bytes], str]


@lru_cache(maxsize=8)
def _form(categories: tuple[str, ...]) -> _Form:
    column = {name: i for i, name in enumerate(categories)}
    known = [name for name in CATEGORIES if name in column]
    others = [name for name in categories if name not in CATEGORIES]
    # A category without a model behind it has no honest score: 0, and an empty list of what was considered.
    place = "\0"  # no name has it: JSON writes it otherwise
    scores = ",".join(f'"{name}":{place if name in column else "0.0"}' for name in CATEGORIES)
    applied = ",".join(f'"{name}":["text"]' if name in column else f'"{name}":[]' for name in CATEGORIES)
    more = ",".join(f"{json.dumps(name)}:{place}" for name in others)
    form = f'"category_scores":{{{scores}}},"category_applied_input_types":{{{applied}}},"safetyclf":{{'
    if others:
        form += f'"scores":{{{more}}},'
    *pieces, rest = form.split(place)
    columns = [column[name] for name in (*known, *others)]
    return _Form(
        lru_cache(maxsize=4096)(partial(_flags, categories)),  # few occur
        Form(list(zip(pieces, columns, strict=True)), rest).fill,
    )


def _flags(categories: tuple[str, ...], flags: bytes) -> str:
    on = {name for name, flag in zip(categories, flags, strict=True) if flag}
    return ",".join(f'"{name}":{"true" if name in on else "false"}' for name in CATEGORIES)


_NOTHING: Final = json.dumps(
    {
        "flagged": False,
        "categories": dict.fromkeys(CATEGORIES, False),
        "category_scores": dict.fromkeys(CATEGORIES, 0.0),
        "category_applied_input_types": {name: [] for name in CATEGORIES},
    },
    separators=(",", ":"),
)


def _result(judged: Judged, policy: str | None, spans: Mapping[str, Any] | None) -> str:
    """One entry of `results`. Written by hand: it is much of what a short request costs besides the model."""
    verdict, depth, _ = judged
    row, flags, action, windows, _ = verdict._state
    form = _form(verdict._rules.categories)
    flagged, extra = "false" if action == "allow" else "true", ""
    if action != "allow" or spans is not None:
        extra = "," + json.dumps(_details(judged, spans), separators=(",", ":"))[1:-1]
    return (
        f'{{"flagged":{flagged},"categories":{{{form.flags(flags)}}},{form.scores(row)}'
        f'"action":"{action}","policy":{_escaped(policy or "")},'
        f'"depth":{depth},"windows":{windows}{extra}}}}}'
    )


def _details(judged: Judged, spans: Mapping[str, Any] | None) -> dict[str, Any]:
    """What stands behind a flag; GET /info has the statements by their ids."""
    verdict = judged.verdict
    statements = verdict.statements
    details: dict[str, Any] = {
        "policy_id": verdict.policy,
        "triggered": list(verdict.triggered),
        "severity": {name: level for name, level in verdict.severity.items() if verdict.categories[name]},
        "statements": {name: list(statements[name]) for name in verdict.triggered if name in statements},
        "matches": [match._asdict() for match in verdict.matches],
    }
    if spans is not None:
        details["spans"] = spans
    return details


@lru_cache(maxsize=256)
def _escaped(text: str) -> str:
    """As JSON."""
    return json.dumps(text)
