"""Nearest vectors -> where a clip lies in which recording. Pure functions of arrays.

First a vote: each segment of the clip votes for the (recording, offset) of its nearest vectors. Then, for the
few that get most, a line `reference = speed * query + offset` is fitted on the stored embeddings themselves,
and every segment of the clip is asked how well it agrees along that line.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from songprint.store.index import NOTHING, split_ids
from songprint.types import Embeddings, Interval

CHANCE = 0.3  # cosine that two strangers may reach; only what is above it votes
AGREES = 0.2  # cosine from which a segment of the clip speaks for a line rather than against it
BIN = 0.5  # seconds: width of the bins of offsets; neighbouring bins are pooled
SPEEDS = np.arange(0.91, 1.1001, 0.01)
SHIFTS = np.arange(-0.75, 0.7501, 0.125)  # seconds around a candidate's offset
SHORTEST_FOR_SPEED = 3.0  # seconds; a shorter clip says nothing about speed
FAR = 0.4  # seconds off the line at which a segment says nothing about it
WORSE = 0.02  # of mean cosine that a finer line may lose
SPEED_COST = 0.2  # of the score per 100 % of speed: among equals, the plain one
SURE = 2.0  # standard errors by which a speed must differ from 1 to be believed
OVERLAP = 4  # neighbouring segments of a clip share sound: so many of them count as one
RIM = 2  # columns of zeros on either side of the rows that lines may reach
SAME = 0.8  # mean cosine of two recordings, row by row, from which they are the same sound,
CLEARLY = 0.15  # if it is that much more than
ELSEWHERE = (-9, -7, -5, 5, 7, 9)  # rows apart


@dataclass(frozen=True)
class Candidate:
    """A recording and an offset that segments of the clip voted for."""

    recording_id: int
    offset: float  # seconds: reference minus query
    votes: float


@dataclass(frozen=True)
class LineAlignment:
    """A clip laid along a recording."""

    recording_id: int
    speed: float
    offset: float  # reference = speed * query + offset, seconds
    cosines: np.ndarray  # (m,) agreement of each heard segment of the clip, 0 outside the recording
    rows: np.ndarray  # (m,) nearest row of the reference, -1 outside
    first: int  # the stretch of segments that agree: cosines[first:last]
    last: int

    @property
    def score(self) -> float:
        """Mean cosine over the stretch that agrees."""
        return float(self.cosines[self.first : self.last].mean()) if self.last > self.first else 0.0

    def at(self, seconds: float | np.ndarray) -> float | np.ndarray:
        """Where in the recording it is at these seconds of the clip."""
        return self.speed * seconds + self.offset


def vote(
    ids: np.ndarray, cosines: np.ndarray, times: np.ndarray, reference_hop: float, most: int = 40
) -> list[Candidate]:
    """(m, k) nearest segments of m query segments at `times (m,)` -> the `most` candidates with most votes.

    A vote weighs what its cosine is above chance. One recording can be a candidate at several offsets.
    """
    recordings, positions = split_ids(ids)
    offsets = positions * reference_hop - times[:, None]  # (m, k)
    bins = np.round(offsets / BIN).astype(np.int64)
    valid = (ids != NOTHING) & (cosines > CHANCE)
    if not valid.any():
        return []
    # one query segment has one vote for a bin, however many near-equal rows it found there
    rows = np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)[valid]
    recordings, lowest = recordings[valid], bins[valid].min()
    bins = bins[valid] - lowest + 1  # so that a place is one number
    width = bins.max() + 2
    places = np.concatenate([recordings * width + bins + step for step in (-1, 0, 1)])
    weights = np.tile(cosines[valid] - CHANCE, 3)
    order = np.lexsort((-weights, places * len(ids) + np.tile(rows, 3)))
    places, rows, weights = places[order], np.tile(rows, 3)[order], weights[order]
    first = np.ones(len(places), bool)
    first[1:] = (places[1:] != places[:-1]) | (rows[1:] != rows[:-1])
    places, place_of = np.unique(places[first], return_inverse=True)
    votes = np.bincount(place_of, weights[first])
    recordings, bins = places // width, places % width + lowest - 1
    candidates, taken = [], set()
    for place in np.argsort(-votes, kind="stable"):
        recording, bin_ = int(recordings[place]), int(bins[place])
        if not {(recording, bin_ - 1), (recording, bin_ + 1)} & taken:  # beside a better one: the same
            candidates.append(Candidate(recording, bin_ * BIN, float(votes[place])))
        taken.add((recording, bin_))
        if len(candidates) == most:
            break
    return candidates


def verify(vectors: np.ndarray, layout: Layout, reference: Embeddings, candidate: Candidate) -> LineAlignment | None:
    """The best line near a candidate: `vectors (m, dim)` of the clip against the stored rows.

    None if the clip would lie outside the recording. `layout` is that of the clip, the same for all candidates.
    """
    near = _Near.around(vectors, layout, reference, candidate.offset)
    if near is None:
        return None
    return near.line(candidate.recording_id, *near.best(layout.fan, near.row * reference.hop))


def refine(line: LineAlignment, vectors: np.ndarray, layout: Layout, reference: Embeddings) -> LineAlignment:
    """The same line, fitted through the place at which each agreeing segment fits best."""
    shift = line.offset + layout.middle * (line.speed - 1)
    near = _Near.around(vectors, layout, reference, shift)
    if near is None or line.last - line.first < 2:
        return line
    speed, shift_at_speed, doubt = near.fitted(line.speed, shift, line.first, line.last)
    if abs(speed - 1) > SURE * doubt:
        fitted = near.line(line.recording_id, speed, shift_at_speed)
    else:
        rows = near.row * reference.hop
        shift = near.best(_Fan(layout, np.ones(1), shift - rows + SHIFTS), rows)[1]
        fitted = near.line(line.recording_id, *near.fitted(1.0, shift, line.first, line.last, any_speed=False)[:2])
    return fitted if fitted.cosines.mean() > line.cosines.mean() - WORSE else line


class Layout:
    """Where lines through a clip read the rows around a candidate: the same for all candidates.

    Lines turn about the middle of the clip, so that speed and shift do not pull at each other:
    `reference centre = speed * (query centre - middle) + middle + shift`.
    Column `c` of what is read is the row `c + first` after that of the candidate's offset.
    """

    def __init__(self, times: np.ndarray, hop: float, window: float):
        """`times (m,)` in the clip; `hop` of the rows and `window` of a segment, all in seconds."""
        self.times, self.hop, self.window = times, hop, window
        self.middle = float(times[0] + times[-1]) / 2
        self.centres = times - self.middle + window / 2
        self.segments = np.arange(len(times))
        reach = (times[-1] - times[0]) * (SPEEDS[-1] - 1) / 2 + 1.5
        self.first = int(np.floor((times[0] - reach) / hop)) - RIM
        self.width = int(np.ceil((times[-1] + reach) / hop)) + RIM + 1 - self.first

    def positions(self, speeds: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """(speeds, shifts, m) fractional columns; shifts are seconds from the candidate's row."""
        centres = speeds[:, None, None] * self.centres + shifts[None, :, None] + self.middle
        return (centres - self.window / 2) / self.hop - self.first

    def columns(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The column left of each position, and how far it is away (0 to 1)."""
        left = np.floor(positions + 1e-6)  # on a row: rounding shall not say that it is between two
        return left.clip(0, self.width - 2).astype(np.intp), positions - left

    @cached_property
    def fan(self) -> _Fan:
        """The lines that are tried for every candidate."""
        speeds = SPEEDS if self.times[-1] - self.times[0] >= SHORTEST_FOR_SPEED else np.ones(1)
        return _Fan(self, speeds, SHIFTS)


class _Fan:
    """Lines of several speeds and shifts, and which cells of a similarity matrix they read."""

    def __init__(self, layout: Layout, speeds: np.ndarray, shifts: np.ndarray):
        self.speeds, self.shifts = speeds, shifts
        left, fraction = layout.columns(layout.positions(speeds, shifts))
        self.left = left + layout.segments * layout.width  # (speeds, shifts, m) cells of the flat matrix
        self.right = self.left + 1
        # rows count less the farther they are
        self.left_weights = (1 - 0.3 * fraction).astype(np.float32)
        self.right_weights = (0.7 + 0.3 * fraction).astype(np.float32)
        self.costs = SPEED_COST * np.abs(speeds - 1)[:, None]

    def values(self, similarity: np.ndarray) -> np.ndarray:
        """(speeds, shifts): mean cosine less the cost of speed."""
        similarity = similarity.clip(0)
        left, right = similarity.take(self.left), similarity.take(self.right)
        left *= self.left_weights
        right *= self.right_weights
        return np.maximum(left, right, out=left).mean(axis=2) - self.costs


class _Near:
    """Cosines of a clip with the rows of a recording around a candidate, read along lines."""

    def __init__(self, vectors: np.ndarray, layout: Layout, reference: Embeddings, row: int):
        self.layout, self.row, self.low = layout, row, row + layout.first
        # columns of rows that the recording has; zeros stand for what lies outside
        self.start = max(RIM, -self.low)
        self.end = min(layout.width - RIM, len(reference) - self.low)
        self.similarity = np.zeros((len(vectors), layout.width), np.float32)  # (m, columns)
        if self.end > self.start:
            rows = reference.vectors[self.low + self.start : self.low + self.end]
            self.similarity[:, self.start : self.end] = vectors @ rows.T

    @classmethod
    def around(cls, vectors: np.ndarray, layout: Layout, reference: Embeddings, offset: float) -> _Near | None:
        """None where the clip would lie outside the recording."""
        near = cls(vectors, layout, reference, round(offset / layout.hop))
        return near if near.end > near.start else None

    def line(self, recording_id: int, speed: float, shift: float) -> LineAlignment:
        cosines, rows = self.along(speed, shift)
        first, last = _agreeing_stretch(cosines)
        return LineAlignment(recording_id, speed, shift + self.layout.middle * (1 - speed), cosines, rows, first, last)

    def positions(self, speed: float, shift: float) -> np.ndarray:
        """(m,) fractional columns along one line."""
        shift -= self.row * self.layout.hop
        return self.layout.positions(np.array([speed]), np.array([shift]))[0, 0]

    def best(self, fan: _Fan, offset: float) -> tuple[float, float]:
        """The speed and the shift of greatest value; the shifts of the fan are around `offset` seconds."""
        values = fan.values(self.similarity)
        speed, shift = np.unravel_index(np.argmax(values), values.shape)
        return float(fan.speeds[speed]), float(offset + fan.shifts[shift])

    def fitted(
        self, speed: float, shift: float, first: int, last: int, any_speed: bool = True
    ) -> tuple[float, float, float]:
        """`fit`, again from where it led -> speed, shift and the standard error of the speed."""
        doubt = np.inf
        for _ in range(3):
            speed, shift, doubt = self.fit(speed, shift, first, last, any_speed)
        return float(np.clip(speed, SPEEDS[0], SPEEDS[-1])), shift, doubt

    def along(self, speed: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
        """(m,) the better cosine of the two neighbouring rows, floored at 0, and that row (-1 outside)."""
        columns, _ = self.layout.columns(self.positions(speed, shift))
        left, right = (self.similarity[self.layout.segments, columns + step] for step in (0, 1))
        columns = columns + (right > left)
        inside = (columns >= self.start) & (columns < self.end)
        return np.maximum(left, right).clip(0) * inside, np.where(inside, columns + self.low, -1)

    def fit(self, speed: float, shift: float, first: int, last: int, any_speed: bool) -> tuple[float, float, float]:
        """Speed, shift and the standard error of the speed, by weighted least squares over the segments [first, last).

        Each segment's own best place lies at the top of the parabola through its best row near the line and
        that row's neighbours. Segments that disagree by more than FAR weigh nothing, as in a robust fit.
        """
        layout = self.layout
        segments = layout.segments[first:last]
        around = np.round(self.positions(speed, shift)[segments]).astype(np.int64)[:, None] + np.array([-1, 0, 1])
        around = around.clip(self.start, self.end - 1)
        column = around[np.arange(len(segments)), self.similarity[segments[:, None], around].argmax(axis=1)]
        before, peak, after = (self.similarity[segments, column + step] for step in (-1, 0, 1))
        bend = before - 2 * peak + after
        top = np.where(bend < -1e-6, 0.5 * (before - after) / np.where(bend < -1e-6, bend, 1), 0).clip(-0.5, 0.5)
        seconds = (column + top + self.low) * layout.hop + layout.window / 2 - layout.middle
        times = layout.centres[segments]
        weights = (peak - AGREES).clip(0) * (np.abs(seconds - speed * times - shift) < FAR)
        if (weights > 0).sum() < 3:
            return speed, shift, np.inf
        share = weights.astype(np.float64) / weights.sum(dtype=np.float64)
        if not any_speed or times[-1] - times[0] < SHORTEST_FOR_SPEED:
            return speed, float(share @ (seconds - speed * times)), np.inf
        centre, centre_seconds = share @ times, share @ seconds
        spread = share @ (times - centre) ** 2
        slope = share @ ((times - centre) * (seconds - centre_seconds)) / spread
        slope = min(max(float(slope), speed - 0.02), speed + 0.02)
        residual = share @ (seconds - centre_seconds - slope * (times - centre)) ** 2
        independent = max(1.0, (weights > 0).sum() / OVERLAP)
        return slope, float(centre_seconds - slope * centre), float(np.sqrt(residual / (independent * spread)))


def _agreeing_stretch(cosines: np.ndarray) -> tuple[int, int]:
    """The stretch [first, last) whose sum of (cosine - AGREES) is greatest."""
    sums = np.concatenate([[0.0], np.cumsum(cosines - AGREES)])
    lowest = np.minimum.accumulate(sums)
    last = int(np.argmax(sums - lowest))
    return int(np.argmin(sums[: last + 1])), last


def hits(line: LineAlignment, ids: np.ndarray, times: np.ndarray, reference_hop: float) -> np.ndarray:
    """(m,) bool: segments whose nearest vectors include this line's recording near this line's place."""
    recordings, positions = split_ids(ids)
    expected = line.at(times)
    near = np.abs(positions * reference_hop - expected[:, None]) <= 0.75 * reference_hop + 0.25
    return np.any((recordings == line.recording_id) & (ids != NOTHING) & near, axis=1)


def intervals(
    line: LineAlignment, times: np.ndarray, window: float, query_duration: float, reference_duration: float
) -> tuple[Interval, Interval]:
    """The agreeing stretch in seconds of the clip and of the recording."""
    start = max(0.0, float(times[line.first]))
    end = min(float(times[line.last - 1]) + window, query_duration)
    reference_start = max(0.0, line.at(start))
    reference_end = min(line.at(end), reference_duration)
    return Interval(start, end), Interval(reference_start, max(reference_start, reference_end))


class ReferenceExcerpt:
    """The rows of a recording that `same_sound` may look at, restored once; it is indexed like all of them."""

    def __init__(self, line: LineAlignment, rows: np.ndarray):
        """`rows (n, dim)`: the embeddings of the whole recording, or what gives them."""
        inside = line.rows[line.rows >= 0]
        reach = max(ELSEWHERE) + 1
        first, last = (inside.min(), inside.max()) if len(inside) else (0, -1)
        self.low, self.count = max(0, first - reach), len(rows)
        self.rows = rows[self.low : last + reach + 1]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.rows[rows - self.low]


def same_sound(
    one: LineAlignment,
    other: LineAlignment,
    one_rows: np.ndarray | ReferenceExcerpt,
    other_rows: np.ndarray | ReferenceExcerpt,
) -> bool:
    """Whether two recordings are the same where the clip lies on them: one sound, twice in the library.

    They must be alike row by row, and clearly less alike some seconds apart: two drones resemble each other
    anywhere. `*_rows (n, dim)` are the embeddings of the two recordings.
    """
    together = likeness(one, other, one_rows, other_rows)
    if together <= SAME:
        return False
    return together - np.mean([likeness(one, other, one_rows, other_rows, shift) for shift in ELSEWHERE]) > CLEARLY


def likeness(
    one: LineAlignment,
    other: LineAlignment,
    one_rows: np.ndarray | ReferenceExcerpt,
    other_rows: np.ndarray | ReferenceExcerpt,
    shift: int = 0,
) -> float:
    """Mean cosine of two recordings along their lines, the other one read `shift` rows later.

    0 where their speeds differ or they share fewer than two segments of the clip.
    """
    if abs(one.speed - other.speed) > 0.03:
        return 0.0
    stretch = slice(one.first, one.last)
    usable = (one.rows[stretch] >= 0) & (other.rows[stretch] >= 0)
    if usable.sum() < 2:
        return 0.0
    first, second = one.rows[stretch][usable], other.rows[stretch][usable]
    # the rows of the two lie up to half a hop apart, hence the neighbours
    near = (second + shift + np.array([[-1], [0], [1]])).clip(0, len(other_rows) - 1)  # (3, shared)
    return float(np.einsum("sd,nsd->ns", one_rows[first], other_rows[near]).max(axis=0).mean())
