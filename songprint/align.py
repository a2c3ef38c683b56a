"""Nearest vectors -> where a clip lies in which recording. Pure functions of arrays.

First a vote: each segment of the clip votes for the (recording, offset) of its nearest vectors. Then, for the
few that get most, a line `reference = speed * query + offset` is fitted on the stored embeddings themselves,
and every segment of the clip is asked how well it agrees along that line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from songprint.index import NOTHING, split_ids
from songprint.types import Embeddings, Interval

CHANCE = 0.3            # cosine that two strangers may reach; only what is above it votes
AGREES = 0.2            # cosine from which a segment of the clip speaks for a line rather than against it
BIN = 0.5               # seconds: width of the bins of offsets; neighbouring bins are pooled
SPEEDS = np.arange(0.91, 1.1001, 0.01)
SHIFTS = np.arange(-0.75, 0.7501, 0.125)        # seconds around a candidate's offset
SHORTEST_FOR_SPEED = 3.0        # seconds; a shorter clip says nothing about speed
FAR = 0.4               # seconds off the line at which a segment says nothing about it
WORSE = 0.02            # of mean cosine that a finer line may lose
SPEED_COST = 0.2        # of the score per 100 % of speed: among equals, the plain one
SURE = 2.0              # standard errors by which a speed must differ from 1 to be believed
OVERLAP = 4             # neighbouring segments of a clip share sound: so many of them count as one
SAME = 0.8              # mean cosine of two recordings, row by row, from which they are the same sound,
CLEARLY = 0.15          # if it is that much more than
ELSEWHERE = (-9, -7, -5, 5, 7, 9)       # rows apart


@dataclass(frozen=True)
class Candidate:
    """A recording and an offset that segments of the clip voted for."""

    recording_id: int
    offset: float       # seconds: reference minus query
    votes: float


@dataclass(frozen=True)
class Line:
    """A clip laid along a recording."""

    recording_id: int
    speed: float
    offset: float                   # reference = speed * query + offset, seconds
    cosines: np.ndarray             # (m,) agreement of each heard segment of the clip, 0 outside the recording
    rows: np.ndarray                # (m,) nearest row of the reference, -1 outside
    first: int                      # the stretch of segments that agree: cosines[first:last]
    last: int

    @property
    def score(self) -> float:
        """Mean cosine over the stretch that agrees."""
        return float(self.cosines[self.first:self.last].mean()) if self.last > self.first else 0.0


def vote(ids: np.ndarray, cosines: np.ndarray, times: np.ndarray, reference_hop: float, most: int = 40
         ) -> list[Candidate]:
    """(m, k) nearest segments of m query segments at `times (m,)` -> the `most` candidates with most votes.

    A vote weighs what its cosine is above chance. One recording can be a candidate at several offsets.
    """
    recordings, positions = split_ids(ids)
    offsets = positions * reference_hop - times[:, None]                    # (m, k)
    bins = np.round(offsets / BIN).astype(np.int64)
    valid = (ids != NOTHING) & (cosines > CHANCE)
    if not valid.any():
        return []
    # one query segment has one vote for a bin, however many near-equal rows it found there
    rows = np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)[valid]
    spread = np.stack([np.tile(recordings[valid], 3), np.concatenate([bins[valid] + d for d in (-1, 0, 1)]),
                       np.tile(rows, 3)], axis=1)
    weights = np.tile(cosines[valid] - CHANCE, 3)
    order = np.lexsort((-weights, spread[:, 2], spread[:, 1], spread[:, 0]))
    spread, weights = spread[order], weights[order]
    first = np.ones(len(spread), bool)
    first[1:] = np.any(spread[1:] != spread[:-1], axis=1)
    places, place_of = np.unique(spread[first][:, :2], axis=0, return_inverse=True)
    votes = np.bincount(place_of.ravel(), weights[first])
    candidates, taken = [], set()
    for place in np.argsort(-votes, kind="stable"):
        recording, bin_ = (int(value) for value in places[place])
        if not {(recording, bin_ - 1), (recording, bin_ + 1)} & taken:      # beside a better one: the same
            candidates.append(Candidate(recording, bin_ * BIN, float(votes[place])))
        taken.add((recording, bin_))
        if len(candidates) == most:
            break
    return candidates


def verify(vectors: np.ndarray, times: np.ndarray, reference: Embeddings, candidate: Candidate, window: float
           ) -> Line | None:
    """The best line near a candidate: `vectors (m, dim)` heard at `times (m,)` against the stored rows.

    None if the clip would lie outside the recording. `window` (seconds) is what one vector describes.
    """
    near = _Near.around(vectors, times, reference, candidate.offset, window)
    if near is None:
        return None
    speeds = SPEEDS if times[-1] - times[0] >= SHORTEST_FOR_SPEED else np.ones(1)
    speed, shift = near.best(speeds, candidate.offset + SHIFTS)
    return near.line(candidate.recording_id, speed, shift)


def refine(line: Line, vectors: np.ndarray, times: np.ndarray, reference: Embeddings, window: float) -> Line:
    """The same line, fitted through the place at which each agreeing segment fits best."""
    shift = line.offset + near_middle(times) * (line.speed - 1)
    near = _Near.around(vectors, times, reference, shift, window)
    if near is None or line.last - line.first < 2:
        return line
    speed, shift_at_speed, doubt = near.fitted(line.speed, shift, line.first, line.last)
    if abs(speed - 1) > SURE * doubt:
        fitted = near.line(line.recording_id, speed, shift_at_speed)
    else:
        shift = near.best(np.ones(1), shift + SHIFTS)[1]
        fitted = near.line(line.recording_id,
                           *near.fitted(1.0, shift, line.first, line.last, any_speed=False)[:2])
    return fitted if fitted.cosines.mean() > line.cosines.mean() - WORSE else line


def near_middle(times: np.ndarray) -> float:
    """Seconds: the place in the clip about which lines turn."""
    return float(times[0] + times[-1]) / 2


class _Near:
    """Cosines of a clip with the rows of a recording around a candidate, read along lines.

    Lines turn about the middle of the clip, so that speed and shift do not pull at each other:
    `reference centre = speed * (query centre - middle) + middle + shift`.
    """

    def __init__(self, similarity: np.ndarray, times: np.ndarray, low: int, hop: float, window: float):
        self.similarity, self.low, self.hop, self.window = similarity, low, hop, window
        self.middle = near_middle(times)
        self.centres = times - self.middle + window / 2
        self.segments = np.arange(len(times))

    @classmethod
    def around(cls, vectors: np.ndarray, times: np.ndarray, reference: Embeddings, offset: float, window: float
               ) -> _Near | None:
        """None where the clip would lie outside the recording."""
        reach = (times[-1] - times[0]) * (SPEEDS[-1] - 1) / 2 + 1.5
        low = max(0, int((times[0] + offset - reach) / reference.hop))
        high = min(len(reference), int((times[-1] + offset + reach) / reference.hop) + 2)
        if high <= low:
            return None
        # a column of zeros on either side stands for what lies outside the recording
        similarity = np.pad(vectors @ reference.vectors[low:high].T, ((0, 0), (1, 1)))      # (m, rows + 2)
        return cls(similarity, times, low, reference.hop, window)

    def line(self, recording_id: int, speed: float, shift: float) -> Line:
        cosines, rows = self.along(speed, shift)
        first, last = _agreeing_stretch(cosines)
        return Line(recording_id, speed, shift + self.middle * (1 - speed), cosines, rows, first, last)

    def positions(self, speeds: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """(speeds, shifts, m) fractional columns of the similarity matrix."""
        centres = speeds[:, None, None] * self.centres + shifts[None, :, None] + self.middle
        return (centres - self.window / 2) / self.hop - self.low + 1

    def read(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Columns on either side of each position, as cosines, and how far the left one is away (0 to 1)."""
        last = self.similarity.shape[1] - 1
        left = np.floor(positions).astype(np.int64)
        segments = np.broadcast_to(self.segments, positions.shape)
        return (self.similarity[segments, left.clip(0, last)], self.similarity[segments, (left + 1).clip(0, last)],
                positions - left)

    def best(self, speeds: np.ndarray, shifts: np.ndarray) -> tuple[float, float]:
        """The speed and the shift of greatest value."""
        value = self.value(speeds, shifts)
        speed, shift = np.unravel_index(np.argmax(value), value.shape)
        return float(speeds[speed]), float(shifts[shift])

    def value(self, speeds: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """(speeds, shifts): mean cosine less the cost of speed; rows count less the farther they are."""
        left, right, fraction = self.read(self.positions(speeds, shifts))
        cosines = np.maximum(left * (1 - 0.3 * fraction), right * (0.7 + 0.3 * fraction)).clip(0).mean(axis=2)
        return cosines - SPEED_COST * np.abs(speeds - 1)[:, None]

    def fitted(self, speed: float, shift: float, first: int, last: int, any_speed: bool = True
               ) -> tuple[float, float, float]:
        """`fit`, again from where it led -> speed, shift and the standard error of the speed."""
        doubt = np.inf
        for _ in range(3):
            speed, shift, doubt = self.fit(speed, shift, first, last, any_speed)
        return float(np.clip(speed, SPEEDS[0], SPEEDS[-1])), shift, doubt

    def along(self, speed: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
        """(m,) the better cosine of the two neighbouring rows, floored at 0, and that row (-1 outside)."""
        positions = self.positions(np.array([speed]), np.array([shift]))[0, 0]
        left, right, _ = self.read(positions)
        columns = np.floor(positions).astype(np.int64) + (right > left)
        inside = (columns >= 1) & (columns <= self.similarity.shape[1] - 2)
        return np.maximum(left, right).clip(0) * inside, np.where(inside, columns - 1 + self.low, -1)

    def fit(self, speed: float, shift: float, first: int, last: int, any_speed: bool
            ) -> tuple[float, float, float]:
        """Speed, shift and the standard error of the speed, by weighted least squares over the segments [first, last).

        Each segment's own best place lies at the top of the parabola through its best row near the line and
        that row's neighbours. Segments that disagree by more than FAR weigh nothing, as in a robust fit.
        """
        positions = self.positions(np.array([speed]), np.array([shift]))[0, 0]
        segments = self.segments[first:last]
        around = np.round(positions[segments]).astype(np.int64)[:, None] + np.array([-1, 0, 1])
        around = around.clip(1, self.similarity.shape[1] - 2)
        column = around[np.arange(len(segments)), self.similarity[segments[:, None], around].argmax(axis=1)]
        before, peak, after = (self.similarity[segments, column + step] for step in (-1, 0, 1))
        bend = before - 2 * peak + after
        top = np.where(bend < -1e-6, 0.5 * (before - after) / np.where(bend < -1e-6, bend, 1), 0).clip(-0.5, 0.5)
        seconds = (column + top - 1 + self.low) * self.hop + self.window / 2 - self.middle
        times = self.centres[segments]
        weights = (peak - AGREES).clip(0) * (np.abs(seconds - speed * times - shift) < FAR)
        if (weights > 0).sum() < 3:
            return speed, shift, np.inf
        if not any_speed or times[-1] - times[0] < SHORTEST_FOR_SPEED:
            return speed, float(np.average(seconds - speed * times, weights=weights)), np.inf
        centre, centre_seconds = np.average(times, weights=weights), np.average(seconds, weights=weights)
        spread = np.average((times - centre) ** 2, weights=weights)
        slope = np.average((times - centre) * (seconds - centre_seconds), weights=weights) / spread
        slope = float(np.clip(slope, speed - 0.02, speed + 0.02))
        residual = np.average((seconds - centre_seconds - slope * (times - centre)) ** 2, weights=weights)
        independent = max(1.0, (weights > 0).sum() / OVERLAP)
        return slope, float(centre_seconds - slope * centre), float(np.sqrt(residual / (independent * spread)))


def _agreeing_stretch(cosines: np.ndarray) -> tuple[int, int]:
    """The stretch [first, last) whose sum of (cosine - AGREES) is greatest."""
    sums = np.concatenate([[0.0], np.cumsum(cosines - AGREES)])
    lowest = np.minimum.accumulate(sums)
    last = int(np.argmax(sums - lowest))
    return int(np.argmin(sums[:last + 1])), last


def hits(line: Line, ids: np.ndarray, times: np.ndarray, reference_hop: float) -> np.ndarray:
    """(m,) bool: segments whose nearest vectors include this line's recording near this line's place."""
    recordings, positions = split_ids(ids)
    expected = line.speed * times + line.offset
    near = np.abs(positions * reference_hop - expected[:, None]) <= 0.75 * reference_hop + 0.25
    return np.any((recordings == line.recording_id) & (ids != NOTHING) & near, axis=1)


def intervals(line: Line, times: np.ndarray, window: float, query_duration: float, reference_duration: float
              ) -> tuple[Interval, Interval]:
    """The agreeing stretch in seconds of the clip and of the recording."""
    start = max(0.0, float(times[line.first]))
    end = min(float(times[line.last - 1]) + window, query_duration)
    reference_start = max(0.0, line.speed * start + line.offset)
    reference_end = min(line.speed * end + line.offset, reference_duration)
    return Interval(start, end), Interval(reference_start, max(reference_start, reference_end))


def same_sound(one: Line, other: Line, one_rows: np.ndarray, other_rows: np.ndarray) -> bool:
    """Whether two recordings are the same where the clip lies on them: one sound, twice in the library.

    They must be alike row by row, and clearly less alike some seconds apart: two drones resemble each other
    anywhere. `*_rows (n, dim)` are the embeddings of the two recordings.
    """
    together = likeness(one, other, one_rows, other_rows)
    apart = [likeness(one, other, one_rows, other_rows, shift) for shift in ELSEWHERE]
    return together > SAME and together - np.mean(apart) > CLEARLY


def likeness(one: Line, other: Line, one_rows: np.ndarray, other_rows: np.ndarray, shift: int = 0) -> float:
    """Mean cosine of two recordings along their lines, the other one read `shift` rows later.

    0 where their speeds differ or they share fewer than two segments of the clip.
    """
    segments = np.arange(one.first, one.last)
    usable = (one.rows[segments] >= 0) & (other.rows[segments] >= 0)
    if usable.sum() < 2 or abs(one.speed - other.speed) > 0.03:
        return 0.0
    first, second = one.rows[segments][usable], other.rows[segments][usable]
    # the rows of the two lie up to half a hop apart, hence the neighbours
    cosines = [(one_rows[first] * other_rows[(second + shift + step).clip(0, len(other_rows) - 1)]).sum(axis=1)
               for step in (-1, 0, 1)]
    return float(np.max(cosines, axis=0).mean())
