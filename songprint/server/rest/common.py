"""What endpoints share: descriptions for OpenAPI, what a caller may see, paging and caching."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any, TypeVar, cast

from fastapi import Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from songprint.errors import JobNotFound
from songprint.formats import objects
from songprint.jobs.jobs import Job
from songprint.server.rest import models
from songprint.server.rest.access import Caller
from songprint.server.rest.problems import Problem
from songprint.server.state import ServerState

Value = TypeVar("Value")

RecordingId = Annotated[int, Path(ge=1, le=models.MOST_ID, description="The recording's id.")]
JobId = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,100}$", description="The job's id.")]
After = Annotated[str, Query(max_length=20, description="`next` of the previous page.")]
Limit = Annotated[int, Query(ge=1, le=500, description="Maximum number of items.")]

_DESCRIPTIONS = {
    400: "The request is incomplete, or does not match its Content-Type.",
    401: "The key is missing or unknown.",
    403: "The key does not have the required scope.",
    404: "Not found.",
    408: "The body did not arrive in time.",
    409: "The current state does not allow this.",
    413: "Too large, or too long.",
    415: "The body has an unsupported type.",
    422: "The request is not valid.",
    429: "Too many requests; `Retry-After` gives the seconds to wait.",
    503: "Busy or unavailable; `Retry-After` gives the seconds to wait.",
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
        for status in sorted({400, 401, 403, 408, 413, 421, 422, 429, 503, *statuses} & _DESCRIPTIONS.keys())
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


async def job_of(server: ServerState, caller: Caller, job_id: str) -> Job:
    """The job with this id; Problem 404 if there is none that the caller may see."""
    try:
        job = await run_in_threadpool(server.jobs.get, job_id)
    except JobNotFound as error:
        raise _not_found(job_id) from error
    visible = await run_in_threadpool(server.keys.visible_to, caller.key)
    if visible is not None and job.key_id not in visible:
        raise _not_found(job_id)
    return job


def _not_found(job_id: str) -> Problem:
    return Problem(404, "job_not_found", f"There is no job {job_id}. GET /v1/jobs lists the jobs of your key")


def result_of(job: Job) -> dict[str, Any]:
    """The timeline of a finished job as JSON; Problem 409 for any other job."""
    if job.result is None:
        raise Problem(409, "not_finished", f"The job is {job.state}. It has a timeline once it is finished")
    return job.result


async def input_of(server: ServerState, job: Job) -> FilePath:
    """The file of a job's input; Problem 404 once it was deleted."""
    kept = await run_in_threadpool(server.inputs.of_job, job.id)
    if kept is None or not await run_in_threadpool(kept.is_file):
        hours = server.settings.server.keep_inputs / 3600
        raise Problem(
            404,
            "no_audio",
            f"The input of this job is not on this server. Inputs are kept for {hours:g} hours after the job's end",
        )
    return kept
