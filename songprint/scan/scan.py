"""A long recording, or a stream that never ends -> the songs in it, and when they are heard.

`Scanner` is told blocks of samples, in order. What it has settled will not change any more. `scan` reads a file
with it, once; a scan that was stopped goes on where it had settled everything (`songprint.scan.resuming`).
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event, current_thread, main_thread
from typing import TypeVar

import numpy as np

from songprint.audio import files
from songprint.config import Settings
from songprint.covers.tracker import CoverEar, without_recordings
from songprint.fingerprint import tracks
from songprint.fingerprint.history import VectorHistory
from songprint.fingerprint.tracker import RecordingEar
from songprint.intervals import gaps
from songprint.processes.threads import one_thread
from songprint.scan.resuming import Past, Saved
from songprint.scan.sounds import SoundMeter
from songprint.store.level import threshold_of
from songprint.store.store import Store, incomplete
from songprint.store.works import originals
from songprint.types import Interval, Kind, ScanProgress, Segment, Sound, Timeline
from songprint.unknown import memory

BLOCK = 10.0  # seconds of a file that are heard at a time
SAVED_EVERY = 10.0  # seconds of work that may be lost
SETTLES = 30.0  # seconds after which what was heard is not seen in another light any more
MARGIN = 2.0  # seconds before a song that are needed to tell where it begins
EVERY = 180.0  # seconds of a file between two looks at what has settled

OnProgress = Callable[[ScanProgress], None]


def scan(
    store: Store,
    source: files.Source,
    *,
    name: str = "",
    settings: Settings | None = None,
    on_progress: OnProgress | None = None,
    resume: Path | None = None,
    find_unknown: bool = True,
) -> Timeline:
    """The songs in a file, which is read once.

    Ctrl-C ends the scan where it is: the timeline until there is given, as not `complete`. With `resume`, a file in
    which is kept what has settled, a scan of the same source goes on there; it is deleted when the end is reached.
    With `find_unknown` music that nobody knows is remembered, and numbered where it comes again.
    """
    began = time.perf_counter()
    warnings: list[str] = []
    scanner = Scanner(store, settings, remember=find_unknown)
    saved = Saved.of(resume, source, store, scanner.settings) if resume else None
    past = saved.load() if saved else Past()
    total, complete, last_saved = _length(source), True, began
    looked = 0.0
    blocks = files.blocks(source, store.sample_rate, block_seconds=BLOCK, on_warning=warnings.append)
    with closing(scanner), closing(blocks), _ctrl_c() as stop:
        for block in _after(blocks, round(past.until * store.sample_rate)):
            scanner.feed(block)
            if scanner.duration - looked >= EVERY:
                scanner.settled()
                looked = scanner.duration
            now = time.perf_counter()
            if saved and now - last_saved > SAVED_EVERY:
                saved.keep(past.then(scanner.settled_until, scanner.found, scanner.sounds))
                last_saved = now
            if on_progress:
                done = past.until + scanner.duration
                on_progress(
                    ScanProgress(done, total and max(total, done), len(past.segments) + len(scanner.found), now - began)
                )
            if stop.is_set():
                complete = False
                break
        if saved and not complete:
            scanner.settled()
            saved.keep(past.then(scanner.settled_until, scanner.found, scanner.sounds))
        timeline = scanner.finish()
    if complete and saved:
        saved.delete()
    whole = past.then(timeline.duration, timeline.segments, scanner.sounds)
    free = gaps(whole.until, whole.segments, whole.sounds)
    if scanner.history:
        free = memory.numbered(store, name, free, scanner.history, past.until)
    return replace(
        timeline,
        segments=list(whole.segments),
        gaps=free,
        duration=whole.until,
        source=name,
        elapsed=time.perf_counter() - began,
        complete=complete,
        warnings=(*warnings, *timeline.warnings),
    )


@contextmanager
def _ctrl_c() -> Iterator[Event]:
    """What is set by Ctrl-C, which would else come in the middle of anything. Another Ctrl-C does what it always does.

    Only the main thread of a program is told of Ctrl-C.
    """
    stop = Event()
    if current_thread() is not main_thread():
        yield stop
        return

    def note(number: int, frame: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _length(source: files.Source) -> float | None:
    """Seconds, as the file says; a pipe is not asked, for that would read all of it."""
    if not isinstance(source, str | Path):
        return None
    return files.probe(source).duration


def _after(blocks: Iterable[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """The blocks without the first `samples`."""
    for block in blocks:
        if samples < len(block):
            yield block[samples:]
        samples = max(0, samples - len(block))


@dataclass(frozen=True)
class CoverNews:
    """What a look at the covers gives. Seconds."""

    exact: Sequence[Segment]  # the recordings that were known
    until: float  # up to there all covers are settled:
    settled: list[Segment]  # these, and
    current: list[Segment]  # these may go on


def look_for_covers(ear: CoverEar, exact: Sequence[Segment], until: float, last: bool = False) -> CoverNews:
    """The covers beside these recordings, which are settled `until` there; the ear forgets those that are settled."""
    found = ear.segments(exact, until)
    edge = until if last else ear.settled_until(exact, until)
    for each in sorted(found, key=lambda each: -each.interval.end):
        if not last and each.interval.start < edge < each.interval.end:  # what goes on is not told in two
            edge = each.interval.start
    edge = max(edge, ear.forgotten)
    ear.forget(edge)
    return CoverNews(
        exact,
        edge,
        [each for each in found if each.interval.start < edge or last],
        [each for each in found if each.interval.start >= edge and not last],
    )


class Scanner:
    """Hears something long and tells which songs are in it. Seconds count from the first sample.

    Recordings and covers are heard side by side, the covers in a thread of their own; what they tell of a moment comes
    a minute or more later.
    """

    def __init__(self, store: Store, settings: Settings | None = None, *, remember: bool = False) -> None:
        """With `remember` the vectors of all that is heard are kept in `history`."""
        self.settings = settings or store.settings
        self._store = store
        self._began = time.perf_counter()
        store.refresh()
        self._thresholds = {
            kind: threshold_of(level, self.settings, own_tempo=True) for kind, level in store.levels.items()
        }
        level = store.levels[Kind.RECORDING]
        self.history = VectorHistory(tracks.HOP, level.spec.window, level.spec.id) if remember else None
        self._recordings = RecordingEar(level, self.history)
        covers = store.levels.get(Kind.COVER)
        self._covers = Aside(CoverEar(covers)) if covers else None
        self._meter = SoundMeter()
        self.found: list[Segment] = []  # settled
        self._recordings_until = self._covers_until = 0.0  # seconds
        self._look: Future[CoverNews] | None = None  # at the covers, under way
        self._covers_now: list[Segment] = []  # of which more may be heard, at the last look
        self._held = ExitStack()
        self._held.enter_context(one_thread())  # last: nothing in here can fail any more

    @property
    def duration(self) -> float:
        """Seconds heard."""
        return self._recordings.duration

    @property
    def sounds(self) -> list[tuple[Interval, Sound]]:
        """What kind of sound is heard when."""
        return self._meter.sounds()

    @property
    def settled_until(self) -> float:
        """Seconds up to which all is settled; no segment goes on there."""
        until = self._covers_until if self._covers else self._recordings_until
        for each in sorted(self.found, key=lambda each: -each.interval.end):
            if each.interval.start < until < each.interval.end:
                until = each.interval.start
        return until

    def feed(self, block: np.ndarray) -> None:
        """(n,) float32 mono samples at `store.sample_rate` that come next."""
        if self._covers:
            self._covers.feed(block)
        self._recordings.feed(block)
        self._meter.feed(block)

    def __enter__(self) -> Scanner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def settled(self) -> list[Segment]:
        """The segments that will not change any more and were not told yet; covers, as far as the call before this
        one had them looked for."""
        new = self._take_covers() if self._covers else []
        present = self._heard_recordings()
        horizon = max(self._recordings_until, self.duration - SETTLES)
        until = min([horizon, *(each.interval.start - MARGIN for each in present if each.interval.end > horizon)])
        if until > self._recordings_until:
            new += self._settle_recordings(until, present)
        if self._covers:
            self._look = self._covers.later(
                partial(look_for_covers, exact=self._known(present), until=self._recordings_until)
            )
        return new

    def current(self) -> list[Segment]:
        """The segments of which more may still be heard, as they look now."""
        self._recordings.peek()
        recordings = self._heard_recordings()
        return self._in_order(recordings + without_recordings(self._covers_now, self._known(recordings), self._store))

    def finish(self) -> Timeline:
        """Nothing comes any more: all that was found."""
        self._recordings.finish()
        present = self._heard_recordings()
        self._settle_recordings(self.duration, present)
        if self._covers:
            self._take_covers()
            self._covers.finish()
            self._look = self._covers.later(
                partial(look_for_covers, exact=self._known(()), until=self.duration, last=True)
            )
            self._take_covers()
        self.close()
        self.found = self._in_order(self.found)
        return Timeline(
            segments=self.found,
            gaps=gaps(self.duration, self.found, self.sounds),
            duration=self.duration,
            thresholds=self._thresholds,
            searched=self._store.levels[Kind.RECORDING].searched,
            elapsed=time.perf_counter() - self._began,
            warnings=tuple(incomplete(self._store)),
        )

    def close(self) -> None:
        """Stop listening; what was found may still be looked at."""
        if self._covers:
            self._covers.close()
        self._held.close()

    def _settle_recordings(self, until: float, present: Iterable[Segment]) -> list[Segment]:
        new = [each for each in present if each.interval.start < until]
        self.found += new
        self._recordings.forget(until)
        self._recordings_until = until
        return new

    def _take_covers(self) -> list[Segment]:
        """Those that are settled by the last look, once that is done."""
        if self._look is None:
            return []
        news, self._look = self._look.result(), None
        new = self._in_order(without_recordings(news.settled, news.exact, self._store))
        self.found += new
        self._covers_until, self._covers_now = news.until, news.current
        return new

    def _known(self, present: Iterable[Segment]) -> list[Segment]:
        """The recordings where covers are not settled."""
        return [
            each
            for each in (*self.found, *present)
            if each.kind is Kind.RECORDING and each.interval.end > self._covers_until
        ]

    def _heard_recordings(self) -> list[Segment]:
        return self._in_order(self._recordings.segments())

    def _in_order(self, segments: Iterable[Segment]) -> list[Segment]:
        """Those that are sure and long enough, by their beginning, each with the original of its work."""
        found = [
            each
            for each in segments
            if each.confidence >= self._thresholds[each.kind]
            and each.interval.duration >= self.settings.shortest_segment
        ]
        of_work = originals(self._store.catalog, {each.work for each in found})
        return sorted(
            (replace(each, original=of_work.get(each.work)) for each in found),
            key=lambda each: (each.interval.start, each.interval.end),
        )


AHEAD = 36  # blocks that may wait: music that this ear soon works off makes up for other music
Answer = TypeVar("Answer")


class Aside:
    """All that is asked of the ear is done in order. What it raises is raised by the next call, or by `finish`."""

    def __init__(self, ear: CoverEar):
        self._ear = ear
        self._heard: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="songprint-covers")

    def feed(self, block: np.ndarray) -> None:
        """Hear this block some time; waits where too many lie before it."""
        while self._heard and (len(self._heard) >= AHEAD or self._heard[0].done()):
            self._heard.popleft().result()
        self._heard.append(self._thread.submit(self._ear.feed, block))

    def later(self, question: Callable[[CoverEar], Answer]) -> Future[Answer]:
        """What the ear answers once it has heard all blocks until now."""
        return self._thread.submit(question, self._ear)

    def finish(self) -> None:
        """Wait until all blocks are heard: nothing comes any more."""
        while self._heard:
            self._heard.popleft().result()
        self.later(lambda ear: ear.finish()).result()

    def close(self) -> None:
        """Stop, whatever was not heard yet."""
        self._thread.shutdown(cancel_futures=True)
