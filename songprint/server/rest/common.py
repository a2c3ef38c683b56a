"""What endpoints share: descriptions for OpenAPI, what a caller may see, paging and caching."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, cast

from fastapi import Path, Query, Request
from starlette.responses import Response

from songprint.formats import objects
from songprint.server.rest import models
from songprint.server.rest.access import Caller
from songprint.server.rest.problems import Problem
from songprint.server.state import ServerState

Value = TypeVar("Value")

RecordingId = Annotated[int, Path(ge=1, le=models.MOST_ID, description="The recording's id.")]
Limit = Annotated[int, Query(ge=1, le=500, description="Maximum number of items.")]

_DESCRIPTIONS = {
    400: "The request is incomplete, or does not match its Content-Type.",
    401: "The key is missing or unknown.",
    403: "The key does not have the required scope.",
    404: "Not found.",
    409: "The current state does not allow this.",
    413: "Too large, or too long.",
    415: "The body has an unsupported type.",
    422: "The request is not valid.",
    429: "Too many requests; `Retry-After` gives the seconds to wait.",
    503: "Busy; `Retry-After` gives the seconds to wait.",
    507: "The server's disk is full.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """An endpoint's errors for OpenAPI: these statuses, and those that every endpoint can return."""
    return {
        status: {
            "model": models.Problem,
            "description": _DESCRIPTIONS[status],
            "content": {"application/problem+json": {}},
        }
        for status in sorted({400, 401, 403, 421, 422, 429, *statuses} & _DESCRIPTIONS.keys())
    }


def server_of(request: Request) -> ServerState:
    return cast(ServerState, request.app.state.server)


def file_body(fields: Mapping[str, Any]) -> dict[str, Any]:
    """For OpenAPI: a body that is a file, or a form with a file and these fields."""
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "required": ["file"], "properties": {"file": binary, **fields}}
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}, "application/octet-stream": {"schema": binary}},
        }
    }


def visible_to(caller: Caller, value: Value) -> Value:
    """The JSON as this caller may see it: only administrators see folders of the server."""
    return value if caller.may("admin") else objects.without_places(value)


def offset_of(after: str) -> int:
    """The position at which a list that is paged by position continues."""
    if not (after.isascii() and after.isdecimal() and len(after) < 16):
        raise Problem(422, "invalid_request", f"The parameter after={after[:50]!r} must be `next` of the previous page")
    return int(after)


def cached(request: Request, value: Mapping[str, object]) -> Response:
    """A response with an ETag of its content; 304 without a body for clients that already have it."""
    body = objects.to_json(value).encode("utf-8")
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in (each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
