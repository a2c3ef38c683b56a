"""Search in two parts: a compressed inverted file of FAISS on the disk, and what came since, in memory.

The file is written once, mapped (several processes share its pages) and never changed: recordings that are
removed become tombstones, new ones live in an exact index, and when either grows too much the file is made
anew from the catalogue, trained on what the library then holds. `current.json` names the file that counts;
it is replaced last, by a rename, so a crash leaves the old index or the new one.

Vectors are kept as 8 bits a dimension, in cells of neighbours (IVF, SQ8): 136 bytes with their id.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from songprint.store.index import NOTHING, POSITION_BITS
from songprint.store.index.exact import ExactIndex

CURRENT = "current.json"
PROBES = 64  # cells searched for a vector
TRAINING_VECTORS = 64  # per cell
SMALLEST_CELLS = 64
MOST_TOMBSTONES = 64  # each costs time in every search


@dataclass(frozen=True)
class _Written:
    """What `current.json` says."""

    file: str
    kind: str
    vectors: int
    recordings: list[int]


class FaissIndex:
    """The vectors of one library under `folder`, exact as long as they are few."""

    shared = False

    def __init__(self, folder: Path, dim: int, exact_limit: int):
        self.folder, self.dim, self.exact_limit = Path(folder), dim, exact_limit
        self._recent = ExactIndex(dim)
        self._tombstones: set[int] = set()
        self._written: _Written | None = None
        self._covered: frozenset[int] = frozenset()
        self._file = None
        self._stamp: tuple[int, int] | None = None
        self.reload_if_changed()

    @property
    def kind(self) -> str:
        return self._written.kind if self._written else self._recent.kind

    @property
    def bytes_on_disk(self) -> int:
        return (self.folder / self._written.file).stat().st_size if self._written else 0

    def __len__(self) -> int:
        return (self._written.vectors if self._written else 0) + len(self._recent)

    def recording_ids(self) -> set[int]:
        """The recordings that can be found."""
        return (self._covered - self._tombstones) | self._recent.recording_ids()

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        self._recent.add(ids, vectors)

    def remove(self, recording_ids: Iterable[int]) -> None:
        gone = set(recording_ids)
        self._tombstones |= gone & self._covered
        self._recent.remove(gone)

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        ids, scores = self._recent.search(vectors, k)
        if self._file is None:
            return ids, scores
        file_scores, file_ids = self._search_file(np.ascontiguousarray(vectors, np.float32), k)
        ids, scores = np.hstack([ids, file_ids]), np.hstack([scores, file_scores])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        rows = np.arange(len(vectors))[:, None]
        return ids[rows, order], scores[rows, order]

    def _search_file(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        buried = self._tombstones_as_ranges()
        parameters = faiss.SearchParametersIVF(nprobe=min(PROBES, self._file.nlist))
        if buried:
            selector = buried[0]
            for other in buried[1:]:
                selector = faiss.IDSelectorOr(selector, other)
            parameters.sel = faiss.IDSelectorNot(selector)
        scores, ids = self._file.search(vectors, k, params=parameters)
        return np.where(ids == NOTHING, np.float32(-1), scores), ids

    def _tombstones_as_ranges(self) -> list:
        import faiss

        return [faiss.IDSelectorRange(id << POSITION_BITS, (id + 1) << POSITION_BITS) for id in self._tombstones]

    def wants_rebuild(self) -> bool:
        """Whether the exact part has grown beyond its limit and a quarter of the file, or too much is dead."""
        written = self._written.vectors if self._written else 0
        return len(self._recent) > max(self.exact_limit, written // 4) or len(self._tombstones) > MOST_TOMBSTONES

    def rebuild(self, source: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]) -> None:
        """Write a new file from `source`, which yields (ids, vectors) and can be called again.

        A library that is small (again) needs no file; its vectors stay in memory.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        count, sample = _sample(source(), self.dim)
        if count <= self.exact_limit:
            (self.folder / CURRENT).unlink(missing_ok=True)
            self.reload_if_changed()
            self._recent = ExactIndex(self.dim)
            for ids, vectors in source():
                self._recent.add(ids, vectors)
        else:
            self._write(count, sample, source)
            self.reload_if_changed()
        self._delete_old_files()

    def _write(self, count: int, sample: np.ndarray, source: Callable) -> None:
        import faiss

        cells = _cells(count)
        kind = f"IVF{cells},SQ8"
        index = faiss.index_factory(self.dim, kind, faiss.METRIC_INNER_PRODUCT)
        index.train(sample[: cells * TRAINING_VECTORS])
        recordings: set[int] = set()
        for ids, vectors in source():
            index.add_with_ids(np.ascontiguousarray(vectors, np.float32), ids)
            recordings.update(np.unique(ids >> POSITION_BITS).tolist())
        number = 1 + max([int(path.stem) for path in self.folder.glob("*.faiss") if path.stem.isdigit()], default=0)
        name = f"{number:06d}.faiss"
        unfinished = self.folder / f"{name}.unfinished"
        faiss.write_index(index, str(unfinished))
        _durably_rename(unfinished, self.folder / name)
        written = _Written(name, kind, int(index.ntotal), sorted(recordings))
        unfinished = self.folder / f"{CURRENT}.unfinished"
        unfinished.write_text(json.dumps(vars(written)))
        _durably_rename(unfinished, self.folder / CURRENT)

    def reload_if_changed(self) -> bool:
        """Open the file that counts now, if this or another process has replaced it."""
        try:
            status = (self.folder / CURRENT).stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            stamp = None
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        self._file = self._written = None
        self._covered, self._tombstones = frozenset(), set()
        if stamp:
            self._open_file()
        return True

    def _open_file(self) -> None:
        """A file that is damaged counts as none: the caller fills the index from the catalogue again."""
        import faiss

        try:
            written = _Written(**json.loads((self.folder / CURRENT).read_text()))
            self._file = faiss.read_index(str(self.folder / written.file), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        except (OSError, ValueError, TypeError, RuntimeError):
            return
        self._written, self._covered = written, frozenset(written.recordings)
        self._recent.remove(self._covered)

    def _delete_old_files(self) -> None:
        for path in self.folder.glob("*.faiss*"):
            if not self._written or path.name != self._written.file:
                path.unlink(missing_ok=True)  # those who have it mapped keep it until they reload

    def close(self) -> None:
        self._file = None
        self._recent.close()


def _cells(count: int) -> int:
    """A power of two near 4 sqrt(n), as FAISS advises."""
    return max(SMALLEST_CELLS, 2 ** round(math.log2(4 * math.sqrt(count))))


def _sample(source: Iterable[tuple[np.ndarray, np.ndarray]], dim: int) -> tuple[int, np.ndarray]:
    """How many vectors there are, and at most 256 k of them in random order, each equally likely."""
    most = 1 << 18
    rng = np.random.default_rng(0)
    keys, kept, count = np.empty(0), np.empty((0, dim), np.float32), 0
    for ids, vectors in source:
        count += len(ids)
        keys, kept = np.concatenate([keys, rng.random(len(ids))]), np.concatenate([kept, vectors])
        if len(keys) > 2 * most:  # keep the smallest keys: a fair sample of a stream
            chosen = np.argpartition(keys, most)[:most]
            keys, kept = keys[chosen], kept[chosen]
    order = np.argsort(keys)[:most]
    return count, np.ascontiguousarray(kept[order], np.float32)


def _durably_rename(unfinished: Path, target: Path) -> None:
    with open(unfinished, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, target)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
