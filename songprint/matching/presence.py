"""From courses to the stretches in which recordings are heard, at most two at a time, and their exact ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from songprint import timeline
from songprint.matching.courses import EVIDENT, HOP, Reading
from songprint.timeline import NOBODY

WEIGHT = 10 * HOP           # log-odds that a vector of cosine 1 above EVIDENT adds; neighbours share their sound
AGAINST = -1.0              # no vector says more than so much against a course
LANES = 2                   # songs that are heard at once
AT_ONCE = round(600 / HOP)  # vectors through which the best sequence is sought
SEARCHED = round(4 / HOP)   # vectors around an end at which the exact place is sought
UNRELATED = 0.12            # cosine of a vector with that of another song, on average
BRIDGED = 3.0               # seconds without agreement inside a stretch: a pause, a jingle


@dataclass(frozen=True)
class Stretch:
    """Vectors [first, last) in which the recording of a course is heard."""

    reading: Reading
    first: int
    last: int

    @property
    def cosines(self) -> np.ndarray:
        return self.reading.cosines[self.first - self.reading.first:self.last - self.reading.first]


def stretches(readings: Sequence[Reading]) -> list[Stretch]:
    """Which courses are heard when: the best sequence of them, and beside it the best of the others.

    What the first lane explains does not count for the second: a recording that sounds alike agrees as well.
    """
    if not readings:
        return []
    first, last = min(each.first for each in readings), max(each.last for each in readings)
    present: dict[int, np.ndarray] = {}
    for start in range(first, last, AT_ONCE):
        end = min(start + AT_ONCE, last)
        near = [number for number, each in enumerate(readings) if each.first < end and each.last > start]
        cosines, rows = _laid_out([readings[number] for number in near], start, end)
        chosen: list[np.ndarray] = []
        for _ in range(LANES):
            left = _unexplained(cosines, rows, chosen)
            path = timeline.lane(evidence(left))
            chosen.append(path)
            for song in np.unique(path[path != NOBODY]):
                number = near[song]
                present.setdefault(number, np.zeros(last - first, bool))[start - first:end - first] |= path == song
    found = []
    for number, heard in present.items():
        found.extend(Stretch(readings[number], first + one, first + other) for one, other in timeline.runs(heard))
    return found


def evidence(cosines: np.ndarray) -> np.ndarray:
    """Agreement, nan where a course does not reach -> what it says for a course, in log-odds."""
    return np.where(np.isnan(cosines), timeline.NEVER, np.maximum(AGAINST, WEIGHT * (cosines - EVIDENT)))


def _laid_out(readings: Sequence[Reading], start: int, end: int) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """(n, courses) cosines of the vectors from `start` to `end`, nan where a course does not reach."""
    cosines = np.full((end - start, len(readings)), np.nan)
    rows = []
    for number, each in enumerate(readings):
        low, high = max(start, each.first), min(end, each.last)
        part = each.within(low, high)
        # where there is nothing to recognise, nothing is said
        cosines[low - start:high - start, number] = np.where(part.heard, part.cosines, EVIDENT)
        rows.append((low - start, part.rows))
    return cosines, rows


def _unexplained(cosines: np.ndarray, rows: list[tuple[int, np.ndarray]], chosen: Sequence[np.ndarray]) -> np.ndarray:
    """The cosines less what they owe to the likeness of their recording with those chosen already."""
    left = cosines.copy()
    for path in chosen:
        for song in np.unique(path[path != NOBODY]):
            at, own = rows[song]
            for other, (start, theirs) in enumerate(rows):
                low, high = max(at, start), min(at + len(own), start + len(theirs))
                if low >= high:
                    continue
                on = np.zeros(len(path), bool)
                on[low:high] = path[low:high] == song
                if other == song:
                    left[path == song, other] = EVIDENT      # it is there already: neither for it nor against it
                    continue
                likeness = np.einsum("nd,nd->n", own[low - at:high - at], theirs[low - start:high - start]).clip(0)
                shared = np.zeros(len(path))
                shared[low:high] = likeness * cosines[low:high, song]
                left[on, other] = cosines[on, other] - shared[on]
    return left


def exact(stretch: Stretch, window: float) -> tuple[float, float]:
    """Seconds at which the recording begins and ends to be heard.

    A vector hears `window` seconds. Half of that at an end the agreement is half of what it is inside.
    """
    reading, cosines = stretch.reading, stretch.cosines
    heard = cosines[reading.heard[stretch.first - reading.first:stretch.last - reading.first]]
    level = float(np.median(heard)) if len(heard) else EVIDENT
    half = max(0.2, (level + UNRELATED) / 2)
    middle = (stretch.first + stretch.last) // 2
    low = max(reading.first, stretch.first - SEARCHED)
    high = min(reading.last, stretch.last + SEARCHED)
    before = reading.cosines[low - reading.first:middle + 1 - reading.first] - half
    after = reading.cosines[middle - reading.first:high - reading.first] - half
    first = low + timeline.change(before)
    last = high - timeline.change(after[::-1])
    centre = window / 2 - HOP / 2
    return first * HOP + centre, last * HOP + centre
