"""Interval arithmetic and sequence decoding on time lines. Pure functions of arrays and intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from songprint.types import Gap, Interval, Segment, Sound

START_COST = 6.0  # log-odds that a song has to collect before its start is accepted
NO_SONG = -1  # state of the moments in which no song is audible
IMPOSSIBLE = -1e9  # log-odds of a song in moments that it cannot cover
MIN_GAP = 1.0  # seconds; shorter pauses between two songs are not reported
MAX_JOIN = 2.0  # seconds between two segments of one performance that are joined
MAX_JUMP = 1.0  # seconds by which the position in the song may jump there


def most_likely_sequence(evidence: np.ndarray, start_cost: float = START_COST) -> np.ndarray:
    """Decode which song is audible at each moment (Viterbi algorithm).

    Args:
        evidence: (n, songs) log-odds of each moment for each song; negative values contradict the song.
        start_cost: log-odds that each start of a song costs, also when one song follows another.

    Returns (n,) the number of the song at each moment, or NO_SONG. The evidence for NO_SONG is 0.

    >>> most_likely_sequence(np.array([[3.0], [4.0], [-1.0], [3.0], [-5.0], [2.0]])).tolist()
    [0, 0, 0, 0, -1, -1]
    """
    count, songs = evidence.shape
    if not songs:
        return np.full(count, NO_SONG)
    scores, no_song = np.full(songs, IMPOSSIBLE), 0.0
    previous = np.empty((count, songs), np.int64)  # the state before each song
    previous_of_none = np.empty(count, np.int64)  # the state before NO_SONG
    own = np.arange(songs)
    for moment, row in enumerate(evidence):
        best = int(scores.argmax())
        highest, state = (scores[best], best) if scores[best] > no_song else (no_song, NO_SONG)
        previous_of_none[moment] = state
        continues = scores >= highest - start_cost
        previous[moment] = np.where(continues, own, state)
        scores = np.where(continues, scores, highest - start_cost) + row
        no_song = highest
    song = int(scores.argmax()) if scores.max() > no_song else NO_SONG
    path = np.empty(count, np.int64)
    for moment in range(count - 1, -1, -1):
        path[moment] = song
        song = int(previous_of_none[moment]) if song == NO_SONG else int(previous[moment, song])
    return path


def runs(present: np.ndarray) -> list[tuple[int, int]]:
    """(n,) bool -> the maximal ranges [first, last) of true values.

    >>> runs(np.array([True, False, True, True]))
    [(0, 1), (2, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def change_point(values: np.ndarray) -> int:
    """(n,) values that are negative first and positive later, apart from noise -> the position of the change.

    Minimises the cumulative sum, so that single outliers do not matter.

    >>> change_point(np.array([-1.0, 0.5, -2.0, 1.0, -0.5, 2.0]))
    3
    """
    return int(np.argmin(np.concatenate([[0.0], np.cumsum(values)])))


def snap_to_grid(intervals: Iterable[Interval], step: float = 15.0) -> list[Interval]:
    """Round starts down and ends up to multiples of `step` seconds; merge intervals that then touch or overlap.

    >>> snap_to_grid([Interval(3, 16), Interval(31, 44), Interval(61, 75)])
    [Interval(start=0.0, end=45.0), Interval(start=60.0, end=75.0)]
    """
    found: list[Interval] = []
    for interval in sorted(intervals, key=lambda each: each.start):
        start = float(np.floor(interval.start / step) * step)
        end = max(start + step, float(np.ceil(interval.end / step) * step))
        if found and start <= found[-1].end:
            found[-1] = Interval(found[-1].start, max(found[-1].end, end))
        else:
            found.append(Interval(start, end))
    return found


def uncovered(duration: float, intervals: Iterable[Interval], min_duration: float = MIN_GAP) -> list[Interval]:
    """The parts of the seconds from 0 to `duration` that no interval covers; shorter parts are dropped.

    >>> uncovered(20, [Interval(2, 6), Interval(5, 12)])
    [Interval(start=0.0, end=2), Interval(start=12, end=20)]
    """
    return [free for free in subtract(Interval(0.0, duration), intervals) if free.duration >= min_duration]


def subtract(whole: Interval, intervals: Iterable[Interval]) -> list[Interval]:
    """The parts of `whole` that no interval covers.

    >>> subtract(Interval(10, 20), [Interval(5, 12), Interval(15, 16)])
    [Interval(start=12, end=15), Interval(start=16, end=20)]
    """
    free, reached = [], whole.start
    for interval in sorted(intervals, key=lambda each: each.start):
        if interval.start > reached:
            free.append(Interval(reached, min(interval.start, whole.end)))
        reached = max(reached, interval.end)
    if whole.end > reached:
        free.append(Interval(reached, whole.end))
    return [each for each in free if each.duration > 0]


def share(interval: Interval, others: Iterable[Interval]) -> float:
    """Return the share of an interval that the others cover, 0 to 1.

    >>> share(Interval(0, 8), [Interval(4, 5), Interval(4, 6)])
    0.25
    """
    rest = sum(part.duration for part in subtract(interval, others))
    return 1 - rest / max(interval.duration, 1e-9)


def part_of(segment: Segment, interval: Interval) -> Segment:
    """The part of a segment within `interval`, with the corresponding part of the song."""
    rate = segment.reference.duration / max(segment.interval.duration, 1e-9)
    start = max(segment.interval.start, interval.start)
    end = min(segment.interval.end, interval.end)
    first = segment.reference.start + rate * (start - segment.interval.start)
    last = segment.reference.end - rate * (segment.interval.end - end)
    return replace(segment, interval=Interval(start, end), reference=Interval(first, max(first, last)))


def joined_performances(segments: Iterable[Segment]) -> list[Segment]:
    """Join segments of one recording that continue each other after a short pause, or overlap at the same place."""
    found: list[Segment] = []
    for segment in sorted(segments, key=lambda each: each.interval.start):
        before = next((place for place, each in enumerate(found) if _continues(each, segment)), None)
        if before is None:
            found.append(segment)
        else:
            found[before] = _joined(found[before], segment)
    return found


def one_at_a_time(segments: Iterable[Segment], min_duration: float) -> list[Segment]:
    """Segments of which no two of one recording overlap, in the order of time.

    Where two overlap, the one with the higher product of confidence and duration keeps the time. The other keeps its
    longest remaining part, or is dropped if that is shorter than `min_duration` seconds.
    """
    found: list[Segment] = []
    for segment in sorted(segments, key=lambda each: -each.confidence * each.interval.duration):
        rest = beside(segment, found, min_duration)
        if rest:
            found.append(rest)
    return sorted(found, key=lambda each: (each.interval.start, each.interval.end))


def beside(segment: Segment, others: Iterable[Segment], min_duration: float) -> Segment | None:
    """The longest part of a segment that does not overlap others of the same recording.

    None if they overlap and the part is shorter than `min_duration` seconds.
    """
    same = [each.interval for each in others if each.recording.id == segment.recording.id]
    if share(segment.interval, same) <= 0:
        return segment
    rest = max(subtract(segment.interval, same), key=lambda part: part.duration, default=None)
    return part_of(segment, rest) if rest and rest.duration >= min_duration else None


def _continues(one: Segment, other: Segment) -> bool:
    """Whether a segment that starts later continues the same performance of the same recording."""
    if (one.recording.id, one.kind) != (other.recording.id, other.kind):
        return False
    passed = other.interval.start - one.interval.end
    rate = one.reference.duration / max(one.interval.duration, 1e-9)
    jump = other.reference.start - one.reference.end - rate * passed
    return passed < MAX_JOIN and abs(jump) < MAX_JUMP and round(one.key_shift - other.key_shift) == 0


def _joined(one: Segment, other: Segment) -> Segment:
    """Two segments of one performance as one, with the values of the longer."""
    longer = max(one, other, key=lambda each: each.interval.duration)
    return replace(
        longer,
        confidence=max(one.confidence, other.confidence),
        interval=Interval(one.interval.start, max(one.interval.end, other.interval.end)),
        reference=Interval(one.reference.start, max(one.reference.end, other.reference.end)),
    )


def gaps(duration: float, segments: Iterable[Segment], sounds: Sequence[tuple[Interval, Sound]]) -> list[Gap]:
    """The gaps between segments, one for each class of sound in them.

    `sounds` classifies the whole recording, in the order of time.
    """
    found: list[Gap] = []
    for free in uncovered(duration, (segment.interval for segment in segments)):
        parts = [
            Gap(part, sound)
            for interval, sound in sounds
            if (part := Interval(max(interval.start, free.start), min(interval.end, free.end))).duration > 0
        ]
        found.extend(_without_slivers(parts))
    return found


def _without_slivers(gaps: Sequence[Gap]) -> list[Gap]:
    """Join neighbours of one class; a gap shorter than MIN_GAP is added to the one before it."""
    joined: list[Gap] = []
    for gap in gaps:
        if joined and (gap.sound is joined[-1].sound or gap.interval.duration < MIN_GAP):
            joined[-1] = Gap(Interval(joined[-1].interval.start, gap.interval.end), joined[-1].sound)
        elif joined and joined[-1].interval.duration < MIN_GAP and len(joined) == 1:
            joined[-1] = Gap(Interval(joined[-1].interval.start, gap.interval.end), gap.sound)
        else:
            joined.append(gap)
    return joined
