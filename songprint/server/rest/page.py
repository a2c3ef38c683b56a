"""Endpoints that only the page uses: pictures of covers, and inboxes for the explorer's callbacks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, cast

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from songprint.server import operations
from songprint.server.rest import common, models
from songprint.server.rest.access import IdentifyCaller
from songprint.server.rest.common import JobId, RecordingId, input_of, job_of, server_of
from songprint.server.rest.problems import Json, Problem
from songprint.server.web import inbox
from songprint.server.web.inbox import Inboxes

router = APIRouter(prefix="/v1", include_in_schema=False)

_SHOWN_HEADERS = ("content-type", "user-agent")  # of a callback, besides those of Standard Webhooks


@router.get("/jobs/{job_id}/similarity")
async def similarity(
    request: Request,
    caller: IdentifyCaller,
    job_id: JobId,
    recording: Annotated[int, Query(ge=1, le=models.MOST_ID)],
    start: Annotated[float, Query(ge=0, le=1e6)],
    end: Annotated[float, Query(gt=0, le=1e6)],
) -> Response:
    """How part of a job's input corresponds to a recording; see `operations.similarity`."""
    server = server_of(request)
    if end <= start:
        raise Problem(422, "invalid_request", "The parameter end must be greater than start")
    job = await job_of(server, caller, job_id)
    path = await input_of(server, job)
    picture = await server.run(operations.similarity, path=str(path), start=start, end=end, recording_id=recording)
    return common.cached(request, picture)


@router.get("/recordings/{recording_id}/similarity")
async def recordings_similarity(
    request: Request,
    caller: IdentifyCaller,
    recording_id: RecordingId,
    recording: Annotated[int, Query(ge=1, le=models.MOST_ID)],
) -> Response:
    """How a recording of the library corresponds to another one; see `operations.similarity`."""
    picture = await server_of(request).run(operations.similarity_of_recordings, one=recording_id, other=recording)
    return common.cached(request, picture)


@router.post("/explorer/inbox", status_code=201)
def create_inbox(request: Request, caller: IdentifyCaller) -> Response:
    """A new inbox: `url` receives callbacks, and `read` is the path from which the page reads them."""
    name = _inboxes(request).create(caller.id)
    host, port = request.scope["server"]
    shown = f"[{host}]" if ":" in host else host
    return Json({"url": f"http://{shown}:{port}{inbox.PATH}{name}", "read": f"{inbox.PATH[1:]}{name}"}, 201)


@router.post("/explorer/inbox/{name}", status_code=204)
async def receive(request: Request, name: str) -> Response:
    """Receive a callback. Everyone who has the address may send one."""
    if not _inboxes(request).has(name):
        raise _no_inbox()
    body = await request.body()  # limited by `songprint.server.edge`
    headers = {
        key: value for key, value in request.headers.items() if key in _SHOWN_HEADERS or key.startswith("webhook-")
    }
    if not _inboxes(request).put(name, headers, body):
        raise _no_inbox()
    return Response(status_code=204)


@router.get("/explorer/inbox/{name}")
def read_inbox(request: Request, caller: IdentifyCaller, name: str) -> Response:
    """The callbacks received so far, oldest first."""
    received = _inboxes(request).read(name, caller.id)
    if received is None:
        raise _no_inbox()
    return Json({"items": [asdict(each) for each in received]})


def _inboxes(request: Request) -> Inboxes:
    return cast(Inboxes, request.app.state.inboxes)


def _no_inbox() -> Problem:
    return Problem(404, "no_box", "This inbox does not exist, or has expired. Send the request again for a new one")
