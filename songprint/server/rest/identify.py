"""Identifying a query, and the state of the server: health, metrics, statistics."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response

from songprint.formats import schema
from songprint.server import metrics
from songprint.server.rest import common, models
from songprint.server.rest.access import IdentifyCaller
from songprint.server.rest.common import server_of
from songprint.server.rest.problems import Json, Problem

router = APIRouter()

MOST_CANDIDATES = 50


@router.post(
    "/v1/identify",
    tags=["identify"],
    response_model=schema.Report,
    responses=common.problems(413, 503, 507),
    openapi_extra=common.file_body({}),
)
async def identify(
    request: Request,
    caller: IdentifyCaller,
    top: Annotated[
        int, Query(ge=0, le=MOST_CANDIDATES, description="Also list the most probable matches below the threshold.")
    ] = 0,
    track: Annotated[
        int | None, Query(ge=1, le=1000, description="Number of the audio track, from 1. Default: all tracks.")
    ] = None,
) -> Response:
    """Identify a query at once. `matches` is empty if the library has no match, and `reason` gives the cause.

    Send the query as the body or as the part `file` of a form, in any audio or video format. Eight to fifteen seconds
    work best. Submit a job for a whole film or programme.
    """
    server = server_of(request)
    settings = server.settings.server
    upload = await server.uploads.receive(request, settings.max_clip_bytes)
    with server.uploads.discarding(upload):
        if upload.path is None:
            raise Problem(400, "no_file", "No audio was sent: send it as the body, or as the part `file` of a form")
        try:
            report = await server.identify(
                path=str(upload.path), name=upload.name, top=top, longest=settings.max_clip_duration, track=track
            )
        finally:
            server.metrics.queries.inc()
        await run_in_threadpool(server.meter.note, caller.id, report["duration"], upload.path)
    kinds = {match["kind"] for match in report["matches"]}
    kind = "recording" if "recording" in kinds else "cover" if kinds else "none"
    server.metrics.answers.labels(kind=kind).inc()
    server.metrics.identify_seconds.observe(report["elapsed"])
    return Json(common.visible_to(caller, report))


@router.get("/healthz", tags=["server"], response_class=PlainTextResponse)
async def healthz() -> Response:
    """Whether the server runs. Needs no key."""
    return PlainTextResponse("ok\n")


@router.get(
    "/readyz",
    tags=["server"],
    response_class=PlainTextResponse,
    responses={503: {"model": models.Problem, "content": {"application/problem+json": {}}}},
)
async def readyz(request: Request) -> Response:
    """Whether queries are answered now: the library is open and can be searched, and its networks are loaded.

    Needs no key. Status 503 names the reason.
    """
    server = server_of(request)
    if not server.queries.ready:
        raise Problem(503, "starting", "The server is opening the library. Try again in a moment", {"Retry-After": "1"})
    await run_in_threadpool(server.library.store.check_encoders)
    return PlainTextResponse("ready\n")


@router.get("/metrics", tags=["server"], response_class=PlainTextResponse, responses=common.problems())
def read_metrics(request: Request, caller: IdentifyCaller) -> Response:
    """Metrics for Prometheus."""
    server = server_of(request)
    totals = server.library.store.catalog.totals()
    gauges: dict[str, tuple[str, metrics.Gauge]] = {
        "songprint_recordings": ("", totals.recordings),
        "songprint_recordings_seconds": ("", totals.duration),
        "songprint_segments": ("kind", {str(kind): count for kind, count in totals.segments.items()}),
        "songprint_clips_waiting": ("", server.queries.waiting),
        "songprint_jobs": ("state", server.jobs.counts()),
        "songprint_deliveries": ("state", server.deliveries.counts()),
        "songprint_up": ("", 1),
    }
    return Response(server.metrics.text(gauges), media_type=metrics.MEDIA_TYPE)


@router.get("/v1/stats", tags=["server"], responses=common.problems())
def stats(request: Request, caller: IdentifyCaller) -> dict[str, Any]:
    """What the library contains, and the numbers of jobs and callbacks."""
    server = server_of(request)
    totals = server.library.store.catalog.totals()
    return {
        "recordings": totals.recordings,
        "duration": round(totals.duration, 3),
        "segments": {str(kind): count for kind, count in totals.segments.items()},
        "jobs": server.jobs.counts(),
        "deliveries": server.deliveries.counts(),
    }
