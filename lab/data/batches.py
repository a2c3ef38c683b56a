"""Training pairs for the fingerprint: one second of music, clean and damaged, in whole batches.

The damage grows with `difficulty` from 0 to 1: with full damage from the start, the loss stays at chance. Random
choices are made for each pair, and the pairs of a batch come from different tracks, because loops and refrains would
be false negatives (Araz et al., ISMIR 2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.fft import irfft, rfft

from lab.data import copies, corpus, degrade
from songprint.audio import files
from songprint.fingerprint import logmel

RATE = logmel.SAMPLE_RATE
WINDOW = logmel.WINDOW_SAMPLES
CONTEXT = 7600  # samples before the window, so that reverberation is in a steady state
FFT_SIZE = 16384  # >= CONTEXT + WINDOW
SHIFT = 0.25  # seconds; largest offset within a pair: half the reference hop


@dataclass(frozen=True)
class Material:
    """The audio from which pairs are made."""

    music: list[np.ndarray]  # int16, one per track
    stretched: list[np.ndarray]  # the stretched copies of `lab.data.copies`
    coded: list[np.ndarray]
    track_ids: list[int]
    noise: np.ndarray  # float32, unit level
    speech: np.ndarray
    responses: np.ndarray  # (rooms, FFT_SIZE // 2 + 1) complex64


def load_material(out: Path, noise: Path) -> Material:
    """Load what training may use, which excludes the noise of the acceptance set."""
    tracks = corpus.load_tracks(out, "train")
    tracks = [track for track in tracks if (out / "pcm" / f"{track.id:05d}.coded.npy").exists()]
    responses = np.zeros((400, CONTEXT), np.float32)
    for row, response in zip(responses, degrade.simulate_rooms(len(responses), RATE, seed=1), strict=True):
        row[: len(response)] = response[:CONTEXT]
    return Material(
        music=[corpus.load_pcm(out, track) for track in tracks],
        stretched=[corpus.load_pcm(out, track, ".stretched") for track in tracks],
        coded=[corpus.load_pcm(out, track, ".coded") for track in tracks],
        track_ids=[track.id for track in tracks],
        noise=np.concatenate([unit_level(files.load(path, RATE)) for path in corpus.ambience(noise)]),
        speech=np.concatenate([unit_level(files.load(path, RATE)) for path in corpus.spoken_lines(out)]),
        responses=rfft(responses, FFT_SIZE).astype(np.complex64),
    )


def unit_level(samples: np.ndarray) -> np.ndarray:
    """Scale (..., n) to a root mean square of 1."""
    return np.asarray(samples) / (np.sqrt(np.mean(samples**2, axis=-1, keepdims=True)) + 1e-4)


def pairs(
    material: Material, count: int, difficulty: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return clean and damaged log-mel windows, (count, 128, 32) float32 in [-1, 1], and track numbers (count,)."""
    tracks = rng.choice(len(material.music), count, replace=count > len(material.music))
    clean = np.empty((count, WINDOW), np.float32)
    damaged = np.empty((count, CONTEXT + WINDOW), np.float32)
    for row, track in enumerate(tracks):
        clean[row], damaged[row] = cut_pair(material, track, difficulty, rng)
    damaged = damage(material, damaged, difficulty, rng)
    damaged_windows = logmel.normalise(logmel.spectrogram(damaged).transpose(0, 2, 1))
    hide_band(damaged_windows, 0.4 * difficulty, rng)
    return logmel.normalise(logmel.spectrogram(clean).transpose(0, 2, 1)), damaged_windows, tracks


def cut_pair(
    material: Material, track: int, difficulty: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a window of the track, and the same place with its context at another speed, pitch or tempo."""
    music = material.music[track]
    for _ in range(4):  # avoid silence
        start = int(rng.integers(2 * CONTEXT, len(music) - 2 * WINDOW - CONTEXT))
        if np.abs(music[start : start + WINDOW]).max() > 800:
            break
    clean = music[start : start + WINDOW].astype(np.float32) / 32768
    centre = start + WINDOW / 2 + rng.uniform(-SHIFT, SHIFT) * RATE
    speed = rng.uniform(0.93, 1.08) if rng.random() < 0.5 else 1.0
    copy = rng.random()
    if copy < 0.35 * difficulty:
        block = _block_around(centre, copies.blocks(material.track_ids[track], len(music)))
        if block:
            source, copy, length, tempo = block
            music = material.stretched[track][copy : copy + length]
            centre = (centre - source) / tempo
            if rng.random() < 0.6:  # undo the change of tempo, which leaves (nearly) a change of pitch
                speed = rng.uniform(0.99, 1.01) / tempo
            elif rng.random() < 0.7:
                speed = 1.0
    elif copy < 0.65 * difficulty:  # half of the blocks are coded
        block = _block_around(centre, copies.coded_blocks(material.track_ids[track], len(music)))
        if block:
            music, centre = material.coded[track][block[1] : block[1] + block[2]], centre - block[0]
    return clean, read(music, centre - speed * (WINDOW / 2 + CONTEXT), CONTEXT + WINDOW, speed)


def _block_around(centre: float, blocks: Sequence[tuple[Any, ...]]) -> tuple[Any, ...] | None:
    """Return the block that contains the window and its context, if any."""
    return next(
        (block for block in blocks if block[0] + 2.5 * RATE < centre < block[0] + copies.BLOCK_SAMPLES - 2 * RATE), None
    )


def read(music: np.ndarray, start: float, count: int, speed: float) -> np.ndarray:
    """Return (count,) samples from a fractional start at `speed`, by linear interpolation."""
    start = min(max(start, 0.0), len(music) - count * speed - 2)
    if start < 0:
        music, start = np.pad(music, (0, int(count * speed) + 3 - len(music))), 0.0
    first = int(start)
    part = music[first : first + int(count * speed) + 3].astype(np.float32) / 32768
    times = np.arange(count, dtype=np.float64) * speed + (start - first)
    index = times.astype(np.int64)
    fraction = (times - index).astype(np.float32)
    return part[index] * (1 - fraction) + part[index + 1] * fraction


def damage(material: Material, damaged: np.ndarray, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Damage windows: (n, CONTEXT + WINDOW) -> (n, WINDOW). Room, equaliser, noise, speech, gain, clipping."""
    count = len(damaged)

    def some(probability: float) -> np.ndarray:
        return rng.random((count, 1)) < probability

    def between(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (count, 1)).astype(np.float32)

    spectrum = rfft(damaged, FFT_SIZE) * equaliser(count, difficulty, rng)
    responses = material.responses[rng.integers(len(material.responses), size=count)]
    spectrum = np.where(some(0.6 * difficulty), spectrum * responses, spectrum)
    music = unit_level(irfft(spectrum, FFT_SIZE)[:, CONTEXT : CONTEXT + WINDOW])

    # noise (ambience, hiss or other music) and, independently, speech
    kind = rng.random((count, 1))
    ambience = unit_level(cuts(material.noise, count, rng))
    hiss = unit_level(
        np.cumsum(rng.standard_normal((count, WINDOW), np.float32), axis=1) * between(0, 0.02)
        + rng.standard_normal((count, WINDOW), np.float32)
    )
    noise = np.where(kind < 0.7, ambience, np.where(kind < 0.85, hiss, np.roll(music, 1, axis=0)))
    snr = between(-6, 14) * difficulty + 25 * (1 - difficulty)
    snr = np.where(kind >= 0.85, np.maximum(snr, 2.0 * difficulty), snr)  # other music must not dominate
    music = music + noise * np.where(some(0.8), 10 ** (-snr / 20), 0)
    speech = unit_level(cuts(material.speech, count, rng))
    speech_snr = between(-3, 10) * difficulty + 25 * (1 - difficulty)
    music = music + speech * np.where(some(0.3), 10 ** (-speech_snr / 20), 0)

    music = unit_level(music)
    music = level_control(music, np.where(some(0.25 * difficulty), between(0.3, 1.0), 0), between(200, 4000))
    soft = np.where(some(0.25 * difficulty), between(0.6, 2.5), 1e4)
    music = np.tanh(music / soft) * soft
    hard = np.where(some(0.15 * difficulty), between(0.5, 2.0), 1e4)
    music = np.clip(music, -hard, hard)
    gap_start, gap = between(-800, WINDOW), between(160, 1200)  # drop-outs of 20 to 150 ms
    times = np.arange(WINDOW)
    lost = some(0.1 * difficulty) & (times > gap_start) & (times < gap_start + gap)
    return np.where(lost, 0, music).astype(np.float32) * 0.1


def equaliser(count: int, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Return (count, FFT_SIZE // 2 + 1) gains: a smooth random curve, often with a high-pass or low-pass filter."""
    frequencies = np.linspace(0, RATE / 2, FFT_SIZE // 2 + 1, dtype=np.float32)
    knots = np.linspace(0, RATE / 2, 9)
    curve = np.stack([np.interp(frequencies, knots, row) for row in rng.normal(0, 5 * difficulty, (count, 9))])
    high_pass = np.where(rng.random((count, 1)) < 0.5 * difficulty, rng.uniform(60, 600, (count, 1)), 1.0)
    low_pass = np.where(rng.random((count, 1)) < 0.5 * difficulty, rng.uniform(2000, 3800, (count, 1)), 1e5)
    gain = 10 ** (curve / 20) / (1 + (high_pass / (frequencies + 1)) ** 6) / (1 + (frequencies / low_pass) ** 6)
    return gain.astype(np.float32)


def level_control(music: np.ndarray, strength: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Apply automatic gain: divide (n, samples) by the level over `width` (n, 1) samples to the power `strength`."""
    power = np.cumsum(np.pad(music.astype(np.float64) ** 2, ((0, 0), (1, 0))), axis=1)
    ends = np.arange(1, music.shape[1] + 1)
    starts = np.maximum(ends - width.astype(np.int64), 0)
    loudness = np.sqrt((power[:, 1:] - np.take_along_axis(power, starts, axis=1)) / (ends - starts)) + 0.05
    return unit_level(music / loudness**strength).astype(np.float32)


def cuts(source: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return (count, WINDOW) random excerpts of one long signal."""
    starts = rng.integers(len(source) - WINDOW, size=count)
    return np.stack([source[start : start + WINDOW] for start in starts])


def hide_band(windows: np.ndarray, probability: float, rng: np.random.Generator) -> None:
    """Mask a random band of up to 24 mel bins in some windows (SpecAugment), in place."""
    for row in np.flatnonzero(rng.random(len(windows)) < probability):
        low = rng.integers(logmel.BANDS - 24)
        windows[row, low : low + rng.integers(1, 24)] = -1
