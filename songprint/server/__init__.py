"""The HTTP service: the REST API, the API compatible with Tencent's, and the web page, in one application.

`create_app(library)` makes the application; `songprint serve` runs it. Both load the web framework when they are
called, not before.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from songprint.errors import MissingExtra

if TYPE_CHECKING:
    from fastapi import FastAPI

    from songprint.config import Settings
    from songprint.library import Library

REQUIRED = ("fastapi", "uvicorn", "python_multipart", "cryptography", "prometheus_client")


def create_app(library: Library, *, settings: Settings | None = None) -> FastAPI:
    """The application for an open library; see `songprint.server.app.create_app`."""
    check_installed()
    from songprint.server import app

    return app.create_app(library, settings)


def check_installed() -> None:
    """Raise MissingExtra if a package that the service needs is not installed."""
    missing = [name for name in REQUIRED if find_spec(name) is None]
    if missing:
        raise MissingExtra(f"the service needs {', '.join(missing)}: pip install 'songprint[server]'")
