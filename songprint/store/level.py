"""Level: all that one kind of match needs, its encoder and its index, kept in step with the catalogue.

Kinds are data: a level of covers is this class with another encoder and another folder. The index and the encoder
are opened when they are first needed.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from songprint.address import MilvusAddress
from songprint.confidence import Calibration
from songprint.config import Settings
from songprint.encoders.contract import Encoder, EncoderSpec, Matcher
from songprint.errors import LibraryFull
from songprint.store import disk
from songprint.store.catalog import AT_ONCE, Catalog, State
from songprint.store.index import Index, open_index, segment_ids
from songprint.types import Embeddings, Kind, LevelStats

log = logging.getLogger(__name__)

PATIENCE = 2.0  # seconds to wait while another process fills an index that is shared
PATIENCE_AGAIN = 30.0  # seconds in which it is not waited for again

T = TypeVar("T")


class Level:
    """One kind of match in an open library: `kind`, `matcher`, `spec`, `encoder`, `index`.

    `given` is the encoder to use; None for the one that ships.
    """

    def __init__(self, matcher: Matcher, catalog: Catalog, settings: Settings, given: Encoder | None = None) -> None:
        self.matcher, self.catalog, self.settings, self.given = matcher, catalog, settings, given
        self.kind: Kind = matcher.kind
        self.searched = 0  # recordings that are searched, as of the last `refresh`
        self._encoder = given  # None: not loaded yet
        self._index: Index | None = None
        self._in_step_with: State | None = None
        self._impatient_until = 0.0
        self._companions: dict[Callable[[Level], Any], Any] = {}
        self._lock = threading.RLock()

    @cached_property
    def spec(self) -> EncoderSpec:
        """What the encoder at hand is; it need not be loaded for that."""
        return self.given.spec if self.given else self.matcher.spec()

    @cached_property
    def calibration(self) -> Calibration:
        """What makes of a line the probability that its name is right. Raises EncoderError if there is none."""
        return Calibration.from_spec(self.spec.calibration)

    @property
    def encoder(self) -> Encoder:
        """The encoder at hand, whatever the library was made with: see `check_encoder`."""
        with self._lock:
            if self._encoder is None:
                self._encoder = self.matcher.open_encoder(threads=self.settings.usable_threads)
            return self._encoder

    def check_encoder(self, state: State) -> None:
        """Raise LibraryVersionError if the library was made with another encoder than the one at hand."""
        self.catalog.check_encoder(state.encoder_id(self.kind), self.spec.id)

    @property
    def index(self) -> Index:
        """The index, as of the last `refresh`."""
        if self._index is None:
            self.refresh(self.catalog.state())
        return self._index

    @property
    def state(self) -> State:
        """The state of the catalogue at the last `refresh`."""
        return self._in_step_with or self.catalog.state()

    def companion(self, make: Callable[[Level], T]) -> T:
        """Return what a kind keeps beside its level, `make(level)`: made once, when it is first needed."""
        with self._lock:
            if make not in self._companions:
                self._companions[make] = make(self)
            companion: T = self._companions[make]
            return companion

    def refresh(self, state: State) -> None:
        """Bring the index into step with what this and other processes have added and removed."""
        with self._lock:
            self.check_encoder(state)
            if self._index is None or state.encoder_id(self.kind) != self._in_step_with.encoder_id(self.kind):
                self._open_index(state)
            replaced = self._index.reload_if_changed()
            if not replaced and state == self._in_step_with:
                return
            impatient = time.monotonic() < self._impatient_until
            with self._turn(0 if impatient else PATIENCE) as mine:
                if mine:
                    self._bring_into_step(state)
                elif not impatient:  # another fills what both search: what is there by now is searched meanwhile
                    log.info("another process fills the index %s", self._index.kind)
                    self.searched = len(self._index.recording_ids())
                    self._impatient_until = time.monotonic() + PATIENCE_AGAIN

    def _bring_into_step(self, state: State) -> None:
        searched = self.catalog.searched(self.kind)
        indexed = self._index.recording_ids()
        if surplus := indexed - searched.keys():
            self._index.remove(surplus)
        lacking = sorted(searched.keys() - indexed)
        # More than memory should bear, as when the index was deleted: better on the disk at once.
        if (
            not self._index.shared
            and sum(searched[id] for id in lacking) > self.settings.exact_limit
            and self._write_index()
        ):
            lacking = sorted(searched.keys() - self._index.recording_ids())
        for ids, vectors in self._segments(lacking):
            self._index.add(ids, vectors)
        self.searched = len(searched)
        self._in_step_with = state

    def _turn(self, wait: float = 0.0) -> AbstractContextManager[bool]:
        """True inside for the one who may change the index now: all may, unless they share it."""
        return self._alone(wait) if self._index.shared else nullcontext(True)

    def _alone(self, wait: float = 0.0) -> AbstractContextManager[bool]:
        """True inside for one process at a time: of all that share the index, or of this machine."""
        return self.catalog.database.lock(f"index-{self.kind}", wait) if self._index.shared else alone(self.catalog)

    def embeddings_of(self, recording_ids: Iterable[int]) -> dict[int, Embeddings]:
        """The embeddings of these recordings as `StoredRows`; those removed meanwhile are left out."""
        return dict(self.catalog.each_embeddings(self.kind, recording_ids, as_stored=True))

    def tidy(self, state: State, segments: int) -> None:
        """Move vectors from memory to the disk when there are many: `segments` of this kind in the library."""
        few = segments <= self.settings.exact_limit
        if few and not self.settings.index and not self._folder(state).exists():
            return
        with self._lock:
            try:
                self.refresh(state)
                if self._index.wants_rebuild():
                    self._write_index()
            except LibraryFull as error:  # nothing is lost: it is searched in memory
                log.warning("%s", error)

    def rebuild(self, state: State) -> bool:
        """Make the index again from the catalogue. False where this process may not."""
        with self._lock:
            self.refresh(state)
            if not self._write_index():
                return False
            self._in_step_with = replace(state, revision=-1)
            self.refresh(state)
            return True

    def stats(self, state: State, segments: int) -> LevelStats:
        """What this kind takes. Loads neither encoder nor vectors."""
        with self._lock:
            if self._index is None and state.encoder_id(self.kind):
                self._open_index(state)
            index, index_bytes = ("exact", 0) if self._index is None else (self._index.kind, self._index.bytes_on_disk)
        held, catalogue_bytes = self.catalog.held(self.kind)
        return LevelStats(
            kind=self.kind,
            recordings=held,
            segments=segments,
            catalogue_bytes=catalogue_bytes,
            index_bytes=index_bytes,
            index=index,
            encoder_id=state.encoder_id(self.kind),
        )

    def close(self) -> None:
        with self._lock:
            if self._index is not None:
                self._index.close()
                self._index = None

    def _folder(self, state: State) -> Path:
        """The vectors of another encoder mean something else, and the ids of another library too."""
        return _indexes(self.catalog, state) / (state.encoder_id(self.kind) or f"no-{self.kind}")

    def _open_index(self, state: State) -> None:
        if self._index is not None:
            self._index.close()
        dim = self.catalog.dim(self.kind) or self.spec.dim
        if self.settings.index and state.encoder_id(self.kind):
            from songprint.store.index.milvus import MilvusIndex, collection_name

            self._index = MilvusIndex(
                MilvusAddress.parse(self.settings.index),
                collection_name(state.identity, state.encoder_id(self.kind)),
                dim,
            )
        else:  # an empty library needs no server
            self._index = open_index(self._folder(state), dim, exact_limit=self.settings.exact_limit)
        self._in_step_with = replace(state, revision=-1)

    def _write_index(self) -> bool:
        """False where this process may not write it, or another is doing so."""
        with self._alone() as mine:
            if mine:
                log.info("writing the index of %s", self.catalog.folder)
                with disk.translated_errors(self.catalog.folder):
                    self._index.rebuild(lambda: self._segments(sorted(self.catalog.searched(self.kind))))
            return mine

    def _segments(self, recording_ids: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Segment ids (n,) and vectors (n, dim) of these recordings, some hundred recordings at a time."""
        for start in range(0, len(recording_ids), AT_ONCE):
            found = [
                heard_segments(recording_id, made)
                for recording_id, made in self.catalog.each_embeddings(
                    self.kind, recording_ids[start : start + AT_ONCE]
                )
            ]
            if found:
                ids, vectors = zip(*found, strict=True)
                yield np.concatenate(ids), np.concatenate(vectors)


def heard_segments(recording_id: int, made: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    """What of a recording goes into the index: ids (n,) and vectors (n, dim) of the rows that were heard."""
    positions = np.flatnonzero(made.has_content)
    return segment_ids(recording_id, positions), made.vectors[positions]


def alone(catalog: Catalog) -> AbstractContextManager[bool]:
    """True inside for one process of this machine at a time: the one that may rewrite what is derived here."""
    return disk.lock(catalog.folder / "index")


def delete_other_indexes(catalog: Catalog, state: State, settings: Settings) -> None:
    """Delete the indexes of encoders that are no longer used."""
    if settings.index:
        from songprint.store.index import milvus

        milvus.drop_others(MilvusAddress.parse(settings.index), state.identity, state.encoders.values())
    if not _indexes(catalog, state).is_dir():
        return
    for folder in _indexes(catalog, state).iterdir():
        if folder.is_dir() and folder.name not in state.encoders.values():
            shutil.rmtree(folder, ignore_errors=True)


def _indexes(catalog: Catalog, state: State) -> Path:
    return catalog.folder / "index" / state.identity


def threshold_of(level: Level, settings: Settings, case: str = "") -> float:
    """Return the confidence from which a match of this kind is reported.

    `case` names the case of the calibration that applies; see `songprint.confidence.Calibration`.
    """
    if settings.threshold is not None:
        return settings.threshold
    return level.calibration.of_case(case).threshold(settings.false_accepts)
