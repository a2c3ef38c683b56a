"""The web application: all routes of the service in one place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from songprint import __version__
from songprint.server.edge import Edge
from songprint.server.guard import Guard, is_loopback
from songprint.server.metrics import Metrics
from songprint.server.rest import (
    access,
    admin,
    identify,
    jobs,
    models,
    page,
    problems,
    recordings,
    review,
    session,
    stations,
    unknown,
)
from songprint.server.state import ServerState
from songprint.server.tencent.endpoint import TencentRoute
from songprint.server.web import assets, inbox

if TYPE_CHECKING:
    from songprint.config import Settings
    from songprint.library import Library

MODULES = (assets, identify, jobs, review, recordings, stations, unknown, admin, session, page)
DESCRIPTION = """Identifies the recordings and covers in audio, with your own library.

Send a short query to `POST /v1/identify` and get the matches at once; send a long recording to `POST /v1/jobs` and get
all songs in it. Errors are `application/problem+json` and say what to do. Lists are `{"items": [...], "next": ...}`:
pass `next` as `after` to get the next page."""


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The description of the API, including bodies that endpoints parse without FastAPI."""
        if self.openapi_schema is None:
            description = get_openapi(
                title=self.title, version=self.version, description=self.description, routes=self.routes
            )
            _, bodies = models_json_schema(
                [(models.JobRequest, "validation")], ref_template="#/components/schemas/{model}"
            )
            description["components"]["schemas"] |= bodies["$defs"]
            self.openapi_schema = description
        return self.openapi_schema


def create_app(library: Library, settings: Settings | None = None) -> FastAPI:
    """The application for an open library, which the caller closes.

    Its processes run from the start of the application (its lifespan) to its end.
    """
    settings = inbox.allowed(settings or library.store.settings)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server = ServerState.open(library, settings, metrics)
        app.state.server = server
        server.uploads.tidy()
        try:
            yield
        finally:
            server.close()

    app = _App(
        title="Songprint",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app, access.is_administrator)
    names = settings.server.names if is_loopback(settings.server.host) else None
    app.router.routes.append(TencentRoute())
    for module in MODULES:
        app.include_router(module.router)
    routes = [route for module in MODULES for route in module.router.routes]
    app.add_middleware(Edge, routes=routes, settings=settings.server)
    app.add_middleware(Guard, metrics=metrics, names=names)  # added last: it gets requests first
    app.state.inboxes = inbox.Inboxes()
    return app
