"""Pages for people: the description of the API, which needs nothing from elsewhere."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter
from starlette.responses import Response

router = APIRouter(include_in_schema=False)

FILES = {"": ("docs.html", "text/html"), "docs.js": ("docs.js", "text/javascript"),
         "docs.css": ("docs.css", "text/css")}


@router.get("/docs")
@router.get("/docs/{name}")
def docs(name: str = "") -> Response:
    """A small page that reads /openapi.json and lets one try every request."""
    if name not in FILES:
        return Response(status_code=404)
    file, kind = FILES[name]
    content = resources.files("songprint.server").joinpath("docs", file).read_text(encoding="utf-8")
    return Response(content, media_type=f"{kind}; charset=utf-8", headers={"Cache-Control": "no-cache"})
