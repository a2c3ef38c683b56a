"""`songprint stations`: streams that the service follows, what they played, and their daily reports."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songprint.cli import output
from songprint.cli.commands import note_change, print_json
from songprint.cli.output import printable
from songprint.cli.program import DONE, NO_MATCH, Common
from songprint.cli.service import group, open_catalog
from songprint.errors import SettingsError, SongprintError

if TYPE_CHECKING:
    from songprint.stations.station import Play, Station
    from songprint.stations.stations import Stations
    from songprint.store.catalog import Catalog

FORMATS = ("html", "csv", "soundexchange", "cue", "m3u")
KINDS = ("recording", "cover", "unknown", "speech", "silence", "other", "down")

stations = group("stations", "Follow web radios for good: what they play, and daily reports.")


@stations("add")
@click.argument("url", metavar="URL")
@click.option("--name", metavar="NAME", default="", help="Its name. Default: the URL.")
@click.option("--timezone", metavar="ZONE", help="Time zone of its reports, for example Europe/Berlin. Default: UTC.")
@click.option(
    "--history-days", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Days to keep plays. Default: 400."
)
@click.option(
    "--buffer-minutes",
    type=click.FloatRange(min=0),
    metavar="N",
    help="Minutes of audio to keep, so that detections can be played. Default: 60.",
)
@click.option("--callback", metavar="URL", help="Send a callback to this URL when a song starts and ends.")
def add_station(
    common: Common,
    url: str,
    name: str,
    timezone: str | None,
    history_days: float | None,
    buffer_minutes: float | None,
    callback: str | None,
) -> None:
    """Follow a web radio.

    The workers of `songprint serve` and `songprint worker` share the stations. Prints the id of the station.
    """
    from songprint.errors import FetchError
    from songprint.outside import acceptance

    given: dict[str, Any] = {
        "timezone": timezone,
        "history_days": history_days,
        "buffer_minutes": buffer_minutes,
        "callback": {"url": callback} if callback else None,
    }
    settings = common.settings().server
    try:
        acceptance.check_stream(url, settings)
        if callback:
            acceptance.check_callback(callback, settings)
    except FetchError as error:
        raise SongprintError(f"{error}. The settings allow_hosts and allow_callbacks allow private hosts") from error
    with open_catalog(common, create=True) as catalog:
        options = {name: value for name, value in given.items() if value is not None}
        station = _stations(catalog).create(url, name, options)
        note_change(catalog, "stations.create", f"{station.id} {station.name}")
    _print(common, [station], {})


@stations("list")
def list_stations(common: Common) -> int:
    """List the stations with their state and what they play now.

    Exit status: 0 if there are any, 1 if not.
    """
    with open_catalog(common) as catalog:
        found = _stations(catalog).find()
        now = _stations(catalog).playing([station.id for station in found])
    _print(common, found, now)
    if not found:
        output.say("songprint: no stations; add one with `songprint stations add URL`")
    return DONE if found else NO_MATCH


@stations("show")
@click.argument("station_id", metavar="STATION")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, metavar="N", show_default=True, help="Maximum number of plays."
)
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only this kind; may be repeated.")
def show_station(common: Common, station_id: str, limit: int, kinds: Sequence[str]) -> None:
    """Show one station and what it played last.

    Times are in the time zone of the station.
    """
    from songprint.stations.history import Filter, History
    from songprint.stations.station import play_object, station_object

    with open_catalog(common) as catalog:
        station = _stations(catalog).get(station_id)
        now = _stations(catalog).playing([station.id])[station.id]
        played = History(catalog.database).find(Filter([station.id], kinds=kinds or KINDS), limit=limit)
    if common.json:
        print_json([{**station_object(station, now), "plays": [play_object(play) for play in played]}])
        return
    output.print_fields(
        {
            "id": station.id,
            "name": station.name,
            "URL": station.url,
            "state": " ".join(filter(None, (station.state, f"since {_local(station, station.since)}", station.reason))),
            "announced": station.announced,
            "time zone": station.timezone,
            "plays are kept": f"{station.history_days:g} days",
            "audio is kept": f"{station.buffer_minutes:g} minutes",
            "callback": station.callback["url"] if station.callback else "",
            "worker": station.worker,
        }
    )
    for play in played:
        print(printable(_play_line(station, play)))


@stations("start")
@click.argument("station_ids", nargs=-1, required=True, metavar="STATION...")
def start_stations(common: Common, station_ids: Sequence[str]) -> None:
    """Follow stopped stations again."""
    _each(common, station_ids, "start")


@stations("stop")
@click.argument("station_ids", nargs=-1, required=True, metavar="STATION...")
def stop_stations(common: Common, station_ids: Sequence[str]) -> None:
    """Stop following stations.

    Their history stays.
    """
    _each(common, station_ids, "stop")


@stations("remove")
@click.argument("station_ids", nargs=-1, required=True, metavar="STATION...")
def remove_stations(common: Common, station_ids: Sequence[str]) -> None:
    """Delete stations with their history and their audio."""
    _each(common, station_ids, "remove")


@stations("report")
@click.argument("station_id", metavar="STATION")
@click.option("--day", metavar="DAY", default="", help="The day, for example 2026-08-07. Default: yesterday.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    default="csv",
    show_default=True,
    help="HTML for a mail, a table, a table with the columns of SoundExchange, a CUE sheet or a playlist.",
)
@click.option(
    "--output", "path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write to this file."
)
def report_day(common: Common, station_id: str, day: str, format_name: str, path: Path | None) -> None:
    """Report one day of a station, in its time zone."""
    from songprint.stations import report

    with open_catalog(common) as catalog:
        found = report.day_of(catalog, _stations(catalog).get(station_id), day)
    text = report.FORMATS[format_name].write(found).encode("utf-8", "replace")
    if path is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(text)
        return
    try:
        path.write_bytes(text)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error


def _each(common: Common, station_ids: Sequence[str], action: str) -> None:
    """Change stations one after the other."""
    changed = []
    with open_catalog(common) as catalog:
        for station_id in dict.fromkeys(station_ids):
            station: Station = getattr(_stations(catalog), action)(station_id)
            note_change(catalog, f"stations.{action}", f"{station.id} {station.name}")
            changed.append(station)
    if action == "remove":
        if common.json:
            print_json({"removed": station.id} for station in changed)
        elif not common.quiet:
            print(printable(f"removed: {', '.join(station.id for station in changed)}"))
    else:
        _print(common, changed, {})


def _print(common: Common, found: Sequence[Station], now: dict[str, list[Play]]) -> None:
    """Print one line per station: id, state, name, and what it plays now."""
    from songprint.stations.station import station_object

    if common.json:
        print_json(station_object(station, now.get(station.id, [])) for station in found)
        return
    for station in found:
        playing = ", ".join(play.name for play in now.get(station.id, []))
        detail = f"  {playing}" if playing else f"  ({station.reason})" if station.reason else ""
        print(printable(f"{station.id}  {station.state:11}  {station.name}{detail}"))


def _play_line(station: Station, play: Play) -> str:
    started = datetime.fromtimestamp(play.started / 1000, station.zone)
    length = output.duration(play.seconds) if play.ended is not None else "now"
    name = play.name + (f" ({play.announced})" if play.announced and play.recording_id is None else "")
    return f"{started:%Y-%m-%d %H:%M:%S}  {length:>8}  {name}"


def _local(station: Station, moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(station.zone):%Y-%m-%d %H:%M:%S}"


def _stations(catalog: Catalog) -> Stations:
    from songprint.stations.stations import Stations

    return Stations(catalog.database)
