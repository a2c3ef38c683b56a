"""The nouns. All are frozen values; all times are seconds, unless a name says otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

import numpy as np


class Kind(StrEnum):
    """How a match relates to the recording it names."""

    RECORDING = "recording"  # the very same recording
    COVER = "cover"  # another rendition of the same song


class Sound(StrEnum):
    """What is heard where no song of the library is."""

    MUSIC = "music"  # that the library does not know
    SPEECH = "speech"
    SILENCE = "silence"
    OTHER = "other"  # applause, traffic, rain


LANDMARKS_A_FRAME = 2  # at most


@dataclass(frozen=True)
class Tags:
    """What a file says about itself; every field may be empty."""

    title: str = ""
    artists: tuple[str, ...] = ()
    album: str = ""
    isrc: str = ""
    track: int | None = None
    year: int | None = None
    musicbrainz_recording_id: str = ""
    musicbrainz_release_id: str = ""
    work: str = ""  # the song underneath: an ISWC or MusicBrainz work id


@dataclass(frozen=True)
class Recording:
    """One recording of the library."""

    id: int
    tags: Tags
    duration: float  # seconds
    source: str  # where it was added from
    content_hash: str  # BLAKE2 of the file's bytes: adding twice is harmless
    added_at: str = ""  # UTC, ISO 8601
    original: bool = False  # the user marked it as the original of its work

    @property
    def title(self) -> str:
        return self.tags.title

    @property
    def artists(self) -> tuple[str, ...]:
        return self.tags.artists

    @property
    def name(self) -> str:
        """`Artist - Title`, or the title alone."""
        artists = ", ".join(self.tags.artists)
        return f"{artists} - {self.tags.title}" if artists else self.tags.title


@dataclass(frozen=True)
class Embeddings:
    """A row of unit vectors along the time line. Row i starts at `i * hop` seconds.

    A row of zeros stands for a second in which there is nothing to recognise (silence, a steady
    tone): it has inner product 0 with everything, so it is never found and never counts.
    """

    vectors: np.ndarray  # (n, dim) float32
    hop: float  # seconds between rows
    encoder_id: str
    # (frames, columns) uint8: what a closer look needs besides. Of kind "recording" the peaks of a recording's
    # spectrum (songprint.fingerprint.landmarks), none of a clip's; of kind "cover" the tonal frames.
    evidence: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def has_content(self) -> np.ndarray:
        """(n,) bool: rows in which there is something to recognise."""
        return np.any(self.vectors, axis=1)


@dataclass(frozen=True)
class Interval:
    """A stretch of time, in seconds."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Section:
    """A stretch of the query and the stretch of the reference that corresponds to it."""

    query: Interval
    reference: Interval


@dataclass(frozen=True)
class Alignment:
    """A query laid along a recording: a line, `reference = speed * query + offset`, or several sections of a cover."""

    recording_id: int
    query: Interval
    reference: Interval
    speed: float  # 1.04: the query plays 4 % faster than the reference
    score: float  # how alike: of a recording the mean cosine along the line, 0 to 1
    agreeing: int  # segments of the query that agree
    features: dict[str, float] = field(default_factory=dict)  # what confidence looks at
    key_shift: float = 0.0  # semitones that the query sounds higher
    sections: tuple[Section, ...] = ()  # of a cover, in the order of the query


@dataclass(frozen=True)
class Match:
    """An alignment, with the recording it names and how sure that is."""

    recording: Recording
    kind: Kind
    confidence: float  # 0 to 100: the calibrated probability that the name is right
    alignment: Alignment
    original: Recording | None = None  # of the work that the recording is of; None if no work is known

    @property
    def work(self) -> str:
        """The song underneath; empty if it is not known."""
        return self.recording.tags.work

    @property
    def query(self) -> Interval:
        """Where the recording is heard in the clip."""
        return self.alignment.query

    @property
    def reference(self) -> Interval:
        """Which part of the recording is heard."""
        return self.alignment.reference

    @property
    def sections(self) -> tuple[Section, ...]:
        """Which parts correspond to which; of the very same recording it is one."""
        return self.alignment.sections or (Section(self.query, self.reference),)

    @property
    def speed(self) -> float:
        """Of a cover: the tempo."""
        return self.alignment.speed

    @property
    def key_shift(self) -> float:
        """Semitones that the clip sounds higher."""
        return self.alignment.key_shift


@dataclass(frozen=True)
class Song:
    """The matches of one work; of a recording whose work is not known, those of it alone."""

    matches: tuple[Match, ...]

    @property
    def work(self) -> str:
        return self.matches[0].work

    @property
    def original(self) -> Recording:
        """By which the song is named."""
        return self.matches[0].original or self.matches[0].recording


def songs_of(matches: Iterable[Match]) -> list[Song]:
    """Matches by song, in the order in which the songs first appear."""
    groups: dict[str | int, list[Match]] = {}
    for match in matches:
        groups.setdefault(match.work or match.recording.id, []).append(match)
    return [Song(tuple(group)) for group in groups.values()]


@dataclass(frozen=True)
class Report:
    """What one clip is: the recordings heard in it, then its covers, best first. Nothing found is an empty list."""

    matches: list[Match]
    candidates: list[Match]  # the most probable names below the threshold; not answers
    duration: float  # of the clip, seconds
    thresholds: dict[Kind, float]  # of each kind that was looked for: confidence from which a match counts
    searched: int  # recordings in the library
    elapsed: float  # seconds spent
    source: str = ""
    reason: str = ""  # why there is no match, in words; empty when there is one
    warnings: tuple[str, ...] = ()

    @property
    def songs(self) -> list[Song]:
        """The matches by song, best first: recordings of one work are one song."""
        return songs_of(self.matches)

    def __bool__(self) -> bool:
        return bool(self.matches)


@dataclass(frozen=True)
class Segment:
    """One stretch of a long recording in which a song is heard."""

    recording: Recording
    kind: Kind
    confidence: float  # 0 to 100
    interval: Interval  # in the long recording
    reference: Interval  # which part of the song it is
    speed: float = 1.0  # 1.04: it plays 4 % faster than the reference
    key_shift: float = 0.0  # semitones that it sounds higher
    original: Recording | None = None  # of the work that the recording is of; None if no work is known

    @property
    def work(self) -> str:
        """The song underneath; empty if it is not known."""
        return self.recording.tags.work


@dataclass(frozen=True)
class Gap:
    """One stretch of a long recording in which no song of the library is heard."""

    interval: Interval
    sound: Sound
    unknown: int | None = None  # of music that nobody knows: the same number for the same music, if that was looked for


@dataclass(frozen=True)
class PlayedSong:
    """One song of a long recording: all segments of one work, or of one recording whose work is not known."""

    segments: tuple[Segment, ...]
    share: float  # of the long recording, 0 to 1

    @property
    def work(self) -> str:
        return self.segments[0].work

    @property
    def original(self) -> Recording:
        """By which the song is named."""
        return self.segments[0].original or self.segments[0].recording

    @property
    def seconds(self) -> float:
        """Played in all; what overlaps counts once."""
        return covered(segment.interval for segment in self.segments)


@dataclass(frozen=True)
class Timeline:
    """The songs that occur in a long recording, and when. Nothing found is an empty list."""

    segments: list[Segment]  # in the order in which they start
    gaps: list[Gap]
    duration: float  # of the long recording, as far as it was read, in seconds
    thresholds: dict[Kind, float]
    searched: int  # recordings in the library
    elapsed: float  # seconds spent
    source: str = ""
    complete: bool = True  # False: it was interrupted, and this is what was found until then
    warnings: tuple[str, ...] = ()

    @property
    def songs(self) -> list[PlayedSong]:
        """The segments by song, in the order in which the songs first occur."""
        groups: dict[str | int, list[Segment]] = {}
        for segment in self.segments:
            groups.setdefault(segment.work or segment.recording.id, []).append(segment)
        return [
            PlayedSong(tuple(group), covered(segment.interval for segment in group) / max(self.duration, 1e-9))
            for group in groups.values()
        ]

    def __bool__(self) -> bool:
        return bool(self.segments)


@dataclass(frozen=True)
class ScanProgress:
    """How far a scan is."""

    seconds_done: float
    seconds_total: float | None  # None where the file does not say how long it is
    segments: int  # that were found and will not change any more
    elapsed: float  # seconds since the start


def covered(intervals: Iterable[Interval]) -> float:
    """Seconds that lie in at least one of the intervals.

    >>> covered([Interval(0, 10), Interval(5, 12), Interval(20, 21)])
    13.0
    """
    total, reached = 0.0, float("-inf")
    for interval in sorted(intervals, key=lambda each: each.start):
        total += max(0.0, interval.end - max(interval.start, reached))
        reached = max(reached, interval.end)
    return total


@dataclass(frozen=True)
class SkippedFile:
    """A file that could not be added, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class KnownFile:
    """A file whose very content the library holds already."""

    path: str
    recording_id: int


@dataclass(frozen=True)
class Progress:
    """How far `add` is; sent after every file."""

    path: str  # the file just finished
    outcome: str  # "added", "known" or "skipped"
    files_done: int
    files_total: int
    bytes_done: int
    bytes_total: int
    audio_seconds: float  # seconds of music added so far
    elapsed: float  # seconds since the start


@dataclass(frozen=True)
class AddReport:
    """What became of the files given to `add`."""

    added: list[Recording]
    known: list[KnownFile]
    skipped: list[SkippedFile]
    audio_seconds: float
    elapsed: float
    warnings: tuple[str, ...] = ()  # about files that were added as far as they could be read


@dataclass(frozen=True)
class RebuildReport:
    """What became of the recordings that `rebuild` read again."""

    reencoded: int
    skipped: list[SkippedFile]  # recordings that could not be read again; they are not found until they are


@dataclass(frozen=True)
class LevelStats:
    """What one kind of match takes."""

    kind: Kind
    recordings: int  # that can be found so
    segments: int  # embeddings
    catalogue_bytes: int  # vectors and evidence
    index_bytes: int  # on disk; 0 while the library is small enough to be searched exactly
    index: str  # "exact" or the FAISS description
    encoder_id: str  # empty while nothing of this kind was added


@dataclass(frozen=True)
class Stats:
    """What a library holds and what it takes."""

    path: str
    recordings: int
    duration: float  # seconds of music
    catalogue_bytes: int
    levels: tuple[LevelStats, ...]
    schema_version: int
    database: str = ""  # what keeps the catalogue, and where; never with a password

    @property
    def index_bytes(self) -> int:
        return sum(level.index_bytes for level in self.levels)


@dataclass(frozen=True)
class Occurrence:
    """Where unknown music was heard."""

    source: str  # the file or stream; empty if it has no name
    interval: Interval
    heard_at: str  # when it was scanned: UTC, ISO 8601


@dataclass(frozen=True)
class UnknownMusic:
    """Music that nobody knows, and where it was heard, in the order in which it was scanned."""

    id: int
    occurrences: tuple[Occurrence, ...]

    @property
    def duration(self) -> float:
        """Seconds of the longest occurrence."""
        return max(each.interval.duration for each in self.occurrences)


class EventType(StrEnum):
    """What an event tells."""

    CONNECTED = "connected"  # sound comes, for the first time
    ANNOUNCED = "announced"  # the station says what it plays; shown and never believed
    STARTED = "started"  # a song is heard
    ENDED = "ended"  # it is over; what is told of it is final
    WITHDRAWN = "withdrawn"  # it was not that song after all
    GAP = "gap"  # the stream stalled or broke; nothing is heard
    RECONNECTED = "reconnected"  # sound comes again
    FINISHED = "finished"  # there is nothing more to come


@dataclass(frozen=True)
class Event:
    """One thing that happens. Positions are seconds since the first sound, gaps included."""

    type: EventType
    begun: datetime  # UTC: when position was 0
    position: float  # of the stream when this is told
    segment: Segment | None = None  # of started, ended, withdrawn: the song; it is heard at these positions
    text: str = ""  # of connected the station's name, of announced the title, of gap why
    seconds: float = 0.0  # of ended how long the song was heard, of reconnected how long nothing was

    @property
    def at(self) -> datetime:
        """UTC: when this is told."""
        return self.when(self.position)

    def when(self, position: float) -> datetime:
        """UTC: when a position was."""
        return self.begun + timedelta(seconds=position)
