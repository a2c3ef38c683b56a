"""Audio files -> Read values, in this process or in a pool of child processes.

Decoders are large programs in C that meet damaged files: a decoder that crashes ends its child process, not the batch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from songprint import kinds
from songprint.audio import files, tags
from songprint.errors import AudioError, SongprintError
from songprint.fingerprint.encoder import Encoder
from songprint.ingest import encode
from songprint.processes import child
from songprint.processes.pool import Crashed, Pool
from songprint.store.index import MAX_SEGMENTS
from songprint.types import Embeddings, Kind, SkippedFile, Tags

log = logging.getLogger(__name__)

Given = Mapping[Kind, Encoder | None]  # the encoders to use; None for one that is shipped

SHORTEST = 1.0  # seconds of audio from which a recording can be recognised
ATTEMPTS = 2  # at a file: a child may also die of something else, such as a lack of memory


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
    """Read files in `workers` child processes, in order of completion.

    `tasks` is consumed only as far as the children need it.
    """
    with Pool(
        partial(_Encoders, given), size=workers, name="ingest", needs_main=child.defined_in_main(given.values())
    ) as readers:
        for task, outcome in readers.as_completed(_read_in_child, tasks, attempts=ATTEMPTS):
            try:
                yield outcome.result()
            except Crashed:
                yield SkippedFile(task.path, "its decoder crashed")


# The rest runs in the child processes.


class _Encoders:
    """The encoders of a child; shipped ones are loaded when a task needs them."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._loaded: dict[Kind, Encoder] = {}

    def load(self, wanted: frozenset[Kind]) -> dict[Kind, Encoder]:
        for kind, encoder in self._given.items():
            if kind in wanted and kind not in self._loaded:
                self._loaded[kind] = encoder or kinds.MATCHERS[kind].open_encoder()
        return self._loaded


def _read_in_child(encoders: _Encoders, task: Task) -> Read | SkippedFile:
    return read(task, encoders.load(task.kinds))
