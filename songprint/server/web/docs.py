"""The short address of the API explorer, which is a view of the page."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import RedirectResponse

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def docs() -> RedirectResponse:
    """Redirect to the REST explorer. The location is relative, so it works behind a proxy that adds a path."""
    return RedirectResponse("./#/explorer/rest")
