"""Music that scans found and that is not in the library: list it, play it, add it, forget it."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from songprint.audio.files import file_path
from songprint.errors import UnknownMusicNotFound
from songprint.formats.objects import unknown_object
from songprint.server import operations
from songprint.server.rest import common, models
from songprint.server.rest.access import WriteCaller
from songprint.server.rest.common import Limit, server_of
from songprint.server.rest.problems import Json, Problem
from songprint.server.rest.recordings import AUDIO_RESPONSES, LONGEST_CUT, LONGEST_EXCERPT, add_part, added_response
from songprint.server.state import ServerState
from songprint.types import Interval, Occurrence, UnknownMusic
from songprint.unknown import memory

router = APIRouter(prefix="/v1", tags=["unknown music"])

UnknownId = Annotated[int, Path(ge=1, le=models.MOST_ID, description="Number of the unknown music.")]


@router.get("/unknown", response_model=models.UnknownPage, responses=common.problems())
def list_unknown(request: Request, caller: WriteCaller, limit: Limit = 100, after: common.After = "0") -> Response:
    """Unknown music with its occurrences, that with the longest total time first.

    Scans of all keys contribute to it, so it needs the scope write.
    """
    found = sorted(server_of(request).library.unknown(), key=lambda each: (-_seconds(each), each.id))
    offset = common.offset_of(after)
    items = [
        models.ListedUnknown(**unknown_object(each), seconds=round(_seconds(each), 3))
        for each in found[offset : offset + limit]
    ]
    return Json(
        common.visible_to(
            caller,
            models.UnknownPage(
                items=items, next=str(offset + limit) if offset + limit < len(found) else None, total=len(found)
            ),
        )
    )


@router.get("/unknown/{unknown_id}/audio", response_class=Response, responses=AUDIO_RESPONSES)
async def unknown_audio(request: Request, caller: WriteCaller, unknown_id: UnknownId) -> Response:
    """The longest occurrence whose file still exists, as WAV."""
    server = server_of(request)
    occurrence = await run_in_threadpool(_occurrence, server, unknown_id)
    excerpt = await server.run(
        operations.excerpt,
        path=file_path(occurrence.source),
        start=occurrence.interval.start,
        duration=min(occurrence.interval.duration, LONGEST_EXCERPT),
    )
    return Response(excerpt, media_type="audio/wav")


@router.post(
    "/unknown/{unknown_id}/recording",
    status_code=201,
    response_model=models.Added,
    responses={
        200: {"model": models.Added, "description": "The library already contains this audio."},
        **common.problems(404, 409, 413, 503, 507),
    },
)
async def add_unknown(
    request: Request, caller: WriteCaller, unknown_id: UnknownId, tags: models.TagsChange
) -> Response:
    """Add unknown music to the library with the tags you send, at most 20 minutes of it, and forget its occurrences."""
    server = server_of(request)
    occurrence = await run_in_threadpool(_occurrence, server, unknown_id)
    start = occurrence.interval.start
    added = await add_part(
        server,
        caller,
        FilePath(file_path(occurrence.source)),
        Interval(start, min(occurrence.interval.end, start + LONGEST_CUT)),
        name=f"unknown music {unknown_id}.wav",
        tags=tags.given(),
        origin=f"unknown music {unknown_id}",
    )
    await run_in_threadpool(server.library.forget_unknown, unknown_id)
    return added_response(caller, added)


@router.delete("/unknown/{unknown_id}", status_code=204, responses=common.problems(404))
def forget_unknown(request: Request, caller: WriteCaller, unknown_id: UnknownId) -> Response:
    """Forget unknown music. It is listed again when a later scan finds it."""
    server = server_of(request)
    server.library.forget_unknown(unknown_id)
    server.audit.note(caller.id, "unknown.forget", str(unknown_id))
    return Response(status_code=204)


def _seconds(music: UnknownMusic) -> float:
    """The total playing time of all occurrences."""
    return sum(each.interval.duration for each in music.occurrences)


def _occurrence(server: ServerState, unknown_id: int) -> Occurrence:
    music = memory.find(server.library.store, unknown_id)
    try:
        return memory.source_of(music)
    except UnknownMusicNotFound as error:  # its message names files of the server
        raise Problem(404, "no_audio", "No file that contains this music is on this server any more") from error
