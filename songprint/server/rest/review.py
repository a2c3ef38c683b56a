"""Reviewing a job's result: its audio, its waveform, and reviewers' verdicts."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from songprint.audio.files import file_path
from songprint.formats import schema
from songprint.jobs import verdicts
from songprint.jobs.jobs import Job
from songprint.server import operations
from songprint.server.rest import common, models
from songprint.server.rest.access import Caller, IdentifyCaller, WriteCaller
from songprint.server.rest.common import JobId, RecordingId, input_of, job_of, result_of, server_of
from songprint.server.rest.problems import Json, Problem
from songprint.server.rest.recordings import (
    AUDIO_RESPONSES,
    LONGEST_CUT,
    ExcerptDuration,
    ExcerptStart,
    add_part,
    added_response,
    audio_of,
)
from songprint.server.state import ServerState
from songprint.types import Interval

router = APIRouter(prefix="/v1", tags=["review"])

Position = Annotated[int, Path(ge=0, le=1_000_000, description="Position in the list, from 0.")]
Part = Annotated[Literal["segments", "gaps"], Path(description="The list.")]
Points = Annotated[int, Query(ge=1, le=20_000, description="Number of equal parts.")]
Start = Annotated[float, Query(ge=0, le=1e6, description="Seconds.")]
End = Annotated[float | None, Query(gt=0, le=1e6, description="Seconds. Default: the end.")]
_PARTS = {"segments": verdicts.SEGMENT, "gaps": verdicts.GAP}
GAP_TOLERANCE = 1.0  # seconds by which a cut may exceed its gap


@router.get("/jobs/{job_id}/audio", response_class=FileResponse, responses=AUDIO_RESPONSES)
async def job_audio(
    request: Request,
    caller: IdentifyCaller,
    job_id: JobId,
    start: ExcerptStart = None,
    duration: ExcerptDuration = 30.0,
) -> Response:
    """The input of a job, as long as the server keeps it. Supports range requests. With `start`, an excerpt as WAV,
    which every browser plays whatever the file's format."""
    server = server_of(request)
    job = await job_of(server, caller, job_id)
    return await audio_of(server, await input_of(server, job), start, duration)


@router.get("/jobs/{job_id}/peaks", response_model=models.Peaks, responses=common.problems(404, 503))
async def job_peaks(
    request: Request,
    caller: IdentifyCaller,
    job_id: JobId,
    points: Points = 2000,
    start: Start = 0.0,
    end: End = None,
) -> Response:
    """The waveform of a job's input, as long as the server keeps it."""
    server = server_of(request)
    job = await job_of(server, caller, job_id)
    path = await input_of(server, job)
    drawn = await server.run(operations.peaks, path=str(path), points=points, start=start, end=end, keep=True)
    return common.cached(request, drawn)


@router.get("/recordings/{recording_id}/peaks", response_model=models.Peaks, responses=common.problems(404, 503))
async def recording_peaks(
    request: Request,
    caller: IdentifyCaller,
    recording_id: RecordingId,
    points: Points = 1000,
    start: Start = 0.0,
    end: End = None,
) -> Response:
    """The waveform of a recording, if its file still exists."""
    server = server_of(request)
    recording = await run_in_threadpool(server.library.recording, recording_id)
    path = FilePath(file_path(recording.source))
    if not await run_in_threadpool(path.is_file):
        raise Problem(404, "no_audio", "The audio file is not, or no longer, on this server")
    drawn = await server.run(operations.peaks, path=str(path), points=points, start=start, end=end, keep=False)
    return common.cached(request, drawn)


@router.post(
    "/jobs/{job_id}/{part}/{position}/verdict", response_model=schema.Verdict, responses=common.problems(404, 409)
)
async def review(
    request: Request, caller: WriteCaller, job_id: JobId, part: Part, position: Position, given: models.VerdictRequest
) -> Response:
    """Accept or reject a segment, or give the correct recording for a segment or gap. A later verdict replaces an
    earlier one."""
    server = server_of(request)
    _part(await job_of(server, caller, job_id), part, position)
    if part == "gaps" and given.verdict != verdicts.CORRECT:
        raise Problem(422, "invalid_request", "verdict: a gap can only have the verdict correct, with its recording")
    if (given.verdict == verdicts.CORRECT) != (given.recording is not None):
        raise Problem(422, "invalid_request", "recording: required for the verdict correct, not allowed for others")
    if given.recording is not None:
        await run_in_threadpool(server.library.recording, given.recording)
    verdict = await run_in_threadpool(
        server.verdicts.record,
        job_id,
        _PARTS[part],
        position,
        given.verdict,
        recording_id=given.recording,
        note=given.note,
        key_id=caller.id,
    )
    await _note(server, caller, f"verdicts.{given.verdict}", job_id, part, position, given.recording)
    return Json(verdicts.verdict_object(verdict))


@router.delete("/jobs/{job_id}/{part}/{position}/verdict", status_code=204, responses=common.problems(404))
async def take_back(request: Request, caller: WriteCaller, job_id: JobId, part: Part, position: Position) -> Response:
    """Withdraw a verdict."""
    server = server_of(request)
    await job_of(server, caller, job_id)
    if not await run_in_threadpool(server.verdicts.withdraw, job_id, _PARTS[part], position):
        raise Problem(404, "no_verdict", "There is no verdict to withdraw")
    await _note(server, caller, "verdicts.take_back", job_id, part, position)
    return Response(status_code=204)


@router.post(
    "/jobs/{job_id}/gaps/{position}/recording",
    status_code=201,
    response_model=models.Added,
    responses={
        200: {"model": models.Added, "description": "The library already contains this audio."},
        **common.problems(404, 409, 413, 503, 507),
    },
)
async def name_gap(
    request: Request, caller: WriteCaller, job_id: JobId, position: Position, name: models.GapName
) -> Response:
    """Add unknown music from a gap to the library with the tags you send, and mark the gap as this recording."""
    server = server_of(request)
    job = await job_of(server, caller, job_id)
    gap = _part(job, "gaps", position)
    start, end = name.start if name.start is not None else gap["start"], name.end or gap["end"]
    if not gap["start"] - GAP_TOLERANCE <= start < end <= gap["end"] + GAP_TOLERANCE:
        raise Problem(
            422, "invalid_request", f"The values start and end must lie in the gap, {gap['start']} to {gap['end']} s"
        )
    if end - start > LONGEST_CUT:
        raise Problem(413, "too_long", f"A recording may be at most {LONGEST_CUT:g} s long. Send its start and end")
    path = await input_of(server, job)
    added = await add_part(
        server,
        caller,
        path,
        Interval(start, end),
        name=f"{path.stem[:100]} {start:.0f}-{end:.0f} s.wav",
        tags={key: value for key, value in name.given().items() if key not in ("start", "end")},
        origin=f"job {job_id}",
    )
    await run_in_threadpool(
        server.verdicts.record,
        job_id,
        verdicts.GAP,
        position,
        verdicts.CORRECT,
        recording_id=added["recording"]["id"],
        key_id=caller.id,
    )
    return added_response(caller, added)


def _part(job: Job, part: str, position: int) -> dict[str, Any]:
    """One segment or gap of a job's result."""
    found: list[dict[str, Any]] = result_of(job).get(part, [])
    if position >= len(found):
        raise Problem(404, "not_found", f"The job has {len(found)} {part}, counted from 0")
    return found[position]


async def _note(
    server: ServerState,
    caller: Caller,
    action: str,
    job_id: str,
    part: str,
    position: int,
    recording_id: int | None = None,
) -> None:
    """Write to the audit log: `JOB segment 3` or `JOB gap 0: RECORDING`."""
    recording = f": {recording_id}" if recording_id is not None else ""
    await run_in_threadpool(server.audit.note, caller.id, action, f"{job_id} {_PARTS[part]} {position}{recording}")
