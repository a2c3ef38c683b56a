"""Decode and encode audio files, in this process or in a pool of child processes.

Decoders are large C programs that meet damaged files. One that crashes ends its child process, not the batch. A file is
decoded once for all encoders, in bounded memory.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from queue import Queue

import numpy as np

from songprint.audio import files, tags
from songprint.encoders.contract import Encoder, Matcher
from songprint.errors import AudioError, SongprintError
from songprint.processes import child, memory
from songprint.processes.pool import Crashed, LimitExceeded, Pool
from songprint.store.index import MAX_SEGMENTS
from songprint.types import Embeddings, Kind, SkippedFile, Tags

log = logging.getLogger(__name__)

Given = Mapping[Kind, Encoder | Matcher]  # the encoders to use; a matcher opens the one that ships

MIN_DURATION = 1.0  # seconds; shorter recordings cannot be identified
ATTEMPTS = 2  # per file, because a child may also die for another reason, such as a lack of memory
FILE_SECONDS = 4 * 3600.0  # that one file may take in a child process; a day of music takes about an hour
BLOCKS_AHEAD = 2  # blocks that wait for an encoder


@dataclass(frozen=True)
class Read:
    """One audio file, decoded and encoded."""

    path: str
    tags: Tags
    duration: float  # seconds
    embeddings: dict[Kind, Embeddings]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A file to read, and the kinds of embeddings to compute from it."""

    path: str
    kinds: frozenset[Kind]


def read(task: Task, loaded: Mapping[Kind, Encoder]) -> Read | SkippedFile:
    """Decode and encode one file with the loaded encoders. Problems of the file give a `SkippedFile`.

    Raises SongprintError for problems that other files would have too.
    """
    path = task.path
    wanted = {kind: encoder for kind, encoder in loaded.items() if kind in task.kinds}
    rate = next(iter(wanted.values())).spec.sample_rate
    warnings: list[str] = []
    try:
        made, duration = encode(files.blocks(path, rate, on_warning=warnings.append), wanted)
        if duration < MIN_DURATION:
            return SkippedFile(path, f"too short: {duration:.1f} s of audio, and {MIN_DURATION:.0f} s are needed")
        if Kind.RECORDING in made and not made[Kind.RECORDING].has_content.any():
            return SkippedFile(path, "silent: nothing to recognise in it")
        if max(map(len, made.values())) > MAX_SEGMENTS:
            return SkippedFile(path, f"too long: {duration / 3600:.0f} hours; cut it into parts")
        return Read(path, tags.read_tags(path), duration, made, tuple(warnings))
    except AudioError as error:
        return SkippedFile(path, str(error))
    except SongprintError:
        raise  # the next file would fail as well
    except OSError as error:
        return SkippedFile(path, f"cannot read it: {error.strerror or error}")
    except Exception as error:  # one unusual file must not end a batch of ten thousand
        if memory.is_lack(error):
            return SkippedFile(path, "not enough memory to decode it")
        log.exception("reading %s", path)
        return SkippedFile(path, f"cannot read it: {type(error).__name__}: {error}")


def read_all(tasks: Iterable[Task], workers: int, given: Given, memory_limit: int = 0) -> Iterator[Read | SkippedFile]:
    """Read files in `workers` child processes, in order of completion.

    `tasks` is consumed only as far as the children need it.
    """
    with Pool(
        partial(_Encoders, given),
        size=workers,
        name="ingest",
        needs_main=child.defined_in_main(given.values()),
        memory_limit=memory_limit,
    ) as readers:
        for task, outcome in readers.as_completed(_read_in_child, tasks, time_limit=FILE_SECONDS, attempts=ATTEMPTS):
            try:
                yield outcome.result()
            except Crashed:
                yield SkippedFile(task.path, "its decoder crashed")
            except LimitExceeded as error:
                yield SkippedFile(task.path, str(error))


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


def _read_in_child(encoders: _Encoders, task: Task) -> Read | SkippedFile:
    return read(task, encoders.load(task.kinds))
