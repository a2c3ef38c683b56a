"""Alignment of a query with recordings. Pure functions of arrays.

First every segment of the query votes for the (recording, offset) pairs of its nearest vectors. For the candidates
with most votes, a line `reference = speed * query + offset` is then fitted to the stored embeddings themselves, and
the cosine of every segment along that line is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np

from songprint.fingerprint.parameters import DEFAULT
from songprint.store.index import NOTHING, split_ids
from songprint.types import Embeddings, Interval

PARAMETERS = DEFAULT.alignment
SPEEDS, SHIFTS = PARAMETERS.speeds, PARAMETERS.shifts
RIM = 2  # columns of zeros on either side of the rows that a line may read


@dataclass(frozen=True)
class Candidate:
    """A recording and an offset that segments of the query voted for."""

    recording_id: int
    offset: float  # seconds: reference minus query
    votes: float


@dataclass(frozen=True)
class LineAlignment:
    """A query aligned with a recording along a line."""

    recording_id: int
    speed: float
    offset: float  # reference = speed * query + offset, seconds
    cosines: np.ndarray  # (m,) cosine of each segment of the query with the recording; 0 outside the recording
    rows: np.ndarray  # (m,) nearest row of the recording, -1 outside
    first: int  # the segments [first, last) agree
    last: int

    @property
    def score(self) -> float:
        """Mean cosine of the segments that agree."""
        return float(self.cosines[self.first : self.last].mean()) if self.last > self.first else 0.0

    @overload
    def at(self, seconds: float) -> float: ...
    @overload
    def at(self, seconds: np.ndarray) -> np.ndarray: ...
    def at(self, seconds: float | np.ndarray) -> float | np.ndarray:
        """The position in the recording at these seconds of the query."""
        return self.speed * seconds + self.offset


def vote(
    ids: np.ndarray, cosines: np.ndarray, times: np.ndarray, reference_hop: float, most: int = 40
) -> list[Candidate]:
    """The `most` candidates with most votes, best first.

    Args:
        ids, cosines: (m, k) the k nearest vectors of m query segments, as `Index.search` returns them.
        times: (m,) seconds at which the query segments begin.
        reference_hop: seconds between the rows of a recording.

    A vote counts by how much its cosine exceeds `min_vote_cosine`. One recording may be a candidate at several offsets.
    """
    recordings, positions = split_ids(ids)
    offsets = positions * reference_hop - times[:, None]  # (m, k)
    bins = np.round(offsets / PARAMETERS.bin).astype(np.int64)
    valid = (ids != NOTHING) & (cosines > PARAMETERS.min_vote_cosine)
    if not valid.any():
        return []
    # A segment has one vote for a bin, however many rows of nearly equal cosine it found there.
    rows = np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)[valid]
    recordings, lowest = recordings[valid], bins[valid].min()
    bins = bins[valid] - lowest + 1  # so that (recording, bin) fits one number
    width = bins.max() + 2
    places = np.concatenate([recordings * width + bins + step for step in (-1, 0, 1)])
    weights = np.tile(cosines[valid] - PARAMETERS.min_vote_cosine, 3)
    order = np.lexsort((-weights, places * len(ids) + np.tile(rows, 3)))
    places, rows, weights = places[order], np.tile(rows, 3)[order], weights[order]
    first = np.ones(len(places), bool)
    first[1:] = (places[1:] != places[:-1]) | (rows[1:] != rows[:-1])
    places, place_of = np.unique(places[first], return_inverse=True)
    votes = np.bincount(place_of, weights[first])
    recordings, bins = places // width, places % width + lowest - 1
    candidates: list[Candidate] = []
    taken: set[tuple[int, int]] = set()
    for place in np.argsort(-votes, kind="stable"):
        recording, bin_ = int(recordings[place]), int(bins[place])
        if not {(recording, bin_ - 1), (recording, bin_ + 1)} & taken:  # the bin next to a better one is the same place
            candidates.append(Candidate(recording, bin_ * PARAMETERS.bin, float(votes[place])))
        taken.add((recording, bin_))
        if len(candidates) == most:
            break
    return candidates


def verify(vectors: np.ndarray, layout: Layout, reference: Embeddings, candidate: Candidate) -> LineAlignment | None:
    """The best line near a candidate, for the query's `vectors (m, dim)` and the stored rows.

    None if the query would lie outside the recording. `layout` belongs to the query and serves all its candidates.
    """
    near = _Near.around(vectors, layout, reference, candidate.offset)
    if near is None:
        return None
    return near.line(candidate.recording_id, *near.best(layout.fan, near.row * reference.hop))


def refine(line: LineAlignment, vectors: np.ndarray, layout: Layout, reference: Embeddings) -> LineAlignment:
    """The same alignment, fitted by least squares through the best position of each agreeing segment.

    The speed is set to 1 if it does not differ from 1 significantly. A fit with a lower mean cosine is discarded.
    """
    shift = line.offset + layout.middle * (line.speed - 1)
    near = _Near.around(vectors, layout, reference, shift)
    if near is None or line.last - line.first < 2:
        return line
    speed, shift_at_speed, error = near.fitted(line.speed, shift, line.first, line.last)
    if abs(speed - 1) > PARAMETERS.min_speed_errors * error:
        fitted = near.line(line.recording_id, speed, shift_at_speed)
    else:
        rows = near.row * reference.hop
        shift = near.best(_Fan(layout, np.ones(1), shift - rows + SHIFTS), rows)[1]
        fitted = near.line(line.recording_id, *near.fitted(1.0, shift, line.first, line.last, any_speed=False)[:2])
    return fitted if fitted.cosines.mean() > line.cosines.mean() - PARAMETERS.max_loss else line


class Layout:
    """Which rows around a candidate the lines through a query read. The same for all candidates of a query.

    Lines rotate about the middle of the query, so that speed and shift are independent:
    `reference centre = speed * (query centre - middle) + middle + shift`.
    Column `c` is the row `c + first` after the row of the candidate's offset.
    """

    def __init__(self, times: np.ndarray, hop: float, window: float):
        """`times (m,)` of the segments, `hop` of the rows and `window` of a segment, all in seconds."""
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
        columns: np.ndarray = (centres - self.window / 2) / self.hop - self.first
        return columns

    def columns(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The column to the left of each position, and the distance from it (0 to 1)."""
        left = np.floor(positions + 1e-6)  # rounding errors must not move a position on a row between two rows
        return left.clip(0, self.width - 2).astype(np.intp), positions - left

    @cached_property
    def fan(self) -> _Fan:
        """The lines that are tried for every candidate."""
        fits_speed = self.times[-1] - self.times[0] >= PARAMETERS.min_duration_for_speed
        return _Fan(self, SPEEDS if fits_speed else np.ones(1), SHIFTS)


class _Fan:
    """Lines of several speeds and shifts, and the cells of a similarity matrix that each of them reads."""

    def __init__(self, layout: Layout, speeds: np.ndarray, shifts: np.ndarray):
        self.speeds, self.shifts = speeds, shifts
        left, fraction = layout.columns(layout.positions(speeds, shifts))
        self.left = left + layout.segments * layout.width  # (speeds, shifts, m) cells of the flat matrix
        self.right = self.left + 1
        # The weight of a row falls with its distance from the line.
        self.left_weights = (1 - 0.3 * fraction).astype(np.float32)
        self.right_weights = (0.7 + 0.3 * fraction).astype(np.float32)
        self.costs = PARAMETERS.speed_penalty * np.abs(speeds - 1)[:, None]

    def values(self, similarity: np.ndarray) -> np.ndarray:
        """(speeds, shifts) mean cosine less the penalty for the speed."""
        similarity = similarity.clip(0)
        left, right = similarity.take(self.left), similarity.take(self.right)
        left *= self.left_weights
        right *= self.right_weights
        values: np.ndarray = np.maximum(left, right, out=left).mean(axis=2) - self.costs
        return values


class _Near:
    """The cosines of a query with the rows of a recording around a candidate."""

    def __init__(self, vectors: np.ndarray, layout: Layout, reference: Embeddings, row: int):
        self.layout, self.row, self.low = layout, row, row + layout.first
        # Columns of rows that the recording has. Columns outside the recording are zero.
        self.start = max(RIM, -self.low)
        self.end = min(layout.width - RIM, len(reference) - self.low)
        self.similarity = np.zeros((len(vectors), layout.width), np.float32)  # (m, columns)
        if self.end > self.start:
            rows = reference.vectors[self.low + self.start : self.low + self.end]
            self.similarity[:, self.start : self.end] = vectors @ rows.T

    @classmethod
    def around(cls, vectors: np.ndarray, layout: Layout, reference: Embeddings, offset: float) -> _Near | None:
        """None where the query would lie outside the recording."""
        near = cls(vectors, layout, reference, round(offset / layout.hop))
        return near if near.end > near.start else None

    def line(self, recording_id: int, speed: float, shift: float) -> LineAlignment:
        """The alignment along one line."""
        cosines, rows = self.along(speed, shift)
        first, last = _agreeing_range(cosines)
        return LineAlignment(recording_id, speed, shift + self.layout.middle * (1 - speed), cosines, rows, first, last)

    def positions(self, speed: float, shift: float) -> np.ndarray:
        """(m,) fractional columns along one line."""
        shift -= self.row * self.layout.hop
        columns: np.ndarray = self.layout.positions(np.array([speed]), np.array([shift]))[0, 0]
        return columns

    def best(self, fan: _Fan, offset: float) -> tuple[float, float]:
        """The speed and the shift of the highest value; the shifts of the fan are relative to `offset` seconds."""
        values = fan.values(self.similarity)
        speed, shift = np.unravel_index(np.argmax(values), values.shape)
        return float(fan.speeds[speed]), float(offset + fan.shifts[shift])

    def fitted(
        self, speed: float, shift: float, first: int, last: int, any_speed: bool = True
    ) -> tuple[float, float, float]:
        """Three iterations of `fit` -> speed, shift and the standard error of the speed."""
        error = np.inf
        for _ in range(3):
            speed, shift, error = self.fit(speed, shift, first, last, any_speed)
        return float(np.clip(speed, SPEEDS[0], SPEEDS[-1])), shift, error

    def along(self, speed: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
        """(m,) the higher cosine of the two neighbouring rows, at least 0, and (m,) that row (-1 outside)."""
        columns, _ = self.layout.columns(self.positions(speed, shift))
        left, right = (self.similarity[self.layout.segments, columns + step] for step in (0, 1))
        columns = columns + (right > left)
        inside = (columns >= self.start) & (columns < self.end)
        return np.maximum(left, right).clip(0) * inside, np.where(inside, columns + self.low, -1)

    def fit(self, speed: float, shift: float, first: int, last: int, any_speed: bool) -> tuple[float, float, float]:
        """Fit a line by weighted least squares -> speed, shift and the standard error of the speed.

        Uses the segments [first, last). The best position of a segment is the top of the parabola through its best
        row near the line and the two neighbouring rows. Segments farther than `max_residual` from the line have no
        weight (robust regression).
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
        near = np.abs(seconds - speed * times - shift) < PARAMETERS.max_residual
        weights = (peak - PARAMETERS.min_cosine).clip(0) * near
        if (weights > 0).sum() < 3:
            return speed, shift, np.inf
        share = weights.astype(np.float64) / weights.sum(dtype=np.float64)
        if not any_speed or times[-1] - times[0] < PARAMETERS.min_duration_for_speed:
            return speed, float(share @ (seconds - speed * times)), np.inf
        centre, centre_seconds = share @ times, share @ seconds
        spread = share @ (times - centre) ** 2
        slope = share @ ((times - centre) * (seconds - centre_seconds)) / spread
        slope = min(max(float(slope), speed - 0.02), speed + 0.02)
        residual = share @ (seconds - centre_seconds - slope * (times - centre)) ** 2
        independent = max(1.0, (weights > 0).sum() / PARAMETERS.overlapping_segments)
        return slope, float(centre_seconds - slope * centre), float(np.sqrt(residual / (independent * spread)))


def _agreeing_range(cosines: np.ndarray) -> tuple[int, int]:
    """The range [first, last) with the highest sum of (cosine - min_cosine)."""
    sums = np.concatenate([[0.0], np.cumsum(cosines - PARAMETERS.min_cosine)])
    lowest = np.minimum.accumulate(sums)
    last = int(np.argmax(sums - lowest))
    return int(np.argmin(sums[: last + 1])), last


def hits(line: LineAlignment, ids: np.ndarray, times: np.ndarray, reference_hop: float) -> np.ndarray:
    """(m,) bool: whether the index search of a segment returned this recording near this line.

    `ids (m, k)` are the nearest vectors of the segments, `times (m,)` the seconds at which the segments begin.
    """
    recordings, positions = split_ids(ids)
    expected = line.at(times)
    near = np.abs(positions * reference_hop - expected[:, None]) <= 0.75 * reference_hop + 0.25
    return np.asarray(np.any((recordings == line.recording_id) & (ids != NOTHING) & near, axis=1))


def intervals(
    line: LineAlignment, times: np.ndarray, window: float, query_duration: float, reference_duration: float
) -> tuple[Interval, Interval]:
    """The interval of the query that agrees, and the corresponding interval of the recording."""
    start = max(0.0, float(times[line.first]))
    end = min(float(times[line.last - 1]) + window, query_duration)
    reference_start = max(0.0, line.at(start))
    reference_end = min(line.at(end), reference_duration)
    return Interval(start, end), Interval(reference_start, max(reference_start, reference_end))


class ReferenceExcerpt:
    """The rows of a recording that `same_sound` may read, restored once. Indexed like all rows of the recording."""

    def __init__(self, line: LineAlignment, rows: np.ndarray):
        """`rows (n, dim)`: the embeddings of the whole recording, an array or a `StoredRows`."""
        inside = line.rows[line.rows >= 0]
        reach = max(PARAMETERS.duplicate_offsets) + 1
        first, last = (inside.min(), inside.max()) if len(inside) else (0, -1)
        self.low, self.count = max(0, first - reach), len(rows)
        self.rows = rows[self.low : last + reach + 1]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.rows[rows - self.low]
        return found


def same_sound(
    one: LineAlignment,
    other: LineAlignment,
    one_rows: np.ndarray | ReferenceExcerpt,
    other_rows: np.ndarray | ReferenceExcerpt,
) -> bool:
    """Whether two recordings have the same audio where the query lies on them (a duplicate in the library).

    They must agree row by row, and clearly less at other offsets: two drones agree at any offset. `one_rows` and
    `other_rows (n, dim)` are the embeddings of the two recordings.
    """
    aligned = likeness(one, other, one_rows, other_rows)
    if aligned <= PARAMETERS.duplicate_cosine:
        return False
    elsewhere = [likeness(one, other, one_rows, other_rows, shift) for shift in PARAMETERS.duplicate_offsets]
    return bool(aligned - np.mean(elsewhere) > PARAMETERS.duplicate_contrast)


def likeness(
    one: LineAlignment,
    other: LineAlignment,
    one_rows: np.ndarray | ReferenceExcerpt,
    other_rows: np.ndarray | ReferenceExcerpt,
    shift: int = 0,
) -> float:
    """Mean cosine of two recordings along their lines, with the other one read `shift` rows later.

    0 if their speeds differ or they share fewer than two segments of the query.
    """
    if abs(one.speed - other.speed) > PARAMETERS.duplicate_max_speed_difference:
        return 0.0
    agreeing = slice(one.first, one.last)
    usable = (one.rows[agreeing] >= 0) & (other.rows[agreeing] >= 0)
    if usable.sum() < 2:
        return 0.0
    first, second = one.rows[agreeing][usable], other.rows[agreeing][usable]
    # The rows of the two lie up to half a hop apart, hence the neighbours.
    near = (second + shift + np.array([[-1], [0], [1]])).clip(0, len(other_rows) - 1)  # (3, shared)
    return float(np.einsum("sd,nsd->ns", one_rows[first], other_rows[near]).max(axis=0).mean())
