"""What endpoints share: how a file is described to OpenAPI, who sees which place on this machine, pages of lists."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Path, Query, Request
from starlette.responses import Response

from songprint.formats import objects
from songprint.server.rest import shapes
from songprint.server.rest.access import Caller
from songprint.server.rest.problems import Problem
from songprint.server.state import ServerState

RecordingId = Annotated[int, Path(ge=1, le=shapes.MOST_ID, description="The recording's id.")]
Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]

_TOLD = {
    400: "It is not complete, or not what its Content-Type says.",
    401: "No key, or one that is not known.",
    403: "The key has not the right to do this.",
    404: "There is no such thing.",
    409: "It cannot be done as things are.",
    413: "Too large, or too long.",
    415: "The body is not of the type that is expected.",
    422: "It cannot be understood.",
    429: "Too often; `Retry-After` says when to come again.",
    503: "Busy; `Retry-After` says when to come again.",
    507: "The server's disk is full.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an endpoint, for the description of the API; those of every endpoint are added."""
    return {
        status: {"model": shapes.Problem, "description": _TOLD[status], "content": {"application/problem+json": {}}}
        for status in sorted({400, 401, 403, 421, 422, 429, *statuses} & _TOLD.keys())
    }


def server_of(request: Request) -> ServerState:
    return request.app.state.server


def sent_file(fields: Mapping[str, Any]) -> dict[str, Any]:
    """For OpenAPI: a file as the body, or in a form beside these fields."""
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "required": ["file"], "properties": {"file": binary, **fields}}
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}, "application/octet-stream": {"schema": binary}},
        }
    }


def without_places(value: Any, caller: Caller) -> Any:
    """The same with the last part of every path alone, unless the caller runs the server."""
    return value if caller.may("admin") else objects.without_places(value)


def offset_of(after: str) -> int:
    """Where a list goes on that is paged by position."""
    if not (after.isascii() and after.isdecimal() and len(after) < 16):
        raise Problem(422, "invalid_request", f"after={after[:50]!r} must be what `next` of the page before said")
    return int(after)


def cached(request: Request, value: Any) -> Response:
    """An answer with a tag of its content: who has it already is told so in few bytes."""
    body = objects.to_json(value).encode("utf-8")
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in (each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
