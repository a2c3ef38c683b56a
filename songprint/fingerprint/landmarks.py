"""Spectral landmarks: verification of an alignment by the peaks of the spectrum.

For every recording the peaks of its spectrogram are stored: points where a frequency stands out from its surroundings,
to 1/32 s and about 1% of frequency. They take few bytes, and noise, reverberation and codecs leave most of them in
place (Wang, "An industrial-strength audio search algorithm", ISMIR 2003). Unlike there, no hashes are looked up: the
embeddings already suggest where a query lies. The peaks of the recording are laid over the spectrogram of the query at
the speed, pitch and position where they fit best. The fit is compared with the average of the query, and with the fit
of the peaks of other moments. It also gives the position to some milliseconds, and speed and pitch independently.

Constants here define what is stored: landmarks are incompatible when one of them changes.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from songprint.fingerprint import logmel
from songprint.fingerprint.parameters import DEFAULT
from songprint.types import LANDMARKS_PER_FRAME

PARAMETERS = DEFAULT.verification

SLOTS = LANDMARKS_PER_FRAME
BLOCK_FRAMES, PER_BLOCK = 16, 32  # the most prominent peaks of every half second are kept
LOWEST, HIGHEST = 160.0, 3600.0  # Hz
NONE = np.zeros((0, SLOTS), np.uint8)
NEAR_FRAMES, NEAR_BINS = 2, 4  # a peak is the highest point within this distance
AROUND_FRAMES, AROUND_BINS = 33, 31  # a peak stands out from the mean of its surroundings, 1 s by 240 Hz,
MIN_PROMINENCE = 3.0  # by at least this many dB
FLOOR = -100.0  # dBFS; quieter points are cut

CONTEXT_FRAMES = 32  # frames of the neighbouring portions that a portion needs on either side; a multiple of a block

HERTZ_PER_BIN = logmel.SAMPLE_RATE / logmel.FRAME_SAMPLES
FIRST_BIN, LAST_BIN = round(LOWEST / HERTZ_PER_BIN), round(HIGHEST / HERTZ_PER_BIN)
QUERY_HOP_SAMPLES = 125  # the spectrogram of a query has twice the frame rate of a recording's
QUERY_RATE = logmel.SAMPLE_RATE / QUERY_HOP_SAMPLES

PITCHES = np.exp(PARAMETERS.step * np.arange(-PARAMETERS.pitch_steps, PARAMETERS.pitch_steps + 1))
SPEEDS = np.exp(PARAMETERS.step * np.arange(-PARAMETERS.speed_steps, PARAMETERS.speed_steps + 1))
# Seconds around the suggested position.
SHIFTS = np.arange(-PARAMETERS.shift_frames, PARAMETERS.shift_frames + 1) / logmel.FRAMES_PER_SECOND
OTHER_MOMENTS = PARAMETERS.other_moments


@dataclass(frozen=True)
class Verification:
    """How well the peaks of a recording fit a query. All evidence is 0 if there are too few peaks."""

    prominence: float = 0.0  # of the query under the peaks: mean from 0 to 1, less the mean of the whole query
    excess: float = 0.0  # the mean under the peaks less the mean under those of other moments
    contrast: float = 0.0  # the same in standard deviations of the other moments
    background: float = 0.0  # mean over the query: how busy it is
    unchanged: float = 0.0  # the contrast at the original speed and pitch
    speed: float = 1.0
    pitch: float = 1.0  # frequency ratio
    offset: float = 0.0  # reference = speed * query + offset, seconds

    def shifted(self, seconds: float) -> Verification:
        """The same for a query that begins `seconds` earlier."""
        return replace(self, offset=self.offset - self.speed * seconds)

    @property
    def reliable(self) -> bool:
        """Whether speed, pitch and offset are reliable."""
        return self._exceeds(1.0)

    @property
    def conclusive(self) -> bool:
        """Whether alignments with a much lower cosine need no verification any more."""
        return self._exceeds(PARAMETERS.conclusive) and self.is_simple

    def _exceeds(self, multiple: float) -> bool:
        return (
            self.contrast > multiple * PARAMETERS.min_contrast
            and self.prominence > multiple * PARAMETERS.min_prominence
        )

    @property
    def is_simple(self) -> bool:
        """Whether speed, tempo or pitch alone is changed. False fits seldom have this property."""
        return 1.0 in (self.speed, self.pitch) or self.speed == self.pitch


class Collector:
    """Extracts the landmarks of a recording from portions of its power spectrogram, as if it were in one piece."""

    def __init__(self) -> None:
        self._levels = np.zeros((0, LAST_BIN + NEAR_BINS + 1), np.float32)
        self._done = 0  # leading frames that are only context: their peaks are already extracted
        self._found: list[np.ndarray] = []

    def add(self, power: np.ndarray) -> None:
        """Append the next (frames, 513) power at `logmel.FRAMES_PER_SECOND`."""
        self._levels = np.concatenate([self._levels, decibels(power[:, : LAST_BIN + NEAR_BINS + 1])])
        ready = (len(self._levels) - CONTEXT_FRAMES) // BLOCK_FRAMES * BLOCK_FRAMES
        if ready > self._done:
            self._found.append(_peaks(self._levels)[self._done : ready])
            kept = min(ready, CONTEXT_FRAMES)
            self._levels, self._done = self._levels[ready - kept :], kept

    def landmarks(self) -> np.ndarray:
        """(frames, SLOTS) uint8: all landmarks. Nothing may be added afterwards."""
        return np.concatenate([NONE, *self._found, _peaks(self._levels)[self._done :]])


def of_power(power: np.ndarray) -> np.ndarray:
    """(frames, 513) power at `logmel.FRAMES_PER_SECOND` -> (frames, SLOTS) uint8 codes of the peaks, 0 for none.

    A code is a frequency on a mel scale of 255 steps (`to_hertz`). A step is 5 Hz at the lower end and 23 Hz at the
    upper.
    """
    collector = Collector()
    collector.add(power)
    return collector.landmarks()


def _peaks(levels: np.ndarray) -> np.ndarray:
    """(frames, bins) dB -> (frames, SLOTS) codes. The first frame is the start of a block."""
    from scipy.ndimage import uniform_filter

    found = np.zeros((len(levels), SLOTS), np.uint8)
    if not len(levels):
        return found
    above = levels - uniform_filter(levels, (AROUND_FRAMES, AROUND_BINS))
    highest = _highest_near(levels) & (above > MIN_PROMINENCE)
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
    levels: np.ndarray = power + np.float32(1e-12)
    np.log10(levels, out=levels)
    levels *= 10
    np.maximum(levels, np.float32(FLOOR), out=levels)
    return levels


def _highest_near(levels: np.ndarray) -> np.ndarray:
    """(frames, bins) bool: whether a point is the maximum of its neighbourhood."""
    highest = levels
    for axis, reach in ((1, NEAR_BINS), (0, NEAR_FRAMES)):
        padded = np.pad(highest, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], constant_values=-np.inf)
        width, wanted = 1, 2 * reach + 1
        while width < wanted:  # maximum over 1, 2, 4, ... points
            step = min(width, wanted - width)
            count = padded.shape[axis] - step
            padded = np.maximum(
                padded[:, :count] if axis else padded[:count], padded[:, step:] if axis else padded[step:]
            )
            width += step
        highest = padded
    return levels >= highest


def _first_of_each(groups: np.ndarray, values: np.ndarray, most: int) -> np.ndarray:
    """Row numbers, ascending, of the `most` highest values of each group; `groups (n,)` ascends."""
    order = np.lexsort((-values, groups))
    rank = np.arange(len(groups)) - np.searchsorted(groups, groups)  # within its group
    return np.sort(order[rank < most])


@overload
def _mel(hertz: float) -> float: ...
@overload
def _mel(hertz: np.ndarray) -> np.ndarray: ...
def _mel(hertz: np.ndarray | float) -> np.ndarray | float:
    mels: np.ndarray = 1127 * np.log1p(np.asarray(hertz) / 700)
    return mels


def from_hertz(hertz: np.ndarray) -> np.ndarray:
    """Frequencies -> codes 1 to 255."""
    share = (_mel(hertz) - _mel(LOWEST)) / (_mel(HIGHEST) - _mel(LOWEST))
    codes: np.ndarray = np.clip(np.rint(share * 254) + 1, 1, 255)
    return codes.astype(np.uint8)


def to_hertz(codes: np.ndarray) -> np.ndarray:
    """Codes 1 to 255 -> frequencies, float32."""
    share = (codes.astype(np.float32) - 1) / 254
    return (700 * np.expm1((_mel(LOWEST) + share * (_mel(HIGHEST) - _mel(LOWEST))) / 1127)).astype(np.float32)


class LandmarkVerifier:
    """The spectrogram of a query, prepared for verification: how far each point stands out, from 0 to 1."""

    def __init__(self, samples: np.ndarray):
        """`samples (n,)`: float32 at `logmel.SAMPLE_RATE`."""
        power = logmel.power(samples, QUERY_HOP_SAMPLES)
        self.duration = len(samples) / logmel.SAMPLE_RATE
        # (bins + 1, frames + 2): points outside the query are read as 0, so that no bounds check is needed
        self.prominence = np.zeros((power.shape[1] + 1, len(power) + 2), np.float32)
        if len(power):
            from scipy.ndimage import uniform_filter

            levels = decibels(power)
            around = uniform_filter(levels, (2 * AROUND_FRAMES - 1, AROUND_BINS))
            self.prominence[:-1, 1:-1] = np.clip((levels - around) / PARAMETERS.full_prominence, 0, 1).T
        self.background = float(self.prominence.sum() / power.size) if len(power) else 0.0

    def verify(self, landmarks: np.ndarray, speed: float, offset: float) -> Verification:
        """Fit the landmarks (frames, SLOTS) of a recording to the query, near `reference = speed * query + offset`.

        A wide search over speed, pitch and position with some of the peaks is followed by two finer ones with all.
        """
        middle = self.duration / 2
        peaks = _Peaks(landmarks, speed * middle + offset, middle, self.prominence)
        if peaks.count(speed) < PARAMETERS.min_peaks:
            return Verification(background=self.background, speed=speed, offset=offset)
        sample = peaks.sample(max(speed, SPEEDS[-1]), SHIFTS, PARAMETERS.wide_peaks)
        best = max(
            sample.best(np.array([speed]), PITCHES, SHIFTS),
            sample.best(SPEEDS[:, None], np.stack([SPEEDS, np.ones(len(SPEEDS))], axis=1), SHIFTS),
        )
        best = replace(best, value=0.0)  # values of a sample are not comparable with those of all peaks
        for step in (PARAMETERS.step, PARAMETERS.step / 3):
            best = max(
                best,
                peaks.best(
                    best.speed * (1 + step * np.arange(-3, 4)[:, None]),
                    best.pitch * (1 + step * np.arange(-2, 3)),
                    best.shift + np.arange(-3, 4) / QUERY_RATE,
                ),
            )
        usual, deviation = peaks.at_other_moments(best.speed, best.pitch, self.background)
        unchanged = peaks.best(np.ones(1), np.ones(1), np.arange(-16, 17) / QUERY_RATE)
        usual_unchanged, deviation_unchanged = peaks.at_other_moments(1.0, 1.0, self.background)
        speed, pitch = _simplest(peaks.smooth_speed(best), best.pitch, self.duration)
        return Verification(
            prominence=best.value - self.background,
            excess=best.value - usual,
            contrast=(best.value - usual) / deviation,
            background=self.background,
            unchanged=max(0.0, unchanged.value - usual_unchanged) / deviation_unchanged,
            speed=speed,
            pitch=pitch,
            offset=peaks.place + best.shift - speed * middle,
        )


@dataclass(frozen=True, order=True)
class _Fit:
    value: float
    speed: float
    pitch: float
    shift: float  # seconds from the suggested position


class _Peaks:
    """The landmarks of a recording around the suggested position of the middle of a query, laid over the query."""

    def __init__(self, landmarks: np.ndarray, place: float, middle: float, prominence: np.ndarray):
        """`prominence (bins + 1, frames + 2)` of the query: zeros in the last bin, the first and the last frame."""
        self.place, self.middle, self.prominence = place, middle, prominence
        reach = 1.2 * middle + np.abs(OTHER_MOMENTS).max()
        first = max(0, int((place - reach) * logmel.FRAMES_PER_SECOND))
        last = max(first, int((place + reach) * logmel.FRAMES_PER_SECOND) + 1)
        frames, slots = np.nonzero(landmarks[first:last])
        # Seconds from the position to the middle of a peak's frame, ascending. Frames of queries are as wide.
        self.times = ((frames + first) / logmel.FRAMES_PER_SECOND - place).astype(np.float32)
        self.hertz = to_hertz(landmarks[first:last][frames, slots])

    def count(self, speed: float) -> int:
        """The number of peaks that lie on the query."""
        return int((np.abs(self.times) < self.middle * speed).sum())

    def sample(self, speed: float, shifts: np.ndarray, most: int) -> _Peaks:
        """At most `most` of the peaks that can lie on the query, up to this speed and at any of these shifts.

        The choice is random but reproducible. Every second peak would be the lower one of each frame.
        """
        near = np.flatnonzero(np.abs(self.times) < self.middle * speed + np.abs(shifts).max())
        if len(near) > most:
            near = np.sort(np.random.default_rng(0).choice(near, most, replace=False))
        sample = copy(self)
        sample.times, sample.hertz = self.times[near], self.hertz[near]
        return sample

    def values(self, speeds: np.ndarray, pitches: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """(..., shifts) mean prominence of the query under the peaks; nan where there are too few of them.

        `speeds (...)` and `pitches (...)` are broadcast against each other. Each verification reads hundreds of
        thousands of points, so positions are computed once for all pitches.
        """
        width = self.prominence.shape[1]
        rate, shifts = QUERY_RATE / speeds[..., None, None], shifts[:, None]
        start = self.middle * QUERY_RATE + 1.5  # frames count from the empty first one and are rounded by truncation
        first, last = (np.searchsorted(self.times, (edge - start) / rate + shifts) for edge in (1, width - 1))
        near = slice(first.min(), last.max())
        at = self.times[near] * rate.astype(np.float32) + (start - shifts * rate).astype(np.float32)
        at = at.clip(0, width - 1).astype(np.intp)  # (..., shifts, peaks)
        bins = self.hertz[near] * (pitches[..., None, None] / HERTZ_PER_BIN).astype(np.float32) + np.float32(0.5)
        bins = np.minimum(bins.astype(np.intp), len(self.prominence) - 1) * width  # (..., 1, peaks)
        sums = self.prominence.take(at + bins).sum(axis=-1)  # (..., shifts)
        count = (last - first)[..., 0]
        return np.where(count >= PARAMETERS.min_peaks, sums / np.maximum(count, 1), np.float32(np.nan))

    def best(self, speeds: np.ndarray, pitches: np.ndarray, shifts: np.ndarray) -> _Fit:
        """The highest of `values`."""
        values = np.nan_to_num(self.values(speeds, pitches, shifts), nan=-1.0)
        *change, shift = np.unravel_index(values.argmax(), values.shape)
        speed, pitch = (np.broadcast_to(of, values.shape[:-1])[tuple(change)] for of in (speeds, pitches))
        return _Fit(float(values.max()), float(speed), float(pitch), float(shifts[shift]))

    def at_other_moments(self, speed: float, pitch: float, default: float) -> tuple[float, float]:
        """Mean and standard deviation of `values` at other moments; the mean is `default` if there are too few."""
        values = self.values(np.array(speed), np.array(pitch), OTHER_MOMENTS)
        values = values[~np.isnan(values)]
        if len(values) <= PARAMETERS.min_peaks:
            return default, PARAMETERS.usual_deviation
        return float(values.mean()), max(float(values.std()), PARAMETERS.min_deviation)

    def smooth_speed(self, best: _Fit) -> float:
        """The top of a parabola over the values around the best speed, where the maximum is flat and noisy."""
        steps = np.arange(-10, 11) * PARAMETERS.speed_fit / 10 / max(self.middle, 1.0)
        values = self.values(
            best.speed * (1 + steps), np.array(best.pitch), best.shift + np.arange(-3, 4) / QUERY_RATE
        ).max(axis=1)
        if np.isnan(values).any():
            return best.speed
        bend, slope, _ = np.polyfit(steps, values, 2)
        top = -slope / (2 * bend) if bend < 0 else 0.0
        return best.speed * (1 + float(np.clip(top, steps[0] / 2, steps[-1] / 2)))


def _simplest(speed: float, pitch: float, duration: float) -> tuple[float, float]:
    """Speed and pitch as the simplest change within their errors: none, both alike, or one alone.

    The pitch of a short query is known much better than its speed. A turntable changes both alike.
    """
    blur = PARAMETERS.speed_blur / duration
    if abs(pitch - 1) < PARAMETERS.pitch_blur:
        pitch = 1.0
    if abs(speed / pitch - 1) < blur + PARAMETERS.pitch_blur:
        return pitch, pitch
    return (1.0 if abs(speed - 1) < blur else speed), pitch
