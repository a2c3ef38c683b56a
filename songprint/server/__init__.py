"""The service: our own REST API and the one compatible with Tencent's, in one web application.

`create_app(library)` makes it; `songprint serve` runs it. The web framework loads with it, and only then.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from songprint.errors import MissingExtra

if TYPE_CHECKING:
    from fastapi import FastAPI

    from songprint.config import Settings
    from songprint.library import Library

NEEDED = ("fastapi", "uvicorn", "python_multipart", "cryptography")


def create_app(library: Library, *, settings: Settings | None = None) -> FastAPI:
    """The application around an open library; see `songprint.server.app.create_app`."""
    check_installed()
    from songprint.server import app

    return app.create_app(library, settings)


def check_installed() -> None:
    """MissingExtra if what the service needs is not there."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtra(f"the service needs {', '.join(missing)}: pip install 'songprint[server]'")
