"""An index in two parts: a compressed inverted file of FAISS on disk, and newer vectors in memory.

The file is written once, memory-mapped (so processes share its pages) and never changed. Removed recordings become
tombstones and new ones go into an exact index. When either grows too large, the file is written again from the
catalogue and trained on the library's present content. `current.json` names the current file. It is replaced last,
by a rename, so a crash leaves the old index or the new one.

The file stores vectors with 8 bits per dimension in cells of similar vectors (IVF, SQ8): 136 bytes with the id.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from songprint.store.index import NOTHING, POSITION_BITS
from songprint.store.index.exact import ExactIndex

if TYPE_CHECKING:
    import faiss

CURRENT = "current.json"
PROBES = 64  # cells searched per vector
TRAINING_VECTORS = 64  # per cell
MAX_SAMPLE = 1 << 18  # vectors kept in memory for training
MIN_CELLS = 64
MAX_TOMBSTONES = 64  # each one slows down every search


@dataclass(frozen=True)
class _Written:
    """The content of `current.json`."""

    file: str
    kind: str
    vectors: int
    recordings: list[int]


class FaissIndex:
    """The vectors of one library in `folder`. The search is exact up to `exact_limit` vectors."""

    shared = False

    def __init__(self, folder: Path, dim: int, exact_limit: int) -> None:
        self.folder, self.dim, self.exact_limit = Path(folder), dim, exact_limit
        self._recent = ExactIndex(dim)
        self._tombstones: set[int] = set()
        self._written: _Written | None = None
        self._covered: frozenset[int] = frozenset()
        self._file: faiss.IndexIVF | None = None
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
        """Return the ids of all recordings in the index."""
        return set(self._covered - self._tombstones) | self._recent.recording_ids()

    def contains(self, recording_ids: Iterable[int]) -> set[int]:
        wanted = set(recording_ids)
        return (wanted & self._covered) - self._tombstones | self._recent.contains(wanted)

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        self._recent.add(ids, vectors)

    def settle(self) -> None:
        """Do nothing: vectors in memory are searched exactly."""
        return

    def remove(self, recording_ids: Iterable[int]) -> None:
        removed = set(recording_ids)
        self._tombstones |= removed & self._covered
        self._recent.remove(removed)

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        ids, scores = self._recent.search(vectors, k)
        if self._file is None:
            return ids, scores
        file_scores, file_ids = self._search_file(self._file, np.ascontiguousarray(vectors, np.float32), k)
        ids, scores = np.hstack([ids, file_ids]), np.hstack([scores, file_scores])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        rows = np.arange(len(vectors))[:, None]
        return ids[rows, order], scores[rows, order]

    def _search_file(self, file: faiss.IndexIVF, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        removed = [faiss.IDSelectorRange(id << POSITION_BITS, (id + 1) << POSITION_BITS) for id in self._tombstones]
        parameters = faiss.SearchParametersIVF()
        parameters.nprobe = min(PROBES, file.nlist)
        if removed:
            selector: faiss.IDSelector = removed[0]
            for other in removed[1:]:
                selector = faiss.IDSelectorOr(selector, other)
            parameters.sel = faiss.IDSelectorNot(selector)
        scores, ids = file.search(vectors, k, params=parameters)
        return np.where(ids == NOTHING, np.float32(-1), scores), ids

    def wants_rebuild(self) -> bool:
        """Whether the part in memory exceeds its limit and a quarter of the file, or there are too many tombstones."""
        written = self._written.vectors if self._written else 0
        return len(self._recent) > max(self.exact_limit, written // 4) or len(self._tombstones) > MAX_TOMBSTONES

    def rebuild(self, source: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]) -> None:
        """Write a new file from the (ids, vectors) that `source` yields. `source` is called several times.

        A library of at most `exact_limit` vectors needs no file; its vectors stay in memory.
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

    def _write(
        self, count: int, sample: np.ndarray, source: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]
    ) -> None:
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
        """Open the current file if this or another process has replaced it. Returns True if so."""
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
        """Open the current file. A damaged file is ignored: the caller then adds its recordings from the catalogue."""
        import faiss

        try:
            written = _Written(**json.loads((self.folder / CURRENT).read_text()))
            flags = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
            self._file = cast("faiss.IndexIVF", faiss.read_index(str(self.folder / written.file), flags))
        except (OSError, ValueError, TypeError, RuntimeError):
            return
        self._written, self._covered = written, frozenset(written.recordings)
        self._recent.remove(self._covered)

    def _delete_old_files(self) -> None:
        for path in self.folder.glob("*.faiss*"):
            if not self._written or path.name != self._written.file:
                path.unlink(missing_ok=True)  # processes that have it mapped can use it until they reload

    def close(self) -> None:
        self._file = None
        self._recent.close()


def _cells(count: int) -> int:
    """Return the power of two closest to 4 sqrt(count), as the FAISS documentation advises."""
    return max(MIN_CELLS, 1 << round(math.log2(4 * math.sqrt(count))))


def _sample(source: Iterable[tuple[np.ndarray, np.ndarray]], dim: int) -> tuple[int, np.ndarray]:
    """Return the number of vectors, and a uniform random sample of at most MAX_SAMPLE of them, in random order."""
    rng = np.random.default_rng(0)
    keys, kept, count = np.empty(0), np.empty((0, dim), np.float32), 0
    for ids, vectors in source:
        count += len(ids)
        keys, kept = np.concatenate([keys, rng.random(len(ids))]), np.concatenate([kept, vectors])
        if len(keys) > 2 * MAX_SAMPLE:  # the vectors with the smallest keys are a uniform sample
            chosen = np.argpartition(keys, MAX_SAMPLE)[:MAX_SAMPLE]
            keys, kept = keys[chosen], kept[chosen]
    order = np.argsort(keys)[:MAX_SAMPLE]
    return count, np.ascontiguousarray(kept[order], np.float32)


def _durably_rename(unfinished: Path, target: Path) -> None:
    with open(unfinished, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, target)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
