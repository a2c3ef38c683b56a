"""The service: our own REST API and the one compatible with Tencent's, in one web application.

`create_app(library)` makes it; `songprint serve` runs it. The web framework loads with it, and only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from songprint.errors import MissingExtra

if TYPE_CHECKING:
    from fastapi import FastAPI

    from songprint.library import Library


def create_app(library: Library, **more: object) -> FastAPI:
    """The application around an open library; see `songprint.server.app.create_app`."""
    try:
        from songprint.server import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "songprint":
            raise
        raise MissingExtra(f"the service needs {error.name}, which is not installed:"
                           " pip install 'songprint[server]'") from error
    return app.create_app(library, **more)
