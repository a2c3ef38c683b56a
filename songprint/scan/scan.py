"""Scan a long recording, or a stream that never ends: which songs occur in it, and when.

`Scanner` is fed blocks of samples, in order, and returns segments once they are final. `scan` reads a file through it,
once; an interrupted scan continues where everything was final (`songprint.scan.resuming`).
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event, current_thread, main_thread
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from songprint.audio import files
from songprint.audio.channels import ChannelMeter, Part
from songprint.intervals import gaps, part_of, share, subtract
from songprint.processes.threads import one_thread
from songprint.scan import parts
from songprint.scan.resuming import Past, Saved
from songprint.scan.sounds import SoundMeter
from songprint.store.level import threshold_of
from songprint.store.store import Store, incomplete
from songprint.store.works import originals
from songprint.types import Interval, Kind, ScanProgress, Segment, Sound, Timeline
from songprint.unknown import memory

if TYPE_CHECKING:
    from songprint.config import Settings
    from songprint.encoders.contract import History, Settled, Tracker

BLOCK = 10.0  # seconds of a file that are decoded at a time
SAVED_EVERY = 10.0  # seconds of work that an interruption may lose
EVERY = 180.0  # seconds of a file between two requests for final segments
# Blocks that may wait for a tracker in the background: music that it processes quickly makes up for other music.
MAX_PENDING = 36

OnProgress = Callable[[ScanProgress], None]
Result = TypeVar("Result")


def scan(
    store: Store,
    source: files.Source,
    *,
    name: str = "",
    settings: Settings | None = None,
    on_progress: OnProgress | None = None,
    resume: Path | None = None,
    find_unknown: bool = True,
    track: int | None = None,
) -> Timeline:
    """Return the timeline of a file: of all its audio tracks, or of the one with number `track`, from 1.

    Channels that the mono mix does not contain are scanned apart, where they differ.

    Ctrl-C ends the scan early: the timeline up to there is returned, with `complete` false. `resume` is a file that
    keeps what is final; a later scan of the same source continues there, and deletes it at the end. With
    `find_unknown`, music that is not in the library is remembered, and numbered where it occurs again.
    """
    with files.rereadable(source) as file:
        return _scan(
            store,
            file,
            name=name,
            settings=settings,
            on_progress=on_progress,
            resume=resume,
            find_unknown=find_unknown,
            track=track,
        )


def _scan(
    store: Store,
    source: files.Source,
    *,
    name: str,
    settings: Settings | None,
    on_progress: OnProgress | None,
    resume: Path | None,
    find_unknown: bool,
    track: int | None,
) -> Timeline:
    """Return the timeline of a file that can be read several times."""
    began = time.perf_counter()
    tracks, warnings = files.readable_tracks(source, track)
    part, meter = Part(tracks[0]), ChannelMeter()
    scanner = Scanner(store, settings, remember=find_unknown, live=False)
    saved = Saved.of(resume, source, store, scanner.settings, part.track) if resume else None
    past = saved.load() if saved else Past()
    total, complete, last_saved = _length(source), True, began
    looked = 0.0
    blocks = files.blocks(
        source, store.sample_rate, block_seconds=BLOCK, on_warning=warnings.append, part=part, meter=meter
    )

    least = 0.0  # fraction of the last report

    def report(step: parts.Step | None = None) -> None:
        nonlocal least
        if not on_progress:
            return
        elapsed = time.perf_counter() - began
        if step is None:
            done = past.until + scanner.processed
            found = replace(scanner.so_far(), segments=[*past.segments, *scanner.found], duration=done)
            step = parts.Step(done, total and max(total, done), 0.0, (total or 0.0) * (len(tracks) - 1))
        else:
            found = replace(scanner.so_far(), segments=list(step.segments), duration=whole.until)
        found = replace(found, source=name, complete=False)
        progress = ScanProgress(
            step.done,
            step.total,
            len(found.segments),
            elapsed,
            found,
            seconds_before=step.before,
            seconds_after=step.after,
            least=least,
        )
        least = progress.fraction or 0.0
        on_progress(progress)

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
            report()
            if stop.is_set():
                complete = False
                break
        if saved and not complete:
            scanner.settled()
            saved.keep(past.then(scanner.settled_until, scanner.found, scanner.sounds))
        timeline = scanner.finish(report)
        whole = past.then(timeline.duration, timeline.segments, scanner.sounds)
        if complete:
            if saved:
                saved.keep(whole)

            def step(step: parts.Step) -> bool:
                report(step)
                return stop.is_set()

            whole, others, complete = parts.add_others(
                whole, source, tracks, meter, store, partial(Scanner, store, scanner.settings, live=False), step
            )
            warnings += others
    if complete and saved:
        saved.delete()
    free = gaps(whole.until, whole.segments, whole.sounds)
    if scanner.history:
        free = memory.numbered(store, name, free, scanner.history, past.until)
    timeline = replace(
        timeline,
        segments=list(whole.segments),
        gaps=free,
        duration=whole.until,
        source=name,
        elapsed=time.perf_counter() - began,
        complete=complete,
        warnings=(*warnings, *timeline.warnings),
    )
    if on_progress and complete:
        count = len(timeline.segments)
        on_progress(ScanProgress(whole.until, whole.until, count, timeline.elapsed, timeline, finished=True))
    return timeline


@contextmanager
def _ctrl_c() -> Iterator[Event]:
    """An event that the first Ctrl-C sets instead of interrupting anything; a second one interrupts as usual.

    Only the main thread of a program receives Ctrl-C; elsewhere the event is never set.
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
    """The duration in seconds that the file declares; None for a pipe, which would have to be read to its end."""
    if not isinstance(source, str | Path):
        return None
    return files.probe(source).duration


def _after(blocks: Iterable[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """Skip the first `samples` samples of the blocks."""
    for block in blocks:
        if samples < len(block):
            yield block[samples:]
        samples = max(0, samples - len(block))


class Scanner:
    """Finds the songs in a long recording that is fed block by block. Times are seconds since the first sample.

    Every kind has a tracker. That of the first kind runs in the thread of the caller. The others run in their own
    threads, some blocks behind, and their segments are cut where those of earlier kinds explain the audio better.
    """

    def __init__(
        self, store: Store, settings: Settings | None = None, *, remember: bool = False, live: bool = True
    ) -> None:
        """With `remember`, the vectors of all audio are kept in `history`.

        If not `live`, `current` is not used: segments of background kinds that may still grow are not computed.
        """
        self._live = live
        self.settings = settings or store.settings
        self._store = store
        self._began = time.perf_counter()
        store.refresh()
        self._thresholds = {
            kind: threshold_of(level, self.settings, level.matcher.tracking_case)
            for kind, level in store.levels.items()
        }
        self._runners = [
            _Runner(level.kind, level.matcher.tracker(level, self._accepts, remember=remember), background=number > 0)
            for number, level in enumerate(store.levels.values())
        ]
        self._meter = SoundMeter()
        self.found: list[Segment] = []  # final
        self._held = ExitStack()
        self._held.enter_context(one_thread())  # last: nothing after it can fail

    @property
    def duration(self) -> float:
        """Seconds that were fed."""
        return self._runners[0].tracker.duration

    @property
    def processed(self) -> float:
        """Seconds that all kinds have processed."""
        return min(runner.processed for runner in self._runners) / self._store.sample_rate

    @property
    def sounds(self) -> list[tuple[Interval, Sound]]:
        """The class of the sound in each interval."""
        return self._meter.sounds()

    @property
    def history(self) -> History | None:
        """The vectors of all audio so far, if the scanner was created with `remember`."""
        return self._runners[0].tracker.history

    @property
    def settled_until(self) -> float:
        """Seconds up to which everything is final and no segment continues."""
        until = self._runners[-1].until
        for each in sorted(self.found, key=lambda each: -each.interval.end):
            if each.interval.start < until < each.interval.end:
                until = each.interval.start
        return until

    def feed(self, block: np.ndarray) -> None:
        """Process the next (n,) float32 mono samples at `store.sample_rate`."""
        for runner in reversed(self._runners):  # those in the background first: they work meanwhile
            runner.feed(block)
        self._meter.feed(block)

    def __enter__(self) -> Scanner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def settled(self) -> list[Segment]:
        """Return the segments that have become final since the last call.

        Kinds in the background return the results that the previous call requested.
        """
        new = [segment for runner in self._runners for segment in self._collect(runner)]
        until = np.inf
        for runner in self._runners:
            # Later kinds need the growing segments of earlier ones.
            growing = self._live or runner is not self._runners[-1]
            runner.settle(self._known(runner, self._growing(runner)), until, growing=growing)
            if not runner.background:
                new += self._collect(runner)
            until = runner.until
        return new

    def current(self) -> list[Segment]:
        """Return the segments that may still grow, as they are now."""
        found: list[Segment] = []
        for runner in self._runners:
            known = self._known(runner, found)
            found += unexplained(runner.current(known), known, self._store, runner.tracker.min_segment)
        return self._in_order(found)

    def finish(self, on_step: Callable[[], None] = lambda: None) -> Timeline:
        """Return the timeline of all audio: no more follows. `on_step` is called after each pending block."""
        for runner in self._runners:
            self._collect(runner)
            runner.finish(on_step)
            runner.settle(self._known(runner, ()), self.duration, last=True)
            self._collect(runner)
        self.close()
        self.found = self._in_order(self.found)
        return replace(
            self.so_far(),
            gaps=gaps(self.duration, self.found, self.sounds),
            warnings=tuple(incomplete(self._store)),
        )

    def so_far(self) -> Timeline:
        """Return the final segments, without gaps: cheap."""
        return Timeline(
            segments=self.found,
            gaps=[],
            duration=self.duration,
            thresholds=self._thresholds,
            searched=self._store.identity.searched,
            elapsed=time.perf_counter() - self._began,
        )

    def close(self) -> None:
        """Stop; what was found remains available."""
        for runner in self._runners:
            runner.close()
        self._held.close()

    def _collect(self, runner: _Runner) -> list[Segment]:
        """The segments that the runner has settled since the last call, cut where earlier kinds explain them."""
        settled, known = runner.collect()
        new = self._in_order(unexplained(settled, known, self._store, runner.tracker.min_segment))
        self.found += new
        return new

    def _growing(self, runner: _Runner) -> list[Segment]:
        """Segments of the kinds before the runner's that may still grow."""
        return [segment for other in self._runners[: self._runners.index(runner)] for segment in other.growing]

    def _known(self, runner: _Runner, growing: Iterable[Segment]) -> list[Segment]:
        """The segments of the kinds before the runner's, where the runner is not settled."""
        earlier = {other.kind for other in self._runners[: self._runners.index(runner)]}
        return [each for each in (*self.found, *growing) if each.kind in earlier and each.interval.end > runner.until]

    def _accepts(self, segment: Segment) -> bool:
        """Whether the segment is confident and long enough to be reported."""
        return (
            segment.confidence >= self._thresholds[segment.kind]
            and segment.interval.duration >= self.settings.shortest_segment
        )

    def _in_order(self, segments: Iterable[Segment]) -> list[Segment]:
        """The segments that are accepted, by start time, each with the original of its work."""
        found = [each for each in segments if self._accepts(each)]
        of_work = originals(self._store.catalog, {each.work for each in found})
        return sorted(
            (replace(each, original=of_work.get(each.work)) for each in found),
            key=lambda each: (each.interval.start, each.interval.end),
        )


class _Runner:
    """A tracker, in its own thread if it is in the background, and what it has settled.

    A background tracker processes calls in order. An error that it raises is raised again by the next call.
    """

    def __init__(self, kind: Kind, tracker: Tracker, *, background: bool) -> None:
        self.kind, self.tracker, self.background = kind, tracker, background
        self.until = 0.0  # seconds up to which this kind is final
        self.processed = 0  # samples
        self.growing: list[Segment] = []  # not final, as of the last answer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"songprint-{kind}") if background else None
        self._fed: deque[Future[None]] = deque()
        self._pending: tuple[Future[Settled], list[Segment]] | None = None  # an answer, and what was known

    def feed(self, block: np.ndarray) -> None:
        """Process a block, now or later; waits while too many blocks are pending."""
        if not self._thread:
            self._process(block)
            return
        while self._fed and (len(self._fed) >= MAX_PENDING or self._fed[0].done()):
            self._fed.popleft().result()
        self._fed.append(self._thread.submit(self._process, block))

    def settle(self, known: list[Segment], until: float, *, last: bool = False, growing: bool = True) -> None:
        """Request the results that are final up to `until` seconds; `collect` returns them."""
        self._pending = self._submit(partial(self.tracker.settle, known, until, last=last, growing=growing)), known

    def collect(self) -> tuple[list[Segment], list[Segment]]:
        """Wait for the pending result; return its final segments, and the known segments that it used."""
        if self._pending is None:
            return [], []
        (answer, known), self._pending = self._pending, None
        settled = answer.result()
        self.until, self.growing = settled.until, settled.current
        return settled.segments, known

    def current(self, known: list[Segment]) -> list[Segment]:
        """The segments that may still grow: as of now, or of the last answer if the tracker is in the background."""
        return self.growing if self.background else self.tracker.current(known)

    def finish(self, on_step: Callable[[], None]) -> None:
        """Process everything that is pending: no more audio follows. `on_step` is called after each block."""
        while self._fed:
            self._fed.popleft().result()
            on_step()
        self._submit(self.tracker.finish).result()

    def close(self) -> None:
        """Stop, without processing what is pending."""
        if self._thread:
            self._thread.shutdown(cancel_futures=True)

    def _process(self, block: np.ndarray) -> None:
        self.tracker.feed(block)
        self.processed += len(block)

    def _submit(self, call: Callable[[], Result]) -> Future[Result]:
        if self._thread:
            return self._thread.submit(call)
        done: Future[Result] = Future()
        done.set_result(call())
        return done


def unexplained(
    segments: Iterable[Segment], known: Sequence[Segment], store: Store, min_segment: float
) -> list[Segment]:
    """Cut out of each segment what a known one explains better: the same recording, a copy of it, or the same work.

    The longest part that remains is kept if it lasts `min_segment` seconds and known segments cover less than half
    of it.
    """
    found = []
    for segment in segments:
        near = [
            each
            for each in known
            if each.interval.start < segment.interval.end and each.interval.end > segment.interval.start
        ]
        ids = {segment.recording.id}
        ids |= {each.recording.id for each in near if segment.work and each.work == segment.work}
        # Copies are compared by their stored embeddings, so only where the catalogue does not decide.
        ids |= store.copies({each.recording.id for each in near} - ids, of=[segment.recording.id])
        same = [each.interval for each in near if each.recording.id in ids]
        rest = max(subtract(segment.interval, same), key=lambda part: part.duration, default=None)
        if rest and rest.duration >= min_segment and share(rest, [each.interval for each in near]) < 0.5:
            found.append(part_of(segment, rest))
    return found
