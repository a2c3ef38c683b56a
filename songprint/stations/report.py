"""The report of a station's day in its time zone: HTML for a mail, tables, a CUE sheet and a playlist.

Plays that cross midnight are cut there. Each format is a function from a Day to text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from html import escape
from typing import TYPE_CHECKING

from songprint.errors import StationError
from songprint.formats import cells, cue
from songprint.formats.entries import clock, one_line
from songprint.stations.history import Filter, History, statistics
from songprint.stations.station import DOWN, KIND_OF_SOUND, SONGS, Play, Station
from songprint.types import Gap, Interval, Kind, Recording, Segment, Tags, Timeline

if TYPE_CHECKING:
    from songprint.formats import schema
    from songprint.store.catalog import Catalog

NAMES = {  # of kinds, for people
    "recording": "recording",
    "cover": "cover",
    "unknown": "unknown music",
    "speech": "speech",
    "silence": "silence",
    "other": "other sound",
    "down": "outage",
}
PLAIN = (
    "start",
    "end",
    "seconds",
    "kind",
    "artists",
    "title",
    "album",
    "isrc",
    "label",
    "confidence",
    "recording_id",
    "announced",
)
SOUNDEXCHANGE = (
    "NAME_OF_SERVICE",
    "FEATURED_ARTIST",
    "SOUND_RECORDING_TITLE",
    "ISRC",
    "ALBUM_TITLE",
    "MARKETING_LABEL",
    "START_DATE",
    "START_TIME",
    "DURATION",
)
LABEL_FIELD = "label"  # the user field that contains the label of a recording


@dataclass(frozen=True)
class Day:
    """One day of a station."""

    station: Station
    date: date
    start: int  # milliseconds since 1970
    end: int
    plays: tuple[Play, ...]  # in order of time, within the day
    statistics: schema.StationStatistics
    recordings: Mapping[int, Recording]  # those that played and still exist

    @property
    def songs(self) -> list[Play]:
        return [play for play in self.plays if play.kind in SONGS]

    def local(self, moment: int) -> datetime:
        """A time in the time zone of the station."""
        return datetime.fromtimestamp(moment / 1000, self.station.zone)

    def label(self, play: Play) -> str:
        """The label of a song, from the user field of its recording."""
        recording = self.recordings.get(play.recording_id or 0)
        return str(recording.fields.get(LABEL_FIELD, "")) if recording else ""


@dataclass(frozen=True)
class Format:
    """A format of reports: its function, the suffix of its files and its media type."""

    suffix: str
    media_type: str
    write: Callable[[Day], str]


def day_of(catalog: Catalog, station: Station, day: str = "") -> Day:
    """Read a day such as 2026-08-07 of a station; by default yesterday. Raises StationError for an invalid date."""
    now = datetime.now(UTC)
    try:
        chosen = date.fromisoformat(day) if day else now.astimezone(station.zone).date() - timedelta(days=1)
        start, end = (
            round(1000 * datetime.combine(each, time(), station.zone).timestamp())
            for each in (chosen, chosen + timedelta(days=1))
        )
    except (ValueError, OverflowError, OSError) as error:
        raise StationError(f"day={day} is not a date such as 2026-08-07") from error
    history = History(catalog.database)
    until = min(end, max(start, round(1000 * now.timestamp())))
    found = history.find(Filter([station.id], since=start, until=end), limit=None, oldest=True)
    plays = tuple(
        replace(play, started=max(start, play.started), ended=min(end, until if play.ended is None else play.ended))
        for play in found
    )
    recordings = catalog.recordings_with({play.recording_id for play in plays if play.recording_id is not None})
    return Day(station, chosen, start, end, plays, statistics(plays, start, end), recordings)


def html(day: Day) -> str:
    """One page with inline styles and without links, which mail programs show."""
    statistics = day.statistics
    total = max(statistics["followed"], 1e-9)
    shares = [
        ("songs of the library", statistics["seconds"]["songs"]),
        *((NAMES[kind], statistics["seconds"][kind]) for kind in ("unknown", "speech", "silence", "other")),
    ]
    cell = 'style="padding:4px 12px 4px 0;text-align:left;vertical-align:top;border-bottom:1px solid #ddd"'

    def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
        lines = [header, *rows]
        tags = ["th", *["td"] * len(rows)]
        body = "".join(
            "<tr>" + "".join(f"<{tag} {cell}>{escape(text)}</{tag}>" for text in line) + "</tr>\n"
            for tag, line in zip(tags, lines, strict=True)
        )
        return f'<table role="presentation" style="border-collapse:collapse">\n{body}</table>\n'

    title = f"{one_line(day.station.name)}, {day.date:%A %d %B %Y}"
    summary = table(
        ("Part of the broadcast", "Time", "Share"),
        [(name, _hours(seconds), f"{100 * seconds / total:.0f}%") for name, seconds in shares]
        + [("outage", _hours(statistics["seconds"][DOWN]), "")],
    )
    top = table(
        ("Song", "Plays", "Time"),
        [
            (_song_name(each["artists"], each["title"]), str(each["plays"]), _hours(each["seconds"]))
            for each in statistics["top"]
        ],
    )
    plays = table(
        ("Start", "Time", "Song"),
        [(f"{day.local(play.started):%H:%M:%S}", _hours(play.seconds), _described(play)) for play in day.songs],
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>{escape(title)}</title></head>\n"
        '<body style="font-family:system-ui,sans-serif;font-size:15px;color:#222;margin:24px;max-width:720px">\n'
        f"<h1>{escape(title)}</h1>\n"
        f"<p>{statistics['plays']:,} plays of {statistics['recordings']:,} recordings."
        f" Times are in {escape(day.station.timezone)}.</p>\n"
        f"{summary}<h2>Top songs</h2>\n{top}<h2>All songs</h2>\n{plays}</body>\n</html>\n"
    )


def plain(day: Day) -> str:
    """A table with one row per play, including speech, silence and outages. Times are local, with a UTC offset."""
    return _table(
        PLAIN,
        [
            {
                "start": _iso(day, play.started),
                "end": _iso(day, play.ended or play.started),
                "seconds": round(play.seconds, 1),
                "kind": play.kind,
                "artists": ", ".join(play.artists),
                "title": play.title,
                "album": play.album,
                "isrc": play.isrc,
                "label": day.label(play),
                "confidence": "" if play.confidence is None else round(play.confidence, 1),
                "recording_id": "" if play.recording_id is None else play.recording_id,
                "announced": play.announced,
            }
            for play in day.plays
        ],
    )


def soundexchange(day: Day) -> str:
    """A table of the songs with column names as in SoundExchange's reports of use, and start times.

    Recordings only: a cover in the broadcast is another recording, whose performer is not known. The label is the user
    field `label` of a recording.
    """
    return _table(
        SOUNDEXCHANGE,
        [
            {
                "NAME_OF_SERVICE": day.station.name,
                "FEATURED_ARTIST": ", ".join(play.artists),
                "SOUND_RECORDING_TITLE": play.title,
                "ISRC": play.isrc,
                "ALBUM_TITLE": play.album,
                "MARKETING_LABEL": day.label(play),
                "START_DATE": f"{day.local(play.started):%Y-%m-%d}",
                "START_TIME": f"{day.local(play.started):%H:%M:%S}",
                "DURATION": clock(play.seconds).partition(".")[0],
            }
            for play in day.songs
            if play.kind == Kind.RECORDING
        ],
    )


def sheet(day: Day) -> str:
    """A CUE sheet for a recording of the day that starts at midnight."""

    def interval(play: Play) -> Interval:
        return Interval((play.started - day.start) / 1000, ((play.ended or play.started) - day.start) / 1000)

    sounds = {kind: sound for sound, kind in KIND_OF_SOUND.items()}
    segments = [
        Segment(
            Recording(
                play.recording_id or 0,
                Tags(title=play.title, artists=play.artists, album=play.album, isrc=play.isrc),
                play.seconds,
                "",
                "",
            ),
            Kind(play.kind),
            play.confidence or 0.0,
            interval(play),
            play.reference or Interval(0.0, play.seconds),
        )
        for play in day.songs
    ]
    gaps = [Gap(interval(play), sounds[play.kind]) for play in day.plays if play.kind in sounds]
    source = f"{one_line(day.station.name)} {day.date}".replace("/", "-")
    return cue.sheet(Timeline(segments, gaps, (day.end - day.start) / 1000, {}, searched=0, elapsed=0.0, source=source))


def playlist(day: Day, locate: Callable[[Recording], str] = lambda recording: recording.source) -> str:
    """An M3U playlist of the songs that the library still contains. `locate` gives the path or URL of a recording."""
    lines = ["#EXTM3U", f"#PLAYLIST:{one_line(day.station.name)} {day.date}"]
    for play in day.songs:
        recording = day.recordings.get(play.recording_id or 0)
        if recording is not None:
            lines += [f"#EXTINF:{round(recording.duration)},{one_line(play.name)}", locate(recording)]
    return "".join(f"{line}\n" for line in lines)


FORMATS = {
    "html": Format(".html", "text/html; charset=utf-8", html),
    "csv": Format(".csv", "text/csv; charset=utf-8", plain),
    "soundexchange": Format(".csv", "text/csv; charset=utf-8", soundexchange),
    "cue": Format(".cue", "application/x-cue", sheet),
    "m3u": Format(".m3u8", "audio/x-mpegurl", playlist),
}


def _table(columns: tuple[str, ...], rows: list[dict[str, str | float | int]]) -> str:
    """Write a CSV table. Lines end with CR LF (RFC 4180)."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {name: cells.guarded(one_line(value)) if isinstance(value, str) else value for name, value in row.items()}
        )
    return text.getvalue()


def _iso(day: Day, moment: int) -> str:
    return day.local(moment).isoformat(timespec="seconds")


def _hours(seconds: float) -> str:
    """`h:mm:ss`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _song_name(artists: list[str], title: str) -> str:
    return one_line(" - ".join(filter(None, (", ".join(artists), title)))) or "without a name"


def _described(play: Play) -> str:
    return _song_name(list(play.artists), play.title) + (" (cover)" if play.kind == "cover" else "")
