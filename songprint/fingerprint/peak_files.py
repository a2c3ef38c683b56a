"""An inverted file of pairs of landmarks on disk: where in a library of any size a query may lie.

The pairs are kept in parts that are written once, memory-mapped (so processes share their pages) and never changed.
`current.json` names the present parts. It is replaced last, by a rename, so a crash leaves the old parts or the new
ones. A part is a folder of arrays, 46 bytes per second of music:

    edges.npy       (HASHES + 1,) where the postings of each hash begin and end
    postings.npy    for each hash, the positions of its pairs as gaps of 16 bits, ascending (`_encode`)
    codes.npy       one peak of each unit of time: a quick test of a position
    recordings.npy  (n, 3) id, first unit on the time line of the part, and number of units of each recording
    histogram.npy   (CODES,) peaks of each frequency

A search collects the positions at which several pairs of the query lie in the right order and distance, tests those
with the single peaks, and returns the best. Their peaks are then counted in full (`peak_search`).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from songprint.fingerprint import peak_pairs
from songprint.fingerprint.landmarks import SLOTS
from songprint.fingerprint.parameters import DEFAULT
from songprint.fingerprint.peak_index import CODES, MARGIN
from songprint.fingerprint.peak_pairs import HASHES, UNIT
from songprint.store import disk

log = logging.getLogger(__name__)

PARAMETERS = DEFAULT.peak_search
CURRENT = "current.json"
FORMAT = 1  # of the files; others are ignored, and written again by `rebuild` or the next change
PAIRS_PER_PART = 24_000_000  # 550 hours of music; writing a part takes 0.6 GB of memory
GAP = MARGIN // UNIT  # units between recordings: a query may extend beyond a recording
SKIP = 0xC000  # postings from here on are multiples of SKIP to add to the next gap, which is below SKIP


@dataclass(frozen=True)
class RoughPlace:
    """A position of a query that its pairs suggest."""

    recording_id: int
    frame: int  # of the recording, at which the query begins, within UNIT frames or two
    agreeing: int  # pairs, and units of time whose peak the query shares


@dataclass(frozen=True, eq=False)
class Part:
    """The pairs of some recordings. Immutable, hence thread-safe."""

    name: str
    recordings: np.ndarray  # (n, 3) id, first unit on the time line, number of units
    edges: np.ndarray
    postings: np.ndarray
    codes: np.ndarray
    histogram: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> Part:
        """Map the arrays of a part. Raises OSError or ValueError if they are damaged."""
        mapped = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        small = {name: np.array(mapped[name]) for name in ("recordings", "histogram")}
        part = cls(folder.name, **(mapped | small))
        if len(part.edges) != HASHES + 1 or part.edges[-1] != len(part.postings) or len(part.codes) != part.units:
            raise ValueError(f"{folder} is damaged")
        return part

    @property
    def units(self) -> int:
        """Units of music, without the gaps between recordings."""
        return int(self.recordings[:, 2].sum())

    @cached_property
    def recording_ids(self) -> frozenset[int]:
        return frozenset(self.recordings[:, 0].tolist())

    @cached_property
    def _rows(self) -> np.ndarray:
        """(n,) the first row of each recording in `codes`."""
        rows: np.ndarray = np.cumsum(self.recordings[:, 2]) - self.recordings[:, 2]
        return rows

    def places(self, hashes: np.ndarray, frames: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions at which at least two pairs of a query agree: (n,) units on the time line and numbers of pairs.

        `hashes (m,)` and `frames (m,)` are those of `peak_pairs.of_query`. Pairs that are frequent in this part are
        left out if there are more than `most` postings in all.
        """
        starts, ends = self.edges[hashes].astype(np.int64), self.edges[hashes + 1].astype(np.int64)
        order = np.argsort(ends - starts, kind="stable")
        total = np.cumsum((ends - starts)[order])
        order = order[: np.searchsorted(total, most, side="right")]
        order = order[starts[order] < ends[order]]
        if not len(order):
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        lists = [
            self.postings[start:end] for start, end in zip(starts[order].tolist(), ends[order].tolist(), strict=True)
        ]
        return _coincidences(_decode(lists, frames[order] // UNIT))

    def test(
        self, places: np.ndarray, pairs: np.ndarray, table: np.ndarray, removed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Test positions (n,) on the time line, at which `pairs (n,)` agree.

        Returns the recording ids, the units in these recordings, and the number of agreeing pairs and units of time,
        (m,) each. `table (units, CODES)` is 1 where the query has a peak. Recordings in `removed` are left out.
        """
        rows = np.searchsorted(self.recordings[:, 1], places + GAP // 2, side="right") - 1
        found = rows >= 0
        found[found] = ~np.isin(self.recordings[rows[found], 0], removed)
        rows, places, pairs = rows[found], places[found], pairs[found]
        ids, firsts, lengths = self.recordings[rows].T
        begin = places - firsts
        at = begin[:, None] + np.arange(len(table))
        inside = (at >= 0) & (at < lengths[:, None])
        codes = self.codes[np.where(inside, at + self._rows[rows][:, None], 0)]
        codes[~inside] = 0
        agreeing = table.reshape(-1).take(codes + np.arange(len(table)) * CODES).sum(axis=1, dtype=np.int32)
        return ids, begin, agreeing + pairs


ARRAYS = ("recordings", "edges", "postings", "codes", "histogram")


@dataclass(frozen=True, eq=False)
class PairIndex:
    """The parts of a library. Immutable, hence thread-safe."""

    parts: tuple[Part, ...] = ()

    @cached_property
    def recording_ids(self) -> frozenset[int]:
        return frozenset().union(*(part.recording_ids for part in self.parts))

    @property
    def frames(self) -> int:
        """Frames of music."""
        return UNIT * sum(part.units for part in self.parts)

    @cached_property
    def density(self) -> np.ndarray:
        """(CODES,) mean peaks of each frequency in a frame."""
        counts: np.ndarray = sum((part.histogram for part in self.parts), np.zeros(CODES, np.int64))
        return counts / max(1, self.frames)

    def search(self, landmarks: np.ndarray, most: int, leave_out: Collection[int] = ()) -> list[RoughPlace]:
        """The `most` best positions of a query (frames, SLOTS), best first; at most two of one recording."""
        hashes, frames = peak_pairs.of_query(landmarks)
        table, removed = _table(landmarks), np.array(sorted(leave_out), np.int64)
        postings = sum(len(part.postings) for part in self.parts)
        proposed = [
            part.places(hashes, frames, PARAMETERS.max_postings * len(part.postings) // max(1, postings))
            for part in self.parts
        ]
        counts = np.concatenate([np.zeros(0, np.int32), *(each for _, each in proposed)])
        enough = 2
        if len(counts) > PARAMETERS.max_places:  # those with the most pairs; ties are kept up to twice as many
            enough = int(np.partition(counts, -PARAMETERS.max_places)[-PARAMETERS.max_places])
            if (counts >= enough).sum() > 2 * PARAMETERS.max_places:
                enough += 1
        tested = [
            part.test(places[pairs >= enough], pairs[pairs >= enough], table, removed)
            for part, (places, pairs) in zip(self.parts, proposed, strict=True)
        ]
        if not tested:
            return []
        ids, begin, agreeing = (np.concatenate(each) for each in zip(*tested, strict=True))
        order = np.argsort(-agreeing, kind="stable")
        ids, begin, agreeing = ids[order], begin[order], agreeing[order]
        # The best position of each recording, and the best one elsewhere: a refrain is played more than once.
        _, first, recording = np.unique(ids, return_index=True, return_inverse=True)
        elsewhere = np.flatnonzero(np.abs(begin - begin[first][recording]) > 2)
        second = elsewhere[np.unique(ids[elsewhere], return_index=True)[1]]
        chosen = np.sort(np.concatenate([first, second]))[:most]
        return [
            RoughPlace(recording_id, UNIT * unit, score)
            for recording_id, unit, score in zip(
                ids[chosen].tolist(), begin[chosen].tolist(), agreeing[chosen].tolist(), strict=True
            )
        ]


class PairFiles:
    """The parts of a library in a folder, which several processes read and one at a time writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stamp: tuple[int, int] | None = None
        self._index = PairIndex()

    def index(self) -> PairIndex:
        """The present parts. Damaged ones are left out: their recordings are not covered."""
        try:
            status = (self.folder / CURRENT).stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamp = None
        if stamp != self._stamp:
            opened = {part.name: part for part in self._index.parts}
            parts = (opened.get(name) or self._open(name) for name in self._names())
            self._index = PairIndex(tuple(part for part in parts if part))
            self._stamp = stamp
        return self._index

    def lock(self) -> AbstractContextManager[bool]:
        """True inside for one process of this machine at a time, which may write parts."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        return disk.lock(self.folder)

    def replace(self, kept: Collection[str], recordings: Iterable[tuple[int, np.ndarray]]) -> None:
        """Keep the parts named `kept`, write parts of more recordings, and delete the other parts.

        `recordings` are ids and landmarks (frames, SLOTS). The caller has the lock.
        """
        names = [*kept]
        used = [int(path.name) for path in self.folder.iterdir() if path.name.isdigit()]
        number = max(used, default=0)
        for arrays in _in_parts(recordings):
            number += 1
            names.append(f"{number:06d}")
            self._write(names[-1], arrays)
        unfinished = self.folder / f"{CURRENT}.unfinished"
        unfinished.write_text(json.dumps({"format": FORMAT, "parts": names}))
        disk.durably_rename(unfinished, self.folder / CURRENT)
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in names:
                shutil.rmtree(path, ignore_errors=True)  # processes that have it mapped can use it until they reload

    def _names(self) -> list[str]:
        try:
            current = json.loads((self.folder / CURRENT).read_text())
            return list(current["parts"]) if current["format"] == FORMAT else []
        except (OSError, ValueError, TypeError, KeyError):
            return []

    def _open(self, name: str) -> Part | None:
        try:
            return Part.open(self.folder / name)
        except (OSError, ValueError, EOFError) as error:
            log.warning("a part of the peak search is damaged: %s", error)
            return None

    def _write(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        unfinished = self.folder / f"{name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        for title, array in arrays.items():
            with open(unfinished / f"{title}.npy", "wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())
        disk.durably_rename(unfinished, self.folder / name)


def _in_parts(recordings: Iterable[tuple[int, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    """Yield the arrays of parts of PAIRS_PER_PART, or of all recordings if those have fewer pairs."""
    made, pairs = _PartMaker(), 0
    for recording_id, landmarks in recordings:
        pairs += made.add(recording_id, landmarks)
        if pairs >= PAIRS_PER_PART:
            yield made.arrays()
            made, pairs = _PartMaker(), 0
    if made.recordings:
        yield made.arrays()


class _PartMaker:
    """Collects the pairs of recordings."""

    def __init__(self) -> None:
        self.recordings: list[tuple[int, int, int]] = []
        self._length = GAP
        self._hashes: list[np.ndarray] = []
        self._units: list[np.ndarray] = []
        self._codes: list[np.ndarray] = []
        self._histogram = np.zeros(CODES, np.int64)

    def add(self, recording_id: int, landmarks: np.ndarray) -> int:
        """Add a recording and return the number of its pairs."""
        hashes, frames = peak_pairs.of_recording(landmarks)
        codes = _one_of_each_unit(landmarks)
        self.recordings.append((recording_id, self._length, len(codes)))
        self._hashes.append(hashes)
        self._units.append((frames // UNIT + self._length).astype(np.int32))
        self._codes.append(codes)
        self._histogram += np.bincount(landmarks.reshape(-1), minlength=CODES)
        self._length += len(codes) + GAP
        return len(hashes)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the part. Nothing may be added afterwards."""
        keys = np.concatenate(self._hashes).astype(np.int64) << 32
        self._hashes.clear()
        keys |= np.concatenate(self._units)
        self._units.clear()
        keys.sort()
        hashes, units = (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32)
        del keys
        self._histogram[0] = 0  # empty slots
        postings, edges = _encode(hashes, units)
        return {
            "recordings": np.array(self.recordings, np.int64),
            "edges": edges,
            "postings": postings,
            "codes": np.concatenate(self._codes),
            "histogram": self._histogram,
        }


def _one_of_each_unit(landmarks: np.ndarray) -> np.ndarray:
    """(frames, SLOTS) codes -> (units,) code of one peak of each unit, 0 if it has none.

    The first peak of even units and the last one of odd units: the slots of a frame ascend in frequency.
    """
    units = -(-len(landmarks) // UNIT)
    if landmarks.shape[1:] != (SLOTS,):
        return np.zeros(0, np.uint8)
    codes = np.zeros((units * UNIT, SLOTS), np.uint8)
    codes[: len(landmarks)] = landmarks
    codes = codes.reshape(units, UNIT * SLOTS)
    codes[1::2] = codes[1::2, ::-1]
    chosen: np.ndarray = codes[np.arange(units), (codes > 0).argmax(axis=1)]
    return chosen


def _table(landmarks: np.ndarray) -> np.ndarray:
    """(units, CODES) int8: 1 where a query (frames, SLOTS) has a peak, within a unit."""
    units = -(-len(landmarks) // UNIT)
    table = np.zeros((units + 2, CODES), np.int8)
    frames, slots = np.nonzero(landmarks)
    for shift in range(3):
        table[frames // UNIT + shift, landmarks[frames, slots]] = 1
    return table[1:-1]


def _encode(hashes: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n,), ascending for each hash, as gaps: postings (m,) uint16, and the edges of each hash in them."""
    gaps = units.copy()
    gaps[1:] -= np.where(hashes[1:] == hashes[:-1], units[:-1], 0)
    skips, gaps = gaps // SKIP, gaps % SKIP
    ends = np.cumsum(1 + (skips > 0))
    postings = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint16)
    postings[ends - 1] = gaps
    wide = skips > 0
    postings[ends[wide] - 2] = SKIP - 1 + skips[wide]
    before = np.concatenate([[0], ends])
    edges = before[np.searchsorted(hashes, np.arange(HASHES + 1))]
    return postings, edges.astype(np.uint32)


def _decode(lists: list[np.ndarray], starts: np.ndarray) -> np.ndarray:
    """Positions of all postings, (n,) int32, each less the `starts (lists,)` of its list. No list is empty."""
    postings = np.concatenate(lists).astype(np.int32)
    present = postings < SKIP
    gaps = np.where(present, postings, (postings - (SKIP - 1)) * SKIP)
    heads = np.cumsum([0, *(len(each) for each in lists[:-1])])
    totals = np.add.reduceat(gaps, heads)  # the position of the last pair of each list
    gaps[heads] -= starts
    gaps[heads[1:]] -= totals[:-1] - starts[:-1]
    decoded: np.ndarray = np.cumsum(gaps, dtype=np.int32)[present]
    return decoded


def _coincidences(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions that occur at least twice, the next one included: (n,) int32, and how often."""
    positions = np.sort(positions)
    first = np.flatnonzero(positions[1:] - positions[:-1] <= 1)
    first = first[np.diff(positions[first], prepend=-1) > 0]
    found = positions[first]
    counts = np.searchsorted(positions, found + 1, side="right") - first
    return found, counts.astype(np.int32)
