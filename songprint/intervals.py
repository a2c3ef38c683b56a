"""From what speaks for a song, moment by moment, to when it is heard. Pure functions of arrays and intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from songprint.types import Gap, Interval, Segment, Sound

START_COST = 6.0  # evidence that it takes for a song to start_cost, or for one to follow another
NO_SONG = -1  # the song of moments in which no song is heard
IMPOSSIBLE = -1e9
SHORTEST_GAP = 1.0  # seconds: less between two songs is no gap


def most_likely_sequence(evidence: np.ndarray, start_cost: float = START_COST) -> np.ndarray:
    """(n, songs) evidence of each moment for each song -> (n,) the song of each moment, NO_SONG for none.

    The best sequence (Viterbi): evidence is summed along it, and each beginning of a song costs `start_cost`. Negative
    evidence speaks against a song; nobody has none.

    >>> most_likely_sequence(np.array([[3.0], [4.0], [-1.0], [3.0], [-5.0], [2.0]])).tolist()
    [0, 0, 0, 0, -1, -1]
    """
    count, songs = evidence.shape
    if not songs:
        return np.full(count, NO_SONG)
    scores, nobody = np.full(songs, IMPOSSIBLE), 0.0
    came_from = np.empty((count, songs), np.int64)  # the song before, for each song
    nobody_from = np.empty(count, np.int64)
    own = np.arange(songs)
    for moment, row in enumerate(evidence):
        best = int(scores.argmax())
        highest, before = (scores[best], best) if scores[best] > nobody else (nobody, NO_SONG)
        nobody_from[moment] = before
        going_on = scores >= highest - start_cost
        came_from[moment] = np.where(going_on, own, before)
        scores = np.where(going_on, scores, highest - start_cost) + row
        nobody = highest
    song = int(scores.argmax()) if scores.max() > nobody else NO_SONG
    path = np.empty(count, np.int64)
    for moment in range(count - 1, -1, -1):
        path[moment] = song
        song = int(nobody_from[moment]) if song == NO_SONG else int(came_from[moment, song])
    return path


def runs(present: np.ndarray) -> list[tuple[int, int]]:
    """(n,) bool -> the stretches [first, last) that are true.

    >>> runs(np.array([True, False, True, True]))
    [(0, 1), (2, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def change_point(values: np.ndarray) -> int:
    """(n,) values, first negative and then positive but for noise -> the position at which they change.

    >>> change_point(np.array([-1.0, 0.5, -2.0, 1.0, -0.5, 2.0]))
    3
    """
    return int(np.argmin(np.concatenate([[0.0], np.cumsum(values)])))


def snap_to_grid(intervals: Iterable[Interval], step: float = 15.0) -> list[Interval]:
    """On multiples of `step` seconds: starts rounded down, ends up; merged where they then touch or overlap.

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


def uncovered(duration: float, intervals: Iterable[Interval], shortest: float = SHORTEST_GAP) -> list[Interval]:
    """What of the seconds from 0 to `duration` lies in none of the intervals, but for slivers.

    >>> uncovered(20, [Interval(2, 6), Interval(5, 12)])
    [Interval(start=0.0, end=2), Interval(start=12, end=20)]
    """
    return [free for free in subtract(Interval(0.0, duration), intervals) if free.duration >= shortest]


def subtract(whole: Interval, intervals: Iterable[Interval]) -> list[Interval]:
    """What of `whole` lies in none of the intervals.

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
    """Return the share of an interval that the others cover, 0 to 1."""
    rest = sum(part.duration for part in subtract(interval, others))
    return 1 - rest / max(interval.duration, 1e-9)


def gaps(duration: float, segments: Iterable[Segment], sounds: Sequence[tuple[Interval, Sound]]) -> list[Gap]:
    """What is heard where no song of the library is, a gap for each stretch of one kind of sound.

    `sounds` say what is heard when, over the whole, in order.
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
    """Neighbours of one sound joined; what is shorter than SHORTEST_GAP belongs to what was before it."""
    joined: list[Gap] = []
    for gap in gaps:
        if joined and (gap.sound is joined[-1].sound or gap.interval.duration < SHORTEST_GAP):
            joined[-1] = Gap(Interval(joined[-1].interval.start, gap.interval.end), joined[-1].sound)
        elif joined and joined[-1].interval.duration < SHORTEST_GAP and len(joined) == 1:
            joined[-1] = Gap(Interval(joined[-1].interval.start, gap.interval.end), gap.sound)
        else:
            joined.append(gap)
    return joined
