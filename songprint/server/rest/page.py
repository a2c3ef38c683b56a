"""What the page asks for that programs do not: pictures of covers, and a place where the explorer gets callbacks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import Response

from songprint.server.rest import answers, pictures, shapes
from songprint.server.rest.access import needs
from songprint.server.rest.answers import server_of
from songprint.server.rest.jobs import JobId, job_of
from songprint.server.rest.problems import Json, Problem
from songprint.server.rest.review import input_of
from songprint.server.web import assets, inbox
from songprint.server.web.inbox import Inboxes

router = APIRouter(prefix="/v1", include_in_schema=False)

_TOLD = ("content-type", "user-agent")  # headers of a callback that are shown, and those of Standard Webhooks


@router.get("/jobs/{job_id}/similarity")
async def similarity(
    request: Request,
    caller: needs("identify"),
    job_id: JobId,
    recording: Annotated[int, Query(ge=1, le=shapes.MOST_ID)],
    start: Annotated[float, Query(ge=0, le=1e6)],
    end: Annotated[float, Query(gt=0, le=1e6)],
) -> Response:
    """How a stretch of a job's input corresponds to a recording; see `pictures.similarity`."""
    server = server_of(request)
    if end <= start:
        raise Problem(422, "invalid_request", "end must come after start")
    job = await job_of(server, caller, job_id)
    path = await input_of(server, job)
    drawn = await server.work(pictures.similarity, path=str(path), start=start, end=end, recording_id=recording)
    return answers.cached(request, drawn)


@router.post("/explorer/inbox", status_code=201)
def make_inbox(request: Request, caller: needs("identify")) -> Response:
    """A new box: `url` is where a callback is sent to, `read` where the page reads what came."""
    name = _inboxes(request).make(caller.id)
    host, port = request.scope["server"]
    shown = f"[{host}]" if ":" in host else host
    return Json({"url": f"http://{shown}:{port}{inbox.PATH}{name}", "read": f"{inbox.PATH[1:]}{name}"}, 201)


@router.post("/explorer/inbox/{name}", status_code=204)
async def receive(request: Request, name: str) -> Response:
    """A callback arrives. Whoever knows the address may send one."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > inbox.MOST_BYTES:
            raise Problem(413, "too_large", f"at most {inbox.MOST_BYTES} bytes are taken here")
    headers = {key: value for key, value in request.headers.items() if key in _TOLD or key.startswith("webhook-")}
    if not _inboxes(request).put(name, headers, body):
        raise _no_box()
    return Response(status_code=204)


@router.get("/explorer/inbox/{name}")
def read_inbox(request: Request, caller: needs("identify"), name: str) -> Response:
    """What came so far, the oldest first."""
    received = _inboxes(request).read(name, caller.id)
    if received is None:
        raise _no_box()
    return Json({"items": [asdict(each) for each in received]})


def with_page(app: FastAPI) -> None:
    """Add the page and what it asks for."""
    app.state.inboxes = Inboxes()
    app.include_router(assets.router)
    app.include_router(router)


def _inboxes(request: Request) -> Inboxes:
    return request.app.state.inboxes


def _no_box() -> Problem:
    return Problem(404, "no_box", "there is no such box (any more). Send the request again for a new one")
