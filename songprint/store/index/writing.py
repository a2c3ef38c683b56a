"""Writing the FAISS index: new parts, merged parts, and the whole index with new cells.

One process at a time writes; the caller has the lock. Searches of all processes continue with the files that they have
open. Every step ends with a new manifest, so an interrupted writer leaves a valid index, and the next one continues.

New vectors become a new part. Parts are merged so that few remain, as in a log-structured merge tree: the newest parts
are merged once together they are as large as the next older one. A merge copies codes and does not read the catalogue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from songprint.store import disk
from songprint.store.changes import Mark
from songprint.store.index import cells as cells_of_index
from songprint.store.index import parts
from songprint.store.index.cells import Cells, number_of_cells, sample_of
from songprint.store.index.parts import CURRENT, Manifest, OpenParts, Part, PartFiles, open_parts

log = logging.getLogger(__name__)

Vectors = Iterator[tuple[np.ndarray, np.ndarray]]  # ids (n,) int64 and vectors (n, dim) float32 of whole recordings
Source = Callable[[Sequence[int]], Vectors]  # the vectors of recordings

# Vectors outside the parts beyond which they are written as a part. Every process searches them one by one.
MAX_PENDING = 1 << 15
# Removed recordings and revisions beyond which the manifest is written again, so that opening reads few changes.
MAX_REMOVED = 500
MAX_BEHIND = 2000
CHUNK = 1 << 20  # vectors of one new part, which are in memory while it is written
LARGEST_MERGED = 1 << 24  # vectors; larger parts are not merged
MAX_DEAD = 0.2  # share of the rows of a part that belong to removed recordings, beyond which it is written again
OUTGROWN = 4  # the cells are trained again when the index has so many times the vectors


class Writer:
    """Writes the index in `folder`. A library of at most `exact_limit` vectors needs no files."""

    def __init__(self, folder: Path, dim: int, exact_limit: int) -> None:
        self.folder, self.dim, self.exact_limit = folder, dim, exact_limit
        self.opened = open_parts(folder)

    @property
    def mark(self) -> Mark | None:
        """The revision of the catalogue that the files contain; None: compare everything."""
        return self.opened.mark if self.opened else None

    def update(
        self,
        missing: Mapping[int, int],
        surplus: Iterable[int],
        source: Source,
        mark: Mark | None,
        everything: Callable[[], Mapping[int, int]],
    ) -> None:
        """Bring the files into step with the catalogue at the revision `mark`, if it is worth it.

        Args:
            missing: recordings that the files lack, with their numbers of segments.
            surplus: recordings that the files contain and the catalogue does not.
            source: reads vectors from the catalogue.
            everything: lists all recordings, for a rebuild.
        """
        opened, new = self.opened, sum(missing.values())
        if opened is None:
            if new > self.exact_limit:
                self.rebuild(missing, source, mark)
            return
        removed = set(surplus)
        opened.remove(removed)
        manifest = opened.manifest
        if manifest.older or opened.vectors + new > OUTGROWN * max(manifest.trained_for, self.exact_limit):
            self.rebuild(everything(), source, mark)
            return
        behind = mark.revision - manifest.mark.revision if mark and opened.mark and manifest.mark else MAX_BEHIND + 1
        if new > MAX_PENDING or len(removed) > MAX_REMOVED or behind > MAX_BEHIND:
            self._append(opened, sorted(missing), source, mark)
        self._merge_while_worth_it()

    def _append(self, opened: OpenParts, missing: Sequence[int], source: Source, mark: Mark | None) -> None:
        """Write recordings as new parts, and the removals."""
        kept = self._with_removals(opened)
        for number, (ids, vectors) in enumerate(_chunks(source(missing))):
            if number:
                self._commit(replace(opened.manifest, parts=kept, mark=None))
            log.info("writing %d vectors to the index %s", len(ids), self.folder)
            kept = (*kept, parts.write_part(self.folder, opened.cells, self._number(), ids, vectors))
        self._commit(replace(opened.manifest, parts=kept, mark=mark))

    def _with_removals(self, opened: OpenParts) -> tuple[PartFiles, ...]:
        """Write the removed recordings of each part, and return the parts that still have vectors."""
        found = []
        for part in opened.parts:
            if part.removed_vectors == part.vectors:
                continue
            files = part.files
            if part.removed and len(part.removed) != part.removed_on_disk:
                files = replace(files, removed=f"{self._number()}.removed.npy")
                parts.save(self.folder / files.removed, np.array(sorted(part.removed), np.int64))
            found.append(files)
        return tuple(found)

    def _merge_while_worth_it(self) -> None:
        while (opened := self.opened) and (chosen := merge_next(opened.parts)):
            log.info("merging %d parts of the index %s", len(chosen), self.folder)
            merged = merge(self.folder, opened.cells, self._number(), chosen)
            kept = list(self._with_removals(opened))
            names = [part.files.name for part in chosen]
            position = next(i for i, each in enumerate(kept) if each.name in names)
            left = [each for each in kept if each.name not in names]
            self._commit(replace(opened.manifest, parts=(*left[:position], merged, *left[position:])))

    def rebuild(self, recordings: Mapping[int, int], source: Source, mark: Mark | None = None) -> None:
        """Train new cells and write all recordings, given with their numbers of segments. The old index stays in use.

        A library of at most `exact_limit` vectors gets no files.
        """
        count = sum(recordings.values())
        self.folder.mkdir(parents=True, exist_ok=True)
        if count <= self.exact_limit:
            self.clear()
            return
        log.info("writing the index %s", self.folder)
        wanted = number_of_cells(count) * cells_of_index.TRAINING_VECTORS
        trained_on, size = _some(recordings, wanted)
        sample = sample_of(source(trained_on), self.dim, size, wanted)
        if not len(sample):  # silence alone has no vectors to search
            self.clear()
            return
        cells = cells_of_index.train(sample, min(number_of_cells(count), len(sample)))
        del sample
        name = f"{self._number()}.cells"
        unfinished = self.folder / f"{name}{parts.UNFINISHED}"
        cells.write(unfinished)
        disk.durably_rename(unfinished, self.folder / name)
        written: list[PartFiles] = []
        small: list[PartFiles] = []
        for ids, vectors in _chunks(source(sorted(recordings))):
            small.append(parts.write_part(self.folder, cells, self._number(), ids, vectors))
            if sum(each.vectors for each in small) + CHUNK > LARGEST_MERGED:
                written.append(self._merge_files(cells, small))
                small = []
        if small:
            written.append(self._merge_files(cells, small))
        self._commit(Manifest(name, count, tuple(written), mark))

    def _merge_files(self, cells: Cells, files: Sequence[PartFiles]) -> PartFiles:
        """Merge parts that no manifest names yet, and delete them."""
        if len(files) == 1:
            return files[0]
        merged = merge(self.folder, cells, self._number(), [Part(self.folder, each) for each in files])
        for each in files:
            _delete(self.folder / f"{each.name}.faiss")
            _delete(self.folder / f"{each.name}.runs.npy")
        return merged

    def clear(self) -> None:
        """Delete the index."""
        _delete(self.folder / CURRENT)
        self._delete_other_files(set())
        self.opened = None

    def _commit(self, manifest: Manifest) -> None:
        if self.opened and manifest == self.opened.manifest:
            return
        manifest.write(self.folder)
        self._delete_other_files(manifest.files)
        self.opened = open_parts(self.folder)

    def _delete_other_files(self, needed: set[str]) -> None:
        """Delete the files of older manifests. Processes that have them open can use them until they reload."""
        for path in self.folder.iterdir():
            if path.name not in needed | {CURRENT}:
                _delete(path)

    def _number(self) -> str:
        """Return the name of a new file."""
        used = [int(path.name[:6]) for path in self.folder.iterdir() if path.name[:6].isdigit()]
        return f"{max(used, default=0) + 1:06d}"


def merge_next(opened: Sequence[Part]) -> list[Part]:
    """Return the parts to merge next, in their order; none if the index needs no merge."""
    for part in opened:
        if part.removed_vectors > MAX_DEAD * part.vectors:
            return [part]
    chosen: list[Part] = []
    total = 0
    for part in reversed(opened):
        if chosen and (part.vectors > total or part.vectors + total > LARGEST_MERGED):
            break
        chosen.insert(0, part)
        total += part.vectors
    return chosen if len(chosen) > 1 else []


def merge(folder: Path, cells: Cells, name: str, merged: Sequence[Part]) -> PartFiles:
    """Write a part with the rows of several parts, without those of removed recordings."""
    new_rows, runs, count = [], [], 0
    for part in merged:
        live = part.is_live(np.arange(part.vectors))
        rows = np.where(live, np.cumsum(live) - 1 + count, -1)
        kept = live[part.runs[1]]
        runs.append(np.stack([part.runs[0][kept], rows[part.runs[1][kept]]]))
        new_rows.append(rows)
        count += int(live.sum())
    lists = [parts.read_lists(part, cells) for part in merged]
    sizes = np.zeros(cells.count, np.int64)
    for (content, counts, starts), rows in zip(lists, new_rows, strict=True):
        if (rows >= 0).all():
            sizes += counts
        else:
            sizes += [
                int((rows[_rows(content, start, size, cells.code_size)] >= 0).sum())
                for start, size in zip(starts.tolist(), counts.tolist(), strict=True)
            ]

    def in_cell(cell: int) -> tuple[np.ndarray, np.ndarray]:
        codes, numbers = [], []
        for (content, counts, starts), rows in zip(lists, new_rows, strict=True):
            start, size = int(starts[cell]), int(counts[cell])
            found = rows[_rows(content, start, size, cells.code_size)]
            live = found >= 0
            codes.append(content[start : start + size * cells.code_size].reshape(size, cells.code_size)[live].ravel())
            numbers.append(found[live])
        return np.concatenate(codes), np.concatenate(numbers)

    parts.write_files(folder, cells, name, sizes, map(in_cell, range(cells.count)), np.concatenate(runs, axis=1))
    return PartFiles(name, count)


def _rows(content: np.ndarray, start: int, size: int, code_size: int) -> np.ndarray:
    """Return the row numbers of a cell."""
    begin = start + size * code_size
    return np.frombuffer(content[begin : begin + 8 * size], "<i8")


def _chunks(vectors: Vectors) -> Vectors:
    """Collect vectors into chunks of about CHUNK."""
    ids: list[np.ndarray] = []
    collected: list[np.ndarray] = []
    count = 0
    for each, its_vectors in vectors:
        ids.append(each)
        collected.append(its_vectors)
        count += len(each)
        if count >= CHUNK:
            yield np.concatenate(ids), np.concatenate(collected)
            ids, collected, count = [], [], 0
    if count:
        yield np.concatenate(ids), np.concatenate(collected)


def _some(recordings: Mapping[int, int], wanted: int) -> tuple[list[int], int]:
    """Return random recordings with four times the wanted number of vectors, and their number of vectors.

    Neighbouring vectors of a recording are similar, so a sample of a quarter of them is as good as one of all.
    """
    chosen: list[int] = []
    count = 0
    for recording_id in np.random.default_rng(0).permutation(sorted(recordings)).tolist():
        if count >= 4 * wanted:
            break
        chosen.append(recording_id)
        count += recordings[recording_id]
    return sorted(chosen), count


def _delete(path: Path) -> None:
    with suppress(OSError):  # on Windows a file that another process has open cannot be deleted
        path.unlink()
