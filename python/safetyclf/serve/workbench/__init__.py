"""The page at / for trying texts and policies, and the routes that only it needs.

The page is plain HTML, CSS and JavaScript from this folder. It may load nothing from elsewhere, run nothing
that stands in the page, and make no HTML of strings: its content security policy forbids all of that.
"""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response
from starlette.routing import Route

from ..._texts import problem_of
from ...attacks import KINDS, attack
from ..calls import Call, Endpoint
from ..refusals import Refusal
from ..state import State
from .schema import PATHS, SOURCES

if TYPE_CHECKING:
    from ..._classifier import Classifier
    from ...policy.document import Decided

__all__ = ["PATHS", "routes"]

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
_ACTIONS: Final[tuple[Decided, ...]] = ("review", "block")


async def words(call: Call) -> dict[str, Any]:
    """Titles of categories and what their thresholds rest on, by policy; the kinds of disguise."""
    policies = call.state.loaded.policies
    said = await asyncio.to_thread(lambda: {name: _words(policy) for name, policy in policies.items()})
    return {"disguises": list(KINDS), "policies": said}


async def disguise(call: Call) -> dict[str, str]:
    """One text under one attack of `safetyclf.attacks`."""
    body = await call.json()
    if not isinstance(body, dict):
        raise Refusal(400, "The body must be a JSON object.")
    text, kind, strength = body.get("text"), body.get("kind"), body.get("strength")
    if not isinstance(text, str):
        raise Refusal(400, "'text' must be a string.", param="text")
    if problem_of(text, "", call.state.settings.max_text_bytes) is not None:
        raise Refusal(400, "The text is too long.", code="string_above_max_length", param="text")
    if not isinstance(kind, str) or kind not in KINDS:
        raise Refusal(400, f"'kind' must be one of {', '.join(KINDS)}.", param="kind")
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 < strength <= 1:
        raise Refusal(400, "'strength' must be a number above 0 and at most 1.", param="strength")
    (attacked,) = await asyncio.to_thread(attack, [text], kind, strength=strength)
    return {"text": attacked}


def routes(state: State) -> list[Route]:
    """The routes of this family; none with --no-workbench."""
    if state.settings.no_workbench:
        return []
    folder = files(__name__)
    content = {path: (folder.joinpath(name).read_bytes(), media) for path, (name, media) in SOURCES.items()}

    async def source(call: Call) -> Response:
        data, media = content[call.scope["path"]]
        return Response(data, headers=_HEADERS, media_type=media)

    page = Endpoint("workbench", source, state, public=True)
    return [
        *(Route(path, page, methods=["GET"]) for path in SOURCES),
        Route("/workbench/words", Endpoint("workbench_words", words, state), methods=["GET"]),
        Route("/workbench/disguise", Endpoint("workbench_disguise", disguise, state), methods=["POST"]),
    ]


def _words(classifier: Classifier) -> dict[str, dict[str, Any]]:
    """Of each scored category, under one policy."""
    from ...policy.document import PolicyDocument
    from ...policy.origins import ModelSide, model_start, starts
    from ...policy.reading import load_default

    in_force, model = classifier._in_force, ModelSide.of(classifier)
    policy = in_force.policy
    document = policy if isinstance(policy, PolicyDocument) else None
    titles = {**load_default().categories, **(document.categories if document else {})}
    said: dict[str, dict[str, Any]] = {}
    for name in classifier.categories:
        entry = said[name] = {"title": titles[name].title if name in titles else name}
        if document is None:
            found = {action: model_start(model, name, action) for action in _ACTIONS}
        elif name in document.categories:
            found = starts(document, model, name, in_force.audience)
        else:
            entry |= dict.fromkeys(_ACTIONS, "The policy does not name this category.")
            continue
        for action, start in found.items():
            entry[action] = start.origin
    return said
