"""Jobs over HTTP: submit a long recording, follow the scan, get its timeline."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar, cast

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from songprint import formats
from songprint.config import ServerSettings
from songprint.errors import DuplicateSession, FetchError, JobNotFound, JobStateError, QueueFull
from songprint.formats import objects, schema
from songprint.jobs import verdicts
from songprint.jobs.deliveries import delivery_object
from songprint.jobs.jobs import STATES, Job, job_object
from songprint.outside import acceptance
from songprint.server.rest import common, models, problems
from songprint.server.rest.access import Caller, IdentifyCaller
from songprint.server.rest.common import JobId, Limit, job_of, result_of, server_of
from songprint.server.rest.problems import Json, Problem
from songprint.server.rest.uploads import Upload
from songprint.server.state import ServerState

router = APIRouter(prefix="/v1", tags=["jobs"])

POLL_SECONDS = 0.3  # between two reads of a job that a client follows
KEEP_ALIVE_SECONDS = 15.0  # after which a silent event stream sends a comment
LONGEST_WAIT = 60.0  # seconds
MOST_JSON_BYTES = 1 << 16  # of a job sent as JSON

Model = TypeVar("Model", bound=BaseModel)

_JSON = {"application/json": {"schema": {"$ref": "#/components/schemas/JobRequest"}}}
_BODY = common.file_body(
    {
        "options": {
            "type": "string",
            "description": "A JSON object: kinds, find_unknown, callback, output, priority, session_id,"
            " session_context.",
        }
    }
)
_BODY["requestBody"]["content"] = _JSON | _BODY["requestBody"]["content"]


@router.post(
    "/jobs",
    status_code=202,
    response_model=models.Job,
    openapi_extra=_BODY,
    responses=common.problems(409, 413, 415, 507),
)
async def submit(request: Request, caller: IdentifyCaller) -> Response:
    """Scan a long recording: send its file, or give its location as JSON.

    Follow the job with `GET /v1/jobs/{id}` (with `wait` it responds when the job has ended), with its events, or with a
    callback.
    """
    server = server_of(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        wanted = _parsed(models.JobRequest, await _small_body(request))
        job = await run_in_threadpool(_submit, server, caller, wanted.input.model_dump(), wanted)
    else:
        upload = await server.uploads.receive(request, server.settings.server.max_bytes)
        with server.uploads.discarding(upload):
            options = _parsed(models.JobOptions, (upload.text("options") or "{}").encode())
            job = await run_in_threadpool(_submit_file, server, caller, upload, options)
    return Json(_with_result(server, caller, job), 202, {"Location": f"/v1/jobs/{job.id}"})


@router.get("/jobs", response_model=models.Jobs, responses=common.problems(404))
def list_jobs(
    request: Request,
    caller: IdentifyCaller,
    limit: Limit = 100,
    state: Annotated[list[schema.State] | None, Query()] = None,
    after: Annotated[str, Query(max_length=100, description="`next` of the previous page.")] = "",
) -> Response:
    """The jobs of the caller's key and the keys under it, latest first, without their results."""
    server = server_of(request)
    found = server.jobs.find(
        state=state or STATES, key_id=server.keys.visible_to(caller.key), limit=limit + 1, before=after
    )
    items = [_without_result(job, caller) for job in found[:limit]]
    return common.cached(request, models.Jobs(items=items, next=found[limit - 1].id if len(found) > limit else None))


@router.get("/jobs/{job_id}", response_model=models.Job, responses=common.problems(404))
async def show_job(
    request: Request,
    caller: IdentifyCaller,
    job_id: JobId,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for the end.")] = 0.0,
) -> Response:
    """One job, with its result once it is finished. While it runs, `partial` contains the segments found so far."""
    server = server_of(request)
    job = await job_of(server, caller, job_id)
    give_up = asyncio.get_running_loop().time() + wait
    while not job.ended and asyncio.get_running_loop().time() < give_up:
        await asyncio.sleep(POLL_SECONDS)
        job = await run_in_threadpool(server.jobs.get, job_id)
    return common.cached(request, await run_in_threadpool(_with_result, server, caller, job))


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **common.problems(404)},
)
async def follow_job(request: Request, caller: IdentifyCaller, job_id: JobId) -> Response:
    """Server-sent events: `job` with the job, without its result, whenever it changes, until it has ended."""
    server = server_of(request)
    await job_of(server, caller, job_id)
    return StreamingResponse(
        _events(server, caller, job_id),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


@router.post("/jobs/{job_id}/cancel", response_model=models.Job, responses=common.problems(404, 409))
async def cancel_job(request: Request, caller: IdentifyCaller, job_id: JobId) -> Response:
    """Cancel a waiting or running job."""
    return await _change(request, caller, job_id, "cancel")


@router.post("/jobs/{job_id}/retry", response_model=models.Job, responses=common.problems(404, 409))
async def retry_job(request: Request, caller: IdentifyCaller, job_id: JobId) -> Response:
    """Queue a failed or cancelled job again."""
    return await _change(request, caller, job_id, "retry")


@router.get(
    "/jobs/{job_id}/export",
    response_class=Response,
    responses={
        200: {"content": {each.media_type.partition(";")[0]: {} for each in formats.FORMATS.values()}},
        **common.problems(404, 409),
    },
)
async def export_job(
    request: Request,
    caller: IdentifyCaller,
    job_id: JobId,
    # A Literal of the table's keys: the description lists them, and mypy cannot.
    format: Annotated[Literal[*formats.FORMATS], Query()] = "json",  # type: ignore[valid-type]
    corrected: Annotated[bool, Query(description="Apply the reviewers' verdicts to the timeline.")] = False,
) -> Response:
    """The timeline of a finished job as a file: CSV, Audacity labels, CUE sheet, subtitles, tracklist and more."""
    server = server_of(request)
    job = await job_of(server, caller, job_id)
    result = result_of(job)
    text = await run_in_threadpool(_export, server, caller, job, format, corrected)
    chosen = formats.FORMATS[format]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", str(result.get("source", "")))[:80].strip("._") or "timeline"
    return Response(
        text.encode("utf-8", "replace"),
        media_type=chosen.media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}{chosen.suffix}"'},
    )


@router.get(
    "/jobs/{job_id}/deliveries",
    tags=["callbacks"],
    response_model=models.JobDeliveries,
    responses=common.problems(404),
)
async def job_deliveries(request: Request, caller: IdentifyCaller, job_id: JobId) -> Response:
    """The callbacks of a job, with all attempts."""
    server = server_of(request)
    await job_of(server, caller, job_id)
    found = await run_in_threadpool(server.deliveries.of_job, job_id)
    return Json({"items": [delivery_object(each) for each in found]})


@router.post(
    "/jobs/{job_id}/deliveries",
    tags=["callbacks"],
    status_code=202,
    response_model=models.JobDeliveries,
    responses=common.problems(404),
)
async def resend(request: Request, caller: IdentifyCaller, job_id: JobId) -> Response:
    """Send the callbacks of a job again, whether they were delivered or not."""
    server = server_of(request)
    await job_of(server, caller, job_id)
    try:
        found = await run_in_threadpool(server.deliveries.resend, job_id)
    except JobNotFound as error:
        raise Problem(404, "no_callback", problems.sentence(error)) from error
    await run_in_threadpool(server.audit.note, caller.id, "jobs.resend", job_id)
    return Json({"items": [delivery_object(each) for each in found]}, 202)


def _submit(server: ServerState, caller: Caller, location: Mapping[str, Any], wanted: models.JobOptions) -> Job:
    _check_places(location, wanted, server.settings.server)
    options = {
        "kinds": wanted.kinds,
        "track": wanted.track,
        "find_unknown": None if wanted.find_unknown else False,
        "callback": wanted.callback and {**wanted.callback.model_dump(exclude_none=True), "style": "standard"},
        "output": wanted.output and wanted.output.model_dump(),
    }
    try:
        return server.jobs.submit(
            location,
            {name: value for name, value in options.items() if value is not None},
            priority=wanted.priority,
            key_id=caller.id,
            session_id=wanted.session_id,
            session_context=wanted.session_context,
            max_waiting=server.settings.server.max_waiting,
        )
    except DuplicateSession as error:
        raise Problem(409, "duplicate_session", problems.sentence(error), job_id=error.job_id) from error
    except QueueFull as error:
        raise Problem(429, "queue_full", problems.sentence(error), {"Retry-After": "60"}) from error


def _check_places(location: Mapping[str, Any], wanted: models.JobOptions, settings: ServerSettings) -> None:
    """Problem 422 for an input, output or callback that the worker would refuse anyway."""
    checks: list[tuple[str, str, Callable[[], None]]] = [
        ("input", "input_refused", lambda: acceptance.check_input(location, settings))
    ]
    if wanted.output is not None:
        output = wanted.output.model_dump()
        checks.append(("output", "output_refused", lambda: acceptance.check_output(output, settings)))
    if wanted.callback is not None:
        url = wanted.callback.url
        checks.append(("callback", "callback_refused", lambda: acceptance.check_callback(url, settings)))
    for name, code, check in checks:
        try:
            check()
        except FetchError as error:
            raise Problem(422, code, f"{name}: {error}") from error


def _submit_file(server: ServerState, caller: Caller, upload: Upload, wanted: models.JobOptions) -> Job:
    if upload.path is None or not upload.size:
        raise Problem(
            400,
            "no_file",
            "No recording was sent: send it as the body or as the part `file` of a form, or give its location as JSON",
        )
    path = server.inputs.take(upload.path)
    try:
        return _submit(server, caller, {"type": "file", "path": str(path), "name": upload.name}, wanted)
    except BaseException:
        server.inputs.remove(path)
        raise


async def _small_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_JSON_BYTES:
            raise Problem(413, "too_large", f"A job in JSON may have at most {MOST_JSON_BYTES} bytes")
    return bytes(body)


def _parsed(model: type[Model], body: bytes) -> Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise problems.invalid(error.errors()) from error


async def _change(request: Request, caller: Caller, job_id: str, action: Literal["cancel", "retry"]) -> Response:
    server = server_of(request)
    await job_of(server, caller, job_id)
    try:
        job = await run_in_threadpool(server.jobs.cancel if action == "cancel" else server.jobs.retry, job_id)
    except JobStateError as error:
        raise Problem(409, "wrong_state", problems.sentence(error)) from error
    await run_in_threadpool(server.audit.note, caller.id, f"jobs.{action}", job_id)
    return Json(await run_in_threadpool(_with_result, server, caller, job))


async def _events(server: ServerState, caller: Caller, job_id: str) -> AsyncIterator[str]:
    last_change, silent = "", 0.0
    yield "retry: 2000\n\n"
    while True:
        job = await run_in_threadpool(server.jobs.get, job_id)
        if job.changed_at != last_change:
            last_change, silent = job.changed_at, 0.0
            data = objects.to_json(_without_result(job, caller))
            yield f"event: job\nid: {last_change}\ndata: {data}\n\n"
            if job.ended:
                return
        await asyncio.sleep(POLL_SECONDS)
        silent += POLL_SECONDS
        if silent > KEEP_ALIVE_SECONDS:
            silent = 0.0
            yield ": keep-alive\n\n"


def _export(server: ServerState, caller: Caller, job: Job, format: str, corrected: bool) -> str:
    timeline = objects.timeline_from_object(cast(schema.Timeline, common.visible_to(caller, job.result)))
    if corrected:
        timeline = verdicts.reviewed(timeline, job.id, server.library.store.catalog)
    return formats.write(timeline, format)


def _without_result(job: Job, caller: Caller) -> schema.ListedJob:
    listed = {name: value for name, value in job_object(job).items() if name not in ("result", "partial")}
    return cast(schema.ListedJob, common.visible_to(caller, listed))


def _with_result(server: ServerState, caller: Caller, job: Job) -> models.Job:
    return {
        **_without_result(job, caller),
        "result": common.visible_to(caller, job.result) if job.result else None,
        "partial": common.visible_to(caller, job.partial) if job.partial else None,
        "verdicts": [verdicts.verdict_object(each) for each in server.verdicts.of_job(job.id)],
    }
