"""Identify the songs in a live stream: blocks of samples in, events out.

Listener    blocks of one source -> events; compares the results of a scanner over time
follow      a source that may stall, break and return -> events; reconnects
DailyLog    events -> one file per day
"""

from __future__ import annotations

import logging
import random
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from songprint.audio.channels import Block
from songprint.audio.streams import connect, live
from songprint.audio.streams.ahead import Pipe, ReadAhead, Source
from songprint.audio.streams.station import shown
from songprint.errors import SongprintError, StreamError
from songprint.formats import objects
from songprint.scan import parts
from songprint.scan.channels import ChannelScanner, StreamScanner, after, same_recording
from songprint.scan.scan import Scanner
from songprint.types import Event, EventType, Gap, Interval, Segment

if TYPE_CHECKING:
    import av

    from songprint.store.store import Store

BLOCK_SECONDS = 1.0  # seconds of audio that are processed at a time
# Seconds between two queries of the scanner. Each query searches the most recent seconds again.
UPDATE_SECONDS = 1.0
# Seconds between two classifications of the audio between songs.
GAP_SECONDS = 60.0
STALL = 10.0  # seconds without data after which a stream is reconnected
# Seconds between segments of one recording that count as the same song: starts move while more of a song is known.
SAME_SONG_TOLERANCE = 10.0
# Seconds without new evidence after which a reported song that never settled is withdrawn.
WITHDRAW_SECONDS = 60.0
# Seconds by which the audio may lag behind the clock; a larger lag means that the stream has paused.
MAX_LAG = 5.0
# Seconds of audio after which a new scanner starts, in the next pause between songs, and at the latest.
SCANNER_SECONDS = 3600.0
MAX_SCANNER_SECONDS = 6 * 3600.0
FIRST_DELAY, MAX_DELAY = 1.0, 60.0  # seconds between attempts to reconnect
STABLE_SECONDS = 30.0  # seconds of audio after which the delay is reset

logger = logging.getLogger(__name__)


def listen(
    store: Store,
    source: str | BinaryIO,
    *,
    stop: threading.Event | None = None,
    raw: live.Raw | None = None,
    stall: float = STALL,
    give_up: float | None = None,
) -> Iterator[Event]:
    """Yield the events in a stream as they happen: the songs at a URL, or in an open file that cannot seek.

    A URL is reconnected when it stalls or breaks. A file is read to its end, however long it pauses. See `follow`.
    """
    listener = Listener(
        lambda: Scanner(store), store.sample_rate, same_song=lambda one, other: parts.same_song(one, other, store)
    )
    if isinstance(source, str):
        return follow(
            lambda: connect.connect(source, timeout=stall + 5),
            listener,
            store.sample_rate,
            name=shown(source),
            stop=stop,
            stall=stall,
            give_up=give_up,
            raw=raw,
        )
    return follow(
        lambda: Pipe(source),
        listener,
        store.sample_rate,
        name="the input",
        stop=stop,
        stall=None,
        reconnect=False,
        raw=raw,
    )


class Listener:
    """Converts blocks of audio to events.

    A scanner counts seconds of audio, events have positions in the stream, which include gaps. A scanner runs from one
    gap to the next, and is replaced about every hour to bound its memory.
    """

    def __init__(
        self,
        new_scanner: Callable[[], StreamScanner],
        sample_rate: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        same_song: Callable[[Segment, Segment], bool] = same_recording,
    ) -> None:
        self._sample_rate, self._clock, self._now = sample_rate, clock, now
        self._new_scanner: Callable[[], ChannelScanner] = lambda: ChannelScanner(new_scanner, sample_rate, same_song)
        self._began: tuple[float, datetime] | None = None  # clock and UTC time of position 0
        self._reached = 0.0  # position of the end of the received audio
        self._scanner: ChannelScanner | None = None  # None during a gap
        self._spare: ChannelScanner | None = self._new_scanner()  # created early: loading models takes a while
        self._samples = 0  # fed to the scanner
        self._updated = 0.0  # scanner time of the last query
        self._offsets: list[tuple[float, float]] = []  # (scanner time, position minus scanner time from there on)
        self._open: list[_Open] = []
        self._settled: list[Segment] = []  # ended songs of this scanner, at positions
        self._gaps: list[Gap] = []  # not taken yet, at positions
        self._gaps_until = 0.0  # scanner time up to which gaps are in `_gaps` or were taken
        self._gaps_updated = 0.0  # scanner time of the last classification

    @property
    def position(self) -> float:
        """Seconds since the first audio. During a gap, the clock determines the position."""
        return self._reached if self._scanner else max(self._reached, self._at(self._clock()))

    def when(self, position: float) -> datetime:
        """Convert a position to UTC time."""
        return self._begun + timedelta(seconds=position)

    @property
    def received(self) -> float:
        """Seconds of audio since the start or the last gap."""
        return self._samples / self._sample_rate

    def event(
        self,
        event_type: EventType,
        clock: float | None = None,
        *,
        segment: Segment | None = None,
        text: str = "",
        seconds: float = 0.0,
    ) -> Event:
        """Create an event at the current position, or during a gap at a time of the clock."""
        position = self.position if clock is None else max(self._reached, self._at(clock))
        return Event(event_type, self._begun, round(position, 3), segment, text, seconds)

    def feed(self, block: Block, arrived: float | None = None) -> Iterator[Event]:
        """Process the next samples, and yield the songs that started or ended.

        `arrived` is the time of the clock at which the samples arrived, by default now.
        """
        now = self._at(self._clock() if arrived is None else arrived)
        if self._scanner is None:
            self._scanner = self._start_scanner(max(self._reached, now - len(block) / self._sample_rate))
        self._scanner.feed(block)
        self._samples += len(block)
        lag = now - self._position(self.received)
        if lag > MAX_LAG:  # the stream paused without breaking
            self._offsets.append((self.received, self._offsets[-1][1] + lag))
        self._reached = self._position(self.received)
        if self.received - self._updated < UPDATE_SECONDS:
            return
        self._updated = self.received
        if self.received - self._gaps_updated >= GAP_SECONDS:
            self._gaps_updated = self.received
            self._add_gaps(self._scanner.gaps(self._gaps_until))
        yield from self._changes(self._scanner.settled(), self._scanner.current())
        if self.received > (MAX_SCANNER_SECONDS if self._open else SCANNER_SECONDS):
            yield from self.pause()
            self._scanner = self._start_scanner(self._reached)

    def take_gaps(self) -> list[Gap]:
        """Return what was played between the songs since the last call, as far as it is final, at positions."""
        taken, self._gaps = self._gaps, []
        return taken

    def _add_gaps(self, gaps: list[Gap]) -> None:
        for gap in gaps:
            interval = Interval(self._position(gap.interval.start), self._position(gap.interval.end))
            self._gaps.append(replace(gap, interval=interval))
            self._gaps_until = gap.interval.end

    def pause(self) -> Iterator[Event]:
        """End all songs, because the audio breaks off."""
        if self._scanner is None:
            return
        timeline = self._scanner.finish()
        self._add_gaps(after(self._gaps_until, timeline.gaps))
        last = [segment for segment in timeline.segments if not self._has_ended(self._at_position(segment))]
        yield from self._changes(last, [])
        for doubtful in self._open:
            yield self.event(EventType.WITHDRAWN, segment=doubtful.segment)
        self._open = []
        self._scanner = None

    def _start_scanner(self, position: float) -> ChannelScanner:
        scanner, self._spare = self._spare or self._new_scanner(), None
        self._samples, self._updated, self._settled = 0, 0.0, []
        self._gaps_until = self._gaps_updated = 0.0
        self._offsets = [(0.0, position)]
        return scanner

    def _changes(self, settled: list[Segment], current: list[Segment]) -> Iterator[Event]:
        """Compare the results of the scanner with the songs that were reported."""
        for segment in map(self._at_position, settled):
            reported = self._reported(segment)
            if reported is None:
                yield self.event(EventType.STARTED, segment=segment)
            else:
                self._open.remove(reported)
            self._settled.append(segment)
            yield self.event(EventType.ENDED, segment=segment, seconds=round(segment.interval.duration, 3))
        for segment in map(self._at_position, current):
            reported = self._reported(segment)
            if reported is not None:
                self._open[self._open.index(reported)] = _Open(segment, self._reached)
            elif not self._has_ended(segment):
                self._open.append(_Open(segment, self._reached))
                yield self.event(EventType.STARTED, segment=segment)
        for doubtful in [each for each in self._open if self._reached - each.last_seen > WITHDRAW_SECONDS]:
            self._open.remove(doubtful)
            yield self.event(EventType.WITHDRAWN, segment=doubtful.segment)

    def _reported(self, segment: Segment) -> _Open | None:
        """The song that was reported as started and corresponds to this segment."""
        return next((each for each in self._open if _same(each.segment, segment, SAME_SONG_TOLERANCE)), None)

    def _has_ended(self, segment: Segment) -> bool:
        """Whether the end of this segment was reported."""
        return any(_same(segment, settled, -1.0) for settled in self._settled)

    def _at_position(self, segment: Segment) -> Segment:
        """Convert scanner time to positions."""
        interval = Interval(self._position(segment.interval.start), self._position(segment.interval.end))
        return replace(segment, interval=interval)

    def _position(self, seconds: float) -> float:
        return seconds + self._offsets[max(0, bisect_right(self._offsets, (seconds, float("-inf"))) - 1)][1]

    def _at(self, clock: float) -> float:
        """The position at a time of the clock. The first call defines position 0."""
        if self._began is None:
            self._began = clock, self._now() - timedelta(seconds=self._clock() - clock)
        return clock - self._began[0]

    @property
    def _begun(self) -> datetime:
        """UTC time of position 0."""
        if self._began is None:
            self._at(self._clock())
            assert self._began is not None
        return self._began[1]


@dataclass(frozen=True)
class _Open:
    """A song that has started and not ended."""

    segment: Segment
    last_seen: float  # position at which the scanner last returned it


def _same(one: Segment, other: Segment, tolerance: float) -> bool:
    """Whether two segments are of the same recording and kind, and at most `tolerance` seconds apart."""
    return (
        one.recording.id == other.recording.id
        and one.kind == other.kind
        and one.interval.start < other.interval.end + tolerance
        and other.interval.start < one.interval.end + tolerance
    )


def follow(
    open_source: Callable[[], Source],
    listener: Listener,
    sample_rate: int,
    *,
    name: str,
    stop: threading.Event | None = None,
    stall: float | None = STALL,
    give_up: float | None = None,
    reconnect: bool = True,
    raw: live.Raw | None = None,
    retry_first: bool = False,
    on_failure: Callable[[Exception], None] = lambda error: None,
    on_frame: Callable[[av.AudioFrame], None] | None = None,
) -> Iterator[Event]:
    """Yield the events in a stream until it ends, `stop` is set or a StreamError is raised.

    A stream that breaks, or sends no data for `stall` seconds, is reopened after 1, 2, 4 seconds and so on, up to a
    minute. After `give_up` seconds of failed attempts, StreamError is raised. If the very first attempt fails, the
    error is raised immediately, because a wrong URL is more likely than an outage; with `retry_first` it is a gap.
    `on_failure` gets the error of every failed attempt, and `on_frame` every decoded frame.
    """
    stop = stop or threading.Event()
    delay, gap_since, connected = FIRST_DELAY, None, False
    while not stop.is_set():
        with ReadAhead(open_source, stop=stop, patience=stall) as ahead:
            try:
                source = ahead.opened()
                for block in live.blocks(
                    ahead, sample_rate, round(BLOCK_SECONDS * sample_rate), name=name, raw=raw, on_frame=on_frame
                ):
                    if gap_since is not None or not connected:
                        yield _arrived(listener, source, gap_since, ahead.arrived, len(block) / sample_rate)
                        gap_since, connected = None, True
                    yield from (listener.event(EventType.ANNOUNCED, text=title) for title in ahead.take_titles())
                    yield from listener.feed(block, ahead.arrived)
                    if listener.received > STABLE_SECONDS:
                        delay = FIRST_DELAY
                failure = ahead.failure
                if failure is None and reconnect and not ahead.ended:
                    failure = StreamError(f"{name}: the data can no longer be decoded")
            except SongprintError as error:
                failure = error if ahead.received and not connected else ahead.failure or error
        if stop.is_set() or failure is None:
            break
        if not connected and not retry_first:
            raise failure
        on_failure(failure)
        if not reconnect:
            yield from listener.pause()
            raise failure
        if gap_since is None:
            yield from listener.pause()
            gap_since = ahead.arrived
            yield listener.event(EventType.GAP, text=str(failure))
        elif give_up is not None and time.monotonic() - gap_since >= give_up:
            raise StreamError(f"{name} did not return within {give_up:g} s: {failure}") from failure
        logger.info("%s: reconnecting in %.0f s", failure, delay)
        stop.wait(delay * random.uniform(0.8, 1.2))  # random, so that listeners of a station do not reconnect together
        delay = min(2 * delay, MAX_DELAY)
    yield from listener.pause()
    yield listener.event(EventType.FINISHED)


def _arrived(listener: Listener, source: Source, gap_since: float | None, arrived: float, seconds: float) -> Event:
    """The event for the first `seconds` of audio, at the start or after a gap. `arrived` is their end on the clock."""
    begin = arrived - seconds
    if gap_since is None:
        return listener.event(EventType.CONNECTED, begin, text=source.name)
    return listener.event(EventType.RECONNECTED, begin, text=source.name, seconds=round(arrived - gap_since, 3))


class DailyLog:
    """A log of events: one file of JSON lines per day (UTC), `2026-08-07.jsonl`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._failed = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SongprintError(f"cannot write a log in {folder}: {error.strerror}") from error

    def write(self, event: Event) -> None:
        """Append an event to the file of its day. Errors, such as a full disk, are logged once and otherwise
        ignored."""
        line = objects.to_json(objects.event_object(event)) + "\n"
        try:
            with open(self.folder / f"{event.at.astimezone(UTC):%Y-%m-%d}.jsonl", "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            if not self._failed:
                logger.warning(
                    "cannot write the log in %s: %s; it will lack the events until this is solved",
                    self.folder,
                    error.strerror,
                )
            self._failed = True
        else:
            self._failed = False
