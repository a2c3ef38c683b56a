"""The library over HTTP: list, add, edit, link and remove recordings. Every change is live at once."""

from __future__ import annotations

import json
import mimetypes
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from songprint.formats.objects import recording_object
from songprint.server import duties
from songprint.server.rest import answers, shapes
from songprint.server.rest.access import Caller, needs
from songprint.server.rest.answers import Limit, RecordingId, server_of
from songprint.server.rest.problems import Json, Problem
from songprint.server.state import ServerState
from songprint.types import Recording

router = APIRouter(prefix="/v1", tags=["library"])

FIELDS = {
    **{name: {"type": "string"} for name in shapes.TagsChange.model_fields if name not in ("track", "year")},
    "artists": {"type": "array", "items": {"type": "string"}, "description": "The field several times, one name each."},
    "track": {"type": "integer"},
    "year": {"type": "integer"},
    "original": {"type": "boolean", "description": "It is the original of its work."},
    "replaces": {"type": "integer", "description": "The recording in whose place it comes."},
}
EXCERPT = 120.0  # seconds of audio that are sent at a time
StretchStart = Annotated[float | None, Query(ge=0, le=1e6, description="Seconds; with it, a stretch as WAV.")]
StretchDuration = Annotated[float, Query(gt=0, le=EXCERPT, description="Seconds of that stretch.")]
AUDIO_ANSWERS = {200: {"content": {"audio/*": {}}}, 206: {"description": "A part of it."}, **answers.problems(404, 503)}


@router.get("/recordings", response_model=shapes.Recordings, responses=answers.problems())
def list_recordings(
    request: Request,
    caller: needs("identify"),
    q: Annotated[str, Query(max_length=500, description="Words that occur in title, artists or album.")] = "",
    sort: Annotated[
        Literal[
            "id",
            "title",
            "artists",
            "album",
            "year",
            "duration",
            "added_at",
            "-id",
            "-title",
            "-artists",
            "-album",
            "-year",
            "-duration",
            "-added_at",
        ],
        Query(),
    ] = "id",
    limit: Limit = 100,
    after: Annotated[str, Query(max_length=20, description="`next` of the page before.")] = "0",
) -> Response:
    """The recordings of the library, or those in which every word occurs."""
    catalog = server_of(request).library.store.catalog
    words, offset = q.replace("\\0", ""), answers.offset_of(after)
    found = catalog.recordings(words, order=sort, offset=offset, limit=limit + 1)
    return Json(
        {
            "items": [_shown(each, caller) for each in found[:limit]],
            "next": str(offset + limit) if len(found) > limit else None,
            "total": catalog.count(words),
        }
    )


@router.post(
    "/recordings",
    status_code=201,
    response_model=shapes.Added,
    responses={
        200: {"model": shapes.Added, "description": "This very file is in the library already."},
        **answers.problems(404, 409, 413, 503, 507),
    },
    openapi_extra=answers.sent_file(FIELDS),
)
async def add_recording(request: Request, caller: needs("write")) -> Response:
    """Add a recording: send its file, and what you know better than its tags. It is found from the answer on.

    With `replaces` it takes the place of another recording, whose tags it inherits where you give none; it has an id
    of its own.
    """
    server = server_of(request)
    upload = await server.uploads.receive(request, server.settings.server.max_recording_bytes)
    with server.uploads.discarding(upload):
        if upload.path is None:
            raise Problem(400, "no_file", "no audio was sent: give it as the body, or as the part `file` of a form")
        fields = dict(upload.fields)
        replaces, original = _number(fields.pop("replaces", [])), fields.pop("original", ["false"])[-1] == "true"
        outcome = await server.work(
            duties.add_recording,
            path=str(upload.path),
            keep=str(server.recordings_folder),
            tags=_tags(fields),
            replaces=replaces,
            original=original,
        )
    added = outcome["outcome"] == "added"
    recording = outcome["recording"]
    if added:
        await _noted(server, caller, "recordings.add", named(recording["id"], recording["title"]))
    where = {"Location": f"/v1/recordings/{recording['id']}"}
    return Json(answers.without_places(outcome, caller), 201 if added else 200, where)


@router.get("/recordings/{recording_id}", response_model=shapes.Recording, responses=answers.problems(404))
def show_recording(request: Request, caller: needs("identify"), recording_id: RecordingId) -> Response:
    """One recording."""
    return Json(_shown(server_of(request).library.recording(recording_id), caller))


@router.patch("/recordings/{recording_id}", response_model=shapes.Recording, responses=answers.problems(404))
def edit_recording(
    request: Request, caller: needs("write"), recording_id: RecordingId, change: shapes.TagsChange
) -> Response:
    """Change what is known of a recording. Answers bear the new name from now on."""
    server = server_of(request)
    edited = server.library.edit(recording_id, **change.given())
    server.audit.note(caller.id, "recordings.edit", f"{named(edited.id, edited.title)}: {', '.join(change.given())}")
    return Json(_shown(edited, caller))


@router.delete("/recordings/{recording_id}", status_code=204, responses=answers.problems(404))
async def remove_recording(request: Request, caller: needs("write"), recording_id: RecordingId) -> Response:
    """Forget a recording. Its file is deleted if it was uploaded here, and stays if it was added from elsewhere."""
    server = server_of(request)
    title = (await run_in_threadpool(server.library.recording, recording_id)).title
    await run_in_threadpool(duties.remove_recording, server.library, recording_id, str(server.recordings_folder))
    await _noted(server, caller, "recordings.remove", named(recording_id, title))
    return Response(status_code=204)


@router.get(
    "/recordings/{recording_id}/covers", response_model=shapes.Matches, responses=answers.problems(404, 409, 503)
)
async def list_covers(request: Request, caller: needs("identify"), recording_id: RecordingId) -> Response:
    """What in the library is another rendition of this recording, best first; its duplicates have the kind
    `recording`."""
    found = await server_of(request).work(duties.covers_of, recording_id=recording_id)
    return Json({"items": answers.without_places(found, caller)})


@router.get("/recordings/{recording_id}/audio", response_class=FileResponse, responses=AUDIO_ANSWERS)
async def recording_audio(
    request: Request,
    caller: needs("identify"),
    recording_id: RecordingId,
    start: StretchStart = None,
    duration: StretchDuration = 30.0,
) -> Response:
    """The file that was added, if it is still there; parts of it by range requests. With `start` a stretch of it as
    WAV, which every browser plays whatever the file is."""
    server = server_of(request)
    recording = await run_in_threadpool(server.library.recording, recording_id)
    return await audio_of(server, Path(recording.source), start, duration)


@router.get("/duplicates", response_model=shapes.Pairs, responses=answers.problems(503))
async def list_duplicates(
    request: Request,
    caller: needs("identify"),
    limit: Limit = 20,
    after: Annotated[str, Query(max_length=20, description="`next` of the page before.")] = "0",
) -> Response:
    """Pairs of recordings that sound like the very same one, for review. Looks for some seconds at a time, so a page
    may be short, or empty, and still have a `next`."""
    found, reached = await server_of(request).work(
        duties.duplicates, after=answers.offset_of(after), limit=limit, seconds=5.0
    )
    return Json({"items": answers.without_places(found, caller), "next": None if reached is None else str(reached)})


@router.put("/works", response_model=shapes.Work, responses=answers.problems(404, 409))
def link_recordings(request: Request, caller: needs("write"), change: shapes.WorkChange) -> Response:
    """Say that recordings are of one song."""
    server = server_of(request)
    work = server.library.link(change.recordings, change.work, original=change.original)
    server.audit.note(caller.id, "works.link", f"{work}: {change.recordings}")
    linked = server.library.store.catalog.recordings_of([work])
    return Json({"work": work, "recordings": [_shown(each, caller) for each in linked]})


@router.delete("/recordings/{recording_id}/work", status_code=204, responses=answers.problems(404))
def unlink_recording(request: Request, caller: needs("write"), recording_id: RecordingId) -> Response:
    """Forget of which song a recording is."""
    server = server_of(request)
    server.library.unlink(recording_id)
    title = server.library.recording(recording_id).title
    server.audit.note(caller.id, "works.unlink", named(recording_id, title))
    return Response(status_code=204)


async def audio_of(server: ServerState, path: Path, start: float | None, duration: float) -> Response:
    """A file, or a stretch of it as WAV."""
    if not await run_in_threadpool(path.is_file):
        raise Problem(404, "no_audio", "its audio is not on this server (any more)")
    if start is None:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        kind = kind if kind.startswith(("audio/", "video/")) else "application/octet-stream"
        return FileResponse(path, media_type=kind, filename=path.name, content_disposition_type="inline")
    sound = await server.work(duties.excerpt, path=str(path), start=start, duration=duration)
    return Response(sound, media_type="audio/wav")


def _shown(recording: Recording, caller: Caller) -> dict[str, object]:
    return answers.without_places(recording_object(recording), caller)


def _tags(fields: dict[str, list[str]]) -> dict[str, object]:
    """The text fields of a form, or one field `metadata` with all of it as JSON."""
    given: dict[str, object] = {name: values if name == "artists" else values[-1] for name, values in fields.items()}
    try:
        if "metadata" in given:
            given |= json.loads(str(given.pop("metadata")))
        return shapes.TagsChange(**{name: value for name, value in given.items() if value != ""}).given()
    except ValidationError as error:
        wrong = error.errors()[0]
        raise Problem(422, "invalid_request", f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from error
    except (ValueError, TypeError) as error:
        raise Problem(422, "invalid_request", f"metadata must be an object in JSON: {error}") from error


def _number(values: list[str]) -> int | None:
    if not values or not values[-1]:
        return None
    if not (values[-1].isascii() and values[-1].isdecimal() and 0 < int(values[-1]) <= shapes.MOST_ID):
        raise Problem(422, "invalid_request", "replaces must be the id of a recording")
    return int(values[-1])


async def _noted(server: ServerState, caller: Caller, action: str, subject: str) -> None:
    await run_in_threadpool(server.audit.note, caller.id, action, subject)


def named(recording_id: int, title: str) -> str:
    """A recording in the audit log: the id, and the title that it had then."""
    return f"{recording_id} {title}".rstrip()
