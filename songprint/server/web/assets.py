"""The web page at `/` and its files. An ETag of the content lets browsers keep them.

Tencent's clients also send their requests to `/`; `songprint.server.tencent.endpoint` takes those first.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from songprint.server.rest.problems import Problem

FOLDER = Path(__file__).parents[1] / "page"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
def start(request: Request) -> Response:
    """The page itself, which loads all other files."""
    return _respond(request, "index.html")


@router.api_route("/page/{name:path}", methods=["GET", "HEAD"])
def asset(request: Request, name: str) -> Response:
    """A script, style sheet or picture of the page."""
    return _respond(request, name)


@router.get("/docs")
def docs() -> RedirectResponse:
    """Redirect to the REST explorer. The location is relative, so it works behind a proxy that adds a path."""
    return RedirectResponse("./#/explorer/rest")


@dataclass(frozen=True)
class _File:
    plain: bytes
    compressed: bytes  # gzip
    tag: str  # hash of the content, the same on every server
    media_type: str


@cache
def _files() -> dict[str, _File]:
    """All files of the page in memory: they are few and small."""
    return {path.relative_to(FOLDER).as_posix(): _read(path) for path in FOLDER.rglob("*") if path.is_file()}


def _read(path: Path) -> _File:
    content = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _File(content, gzip.compress(content, mtime=0), hashlib.blake2b(content, digest_size=12).hexdigest(), kind)


def _respond(request: Request, name: str) -> Response:
    file = _files().get(name)
    if file is None:
        raise Problem(404, "not_found", "The page has no such file. Reload it: the server may have been updated")
    compressed = "gzip" in request.headers.get("accept-encoding", "")
    tag = f'"{file.tag}{"-gzip" if compressed else ""}"'
    # Browsers revalidate on each visit and get 304 unless the server was updated, so versions never mix.
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if compressed:
        headers["Content-Encoding"] = "gzip"
    return Response(file.compressed if compressed else file.plain, media_type=file.media_type, headers=headers)
