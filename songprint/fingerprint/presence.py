"""Presence: the intervals of a long recording in which each tracked recording is audible, and their exact ends.

Input is the cosine of every vector along every track. Viterbi decoding selects the most likely sequence of tracks; a
second pass finds a simultaneous track in what the first does not explain. Ends are then refined to a fraction of a
vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from songprint import intervals
from songprint.fingerprint.parameters import DEFAULT
from songprint.fingerprint.tracks import HOP, TrackSupport
from songprint.intervals import NO_SONG

PARAMETERS = DEFAULT.presence
CHUNK = round(PARAMETERS.chunk / HOP)  # vectors
END_SEARCH = round(PARAMETERS.end_search / HOP)  # vectors
MAX_FADE = round(PARAMETERS.max_fade / HOP)  # vectors
MAX_CUT = PARAMETERS.max_cut / HOP  # vectors


@dataclass(frozen=True)
class Presence:
    """The vectors [first, last) in which the recording of a track is audible."""

    support: TrackSupport
    first: int
    last: int

    @property
    def cosines(self) -> np.ndarray:
        return self.support.cosines[self.first - self.support.first : self.last - self.support.first]


def find_presences(supports: Sequence[TrackSupport]) -> list[Presence]:
    """The presences of all tracks, at most `max_simultaneous` at a time."""
    if not supports:
        return []
    first, last = min(each.first for each in supports), max(each.last for each in supports)
    present: dict[int, np.ndarray] = {}
    for start in range(first, last, CHUNK):
        end = min(start + CHUNK, last)
        near = [number for number, each in enumerate(supports) if each.first < end and each.last > start]
        cosines, rows = _side_by_side([supports[number] for number in near], start, end)
        chosen: list[np.ndarray] = []
        for _ in range(PARAMETERS.max_simultaneous):
            path = intervals.most_likely_sequence(evidence(_unexplained(cosines, rows, chosen)))
            chosen.append(path)
            for song in np.unique(path[path != NO_SONG]):
                number = near[song]
                present.setdefault(number, np.zeros(last - first, bool))[start - first : end - first] |= path == song
    found: list[Presence] = []
    for number, audible in present.items():
        found.extend(Presence(supports[number], first + one, first + other) for one, other in intervals.runs(audible))
    return found


def evidence(cosines: np.ndarray) -> np.ndarray:
    """Cosines, nan outside the reach of a track -> log-odds for the track."""
    supporting = PARAMETERS.support_per_second * HOP * (cosines - PARAMETERS.min_cosine)
    return np.where(np.isnan(cosines), intervals.IMPOSSIBLE, np.maximum(PARAMETERS.max_penalty, supporting))


Rows = list[tuple[int, np.ndarray]]  # for each track its first vector, relative to the chunk, and its rows (n, dim)


def _side_by_side(supports: Sequence[TrackSupport], start: int, end: int) -> tuple[np.ndarray, Rows]:
    """(n, tracks) cosines of the vectors from `start` to `end`, nan outside the reach of a track, and the rows."""
    cosines = np.full((end - start, len(supports)), np.nan)
    rows: Rows = []
    for number, each in enumerate(supports):
        low, high = max(start, each.first), min(end, each.last)
        part = each.within(low, high)
        # Vectors without content (silence, a steady hum) contradict a track a little, or it would bridge them to
        # whatever follows.
        cosines[low - start : high - start, number] = np.where(
            part.has_content,
            (part.cosines - part.excess).clip(0),
            PARAMETERS.min_cosine - PARAMETERS.no_content_margin,
        )
        rows.append((low - start, part.rows))
    return cosines, rows


def _unexplained(cosines: np.ndarray, rows: Rows, chosen: Sequence[np.ndarray]) -> np.ndarray:
    """The cosines less what the similarity of their recording with the chosen ones explains."""
    left = cosines.copy()
    for path in chosen:
        for song in np.unique(path[path != NO_SONG]):
            at, own = rows[song]
            for other, (start, others) in enumerate(rows):
                low, high = max(at, start), min(at + len(own), start + len(others))
                if low >= high:
                    continue
                on = np.zeros(len(path), bool)
                on[low:high] = path[low:high] == song
                if other == song:  # chosen already: neither supported nor contradicted
                    left[path == song, other] = PARAMETERS.min_cosine
                    continue
                likeness = np.einsum("nd,nd->n", own[low - at : high - at], others[low - start : high - start]).clip(0)
                shared = np.zeros(len(path))
                shared[low:high] = likeness * cosines[low:high, song]
                left[on, other] = cosines[on, other] - shared[on]
    return left


def refined_ends(found: Presence, window: float) -> tuple[float, float]:
    """Seconds at which a presence begins and ends. One vector describes `window` seconds."""
    support = found.support
    audible = found.cosines[support.has_content[found.first - support.first : found.last - support.first]]
    level = float(np.median(audible)) if len(audible) else PARAMETERS.min_cosine
    middle = (found.first + found.last) // 2 - support.first
    before, after = slice(middle, None, -1), slice(middle, None)
    first = _end(support.cosines[before], support.excess[before], middle - (found.first - support.first), level)
    last = _end(support.cosines[after], support.excess[after], found.last - 1 - support.first - middle, level)
    return (support.first + middle - first) * HOP + window / 2, (support.first + middle + last) * HOP + window / 2


def _end(cosines: np.ndarray, excess: np.ndarray, about: int, level: float) -> float:
    """The position of an end near `about`, in cosines (n,) that start in the middle of a presence.

    At a cut, the cosine falls within the length of a vector and is halfway down at the end. In a fade it falls slowly
    and the recording stays audible longer; its end is then where the cosine reaches that of what follows.
    """
    lifted = float(np.median(excess[about + 1 : about + 1 + END_SEARCH])) if about + 1 < len(excess) else 0.0
    half = max(PARAMETERS.min_end_cosine, (level + PARAMETERS.unrelated_cosine) / 2)
    if lifted > 0:  # by chance alone, the cosines of what follows reach this
        half = max(half, min(PARAMETERS.min_cosine + lifted, (half + level) / 2))
    end = _falls_below(cosines[: about + 1 + END_SEARCH], half)
    beyond = round(end) + 1
    outside = cosines[beyond + END_SEARCH : beyond + 2 * END_SEARCH]
    outside_level = float(np.median(outside)) if len(outside) else PARAMETERS.unrelated_cosine
    faint = max(PARAMETERS.min_fade_cosine, outside_level + PARAMETERS.fade_margin)
    if faint >= half or beyond >= len(cosines):
        return end
    smoothing = PARAMETERS.fade_smoothing
    around = np.convolve(cosines[beyond : beyond + MAX_FADE], np.ones(smoothing) / smoothing, "valid")
    gone = np.flatnonzero(around < faint)
    tail = beyond + (float(gone[0]) + smoothing / 2 - 1 if len(gone) else 0.0)
    return tail if tail - end > MAX_CUT else end


def _falls_below(cosines: np.ndarray, threshold: float) -> float:
    """The position, interpolated between two values, at which they fall below a threshold and stay there."""
    below = threshold - cosines
    first = intervals.change_point(below)
    if not 0 < first < len(below):
        return first - 0.5
    before, after = below[first - 1], below[first]
    return first - 1 + float(np.clip(before / (before - after), 0, 1)) if before < after else first - 0.5
