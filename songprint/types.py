"""The values that Songprint computes with and returns. All are immutable. Times are in seconds unless stated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path, PurePath
from typing import TypeAlias

import numpy as np


class Kind(StrEnum):
    """How a match relates to the reference recording."""

    RECORDING = "recording"  # the same recording, however degraded
    COVER = "cover"  # another rendition of the same song


class Sound(StrEnum):
    """The class of the sound in a gap of a timeline."""

    MUSIC = "music"  # not in the library
    SPEECH = "speech"
    SILENCE = "silence"
    OTHER = "other"  # noise: applause, traffic, rain


Record: TypeAlias = dict[str, str | int | float | None]  # one row of a table: column, value


@dataclass(frozen=True)
class Views:
    """How results are shown in notebooks, turned into tables and saved.

    The formats do this. They import this module, so it cannot import them: `songprint.formats` registers its functions
    here when it is imported, as every module does that produces results.
    """

    html: Callable[[Report | Timeline], str]
    records: Callable[[Report | Timeline], list[Record]]
    save: Callable[[Timeline, str | Path, str | None], None]

    @staticmethod
    def register(views: Views) -> None:
        """Use these views from now on."""
        _registered[:] = [views]

    @staticmethod
    def registered() -> Views:
        """Return the registered views. Raises RuntimeError if there are none."""
        if not _registered:
            raise RuntimeError("results are shown and saved by songprint.formats: import it first")
        return _registered[0]


_registered: list[Views] = []


# Spectral peaks stored per frame of a recording, at most; part of the storage format.
LANDMARKS_PER_FRAME = 2


@dataclass(frozen=True)
class Tags:
    """The metadata of an audio file. Every field may be empty."""

    title: str = ""
    artists: tuple[str, ...] = ()
    album: str = ""
    isrc: str = ""
    track: int | None = None
    year: int | None = None
    musicbrainz_recording_id: str = ""
    musicbrainz_release_id: str = ""
    work: str = ""  # id of the musical work: an ISWC, a MusicBrainz work id or a name given by the user


FieldValue: TypeAlias = str | int | float | bool


class Fields(Mapping[str, FieldValue]):
    """The user fields of a recording, an immutable mapping; see `songprint.store.fields`."""

    def __init__(self, values: Mapping[str, FieldValue] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, name: str) -> FieldValue:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"Fields({self._values})"


NO_FIELDS = Fields()


@dataclass(frozen=True)
class FileState:
    """What the file system says about a file. A file whose state is unchanged is not read again."""

    size: int  # bytes
    modified: int  # nanoseconds since 1970


@dataclass(frozen=True, repr=False)
class Recording:
    """One recording in the library."""

    id: int
    tags: Tags
    duration: float  # seconds
    source: str  # absolute path of its file, or of one of its files
    content_hash: str  # of the sound, see songprint.audio.identity; tags and artwork do not change it
    added_at: str = ""  # UTC, ISO 8601
    original: bool = False  # True if the user marked it as the original of its work
    missing_since: str = ""  # UTC, ISO 8601; empty while one of its files exists
    fields: Fields = NO_FIELDS  # of the user: rights holder, id in another system

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

    def __repr__(self) -> str:
        return f"<Recording {self.id}: {self.name!r}, {duration_text(self.duration)}>"


@dataclass(frozen=True, repr=False)
class Embeddings:
    """The vectors of a recording or query. Row i starts at `i * hop` seconds.

    Rows have unit length. A row of zeros marks a window without content (silence, a steady tone): its inner
    product with every vector is 0, so it is never found and does not count.
    """

    vectors: np.ndarray  # (n, dim) float32
    hop: float  # seconds between rows
    encoder_id: str
    # (frames, columns) uint8: input of the verification. For kind "recording", the spectral peaks of a reference
    # (songprint.fingerprint.landmarks); queries have none. For kind "cover", the tonal frames.
    evidence: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def has_content(self) -> np.ndarray:
        """(n,) bool: False for rows of zeros."""
        content: np.ndarray = np.any(self.vectors, axis=1)
        return content

    def __repr__(self) -> str:
        count, dim = self.vectors.shape
        return f"<Embeddings: {count} vectors of {dim} numbers, every {self.hop:g} s, by {self.encoder_id}>"


@dataclass(frozen=True)
class Interval:
    """A time interval, in seconds."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Section:
    """An interval of the query and the corresponding interval of the reference."""

    query: Interval
    reference: Interval


@dataclass(frozen=True)
class Alignment:
    """How query time maps to reference time.

    For a recording, one line: `reference = speed * query + offset`. For a cover, one or more sections.
    """

    recording_id: int
    query: Interval
    reference: Interval
    speed: float  # ratio; 1.04: the query plays 4% faster than the reference
    # Similarity. For a recording, the mean cosine along the line, 0 to 1; for a cover, an unbounded alignment score.
    score: float
    agreeing: int  # number of query vectors that agree with the alignment
    features: dict[str, float] = field(default_factory=dict)  # input of the calibration (songprint.confidence)
    key_shift: float = 0.0  # semitones by which the query is higher than the reference
    sections: tuple[Section, ...] = ()  # covers only, in the order of the query


@dataclass(frozen=True, repr=False)
class Match:
    """A recording that matches the query, with the calibrated confidence and the alignment."""

    recording: Recording
    kind: Kind
    confidence: float  # 0 to 100: 100 x the calibrated probability that the match is correct
    alignment: Alignment
    original: Recording | None = None  # the original of the same work; None if the work is unknown
    track: int | None = None  # number of the audio track, from 1, in a file with several
    channel: str = ""  # the channels that contain it, such as "left"; empty if the mono mix contains it
    alternatives: tuple[int, ...] = ()  # ids of other recordings in the library that are the same one

    @property
    def work(self) -> str:
        """The id of the musical work; empty if unknown."""
        return self.recording.tags.work

    @property
    def query(self) -> Interval:
        """Where the match is in the query."""
        return self.alignment.query

    @property
    def reference(self) -> Interval:
        """Where the match is in the recording."""
        return self.alignment.reference

    @property
    def sections(self) -> tuple[Section, ...]:
        """The corresponding parts. A match of kind "recording" has exactly one."""
        return self.alignment.sections or (Section(self.query, self.reference),)

    @property
    def speed(self) -> float:
        """The ratio of the speeds; for a cover, of the tempi."""
        return self.alignment.speed

    @property
    def key_shift(self) -> float:
        """Semitones by which the query is higher than the recording."""
        return self.alignment.key_shift

    def __repr__(self) -> str:
        return (
            f"<Match: {self.recording.name!r}, {self.kind}, {int(self.confidence)}% confident,"
            f" at {duration_text(self.reference.start)}>"
        )


@dataclass(frozen=True, repr=False)
class Song:
    """The matches of one musical work, or of one recording if its work is unknown."""

    matches: tuple[Match, ...]

    @property
    def work(self) -> str:
        return self.matches[0].work

    @property
    def original(self) -> Recording:
        """The recording whose name is the name of the song."""
        return self.matches[0].original or self.matches[0].recording

    def __repr__(self) -> str:
        return f"<Song: {self.original.name!r}, {_counted(self.matches, 'match', 'matches')}>"


def songs_of(matches: Iterable[Match]) -> list[Song]:
    """Group matches by song, in the order in which the songs first appear."""
    groups: dict[str | int, list[Match]] = {}
    for match in matches:
        groups.setdefault(match.work or match.recording.id, []).append(match)
    return [Song(tuple(group)) for group in groups.values()]


@dataclass(frozen=True, repr=False)
class Report:
    """The result of identifying one query: matching recordings, then covers, each best first.

    If nothing was found, `matches` is empty and `reason` states the cause.
    """

    matches: list[Match]
    candidates: list[Match]  # the most probable matches below the threshold; not results
    duration: float  # seconds of the query
    thresholds: dict[Kind, float]  # for each kind that was searched, the lowest confidence that is reported
    searched: int  # number of recordings in the library
    elapsed: float  # seconds of computation
    source: str = ""  # file name of the query; empty for samples
    reason: str = ""  # why there is no match, as a sentence; empty if there is one
    warnings: tuple[str, ...] = ()

    @property
    def songs(self) -> list[Song]:
        """The matches grouped by song, best first. Recordings of the same work are one song."""
        return songs_of(self.matches)

    def to_records(self) -> list[Record]:
        """Return one row per match, with plain values: `pandas.DataFrame(report.to_records())`.

        `start` and `end` are the place in the query. User fields have columns `field:NAME`.
        """
        return Views.registered().records(self)

    def __repr__(self) -> str:
        query = f" of {PurePath(self.source).name!r}" if self.source else ""
        if not self.matches:
            return f"<Report{query}: no match: {self.reason}>"
        more = f", {len(self.matches) - 1} more" if len(self.matches) > 1 else ""
        return f"<Report{query}: {self.matches[0]!r}{more}>"

    def _repr_html_(self) -> str:
        return Views.registered().html(self)

    def __bool__(self) -> bool:
        return bool(self.matches)


@dataclass(frozen=True, repr=False)
class Segment:
    """An interval of a long recording in which a song is audible."""

    recording: Recording
    kind: Kind
    confidence: float  # 0 to 100
    interval: Interval  # in the long recording
    reference: Interval  # the corresponding part of the song
    speed: float = 1.0  # ratio; 1.04: it plays 4% faster than the reference
    key_shift: float = 0.0  # semitones by which it is higher than the reference
    original: Recording | None = None  # the original of the same work; None if the work is unknown
    track: int | None = None  # number of the audio track, from 1, in a file with several
    channel: str = ""  # the channels that contain it, such as "left"; empty if the mono mix contains it
    alternatives: tuple[int, ...] = ()  # ids of other recordings in the library that are the same one

    @property
    def work(self) -> str:
        """The id of the musical work; empty if unknown."""
        return self.recording.tags.work

    def __repr__(self) -> str:
        times = f"{duration_text(self.interval.start)} to {duration_text(self.interval.end)}"
        return f"<Segment {times}: {self.recording.name!r}, {self.kind}, {int(self.confidence)}% confident>"


@dataclass(frozen=True)
class Gap:
    """An interval of a long recording without a song of the library."""

    interval: Interval
    sound: Sound
    unknown: int | None = None  # id of the unknown music, the same for the same music; None if not searched for


@dataclass(frozen=True, repr=False)
class PlayedSong:
    """One song of a long recording: the segments of one work, or of one recording if its work is unknown."""

    segments: tuple[Segment, ...]
    share: float  # fraction of the long recording, 0 to 1

    @property
    def work(self) -> str:
        return self.segments[0].work

    @property
    def original(self) -> Recording:
        """The recording whose name is the name of the song."""
        return self.segments[0].original or self.segments[0].recording

    @property
    def seconds(self) -> float:
        """Total playing time. Overlapping segments count once."""
        return covered(segment.interval for segment in self.segments)

    def __repr__(self) -> str:
        played = f"{duration_text(self.seconds)} in {_counted(self.segments, 'segment')}"
        return f"<PlayedSong: {self.original.name!r}, {played}, {100 * self.share:.0f}%>"


@dataclass(frozen=True, repr=False)
class Timeline:
    """The result of a scan: the songs in a long recording, with their times, and the gaps between them."""

    segments: list[Segment]  # ordered by start; empty if nothing was found
    gaps: list[Gap]
    duration: float  # seconds of the long recording that were read
    thresholds: dict[Kind, float]
    searched: int  # number of recordings in the library
    elapsed: float  # seconds of computation
    source: str = ""
    complete: bool = True  # False if the scan was interrupted; the result covers `duration` seconds
    warnings: tuple[str, ...] = ()

    @property
    def songs(self) -> list[PlayedSong]:
        """The segments grouped by song, in the order in which the songs first occur."""
        groups: dict[str | int, list[Segment]] = {}
        for segment in self.segments:
            groups.setdefault(segment.work or segment.recording.id, []).append(segment)
        return [
            PlayedSong(tuple(group), covered(segment.interval for segment in group) / max(self.duration, 1e-9))
            for group in groups.values()
        ]

    def to_records(self) -> list[Record]:
        """Return one row per segment and gap, ordered by start: `pandas.DataFrame(timeline.to_records())`.

        The columns are those of the format `csv`; values that a row does not have are None.
        """
        return Views.registered().records(self)

    def save(self, path: str | Path, format: str | None = None) -> None:
        """Write the timeline to a file: `timeline.save("show.srt")`.

        The suffix selects the format: .json, .jsonl, .csv, .cue, .srt, .vtt, .txt (a tracklist), or a picture: .png,
        .pdf, .svg. `format` is needed for others, such as "audacity". Raises SongprintError for unknown formats and if
        the file cannot be written, and MissingExtra for pictures without matplotlib.
        """
        Views.registered().save(self, path, format)

    def __repr__(self) -> str:
        name = f" of {PurePath(self.source).name!r}" if self.source else ""
        interrupted = "" if self.complete else ", interrupted"
        songs, segments = _counted(self.songs, "song"), _counted(self.segments, "segment")
        return f"<Timeline{name}: {duration_text(self.duration)}, {songs} in {segments}{interrupted}>"

    def _repr_html_(self) -> str:
        return Views.registered().html(self)

    def __bool__(self) -> bool:
        return bool(self.segments)


# Share of a scan until all audio is processed. The last phase completes the last covers and numbers unknown music.
READING_SHARE = 0.95


@dataclass(frozen=True)
class ScanProgress:
    """The progress of a scan."""

    seconds_done: float  # of the current pass, processed for all kinds of match
    seconds_total: float | None  # of the current pass; None if the file does not contain its duration
    segments: int  # number of segments found so far that cannot change any more
    elapsed: float  # seconds since the start
    timeline: Timeline | None = None  # these segments so far, without gaps; `complete` is false
    finished: bool = False  # only in the last report, after the last phase
    # A file is scanned once for each audio track, and partly again for channels that the mono mix does not contain.
    seconds_before: float = 0.0  # that earlier passes have scanned
    seconds_after: float = 0.0  # that later passes will scan, as far as is known
    least: float = 0.0  # fraction that was reported before more work was found

    @property
    def fraction(self) -> float | None:
        """Share of the work that is done, 1 only when the scan has finished; None if the duration is not known."""
        if self.finished:
            return 1.0
        if self.seconds_total is None:
            return None
        done, total = self.work
        assert total is not None
        return max(self.least, READING_SHARE * min(1.0, done / max(total, 1e-9)))

    @property
    def work(self) -> tuple[float, float | None]:
        """Seconds that all passes have scanned, and those of all passes; None if the duration is not known."""
        total = self.seconds_total
        done = self.seconds_before + self.seconds_done
        return done, None if total is None else self.seconds_before + total + self.seconds_after


def duration_text(seconds: float) -> str:
    """Format a time to the second.

    >>> duration_text(42.4), duration_text(3725)
    ('0:42', '1:02:05')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _counted(items: Sized, noun: str, plural: str = "") -> str:
    return f"1 {noun}" if len(items) == 1 else f"{len(items)} {plural or f'{noun}s'}"


def covered(intervals: Iterable[Interval]) -> float:
    """Return the number of seconds that lie in at least one of the intervals.

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
    """A file that could not be added, with the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class KnownFile:
    """A file whose content is already in the library."""

    path: str
    recording_id: int


@dataclass(frozen=True)
class Progress:
    """The progress of `add`, reported after every file."""

    path: str  # the file that was just finished
    outcome: str  # "added", "known" or "skipped"
    files_done: int
    files_total: int
    bytes_done: int
    bytes_total: int
    audio_seconds: float  # duration of the music added so far
    elapsed: float  # seconds since the start


@dataclass(frozen=True, repr=False)
class AddReport:
    """The result of `add`."""

    added: list[Recording]
    known: list[KnownFile]
    skipped: list[SkippedFile]
    audio_seconds: float  # duration of the added music
    elapsed: float  # seconds of computation
    warnings: tuple[str, ...] = ()  # about files of which only a part could be read
    changes: tuple[FileChange, ...] = ()  # of files of known recordings: retagged, moved, copied, replaced

    def __repr__(self) -> str:
        return f"<AddReport: {len(self.added)} added, {len(self.known)} known, {len(self.skipped)} skipped>"


class Change(StrEnum):
    """What happened to a file since the library last read it."""

    ADDED = "added"  # a new recording
    RETAGGED = "retagged"  # the same sound with other tags
    TOUCHED = "touched"  # the same sound and tags, but another size or time
    MOVED = "moved"  # a file of a recording, at another path
    COPIED = "copied"  # a further file of a recording
    RETURNED = "returned"  # a recording that was missing has a file again
    REPLACED = "replaced"  # another sound at the path of a recording
    MISSING = "missing"  # the file no longer exists
    REMOVED = "removed"  # its recording was removed from the library
    SKIPPED = "skipped"  # the file cannot be read


@dataclass(frozen=True)
class FileChange:
    """One change that `sync` found in a folder."""

    change: Change
    path: str
    recording_id: int | None = None  # None: a recording that is not in the library yet, or a skipped file
    before: str = ""  # the former path of a file that moved
    reason: str = ""  # why a file was skipped


@dataclass(frozen=True, repr=False)
class SyncReport:
    """The result of `sync`."""

    changes: list[FileChange]
    unchanged: int  # number of files
    dry_run: bool  # True: nothing was written
    elapsed: float  # seconds of computation
    warnings: tuple[str, ...] = ()  # about files of which only a part could be read

    def __getitem__(self, change: Change) -> list[FileChange]:
        """Return the changes of one sort."""
        return [each for each in self.changes if each.change is change]

    def __repr__(self) -> str:
        counts = (f"{len(self[change])} {change}, " for change in Change if self[change])
        return f"<SyncReport: {''.join(counts)}{self.unchanged} unchanged>"


@dataclass(frozen=True)
class MetadataChange:
    """What one row of a table of metadata changes."""

    line: int  # of the table, from 1
    recording_id: int
    title: str  # before the change
    columns: tuple[str, ...]  # that change; user fields are `field:NAME`


@dataclass(frozen=True)
class WrongRow:
    """A row of a table of metadata that cannot be used, with the reason."""

    line: int
    reason: str


@dataclass(frozen=True, repr=False)
class MetadataReport:
    """The result of importing a table of metadata."""

    rows: int
    changed: list[MetadataChange]
    wrong: list[WrongRow]  # if there are any, nothing was written
    written: bool  # False after a dry run too

    def __repr__(self) -> str:
        return f"<MetadataReport: {self.rows} rows, {len(self.changed)} changed, {len(self.wrong)} wrong>"


@dataclass(frozen=True, repr=False)
class RebuildReport:
    """The result of `rebuild`."""

    reencoded: int  # number of recordings that were read and encoded again
    skipped: list[SkippedFile]  # recordings whose file could not be read; they cannot be found until it is

    def __repr__(self) -> str:
        return f"<RebuildReport: {self.reencoded} reencoded, {len(self.skipped)} skipped>"


@dataclass(frozen=True)
class LevelStats:
    """The size of a library for one kind of match."""

    kind: Kind
    recordings: int  # number of recordings with embeddings of this kind
    segments: int  # number of vectors
    catalogue_bytes: int  # vectors and evidence in the catalogue
    index_bytes: int  # index files on disk; 0 while the search is exact
    index: str  # type of the index: "exact", a FAISS factory string or Milvus
    encoder_id: str  # empty if nothing of this kind was added
    companion_bytes: int = 0  # other search files: for kind "recording", the peak files of a large library


@dataclass(frozen=True)
class Stats:
    """The contents and the size of a library."""

    path: str
    recordings: int
    duration: float  # seconds of music
    catalogue_bytes: int
    levels: tuple[LevelStats, ...]
    schema_version: int
    database: str = ""  # product and location of the database, without a password

    @property
    def index_bytes(self) -> int:
        return sum(level.index_bytes for level in self.levels)

    @property
    def companion_bytes(self) -> int:
        return sum(level.companion_bytes for level in self.levels)


@dataclass(frozen=True)
class Occurrence:
    """One place where unknown music occurs."""

    source: str  # the file or stream; empty if it has no name
    interval: Interval
    heard_at: str  # time of the scan: UTC, ISO 8601


@dataclass(frozen=True, repr=False)
class UnknownMusic:
    """Music that is not in the library, with its occurrences in the order of the scans."""

    id: int
    occurrences: tuple[Occurrence, ...]

    @property
    def duration(self) -> float:
        """Duration of the longest occurrence, in seconds."""
        return max(each.interval.duration for each in self.occurrences)

    def __repr__(self) -> str:
        return f"<UnknownMusic {self.id}: {duration_text(self.duration)}, {_counted(self.occurrences, 'occurrence')}>"


class EventType(StrEnum):
    """The type of an event while listening to a stream."""

    CONNECTED = "connected"  # audio arrives for the first time
    ANNOUNCED = "announced"  # the station announces a title; shown, but not used for identification
    STARTED = "started"  # a song was detected
    ENDED = "ended"  # the song is over; its times are final
    WITHDRAWN = "withdrawn"  # the reported song was a false detection
    GAP = "gap"  # the stream stalled or broke
    RECONNECTED = "reconnected"  # audio arrives again
    FINISHED = "finished"  # the stream has ended


@dataclass(frozen=True, repr=False)
class Event:
    """An event while listening to a stream. Positions are seconds since the first audio, gaps included."""

    type: EventType
    begun: datetime  # UTC time of position 0
    position: float  # position in the stream at which the event is reported
    segment: Segment | None = None  # for started, ended, withdrawn: the song, with positions as times
    text: str = ""  # connected: name of the station; announced: the title; gap: the reason
    seconds: float = 0.0  # ended: how long the song played; reconnected: how long no audio arrived

    @property
    def at(self) -> datetime:
        """UTC time at which the event is reported."""
        return self.when(self.position)

    def when(self, position: float) -> datetime:
        """Convert a position to UTC time."""
        return self.begun + timedelta(seconds=position)

    def __repr__(self) -> str:
        about = f": {self.segment.recording.name!r}" if self.segment else f": {self.text}" if self.text else ""
        return f"<Event {self.type} at {duration_text(self.position)}{about}>"
