"""The web page at `/`: files of this package, as they are, named by what they hold so that browsers fetch them once.

Programs for Tencent's API ask at `/` too; what they ask comes nowhere near here.
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
    """The page itself; everything else is fetched by it."""
    return _answer(request, "index.html")


@router.api_route("/page/{name:path}", methods=["GET", "HEAD"])
def asset(request: Request, name: str) -> Response:
    """A script, a style sheet or a picture of the page."""
    return _answer(request, name)


@router.get("/docs")
def docs() -> RedirectResponse:
    """Redirect to the API explorer. The location is relative, so it works behind a proxy that adds a path."""
    return RedirectResponse("./#/explorer/rest")


@dataclass(frozen=True)
class _File:
    plain: bytes
    packed: bytes  # gzip
    tag: str  # of the content: the same file has the same everywhere
    media_type: str


@cache
def _files() -> dict[str, _File]:
    """All files of the page: they are few and small."""
    return {path.relative_to(FOLDER).as_posix(): _read(path) for path in FOLDER.rglob("*") if path.is_file()}


def _read(path: Path) -> _File:
    content = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _File(content, gzip.compress(content, mtime=0), hashlib.blake2b(content, digest_size=12).hexdigest(), kind)


def _answer(request: Request, name: str) -> Response:
    file = _files().get(name)
    if file is None:
        raise Problem(404, "not_found", "the page has no such file. Load it anew, for the server may have been updated")
    packed = "gzip" in request.headers.get("accept-encoding", "")
    tag = f'"{file.tag}{"-gzip" if packed else ""}"'
    # Asked for again at each visit, and answered with 304 unless the server was updated: so no two versions mix.
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if packed:
        headers["Content-Encoding"] = "gzip"
    return Response(file.packed if packed else file.plain, media_type=file.media_type, headers=headers)
