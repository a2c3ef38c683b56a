"""What a client asks first: name this clip. And what whoever runs the server asks: is it well?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response

from songprint.server import duties, metrics
from songprint.server.rest import answers, shapes
from songprint.server.rest.access import needs
from songprint.server.rest.answers import server_of
from songprint.server.rest.problems import Json, Problem

router = APIRouter()

MOST_CANDIDATES = 50


@router.post(
    "/v1/identify",
    tags=["identify"],
    response_model=shapes.Report,
    responses=answers.problems(413, 503, 507),
    openapi_extra=answers.sent_file({}),
)
async def identify(
    request: Request,
    caller: needs("identify"),
    top: Annotated[
        int, Query(ge=0, le=MOST_CANDIDATES, description="Also list the most probable names below the threshold.")
    ] = 0,
) -> Response:
    """Name what a clip is, at once. `matches` is empty if the library does not know it, and `reason` says why.

    Send the clip as the body or as the part `file` of a form, in any format of audio or video. Eight to fifteen
    seconds are best; a whole film or programme is a job.
    """
    server = server_of(request)
    settings = server.settings.server
    upload = await server.uploads.receive(request, settings.max_clip_bytes)
    with server.uploads.discarding(upload):
        if upload.path is None:
            raise Problem(400, "no_file", "no clip was sent: give it as the body, or as the part `file` of a form")
        try:
            report = await server.name_clip(
                path=str(upload.path), name=upload.name, top=top, longest=settings.max_clip_duration
            )
        except duties.ClipTooLong as error:
            raise Problem(413, "too_long", str(error)) from error
        finally:
            server.metrics.count("songprint_clips_total")
    server.meter.note(caller.id, report["duration"])
    kinds = {match["kind"] for match in report["matches"]} or {"none"}
    server.metrics.count("songprint_answers_total", kind="recording" if "recording" in kinds else kinds.pop())
    server.metrics.took("songprint_identify_seconds", report["elapsed"])
    return Json(answers.without_places(report, caller))


@router.get("/healthz", tags=["server"], response_class=PlainTextResponse)
async def healthz() -> Response:
    """Whether the server lives. Needs no key, and asks nothing else."""
    return PlainTextResponse("ok\n")


@router.get(
    "/readyz",
    tags=["server"],
    response_class=PlainTextResponse,
    responses={503: {"model": shapes.Problem, "content": {"application/problem+json": {}}}},
)
async def readyz(request: Request) -> Response:
    """Whether clips can be named now: the library is open and its networks are loaded. Needs no key."""
    server = server_of(request)
    if not server.clips.ready:
        raise Problem(503, "starting", "the library is being opened. Ask again in a moment", {"Retry-After": "1"})
    await run_in_threadpool(server.library.store.catalog.state)
    return PlainTextResponse("ready\n")


@router.get("/metrics", tags=["server"], response_class=PlainTextResponse, responses=answers.problems())
def read_metrics(request: Request, caller: needs("identify")) -> Response:
    """Numbers for Prometheus."""
    server = server_of(request)
    totals = server.library.store.catalog.totals()
    gauges = {
        "songprint_recordings": {(): totals.recordings},
        "songprint_recordings_seconds": {(): totals.duration},
        "songprint_segments": {(("kind", str(kind)),): count for kind, count in totals.segments.items()},
        "songprint_clips_waiting": {(): server.clips.waiting},
        "songprint_jobs": {(("state", state),): count for state, count in server.jobs.counts().items()},
        "songprint_deliveries": {(("state", state),): count for state, count in server.deliveries.counts().items()},
        "songprint_up": {(): 1},
    }
    return PlainTextResponse(server.metrics.text(gauges), media_type=metrics.MEDIA_TYPE)


@router.get("/v1/stats", tags=["server"], responses=answers.problems())
def stats(request: Request, caller: needs("identify")) -> dict:
    """What the library holds."""
    server = server_of(request)
    totals = server.library.store.catalog.totals()
    return {
        "recordings": totals.recordings,
        "duration": round(totals.duration, 3),
        "segments": {str(kind): count for kind, count in totals.segments.items()},
        "jobs": server.jobs.counts(),
        "deliveries": server.deliveries.counts(),
    }
