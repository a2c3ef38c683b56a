"""Stations over HTTP: following streams, the airplay history, reports and the audio of the last minutes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from songprint.errors import FetchError, StationNotFound
from songprint.formats import schema
from songprint.outside import acceptance
from songprint.server import operations
from songprint.server.rest import common, models
from songprint.server.rest.access import Caller, IdentifyCaller, WriteCaller
from songprint.server.rest.common import Limit, server_of
from songprint.server.rest.problems import Json, Problem
from songprint.server.state import ServerState
from songprint.stations import buffer, report
from songprint.stations.history import Filter
from songprint.stations.station import KINDS, Station, play_object, station_object
from songprint.store.timestamps import milliseconds
from songprint.types import Recording

router = APIRouter(prefix="/v1", tags=["stations"])

LONGEST_AUDIO = 600.0  # seconds of the buffer in one response
LONGEST_STATISTICS = 400.0  # days

StationId = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,64}$", description="The station's id.")]
Since = Annotated[str, Query(alias="from", max_length=40, description="ISO 8601; without a zone, in UTC.")]
Until = Annotated[str, Query(alias="to", max_length=40, description="ISO 8601; without a zone, in UTC.")]


@router.post("/stations", status_code=201, response_model=schema.Station, responses=common.problems())
def create_station(request: Request, caller: WriteCaller, given: models.StationRequest) -> Response:
    """Follow a web radio for good: its songs are recorded in the airplay history until you stop or remove it."""
    server = server_of(request)
    options = given.model_dump(exclude_none=True)
    _check(server, options)
    url, name = options.pop("url"), options.pop("name", "")
    station = server.stations.create(url, name, options, key_id=caller.id)
    server.audit.note(caller.id, "stations.create", f"{station.id} {station.name}")
    return Json(station_object(station, []), 201, {"Location": f"/v1/stations/{station.id}"})


@router.get("/stations", response_model=models.Stations, responses=common.problems())
def list_stations(
    request: Request,
    caller: IdentifyCaller,
    limit: Limit = 100,
    after: Annotated[str, Query(max_length=100, description="`next` of the previous page.")] = "",
) -> Response:
    """The stations of the caller's key and the keys under it, with their state and what they play now."""
    server = server_of(request)
    found = server.stations.find(
        key_id=server.keys.visible_to(caller.key), limit=limit + 1, after=common.offset_of(after) if after else 0
    )
    now = server.stations.playing([station.id for station in found[:limit]])
    items = [station_object(station, now[station.id]) for station in found[:limit]]
    following = str(found[limit - 1].number) if len(found) > limit else None
    return common.cached(request, models.Stations(items=items, next=following))


@router.get("/stations/{station_id}", response_model=schema.Station, responses=common.problems(404))
def show_station(request: Request, caller: IdentifyCaller, station_id: StationId) -> Response:
    """One station, with its state and what it plays now."""
    server = server_of(request)
    return _answer(server, _station(server, caller, station_id))


@router.patch("/stations/{station_id}", response_model=schema.Station, responses=common.problems(404))
def change_station(
    request: Request, caller: WriteCaller, station_id: StationId, given: models.StationChange
) -> Response:
    """Change a station. What is left out stays; the station is connected again."""
    server = server_of(request)
    _station(server, caller, station_id)
    changes = given.model_dump(exclude_unset=True)
    changes = {name: value for name, value in changes.items() if value is not None or name == "callback"}
    if changes.get("callback"):
        changes["callback"] = {name: value for name, value in changes["callback"].items() if value is not None}
    _check(server, changes)
    station = server.stations.change(station_id, changes)
    server.audit.note(caller.id, "stations.change", f"{station_id} {', '.join(sorted(changes))}")
    return _answer(server, station)


@router.delete("/stations/{station_id}", status_code=204, responses=common.problems(404))
def remove_station(request: Request, caller: WriteCaller, station_id: StationId) -> Response:
    """Delete a station with its history and its audio."""
    server = server_of(request)
    station = _station(server, caller, station_id)
    server.stations.remove(station_id)
    server.audit.note(caller.id, "stations.remove", f"{station_id} {station.name}")
    return Response(status_code=204)


@router.post("/stations/{station_id}/start", response_model=schema.Station, responses=common.problems(404))
def start_station(request: Request, caller: WriteCaller, station_id: StationId) -> Response:
    """Follow a stopped station again."""
    return _switch(request, caller, station_id, "start")


@router.post("/stations/{station_id}/stop", response_model=schema.Station, responses=common.problems(404))
def stop_station(request: Request, caller: WriteCaller, station_id: StationId) -> Response:
    """Stop following a station. Its history stays."""
    return _switch(request, caller, station_id, "stop")


@router.get("/plays", response_model=models.Plays, responses=common.problems(404))
def list_plays(
    request: Request,
    caller: IdentifyCaller,
    station: Annotated[list[str] | None, Query(description="Ids of stations. Default: all.", max_length=100)] = None,
    recording: Annotated[int | None, Query(ge=1, le=models.MOST_ID, description="Id of a recording.")] = None,
    kind: Annotated[list[schema.PlayKind] | None, Query(description="Default: all kinds.")] = None,
    q: Annotated[str, Query(max_length=500, description="Words in title, artists or album.")] = "",
    since: Since = "",
    until: Until = "",
    limit: Limit = 100,
    after: Annotated[str, Query(max_length=100, description="`next` of the previous page.")] = "",
) -> Response:
    """The airplay history, latest first: songs, unknown music, speech, silence and outages of the caller's stations."""
    server = server_of(request)
    wanted = Filter(
        stations=_visible(server, caller, station),
        recording_id=recording,
        kinds=kind or KINDS,
        query=q,
        since=_moment("from", since),
        until=_moment("to", until),
    )
    before = common.offset_of(after) if after else None
    found = server.history.find(wanted, limit=limit + 1, before=before)
    items = [play_object(play) for play in found[:limit]]
    following = str(found[limit - 1].id) if len(found) > limit else None
    return common.cached(request, models.Plays(items=items, next=following, total=server.history.count(wanted)))


@router.get(
    "/stations/{station_id}/statistics", response_model=schema.StationStatistics, responses=common.problems(404)
)
def show_statistics(
    request: Request,
    caller: IdentifyCaller,
    station_id: StationId,
    since: Since,
    until: Until,
    top: Annotated[int, Query(ge=0, le=1000, description="Maximum number of top songs.")] = 20,
) -> Response:
    """What a station played in a period: the seconds of each kind, and its top songs."""
    server = server_of(request)
    _station(server, caller, station_id)
    start, end = _period(since, until, 86_400 * LONGEST_STATISTICS)
    return common.cached(request, server.history.statistics(station_id, start, end, top=top))


@router.get(
    "/stations/{station_id}/audio",
    response_class=Response,
    responses={200: {"content": {"audio/wav": {}}}, **common.problems(404, 503)},
)
async def station_audio(
    request: Request, caller: IdentifyCaller, station_id: StationId, since: Since, until: Until
) -> Response:
    """What a station broadcast in the last minutes, as WAV: mono, 44.1 kHz, at most ten minutes."""
    server = server_of(request)
    await run_in_threadpool(_station, server, caller, station_id)
    start, end = _period(since, until, LONGEST_AUDIO)
    folder = buffer.folder_of(server.library.path, station_id)
    if not await run_in_threadpool(buffer.covered, folder, start, end):
        raise Problem(404, "no_audio", "The audio of this time is not, or no longer, on this server")
    found = await server.run(operations.station_audio, folder=str(folder), start=start, end=end)
    return Response(found, media_type="audio/wav")


@router.get(
    "/stations/{station_id}/report",
    response_class=Response,
    responses={
        200: {"content": {each.media_type.partition(";")[0]: {} for each in report.FORMATS.values()}},
        **common.problems(404),
    },
)
def station_report(
    request: Request,
    caller: IdentifyCaller,
    station_id: StationId,
    day: Annotated[str, Query(max_length=20, description="A date such as 2026-08-07. Default: yesterday.")] = "",
    # A Literal of the table's keys: the description lists them, and mypy cannot.
    format: Annotated[Literal[*report.FORMATS], Query()] = "html",  # type: ignore[valid-type]
) -> Response:
    """The report of one day in the station's time zone: HTML for a mail, a table (`csv`, or `soundexchange` with the
    columns of SoundExchange), a CUE sheet or an M3U playlist."""
    server = server_of(request)
    station = _station(server, caller, station_id)
    found = report.day_of(server.library.store.catalog, station, day)
    chosen = report.FORMATS[format]
    text = report.playlist(found, _address(request)) if format == "m3u" else chosen.write(found)
    disposition = "inline" if format == "html" else "attachment"
    return Response(
        text.encode("utf-8", "replace"),
        media_type=chosen.media_type,
        headers={"Content-Disposition": f'{disposition}; filename="{station.id}-{found.date}{chosen.suffix}"'},
    )


def _address(request: Request) -> Callable[[Recording], str]:
    """The function that returns the URL of a recording's audio."""
    return lambda recording: f"{str(request.base_url).rstrip('/')}/v1/recordings/{recording.id}/audio"


def _switch(request: Request, caller: Caller, station_id: str, action: Literal["start", "stop"]) -> Response:
    server = server_of(request)
    _station(server, caller, station_id)
    station = server.stations.start(station_id) if action == "start" else server.stations.stop(station_id)
    server.audit.note(caller.id, f"stations.{action}", f"{station_id} {station.name}")
    return _answer(server, station)


def _answer(server: ServerState, station: Station) -> Response:
    return Json(station_object(station, server.stations.playing([station.id])[station.id]))


def _station(server: ServerState, caller: Caller, station_id: str) -> Station:
    """The station with this id; Problem 404 if there is none that the caller may see."""
    try:
        station = server.stations.get(station_id)
    except StationNotFound as error:
        raise _not_found(station_id) from error
    visible = server.keys.visible_to(caller.key)
    if visible is not None and station.key_id not in visible:
        raise _not_found(station_id)
    return station


def _not_found(station_id: str) -> Problem:
    return Problem(404, "station_not_found", f"There is no station {station_id}. GET /v1/stations lists your stations")


def _visible(server: ServerState, caller: Caller, wanted: list[str] | None) -> list[str] | None:
    """The ids of the wanted stations that the caller may see; None for all stations of the library."""
    keys = server.keys.visible_to(caller.key)
    if keys is None:
        return wanted
    mine = [station.id for station in server.stations.find(key_id=keys)]
    return mine if wanted is None else [each for each in wanted if each in mine]


def _check(server: ServerState, options: dict[str, Any]) -> None:
    """Problem 422 for a stream or a callback that the worker would refuse anyway."""
    checks: list[tuple[str, Callable[[], None]]] = []
    if "url" in options:
        checks.append(("url", lambda: acceptance.check_stream(options["url"], server.settings.server)))
    if options.get("callback"):
        url = options["callback"]["url"]
        checks.append(("callback", lambda: acceptance.check_callback(url, server.settings.server)))
    for name, check in checks:
        try:
            check()
        except FetchError as error:
            raise Problem(422, f"{name}_refused", f"{name}: {error}") from error


def _moment(name: str, text: str) -> int | None:
    """Milliseconds since 1970, None for an empty text; Problem 422 for an invalid time."""
    try:
        return milliseconds(text) if text else None
    except (ValueError, OverflowError) as error:
        raise Problem(
            422, "invalid_request", f"{name}={text} is not a time. Use ISO 8601, such as 2026-08-07T12:00:00Z"
        ) from error


def _period(since: str, until: str, longest: float) -> tuple[int, int]:
    """The start and end of a period; Problem 422 if it is not valid or longer than `longest` seconds."""
    start, end = _moment("from", since), _moment("to", until)
    if start is None or end is None or not 0 < end - start <= 1000 * longest:
        raise Problem(422, "invalid_request", f"The parameter to must be later than from, by at most {longest:,.0f} s")
    return start, end
