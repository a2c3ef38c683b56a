"""Samples -> log-mel windows: the front end of the fingerprint encoder, in training and in the product.

Audio at 8 kHz becomes a power spectrogram (Hann window, 1024 samples, hop 250), then 128 mel bands from 160 to
4,000 Hz, then decibels relative to the loudest point of each window, cut at -80 dB and scaled to [-1, 1].
With a hop of 250 samples (not the usual 256), every multiple of 1/32 s lies on the frame grid, so that a long
recording is analysed once, however its windows overlap.

The band limits follow Chang et al., "Neural Audio Fingerprint" (ICASSP 2021), and Araz et al. (ISMIR 2025). All
constants here define what the network reads: vectors are incompatible when one of them changes.
"""

from __future__ import annotations

from functools import cache

import numpy as np

SAMPLE_RATE = 8000
FRAME_SAMPLES = 1024
FRAME_HOP_SAMPLES = 250
FRAMES_PER_SECOND = SAMPLE_RATE // FRAME_HOP_SAMPLES  # 32
WINDOW_FRAMES = 32
WINDOW_SAMPLES = (WINDOW_FRAMES - 1) * FRAME_HOP_SAMPLES + FRAME_SAMPLES  # 8774: 1.1 s
BANDS = 128
LOWEST, HIGHEST = 160.0, 4000.0  # Hz; phones and small loudspeakers reproduce nothing below 160 Hz
FLOOR = 80.0  # dB below the loudest point of a window; quieter points are cut
QUIET = -75.0  # dBFS; a window whose loudest band is below this is silence
STEADY = 1.2  # dB; a window whose timbre changes by less is a steady tone (music changes by 2.4 and more)
ACTIVE = 40.0  # dB below the loudest point; bands above this level count as sounding
FRAMES_AT_ONCE = 32  # their spectra fit the second-level cache
BANDS_AT_ONCE = 32  # bands that are summed together: each group needs only some of the bins


@cache
def mel_matrix() -> np.ndarray:
    """(513, 128) float32: triangular mel filters (HTK scale), peak 1."""

    def to_mel(hertz: float) -> float:
        return 2595 * float(np.log10(1 + hertz / 700))

    points = 700 * (10 ** (np.linspace(to_mel(LOWEST), to_mel(HIGHEST), BANDS + 2) / 2595) - 1)
    frequencies = np.arange(FRAME_SAMPLES // 2 + 1)[:, None] * SAMPLE_RATE / FRAME_SAMPLES
    lower, centre, upper = points[:-2], points[1:-1], points[2:]
    rising = (frequencies - lower) / (centre - lower)
    falling = (upper - frequencies) / (upper - centre)
    filters: np.ndarray = np.clip(np.minimum(rising, falling), 0, None)
    return filters.astype(np.float32)


@cache
def _hann() -> np.ndarray:
    """(1024,) the window, scaled so that a full-scale sine has a peak power of 1 (0 dBFS)."""
    window: np.ndarray = np.hanning(FRAME_SAMPLES + 1)[:-1]
    scaled: np.ndarray = window * 2 / window.sum()
    return scaled.astype(np.float32)


@cache
def _band_groups() -> list[tuple[slice, slice, np.ndarray]]:
    """The mel matrix without most of its zeros: groups of bands, their bins, and the filters (bins, bands) of each."""
    groups = []
    for first in range(0, BANDS, BANDS_AT_ONCE):
        bands = slice(first, first + BANDS_AT_ONCE)
        used_bins = np.flatnonzero(mel_matrix()[:, bands].any(axis=1))
        bins = slice(used_bins[0], used_bins[-1] + 1)
        groups.append((bands, bins, np.ascontiguousarray(mel_matrix()[bins, bands])))
    return groups


def power(samples: np.ndarray, hop_samples: int = FRAME_HOP_SAMPLES) -> np.ndarray:
    """(..., n) float32 samples at 8 kHz -> (..., frames, 513) float32 power; a full-scale sine has a peak of 1.

    Frame j covers the samples [250 j, 250 j + 1024). Fewer than 1024 samples give no frame.
    """
    from scipy.fft import rfft

    bins = FRAME_SAMPLES // 2 + 1
    if samples.shape[-1] < FRAME_SAMPLES:
        return np.zeros((*samples.shape[:-1], 0, bins), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME_SAMPLES, axis=-1)[..., ::hop_samples, :]
    powers = np.empty((*frames.shape[:-1], bins), np.float32)
    for start in range(0, frames.shape[-2], FRAMES_AT_ONCE):
        some = slice(start, start + FRAMES_AT_ONCE)
        spectrum = rfft(frames[..., some, :] * _hann(), overwrite_x=True)
        np.square(spectrum.real, out=powers[..., some, :])
        powers[..., some, :] += spectrum.imag**2
    return powers


def mel(power: np.ndarray) -> np.ndarray:
    """(..., frames, 513) power -> (..., frames, 128) float32, in dBFS."""
    bands_of = np.empty((*power.shape[:-1], BANDS), np.float32)
    for bands, bins, filters in _band_groups():
        bands_of[..., bands] = power[..., bins] @ filters
    bands_of += np.float32(1e-12)
    np.log10(bands_of, out=bands_of)
    bands_of *= 10
    return bands_of


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """(..., n) float32 samples at 8 kHz -> (..., frames, 128) float32 mel power in dBFS."""
    return mel(power(samples))


def windows(decibels: np.ndarray, hop_frames: int) -> np.ndarray:
    """(frames, 128) dBFS -> (n, 128, 32) a view, band by time; fewer than 32 frames give no window."""
    if len(decibels) < WINDOW_FRAMES:
        return np.zeros((0, BANDS, WINDOW_FRAMES), np.float32)
    view: np.ndarray = np.lib.stride_tricks.sliding_window_view(decibels, WINDOW_FRAMES, axis=0)
    return view[::hop_frames]


def normalise(decibels: np.ndarray) -> np.ndarray:
    """(n, 128, 32) dBFS -> (n, 128, 32) in [-1, 1], relative to the loudest point of each window."""
    loudest = decibels.max(axis=(1, 2), keepdims=True)
    scaled: np.ndarray = np.maximum(decibels - loudest, -FLOOR) / (FLOOR / 2) + 1
    return scaled


def has_content(decibels: np.ndarray) -> np.ndarray:
    """(n, 128, 32) dBFS -> (n,) bool: whether a window contains anything that can be recognised.

    Silence and held tones are alike in every recording. Their embeddings would match anything, and caused the worst
    false matches in tests. They are detected by their level and by how little the timbre changes over the window,
    independent of loudness: a tone that fades in is still a tone. Measured: held and fading tones, hum and clicks
    change by 0 to 0.8 dB, noise by 2.5 dB, music by at least 2.4 dB (0.1% quantile).
    """
    loudest = decibels.max(axis=(1, 2))  # (n,)
    levels = np.maximum(decibels, (loudest - FLOOR)[:, None, None])
    sounding = levels.max(axis=2) > (loudest - ACTIVE)[:, None]  # (n, 128)
    count = np.maximum(sounding.sum(axis=1), 1)
    loudness = (levels * sounding[:, :, None]).sum(axis=1) / count[:, None]  # (n, 32)
    change = ((levels - loudness[:, None, :]).std(axis=2) * sounding).sum(axis=1) / count
    audible: np.ndarray = (loudest > QUIET) & (change > STEADY)
    return audible
