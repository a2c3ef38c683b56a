"""Classify the sound of every second: music, speech, silence or other.

The features of a second describe how its bands fluctuate and how long its partials last: music sustains notes, speech
glides and pauses, and noise such as rain does neither. A small network (trained in `lab.train.sounds`) classifies
each second in its context, and dynamic programming selects the most likely sequence with few changes. Speech over music
counts as music down to about 10 dB. Partials that stay the same for several seconds are mains hum or a steady tone, and
no music. The features exclude the average spectrum, which would describe the noises of the
training data rather than noise in general.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from songprint.encoders.contract import WEIGHTS
from songprint.errors import EncoderError
from songprint.fingerprint import logmel
from songprint.types import Interval, Sound

FILE = WEIGHTS / "sounds.npz"
CLASSES = (Sound.MUSIC, Sound.SPEECH, Sound.OTHER)  # outputs of the network
STATES = (*CLASSES, Sound.SILENCE)
SAMPLE_RATE = logmel.SAMPLE_RATE
HOP_SAMPLES = 400  # between spectra
SPECTRA = SAMPLE_RATE // HOP_SAMPLES  # 20 per second
REACH = logmel.FRAME_SAMPLES - HOP_SAMPLES  # samples after a second that its last spectrum needs
BANDS = 32
LAGS = (1, 3, 6, 12)  # spectra; distances at which the similarity of the partials is measured
RANGES = ((8, 100), (100, 500))  # bins of 7.8 Hz; frequency ranges of the partials
ENVELOPE_BINS = 15  # width of the moving average that is subtracted to isolate partials
FLOOR = -85.0  # dBFS; lower band levels are clipped
MAX_SILENCE = -60.0  # dBFS; seconds below this level are silent
CONTEXT = 4  # seconds on either side that the network receives
CHANGE_COST = 6.0  # natural log-odds; cost of a change between two states
# Arrays of log-likelihoods that are joined to one. An array for each second of a stream takes ten times the memory.
JOINED = 64
MAX_EVIDENCE = 5.0  # natural log-odds; limits the influence of a single second
# Lowest cosine between the partials of a second and those of each second in its context from which the sound is steady.
# Hum and tones that the network confuses with music have 0.967 and more; 2,000 seconds of 54 songs had 0.942 at most.
MIN_STEADINESS = 0.96


class SoundMeter:
    """Classifies blocks of samples at 8 kHz. Stores 16 bytes per second."""

    def __init__(self) -> None:
        self._waiting = np.zeros(0, np.float32)
        self._count = 0  # samples fed
        self._features = np.zeros(
            (0, FEATURES), np.float32
        )  # of seconds whose context is incomplete, and of their context
        self._partials = np.zeros((0, PARTIALS), np.float32)  # of the same seconds
        self._classified = 0  # number of rows of `_features` that are classified
        self._levels: list[np.ndarray] = []  # dBFS of the seconds that are not classified
        self._likelihoods: list[np.ndarray] = []  # (seconds, states) log-likelihoods

    def feed(self, block: np.ndarray) -> None:
        """Process the next samples, (n,) float32."""
        self._count += len(block)
        self._waiting = np.concatenate([self._waiting, block])
        seconds = (len(self._waiting) - REACH) // SAMPLE_RATE
        if seconds > 0:
            self._take(seconds)

    def sounds(self) -> list[tuple[Interval, Sound]]:
        """Return the classes of the sound so far, as contiguous intervals."""
        rest = _copied(self)
        seconds, left_over = divmod(len(rest._waiting), SAMPLE_RATE)
        if left_over >= SAMPLE_RATE // 2 or 0 < self._count < SAMPLE_RATE:  # a shorter rest cannot be classified
            seconds += 1
        rest._waiting = np.pad(rest._waiting, (0, max(0, seconds * SAMPLE_RATE + REACH - len(rest._waiting))))
        if seconds > 0:
            rest._take(seconds)
        rest._classify(CONTEXT)
        path = likeliest(np.concatenate(rest._likelihoods)) if rest._likelihoods else np.zeros(0, int)
        return _intervals(path, self._count / SAMPLE_RATE)

    def _take(self, seconds: int) -> None:
        samples = self._waiting[: seconds * SAMPLE_RATE + REACH]
        new, partials = _features_and_partials(samples)
        self._features = np.concatenate([self._features, new])
        self._partials = np.concatenate([self._partials, partials])
        power = np.square(samples[: seconds * SAMPLE_RATE].reshape(seconds, -1)).mean(axis=1)
        self._levels.append(10 * np.log10(power + 1e-12))
        self._waiting = self._waiting[seconds * SAMPLE_RATE :]
        self._classify(0)

    def _classify(self, padding: int) -> None:
        """Classify the seconds whose context is complete; at the end, those that lack up to `padding` seconds of it."""
        ready = len(self._features) - self._classified - CONTEXT + padding
        if ready <= 0:
            return
        levels = np.concatenate(self._levels)
        likelihoods = _network().log_probabilities(in_context(self._features))[
            self._classified : self._classified + ready
        ]
        steady = steadiness(self._partials)[self._classified : self._classified + ready] >= MIN_STEADINESS
        likelihoods[steady] = np.where(np.array(CLASSES) == Sound.OTHER, 0, -MAX_EVIDENCE)
        silent = levels[:ready] < MAX_SILENCE
        self._likelihoods.append(with_silence(likelihoods, silent))
        if len(self._likelihoods) >= JOINED:
            self._likelihoods = [np.concatenate(self._likelihoods)]
        self._levels = [levels[ready:]]
        gone = max(0, self._classified + ready - CONTEXT)
        self._features, self._partials = self._features[gone:], self._partials[gone:]
        self._classified += ready - gone


def classify(samples: np.ndarray) -> list[tuple[Interval, Sound]]:
    """Classify samples, (n,) float32 at 8 kHz. Return contiguous intervals in seconds from the first sample."""
    meter = SoundMeter()
    meter.feed(np.asarray(samples, np.float32))
    return meter.sounds()


def _copied(meter: SoundMeter) -> SoundMeter:
    """Return a copy that can be finished while the original continues."""
    other = SoundMeter()
    other.__dict__ |= {
        name: value.copy() if isinstance(value, list) else value for name, value in meter.__dict__.items()
    }
    return other


# --- features ---------------------------------------------------------------------------------------------------------

FEATURES = 2 * BANDS + 3 + len(RANGES) * (len(LAGS) + 1)
PARTIALS = sum(last - first for first, last in RANGES)


def features(samples: np.ndarray) -> np.ndarray:
    """(seconds * 8000 + REACH,) samples -> (seconds, FEATURES) float32, independent of the level."""
    return _features_and_partials(samples)[0]


def _features_and_partials(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples -> (seconds, FEATURES) and the mean partials of each second, (seconds, PARTIALS) of unit length."""
    power = logmel.power(samples, HOP_SAMPLES)  # (seconds * 20, 513)
    seconds = len(power) // SPECTRA
    power = power[: seconds * SPECTRA]
    bands = np.maximum(10 * np.log10(power @ _bands() + 1e-12), FLOOR).reshape(seconds, SPECTRA, BANDS)
    levels = 10 * np.log10(power.sum(axis=1) + 1e-12).reshape(seconds, SPECTRA)
    columns = [
        bands.std(axis=1),
        np.abs(np.diff(bands, axis=1)).mean(axis=1),
        levels.std(axis=1, keepdims=True),
        (levels.mean(axis=1) - levels.min(axis=1))[:, None],
        (levels < levels.mean(axis=1, keepdims=True) - 6).mean(axis=1, keepdims=True) * 20,
    ]
    decibels = 10 * np.log10(power[:, : RANGES[-1][1]] + 1e-10)
    means = []
    for first, last in RANGES:
        peaks = _partials(decibels[:, first:last]).reshape(seconds, SPECTRA, last - first)
        columns.append(20 * _persistence(peaks))
        columns.append(peaks.mean(axis=(1, 2))[:, None])
        means.append(peaks.mean(axis=1))
    partials = np.concatenate(means, axis=1)
    partials /= np.maximum(np.linalg.norm(partials, axis=1, keepdims=True), 1e-6)
    return (np.concatenate(columns, axis=1) / 10).astype(np.float32), partials.astype(np.float32)


def steadiness(partials: np.ndarray) -> np.ndarray:
    """(seconds, PARTIALS) of unit length -> (seconds,) lowest cosine of each second with the seconds in its context."""
    lowest = np.ones(len(partials), np.float32)
    for lag in range(1, min(CONTEXT + 1, len(partials))):
        cosines = np.einsum("sp,sp->s", partials[lag:], partials[:-lag])
        lowest[lag:] = np.minimum(lowest[lag:], cosines)
        lowest[:-lag] = np.minimum(lowest[:-lag], cosines)
    return lowest


@cache
def _bands() -> np.ndarray:
    """(513, 32): each band combines four mel bands of the front end of the fingerprint."""
    bands: np.ndarray = np.ascontiguousarray(logmel.mel_matrix().reshape(-1, BANDS, logmel.BANDS // BANDS).sum(axis=2))
    return bands


def _partials(decibels: np.ndarray) -> np.ndarray:
    """(spectra, bins) dB -> level of each bin above the average of its neighbourhood, at least 0."""
    padded = np.pad(decibels, ((0, 0), (ENVELOPE_BINS // 2 + 1, ENVELOPE_BINS // 2)), mode="edge")
    sums = np.cumsum(padded, axis=1, dtype=np.float32)
    return np.maximum(decibels - (sums[:, ENVELOPE_BINS:] - sums[:, :-ENVELOPE_BINS]) / ENVELOPE_BINS, 0)


def _persistence(peaks: np.ndarray) -> np.ndarray:
    """(seconds, spectra, bins) -> (seconds, lags): mean cosine of the partials with those `lag` spectra later."""
    length = np.sqrt(np.einsum("stb,stb->st", peaks, peaks))
    found = []
    for lag in LAGS:
        inner = np.einsum("stb,stb->st", peaks[:, :-lag], peaks[:, lag:])
        found.append((inner / (length[:, :-lag] * length[:, lag:] + 1e-6)).mean(axis=1))
    return np.stack(found, axis=1)


# --- classifier -------------------------------------------------------------------------------------------------------


def in_context(features: np.ndarray) -> np.ndarray:
    """(seconds, n) -> (seconds, 3 n): each second, and the mean and standard deviation over its context."""
    first = np.maximum(np.arange(len(features)) - CONTEXT, 0)
    last = np.minimum(np.arange(len(features)) + CONTEXT + 1, len(features))

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
        means: np.ndarray = (sums[last] - sums[first]) / (last - first)[:, None]
        return means

    exact = features.astype(np.float64)
    around = mean(exact)
    deviation = np.sqrt(np.maximum(mean(exact**2) - around**2, 0))
    return np.concatenate([features, around, deviation], axis=1).astype(np.float32)


class Network:
    """A network of two layers: features of a second in context -> log-probabilities of CLASSES."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights

    def log_probabilities(self, context: np.ndarray) -> np.ndarray:
        """(seconds, 3 FEATURES) -> (seconds, 3)."""
        w = self.weights
        hidden = np.maximum((context - w["mean"]) / w["scale"] @ w["first"] + w["first_bias"], 0)
        scores = hidden @ w["second"] + w["second_bias"]
        highest = scores.max(axis=1, keepdims=True)
        normalised: np.ndarray = scores - highest - np.log(np.exp(scores - highest).sum(axis=1, keepdims=True))
        return normalised


@cache
def _network() -> Network:
    try:
        with np.load(FILE) as file:
            return Network({name: file[name] for name in file.files})
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"cannot read {FILE}: {error}. Reinstall Songprint: pip install --force-reinstall songprint"
        ) from error


def with_silence(likelihoods: np.ndarray, silent: np.ndarray) -> np.ndarray:
    """Add silence: (n, 3) log-probabilities of the network and (n,) bool -> (n, 4) log-likelihoods of STATES."""
    bounded = np.maximum(likelihoods - likelihoods.max(axis=1, keepdims=True), -MAX_EVIDENCE)
    extended = np.full((len(bounded), len(STATES)), -10 * MAX_EVIDENCE, np.float32)
    extended[:, :-1] = np.where(silent[:, None], -10 * MAX_EVIDENCE, bounded)
    extended[:, -1] = np.where(silent, 0, -10 * MAX_EVIDENCE)
    return extended


def likeliest(likelihoods: np.ndarray) -> np.ndarray:
    """(seconds, states) -> (seconds,): the most likely sequence of states (Viterbi; each change costs CHANGE_COST)."""
    best = likelihoods[0].astype(np.float64)
    previous = np.empty(likelihoods.shape, np.int8)
    stay = np.arange(likelihoods.shape[1])
    for second, likelihood in enumerate(likelihoods):
        if second:
            highest = int(best.argmax())
            changed = best[highest] - CHANGE_COST
            previous[second] = np.where(best >= changed, stay, highest)
            best = np.maximum(best, changed) + likelihood
    path = np.empty(len(likelihoods), np.int64)
    path[-1] = best.argmax()
    for second in range(len(path) - 1, 0, -1):
        path[second - 1] = previous[second, path[second]]
    return path


def _intervals(path: np.ndarray, duration: float) -> list[tuple[Interval, Sound]]:
    """(seconds,) states -> intervals. The last one ends at `duration`."""
    if not len(path):
        return []
    starts = [0, *(np.flatnonzero(np.diff(path)) + 1)]
    ends = [*starts[1:], duration]
    return [(Interval(float(start), float(end)), STATES[path[start]]) for start, end in zip(starts, ends, strict=True)]
