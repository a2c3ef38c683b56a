"""The web application: every address of the service, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from songprint import __version__
from songprint.config import Settings
from songprint.library import Library
from songprint.server.guard import Guard, is_loopback
from songprint.server.metrics import Metrics
from songprint.server.rest import admin, identify, jobs, problems, recordings, review, session, shapes
from songprint.server.rest.page import with_page
from songprint.server.state import ServerState
from songprint.server.tencent.endpoint import TencentRoute
from songprint.server.web import inbox

DESCRIPTION = """Names the recordings and covers in audio, with a library of your own.

Send a short clip to `POST /v1/identify` and get its name at once; send a long recording to `POST /v1/jobs` and get all
songs in it. Errors are `application/problem+json` and say what to do. Lists are `{"items": [...], "next": ...}`:
give `next` as `after` to go on."""


def create_app(library: Library, settings: Settings | None = None) -> FastAPI:
    """The application around an open library, which stays the caller's to close.

    Its processes run from the start of the application (its lifespan) to the end.
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

    app = FastAPI(
        title="Songprint",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    server = settings.server
    app.add_middleware(Guard, metrics=metrics, names=server.names if is_loopback(server.host) else None)
    app.router.routes.append(TencentRoute())
    for module in (identify, jobs, review, recordings, admin, session):
        app.include_router(module.router)
    with_page(app)
    app.openapi = lambda: _described(app)
    return app


def _described(app: FastAPI) -> dict[str, Any]:
    """The description of the API, with the shapes of bodies that endpoints read by themselves."""
    if app.openapi_schema is None:
        described = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        read = models_json_schema([(shapes.JobWish, "validation")], ref_template="#/components/schemas/{model}")[1][
            "$defs"
        ]
        described["components"]["schemas"] |= read
        app.openapi_schema = described
    return app.openapi_schema
