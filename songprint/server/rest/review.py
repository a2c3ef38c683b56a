"""Looking at what a job found: its sound, its waveform, and what people say of it."""

from __future__ import annotations

import secrets
from pathlib import Path as FilePath
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from songprint.jobs import verdicts
from songprint.jobs.jobs import Job
from songprint.server import duties
from songprint.server.rest import answers, shapes
from songprint.server.rest.access import Caller, needs
from songprint.server.rest.answers import RecordingId, server_of
from songprint.server.rest.jobs import JobId, job_of
from songprint.server.rest.problems import Json, Problem
from songprint.server.rest.recordings import AUDIO_ANSWERS, StretchDuration, StretchStart, audio_of, named
from songprint.server.state import ServerState

router = APIRouter(prefix="/v1", tags=["review"])

Position = Annotated[int, Path(ge=0, le=1_000_000, description="Its place in the list, from 0.")]
Part = Annotated[Literal["segments", "gaps"], Path(description="Of which list.")]
Points = Annotated[int, Query(ge=1, le=20_000, description="Parts into which the stretch is divided.")]
Start = Annotated[float, Query(ge=0, le=1e6, description="Seconds.")]
End = Annotated[float | None, Query(gt=0, le=1e6, description="Seconds; left out: the end.")]
_NAMES = {"segments": verdicts.SEGMENT, "gaps": verdicts.GAP}
LONGEST_CUT = 1200.0  # seconds of a gap that are added as one recording


@router.get("/jobs/{job_id}/audio", response_class=FileResponse, responses=AUDIO_ANSWERS)
async def job_audio(
    request: Request,
    caller: needs("identify"),
    job_id: JobId,
    start: StretchStart = None,
    duration: StretchDuration = 30.0,
) -> Response:
    """The input of a job, as long as the server keeps it; parts of it by range requests. With `start` a stretch of it
    as WAV, which every browser plays whatever the file is."""
    server = server_of(request)
    job = await job_of(server, caller, job_id)
    return await audio_of(server, await input_of(server, job), start, duration)


@router.get("/jobs/{job_id}/peaks", response_model=shapes.Peaks, responses=answers.problems(404, 503))
async def job_peaks(
    request: Request,
    caller: needs("identify"),
    job_id: JobId,
    points: Points = 2000,
    start: Start = 0.0,
    end: End = None,
) -> Response:
    """The waveform of a job's input, as long as the server keeps it."""
    server = server_of(request)
    job = await job_of(server, caller, job_id)
    path = await input_of(server, job)
    drawn = await server.work(duties.peaks, path=str(path), points=points, start=start, end=end, keep=True)
    return answers.cached(request, drawn)


@router.get("/recordings/{recording_id}/peaks", response_model=shapes.Peaks, responses=answers.problems(404, 503))
async def recording_peaks(
    request: Request,
    caller: needs("identify"),
    recording_id: RecordingId,
    points: Points = 1000,
    start: Start = 0.0,
    end: End = None,
) -> Response:
    """The waveform of a recording, if its file is still there."""
    server = server_of(request)
    recording = await run_in_threadpool(server.library.recording, recording_id)
    path = FilePath(recording.source)
    if not await run_in_threadpool(path.is_file):
        raise Problem(404, "no_audio", "its audio is not on this server (any more)")
    drawn = await server.work(duties.peaks, path=str(path), points=points, start=start, end=end, keep=False)
    return answers.cached(request, drawn)


@router.post(
    "/jobs/{job_id}/{part}/{position}/verdict", response_model=shapes.Verdict, responses=answers.problems(404, 409)
)
async def judge(
    request: Request, caller: needs("write"), job_id: JobId, part: Part, position: Position, opinion: shapes.Opinion
) -> Response:
    """Accept a segment, reject it, or say which recording it is; of a gap only that can be said. A later verdict
    replaces an earlier one."""
    server = server_of(request)
    _part(await job_of(server, caller, job_id), part, position)
    if part == "gaps" and opinion.verdict != verdicts.CORRECT:
        raise Problem(422, "invalid_request", "verdict: of a gap it can only be said which recording it is (correct)")
    if (opinion.verdict == verdicts.CORRECT) != (opinion.recording is not None):
        raise Problem(422, "invalid_request", "recording: needed with the verdict correct, and with no other")
    if opinion.recording is not None:
        await run_in_threadpool(server.library.recording, opinion.recording)
    said = await run_in_threadpool(
        server.verdicts.say,
        job_id,
        _NAMES[part],
        position,
        opinion.verdict,
        recording_id=opinion.recording,
        note=opinion.note,
        key_id=caller.id,
    )
    await _note(server, caller, f"verdicts.{opinion.verdict}", job_id, part, position, opinion.recording)
    return Json(verdicts.verdict_object(said))


@router.delete("/jobs/{job_id}/{part}/{position}/verdict", status_code=204, responses=answers.problems(404))
async def take_back(
    request: Request, caller: needs("write"), job_id: JobId, part: Part, position: Position
) -> Response:
    """Take a verdict back."""
    server = server_of(request)
    await job_of(server, caller, job_id)
    if not await run_in_threadpool(server.verdicts.take_back, job_id, _NAMES[part], position):
        raise Problem(404, "no_verdict", "nobody has said anything of it")
    await _note(server, caller, "verdicts.take_back", job_id, part, position)
    return Response(status_code=204)


@router.post(
    "/jobs/{job_id}/gaps/{position}/recording",
    status_code=201,
    response_model=shapes.Added,
    responses={
        200: {"model": shapes.Added, "description": "It is in the library already."},
        **answers.problems(404, 409, 413, 503, 507),
    },
)
async def name_gap(
    request: Request, caller: needs("write"), job_id: JobId, position: Position, name: shapes.GapName
) -> Response:
    """Add a stretch of unknown music to the library under the name that you know, and name the gap by it."""
    server = server_of(request)
    job = await job_of(server, caller, job_id)
    gap = _part(job, "gaps", position)
    start, end = name.start if name.start is not None else gap["start"], name.end or gap["end"]
    if not gap["start"] - 1 <= start < end <= gap["end"] + 1:
        raise Problem(422, "invalid_request", f"start and end must lie in the gap, {gap['start']} to {gap['end']} s")
    if end - start > LONGEST_CUT:
        raise Problem(413, "too_long", f"at most {LONGEST_CUT:g} s become a recording. Say where it starts and ends")
    path = await input_of(server, job)
    target = server.uploads.folder / secrets.token_hex(12) / f"{path.stem[:100]} {start:.0f}-{end:.0f} s.wav"
    try:
        await run_in_threadpool(target.parent.mkdir)
        await server.work(duties.cut, path=str(path), start=start, end=end, target=str(target))
        tags = {key: value for key, value in name.given().items() if key not in ("start", "end")}
        outcome = await server.work(
            duties.add_recording,
            path=str(target),
            keep=str(server.recordings_folder),
            tags=tags,
            replaces=None,
            original=False,
        )
    finally:
        await run_in_threadpool(server.uploads.remove, target)
    recording = outcome["recording"]
    recording_id = recording["id"]
    await run_in_threadpool(
        server.verdicts.say,
        job_id,
        verdicts.GAP,
        position,
        verdicts.CORRECT,
        recording_id=recording_id,
        key_id=caller.id,
    )
    await run_in_threadpool(
        server.audit.note, caller.id, "recordings.add", f"{named(recording_id, recording['title'])} from job {job_id}"
    )
    return Json(
        answers.without_places(outcome, caller),
        201 if outcome["outcome"] == "added" else 200,
        {"Location": f"/v1/recordings/{recording_id}"},
    )


async def _note(
    server: ServerState,
    caller: Caller,
    action: str,
    job_id: str,
    part: str,
    position: int,
    recording_id: int | None = None,
) -> None:
    """Into the audit log, as `JOB segment 3`, or `JOB gap 0: RECORDING`."""
    said = f": {recording_id}" if recording_id is not None else ""
    await run_in_threadpool(server.audit.note, caller.id, action, f"{job_id} {_NAMES[part]} {position}{said}")


def _part(job: Job, part: str, position: int) -> dict:
    if job.result is None:
        raise Problem(409, "not_finished", f"the job is {job.state}: it has a timeline when it is finished")
    found = job.result.get(part, [])
    if position >= len(found):
        raise Problem(404, "not_found", f"the job has {len(found)} {part}, counted from 0")
    return found[position]


async def input_of(server: ServerState, job: Job) -> FilePath:
    """Where the input of a job lies; Problem once it was deleted."""
    kept = await run_in_threadpool(server.inputs.of_job, job.id)
    if kept is None or not await run_in_threadpool(kept.is_file):
        hours = server.settings.server.keep_inputs / 3600
        raise Problem(
            404,
            "no_audio",
            f"the input of this job is not on this server: it is kept for {hours:g} hours after the end of the job",
        )
    return kept
