"""From tracks to the stretches in which recordings are heard, at most two at a time, and their exact ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from songprint import intervals
from songprint.fingerprint.tracks import EVIDENT, HOP, TrackSupport
from songprint.intervals import NO_SONG

WEIGHT = 10 * HOP  # log-odds that a vector of cosine 1 above EVIDENT adds; neighbours share their sound
AGAINST = -1.0  # no vector says more than so much against a track
LANES = 2  # songs that are heard at once
AT_ONCE = round(600 / HOP)  # vectors through which the best sequence is sought
SEARCHED = round(4 / HOP)  # vectors around an end at which the exact place is sought
LOWEST_HALF = 0.2  # cosine that no end is sought below
UNRELATED = 0.12  # cosine of a vector with that of another song, on average
FAINT, ABOVE = 0.3, 0.12  # cosine of a song that fades: at least, and above that of what is outside
SMOOTH = 4  # vectors of a fade whose mean is looked at
LONGEST_FADE = round(8 / HOP)  # vectors
CUT = 0.75 / HOP  # vectors from half the agreement to none, at most, where a song is cut


@dataclass(frozen=True)
class Presence:
    """Vectors [first, last) in which the recording of a track is heard."""

    support: TrackSupport
    first: int
    last: int

    @property
    def cosines(self) -> np.ndarray:
        return self.support.cosines[self.first - self.support.first : self.last - self.support.first]


def find_presences(supports: Sequence[TrackSupport]) -> list[Presence]:
    """Which tracks are heard when: the best sequence of them, and beside it the best of the others.

    What the first lane explains does not count for the second: a recording that sounds alike agrees as well.
    """
    if not supports:
        return []
    first, last = min(each.first for each in supports), max(each.last for each in supports)
    present: dict[int, np.ndarray] = {}
    for start in range(first, last, AT_ONCE):
        end = min(start + AT_ONCE, last)
        near = [number for number, each in enumerate(supports) if each.first < end and each.last > start]
        cosines, rows = _laid_out([supports[number] for number in near], start, end)
        chosen: list[np.ndarray] = []
        for _ in range(LANES):
            left = _unexplained(cosines, rows, chosen)
            path = intervals.most_likely_sequence(evidence(left))
            chosen.append(path)
            for song in np.unique(path[path != NO_SONG]):
                number = near[song]
                present.setdefault(number, np.zeros(last - first, bool))[start - first : end - first] |= path == song
    found = []
    for number, heard in present.items():
        found.extend(Presence(supports[number], first + one, first + other) for one, other in intervals.runs(heard))
    return found


def evidence(cosines: np.ndarray) -> np.ndarray:
    """Agreement, nan where a track does not reach -> what it says for a track, in log-odds."""
    return np.where(np.isnan(cosines), intervals.IMPOSSIBLE, np.maximum(AGAINST, WEIGHT * (cosines - EVIDENT)))


def _laid_out(supports: Sequence[TrackSupport], start: int, end: int) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """(n, tracks) cosines of the vectors from `start` to `end`, nan where a track does not reach."""
    cosines = np.full((end - start, len(supports)), np.nan)
    rows = []
    for number, each in enumerate(supports):
        low, high = max(start, each.first), min(end, each.last)
        part = each.within(low, high)
        # where there is nothing to recognise, nothing is said
        cosines[low - start : high - start, number] = np.where(part.has_content, part.cosines, EVIDENT)
        rows.append((low - start, part.rows))
    return cosines, rows


def _unexplained(cosines: np.ndarray, rows: list[tuple[int, np.ndarray]], chosen: Sequence[np.ndarray]) -> np.ndarray:
    """The cosines less what they owe to the likeness of their recording with those chosen already."""
    left = cosines.copy()
    for path in chosen:
        for song in np.unique(path[path != NO_SONG]):
            at, own = rows[song]
            for other, (start, theirs) in enumerate(rows):
                low, high = max(at, start), min(at + len(own), start + len(theirs))
                if low >= high:
                    continue
                on = np.zeros(len(path), bool)
                on[low:high] = path[low:high] == song
                if other == song:
                    left[path == song, other] = EVIDENT  # it is there already: neither for it nor against it
                    continue
                likeness = np.einsum("nd,nd->n", own[low - at : high - at], theirs[low - start : high - start]).clip(0)
                shared = np.zeros(len(path))
                shared[low:high] = likeness * cosines[low:high, song]
                left[on, other] = cosines[on, other] - shared[on]
    return left


def refined_ends(found: Presence, window: float) -> tuple[float, float]:
    """Seconds at which the recording begins and ends to be heard; a vector hears `window` seconds."""
    support = found.support
    heard = found.cosines[support.has_content[found.first - support.first : found.last - support.first]]
    level = float(np.median(heard)) if len(heard) else EVIDENT
    middle = (found.first + found.last) // 2 - support.first
    first = _outwards(support.cosines[: middle + 1][::-1], middle - (found.first - support.first), level)
    last = _outwards(support.cosines[middle:], found.last - 1 - support.first - middle, level)
    return (support.first + middle - first) * HOP + window / 2, (support.first + middle + last) * HOP + window / 2


def _outwards(cosines: np.ndarray, about: int, level: float) -> float:
    """(n,) agreement from the middle of a found on, which ends at `about` -> the position of the end.

    Where it is cut, the agreement of the vectors around falls within their length, and halfway at the end. In a fade
    it falls slowly and the song goes on to be heard: there its end is where the agreement is what it is outside.
    """
    half = max(LOWEST_HALF, (level + UNRELATED) / 2)
    end = _falls(cosines[: about + 1 + SEARCHED], half)
    beyond = round(end) + 1
    outside = cosines[beyond + SEARCHED : beyond + 2 * SEARCHED]
    faint = max(FAINT, (float(np.median(outside)) if len(outside) else UNRELATED) + ABOVE)
    if faint >= half or beyond >= len(cosines):
        return end
    around = np.convolve(cosines[beyond : beyond + LONGEST_FADE], np.ones(SMOOTH) / SMOOTH, "valid")
    gone = np.flatnonzero(around < faint)
    tail = beyond + (float(gone[0]) + SMOOTH / 2 - 1 if len(gone) else 0.0)
    return tail if tail - end > CUT else end


def _falls(cosines: np.ndarray, threshold: float) -> float:
    """The position, between two of the values, at which they fall below a threshold and stay there."""
    below = threshold - cosines
    first = intervals.change_point(below)
    if not 0 < first < len(below):
        return first - 0.5
    before, after = below[first - 1], below[first]
    return first - 1 + float(np.clip(before / (before - after), 0, 1)) if before < after else first - 0.5
