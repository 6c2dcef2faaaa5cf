"""All routes as one application, for uvicorn or another ASGI server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from .._errors import SafetyclfError
from . import gateways, moderations, perspective, service, workbench
from .calls import Endpoint
from .protocol import STATE
from .refusals import Refusal, openai_envelope
from .signals import handled
from .state import State

FAMILIES = (moderations, perspective, gateways, service, workbench)


class Application:
    """Starlette's routes, without its layers for errors: an `Endpoint` lets no exception through.

    Attributes:
        routes: all of them.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.routes = [route for family in FAMILIES for route in family.routes(state)]
        router = Router(self.routes, redirect_slashes=False, default=_not_found, lifespan=self._lifespan)
        # Most routes stand for one path: those need no search, if nothing has to happen before.
        self._direct: dict[tuple[str, str], ASGIApp] = {}
        self._app: ASGIApp = router
        if state.settings.cors:
            self._app = CORSMiddleware(
                router,
                allow_origins=list(state.settings.cors),
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type", "x-safetyclf-policy", "x-request-id"],
                expose_headers=["x-request-id", "x-should-retry", "retry-after"],
            )
        else:
            for route in self.routes:
                if not route.param_convertors and isinstance(route.endpoint, Endpoint):
                    self._direct.update(
                        ((method, route.path), route.endpoint) for method in route.methods or ()
                    )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or runs the lifespan."""
        direct = self._direct.get((scope.get("method", ""), scope.get("path", "")), self._search)
        await direct(scope, receive, send)

    async def _search(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # routes then raise what is wrong with a method
        try:
            await self._app(scope, receive, send)
        except HTTPException as error:
            await self._refuse(error)(scope, receive, send)

    def _refuse(self, error: HTTPException) -> ASGIApp:
        """404 and 405, in the shape of all other errors."""
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        refusal = Refusal(error.status_code, f"{error.detail}.", code=code)
        headers = {
            "x-request-id": self._state.request_id(),
            "x-should-retry": "false",
            **(error.headers or {}),
        }
        return JSONResponse(openai_envelope(refusal), error.status_code, headers)

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[dict[str, Any]]:
        state = self._state
        try:
            await state.open()
        except (SafetyclfError, OSError) as error:
            state.log.error("cannot start", extra={"fields": {"error": str(error)}})
            raise
        with handled(state):
            yield {STATE: state}
        await state.close()


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    raise HTTPException(404)
