"""The library over HTTP: list, add, edit, link and remove recordings. Changes take effect immediately."""

from __future__ import annotations

import json
import mimetypes
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from songprint.audio.files import file_path
from songprint.formats import schema
from songprint.formats.objects import recording_object
from songprint.server import operations
from songprint.server.rest import common, models
from songprint.server.rest.access import AdminCaller, Caller, IdentifyCaller, WriteCaller
from songprint.server.rest.common import Limit, RecordingId, server_of
from songprint.server.rest.problems import Json, Problem
from songprint.server.state import ServerState
from songprint.types import Interval, Recording

router = APIRouter(prefix="/v1", tags=["library"])

FORM_FIELDS = {
    **{name: {"type": "string"} for name in models.TagsChange.model_fields if name not in ("track", "year")},
    "artists": {"type": "array", "items": {"type": "string"}, "description": "Repeat the field, one name each."},
    "track": {"type": "integer"},
    "year": {"type": "integer"},
    "fields": {"type": "string", "description": "User fields, as a JSON object."},
    "original": {"type": "boolean", "description": "Mark the recording as the original of its work."},
    "replaces": {"type": "integer", "description": "Id of the recording that this one replaces."},
}
LONGEST_EXCERPT = 120.0  # seconds
LONGEST_CUT = 1200.0  # seconds of a part of a file that can be added as one recording
ExcerptStart = Annotated[
    float | None, Query(ge=0, le=1e6, description="Seconds. With it, the response is an excerpt as WAV.")
]
ExcerptDuration = Annotated[float, Query(gt=0, le=LONGEST_EXCERPT, description="Duration of the excerpt in seconds.")]
AUDIO_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"audio/*": {}}},
    206: {"description": "Part of the file."},
    **common.problems(404, 503),
}


@router.get("/recordings", response_model=models.Recordings, responses=common.problems())
def list_recordings(
    request: Request,
    caller: IdentifyCaller,
    q: Annotated[str, Query(max_length=500, description="Words in title, artists or album.")] = "",
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
    after: Annotated[str, Query(max_length=20, description="`next` of the previous page.")] = "0",
) -> Response:
    """The recordings of the library; with `q`, those that contain every word."""
    offset = common.offset_of(after)
    found, total = server_of(request).library.store.catalog.page(q, order=sort, offset=offset, limit=limit)
    return Json(
        models.Recordings(
            items=[_visible(each, caller) for each in found],
            next=str(offset + limit) if offset + limit < total else None,
            total=total,
        )
    )


@router.post(
    "/recordings",
    status_code=201,
    response_model=models.Added,
    responses={
        200: {"model": models.Added, "description": "The library already contains this file."},
        **common.problems(404, 409, 413, 503, 507),
    },
    openapi_extra=common.file_body(FORM_FIELDS),
)
async def add_recording(request: Request, caller: WriteCaller) -> Response:
    """Add a recording: send its file, and tags that override those in the file. It is found as soon as this responds.

    With `replaces`, it replaces another recording and inherits the tags that you do not send; it gets its own id.
    """
    server = server_of(request)
    upload = await server.uploads.receive(request, server.settings.server.max_recording_bytes)
    with server.uploads.discarding(upload):
        if upload.path is None:
            raise Problem(400, "no_file", "No audio was sent: send it as the body, or as the part `file` of a form")
        fields = dict(upload.fields)
        replaces, original = _id(fields.pop("replaces", [])), fields.pop("original", ["false"])[-1] == "true"
        added = await server.add_recording(upload.path, tags=_tags(fields), replaces=replaces, original=original)
    is_new = added["outcome"] == "added"
    recording = added["recording"]
    if is_new:
        await _note(server, caller, "recordings.add", labelled(recording["id"], recording["title"]))
    location = {"Location": f"/v1/recordings/{recording['id']}"}
    return Json(common.visible_to(caller, added), 201 if is_new else 200, location)


@router.get("/recordings/{recording_id}", response_model=schema.Recording, responses=common.problems(404))
def show_recording(request: Request, caller: IdentifyCaller, recording_id: RecordingId) -> Response:
    """One recording."""
    return Json(_visible(server_of(request).library.recording(recording_id), caller))


@router.patch("/recordings/{recording_id}", response_model=schema.Recording, responses=common.problems(404))
def edit_recording(
    request: Request, caller: WriteCaller, recording_id: RecordingId, change: models.TagsChange
) -> Response:
    """Change a recording's tags and user fields. Reports contain them immediately."""
    server = server_of(request)
    edited = server.library.edit(recording_id, **change.given())
    server.audit.note(caller.id, "recordings.edit", f"{labelled(edited.id, edited.title)}: {', '.join(change.given())}")
    return Json(_visible(edited, caller))


@router.delete("/recordings/{recording_id}", status_code=204, responses=common.problems(404))
async def remove_recording(request: Request, caller: WriteCaller, recording_id: RecordingId) -> Response:
    """Remove a recording. An uploaded file is deleted; a file that was added from elsewhere stays."""
    server = server_of(request)
    title = (await run_in_threadpool(server.library.recording, recording_id)).title
    await run_in_threadpool(operations.remove_recording, server.library, recording_id, str(server.recordings_folder))
    await _note(server, caller, "recordings.remove", labelled(recording_id, title))
    return Response(status_code=204)


@router.get("/recordings/{recording_id}/files", response_model=models.Files, responses=common.problems(404))
def list_files(request: Request, caller: IdentifyCaller, recording_id: RecordingId) -> Response:
    """The files of a recording, also those that no longer exist. Only administrators see their folders."""
    places = server_of(request).library.files(recording_id)
    admin = caller.may("admin")
    return Json(
        models.Files(
            items=[
                models.File(
                    path=each.path if admin else Path(each.path).name,
                    size=each.state.size if each.state.size >= 0 else None,
                    missing_since=each.missing_since,
                )
                for each in places
            ]
        )
    )


@router.get(
    "/recordings/{recording_id}/covers", response_model=models.Matches, responses=common.problems(404, 409, 503)
)
async def list_covers(request: Request, caller: IdentifyCaller, recording_id: RecordingId) -> Response:
    """Other renditions of a recording in the library, best first. Duplicates have the kind `recording`."""
    found = await server_of(request).run(operations.covers_of, recording_id=recording_id)
    return Json(models.Matches(items=common.visible_to(caller, found)))


@router.get("/recordings/{recording_id}/audio", response_class=FileResponse, responses=AUDIO_RESPONSES)
async def recording_audio(
    request: Request,
    caller: IdentifyCaller,
    recording_id: RecordingId,
    start: ExcerptStart = None,
    duration: ExcerptDuration = 30.0,
) -> Response:
    """The file that was added, if it still exists. Supports range requests. With `start`, an excerpt as WAV, which
    every browser plays whatever the file's format."""
    server = server_of(request)
    recording = await run_in_threadpool(server.library.recording, recording_id)
    return await audio_of(server, Path(file_path(recording.source)), start, duration)


@router.get("/duplicates", response_model=models.DuplicatesPage, responses=common.problems(503))
async def list_duplicates(
    request: Request,
    caller: IdentifyCaller,
    limit: Limit = 20,
    after: Annotated[str, Query(max_length=20, description="`next` of the previous page.")] = "0",
) -> Response:
    """Groups of recordings with the same audio, for review. Each request searches for a few seconds, so a page can be
    short or empty and still have a `next`."""
    found, reached = await server_of(request).run(
        operations.duplicates, after=common.offset_of(after), limit=limit, seconds=5.0
    )
    next_ = None if reached is None else str(reached)
    return Json(models.DuplicatesPage(items=common.visible_to(caller, found), next=next_))


@router.post("/duplicates/decisions", response_model=models.Duplicates, responses=common.problems(404, 409))
def decide_duplicates(request: Request, caller: AdminCaller, given: models.DuplicatesDecision) -> Response:
    """Keep or merge recordings with the same audio. The response contains the recordings that remain.

    After `merge`, the recording `into` has the files of the others and those tags and user fields that it lacked;
    the others no longer exist. When their files are added again, they are files of `into`.
    """
    server = server_of(request)
    chosen = list(dict.fromkeys(given.recordings))
    if given.decision == "keep":
        if given.into is not None:
            raise Problem(422, "invalid_request", "into: only allowed with the decision merge")
        server.library.keep_apart(chosen)
        server.audit.note(caller.id, "duplicates.keep", ", ".join(map(str, chosen)))
        remaining = [server.library.recording(each) for each in chosen]
    else:
        if given.into not in chosen:
            raise Problem(422, "invalid_request", "into: must be one of the recordings to merge")
        others = [each for each in chosen if each != given.into]
        merged = server.library.merge(given.into, others)
        subject = f"{labelled(merged.id, merged.title)}: {', '.join(map(str, others))}"
        server.audit.note(caller.id, "recordings.merge", subject)
        remaining = [merged]
    return Json(models.Duplicates(recordings=[_visible(each, caller) for each in remaining]))


@router.put("/works", response_model=models.Work, responses=common.problems(404, 409))
def link_recordings(request: Request, caller: WriteCaller, change: models.WorkChange) -> Response:
    """Link recordings as renditions of one song."""
    server = server_of(request)
    work = server.library.link(change.recordings, change.work, original=change.original)
    server.audit.note(caller.id, "works.link", f"{work}: {change.recordings}")
    linked = server.library.store.catalog.recordings_of([work])
    return Json(models.Work(work=work, recordings=[_visible(each, caller) for each in linked]))


@router.delete("/recordings/{recording_id}/work", status_code=204, responses=common.problems(404))
def unlink_recording(request: Request, caller: WriteCaller, recording_id: RecordingId) -> Response:
    """Remove a recording from its work."""
    server = server_of(request)
    server.library.unlink(recording_id)
    title = server.library.recording(recording_id).title
    server.audit.note(caller.id, "works.unlink", labelled(recording_id, title))
    return Response(status_code=204)


async def audio_of(server: ServerState, path: Path, start: float | None, duration: float) -> Response:
    """A file; with `start`, an excerpt of it as WAV."""
    if not await run_in_threadpool(path.is_file):
        raise Problem(404, "no_audio", "The audio file is not, or no longer, on this server")
    if start is None:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        kind = kind if kind.startswith(("audio/", "video/")) else "application/octet-stream"
        return FileResponse(path, media_type=kind, filename=path.name, content_disposition_type="inline")
    excerpt = await server.run(operations.excerpt, path=str(path), start=start, duration=duration)
    return Response(excerpt, media_type="audio/wav")


async def add_part(
    server: ServerState, caller: Caller, source: Path, part: Interval, *, name: str, tags: dict[str, Any], origin: str
) -> models.Added:
    """Add a part of a file, at most LONGEST_CUT, to the library under the file name `name`.

    `origin` says in the audit log where it comes from.
    """
    target = server.uploads.folder / secrets.token_hex(12) / name
    try:
        await run_in_threadpool(target.parent.mkdir)
        await server.run(operations.cut, path=str(source), start=part.start, end=part.end, target=str(target))
        added = await server.add_recording(target, tags=tags, replaces=None, original=False)
    finally:
        await run_in_threadpool(server.uploads.remove, target)
    subject = f"{labelled(added['recording']['id'], added['recording']['title'])} from {origin}"
    await run_in_threadpool(server.audit.note, caller.id, "recordings.add", subject)
    return added


def added_response(caller: Caller, added: models.Added) -> Json:
    """The response to an addition: 201 for a new recording, 200 for one that the library already contained."""
    return Json(
        common.visible_to(caller, added),
        201 if added["outcome"] == "added" else 200,
        {"Location": f"/v1/recordings/{added['recording']['id']}"},
    )


def labelled(recording_id: int, title: str) -> str:
    """A recording in the audit log: its id, and its title at the time."""
    return f"{recording_id} {title}".rstrip()


def _visible(recording: Recording, caller: Caller) -> schema.Recording:
    return common.visible_to(caller, recording_object(recording))


def _tags(fields: dict[str, list[str]]) -> dict[str, object]:
    """The text fields of a form, or one field `metadata` that contains all of them as JSON."""
    given: dict[str, object] = {name: values if name == "artists" else values[-1] for name, values in fields.items()}
    try:
        if "metadata" in given:
            given |= json.loads(str(given.pop("metadata")))
        if given.get("fields") and isinstance(given["fields"], str):
            given["fields"] = json.loads(given["fields"])
        filled = {name: value for name, value in given.items() if value != ""}
        return models.TagsChange.model_validate(filled).given()
    except ValidationError as error:
        wrong = error.errors()[0]
        raise Problem(422, "invalid_request", f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from error
    except (ValueError, TypeError) as error:
        raise Problem(422, "invalid_request", f"metadata and fields must be JSON objects: {error}") from error


def _id(values: list[str]) -> int | None:
    if not values or not values[-1]:
        return None
    if not (values[-1].isascii() and values[-1].isdecimal() and 0 < int(values[-1]) <= models.MOST_ID):
        raise Problem(422, "invalid_request", "The field replaces must be the id of a recording")
    return int(values[-1])


async def _note(server: ServerState, caller: Caller, action: str, subject: str) -> None:
    await run_in_threadpool(server.audit.note, caller.id, action, subject)
