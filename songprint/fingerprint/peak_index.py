"""Where in the library the peaks of a clip lie as well: counted at every place of every recording.

An inverted file (Wang, "An industrial-strength audio search algorithm", ISMIR 2003, without his pairs): for every
frequency the moments at which recordings have a peak there. Each peak of a clip speaks for the places at which a
peak of its frequency lies where it should, and the true place collects what chance scatters over the whole library.
All is in memory, 1 MB for an hour of music.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from songprint.fingerprint import logmel
from songprint.fingerprint.landmarks import from_hertz, to_hertz

RATE = logmel.FRAMES_PER_SECOND  # of landmarks, a second
CODES = 256
BLOCK = 1 << 20  # frames that are counted at once, 9 hours: what a processor has at hand
MARGIN = 800  # frames between recordings, 25 s: clips may hang over
EXACT = 2  # what a peak counts that lies on one; off by a frame it counts half as much
ONE = np.int16(1)


@dataclass(frozen=True)
class Place:
    """Where a clip may lie: `reference = speed * query + offset`, as peaks say."""

    recording_id: int
    offset: float  # seconds
    count: float  # peaks of the clip that lie on one of the recording; off by a frame they are halves


class Peaks:
    """The landmarks of a clip: where they lie in time and frequency."""

    def __init__(self, landmarks: np.ndarray):
        """`landmarks (frames, SLOTS)`, as of a recording."""
        self.frames, slots = np.nonzero(landmarks)
        self.hertz = to_hertz(landmarks[self.frames, slots])

    def __len__(self) -> int:
        return len(self.frames)

    def undone(self, speed: float, pitch: float) -> tuple[np.ndarray, np.ndarray]:
        """Frames and codes as they are in a recording that the clip plays at this speed and pitch."""
        return np.rint(self.frames * speed).astype(np.intp), from_hertz(self.hertz / pitch)

    def around(self, landmarks: np.ndarray, speed: float, pitch: float, offset: float, reach: int) -> np.ndarray:
        """(2 * reach + 1,): `Place.count` of one recording, given its landmarks (frames, SLOTS), at a speed and pitch.

        At each frame from `reach` before the place at `offset` seconds to `reach` after it.
        """
        frames, codes = self.undone(speed, pitch)
        first, count = round(offset * RATE) - reach - 1, 2 * reach + 3
        begin = max(0, first + int(frames.min(initial=0)))
        near = landmarks[begin : max(begin, first + int(frames.max(initial=0)) + count)]
        own, slots = np.nonzero(near)
        order = np.argsort(near[own, slots], kind="stable")
        edges = np.searchsorted(near[own, slots][order], np.arange(CODES + 1))
        starts, lengths = edges[codes], np.diff(edges)[codes]
        # of each peak of the clip all of its frequency, one behind the other
        theirs = np.arange(lengths.sum()) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
        places = own[order][theirs] + begin - first - np.repeat(frames, lengths)
        counts = np.bincount(places[(places >= 0) & (places < count)], minlength=count)
        return (EXACT * counts[1:-1] + counts[:-2] + counts[2:]) / EXACT


class PeakIndex:
    """The landmarks of many recordings by frequency. It never changes, so any number of threads may count."""

    def __init__(self, blocks: Iterable[_Block] = ()) -> None:
        self._blocks = tuple(blocks)

    @property
    def recording_ids(self) -> set[int]:
        return {recording_id for block in self._blocks for recording_id in block.starts}

    def changed(self, added: Iterable[tuple[int, np.ndarray]] = (), removed: Collection[int] = ()) -> PeakIndex:
        """The same with other recordings, given with their landmarks (frames, SLOTS), and without some.

        What those take in memory is given back when all of their block are removed.
        """
        blocks = [left for block in self._blocks if (left := block.without(removed)).starts]
        growing = blocks.pop() if blocks and blocks[-1].length < BLOCK else _Block()
        waiting, frames = [], growing.length
        for recording_id, landmarks in added:
            waiting.append((recording_id, landmarks))
            frames += len(landmarks) + MARGIN
            if frames >= BLOCK:
                blocks.append(growing.with_more(waiting))
                growing, waiting, frames = _Block(), [], 0
        growing = growing.with_more(waiting)
        return PeakIndex([*blocks, growing] if growing.starts else blocks)

    def count(self, peaks: Peaks) -> Counts:
        """How many peaks of the clip lie on one of a recording, for every place, at unchanged speed and pitch."""
        frames, codes = peaks.undone(1.0, 1.0)
        return Counts([(block.starts, block.ends, block.count(frames, codes)) for block in self._blocks])


class Counts:
    """What was counted in each block: where its recordings begin and end, and the count at each place."""

    def __init__(self, blocks: list[tuple[Mapping[int, int], Mapping[int, int], np.ndarray]]):
        self._blocks = blocks

    def best(self, most: int, leave_out: Collection[int] = ()) -> list[Place]:
        """The best place of each of the `most` recordings that have most, best first."""
        places = []
        for starts, ends, counts in self._blocks:
            kept = np.array([number for number in starts if number not in leave_out], np.int64)
            if not len(kept):
                continue
            # a clip that hangs over the beginning counts for what begins there, not for what ends before
            spans = np.array([(starts[number] + MARGIN // 2, ends[number] + MARGIN) for number in kept])
            highest = np.maximum.reduceat(counts, spans.reshape(-1))[::2]
            for number in np.argsort(-highest, kind="stable")[:most]:
                first, last = spans[number]
                at = int(counts[first:last].argmax()) + first - MARGIN - starts[int(kept[number])]
                places.append(Place(int(kept[number]), at / RATE, float(highest[number]) / EXACT))
        return sorted(places, key=lambda place: -place.count)[:most]


@dataclass(frozen=True)
class _Block:
    """Recordings one after the other on one line of frames, with MARGIN between them."""

    starts: Mapping[int, int] = field(default_factory=dict)
    ends: Mapping[int, int] = field(default_factory=dict)
    length: int = 0
    frames: np.ndarray = field(default_factory=lambda: np.zeros(0, np.intp))  # of all peaks, by code
    edges: np.ndarray = field(default_factory=lambda: np.zeros(CODES + 1, np.intp))  # where each code begins in them

    def without(self, recording_ids: Collection[int]) -> _Block:
        starts = {number: start for number, start in self.starts.items() if number not in recording_ids}
        return replace(self, starts=starts)

    def with_more(self, recordings: Iterable[tuple[int, np.ndarray]]) -> _Block:
        starts, ends, length = dict(self.starts), dict(self.ends), self.length
        frames, codes = [self.frames], [np.repeat(np.arange(CODES, dtype=np.uint8), np.diff(self.edges))]
        for recording_id, landmarks in recordings:
            own, slots = np.nonzero(landmarks)
            frames.append(own + length)
            codes.append(landmarks[own, slots])
            starts[recording_id], ends[recording_id] = length, length + len(landmarks)
            length += len(landmarks) + MARGIN
        everything, code = np.concatenate(frames), np.concatenate(codes)
        edges = np.concatenate([[0], np.cumsum(np.bincount(code, minlength=CODES))])
        return _Block(starts, ends, length, everything[np.argsort(code, kind="stable")], edges)

    def count(self, frames: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """(length + 2 * MARGIN,) int16: EXACT times `Place.count` if the clip begins at each frame less MARGIN.

        Peaks must have the same code. Where they may differ by one, three times as many agree by chance: of 416 clips
        in noise, rooms and calls the true place then has most for 89 % instead of 92, clearly so for 65 instead of 73.
        """
        counts = np.zeros(self.length + 2 * MARGIN, np.int16)
        for frame, code in zip(frames.tolist(), codes.tolist(), strict=True):
            if frame > MARGIN:
                break
            # several times as fast as np.bincount; three fifths of the time of `+= 1` at these places
            np.add.at(counts[MARGIN - frame :], self.frames[self.edges[code] : self.edges[code + 1]], ONE)
        sums = EXACT * counts
        sums[1:] += counts[:-1]
        sums[:-1] += counts[1:]
        return sums
