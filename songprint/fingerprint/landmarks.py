"""Spectral landmarks: the second witness, who checks by another method what the embeddings suggest.

Of every recording the peaks of its spectrum are kept: where a frequency stands out from its surroundings, to
1/32 s and about 1 %. They are few bytes, and noise, rooms and codecs leave most of them in place (Wang, "An
industrial-strength audio search algorithm", ISMIR 2003). Other than there no hashes are looked up: the
embeddings have already said where the clip should lie. So it is enough to lay the peaks over the clip's own
spectrogram, at the speed, pitch and place where they fit best, and to see how far it stands out there: more
than elsewhere in the clip, and more than under the same peaks of other moments. That also tells the place to
some milliseconds, and the speed and the pitch apart from each other.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import uniform_filter

from songprint.fingerprint import logmel
from songprint.types import LANDMARKS_PER_FRAME

SLOTS = LANDMARKS_PER_FRAME
BLOCK_FRAMES, PER_BLOCK = 16, 32  # the most prominent peaks of every half second are kept
LOWEST, HIGHEST = 160.0, 3600.0  # Hz
NONE = np.zeros((0, SLOTS), np.uint8)
NEAR_FRAMES, NEAR_BINS = 2, 4  # a peak is the highest point as far as this
AROUND_FRAMES, AROUND_BINS = 33, 31  # what it must stand out from: 1 s by 240 Hz,
LEAST = 3.0  # by so many decibels
FLOOR = -100.0  # dBFS: what is fainter does not exist

CONTEXT_FRAMES = 32  # of a portion's neighbours are needed on either side; a multiple of BLOCK_FRAMES

HERTZ_PER_BIN = logmel.SAMPLE_RATE / logmel.FRAME_SAMPLES
FIRST_BIN, LAST_BIN = round(LOWEST / HERTZ_PER_BIN), round(HIGHEST / HERTZ_PER_BIN)
CLIP_HOP_SAMPLES = 125  # the clip is looked at twice as often as the recordings
CLIP_RATE = logmel.SAMPLE_RATE / CLIP_HOP_SAMPLES
FULL = 15.0  # dB by which a point of the clip stands out to count in full

STEP = 0.0058  # a tenth of a semitone
PITCHES = np.exp(STEP * np.arange(-25, 26))
SPEEDS = np.exp(STEP * np.arange(-18, 19))
SHIFTS = np.arange(-8, 9) / logmel.FRAMES_PER_SECOND  # seconds around what was suggested: at most 0.24 off
ELSEWHERE = np.concatenate([np.arange(-8.0, -0.9, 0.14), np.arange(1.0, 8.1, 0.14)])  # seconds: other moments
FEWEST = 8  # peaks; fewer say nothing
FIRST_LOOK = 160  # peaks that the wide search is made with; the fine one takes them all
SURE, STANDS_OUT = 3.0, 0.1  # contrast and prominence of a fit that is to be believed
BEYOND_DOUBT = 2.0  # times as much of both leave no doubt
HILL = 0.08  # seconds by which the ends of a clip are off where its hill of speeds ends
BLUR = 0.045  # seconds over the length of a clip: how well its speed is known
BLUR_OF_PITCH = 0.003  # how well its pitch is known


@dataclass(frozen=True)
class Verification:
    """How the peaks of a recording lie on a clip. A silent witness has zeros."""

    prominence: float = 0.0  # mean over the peaks, 0 to 1, less that of the clip as a whole
    excess: float = 0.0  # mean over the peaks less that under other moments of the recording
    contrast: float = 0.0  # the same in standard deviations of those moments
    background: float = 0.0  # mean over the clip: how busy it is
    unchanged: float = 0.0  # the contrast if the clip has the speed and the pitch of the recording
    speed: float = 1.0
    pitch: float = 1.0  # frequency ratio
    offset: float = 0.0  # reference = speed * query + offset, seconds

    def shifted(self, seconds: float) -> Verification:
        """The same of a clip that began `seconds` before this one."""
        return replace(self, offset=self.offset - self.speed * seconds)

    @property
    def reliable(self) -> bool:
        """Whether speed, pitch and place are to be believed."""
        return self.contrast > SURE and self.prominence > STANDS_OUT

    @property
    def conclusive(self) -> bool:
        """Whether no other line need be heard that the embeddings find much worse."""
        return self.contrast > BEYOND_DOUBT * SURE and self.prominence > BEYOND_DOUBT * STANDS_OUT and self.is_simple

    @property
    def is_simple(self) -> bool:
        """Whether the change is of speed, tempo or pitch alone: a false fit is seldom that."""
        return 1.0 in (self.speed, self.pitch) or self.speed == self.pitch


class Collector:
    """Takes the power spectrogram of a recording in portions and gives its landmarks, as if it were one."""

    def __init__(self) -> None:
        self._levels = np.zeros((0, LAST_BIN + NEAR_BINS + 1), np.float32)
        self._done = 0  # of these frames so many were only needed for what stands around them
        self._found: list[np.ndarray] = []

    def add(self, power: np.ndarray) -> None:
        """(frames, 513) power at `logmel.FRAMES_PER_SECOND`, from where the last portion ended."""
        self._levels = np.concatenate([self._levels, decibels(power[:, : LAST_BIN + NEAR_BINS + 1])])
        ready = (len(self._levels) - CONTEXT_FRAMES) // BLOCK_FRAMES * BLOCK_FRAMES
        if ready > self._done:
            self._found.append(_peaks(self._levels)[self._done : ready])
            kept = min(ready, CONTEXT_FRAMES)
            self._levels, self._done = self._levels[ready - kept :], kept

    def landmarks(self) -> np.ndarray:
        """(frames, SLOTS) uint8: all of them. Nothing may be added after that."""
        return np.concatenate([NONE, *self._found, _peaks(self._levels)[self._done :]])


def of_power(power: np.ndarray) -> np.ndarray:
    """(frames, 513) power at `logmel.FRAMES_PER_SECOND` -> (frames, SLOTS) uint8: the peaks, 0 for none.

    A peak is coded as its frequency on a mel scale of 255 steps (`to_hertz`), 5 Hz wide at the lower end and 23
    at the upper.
    """
    collector = Collector()
    collector.add(power)
    return collector.landmarks()


def _peaks(levels: np.ndarray) -> np.ndarray:
    """(frames, bins) dB -> (frames, SLOTS) codes. Frames are counted from the start of a block."""
    found = np.zeros((len(levels), SLOTS), np.uint8)
    if not len(levels):
        return found
    above = levels - uniform_filter(levels, (AROUND_FRAMES, AROUND_BINS))
    highest = _highest_near(levels) & (above > LEAST)
    highest[:, :FIRST_BIN] = False
    highest[:, LAST_BIN:] = False
    frames, bins = np.nonzero(highest)
    keep = _first_of_each(frames // BLOCK_FRAMES, above[frames, bins], PER_BLOCK)
    frames, bins = frames[keep], bins[keep]
    keep = _first_of_each(frames, above[frames, bins], SLOTS)
    frames, bins = frames[keep], bins[keep]
    below, peak, over = (levels[frames, bins + step] for step in (-1, 0, 1))
    bend = np.minimum(below - 2 * peak + over, -1e-3)
    hertz = (bins + (0.5 * (below - over) / bend).clip(-0.5, 0.5)) * HERTZ_PER_BIN
    slots = np.arange(len(frames)) - np.searchsorted(frames, frames)
    found[frames, slots] = from_hertz(hertz)
    return found


def decibels(power: np.ndarray) -> np.ndarray:
    """Power -> dBFS, cut at FLOOR."""
    return np.maximum(10 * np.log10(power + np.float32(1e-12)), np.float32(FLOOR))


def _highest_near(levels: np.ndarray) -> np.ndarray:
    """(frames, bins) bool: points that none near is higher than."""
    highest = levels
    for axis, reach in ((1, NEAR_BINS), (0, NEAR_FRAMES)):
        padded = np.pad(highest, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], constant_values=-np.inf)
        width, wanted = 1, 2 * reach + 1
        while width < wanted:  # the maximum over 1, 2, 4 ... points
            step = min(width, wanted - width)
            count = padded.shape[axis] - step
            padded = np.maximum(
                padded[:, :count] if axis else padded[:count], padded[:, step:] if axis else padded[step:]
            )
            width += step
        highest = padded
    return levels >= highest


def _first_of_each(groups: np.ndarray, values: np.ndarray, most: int) -> np.ndarray:
    """Row numbers, ascending, of the `most` highest values of each group; `groups (n,)` ascend."""
    order = np.lexsort((-values, groups))
    rank = np.arange(len(groups)) - np.searchsorted(groups, groups)  # of the sorted ones
    return np.sort(order[rank < most])


def _mel(hertz: np.ndarray | float) -> np.ndarray | float:
    return 1127 * np.log1p(np.asarray(hertz) / 700)


def from_hertz(hertz: np.ndarray) -> np.ndarray:
    """Frequencies -> codes 1 to 255."""
    share = (_mel(hertz) - _mel(LOWEST)) / (_mel(HIGHEST) - _mel(LOWEST))
    return np.clip(np.rint(share * 254) + 1, 1, 255).astype(np.uint8)


def to_hertz(codes: np.ndarray) -> np.ndarray:
    """Codes 1 to 255 -> frequencies, float32."""
    share = (codes.astype(np.float32) - 1) / 254
    return (700 * np.expm1((_mel(LOWEST) + share * (_mel(HIGHEST) - _mel(LOWEST))) / 1127)).astype(np.float32)


class LandmarkVerifier:
    """A clip as the witness sees it: how far each point of its spectrogram stands out, from 0 to 1."""

    def __init__(self, samples: np.ndarray):
        """`samples (n,)`: float32 at `logmel.SAMPLE_RATE`."""
        power = logmel.power(samples, CLIP_HOP_SAMPLES)
        self.duration = len(samples) / logmel.SAMPLE_RATE
        # (bins + 1, frames + 2), so that what lies outside the clip is read as 0 and need not be asked for
        self.prominence = np.zeros((power.shape[1] + 1, len(power) + 2), np.float32)
        if len(power):
            levels = decibels(power)
            around = uniform_filter(levels, (2 * AROUND_FRAMES - 1, AROUND_BINS))
            self.prominence[:-1, 1:-1] = np.clip((levels - around) / FULL, 0, 1).T
        self.background = float(self.prominence.sum() / power.size) if len(power) else 0.0

    def verify(self, landmarks: np.ndarray, speed: float, offset: float) -> Verification:
        """What the landmarks `(frames, SLOTS)` of a recording say of the line `reference = speed * query + offset`."""
        middle = self.duration / 2
        peaks = _Peaks(landmarks, speed * middle + offset, middle, self.prominence)
        if peaks.count(speed) < FEWEST:
            return Verification(background=self.background, speed=speed, offset=offset)
        few = peaks.some(max(speed, SPEEDS[-1]), SHIFTS, FIRST_LOOK)
        best = max(
            few.best(np.array([speed]), PITCHES, SHIFTS),
            few.best(SPEEDS[:, None], np.stack([SPEEDS, np.ones(len(SPEEDS))], axis=1), SHIFTS),
        )
        best = replace(best, value=0.0)  # that of a few peaks cannot be compared with that of all
        for step in (STEP, STEP / 3):
            best = max(
                best,
                peaks.best(
                    best.speed * (1 + step * np.arange(-3, 4)[:, None]),
                    best.pitch * (1 + step * np.arange(-2, 3)),
                    best.shift + np.arange(-3, 4) / CLIP_RATE,
                ),
            )
        usual, spread = peaks.usual(best.speed, best.pitch, self.background)
        still = peaks.best(np.ones(1), np.ones(1), np.arange(-16, 17) / CLIP_RATE)
        usually_still, spread_still = peaks.usual(1.0, 1.0, self.background)
        speed, pitch = _plain(peaks.smooth_speed(best), best.pitch, self.duration)
        return Verification(
            prominence=best.value - self.background,
            excess=best.value - usual,
            contrast=(best.value - usual) / spread,
            background=self.background,
            unchanged=max(0.0, still.value - usually_still) / spread_still,
            speed=speed,
            pitch=pitch,
            offset=peaks.place + best.shift - speed * middle,
        )


@dataclass(frozen=True, order=True)
class _Fit:
    value: float
    speed: float
    pitch: float
    shift: float  # seconds from the place that was suggested


class _Peaks:
    """The landmarks of a recording around the place where the middle of a clip should lie, laid over the clip."""

    def __init__(self, landmarks: np.ndarray, place: float, middle: float, prominence: np.ndarray):
        """`prominence (bins + 1, frames + 2)` of the clip: zeros in the last bin, the first and the last frame."""
        self.place, self.middle, self.prominence = place, middle, prominence
        reach = 1.2 * middle + np.abs(ELSEWHERE).max()
        first = max(0, int((place - reach) * logmel.FRAMES_PER_SECOND))
        last = max(first, int((place + reach) * logmel.FRAMES_PER_SECOND) + 1)
        frames, slots = np.nonzero(landmarks[first:last])
        # seconds from the place to the middle of the peak's frame, for a clip frame has the same width; ascending
        self.times = ((frames + first) / logmel.FRAMES_PER_SECOND - place).astype(np.float32)
        self.hertz = to_hertz(landmarks[first:last][frames, slots])

    def count(self, speed: float) -> int:
        """How many peaks lie where the clip is."""
        return int((np.abs(self.times) < self.middle * speed).sum())

    def some(self, speed: float, shifts: np.ndarray, most: int) -> _Peaks:
        """At most `most` of the peaks that may lie on the clip, up to this speed and at any of these shifts."""
        near = np.flatnonzero(np.abs(self.times) < self.middle * speed + np.abs(shifts).max())
        if len(near) > most:  # any of them, but always the same: not every second one, which would be the lower
            near = np.sort(np.random.default_rng(0).choice(near, most, replace=False))
        some = copy(self)
        some.times, some.hertz = self.times[near], self.hertz[near]
        return some

    def values(self, speeds: np.ndarray, pitches: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """(..., shifts): mean prominence of the clip under the peaks; nan where there are too few of them.

        `speeds (...)` and `pitches (...)` are broadcast against each other. Hundreds of thousands of points are
        looked up for a line: what is the same for several pitches is reckoned once.
        """
        width = self.prominence.shape[1]
        rate, shifts = CLIP_RATE / speeds[..., None, None], shifts[:, None]
        start = self.middle * CLIP_RATE + 1.5  # frames are counted from the empty one, and rounded by cutting off
        first, last = (np.searchsorted(self.times, (edge - start) / rate + shifts) for edge in (1, width - 1))
        near = slice(first.min(), last.max())
        at = self.times[near] * rate.astype(np.float32) + (start - shifts * rate).astype(np.float32)
        at = at.clip(0, width - 1).astype(np.intp)  # (..., shifts, peaks)
        bins = self.hertz[near] * (pitches[..., None, None] / HERTZ_PER_BIN).astype(np.float32) + np.float32(0.5)
        bins = np.minimum(bins.astype(np.intp), len(self.prominence) - 1) * width  # (..., 1, peaks)
        seen = self.prominence.take(at + bins).sum(axis=-1)  # (..., shifts)
        count = (last - first)[..., 0]
        return np.where(count >= FEWEST, seen / np.maximum(count, 1), np.float32(np.nan))

    def best(self, speeds: np.ndarray, pitches: np.ndarray, shifts: np.ndarray) -> _Fit:
        """The greatest of `values`."""
        values = np.nan_to_num(self.values(speeds, pitches, shifts), nan=-1.0)
        *change, shift = np.unravel_index(values.argmax(), values.shape)
        speed, pitch = (np.broadcast_to(of, values.shape[:-1])[tuple(change)] for of in (speeds, pitches))
        return _Fit(float(values.max()), float(speed), float(pitch), float(shifts[shift]))

    def usual(self, speed: float, pitch: float, otherwise: float) -> tuple[float, float]:
        """Mean and deviation of `values` at other moments; `otherwise` is the mean if there are too few of them."""
        elsewhere = self.values(np.array(speed), np.array(pitch), ELSEWHERE)
        elsewhere = elsewhere[~np.isnan(elsewhere)]
        if len(elsewhere) <= FEWEST:
            return otherwise, 0.05
        return float(elsewhere.mean()), max(float(elsewhere.std()), 0.01)

    def smooth_speed(self, best: _Fit) -> float:
        """The top of a parabola over the values around the best speed, which is a flat and uneven hill."""
        steps = np.arange(-10, 11) * HILL / 10 / max(self.middle, 1.0)
        values = self.values(
            best.speed * (1 + steps), np.array(best.pitch), best.shift + np.arange(-3, 4) / CLIP_RATE
        ).max(axis=1)
        if np.isnan(values).any():
            return best.speed
        bend, slope, _ = np.polyfit(steps, values, 2)
        top = -slope / (2 * bend) if bend < 0 else 0.0
        return best.speed * (1 + float(np.clip(top, steps[0] / 2, steps[-1] / 2)))


def _plain(speed: float, pitch: float, duration: float) -> tuple[float, float]:
    """Speed and pitch, as the plainest change that they may be: none, of both alike, of one alone.

    The pitch is known much better than the speed of a short clip; a turntable changes both alike.
    """
    blur = BLUR / duration
    if abs(pitch - 1) < BLUR_OF_PITCH:
        pitch = 1.0
    if abs(speed / pitch - 1) < blur + BLUR_OF_PITCH:
        return pitch, pitch
    return (1.0 if abs(speed - 1) < blur else speed), pitch
