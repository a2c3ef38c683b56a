"""What is heard second by second where nothing is named: music, speech, silence or something else.

Each second is described by how its bands change and how long its partials last: music holds its notes, speech glides
and pauses, rain does neither. A small network, trained in `lab.train.sounds`, judges the second and those around it;
then the likeliest sequence is taken in which changes are rare. Speech with music under it is music, down to about
10 dB. The colour of the sound is not asked: it tells more of the rain that was learned from than of rain.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from songprint.encoders.contract import WEIGHTS
from songprint.errors import EncoderError
from songprint.fingerprint import logmel
from songprint.types import Interval, Sound

FILE = WEIGHTS / "sounds.npz"
CLASSES = (Sound.MUSIC, Sound.SPEECH, Sound.OTHER)  # what the network tells apart
STATES = (*CLASSES, Sound.SILENCE)
SAMPLE_RATE = logmel.SAMPLE_RATE
HOP_SAMPLES = 400  # between spectra
SPECTRA = SAMPLE_RATE // HOP_SAMPLES  # 20 a second
REACH = logmel.FRAME_SAMPLES - HOP_SAMPLES  # samples after a second that its last spectrum sees
BANDS = 32
LAGS = (1, 3, 6, 12)  # spectra apart: how alike the partials still are
RANGES = ((8, 100), (100, 500))  # bins of 7.8 Hz in which that is asked
COLOUR = 15  # bins over which the colour of the sound is taken out
FLOOR = -85.0  # dBFS of a band
QUIET = -60.0  # dBFS of a second: below it is silence
AROUND = 4  # seconds on either side that the network is told of
CHANGE = 6.0  # what a change of sound costs, in natural logarithms
SURE = 5.0  # what one second can say for a sound at most, likewise


class SoundMeter:
    """Listens to blocks of samples at 8 kHz; 16 bytes a second are kept."""

    def __init__(self) -> None:
        self._waiting = np.zeros(0, np.float32)
        self._count = 0  # samples heard
        self._features = np.zeros((0, FEATURES), np.float32)  # of seconds that have not all their neighbours yet
        self._before = 0  # of these, how many are judged already
        self._levels: list[np.ndarray] = []  # dBFS of the seconds that wait
        self._judged: list[np.ndarray] = []  # (seconds, states) log-likelihoods

    def feed(self, block: np.ndarray) -> None:
        """(n,) float32, of any length: what follows what was heard before."""
        self._count += len(block)
        self._waiting = np.concatenate([self._waiting, block])
        seconds = (len(self._waiting) - REACH) // SAMPLE_RATE
        if seconds > 0:
            self._take(seconds)

    def sounds(self) -> list[tuple[Interval, Sound]]:
        """What was heard until now, in order and without holes."""
        rest = _copied(self)
        seconds, left_over = divmod(len(rest._waiting), SAMPLE_RATE)
        if left_over >= SAMPLE_RATE // 2 or 0 < self._count < SAMPLE_RATE:  # less than half a second says nothing
            seconds += 1
        rest._waiting = np.pad(rest._waiting, (0, max(0, seconds * SAMPLE_RATE + REACH - len(rest._waiting))))
        if seconds > 0:
            rest._take(seconds)
        rest._judge(AROUND)
        path = likeliest(np.concatenate(rest._judged)) if rest._judged else np.zeros(0, int)
        return _stretches(path, self._count / SAMPLE_RATE)

    def _take(self, seconds: int) -> None:
        samples = self._waiting[: seconds * SAMPLE_RATE + REACH]
        self._features = np.concatenate([self._features, features(samples)])
        power = np.square(samples[: seconds * SAMPLE_RATE].reshape(seconds, -1)).mean(axis=1)
        self._levels.append(10 * np.log10(power + 1e-12))
        self._waiting = self._waiting[seconds * SAMPLE_RATE :]
        self._judge(0)

    def _judge(self, padding: int) -> None:
        """Judge the seconds that have their neighbours; at the end those that lack `padding` of them."""
        ready = len(self._features) - self._before - AROUND + padding
        if ready <= 0:
            return
        levels = np.concatenate(self._levels)
        likelihoods = _network().judge(in_context(self._features))[self._before : self._before + ready]
        silent = levels[:ready] < QUIET
        self._judged.append(with_silence(likelihoods, silent))
        self._levels = [levels[ready:]]
        gone = max(0, self._before + ready - AROUND)
        self._features, self._before = self._features[gone:], self._before + ready - gone


def classify(samples: np.ndarray) -> list[tuple[Interval, Sound]]:
    """(n,) float32 at 8 kHz -> what is heard when, in seconds from the first sample."""
    meter = SoundMeter()
    meter.feed(np.asarray(samples, np.float32))
    return meter.sounds()


def _copied(meter: SoundMeter) -> SoundMeter:
    """To go on with, without disturbing one that still listens."""
    other = SoundMeter()
    other.__dict__ |= {
        name: value.copy() if isinstance(value, list) else value for name, value in meter.__dict__.items()
    }
    return other


# --- the second -------------------------------------------------------------------------------------------------------

FEATURES = 2 * BANDS + 3 + len(RANGES) * (len(LAGS) + 1)


def features(samples: np.ndarray) -> np.ndarray:
    """(seconds * 8000 + REACH,) samples -> (seconds, FEATURES) float32, which do not depend on the level."""
    power = logmel.power(samples, HOP_SAMPLES)  # (seconds * 20, 513)
    seconds = len(power) // SPECTRA
    power = power[: seconds * SPECTRA]
    bands = np.maximum(10 * np.log10(power @ _bands() + 1e-12), FLOOR).reshape(seconds, SPECTRA, BANDS)
    levels = 10 * np.log10(power.sum(axis=1) + 1e-12).reshape(seconds, SPECTRA)
    described = [
        bands.std(axis=1),
        np.abs(np.diff(bands, axis=1)).mean(axis=1),
        levels.std(axis=1, keepdims=True),
        (levels.mean(axis=1) - levels.min(axis=1))[:, None],
        (levels < levels.mean(axis=1, keepdims=True) - 6).mean(axis=1, keepdims=True) * 20,
    ]
    decibels = 10 * np.log10(power[:, : RANGES[-1][1]] + 1e-10)
    for first, last in RANGES:
        peaks = _partials(decibels[:, first:last]).reshape(seconds, SPECTRA, last - first)
        described.append(20 * _lasting(peaks))
        described.append(peaks.mean(axis=(1, 2))[:, None])
    return (np.concatenate(described, axis=1) / 10).astype(np.float32)


@cache
def _bands() -> np.ndarray:
    """(513, 32): four mel bands of the fingerprint's front end as one."""
    return np.ascontiguousarray(logmel.mel_matrix().reshape(-1, BANDS, logmel.BANDS // BANDS).sum(axis=2))


def _partials(decibels: np.ndarray) -> np.ndarray:
    """(spectra, bins) dB -> how far each bin stands out of its neighbourhood, 0 where it does not."""
    padded = np.pad(decibels, ((0, 0), (COLOUR // 2 + 1, COLOUR // 2)), mode="edge")
    sums = np.cumsum(padded, axis=1, dtype=np.float32)
    return np.maximum(decibels - (sums[:, COLOUR:] - sums[:, :-COLOUR]) / COLOUR, 0)


def _lasting(peaks: np.ndarray) -> np.ndarray:
    """(seconds, spectra, bins) -> (seconds, lags): cosine of the partials with those some spectra later."""
    length = np.sqrt(np.einsum("stb,stb->st", peaks, peaks))
    found = []
    for lag in LAGS:
        inner = np.einsum("stb,stb->st", peaks[:, :-lag], peaks[:, lag:])
        found.append((inner / (length[:, :-lag] * length[:, lag:] + 1e-6)).mean(axis=1))
    return np.stack(found, axis=1)


# --- the judge --------------------------------------------------------------------------------------------------------


def in_context(features: np.ndarray) -> np.ndarray:
    """(seconds, n) -> (seconds, 3 n): each second, and the mean and deviation of it and its neighbours."""
    first = np.maximum(np.arange(len(features)) - AROUND, 0)
    last = np.minimum(np.arange(len(features)) + AROUND + 1, len(features))

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
        return (sums[last] - sums[first]) / (last - first)[:, None]

    exact = features.astype(np.float64)
    around = mean(exact)
    deviation = np.sqrt(np.maximum(mean(exact**2) - around**2, 0))
    return np.concatenate([features, around, deviation], axis=1).astype(np.float32)


class Network:
    """Two layers: what is known of a second -> the logarithms of how probable each of CLASSES is."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights

    def judge(self, context: np.ndarray) -> np.ndarray:
        """(seconds, 3 FEATURES) -> (seconds, 3)."""
        w = self.weights
        hidden = np.maximum((context - w["mean"]) / w["scale"] @ w["first"] + w["first_bias"], 0)
        scores = hidden @ w["second"] + w["second_bias"]
        highest = scores.max(axis=1, keepdims=True)
        return scores - highest - np.log(np.exp(scores - highest).sum(axis=1, keepdims=True))


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
    """(n, 3) of the network and (n,) bool -> (n, 4) for STATES. Nothing but silence is heard in silence."""
    bounded = np.maximum(likelihoods - likelihoods.max(axis=1, keepdims=True), -SURE)
    told = np.full((len(bounded), len(STATES)), -10 * SURE, np.float32)
    told[:, :-1] = np.where(silent[:, None], -10 * SURE, bounded)
    told[:, -1] = np.where(silent, 0, -10 * SURE)
    return told


def likeliest(likelihoods: np.ndarray) -> np.ndarray:
    """(seconds, states) -> (seconds,) the likeliest sequence of states, where every change costs CHANGE."""
    best = likelihoods[0].astype(np.float64)
    came_from = np.empty(likelihoods.shape, np.int8)
    stay = np.arange(likelihoods.shape[1])
    for second, told in enumerate(likelihoods):
        if second:
            highest = int(best.argmax())
            changed = best[highest] - CHANGE
            came_from[second] = np.where(best >= changed, stay, highest)
            best = np.maximum(best, changed) + told
    path = np.empty(len(likelihoods), np.int64)
    path[-1] = best.argmax()
    for second in range(len(path) - 1, 0, -1):
        path[second - 1] = came_from[second, path[second]]
    return path


def _stretches(path: np.ndarray, duration: float) -> list[tuple[Interval, Sound]]:
    """(seconds,) states -> intervals; the last ends where the sound does."""
    if not len(path):
        return []
    starts = [0, *(np.flatnonzero(np.diff(path)) + 1)]
    ends = [*starts[1:], duration]
    return [(Interval(float(start), float(end)), STATES[path[start]]) for start, end in zip(starts, ends, strict=True)]
