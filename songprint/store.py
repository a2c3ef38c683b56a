"""Store: a catalogue, its index and an encoder, opened together and kept in step.

The catalogue is the truth. The index is brought into step with it by `refresh`, which costs next to nothing
while nothing has changed: so several processes may search while another adds, and no crash can leave the two
at odds. The index and the encoder are opened when they are first needed.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from songprint import encoders
from songprint.catalog import AT_ONCE, Catalog, State
from songprint.config import Settings
from songprint.encoders import Encoder, EncoderSpec
from songprint.errors import LibraryError, LibraryFull
from songprint.index import Index, open_index, segment_ids
from songprint.sqlite import in_plain_words
from songprint.types import Embeddings, Stats

log = logging.getLogger(__name__)


class Store:
    """An open library from the inside: `catalog`, `index`, `encoder`, `settings`.

    `encoder` replaces the one that is shipped; it has to be picklable if files are to be added by several
    processes.
    """

    def __init__(self, path: Path, *, create: bool = False, encoder: Encoder | None = None,
                 settings: Settings | None = None) -> None:
        self.path = Path(path)
        self.settings = settings or Settings()
        self.catalog = Catalog(self.path, create=create, busy_timeout=self.settings.busy_timeout)
        self.given_encoder = encoder
        self._encoder = encoder         # None: not loaded yet
        self._index: Index | None = None
        self._in_step_with: State | None = None
        self.searched = 0               # recordings that are searched, as of the last `refresh`
        self._lock = threading.RLock()

    @cached_property
    def spec(self) -> EncoderSpec:
        """What the encoder at hand is; it need not be loaded for that."""
        return self.given_encoder.spec if self.given_encoder else encoders.load_spec()

    @property
    def encoder(self) -> Encoder:
        """The encoder at hand, whatever the library was made with: see `check_encoder`."""
        with self._lock:
            if self._encoder is None:
                self._encoder = encoders.load_encoder(threads=self.settings.threads)
            return self._encoder

    def check_encoder(self) -> None:
        """Raise LibraryVersionError if the library was made with another encoder than the one at hand."""
        self.catalog.check_encoder(self.catalog.state().encoder_id, self.spec.id)

    @property
    def index(self) -> Index:
        """The index, as of the last `refresh`."""
        if self._index is None:
            self.refresh()
        return self._index

    def refresh(self) -> None:
        """Bring the index into step with what this and other processes have added and removed."""
        with self._lock:
            state = self.catalog.state()
            self.catalog.check_encoder(state.encoder_id, self.spec.id)
            if self._index is None or state.encoder_id != self._in_step_with.encoder_id:
                self._open_index(state)
            replaced = self._index.reload_if_changed()
            if not replaced and state == self._in_step_with:
                return
            searched = self.catalog.searched()
            indexed = self._index.recording_ids()
            self._index.remove(indexed - searched.keys())
            lacking = sorted(searched.keys() - indexed)
            # More than memory should bear, as when the index was deleted: better on the disk at once.
            if sum(searched[id] for id in lacking) > self.settings.exact_limit and self._write_index():
                lacking = sorted(searched.keys() - self._index.recording_ids())
            for ids, vectors in self._segments(lacking):
                self._index.add(ids, vectors)
            self.searched = len(searched)
            self._in_step_with = state

    def embeddings_of(self, recording_ids: Iterable[int]) -> dict[int, Embeddings]:
        """The embeddings of these recordings as `StoredRows`; those removed meanwhile are left out."""
        return dict(self.catalog.each_embeddings(sorted(set(recording_ids)), as_stored=True))

    def tidy(self) -> None:
        """Move vectors from memory to the disk when there are many: adding calls this now and then."""
        self.catalog.settle()
        few = self.catalog.totals().segments <= self.settings.exact_limit
        if few and not (self.path / "index").exists():
            return
        with self._lock:
            try:
                self.refresh()
                if self._index.wants_rebuild():
                    self._write_index()
            except LibraryFull as error:    # nothing is lost: it is searched in memory
                log.warning("%s", error)

    def rebuild(self) -> None:
        """Make the index again from the catalogue."""
        with self._lock:
            self.refresh()
            if not self._write_index():
                raise LibraryError(f"cannot rebuild the index of {self.path}: the library is read-only, or"
                                   " another process is rebuilding it now")
            for folder in self._index_folder.parent.iterdir():
                if folder.is_dir() and folder != self._index_folder:
                    shutil.rmtree(folder, ignore_errors=True)      # of an encoder that is no longer used
            self._in_step_with = replace(self._in_step_with, revision=-1)
            self.refresh()

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """True inside for one process at a time: the one that may rewrite what is derived."""
        if self.catalog.readonly:
            yield False
            return
        with in_plain_words(self.catalog.file):
            (self.path / "index").mkdir(exist_ok=True)
            file = (self.path / "index" / "lock").open("ab")
        with file:
            yield _locked(file.fileno())    # closing the file, or dying, unlocks it

    def stats(self) -> Stats:
        """What the library holds and takes. Loads neither encoder nor vectors."""
        state, totals = self.catalog.state(), self.catalog.totals()
        with self._lock:
            if self._index is None and state.encoder_id:
                self._open_index(state)
            kind, index_bytes = (self._index.kind, self._index.bytes_on_disk) if self._index else ("exact", 0)
        return Stats(path=str(self.path), recordings=totals.recordings, duration=totals.duration,
                     segments=totals.segments, catalogue_bytes=self.catalog.bytes_on_disk,
                     index_bytes=index_bytes, index_kind=kind, encoder_id=state.encoder_id,
                     schema_version=state.schema_version)

    def close(self) -> None:
        with self._lock:
            if self._index is not None:
                self._index.close()
                self._index = None
            self.catalog.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open_index(self, state: State) -> None:
        """The vectors of another encoder mean something else: each encoder has a folder of its own."""
        if self._index is not None:
            self._index.close()
        dim = self.catalog.dim() or self.spec.dim
        self._index_folder = self.path / "index" / (state.encoder_id or "none")
        self._index = open_index(self._index_folder, dim, exact_limit=self.settings.exact_limit)
        self._in_step_with = State(-1, state.encoder_id, state.schema_version)

    def _write_index(self) -> bool:
        """False where this process may not write it, or another is doing so."""
        with self.alone() as mine:
            if mine:
                log.info("writing the index of %s", self.path)
                with in_plain_words(self.catalog.file):
                    self._index.rebuild(lambda: self._segments(sorted(self.catalog.searched())))
            return mine

    def _segments(self, recording_ids: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Segment ids (n,) and vectors (n, dim) of these recordings, some hundred recordings at a time."""
        for start in range(0, len(recording_ids), AT_ONCE):
            found = [heard_segments(recording_id, vectors) for recording_id, vectors
                     in self.catalog.each_embeddings(recording_ids[start:start + AT_ONCE])]
            if found:
                ids, vectors = zip(*found, strict=True)
                yield np.concatenate(ids), np.concatenate(vectors)


def heard_segments(recording_id: int, vectors: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    """What of a recording goes into the index: ids (n,) and vectors (n, dim) of the rows that were heard."""
    positions = np.flatnonzero(vectors.heard)
    return segment_ids(recording_id, positions), vectors.vectors[positions]


def _locked(file: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
