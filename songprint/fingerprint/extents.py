"""Extents: the part of a query in which an identified recording is audible.

An alignment in a window of a query names the recording and its position. The recording may begin or end within the
query, and something else may precede or follow it. The cosine of every vector of the query along the alignment is
therefore compared with the level that it reaches at other places of the same recording.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from songprint.fingerprint.parameters import DEFAULT
from songprint.fingerprint.tracks import chance_level
from songprint.types import Interval

if TYPE_CHECKING:
    from songprint.fingerprint.query import Query
    from songprint.fingerprint.tracks import Track
    from songprint.types import Embeddings

PARAMETERS = DEFAULT.extents


def audible(track: Track, query: Query, reference: Embeddings, window: float, duration: float) -> Interval:
    """The part of the query in which the recording of a track is audible; that of the track where it cannot be refined.

    `window` is the duration that one vector describes, and `duration` that of the recording, both in seconds.
    """
    found = Interval(track.start, track.end)
    times = query.times(np.arange(len(query.embeddings)))
    middles = times + window / 2
    inside = (middles >= found.start) & (middles <= found.end) & query.embeddings.has_content
    if query.duration < PARAMETERS.min_query or inside.sum() < PARAMETERS.min_vectors:
        return found
    cosines = _along(track, query.embeddings.vectors, times, reference)
    chance, _ = chance_level(query.embeddings.vectors, reference, query.embeddings.hop)
    level = float(np.median(cosines[inside]))
    halfway = (level + chance) / 2
    margin = np.maximum((level - chance) / 2, PARAMETERS.min_margin)
    support = np.where(
        query.embeddings.has_content, np.clip((cosines - halfway) / margin, -1, 1), PARAMETERS.without_content
    )
    first, last = _best_range(support, int(np.flatnonzero(inside)[np.argmax(support[inside])]))
    start = _crossing(middles, support, first - 1) if first else max(0.0, float(times[0]))
    end = _crossing(middles, support, last - 1) if last < len(times) else min(float(times[-1]) + window, query.duration)
    begins, ends = (_when(track, place, near) for place, near in ((0.0, start), (duration, end)))
    start = max(begins, 0.0) if abs(begins - start) < PARAMETERS.snap else start
    end = min(ends, query.duration) if abs(ends - end) < PARAMETERS.snap else end
    return Interval(
        start if abs(start - found.start) > PARAMETERS.tolerance else found.start,
        end if abs(end - found.end) > PARAMETERS.tolerance else found.end,
    )


def _along(track: Track, vectors: np.ndarray, times: np.ndarray, reference: Embeddings) -> np.ndarray:
    """(n,) cosines of the vectors along a track, the higher of the two nearest rows; 0 outside the recording."""
    places = track.places(times) / reference.hop
    lower = np.floor(places + 1e-6).astype(int)
    around = np.stack([lower, lower + 1])  # (2, n)
    known = around.clip(0, len(reference) - 1)
    low, high = int(known.min()), int(known.max()) + 1
    rows = np.asarray(reference.vectors[low:high])[known - low]  # (2, n, dim)
    cosines = np.einsum("nd,snd->sn", vectors, rows) * (known == around)
    found: np.ndarray = cosines.max(axis=0).clip(0)
    return found


def _best_range(support: np.ndarray, within: int) -> tuple[int, int]:
    """The range [first, last) around position `within` with the highest sum."""
    before = np.cumsum(support[: within + 1][::-1])
    after = np.cumsum(support[within:])
    return within - int(np.argmax(before)), within + int(np.argmax(after)) + 1


def _crossing(middles: np.ndarray, support: np.ndarray, place: int) -> float:
    """Seconds at which the support crosses zero between positions `place` and `place + 1`."""
    one, other = support[place], support[place + 1]
    share = float(np.clip(one / (one - other), 0, 1)) if one * other < 0 else 0.5
    return float(middles[place] + share * (middles[place + 1] - middles[place]))


def _when(track: Track, place: float, near: float) -> float:
    """When a position of the recording is played, extrapolated from `near` seconds."""
    return near + (place - float(track.places(np.array([near]))[0])) / track.speed
