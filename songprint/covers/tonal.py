"""Samples -> log-frequency spectrogram -> tonal frames: the pitch classes of harmony, bass and melody.

The spectrogram has three bins per semitone from C1 to A7. Low notes need long windows to be resolved, high notes change
quickly: each range is taken from the shortest of three Fourier transforms that resolves it, as in a variable-Q
transform (Schoerkhuber et al., 2014). The network that reads it is trained in `lab`. Constants here define what is
stored and what the networks read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np

SAMPLE_RATE = 8000
HOP_SAMPLES = 800  # between spectra: 10 per second
SPECTRA_A_FRAME = 2  # spectra per frame: the network halves the rate
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_SAMPLES // SPECTRA_A_FRAME
FRAME_SAMPLES = HOP_SAMPLES * SPECTRA_A_FRAME

LOWEST = 24  # MIDI number of the lowest semitone, C1
SEMITONES = 82  # to A7, 3,520 Hz
BINS_A_SEMITONE = 3
BINS = SEMITONES * BINS_A_SEMITONE
TRANSFORMS = ((4096, 350.0), (2048, 1000.0), (1024, 4000.0))  # size in samples, and the highest Hz it is used for
FLOOR = 1e-9  # power: -90 dB of a sine at full scale

PITCH_CLASSES = 12
CHANNELS = 4  # harmony, bass, melody, all notes
COLUMNS = CHANNELS * PITCH_CLASSES
STEPS = 15  # levels of an activation: half a byte
QUIET = -70.0  # dB; a spectrum whose loudest bin is below this is silence
PORTION = 75 * FRAMES_PER_SECOND  # frames that are computed together: more need more memory
CONTEXT = 7 * FRAMES_PER_SECOND  # frames on either side that a frame depends on
LEVEL_SPECTRA = 41  # spectra over which loudness is averaged
NEIGHBOURHOOD = 73  # bins (two octaves) over which the timbre is averaged
_MARGIN = TRANSFORMS[0][0] // 2  # samples around the centre of a spectrum
_FIRST_SAMPLES = _MARGIN + HOP_SAMPLES // 2 + _MARGIN  # with the margin before them, complete the first spectrum
_BATCH = 600  # spectra of a recording that are computed together, at least
_AT_ONCE = 16  # spectra whose transforms fit the second-level cache


Network = Callable[[np.ndarray], np.ndarray]  # planes (1, 2, 246, spectra) -> activations (1, frames, 48)


def frames(blocks: Iterable[np.ndarray], network: Network) -> tuple[np.ndarray, float]:
    """Blocks of float32 samples at 8 kHz -> (n, 48) uint8, five frames per second, and the duration in seconds.

    Columns are the pitch classes from C to B of harmony, bass, melody and all notes. Values are multiples of 17; 255 is
    certain. Silence is a row of zeros. Memory grows only with the frames.
    """
    spectra, found = _Spectra(), [np.zeros((0, COLUMNS), np.uint8)]
    waiting = np.zeros((0, BINS), np.float32)
    before = 0  # frames of context in front of the waiting spectra
    needed = PORTION + CONTEXT
    for block in blocks:
        waiting = np.concatenate([waiting, spectra.feed(block)])
        while len(waiting) >= (before + needed) * SPECTRA_A_FRAME:
            part = waiting[: (before + needed) * SPECTRA_A_FRAME]
            found.append(read(part, network)[before : before + PORTION])
            waiting = waiting[(before + PORTION - CONTEXT) * SPECTRA_A_FRAME :]
            before = CONTEXT
    waiting = np.concatenate([waiting, spectra.finish()])
    if len(waiting) >= (before + 1) * SPECTRA_A_FRAME:
        found.append(read(waiting, network)[before:])
    return np.concatenate(found), spectra.received / SAMPLE_RATE


class _Spectra:
    """The spectrogram of consecutive blocks of samples. Each spectrum is computed once."""

    def __init__(self) -> None:
        self.received = 0  # samples
        self._waiting = [np.zeros(_MARGIN, np.float32)]

    def feed(self, block: np.ndarray) -> np.ndarray:
        """(n,) float32 samples -> (m, 246) the spectra that are complete; they are computed in batches."""
        self.received += len(block)
        self._waiting.append(block)
        count = (sum(map(len, self._waiting)) - _FIRST_SAMPLES) // HOP_SAMPLES + 1
        return self._computed(count) if count >= _BATCH else self._computed(0)

    def finish(self) -> np.ndarray:
        """(m, 246) the remaining spectra, up to the last whole frame."""
        samples = np.concatenate(self._waiting)
        rest = self.received % FRAME_SAMPLES
        self._waiting = [samples[: len(samples) - rest], np.zeros(_MARGIN, np.float32)]
        return self._computed((len(samples) - rest - _MARGIN) // HOP_SAMPLES)

    def _computed(self, count: int) -> np.ndarray:
        """Compute the next spectra."""
        if count <= 0:
            return np.zeros((0, BINS), np.float32)
        samples = np.concatenate(self._waiting)
        self._waiting = [samples[count * HOP_SAMPLES :]]
        return _spectra(samples, count)


def read(decibels: np.ndarray, network: Network) -> np.ndarray:
    """Run the network on a spectrogram (2 n, 246) in one piece -> tonal frames (n, 48) uint8."""
    count = len(decibels) // SPECTRA_A_FRAME
    sounding = decibels.max(axis=1).reshape(count, SPECTRA_A_FRAME).max(axis=1) > QUIET
    if not sounding.any():  # hours of silence fit into small files and should cost little
        return np.zeros((count, COLUMNS), np.uint8)
    activations = network(normalise(decibels)[None])[0]
    steps = np.rint(activations * STEPS) * sounding[:, None]
    scaled: np.ndarray = steps * (255 // STEPS)
    return scaled.astype(np.uint8)


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """Samples (n,) at 8 kHz -> (n // 800, 246) float32 dB; a full-scale sine is near 0, silence is -90.

    Spectrum i is centred on the i-th tenth of a second.
    """
    padded = np.pad(np.asarray(samples, np.float32), (_MARGIN, _MARGIN))
    return _spectra(padded, len(samples) // HOP_SAMPLES)


def _spectra(padded: np.ndarray, count: int) -> np.ndarray:
    """The first `count` spectra of samples that _MARGIN other samples precede and follow."""
    from scipy.fft import rfft

    decibels = np.empty((count, BINS), np.float32)
    for size, bins, window, filters in _transforms():
        start = _MARGIN + HOP_SAMPLES // 2 - size // 2
        pieces = np.lib.stride_tricks.sliding_window_view(padded[start:], size)[: count * HOP_SAMPLES : HOP_SAMPLES]
        power = np.empty((count, len(filters)), np.float32)
        for first in range(0, count, _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            spectrum = rfft(pieces[some] * window, axis=1, overwrite_x=True)[:, : len(filters)]
            np.square(spectrum.real, out=power[some])
            power[some] += np.square(spectrum.imag)
        decibels[:, bins] = power @ filters
    np.maximum(decibels, FLOOR, out=decibels)
    np.log10(decibels, out=decibels)
    decibels *= 10
    return decibels


@cache
def _transforms() -> list[tuple[int, slice, np.ndarray, np.ndarray]]:
    """For each transform its size, its bins, its window, and its filters (fft bins, bins)."""
    centres = 440 * 2 ** ((LOWEST - 69 + (np.arange(BINS) - 1) / BINS_A_SEMITONE) / 12)  # Hz
    parts, first = [], 0
    for size, highest in TRANSFORMS:
        last = int(np.searchsorted(centres, highest))
        window = np.hanning(size + 1)[:-1].astype(np.float32)
        window *= 2 / window.sum()
        frequencies = np.arange(size // 2 + 1) * SAMPLE_RATE / size
        wanted = centres[first:last]
        # Half a bin on either side, but never narrower than the resolution of the transform.
        width = np.maximum(wanted * (2 ** (1 / 36) - 1), 0.75 * SAMPLE_RATE / size)
        filters = np.exp(-0.5 * ((frequencies[:, None] - wanted) / (0.6 * width)) ** 2)
        keep = int(np.searchsorted(frequencies, wanted[-1] + 4 * width[-1])) + 1
        filters = filters[:keep] / np.maximum(filters.max(axis=0), 1e-6)
        parts.append((size, slice(first, last), window, filters.astype(np.float32)))
        first = last
    return parts


def normalise(decibels: np.ndarray) -> np.ndarray:
    """(spectra, 246) dB -> (2, 246, spectra) float32: relative to the local loudness, and to the local timbre."""
    level = smoothed(decibels.mean(axis=1), LEVEL_SPECTRA, axis=0)
    colour = smoothed(decibels, NEIGHBOURHOOD, axis=1)
    planes = np.stack([decibels - level[:, None], decibels - colour])
    scaled: np.ndarray = (planes / 20).clip(-2, 4).transpose(0, 2, 1)
    return scaled.astype(np.float32)


def smoothed(values: np.ndarray, width: int, axis: int) -> np.ndarray:
    """Moving average over `width` neighbours; fewer at the ends."""
    sums = np.cumsum(values, axis=axis, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(np.take(sums, [0], axis)), sums], axis)
    count = values.shape[axis]
    first = np.maximum(np.arange(count) - width // 2, 0)
    last = np.minimum(np.arange(count) + width // 2 + 1, count)
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    means: np.ndarray = (np.take(sums, last, axis) - np.take(sums, first, axis)) / (last - first).reshape(shape)
    return means.astype(np.float32)
