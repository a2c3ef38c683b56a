"""A level: the encoder and the index of one kind of match in an open library, kept in step with the catalogue.

Kinds are data: the level of covers is the same class as that of recordings, with another matcher and another folder.
The index and the encoder are opened when they are first needed.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from cachetools import LRUCache

from songprint.confidence import Calibration
from songprint.errors import LibraryFull
from songprint.processes.threads import one_thread
from songprint.store import disk
from songprint.store.catalog import AT_ONCE, Catalog, State
from songprint.store.changes import Mark
from songprint.store.index import Index, drop_others, open_index, open_shared, segment_ids
from songprint.store.index.faiss import FaissIndex
from songprint.store.index.writing import MAX_PENDING, Writer
from songprint.store.totals import Totals
from songprint.types import Embeddings, Kind, LevelStats

if TYPE_CHECKING:
    from songprint.config import Settings
    from songprint.encoders.contract import Encoder, EncoderSpec, Matcher

log = logging.getLogger(__name__)

# Seconds to wait while another process fills an index that several processes share, and seconds after that during
# which a search does not wait again.
PATIENCE = 2.0
PATIENCE_AGAIN = 30.0
MAX_REFERENCES = 64  # recordings in memory; a song that is playing is needed for window after window
MAX_REFERENCE_BYTES = 64 << 20  # of the recordings in memory; a song of 4 minutes takes 50 to 200 kB

T = TypeVar("T")


@dataclass
class _Opened:
    """An open index, and the state of the catalogue that it is in step with."""

    index: Index
    state: State
    mark: Mark | None = None  # the revision that the index contains; None: compare everything
    # Recordings for which there is no room in memory, with their numbers of segments.
    left_out: dict[int, int] = field(default_factory=dict)


class _Content(Protocol):
    """What an index contains: `Index`, or the files of one."""

    def recording_ids(self) -> set[int]: ...

    def contains(self, recording_ids: Iterable[int]) -> set[int]: ...


@dataclass(frozen=True)
class _Difference:
    """How an index differs from the catalogue."""

    mark: Mark | None  # the revision of the catalogue
    missing: dict[int, int]  # recordings that the index lacks, with their numbers of segments
    gone: set[int]  # recordings that are not in the catalogue any more
    everything: bool  # whether everything was compared
    searchable: int  # recordings that were compared


class Level:
    """One kind of match in an open library: `kind`, `matcher`, `spec`, `encoder`, `index`.

    `given` is the encoder to use; None for the one that ships.
    """

    def __init__(self, matcher: Matcher, catalog: Catalog, settings: Settings, given: Encoder | None = None) -> None:
        self.matcher, self.catalog, self.settings, self.given = matcher, catalog, settings, given
        self.kind: Kind = matcher.kind
        # As of the last `refresh`: recordings with embeddings of this kind, and those of them that a search covers.
        self.searchable = self.searched = 0
        self._encoder = given  # None until it is loaded
        self._opened: _Opened | None = None
        self._impatient_until = 0.0
        self._companions: dict[Callable[[Level], Any], Any] = {}
        self._lock = threading.RLock()

    @cached_property
    def spec(self) -> EncoderSpec:
        """The specification of the encoder in use. Reading it does not load the encoder."""
        return self.given.spec if self.given else self.matcher.spec()

    @cached_property
    def calibration(self) -> Calibration:
        """The calibration of the encoder in use. Raises EncoderError if it has none."""
        return Calibration.from_spec(self.spec.calibration)

    @property
    def encoder(self) -> Encoder:
        """The encoder in use. `check_encoder` compares it with the one that made the library."""
        with self._lock:
            if self._encoder is None:
                self._encoder = self.matcher.open_encoder(threads=self.settings.usable_threads)
            return self._encoder

    def check_encoder(self, state: State) -> None:
        """Raise EncoderChanged if the library was made with another encoder than the one in use."""
        self.catalog.check_encoder(state.encoder_id(self.kind), self.spec.id)

    @property
    def index(self) -> Index:
        """The index, as of the last `refresh`."""
        return (self._opened or self.refresh(self.catalog.state())).index

    @property
    def state(self) -> State:
        """The state of the catalogue at the last `refresh`."""
        return self._opened.state if self._opened else self.catalog.state()

    def companion(self, make: Callable[[Level], T]) -> T:
        """Return `make(level)`, created once, when it is first needed: data that a kind keeps with its level."""
        with self._lock:
            if make not in self._companions:
                self._companions[make] = make(self)
            companion: T = self._companions[make]
            return companion

    def refresh(self, state: State) -> _Opened:
        """Bring the index into step with what this process and others have added and removed."""
        with self._lock:
            self.check_encoder(state)
            opened = self._opened
            if opened is None or state.encoder_id(self.kind) != opened.state.encoder_id(self.kind):
                opened = self._open(state)
            replaced = opened.index.reload_if_changed()
            if replaced:
                opened.mark = opened.index.mark if isinstance(opened.index, FaissIndex) else None
                opened.left_out = {}
            if not replaced and state == opened.state and not self._continues_to_fill(opened):
                return opened
            impatient = time.monotonic() < self._impatient_until
            with self._permission(opened.index, 0 if impatient else PATIENCE) as granted:
                if granted:
                    self._bring_into_step(opened, state)
                    if opened.index.shared and opened.left_out:
                        self._impatient_until = time.monotonic() + PATIENCE_AGAIN
                elif not impatient:  # another process fills the shared index: search what it contains so far
                    log.info("another process fills the index %s", opened.index.kind)
                    self.searched = len(opened.index.recording_ids())
                    self.searchable = self.catalog.totals().recordings_of.get(self.kind, 0)
                    self._impatient_until = time.monotonic() + PATIENCE_AGAIN
            return opened

    def _continues_to_fill(self, opened: _Opened) -> bool:
        """Whether it is time to write the next recordings that a shared index lacks."""
        return opened.index.shared and bool(opened.left_out) and time.monotonic() >= self._impatient_until

    def _bring_into_step(self, opened: _Opened, state: State) -> None:
        index = opened.index
        difference = self._difference(index, opened.mark)
        if difference.gone:
            index.remove(difference.gone)
        missing = difference.missing
        if difference.everything:
            self.searchable = difference.searchable
        else:
            self.searchable = self.catalog.totals().recordings_of.get(self.kind, 0)
            missing |= {each: count for each, count in opened.left_out.items() if each not in difference.gone}
        chosen = _newest(missing, self._room(index))
        if index.shared and missing and not chosen:
            chosen = {max(missing)}  # a recording that is longer than the room
        for ids, vectors in self._segments(sorted(chosen)):
            index.add(ids, vectors)
        index.settle()
        opened.left_out = {each: segments for each, segments in missing.items() if each not in chosen}
        self.searched = self.searchable - len(opened.left_out)
        opened.state, opened.mark = state, difference.mark

    def _difference(self, index: _Content, mark: Mark | None) -> _Difference:
        """Compare an index that contains the revision `mark` with the catalogue; None compares everything."""
        changes = self.catalog.changes_since(mark) if mark else None
        if changes:
            searched = self.catalog.searched(self.kind, changes.recording_ids)
            indexed = index.contains(changes.recording_ids)
            gone = set(changes.recording_ids - searched.keys())
        else:
            # The mark is read first: changes after it are read again.
            mark, searched = self.catalog.mark(), self.catalog.searched(self.kind)
            indexed = index.recording_ids()
            gone = indexed - searched.keys()
        missing = {each: segments for each, segments in searched.items() if each not in indexed}
        return _Difference(changes.mark if changes else mark, missing, gone, changes is None, len(searched))

    def _room(self, index: Index) -> float:
        """How many vectors a refresh may add now.

        Searches compare vectors in memory one by one. A refresh that adds many vectors to the index on a server takes
        long, and queries of this process wait for it.
        """
        if not isinstance(index, FaissIndex):
            return 2 * MAX_PENDING if index.shared else inf
        limit = 2 * MAX_PENDING if index.mark else max(2 * MAX_PENDING, self.settings.exact_limit)
        return limit - index.pending

    def _permission(self, index: Index, wait: float = 0.0) -> AbstractContextManager[bool]:
        """True inside if this process may change the index now: always, unless processes share it."""
        return self._exclusive(index, wait) if index.shared else nullcontext(True)

    def _exclusive(self, index: Index, wait: float = 0.0) -> AbstractContextManager[bool]:
        """True inside for one process at a time: of all that share the index, or of this machine."""
        if index.shared:
            return self.catalog.database.lock(f"index-{self.kind}", wait)
        return exclusive_here(self.catalog)

    def embeddings_of(self, recording_ids: Iterable[int]) -> dict[int, Embeddings]:
        """Return the stored embeddings, as `StoredRows`. Recordings that were removed meanwhile are left out."""
        return dict(self.catalog.each_embeddings(self.kind, recording_ids, as_stored=True))

    @property
    def references(self) -> References:
        """Reads embeddings, and keeps in memory those that the queries of this process have used last."""
        return self.companion(References)

    def tidy(self, state: State, segments: int) -> None:
        """Write the files of the index if many vectors are not in them: `segments` is the size of this kind.

        Searches continue meanwhile. Does nothing if another process of this machine is writing them.
        """
        self._tidy_companions()
        if self.settings.index:
            self._fill(state)
            return
        if segments <= self.settings.exact_limit and not self._folder(state).exists():
            return
        self.check_encoder(state)
        try:
            self._write_files(state)
        except LibraryFull as error:  # nothing is lost: the vectors are searched in memory
            log.warning("%s", error)

    def _fill(self, state: State) -> None:
        """Write all recordings that a shared index lacks, some at a time. Queries continue meanwhile."""
        lacking: int | None = None
        while lacking is None or lacking > 0:
            before = lacking
            with self._lock:
                self._impatient_until = 0.0
                lacking = len(self.refresh(state).left_out)
            if before is not None and lacking >= before:  # another process fills the index
                return

    def _tidy_companions(self) -> None:
        for make in self.matcher.companions:
            try:
                self.companion(make).tidy()
            except LibraryFull as error:  # nothing is lost: it is derived from the catalogue
                log.warning("%s", error)

    def rebuild(self, state: State) -> bool:
        """Build the index again from the catalogue. Returns False if this process may not."""
        self.check_encoder(state)
        if self.settings.index:
            with self._lock:
                opened = self.refresh(state)
                with self._exclusive(opened.index) as granted:
                    if not granted:
                        return False
                    opened.index.rebuild(lambda: self._segments(sorted(self.catalog.searched(self.kind))))
                opened.state, opened.mark = replace(state, revision=-1), None
        elif not self._write_files(state, everything=True):
            return False
        self.refresh(state)
        for make in self.matcher.companions:
            self.companion(make).rebuild()
        return True

    def _write_files(self, state: State, everything: bool = False) -> bool:
        """Bring the files of the index into step with the catalogue. Returns False if this process may not now."""
        with exclusive_here(self.catalog) as granted:
            if granted:
                with disk.translated_errors(self.catalog.folder), one_thread():
                    writer = Writer(self._folder(state), self._dim, self.settings.exact_limit)
                    if everything or writer.opened is None:
                        mark, recordings = self.catalog.mark(), self.catalog.searched(self.kind)
                        writer.rebuild(recordings, self._segments, mark)
                    else:
                        found = self._difference(writer.opened, writer.mark)
                        writer.update(
                            *(found.missing, found.gone, self._segments, found.mark),
                            lambda: self.catalog.searched(self.kind),
                        )
            return granted

    @property
    def _dim(self) -> int:
        return self.catalog.dim(self.kind) or self.spec.dim

    def stats(self, state: State, totals: Totals) -> LevelStats:
        """Return what this kind takes. Loads neither the encoder nor vectors."""
        with self._lock:
            if self._opened is None and state.encoder_id(self.kind):
                self._open(state)
            index = self._opened.index if self._opened else None
        return LevelStats(
            kind=self.kind,
            recordings=totals.recordings_of.get(self.kind, 0),
            segments=totals.segments.get(self.kind, 0),
            catalogue_bytes=totals.bytes_of.get(self.kind, 0),
            index_bytes=0 if index is None else index.bytes_on_disk,  # an index without segments is false
            index="exact" if index is None else index.kind,
            encoder_id=state.encoder_id(self.kind),
            companion_bytes=sum(self.companion(make).bytes_on_disk for make in self.matcher.companions),
        )

    def close(self) -> None:
        """Close the index."""
        with self._lock:
            if self._opened is not None:
                self._opened.index.close()
                self._opened = None

    @property
    def folder(self) -> Path:
        """The folder of the index and of what companions keep, as of the last `refresh`."""
        return self._folder(self.state)

    def _folder(self, state: State) -> Path:
        """The folder of the index: one for each library and encoder, whose vectors and ids mean something else."""
        return _indexes(self.catalog, state) / (state.encoder_id(self.kind) or f"no-{self.kind}")

    def _open(self, state: State) -> _Opened:
        self.close()
        index: Index
        mark = None
        address = self.settings.index_address
        if address and state.encoder_id(self.kind):
            rows = self.catalog.totals().segments.get(self.kind, 0)
            index = open_shared(address, state.identity, state.encoder_id(self.kind), self._dim, rows)
        else:  # an empty library needs no server
            index = open_index(self._folder(state), self._dim, exact_limit=self.settings.exact_limit)
            mark = index.mark
        self._opened = _Opened(index, replace(state, revision=-1), mark)
        return self._opened

    def _segments(self, recording_ids: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield segment ids (n,) and vectors (n, dim) of these recordings, some hundred recordings at a time."""
        for start in range(0, len(recording_ids), AT_ONCE):
            found = [
                segments_to_index(recording_id, made)
                for recording_id, made in self.catalog.each_embeddings(
                    self.kind, recording_ids[start : start + AT_ONCE], evidence=False
                )
            ]
            if found:
                ids, vectors = zip(*found, strict=True)
                yield np.concatenate(ids), np.concatenate(vectors)


def _newest(recordings: Mapping[int, int], room: float) -> set[int]:
    """Return the newest recordings, given with their numbers of segments, for which there is room.

    Users look for what they have just added, and the writer of the files begins with the oldest.
    """
    chosen: set[int] = set()
    for recording_id in sorted(recordings, reverse=True):
        room -= recordings[recording_id]
        if room < 0:
            break
        chosen.add(recording_id)
    return chosen


def segments_to_index(recording_id: int, made: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    """Return the segments of a recording that the index contains: ids (n,) and vectors (n, dim) of rows with
    content."""
    positions = np.flatnonzero(made.has_content)
    return segment_ids(recording_id, positions), made.vectors[positions]


def exclusive_here(catalog: Catalog) -> AbstractContextManager[bool]:
    """True inside for one process of this machine at a time, which may rewrite what is derived from the catalogue."""
    return disk.lock(catalog.folder / "index")


def delete_other_indexes(catalog: Catalog, state: State, settings: Settings) -> None:
    """Delete the indexes of encoders that are no longer used."""
    if settings.index_address:
        drop_others(settings.index_address, state.identity, state.encoders.values())
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


class References:
    """Reads embeddings from the catalogue and keeps those that were used last.

    At most `kept` recordings and MAX_REFERENCE_BYTES are kept, until the searchable recordings change. Threads may
    share it. A call sends at most one statement for every `AT_ONCE` recordings that are not kept.
    """

    def __init__(self, level: Level, kept: int = MAX_REFERENCES) -> None:
        self._level = level
        self._most = kept
        self._kept: LRUCache[int, Embeddings] = LRUCache(MAX_REFERENCE_BYTES, getsizeof=_stored_bytes)
        self._revision: int | None = None
        self._lock = threading.Lock()

    def __call__(self, recording_ids: Collection[int]) -> Mapping[int, Embeddings]:
        """Return the embeddings by recording id; recordings without any are left out."""
        revision = self._level.state.revision
        with self._lock:
            if revision != self._revision:
                self._kept.clear()
                self._revision = revision
            found = {each: self._kept[each] for each in recording_ids if each in self._kept}
        missing = [each for each in recording_ids if each not in found]
        if missing:
            read = self._level.embeddings_of(missing)
            found |= read
            with self._lock:
                if revision == self._revision:
                    self._keep(read)
        return {each: found[each] for each in recording_ids if each in found}

    def _keep(self, read: Mapping[int, Embeddings]) -> None:
        for recording_id, made in read.items():
            if _stored_bytes(made) <= self._kept.maxsize:
                self._kept[recording_id] = made
        while len(self._kept) > self._most:
            self._kept.popitem()


def _stored_bytes(made: Embeddings) -> int:
    count, dim = made.vectors.shape  # of `StoredRows`: one byte for a value
    return int(count) * int(dim) + made.evidence.nbytes
