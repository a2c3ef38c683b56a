"""Examine, decode and encode audio files, in this process or in child processes.

Decoders are large C programs that meet damaged files. One that crashes ends its child process, not the batch. A file is
decoded once for all encoders, in bounded memory.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import Queue
from typing import BinaryIO, Protocol, TypeVar

import numpy as np

from songprint.audio import files, tags
from songprint.audio.channels import ChannelMeter, Part
from songprint.audio.identity import sound_hash
from songprint.encoders.contract import Encoder, Matcher
from songprint.errors import AudioError, SongprintError
from songprint.processes import child, memory
from songprint.processes.pool import Crashed, LimitExceeded, Pool
from songprint.store.index import MAX_SEGMENTS
from songprint.types import Embeddings, FileState, Kind, SkippedFile, Tags

log = logging.getLogger(__name__)

Result = TypeVar("Result")

Given = Mapping[Kind, Encoder | Matcher]  # the encoders to use; a matcher opens the one that ships

MIN_DURATION = 1.0  # seconds; shorter recordings cannot be identified
# Seconds from which a scan finds a recording: with fewer, too few vectors agree within a window.
MIN_SCANNED = 3.0
ATTEMPTS_TO_EXAMINE, PAUSE = 3, 0.5  # readings of a file that changes meanwhile, and seconds between them
ATTEMPTS = 2  # per file, because a child may also die for another reason, such as a lack of memory
FILE_SECONDS = 4 * 3600.0  # that one file may take in a child process; a day of music takes about an hour
BLOCKS_AHEAD = 2  # blocks that wait for an encoder


@dataclass(frozen=True)
class Examined:
    """What identifies an audio file, without decoding it; all from the same content."""

    path: str
    state: FileState
    sound: str  # see songprint.audio.identity
    tags: Tags
    links: files.Links  # of chained Ogg


@dataclass(frozen=True)
class Read:
    """One audio file, decoded and encoded."""

    path: str
    duration: float  # seconds
    embeddings: dict[Kind, Embeddings]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A file to read, and the kinds of embeddings to compute from it."""

    path: str
    kinds: frozenset[Kind]
    state: FileState | None = None  # when it was examined; None: whatever it is
    links: files.Links | None = None  # that were found when it was examined


@dataclass(frozen=True)
class ChangedFile:
    """A file that changed after it was examined. What was read of it is worthless."""

    path: str


class _Changed(Exception):
    """The file changed while it was read."""


def state_of(path: str) -> FileState | None:
    """Return the state of the file at a path; None if there is none, or something that is not a file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return _state(found) if stat.S_ISREG(found.st_mode) else None


def examine(path: str, rules: tags.Rules | None = None) -> Examined | SkippedFile:
    """Hash the sound of a file and read its tags, again if it changes meanwhile."""

    def once() -> Examined:
        with _unchanging(path) as (file, state):
            links = files.ogg_links(file)
            return Examined(path, state, sound_hash(file, links), tags.read_tags(path, file, rules), links)

    for _ in range(ATTEMPTS_TO_EXAMINE):
        try:
            return _skipping_damaged(path, once)
        except _Changed:
            time.sleep(PAUSE)
    return SkippedFile(path, "it changes all the time. Add it again when it is complete")


def read(task: Task, loaded: Mapping[Kind, Encoder]) -> Read | SkippedFile | ChangedFile:
    """Decode and encode one file with the loaded encoders. Problems of the file give a `SkippedFile`.

    Raises SongprintError for problems that other files would have too.
    """
    try:
        return _skipping_damaged(task.path, lambda: _read(task, loaded))
    except _Changed:
        return ChangedFile(task.path)


def _read(task: Task, loaded: Mapping[Kind, Encoder]) -> Read | SkippedFile:
    path = task.path
    wanted = {kind: encoder for kind, encoder in loaded.items() if kind in task.kinds}
    with _unchanging(path, task.state) as (file, _):
        made, duration, warnings = _first_audible(file, task, wanted)
    if duration < MIN_DURATION:
        return SkippedFile(path, f"too short: {duration:.1f} s of audio, and {MIN_DURATION:.0f} s are needed")
    if _is_silent(made):
        return SkippedFile(path, "silent: nothing to recognise in it")
    if max(map(len, made.values())) > MAX_SEGMENTS:
        return SkippedFile(path, f"too long: {duration / 3600:.0f} hours; cut it into parts")
    if duration < MIN_SCANNED:
        warnings.append(
            f"{path} has {duration:.1f} s: clips of it are identified, but scans find recordings of"
            f" {MIN_SCANNED:.0f} s and longer"
        )
    return Read(path, duration, made, tuple(warnings))


def _first_audible(
    file: BinaryIO, task: Task, encoders: Mapping[Kind, Encoder]
) -> tuple[dict[Kind, Embeddings], float, list[str]]:
    """Encode the default audio track, or if it is empty or silent, the first other one that is neither.

    Returns the embeddings, the duration in seconds, and warnings.
    """
    failed: AudioError | None = None
    found = None
    try:
        found = _encoded(file, task, encoders, Part())
        if not _is_silent(found[0]):
            return found
    except AudioError as error:
        failed = error
    numbers = files.readable_tracks(file)[0] if files.track_count(file) > 1 else []
    for number in numbers:
        other = _encoded(file, task, encoders, Part(number))
        if not _is_silent(other[0]):
            return other
    if failed:
        raise failed
    assert found is not None
    return found


def _encoded(
    file: BinaryIO, task: Task, encoders: Mapping[Kind, Encoder], part: Part
) -> tuple[dict[Kind, Embeddings], float, list[str]]:
    """Encode one audio track: its mono mix, or if channels cancel each other in it, a mix in which they do not."""
    rate = next(iter(encoders.values())).spec.sample_rate
    warnings: list[str] = []
    meter = ChannelMeter()
    blocks = files.blocks(file, rate, on_warning=warnings.append, part=part, meter=meter, links=task.links)
    made, duration = encode(blocks, encoders)
    if mix := meter.uncancelled():
        blocks = files.blocks(file, rate, on_warning=lambda warning: None, part=part, mix=mix, links=task.links)
        made, duration = encode(blocks, encoders)
    return made, duration, warnings


def _is_silent(made: Mapping[Kind, Embeddings]) -> bool:
    return Kind.RECORDING in made and not made[Kind.RECORDING].has_content.any()


def _skipping_damaged(path: str, work: Callable[[], Result]) -> Result | SkippedFile:
    """Run `work`, which reads the file at `path`; what is wrong with the file gives a `SkippedFile`."""
    try:
        return work()
    except AudioError as error:
        return SkippedFile(path, str(error))
    except (SongprintError, _Changed):
        raise  # the next file would fail as well
    except OSError as error:
        return SkippedFile(path, f"cannot read it: {error.strerror or error}")
    except Exception as error:  # one unusual file must not end a batch of ten thousand
        if memory.is_lack(error):
            return SkippedFile(path, "not enough memory to decode it")
        log.exception("reading %s", path)
        return SkippedFile(path, f"cannot read it: {type(error).__name__}: {error}")


@contextmanager
def _unchanging(path: str, expected: FileState | None = None) -> Iterator[tuple[BinaryIO, FileState]]:
    """Open a file. Raises _Changed if it is not in the expected state, or another one afterwards."""
    with open(path, "rb") as file:
        before = os.fstat(file.fileno())
        if expected not in (None, _state(before)):
            raise _Changed
        failed: AudioError | None = None
        try:
            yield file, _state(before)
        except AudioError as error:  # perhaps because the file is still being written
            failed = error
        try:
            after, now = os.fstat(file.fileno()), os.stat(path)
        except FileNotFoundError as error:
            raise _Changed from error
        if not _state(before) == _state(after) == _state(now) or before.st_ino != now.st_ino:
            raise _Changed
        if failed:
            raise failed


def _state(found: os.stat_result) -> FileState:
    return FileState(found.st_size, found.st_mtime_ns)


class Reader(Protocol):
    """Examines and reads many files. What it iterates over is consumed only as far as it is needed."""

    def examine(self, paths: Iterable[str], rules: tags.Rules) -> Iterator[Examined | SkippedFile]: ...

    def read(self, tasks: Iterable[Task]) -> Iterator[Read | SkippedFile | ChangedFile]: ...


class OwnReader:
    """Reads in this process, with encoders that `load` returns when the first file needs them."""

    def __init__(self, load: Callable[[], Mapping[Kind, Encoder]]) -> None:
        self._load = load

    def examine(self, paths: Iterable[str], rules: tags.Rules) -> Iterator[Examined | SkippedFile]:
        return (examine(path, rules) for path in paths)

    def read(self, tasks: Iterable[Task]) -> Iterator[Read | SkippedFile | ChangedFile]:
        return (read(task, self._load()) for task in tasks)


class PoolReader:
    """Reads in child processes, in order of completion. A file whose decoder crashes is tried again, then skipped."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def examine(self, paths: Iterable[str], rules: tags.Rules) -> Iterator[Examined | SkippedFile]:
        work = partial(_examine_in_child, rules=rules)
        outcomes = self._pool.as_completed(work, paths, time_limit=FILE_SECONDS, attempts=ATTEMPTS)
        return (_outcome(path, future) for path, future in outcomes)

    def read(self, tasks: Iterable[Task]) -> Iterator[Read | SkippedFile | ChangedFile]:
        outcomes = self._pool.as_completed(_read_in_child, tasks, time_limit=FILE_SECONDS, attempts=ATTEMPTS)
        return (_outcome(task.path, future) for task, future in outcomes)


def _outcome(path: str, future: Future[Result]) -> Result | SkippedFile:
    try:
        return future.result()
    except (Crashed, LimitExceeded) as error:
        return SkippedFile(path, str(error))


@contextmanager
def children(workers: int, given: Given, memory_limit: int = 0) -> Iterator[Reader]:
    """Open a reader with `workers` child processes; each starts when it is needed."""
    with Pool(
        partial(_Encoders, given),
        size=workers,
        name="ingest",
        needs_main=child.defined_in_main(given.values()),
        memory_limit=memory_limit,
    ) as pool:
        yield PoolReader(pool)


def encode(blocks: Iterable[np.ndarray], encoders: Mapping[Kind, Encoder]) -> tuple[dict[Kind, Embeddings], float]:
    """Encode blocks of samples, (n,) float32 each, with several encoders; return the embeddings and the seconds.

    Encoders pull their blocks, so all but the first run in threads of their own. An exception of an encoder or of the
    blocks is raised here, after all threads have ended.
    """
    (first, encoder), *others = encoders.items()
    threads = {kind: _EncoderThread(other) for kind, other in others}
    try:
        embeddings, duration = encoder.encode_stream(_copied_to(threads.values(), blocks))
    finally:
        for thread in threads.values():
            thread.end()
    return {first: embeddings, **{kind: thread.embeddings() for kind, thread in threads.items()}}, duration


def _copied_to(threads: Iterable[_EncoderThread], blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for block in blocks:
        for thread in threads:
            thread.feed(block)
        yield block


class _EncoderThread:
    """An encoder in its own thread, which is fed with blocks."""

    def __init__(self, encoder: Encoder) -> None:
        self._blocks: Queue[np.ndarray | None] = Queue(BLOCKS_AHEAD)
        self._outcome: Embeddings | BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, args=(encoder,), daemon=True)
        self._thread.start()

    def feed(self, block: np.ndarray) -> None:
        self._blocks.put(block)

    def end(self) -> None:
        self._blocks.put(None)
        self._thread.join()

    def embeddings(self) -> Embeddings:
        """The embeddings, after `end`; raises what the encoder raised."""
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome

    def _run(self, encoder: Encoder) -> None:
        try:
            self._outcome, _ = encoder.encode_stream(self._remaining())
        except BaseException as error:  # raised by `embeddings`
            self._outcome = error
        for _ in self._remaining():  # `feed` must not block on an encoder that has stopped
            pass

    def _remaining(self) -> Iterator[np.ndarray]:
        while not self._ended:
            block = self._blocks.get()
            self._ended = block is None
            if block is not None:
                yield block


# The rest runs in the child processes.


class _Encoders:
    """The encoders of a child; shipped ones are loaded when a task needs them."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._loaded: dict[Kind, Encoder] = {}

    def load(self, wanted: frozenset[Kind]) -> dict[Kind, Encoder]:
        for kind, source in self._given.items():
            if kind in wanted and kind not in self._loaded:
                self._loaded[kind] = source.open_encoder() if isinstance(source, Matcher) else source
        return self._loaded


def _examine_in_child(encoders: _Encoders, path: str, rules: tags.Rules) -> Examined | SkippedFile:
    return examine(path, rules)


def _read_in_child(encoders: _Encoders, task: Task) -> Read | SkippedFile | ChangedFile:
    return read(task, encoders.load(task.kinds))
