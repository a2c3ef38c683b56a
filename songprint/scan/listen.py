"""A stream that is listened to -> what happens in it, as it happens.

Listener    blocks of one source -> events; it has the ears, a `Scanner`, and knows what is being heard
follow      a source that may stall, break and come again -> events; it has the patience
DailyLog    events -> a file for each day
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
from typing import BinaryIO, Protocol

import numpy as np

from songprint.audio.streams import connect, live
from songprint.audio.streams.ahead import ReadAhead, Source
from songprint.audio.streams.pipe import Pipe
from songprint.audio.streams.station import shown
from songprint.errors import SongprintError, StreamError
from songprint.formats import objects
from songprint.scan.scan import Scanner
from songprint.store.store import Store
from songprint.types import Event, EventType, Interval, Segment, Timeline

BLOCK_SECONDS = 1.0
LOOK_SECONDS = 1.0  # between two looks at what the ears have found: each searches the last seconds anew
STALL = 10.0  # seconds without a byte after which a stream is connected again
SAME_PLACE = 10.0  # seconds by which the start of a song may move while more of it is heard
DOUBT_SECONDS = 60.0  # after which a song that is no longer heard and never settled was none
BEHIND_SECONDS = 5.0  # by which the sound may lag behind the clock before the clock is believed
EARS_SECONDS = 3600.0  # after which fresh ears are taken, as soon as no song is heard
EARS_SECONDS_AT_MOST = 6 * 3600.0
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0  # seconds between attempts to connect again
GOOD_SECONDS = 30.0  # of sound after which a connection was a good one

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
    """What is heard at a URL or in an open file that cannot seek, as it happens; see `follow`.

    A URL is connected again when it stalls or breaks; a file is read to its end, however long it pauses.
    """
    listener = Listener(lambda: Scanner(store), store.sample_rate)
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


class Ears(Protocol):
    """What `Scanner` does. Seconds count from the first block."""

    def feed(self, block: np.ndarray) -> None: ...

    def settled(self) -> list[Segment]: ...

    def current(self) -> list[Segment]: ...

    def finish(self) -> Timeline: ...


class Listener:
    """Hears blocks of sound and tells which songs start and end."""

    def __init__(
        self,
        new_ears: Callable[[], Ears],
        sample_rate: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._new_ears, self._sample_rate, self._clock, self._now = new_ears, sample_rate, clock, now
        self._began: tuple[float, datetime] | None = None  # the clock and the time of day at position 0
        self._reached = 0.0  # position up to which there was sound
        self._ears: Ears | None = None
        self._spare: Ears | None = new_ears()  # what they need is loaded before the sound comes
        self._samples = 0  # that the ears have heard
        self._looked = 0.0  # second of the ears up to which news were asked for
        self._places: list[tuple[float, float]] = []  # (second of the ears, what to add for the position)
        self._open: list[_Open] = []
        self._settled: list[Segment] = []  # by these ears, at positions

    @property
    def position(self) -> float:
        """Seconds since the first sound: of the sound while there is any, of the clock while there is none."""
        return self._reached if self._ears else max(self._reached, self._at(self._clock()))

    @property
    def heard(self) -> float:
        """Seconds of sound since it last came."""
        return self._samples / self._sample_rate

    def event(self, what: EventType, clock: float | None = None, **more: object) -> Event:
        """Something that happens now, or at a time of the clock while there is no sound."""
        position = self.position if clock is None else max(self._reached, self._at(clock))
        return Event(what, self._began[1], round(position, 3), **more)

    def feed(self, block: np.ndarray, arrived: float | None = None) -> Iterator[Event]:
        """(n,) float32 mono samples, as they come; the songs that started or ended meanwhile.

        `arrived` is when they came, on the clock; now if it is not given.
        """
        now = self._at(self._clock() if arrived is None else arrived)
        if self._ears is None:
            self._take_fresh_ears(max(self._reached, now - len(block) / self._sample_rate))
        self._ears.feed(block)
        self._samples += len(block)
        behind = now - self._position(self.heard)
        if behind > BEHIND_SECONDS:  # the stream paused without breaking
            self._places.append((self.heard, self._places[-1][1] + behind))
        self._reached = self._position(self.heard)
        if self.heard - self._looked < LOOK_SECONDS:
            return
        self._looked = self.heard
        yield from self._news(self._ears.settled(), self._ears.current())
        if self.heard > (EARS_SECONDS_AT_MOST if self._open else EARS_SECONDS):
            yield from self._finish_ears()
            self._take_fresh_ears(self._reached)

    def pause(self) -> Iterator[Event]:
        """The sound breaks off: what was being heard ends."""
        if self._ears is not None:
            yield from self._finish_ears()

    def _take_fresh_ears(self, position: float) -> None:
        self._ears, self._spare = self._spare or self._new_ears(), None
        self._samples, self._looked, self._settled = 0, 0.0, []
        self._places = [(0.0, position)]

    def _finish_ears(self) -> Iterator[Event]:
        timeline = self._ears.finish()
        last = [segment for segment in timeline.segments if not self._told(self._placed(segment))]
        yield from self._news(last, [])
        for doubtful in self._open:
            yield self.event(EventType.WITHDRAWN, segment=doubtful.segment)
        self._open = []
        self._ears = None

    def _news(self, settled: list[Segment], current: list[Segment]) -> Iterator[Event]:
        for segment in map(self._placed, settled):
            known = self._known(segment)
            if known is None:
                yield self.event(EventType.STARTED, segment=segment)
            else:
                self._open.remove(known)
            self._settled.append(segment)
            yield self.event(EventType.ENDED, segment=segment, seconds=round(segment.interval.duration, 3))
        for segment in map(self._placed, current):
            known = self._known(segment)
            if known is not None:
                self._open[self._open.index(known)] = _Open(segment, self._reached)
            elif not self._told(segment):
                self._open.append(_Open(segment, self._reached))
                yield self.event(EventType.STARTED, segment=segment)
        for doubtful in [each for each in self._open if self._reached - each.last_heard > DOUBT_SECONDS]:
            self._open.remove(doubtful)
            yield self.event(EventType.WITHDRAWN, segment=doubtful.segment)

    def _known(self, segment: Segment) -> _Open | None:
        return next((each for each in self._open if _same(each.segment, segment, SAME_PLACE)), None)

    def _told(self, segment: Segment) -> bool:
        """Whether its end was told already."""
        return any(_same(segment, settled, -1.0) for settled in self._settled)

    def _placed(self, segment: Segment) -> Segment:
        """The ears' seconds become positions."""
        heard = Interval(self._position(segment.interval.start), self._position(segment.interval.end))
        return replace(segment, interval=heard)

    def _position(self, second: float) -> float:
        return second + self._places[max(0, bisect_right(self._places, (second, float("-inf"))) - 1)][1]

    def _at(self, clock: float) -> float:
        """The position at a time of the clock; the first that is asked for is 0."""
        if self._began is None:
            self._began = clock, self._now() - timedelta(seconds=self._clock() - clock)
        return clock - self._began[0]


@dataclass(frozen=True)
class _Open:
    """A song that started and has not ended."""

    segment: Segment
    last_heard: float  # position


def _same(one: Segment, other: Segment, tolerance: float) -> bool:
    """Whether two segments tell of the same song at the same time, within so many seconds."""
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
) -> Iterator[Event]:
    """What happens in a stream, as it happens, until it ends, `stop` is set or patience does.

    A stream that breaks, or from which nothing comes for `stall` seconds, is opened again, after one second, two,
    four, up to a minute; `give_up` is after how many seconds of that the StreamError is raised. A stream that cannot
    be opened at the very first time raises it at once: the name is wrong more often than the station is down.
    """
    stop = stop or threading.Event()
    delay, gap_since, ever = FIRST_DELAY, None, False
    while not stop.is_set():
        with ReadAhead(open_source, stop=stop, patience=stall) as ahead:
            try:
                source = ahead.opened()
                for block in live.blocks(ahead, sample_rate, round(BLOCK_SECONDS * sample_rate), name=name, raw=raw):
                    if gap_since is not None or not ever:
                        yield _arrived(listener, source, gap_since, ahead.arrived, len(block) / sample_rate)
                        gap_since, ever = None, True
                    yield from (listener.event(EventType.ANNOUNCED, text=title) for title in ahead.take_titles())
                    yield from listener.feed(block, ahead.arrived)
                    if listener.heard > GOOD_SECONDS:
                        delay = FIRST_DELAY
                failure = ahead.failure
                if failure is None and reconnect and not ahead.ended:
                    failure = StreamError(f"{name}: what comes can no longer be decoded")
            except SongprintError as error:
                failure = error if ahead.received and not ever else ahead.failure or error
        if stop.is_set() or failure is None:
            break
        if not ever:
            raise failure
        if not reconnect:
            yield from listener.pause()
            raise failure
        if gap_since is None:
            yield from listener.pause()
            gap_since = ahead.arrived
            yield listener.event(EventType.GAP, text=str(failure))
        elif give_up is not None and time.monotonic() - gap_since >= give_up:
            raise StreamError(f"{name} did not come back for {give_up:g} s: {failure}") from failure
        logger.info("%s: again in %.0f s", failure, delay)
        stop.wait(delay * random.uniform(0.8, 1.2))  # not all listeners of a station at once
        delay = min(2 * delay, LONGEST_DELAY)
    yield from listener.pause()
    yield listener.event(EventType.FINISHED)


def _arrived(listener: Listener, source: Source, gap_since: float | None, arrived: float, seconds: float) -> Event:
    """So many seconds of sound arrived, the first ever or the first after a gap."""
    begin = arrived - seconds
    if gap_since is None:
        return listener.event(EventType.CONNECTED, begin, text=source.name)
    return listener.event(EventType.RECONNECTED, begin, text=source.name, seconds=round(arrived - gap_since, 3))


class DailyLog:
    """A file of JSON lines for each day, `2026-08-07.jsonl`; a day begins at midnight UTC."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._failed = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SongprintError(f"cannot keep a log in {folder}: {error.strerror}") from error

    def write(self, event: Event) -> None:
        """Add an event to the file of its day. A disk that is full is said once; listening goes on."""
        line = objects.to_json(objects.event_object(event)) + "\n"
        try:
            with open(self.folder / f"{event.at.astimezone(UTC):%Y-%m-%d}.jsonl", "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            if not self._failed:
                logger.warning(
                    "cannot write the log in %s: %s; what happens meanwhile is not in it", self.folder, error.strerror
                )
            self._failed = True
        else:
            self._failed = False
