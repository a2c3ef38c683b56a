"""Stations and plays as values, as rows of the database and as JSON.

A station is a stream that the service follows until a user stops it. A play is an interval in what it broadcast: a
song of the library, unknown music, speech, silence, another sound, or an outage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo, available_timezones

from songprint.errors import StationError
from songprint.jobs.job import Lease
from songprint.store.timestamps import iso
from songprint.types import Interval, Sound

if TYPE_CHECKING:
    from sqlalchemy import Row

    from songprint.formats import schema

WAITING, CONNECTED, SILENT, STALLED, UNREACHABLE, STOPPED = STATES = (
    "waiting",  # no worker follows it yet
    "connected",
    "silent",  # connected, but without sound
    "stalled",  # no data arrives, or the connection broke
    "unreachable",  # the stream cannot be opened
    "stopped",  # by a user
)
SONGS = ("recording", "cover")
UNKNOWN, SPEECH, SILENCE, OTHER, DOWN = OTHERS = ("unknown", "speech", "silence", "other", "down")
KINDS = (*SONGS, *OTHERS)
KIND_OF_SOUND = {Sound.MUSIC: UNKNOWN, Sound.SPEECH: SPEECH, Sound.SILENCE: SILENCE, Sound.OTHER: OTHER}

TIMEZONE = "UTC"  # defaults of the options of a station
HISTORY_DAYS = 400.0
BUFFER_MINUTES = 60.0
MAX_HISTORY_DAYS = 36_500.0
MAX_BUFFER_MINUTES = 7 * 24 * 60.0


@dataclass(frozen=True)
class Play:
    """An interval in the broadcast of a station. Times are milliseconds since 1970."""

    station_id: str
    kind: str  # one of KINDS
    started: int
    ended: int | None  # None: it is playing now
    recording_id: int | None = None  # of a song; the recording may have been removed since
    title: str = ""  # of the song, as in the library at that time
    artists: tuple[str, ...] = ()
    album: str = ""
    isrc: str = ""
    confidence: float | None = None  # 0 to 100
    reference: Interval | None = None  # the part of the recording that was played
    announced: str = ""  # the title that the stream announced; for kind "down", the reason
    id: int = 0

    @property
    def name(self) -> str:
        """`Artist - Title` of a song, else the kind."""
        if self.kind not in SONGS:
            return self.kind
        return " - ".join(filter(None, (", ".join(self.artists), self.title))) or f"recording {self.recording_id}"

    @property
    def seconds(self) -> float:
        """The duration; 0 while it is playing."""
        return (self.ended - self.started) / 1000 if self.ended is not None else 0.0


@dataclass(frozen=True)
class Station:
    """A station. Times are UTC in ISO 8601, and empty for events that have not happened."""

    id: str
    name: str
    url: str
    timezone: str  # of its reports, for example Europe/Berlin
    history_days: float  # how long its plays are kept
    buffer_minutes: float  # how long its audio is kept; 0: not at all
    callback: dict[str, Any] | None  # url and secret, which is encrypted
    enabled: bool  # False: stopped by a user
    state: str  # one of STATES
    reason: str  # of the state
    since: str  # start of the state
    announced: str  # the title that the stream announces
    heard_at: str  # end of the audio that was processed
    key_id: str  # the owner; empty: created without a key
    created_at: str
    worker: str  # the last one that followed it
    number: int  # in order of creation
    changed: int  # milliseconds since 1970 of the last change by a user
    lease: Lease | None = field(default=None, repr=False, compare=False)  # of a station that has just been claimed

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def options(self) -> dict[str, Any]:
        """What the column `options` contains."""
        return {
            "timezone": self.timezone,
            "history_days": self.history_days,
            "buffer_minutes": self.buffer_minutes,
            "callback": self.callback,
        }


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a station with defaults for those that are missing. Raises StationError for an invalid one."""
    found: dict[str, Any] = {
        "timezone": options.get("timezone") or TIMEZONE,
        "history_days": float(options.get("history_days", HISTORY_DAYS)),
        "buffer_minutes": float(options.get("buffer_minutes", BUFFER_MINUTES)),
        "callback": options.get("callback"),
    }
    if found["timezone"] not in available_timezones():
        raise StationError(f"timezone={found['timezone']} is not a time zone. Use a name such as Europe/Berlin")
    for name, maximum in (("history_days", MAX_HISTORY_DAYS), ("buffer_minutes", MAX_BUFFER_MINUTES)):
        if not 0 <= found[name] <= maximum:
            raise StationError(f"{name}={found[name]:g} must lie between 0 and {maximum:g}")
    return found


def to_station(row: Row[Any], lease: Lease | None = None) -> Station:
    return Station(
        id=row.id,
        name=row.name,
        url=row.url,
        **checked_options(json.loads(row.options)),
        enabled=bool(row.enabled),
        state=row.state,
        reason=row.reason,
        since=iso(row.state_at),
        announced=row.announced,
        heard_at=iso(row.heard_at),
        key_id=row.key_id,
        created_at=iso(row.created_at),
        worker=row.worker,
        number=row.number,
        changed=row.changed_at,
        lease=lease,
    )


def to_play(row: Row[Any]) -> Play:
    return Play(
        id=row.id,
        station_id=row.station_id,
        kind=row.kind,
        started=row.started_at,
        ended=row.ended_at,
        recording_id=row.recording_id,
        title=row.title,
        artists=tuple(json.loads(row.artists)),
        album=row.album,
        isrc=row.isrc,
        confidence=row.confidence,
        reference=None if row.reference_start is None else Interval(row.reference_start, row.reference_end),
        announced=row.announced,
    )


def play_object(play: Play) -> schema.Play:
    """A play as JSON."""
    return {
        "id": play.id,
        "station_id": play.station_id,
        "kind": cast("schema.PlayKind", play.kind),
        "recording_id": play.recording_id,
        "title": play.title,
        "artists": list(play.artists),
        "album": play.album,
        "isrc": play.isrc,
        "confidence": None if play.confidence is None else round(play.confidence, 3),
        "reference": None
        if play.reference is None
        else {"start": round(play.reference.start, 3), "end": round(play.reference.end, 3)},
        "announced": play.announced,
        "started_at": iso(play.started),
        "ended_at": iso(play.ended) or None,
        "seconds": play.seconds,
    }


def station_object(station: Station, now: list[Play]) -> schema.Station:
    """A station as JSON, with its songs that are playing now, and without its secret."""
    return {
        "id": station.id,
        "name": station.name,
        "url": station.url,
        "timezone": station.timezone,
        "history_days": station.history_days,
        "buffer_minutes": station.buffer_minutes,
        "callback": {"url": station.callback["url"]} if station.callback else None,
        "enabled": station.enabled,
        "state": cast("schema.StationState", station.state),
        "reason": station.reason,
        "since": station.since,
        "announced": station.announced,
        "now": [play_object(play) for play in now],
        "heard_at": station.heard_at or None,
        "key_id": station.key_id,
        "created_at": station.created_at,
    }
