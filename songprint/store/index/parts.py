"""The files of the FAISS index: a manifest, the cells, and immutable parts.

`current.json`, the manifest, names the other files and is replaced last, by a rename. So a crash leaves the old index
or the new one, and files that it does not name are deleted later. Each part consists of

* `NUMBER.faiss`: an inverted file of FAISS (IVF, SQ8) without its centroids, whose ids are row numbers. It is
  memory-mapped, so that processes share its pages.
* `NUMBER.runs.npy`: (2, runs) int64, the first segment id and the first row of each run of consecutive segments.
* `NUMBER.removed.npy`, if recordings were removed: their ids (n,) int64.

`NUMBER.cells` contains the centroids and the ranges of the codes, which all parts share.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from songprint.store import disk
from songprint.store.changes import Mark
from songprint.store.index import NOTHING, POSITION_BITS
from songprint.store.index.cells import Cells

if TYPE_CHECKING:
    import faiss

CURRENT = "current.json"
FORMAT = 2
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class PartFiles:
    """One part, as the manifest describes it."""

    name: str
    vectors: int
    removed: str = ""  # the file of removed recordings


@dataclass(frozen=True)
class Manifest:
    """The content of `current.json`."""

    cells: str
    trained_for: int  # vectors, when the cells were trained
    parts: tuple[PartFiles, ...]
    # The revision of the catalogue up to which the parts are complete; None while recordings are being added.
    mark: Mark | None = None
    # The file of an older version, whose ids are segment ids; and its recordings.
    older: str = ""
    older_recordings: tuple[int, ...] = field(default=(), repr=False)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest. Raises OSError, ValueError, TypeError or KeyError if it is missing or damaged."""
        content = json.loads((folder / CURRENT).read_text())
        if "file" in content:
            part = PartFiles(content["file"], content["vectors"])
            return cls("", content["vectors"], (part,), None, content["file"], tuple(content["recordings"]))
        if content["format"] != FORMAT:
            raise ValueError(f"the index has format {content['format']}")
        mark = Mark(**content["mark"]) if content["mark"] else None
        return cls(content["cells"], content["trained_for"], tuple(PartFiles(**p) for p in content["parts"]), mark)

    def write(self, folder: Path) -> None:
        """Replace the manifest. A crash leaves the old one or this one."""
        content = {"format": FORMAT} | {name: asdict(self)[name] for name in ("cells", "trained_for", "parts", "mark")}
        unfinished = folder / f"{CURRENT}{UNFINISHED}"
        unfinished.write_text(json.dumps(content))
        disk.durably_rename(unfinished, folder / CURRENT)

    @property
    def files(self) -> set[str]:
        """The names of all files that the index needs."""
        if self.older:
            return {self.older}
        parts = {name for part in self.parts for name in (f"{part.name}.faiss", f"{part.name}.runs.npy", part.removed)}
        return parts | {self.cells}


class Part:
    """An open part. Searches of other threads continue while recordings are removed."""

    def __init__(self, folder: Path, files: PartFiles, recordings: Sequence[int] | None = None) -> None:
        """Open the files. Raises OSError, ValueError or RuntimeError if they are missing or damaged.

        `recordings` are those of a file of an older version.
        """
        import faiss

        self.files, self.vectors = files, files.vectors
        self.path = folder / (f"{files.name}.faiss" if recordings is None else files.name)
        flags = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
        self.index = cast("faiss.IndexIVFScalarQuantizer", faiss.read_index(str(self.path), flags))
        if self.index.ntotal != files.vectors:
            raise ValueError(f"{self.path} contains {self.index.ntotal} vectors instead of {files.vectors}")
        if recordings is None:
            self.runs = cast(np.ndarray, np.load(folder / f"{files.name}.runs.npy"))
            self._run_recordings = self.runs[0] >> POSITION_BITS
        else:
            self.runs = np.empty((2, 0), np.int64)
            self._run_recordings = np.array(recordings, np.int64)
        self._by_recording = np.argsort(self._run_recordings, kind="stable")
        self._sorted = self._run_recordings[self._by_recording]
        self._older = recordings is not None
        self.removed: set[int] = set()
        self.removed_vectors = 0
        self._live: np.ndarray | None = None  # a bit for each row; None while all rows are live
        if files.removed:
            self.remove(np.load(folder / files.removed).tolist())
        self.removed_on_disk = len(self.removed)

    @cached_property
    def recordings(self) -> frozenset[int]:
        """The ids of all recordings, including the removed ones."""
        return frozenset(np.unique(self._sorted).tolist())

    def contains(self, recording_ids: Iterable[int]) -> set[int]:
        """Return those of these recordings that the part contains and that are not removed."""
        wanted = np.fromiter(recording_ids, np.int64)
        at = np.searchsorted(self._sorted, wanted)
        at[at == len(self._sorted)] = 0
        return set(wanted[self._sorted[at] == wanted].tolist()) - self.removed if len(self._sorted) else set()

    def remove(self, recording_ids: Iterable[int]) -> None:
        """Leave recordings out of searches. The cost of a search does not depend on how many they are."""
        removed = sorted(self.contains(recording_ids))
        if not removed:
            return
        self.removed |= set(removed)
        if self._older:
            return
        first, last = (np.searchsorted(self._sorted, removed, side) for side in ("left", "right"))
        ends = np.append(self.runs[1, 1:], self.vectors)
        runs = self._by_recording[np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])]
        rows = np.concatenate([np.arange(self.runs[1, run], ends[run]) for run in runs])
        if self._live is None:
            self._live = np.full((self.vectors + 7) // 8, 255, np.uint8)
        np.bitwise_and.at(self._live, rows >> 3, ~(1 << (rows & 7)).astype(np.uint8))
        self.removed_vectors += len(rows)

    def is_live(self, rows: np.ndarray) -> np.ndarray:
        """Return whether the recordings of these rows (n,) are not removed: (n,) bool."""
        if self._live is None:
            return np.ones(len(rows), bool)
        return cast(np.ndarray, (self._live[rows >> 3] >> (rows & 7) & 1).astype(bool))

    def segment_ids(self, rows: np.ndarray) -> np.ndarray:
        """Convert row numbers to segment ids, both int64 of the same shape."""
        run = np.searchsorted(self.runs[1], rows, "right") - 1
        return cast(np.ndarray, self.runs[0][run] + rows - self.runs[1][run])

    def search(
        self, vectors: np.ndarray, k: int, cells: np.ndarray, cosines: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Search the cells (n, probes) for vectors (n, dim) float32. Returns ids and cosines (n, k)."""
        import faiss

        parameters = faiss.SearchParametersIVF()
        parameters.nprobe = cells.shape[1]
        live = self._live
        if live is not None:
            selector = faiss.IDSelectorBitmap(len(live), faiss.swig_ptr(live))
            parameters.sel = selector
        ids, scores = np.empty((len(vectors), k), np.int64), np.empty((len(vectors), k), np.float32)
        cast(Any, self.index).search_preassigned_c(  # its wrapper in Python takes no parameters
            len(vectors),
            *(faiss.swig_ptr(vectors), k, faiss.swig_ptr(cells), faiss.swig_ptr(cosines)),
            *(faiss.swig_ptr(scores), faiss.swig_ptr(ids), False, parameters),
        )
        found = ids != NOTHING
        if self._older:
            found &= ~np.isin(ids >> POSITION_BITS, list(self.removed))
            return np.where(found, ids, NOTHING), np.where(found, scores, np.float32(-1))
        ids[found] = self.segment_ids(ids[found])
        scores[~found] = -1
        return ids, scores


class OpenParts:
    """The cells and parts that a manifest names. Damaged parts are left out: `complete` is False then."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Raises OSError, ValueError or RuntimeError if the cells are missing or damaged."""
        self.manifest = manifest
        if manifest.older:
            import faiss

            self.parts = [Part(folder, manifest.parts[0], manifest.older_recordings)]
            whole = faiss.read_index(str(folder / manifest.older), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
            self.cells = Cells(cast("faiss.IndexIVFScalarQuantizer", whole))
            self.complete = True
            return
        self.cells = Cells.read(folder / manifest.cells)
        self.parts = []
        for files in manifest.parts:
            with suppress(OSError, EOFError, ValueError, RuntimeError):
                part = Part(folder, files)
                if part.path.stat().st_size != file_size(self.cells, files.vectors):
                    raise ValueError(f"{part.path} is truncated")
                self.parts.append(part)
        self.complete = len(self.parts) == len(manifest.parts)

    @property
    def mark(self) -> Mark | None:
        """The revision up to which the open parts are complete."""
        return self.manifest.mark if self.complete else None

    @property
    def vectors(self) -> int:
        """The number of vectors, without those of removed recordings."""
        return sum(part.vectors - part.removed_vectors for part in self.parts)

    def recording_ids(self) -> set[int]:
        return {each for part in self.parts for each in part.recordings - part.removed}

    def contains(self, recording_ids: Iterable[int]) -> set[int]:
        wanted = set(recording_ids)
        return {each for part in self.parts for each in part.contains(wanted)}

    def remove(self, recording_ids: Iterable[int]) -> None:
        removed = set(recording_ids)
        for part in self.parts:
            part.remove(removed)


def open_parts(folder: Path) -> OpenParts | None:
    """Open the index in this folder. None if there is none, or if its manifest or cells are damaged."""
    for _ in range(10):  # another process may replace the manifest and delete files before they are open
        before = stamp(folder)
        try:
            opened = OpenParts(folder, Manifest.read(folder))
        except (OSError, ValueError, TypeError, KeyError, RuntimeError):
            opened = None
        if (opened and opened.complete) or stamp(folder) == before:
            return opened
    return None


def stamp(folder: Path) -> tuple[int, int] | None:
    """Return what identifies the present manifest; None if there is none."""
    try:
        status = (folder / CURRENT).stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino


def write_part(folder: Path, cells: Cells, name: str, ids: np.ndarray, vectors: np.ndarray) -> PartFiles:
    """Write a part with vectors (n, dim) float32 under segment ids (n,) int64."""
    import faiss

    index = cells.append(np.ascontiguousarray(vectors, np.float32), np.arange(len(ids)))
    lists = cast(Any, index.invlists)
    sizes = np.array([lists.list_size(cell) for cell in range(cells.count)])

    def content() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for cell, size in enumerate(sizes.tolist()):
            codes = faiss.rev_swig_ptr(lists.get_codes(cell), size * cells.code_size) if size else np.empty(0, np.uint8)
            yield codes, faiss.rev_swig_ptr(lists.get_ids(cell), size) if size else np.empty(0, np.int64)

    starts = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 2) != 1)
    write_files(folder, cells, name, sizes, content(), np.stack([ids[starts], starts]))
    return PartFiles(name, len(ids))


def write_files(
    folder: Path,
    cells: Cells,
    name: str,
    sizes: np.ndarray,
    content: Iterable[tuple[np.ndarray, np.ndarray]],
    runs: np.ndarray,
) -> None:
    """Write the files of a part: for each cell its number of rows (cells,), its codes, and its row numbers."""
    unfinished = folder / f"{name}.faiss{UNFINISHED}"
    header = bytearray(cells.header)
    # The number of vectors follows the type of the index and its dimension, see `write_index_header` of FAISS.
    header[8:16] = int(sizes.sum()).to_bytes(8, "little")
    with open(unfinished, "wb") as file:
        file.write(header)
        file.write(b"ilar" + np.array([cells.count, cells.code_size], "<u8").tobytes())
        file.write(b"full" + np.array([cells.count], "<u8").tobytes() + sizes.astype("<u8").tobytes())
        for codes, rows in content:
            file.write(codes.tobytes())
            file.write(rows.astype("<i8").tobytes())
    disk.durably_rename(unfinished, folder / f"{name}.faiss")
    save(folder / f"{name}.runs.npy", runs.astype(np.int64))


def file_size(cells: Cells, vectors: int) -> int:
    """Return the size of the file of a part with so many vectors, in bytes."""
    return len(cells.header) + 4 + 16 + 4 + 8 + 8 * cells.count + vectors * (cells.code_size + 8)


def read_lists(part: Part, cells: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the content of a part: the bytes of the file, and the number of rows and the first byte of each cell."""
    content = cast(np.ndarray, np.memmap(part.path, np.uint8, "r"))
    start = len(cells.header) + 4 + 16 + 4 + 8
    sizes = np.frombuffer(content[start : start + 8 * cells.count], "<u8").astype(np.int64)
    starts = start + 8 * cells.count + np.concatenate([[0], np.cumsum(sizes * (cells.code_size + 8))[:-1]])
    return content, sizes, starts


def save(path: Path, array: np.ndarray) -> None:
    """Write an array to a file that is complete or missing."""
    unfinished = path.with_name(path.name + UNFINISHED)
    with open(unfinished, "wb") as file:
        np.save(file, array)
    disk.durably_rename(unfinished, path)
