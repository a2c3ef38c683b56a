"""Jobs over HTTP: submit a long recording, follow the scan, fetch its timeline."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from songprint import formats
from songprint.errors import DuplicateSession, JobNotFound, JobStateError, QueueFull
from songprint.formats import objects
from songprint.jobs import verdicts
from songprint.jobs.deliveries import delivery_object
from songprint.jobs.jobs import STATES, Job, job_object
from songprint.server.rest import answers, shapes
from songprint.server.rest.access import Caller, needs
from songprint.server.rest.answers import Limit, server_of
from songprint.server.rest.problems import Json, Problem
from songprint.server.rest.uploads import Upload
from songprint.server.state import ServerState

router = APIRouter(prefix="/v1", tags=["jobs"])

JobId = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,100}$", description="The job's id.")]
LOOK = 0.3  # seconds between two looks at a job that is followed
ALIVE = 15.0  # seconds after which a stream says that it still lives
LONGEST_WAIT = 60.0

_JSON = {"application/json": {"schema": {"$ref": "#/components/schemas/JobWish"}}}
_BODY = answers.sent_file(
    {
        "options": {
            "type": "string",
            "description": "An object in JSON: kinds, find_unknown, callback, output, priority, session_id,"
            " session_context.",
        }
    }
)
_BODY["requestBody"]["content"] = _JSON | _BODY["requestBody"]["content"]


@router.post(
    "/jobs",
    status_code=202,
    response_model=shapes.Job,
    openapi_extra=_BODY,
    responses=answers.problems(409, 413, 415, 507),
)
async def submit(request: Request, caller: needs("identify")) -> Response:
    """Have a long recording scanned: send its file, or say in JSON where it is.

    Follow the job by `GET /v1/jobs/{id}` (with `wait` it answers when the job has ended), by its events, or by a
    callback.
    """
    server = server_of(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        wish = _checked(shapes.JobWish, await _small_body(request))
        job = await run_in_threadpool(_submitted, server, caller, wish.input.model_dump(), wish)
    else:
        upload = await server.uploads.receive(request, server.settings.server.max_bytes)
        with server.uploads.discarding(upload):
            options = _checked(shapes.JobOptions, (upload.text("options") or "{}").encode())
            job = await run_in_threadpool(_submitted_file, server, caller, upload, options)
    return Json(_shown(server, caller, job), 202, {"Location": f"/v1/jobs/{job.id}"})


@router.get("/jobs", response_model=shapes.Jobs, responses=answers.problems(404))
def list_jobs(
    request: Request,
    caller: needs("identify"),
    limit: Limit = 100,
    state: Annotated[list[Literal["waiting", "running", "finished", "failed", "cancelled"]] | None, Query()] = None,
    after: Annotated[str, Query(max_length=100, description="`next` of the page before.")] = "",
) -> Response:
    """The caller's jobs and those of keys under its own, the latest first, without their results."""
    server = server_of(request)
    found = server.jobs.find(
        state=state or STATES, key_id=server.keys.visible_to(caller.key), limit=limit + 1, before=after
    )
    listed = [_listed(job, caller) for job in found[:limit]]
    return answers.cached(request, {"items": listed, "next": found[limit - 1].id if len(found) > limit else None})


@router.get("/jobs/{job_id}", response_model=shapes.Job, responses=answers.problems(404))
async def show_job(
    request: Request,
    caller: needs("identify"),
    job_id: JobId,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for the end.")] = 0.0,
) -> Response:
    """One job, with what was found once it is finished."""
    server = server_of(request)
    job = await job_of(server, caller, job_id)
    give_up = asyncio.get_running_loop().time() + wait
    while not job.ended and asyncio.get_running_loop().time() < give_up:
        await asyncio.sleep(LOOK)
        job = await run_in_threadpool(server.jobs.get, job_id)
    return answers.cached(request, await run_in_threadpool(_shown, server, caller, job))


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **answers.problems(404)},
)
async def follow_job(request: Request, caller: needs("identify"), job_id: JobId) -> Response:
    """Server-sent events: `job` with the job (but for its result) whenever it changes, until it has ended."""
    server = server_of(request)
    await job_of(server, caller, job_id)
    return StreamingResponse(
        _events(server, caller, job_id),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


@router.post("/jobs/{job_id}/cancel", response_model=shapes.Job, responses=answers.problems(404, 409))
async def cancel_job(request: Request, caller: needs("identify"), job_id: JobId) -> Response:
    """End a job that waits or runs."""
    return await _changed(request, caller, job_id, "cancel")


@router.post("/jobs/{job_id}/retry", response_model=shapes.Job, responses=answers.problems(404, 409))
async def retry_job(request: Request, caller: needs("identify"), job_id: JobId) -> Response:
    """Queue a job again that failed or was cancelled."""
    return await _changed(request, caller, job_id, "retry")


@router.get(
    "/jobs/{job_id}/export",
    response_class=Response,
    responses={
        200: {"content": {each.media_type.partition(";")[0]: {} for each in formats.FORMATS.values()}},
        **answers.problems(404, 409),
    },
)
async def export_job(
    request: Request,
    caller: needs("identify"),
    job_id: JobId,
    format: Annotated[Literal[*formats.FORMATS], Query()] = "json",
    corrected: Annotated[bool, Query(description="As the verdicts say it is, not as it was found.")] = False,
) -> Response:
    """The timeline of a finished job as a file: CSV, Audacity labels, CUE sheet, subtitles, list of songs ..."""
    server = server_of(request)
    job = await job_of(server, caller, job_id)
    if job.result is None:
        raise Problem(409, "not_finished", f"the job is {job.state}: it has a timeline when it is finished")
    text = await run_in_threadpool(_written, server, caller, job, format, corrected)
    chosen = formats.FORMATS[format]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", str(job.result.get("source", "")))[:80].strip("._") or "timeline"
    return Response(
        text.encode("utf-8", "replace"),
        media_type=chosen.media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}{chosen.suffix}"'},
    )


@router.get(
    "/jobs/{job_id}/deliveries",
    tags=["callbacks"],
    response_model=shapes.JobDeliveries,
    responses=answers.problems(404),
)
async def job_deliveries(request: Request, caller: needs("identify"), job_id: JobId) -> Response:
    """The callbacks of a job with all attempts."""
    server = server_of(request)
    await job_of(server, caller, job_id)
    found = await run_in_threadpool(server.deliveries.of_job, job_id)
    return Json({"items": [delivery_object(each) for each in found]})


@router.post(
    "/jobs/{job_id}/deliveries",
    tags=["callbacks"],
    status_code=202,
    response_model=shapes.JobDeliveries,
    responses=answers.problems(404),
)
async def resend(request: Request, caller: needs("identify"), job_id: JobId) -> Response:
    """Send the callbacks of a job once more, whether they arrived or not."""
    server = server_of(request)
    await job_of(server, caller, job_id)
    try:
        found = await run_in_threadpool(server.deliveries.resend, job_id)
    except JobNotFound as error:
        raise Problem(404, "no_callback", str(error)) from error
    return Json({"items": [delivery_object(each) for each in found]}, 202)


async def job_of(server: ServerState, caller: Caller, job_id: str) -> Job:
    """The job if it is the caller's to see; else it does not exist."""
    try:
        job = await run_in_threadpool(server.jobs.get, job_id)
        mine = await run_in_threadpool(server.keys.visible_to, caller.key)
    except JobNotFound:
        mine, job = [], None
    if job is None or (mine is not None and job.key_id not in mine):
        raise Problem(404, "job_not_found", f"there is no job {job_id}. GET /v1/jobs lists those of this key")
    return job


def _submitted(server: ServerState, caller: Caller, place: Mapping[str, Any], wish: shapes.JobOptions) -> Job:
    options = {
        "kinds": wish.kinds,
        "find_unknown": None if wish.find_unknown else False,
        "callback": wish.callback and {**wish.callback.model_dump(exclude_none=True), "style": "standard"},
        "output": wish.output and wish.output.model_dump(),
    }
    try:
        return server.jobs.submit(
            place,
            {name: value for name, value in options.items() if value is not None},
            priority=wish.priority,
            key_id=caller.id,
            session_id=wish.session_id,
            session_context=wish.session_context,
            most_waiting=server.settings.server.max_waiting,
        )
    except DuplicateSession as error:
        raise Problem(409, "duplicate_session", str(error), job_id=error.job_id) from error
    except QueueFull as error:
        raise Problem(429, "queue_full", str(error), {"Retry-After": "60"}) from error


def _submitted_file(server: ServerState, caller: Caller, upload: Upload, wish: shapes.JobOptions) -> Job:
    if upload.path is None or not upload.size:
        raise Problem(
            400,
            "no_file",
            "no recording was sent: give it as the body, or as the part `file` of a form; or say in JSON where it is",
        )
    path = server.inputs.take(upload.path)
    try:
        return _submitted(server, caller, {"type": "file", "path": str(path), "name": upload.name}, wish)
    except BaseException:
        server.inputs.remove(path)
        raise


async def _small_body(request: Request, most: int = 1 << 16) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise Problem(413, "too_large", f"a job in JSON takes at most {most} bytes")
    return body


def _checked(shape: type[BaseModel], body: bytes) -> Any:
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        wrong = [{"where": ".".join(map(str, each["loc"])) or "body", "what": each["msg"]} for each in error.errors()]
        raise Problem(
            422,
            "invalid_request",
            f"{wrong[0]['where']}: {wrong[0]['what']}. See /docs for what is expected",
            errors=wrong[:20],
        ) from error


async def _changed(request: Request, caller: Caller, job_id: str, verb: str) -> Response:
    server = server_of(request)
    await job_of(server, caller, job_id)
    try:
        job = await run_in_threadpool(getattr(server.jobs, verb), job_id)
    except JobStateError as error:
        raise Problem(409, "wrong_state", str(error)) from error
    await run_in_threadpool(server.audit.note, caller.id, f"jobs.{verb}", job_id)
    return Json(await run_in_threadpool(_shown, server, caller, job))


async def _events(server: ServerState, caller: Caller, job_id: str) -> AsyncIterator[str]:
    seen, silent = "", 0.0
    yield "retry: 2000\n\n"
    while True:
        job = await run_in_threadpool(server.jobs.get, job_id)
        if job.changed_at != seen:
            seen, silent = job.changed_at, 0.0
            told = objects.to_json(_listed(job, caller))
            yield f"event: job\nid: {seen}\ndata: {told}\n\n"
            if job.ended:
                return
        await asyncio.sleep(LOOK)
        silent += LOOK
        if silent > ALIVE:
            silent = 0.0
            yield ": still there\n\n"


def _written(server: ServerState, caller: Caller, job: Job, format: str, corrected: bool) -> str:
    timeline = objects.timeline_from_object(answers.without_places(job.result, caller))
    if corrected:
        said = server.verdicts.of_job(job.id)
        named = {each.recording_id for each in said if each.recording_id}
        timeline = verdicts.corrected(timeline, said, server.library.store.catalog.recordings_with(named))
    return formats.write(timeline, format)


def _listed(job: Job, caller: Caller) -> dict[str, object]:
    """A job without its result."""
    told = answers.without_places(json.loads(objects.to_json(job_object(job))), caller)
    return {name: value for name, value in told.items() if name != "result"}


def _shown(server: ServerState, caller: Caller, job: Job) -> dict[str, object]:
    return {
        **_listed(job, caller),
        "result": answers.without_places(job.result, caller) if job.result else None,
        "verdicts": [verdicts.verdict_object(each) for each in server.verdicts.of_job(job.id)],
    }
