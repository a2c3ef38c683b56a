"""The JSON contract: the keys of all objects that commands print, the REST API returns, and files and callbacks have.

Each object is declared once, here. `songprint.formats.objects` and the modules of jobs and keys build them, mypy
checks the builders, and the server derives the OpenAPI description from the same declarations. The text below a key is
its description there. This module does not need pydantic.

A key is the name of the field in `songprint.types`; times are seconds, rounded to the millisecond.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

# pydantic accepts the TypedDict of the standard library only from Python 3.12 on.
from typing_extensions import TypedDict

Kind = Literal["recording", "cover"]
Sound = Literal["music", "speech", "silence", "other"]
State = Literal["waiting", "running", "finished", "failed", "cancelled"]

Class = TypeVar("Class", bound=type)


def _documented(declared: Class) -> Class:
    """Have pydantic read the text below each key as its description."""
    declared.__pydantic_config__ = {"use_attribute_docstrings": True}  # type: ignore[attr-defined]
    return declared


@_documented
class Interval(TypedDict):
    start: float
    """seconds"""
    end: float


class Section(TypedDict):
    query: Interval
    reference: Interval


@_documented
class Recording(TypedDict):
    id: int
    title: str
    artists: list[str]
    album: str
    isrc: str
    track: int | None
    year: int | None
    musicbrainz_recording_id: str
    musicbrainz_release_id: str
    work: str
    duration: float
    """seconds"""
    source: str
    """Where it was added from: the full path for administrators, the file's name for everyone else."""
    content_hash: str
    """of the sound: the same for files that differ in tags or artwork only"""
    added_at: str
    missing_since: str
    """UTC; empty while one of its files exists"""
    fields: dict[str, str | int | float | bool]
    """User fields, such as the rights holder or the id in another system."""


@_documented
class Part(TypedDict, total=False):
    track: int
    """Number of the audio track, from 1; only for files with several."""
    channel: str
    """The channels that contain it, such as "left"; only if the mono mix of all does not contain it."""


@_documented
class Copies(TypedDict, total=False):
    alternatives: list[int]
    """Ids of other recordings in the library that are the same one; only if there are any."""


@_documented
class Match(Part, Copies):
    recording: Recording
    original: Recording | None
    kind: Kind
    confidence: float
    """0 to 100: the calibrated probability that the match is correct"""
    query: Interval
    reference: Interval
    speed: float
    key_shift: float
    """semitones"""
    agreeing: int
    score: float
    sections: list[Section]


@_documented
class Song(TypedDict):
    work: str
    name: str
    original: int
    matches: list[int]
    """Positions in `matches`."""


@_documented
class Report(TypedDict):
    source: str
    duration: float
    matches: list[Match]
    """Best first. Empty without a match; `reason` then gives the cause."""
    songs: list[Song]
    candidates: list[Match]
    """The most probable matches below the threshold. They are not answers."""
    thresholds: dict[str, float]
    searched: int
    """Recordings in the library."""
    elapsed: float
    reason: str
    warnings: list[str]


@_documented
class Segment(Part, Copies):
    """One recording or cover in a long recording; `start` and `end` are positions in the long recording."""

    recording: Recording
    kind: Kind
    confidence: float
    start: float
    end: float
    reference_start: float
    reference_end: float
    speed: float
    key_shift: float
    original: Recording | None


class Gap(TypedDict):
    start: float
    end: float
    sound: Sound
    unknown: int | None


class PlayedSong(TypedDict):
    """One song of a long recording; `segments` are positions in the timeline's list."""

    work: str
    name: str
    original: int
    segments: list[int]
    seconds: float
    share: float


class Timeline(TypedDict):
    source: str
    duration: float
    complete: bool
    searched: int
    elapsed: float
    thresholds: dict[str, float]
    warnings: list[str]
    segments: list[Segment]
    songs: list[PlayedSong]
    gaps: list[Gap]


class Occurrence(TypedDict):
    source: str
    start: float
    end: float
    heard_at: str


class UnknownMusic(TypedDict):
    id: int
    duration: float
    occurrences: list[Occurrence]


class Explanation(TypedDict):
    """How two renditions correspond."""

    query: str
    reference: str
    key_shift: float | None
    speed: float | None
    score: float | None
    sections: list[Section]


class Key(TypedDict):
    id: str
    name: str
    scope: str
    parent: str | None
    rate: float | None
    created_at: str
    revoked_at: str | None


class NewKey(Key):
    secret_key: str
    token: str


class Used(TypedDict):
    day: str
    key: str
    jobs: int
    queries: int
    seconds: float
    minutes: int


class Entry(TypedDict):
    number: int
    at: str
    key_id: str
    action: str
    subject: str
    actor: str


class Attempt(TypedDict):
    at: str
    elapsed: float
    status: int | None
    error: str | None


@_documented
class Delivery(TypedDict):
    id: str
    job_id: str
    """Empty for the event of a station."""
    station_id: str | None
    event: str
    url: str
    style: str
    state: str
    created_at: str
    due_at: str | None
    delivered_at: str | None
    attempts: list[Attempt]


PlayKind = Literal["recording", "cover", "unknown", "speech", "silence", "other", "down"]
StationState = Literal["waiting", "connected", "silent", "stalled", "unreachable", "stopped"]


@_documented
class Play(TypedDict):
    id: int
    station_id: str
    kind: PlayKind
    """`unknown` is music that is not in the library, `down` an outage."""
    recording_id: int | None
    """Of a song. The recording may have been removed since."""
    title: str
    artists: list[str]
    album: str
    isrc: str
    confidence: float | None
    reference: Interval | None
    """The part of the recording that was played."""
    announced: str
    """The title that the stream announced; the reason of an outage."""
    started_at: str
    ended_at: str | None
    """Null: it is playing now."""
    seconds: float
    """0 while it is playing."""


class StationCallback(TypedDict):
    url: str


@_documented
class Station(TypedDict):
    id: str
    name: str
    url: str
    timezone: str
    """Of its reports."""
    history_days: float
    buffer_minutes: float
    callback: StationCallback | None
    enabled: bool
    """False: stopped by a user."""
    state: StationState
    reason: str
    since: str
    """When the state began."""
    announced: str
    """The title that the stream announces."""
    now: list[Play]
    """The songs that are playing now."""
    heard_at: str | None
    """The end of the audio that was processed."""
    key_id: str
    created_at: str


class TopSong(TypedDict):
    recording_id: int | None
    kind: Kind
    title: str
    artists: list[str]
    plays: int
    seconds: float


@_documented
class StationStatistics(TypedDict):
    seconds: dict[str, float]
    """The time of songs, unknown music, speech, silence, other sounds and outages."""
    followed: float
    """Seconds of the period in which audio arrived."""
    plays: int
    """Number of songs that played."""
    recordings: int
    """Number of different recordings."""
    top: list[TopSong]
    """The songs that played most often."""


class JobError(TypedDict):
    code: str
    message: str


class Verdict(TypedDict):
    job_id: str
    part: Literal["segment", "gap"]
    position: int
    verdict: Literal["accept", "reject", "correct"]
    recording_id: int | None
    note: str
    key_id: str | None
    at: str


@_documented
class ListedJob(TypedDict):
    id: str
    state: State
    priority: int
    input: dict[str, Any]
    options: dict[str, Any]
    progress: float
    """0 to 1"""
    key_id: str
    session_id: str
    session_context: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    changed_at: str
    attempts: int
    seconds: float
    """Duration of the input."""
    error: JobError | None


@_documented
class Job(ListedJob):
    result: dict[str, Any] | None
    """The timeline of a finished job: `segments`, `songs`, `gaps` and more."""
    partial: dict[str, Any] | None
    """The timeline so far of a running job: the final `segments`, without `gaps`; `complete` is false."""
