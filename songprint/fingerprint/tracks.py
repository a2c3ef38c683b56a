"""Recordings along something long: hits in windows, joined to tracks, read second by second.

A long recording is searched in overlapping windows, each as a clip is. A hit says which place of which recording is
heard, to some hundredths of a second. Hits that continue each other make a track: the place in the recording as
a function of time, a straight line at a constant speed, with bends where a tape or a disc jockey does not keep it.
Along a track every vector can be asked how well it agrees, also where no window was sure enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from songprint.fingerprint import align, candidates, identify
from songprint.fingerprint.candidates import FEWEST_SEGMENTS, References, WindowAlignments
from songprint.fingerprint.query import Query
from songprint.store.level import Level
from songprint.types import Embeddings

HOP = 0.25  # seconds between the vectors of something long: half as dense as those of a clip
WINDOW = 8.0  # seconds searched as one,
EVERY = 5.0  # one beginning every so many
NEIGHBOURS = identify.NEIGHBOURS
VERIFIED = 12  # candidates of a window whose line is fitted
REFINED = 4  # and of these lines, those that are looked at closely
ALIKE = 0.45  # mean cosine of a hit: in programmes, with talk and in fades, those that were right had 0.57
LEAST = -4.0  # log-odds of a hit; with less it is not kept
HOPELESS = -9.0  # log-odds without the second witness, who was never worth more than 11 more, seldom than 7
NEAR, DRIFT = 0.6, 0.02  # seconds by which a hit may be off a track, and for each second that it is away
APART = 60.0  # seconds without a hit that a track may bridge
STRAIGHT = 0.15  # seconds off a straight line that are taken for the error of measurement
EVIDENT = 0.3  # cosine from which a vector speaks for a track


@dataclass(frozen=True)
class Hit:
    """A recording in one window."""

    recording_id: int
    start: float  # seconds: the stretch of the window that agrees
    end: float
    place: float  # seconds in the recording at the middle of that stretch
    speed: float
    key_shift: float  # semitones
    score: float  # mean cosine
    logit: float  # log-odds that the name is right

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


def hits(
    window: Query, at: float, level: Level, found: tuple[np.ndarray, np.ndarray], references: References
) -> list[Hit]:
    """The recordings that a window may hold which begins `at` seconds.

    `found` are the ids and cosines (m, k) of the segments nearest to each of its vectors.
    """
    rows = np.flatnonzero(window.embeddings.has_content)
    if len(rows) < FEWEST_SEGMENTS:
        return []
    hits, calibration = [], level.calibration
    suggested = WindowAlignments(
        window, level, rows, (found[0][rows], found[1][rows]), references, max_candidates=VERIFIED, max_refined=REFINED
    )
    for verified in suggested.verified(alike=ALIKE, hopeful=lambda said: calibration.logit(said) > HOPELESS):
        line, logit = verified.line, calibration.logit(verified.features)
        if logit < LEAST:
            continue
        start = float(verified.times[line.first])
        end = float(verified.times[line.last - 1]) + level.spec.window
        pitch = verified.verification.pitch if verified.verification.reliable else line.speed
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
    """The hit of a window that begins `at` seconds, if what an earlier one found simply goes on in it.

    That is looked up in a hundredth of the time that a search takes. None unless it agrees closely from the first
    vector to the last: then nothing else can be heard there.
    """
    reference = references([hit.recording_id]).get(hit.recording_id)
    rows = np.flatnonzero(window.has_content)
    if reference is None or len(rows) < len(window) // 2 or len(rows) < FEWEST_SEGMENTS:
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
    """A recording along the time line: hits, in their order."""

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
        """(n,) seconds -> (n,) seconds in the recording; beyond the hits as if it went on at the same speed."""
        slope, level = self._line
        straight = slope * times + level
        if not self._bends.size:
            return straight
        middles, off = self._bends
        return straight + np.interp(times, middles, off)

    @property
    def speed(self) -> float:
        return float(self._line[0])

    @property
    def key_shift(self) -> float:
        return float(np.median([hit.key_shift for hit in self.hits]))

    def expects(self, hit: Hit) -> float:
        """Seconds by which a hit is off the place where this track, at its end, would be by then."""
        last = self.hits[-1]
        speed = self.speed if len(self.hits) > 2 else last.speed
        return abs(last.place + speed * (hit.middle - last.middle) - hit.place)

    @cached_property
    def _line(self) -> np.ndarray:
        """Slope and level of the straight line through the hits; those far off weigh nothing."""
        middles, places, weights = self._points
        if middles[-1] - middles[0] < WINDOW:  # too near each other to tell the speed better than one does
            best = max(self.hits, key=lambda hit: hit.logit)
            return np.array([best.speed, best.place - best.speed * best.middle])
        origin = middles.mean()
        for _ in range(3):
            slope, level = np.polyfit(middles - origin, places, 1, w=np.sqrt(weights))
            off = np.abs(places - slope * (middles - origin) - level)
            weights = self._points[2] / (1 + (off / max(STRAIGHT, float(np.median(off)))) ** 2)
        return np.array([slope, level - slope * origin])

    @cached_property
    def _bends(self) -> np.ndarray:
        """(2, n) at which times the track is off its line, and by how much; empty where it is straight."""
        middles, places, _ = self._points
        off = places - self._line[0] * middles - self._line[1]
        return np.zeros((2, 0)) if np.median(np.abs(off)) < STRAIGHT else np.stack([middles, off])

    @cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values = np.array([(hit.middle, hit.place, hit.end - hit.start) for hit in self.hits])
        return values[:, 0], values[:, 1], values[:, 2] * np.where([hit.logit > 0 for hit in self.hits], 1.0, 0.1)


def link_hits(hits: Iterable[Hit]) -> list[Track]:
    """Hits joined where one continues another."""
    found: list[Track] = []
    for hit in sorted(hits, key=lambda hit: (hit.middle, -hit.logit)):
        near = [
            (track.expects(hit), number)
            for number, track in enumerate(found)
            if track.recording_id == hit.recording_id and hit.middle - track.hits[-1].middle < APART
        ]
        near = [
            (off, number) for off, number in near if off < NEAR + DRIFT * (hit.middle - found[number].hits[-1].middle)
        ]
        if near:
            number = min(near)[1]
            found[number] = Track((*found[number].hits, hit))
        else:
            found.append(Track((hit,)))
    return found


@dataclass(frozen=True)
class TrackSupport:
    """A track read vector by vector."""

    track: Track
    first: int  # the vector, of all that were heard, that `cosines` begins with
    cosines: np.ndarray  # (n,) agreement; 0 where there is nothing to recognise
    rows: np.ndarray  # (n, dim) the rows of the recording that agree best
    has_content: np.ndarray  # (n,) bool: whether both have something to recognise there

    @property
    def last(self) -> int:
        return self.first + len(self.cosines)

    def within(self, first: int, last: int) -> TrackSupport:
        part = slice(first - self.first, last - self.first)
        return replace(
            self, first=first, cosines=self.cosines[part], rows=self.rows[part], has_content=self.has_content[part]
        )


def measure_support(
    track: Track, vectors: np.ndarray, base: int, hop: float, reference: Embeddings, reach: float
) -> TrackSupport:
    """The agreement of `vectors (n, dim)`, the first of them number `base`, with the rows that a track lays them on.

    A track is read `reach` seconds beyond its hits, as far as the recording goes.
    """
    first = max(base, int(np.floor((track.start - reach) / hop)))
    last = min(base + len(vectors), int(np.ceil((track.end + reach) / hop)) + 1)
    numbers = np.arange(first, max(first, last))
    places = track.places(numbers * hop) / reference.hop
    inside = np.flatnonzero((places > -1) & (places < len(reference)))
    if not len(inside):
        return TrackSupport(
            track, first, np.zeros(0, np.float32), np.zeros((0, vectors.shape[1]), np.float32), np.zeros(0, bool)
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
    return TrackSupport(
        track, int(numbers[0]), cosines[better, each].clip(0), chosen, own.any(axis=1) & chosen.any(axis=1)
    )
