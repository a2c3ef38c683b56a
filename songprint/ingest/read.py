"""Audio files -> Read values, in this process or by several worker processes.

Decoders are large programs in C that meet broken files: one that crashes takes its worker with it, not the
batch. Each worker has a pipe of its own, so it is known which file it was at, and nothing is shared that a
dying process could leave locked. Workers never outlive the process that started them, however it ends.
"""

from __future__ import annotations

import logging
import multiprocessing
import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from songprint import kinds
from songprint.audio import files, tags
from songprint.errors import AudioError, SongprintError
from songprint.fingerprint.encoder import Encoder
from songprint.ingest import encode
from songprint.processes import child
from songprint.store.index import MAX_SEGMENTS
from songprint.types import Embeddings, Kind, SkippedFile, Tags

log = logging.getLogger(__name__)

Given = Mapping[Kind, Encoder | None]  # the encoders to use; None for one that is shipped

SHORTEST = 1.0  # seconds of audio from which a recording can be recognised
AHEAD = 2  # files given to a worker: the one it reads, and one so that it need not wait
ATTEMPTS = 2  # a worker may also die of something else than its file, such as a lack of memory


@dataclass(frozen=True)
class Read:
    """One audio file, decoded and encoded."""

    path: str
    tags: Tags
    duration: float  # seconds
    embeddings: dict[Kind, Embeddings]
    warnings: tuple[str, ...]


@dataclass
class Task:
    """A file to read, and of which kinds embeddings are to be made."""

    path: str
    kinds: frozenset[Kind]
    crashes: int = 0  # of the workers that read it


def read(task: Task, loaded: Mapping[Kind, Encoder]) -> Read | SkippedFile:
    """Decode one file and encode it, in bounded memory. Whatever is wrong with the file is a `SkippedFile`."""
    path = task.path
    wanted = {kind: encoder for kind, encoder in loaded.items() if kind in task.kinds}
    rate = next(iter(wanted.values())).spec.sample_rate
    warnings: list[str] = []
    try:
        made, duration = encode.encode(files.blocks(path, rate, on_warning=warnings.append), wanted)
        if duration < SHORTEST:
            return SkippedFile(path, f"too short: {duration:.1f} s of audio, and {SHORTEST:.0f} s are needed")
        if Kind.RECORDING in made and not made[Kind.RECORDING].has_content.any():
            return SkippedFile(path, "silent: nothing to recognise in it")
        if max(map(len, made.values())) > MAX_SEGMENTS:
            return SkippedFile(path, f"too long: {duration / 3600:.0f} hours; cut it into parts")
        return Read(path, tags.read_tags(path), duration, made, tuple(warnings))
    except AudioError as error:
        return SkippedFile(path, str(error))
    except SongprintError:
        raise  # not the file's fault: the next one would fail as well
    except OSError as error:
        return SkippedFile(path, f"cannot read it: {error.strerror or error}")
    except MemoryError:
        return SkippedFile(path, "not enough memory to decode it")
    except Exception as error:  # one odd file must not end a batch of ten thousand
        log.exception("reading %s", path)
        return SkippedFile(path, f"cannot read it: {type(error).__name__}: {error}")


def read_all(tasks: Iterable[Task], workers: int, given: Given) -> Iterator[Read | SkippedFile]:
    """Read files by `workers` processes; `tasks` is asked for the next one only when a worker has room.

    Results come as they are ready.
    """
    coming = iter(tasks)
    crew = _Crew(workers, given)
    try:
        while True:
            crew.hand_out(coming)
            if crew.idle:
                return
            yield from crew.results()
    finally:
        crew.dismiss()


def possible(given: Given) -> bool:
    """Whether workers can be had: not with an encoder that cannot be sent, nor inside another's worker."""
    try:
        pickle.dumps(given)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        log.info("adding with one process, because the encoder cannot be sent to others: %s", error)
        return False
    return not multiprocessing.current_process().daemon


class _Crew:
    """Up to `size` workers; one that dies is replaced, and its files are given to others."""

    def __init__(self, size: int, given: Given) -> None:
        self.size = size
        self._given = given
        self._workers: list[_Worker] = []
        self._again: deque[Task] = deque()

    @property
    def idle(self) -> bool:
        return not any(worker.tasks for worker in self._workers)

    def hand_out(self, coming: Iterator[Task]) -> None:
        """Give every worker something to do, as long as there is something."""
        while len(self._workers) < self.size or any(len(worker.tasks) < AHEAD for worker in self._workers):
            task = self._again.popleft() if self._again else next(coming, None)
            if task is None:
                return
            self._least_busy().give(task)

    def results(self) -> Iterator[Read | SkippedFile]:
        """What is done by now, waiting for at least one worker."""
        at_work = {worker.pipe: worker for worker in self._workers if worker.tasks}
        for pipe in wait(list(at_work)):
            worker = at_work[pipe]
            try:
                yield worker.result()
            except (EOFError, OSError):
                yield from self._after_death_of(worker)

    def dismiss(self) -> None:
        """Stop now; a ten-hour file is not waited for."""
        for worker in self._workers:
            worker.end()

    def _least_busy(self) -> _Worker:
        least = min(self._workers, key=lambda worker: len(worker.tasks), default=None)
        if least is None or (least.tasks and len(self._workers) < self.size):
            least = _Worker(self._given)
            self._workers.append(least)
        return least

    def _after_death_of(self, worker: _Worker) -> Iterator[SkippedFile]:
        self._workers.remove(worker)
        worker.end()
        reading = worker.tasks[0]
        reading.crashes += 1
        if reading.crashes >= ATTEMPTS:
            worker.tasks.popleft()
            yield SkippedFile(reading.path, "its decoder crashed")
        self._again.extend(worker.tasks)


class _Worker:
    """A process that reads the files it is sent, in order."""

    def __init__(self, given: Given) -> None:
        self.tasks: deque[Task] = deque()
        self._process, self.pipe = child.start(_work, given, needs_main=child.defined_in_main(given.values()))

    def give(self, task: Task) -> None:
        self.tasks.append(task)
        with suppress(OSError):  # it has died: its next result will say so
            self.pipe.send(task)

    def result(self) -> Read | SkippedFile:
        result = self.pipe.recv()
        self.tasks.popleft()
        if isinstance(result, Exception):
            raise result
        return result

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self.pipe.close()


# What follows runs in the worker.


def _work(pipe: Connection, given: Given) -> None:
    loaded: dict[Kind, Encoder] = {}
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            for kind in given:
                if kind in task.kinds and kind not in loaded:
                    loaded[kind] = given[kind] or kinds.load_encoder(kinds.SHIPPED[kind])
            result = read(task, loaded)
        except SongprintError as error:
            result = error
        pipe.send(result)
