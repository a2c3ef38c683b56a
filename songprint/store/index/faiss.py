"""An index in two places: immutable compressed parts on disk, and newer vectors in memory.

The parts are inverted files of FAISS that share their cells (IVF) and have 8 bits per dimension (SQ8): 48 bytes per
vector of 40 dimensions, with the id. They are memory-mapped, so processes share their pages. Removed recordings are
bits in a map of the rows, and new recordings go into an exact index. `songprint.store.index.writing` moves them into
the files, in one process at a time; the others open the new files at their next `reload_if_changed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from songprint.store.changes import Mark
from songprint.store.index import POSITION_BITS, cells
from songprint.store.index.exact import ExactIndex
from songprint.store.index.parts import OpenParts, open_parts, stamp
from songprint.store.index.writing import Writer


class FaissIndex:
    """The vectors of one library in `folder`. The search is exact up to `exact_limit` vectors."""

    shared = False

    def __init__(self, folder: Path, dim: int, exact_limit: int) -> None:
        self.folder, self.dim, self.exact_limit = Path(folder), dim, exact_limit
        self._recent = ExactIndex(dim)
        self.files: OpenParts | None = None  # None if there are none
        self._stamp: tuple[int, int] | None = None
        self.reload_if_changed()

    @property
    def kind(self) -> str:
        return self.files.cells.kind if self.files else self._recent.kind

    @property
    def bytes_on_disk(self) -> int:
        if self.files is None:
            return 0
        files = [self.folder / name for name in self.files.manifest.files if name]
        return sum(file.stat().st_size for file in files if file.exists())

    @property
    def mark(self) -> Mark | None:
        """The revision of the catalogue that the files contain; None if they may lack recordings before it."""
        return self.files.mark if self.files else None

    @property
    def pending(self) -> int:
        """The number of vectors in memory."""
        return len(self._recent)

    def __len__(self) -> int:
        return (self.files.vectors if self.files else 0) + len(self._recent)

    def recording_ids(self) -> set[int]:
        """Return the ids of all recordings in the index."""
        return (self.files.recording_ids() if self.files else set()) | self._recent.recording_ids()

    def contains(self, recording_ids: Iterable[int]) -> set[int]:
        wanted = set(recording_ids)
        return (self.files.contains(wanted) if self.files else set()) | self._recent.contains(wanted)

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        self._recent.add(ids, vectors)

    def settle(self) -> None:
        """Do nothing: vectors in memory are searched exactly."""
        return

    def remove(self, recording_ids: Iterable[int]) -> None:
        removed = set(recording_ids)
        if self.files:
            self.files.remove(removed)
        self._recent.remove(removed)

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        ids, scores = self._recent.search(vectors, k)
        opened = self.files
        if opened is None or not len(vectors):
            return ids, scores
        vectors = np.ascontiguousarray(vectors, np.float32)
        nearest = opened.cells.nearest(vectors, cells.number_of_probes(opened.vectors))
        found = [(ids, scores), *(part.search(vectors, k, *nearest) for part in opened.parts)]
        ids, scores = (np.hstack(each) for each in zip(*found, strict=True))
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        rows = np.arange(len(vectors))[:, None]
        return ids[rows, order], scores[rows, order]

    def rebuild(self, source: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]) -> None:
        """Write new files from the (ids, vectors) that `source` yields. `source` is called several times.

        A library of at most `exact_limit` vectors needs no files; its vectors stay in memory.
        """
        counts: dict[int, int] = {}
        for ids, _ in source():
            recordings, segments = np.unique(ids >> POSITION_BITS, return_counts=True)
            counts |= zip(recordings.tolist(), segments.tolist(), strict=True)
        writer = Writer(self.folder, self.dim, self.exact_limit)
        writer.rebuild(counts, lambda wanted: _only(source(), wanted))
        self.reload_if_changed()
        self._recent = ExactIndex(self.dim)
        if self.files is None:
            for ids, vectors in source():
                self._recent.add(ids, vectors)

    def reload_if_changed(self) -> bool:
        """Open the files again if this or another process has replaced them. Returns True if so.

        Removals since `mark` must be repeated then. Damaged files are left out: the caller adds their recordings from
        the catalogue.
        """
        present = stamp(self.folder)
        if present == self._stamp:
            return False
        self._stamp, self.files = present, open_parts(self.folder)
        if self.files:
            self._recent.remove(self.files.contains(self._recent.recording_ids()))
        return True

    def close(self) -> None:
        self.files = None
        self._recent.close()


def _only(
    source: Iterator[tuple[np.ndarray, np.ndarray]], recording_ids: Iterable[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the vectors of some recordings."""
    wanted = np.fromiter(recording_ids, np.int64)
    for ids, vectors in source:
        chosen = np.isin(ids >> POSITION_BITS, wanted)
        yield ids[chosen], vectors[chosen]
