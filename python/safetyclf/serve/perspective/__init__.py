"""The shape of the Perspective API: comments:analyze and comments:suggestscore.

    wire      requests, errors and keys as its clients know them
    analyze   attributes and their scores
    texts     languages by script, sentences
    feedback  the labelling queue
    schema    this family's part of the OpenAPI document

docs/perspective.md is the guide for those who come from there.
"""

from __future__ import annotations

from starlette.routing import Route

from ..calls import Endpoint
from ..state import State
from .analyze import analyze
from .feedback import suggest
from .schema import PATHS, SCHEMAS
from .wire import envelope, key_of

__all__ = ["PATHS", "SCHEMAS", "routes"]


def routes(state: State) -> list[Route]:
    """The routes of this family."""
    return [
        Route(
            f"/v1alpha1/comments:{method}",
            Endpoint(method, handler, state, envelope=envelope, key_of=key_of),
            methods=["POST"],
        )
        for method, handler in (("analyze", analyze), ("suggestscore", suggest))
    ]
