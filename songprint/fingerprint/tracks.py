"""Tracks of recordings in a long recording: hits in windows, linked into tracks, and the support along a track.

A long recording is searched in overlapping windows, each like a query. A hit states which position of which recording
is audible, to some hundredths of a second. Hits that continue each other are linked into a track: the position in the
recording as a function of time. A track is a straight line at constant speed, with deviations where a tape or a disc
jockey does not keep it. The cosine of every vector along a track is then read, also where no window gave a hit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from songprint.fingerprint import align, candidates
from songprint.fingerprint.candidates import References, WindowAlignments
from songprint.fingerprint.parameters import DEFAULT

if TYPE_CHECKING:
    from songprint.fingerprint.query import Query
    from songprint.store.level import Level
    from songprint.types import Embeddings

PARAMETERS = DEFAULT.tracks
HOP, WINDOW, EVERY = PARAMETERS.hop, PARAMETERS.window, PARAMETERS.step
NEIGHBOURS = DEFAULT.search.neighbours
MIN_SEGMENTS = DEFAULT.search.min_segments


@dataclass(frozen=True)
class Hit:
    """A recording found in one window."""

    recording_id: int
    start: float  # seconds; the part of the window that agrees
    end: float
    place: float  # seconds in the recording at the middle of that part
    speed: float
    key_shift: float  # semitones
    score: float  # mean cosine
    logit: float  # log-odds that the name is correct

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


def hits(
    window: Query, at: float, level: Level, found: tuple[np.ndarray, np.ndarray], references: References
) -> list[Hit]:
    """The recordings found in a window that begins at `at` seconds.

    `found` are the ids and cosines (m, k) of the nearest segments of each of its vectors.
    """
    rows = np.flatnonzero(window.embeddings.has_content)
    if len(rows) < MIN_SEGMENTS:
        return []
    calibration = level.calibration
    alignments = WindowAlignments(
        window,
        level,
        rows,
        (found[0][rows], found[1][rows]),
        references,
        max_candidates=PARAMETERS.max_candidates,
        max_refined=PARAMETERS.max_refined,
    ).verified(
        alike=PARAMETERS.min_score,
        hopeful=lambda features: calibration.logit(features) > PARAMETERS.min_logit_without_verification,
    )
    hits = []
    for alignment in alignments:
        line, logit = alignment.line, calibration.logit(alignment.features)
        if logit < PARAMETERS.min_logit:
            continue
        start = float(alignment.times[line.first])
        end = float(alignment.times[line.last - 1]) + level.spec.window
        pitch = alignment.verification.pitch if alignment.verification.reliable else line.speed
        hits.append(
            Hit(
                line.recording_id,
                at + start,
                at + end,
                line.at((start + end) / 2),
                line.speed,
                12 * float(np.log2(pitch)),
                line.score,
                logit,
            )
        )
    return hits


def continuation(hit: Hit, window: Embeddings, at: float, level: Level, references: References) -> Hit | None:
    """The hit in a window that begins at `at` seconds, if the recording of an earlier hit continues in it.

    Takes a hundredth of the time of a search. None unless the recording agrees closely from the first vector to the
    last: then no other recording can be audible there.
    """
    reference = references([hit.recording_id]).get(hit.recording_id)
    rows = np.flatnonzero(window.has_content)
    if reference is None or len(rows) < len(window) // 2 or len(rows) < MIN_SEGMENTS:
        return None
    times = rows * window.hop
    layout = align.Layout(times, level.spec.hop, level.spec.window)
    place = hit.place + hit.speed * (at + layout.middle - hit.middle)
    line = candidates.continuation(hit.recording_id, place, window.vectors[rows], layout, reference)
    if line is None:
        return None
    start, end = at + float(times[0]), at + float(times[-1]) + level.spec.window
    return replace(hit, start=start, end=end, place=line.at((start + end) / 2 - at), speed=line.speed, score=line.score)


@dataclass(frozen=True)
class Track:
    """A recording along the time line: its hits, in order."""

    hits: tuple[Hit, ...]

    @property
    def recording_id(self) -> int:
        return self.hits[0].recording_id

    @property
    def start(self) -> float:
        return min(hit.start for hit in self.hits)

    @property
    def end(self) -> float:
        return max(hit.end for hit in self.hits)

    def places(self, times: np.ndarray) -> np.ndarray:
        """(n,) seconds -> (n,) seconds in the recording; extrapolated at constant speed beyond the hits."""
        slope, level = self._line
        places: np.ndarray = slope * times + level
        if self._deviations.size:
            middles, off = self._deviations
            places = places + np.interp(times, middles, off)
        return places

    @property
    def speed(self) -> float:
        return float(self._line[0])

    @property
    def key_shift(self) -> float:
        """Semitones, the median of the hits."""
        return float(np.median([hit.key_shift for hit in self.hits]))

    def deviation(self, hit: Hit) -> float:
        """Seconds between a hit and the position that the end of this track predicts for it."""
        last = self.hits[-1]
        speed = self.speed if len(self.hits) > 2 else last.speed
        return abs(last.place + speed * (hit.middle - last.middle) - hit.place)

    @cached_property
    def _line(self) -> np.ndarray:
        """(2,) slope and level of the line through the hits, by iteratively reweighted least squares."""
        middles, places, weights = self._points
        if middles[-1] - middles[0] < WINDOW:  # hits this close do not determine the speed better than one alone
            best = max(self.hits, key=lambda hit: hit.logit)
            return np.array([best.speed, best.place - best.speed * best.middle])
        origin = middles.mean()
        for _ in range(3):
            slope, level = np.polyfit(middles - origin, places, 1, w=np.sqrt(weights))
            off = np.abs(places - slope * (middles - origin) - level)
            weights = self._points[2] / (1 + (off / max(PARAMETERS.straight, float(np.median(off)))) ** 2)
        return np.array([slope, level - slope * origin])

    @cached_property
    def _deviations(self) -> np.ndarray:
        """(2, n) times and deviations from the line in seconds; empty where the track is straight."""
        middles, places, _ = self._points
        off = places - self._line[0] * middles - self._line[1]
        is_straight = np.median(np.abs(off)) < PARAMETERS.straight
        return np.zeros((2, 0)) if is_straight else np.stack([middles, off])

    @cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Middle, position and weight of each hit. Improbable hits have a tenth of the weight."""
        values = np.array([(hit.middle, hit.place, hit.end - hit.start) for hit in self.hits])
        return values[:, 0], values[:, 1], values[:, 2] * np.where([hit.logit > 0 for hit in self.hits], 1.0, 0.1)


def link_hits(hits: Iterable[Hit]) -> list[Track]:
    """Link hits that continue each other into tracks."""
    found: list[Track] = []
    for hit in sorted(hits, key=lambda hit: (hit.middle, -hit.logit)):
        near = [
            (track.deviation(hit), number)
            for number, track in enumerate(found)
            if track.recording_id == hit.recording_id and hit.middle - track.hits[-1].middle < PARAMETERS.max_gap
        ]
        near = [
            (off, number)
            for off, number in near
            if off < PARAMETERS.max_deviation + PARAMETERS.max_drift * (hit.middle - found[number].hits[-1].middle)
        ]
        if near:
            number = min(near)[1]
            found[number] = Track((*found[number].hits, hit))
        else:
            found.append(Track((hit,)))
    return found


@dataclass(frozen=True)
class TrackSupport:
    """The cosines of the vectors along a track."""

    track: Track
    first: int  # number of the first vector, counted from the start of the long recording
    cosines: np.ndarray  # (n,) at least 0
    excess: np.ndarray  # (n,) how far chance alone lifts the cosines above the one that supports a track
    rows: np.ndarray  # (n, dim) the rows of the recording with the highest cosine
    has_content: np.ndarray  # (n,) bool: whether both the vector and the row have content

    @property
    def last(self) -> int:
        return self.first + len(self.cosines)

    def within(self, first: int, last: int) -> TrackSupport:
        """The part from vector `first` to `last`."""
        part = slice(first - self.first, last - self.first)
        return replace(
            self,
            first=first,
            cosines=self.cosines[part],
            excess=self.excess[part],
            rows=self.rows[part],
            has_content=self.has_content[part],
        )


def measure_support(
    track: Track, vectors: np.ndarray, base: int, hop: float, reference: Embeddings, reach: float
) -> TrackSupport:
    """The cosines of `vectors (n, dim)`, the first of which has number `base`, with the rows along a track.

    The track is followed `reach` seconds beyond its hits, as far as the recording goes.
    """
    first = max(base, int(np.floor((track.start - reach) / hop)))
    last = min(base + len(vectors), int(np.ceil((track.end + reach) / hop)) + 1)
    numbers = np.arange(first, max(first, last))
    places = track.places(numbers * hop) / reference.hop
    inside = np.flatnonzero((places > -1) & (places < len(reference)))
    if not len(inside):
        return TrackSupport(
            track,
            first,
            np.zeros(0, np.float32),
            np.zeros(0, np.float32),
            np.zeros((0, vectors.shape[1]), np.float32),
            np.zeros(0, bool),
        )
    numbers, places = numbers[inside[0] : inside[-1] + 1], places[inside[0] : inside[-1] + 1]
    lower = np.floor(places + 1e-6).astype(int)
    own = vectors[numbers - base]
    around = np.stack([lower, lower + 1]).clip(0, len(reference) - 1)  # (2, n)
    low, high = int(around.min()), int(around.max()) + 1
    rows = np.asarray(reference.vectors[low:high])[around - low]  # (2, n, dim)
    cosines = np.einsum("nd,snd->sn", own, rows)
    better = cosines.argmax(axis=0)
    each = np.arange(len(numbers))
    chosen = rows[better, each]
    has_content = own.any(axis=1) & chosen.any(axis=1)
    excess = excess_chance(own, reference)
    return TrackSupport(track, int(numbers[0]), cosines[better, each].clip(0), excess, chosen, has_content)


def excess_chance(vectors: np.ndarray, reference: Embeddings) -> np.ndarray:
    """How far chance alone lifts the cosine of each vector with a reference above the cosine that supports a track.

    Broadband noise resembles many rows of many recordings, wherever they are compared: its cosines are 0.35 to 0.49.
    The level that a vector reaches by chance is the mean of its cosines with rows from all over the reference, plus
    some standard deviations. Returns (n,) values of at least 0 for vectors (n, dim).
    """
    mean, deviation = chance_level(vectors, reference, HOP)
    level = mean + PARAMETERS.chance_deviations * deviation
    excess: np.ndarray = np.clip(level, None, PARAMETERS.max_chance) - DEFAULT.presence.min_cosine
    return excess.clip(0)


def chance_level(vectors: np.ndarray, reference: Embeddings, hop: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the cosines of each vector with rows from all over a reference.

    Both are averaged over some seconds; `hop` is the time between two of the vectors. Returns (n,) and (n,) for vectors
    (n, dim).
    """
    rows = np.flatnonzero(reference.has_content)
    if not len(rows) or not len(vectors):
        return np.zeros(len(vectors), np.float32), np.zeros(len(vectors), np.float32)
    spread = np.linspace(0, len(rows) - 1, min(len(rows), PARAMETERS.chance_rows)).astype(int)
    cosines = vectors @ np.asarray(reference.vectors[rows[spread]]).T  # (n, rows)
    width = max(1, round(PARAMETERS.chance_smoothing / hop))

    def smooth(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
        return np.convolve(padded, np.ones(width) / width, mode="valid")

    return smooth(cosines.mean(axis=1)), smooth(cosines.std(axis=1))
