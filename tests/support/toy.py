"""Toy encoders and toy songs: excerpts are identified without any neural network.

Child processes import this module for each encoder they unpickle, so it imports the search for covers only when needed.
"""

from __future__ import annotations

import os
import signal
import time
import wave
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from songprint.encoders.contract import EncoderSpec
from songprint.fingerprint import evidence
from songprint.types import Embeddings, Kind

if TYPE_CHECKING:
    from songprint.covers.cohort import Cohort
    from songprint.covers.search import Networks

SAMPLE_RATE = 8000
HOP = 0.5
DIM = 128
PITCH_CLASSES, COLUMNS = 12, 48  # as in songprint.covers.tonal
POISON = 0.625  # amplitude at which the toy encoder crashes with `crashes`


@dataclass(frozen=True)
class ToyEncoder:
    """A fixed projection of each second's spectrum to unit vectors; digital silence gives zeros.

    Workers can unpickle it. Encoding a file takes `seconds`; with `crashes`, a file made by `write_poison` kills
    the process.
    """

    id: str = "toy-1"
    seconds: float = 0.0
    crashes: bool = False

    @property
    def spec(self) -> EncoderSpec:
        return EncoderSpec(
            name="toy",
            id=self.id,
            kind=Kind.RECORDING,
            sample_rate=SAMPLE_RATE,
            window=1.0,
            hop=HOP,
            query_hop=HOP / 2,
            dim=DIM,
        )

    def encode(self, samples: np.ndarray, hop: float | None = None) -> Embeddings:
        return self.encode_stream([samples], hop)[0]

    def encode_stream(self, blocks: Iterable[np.ndarray], hop: float | None = None) -> tuple[Embeddings, float]:
        hop = hop or HOP
        samples = np.concatenate([np.zeros(0, np.float32), *blocks])
        time.sleep(self.seconds)
        if self.crashes and len(samples) and abs(samples.max() - POISON) < 0.01:
            os.kill(os.getpid(), signal.SIGSEGV)
        starts = range(0, len(samples) - SAMPLE_RATE + 1, round(hop * SAMPLE_RATE))
        windows = (
            np.stack([samples[start : start + SAMPLE_RATE] for start in starts])
            if starts
            else np.zeros((0, SAMPLE_RATE), np.float32)
        )
        return Embeddings(_project(windows), hop, self.id), len(samples) / SAMPLE_RATE


class CalibratedToyEncoder(ToyEncoder):
    """The toy encoder with a calibration: alignments with a mean cosine above 0.87 are matches."""

    @property
    def spec(self) -> EncoderSpec:
        weights = [40.0 if feature == "score" else 0.0 for feature in evidence.FEATURES]
        calibration = {
            "features": list(evidence.FEATURES),
            "weights": weights,
            "bias": -40 * 0.87,
            "thresholds": {"0.01": 50.0},
        }
        return replace(super().spec, calibration=calibration)


class DecisiveToyEncoder(CalibratedToyEncoder):
    """With a calibration three times as steep: a single window is enough for a high confidence."""

    @property
    def spec(self) -> EncoderSpec:
        spec = super().spec
        calibration = dict(spec.calibration)
        calibration["weights"] = [3 * weight for weight in calibration["weights"]]
        calibration["bias"] *= 3
        return replace(spec, calibration=calibration)


@dataclass(frozen=True)
class ToyCoverEncoder:
    """Pitch classes, and vectors of 20 s that are invariant to the key.

    `tune` synthesises songs for it, and covers of them.
    """

    id: str = "toy-cover-1"

    @property
    def spec(self) -> EncoderSpec:
        return EncoderSpec(
            name="toy-cover",
            id=self.id,
            kind=Kind.COVER,
            sample_rate=SAMPLE_RATE,
            window=20.0,
            hop=5.0,
            query_hop=5.0,
            dim=256,
        )

    @property
    def cohort(self) -> Cohort:
        from songprint.covers.cohort import Cohort

        return Cohort.none()

    @property
    def networks(self) -> Networks:
        from songprint.covers.search import NONE

        return NONE

    def encode_stream(self, blocks: Iterable[np.ndarray]) -> tuple[Embeddings, float]:
        samples = np.concatenate([np.zeros(0, np.float32), *blocks])
        frames = _pitch_classes(samples)
        return Embeddings(self.embed(frames), 5.0, self.id, frames), len(samples) / SAMPLE_RATE

    def frames(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        return self.encode_stream(blocks)[0].evidence

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Tonal frames (n, 48) -> (m, 256)."""
        last = max(0, len(frames) - 100)
        starts = [min(start, last) for start in range(0, last + 25, 25)] if len(frames) else []
        vectors = np.zeros((len(starts), 256), np.float32)
        projection = np.random.default_rng(11).normal(size=(12 * 24, 256))
        for row, start in enumerate(starts):
            window = np.zeros((100, 12))
            window[: len(frames[start : start + 100])] = frames[start : start + 100, :12] / 255
            # counts of note pairs by interval and distance in time, which do not depend on the key
            pairs = np.stack([window[: 100 - lag].T @ window[lag:] for lag in range(24)])  # (24, 12, 12)
            apart = np.arange(12)[:, None] + np.arange(12)
            pattern = pairs[:, np.arange(12)[:, None], apart % 12].sum(axis=1)
            vectors[row] = (pattern - pattern.mean()).ravel() @ projection
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0).astype(np.float32)


class CalibratedToyCoverEncoder(ToyCoverEncoder):
    """The toy cover encoder with a calibration: only the alignment of the tonal frames counts."""

    @property
    def spec(self) -> EncoderSpec:
        calibration = {
            "features": ["alignment"],
            "weights": [2.0],
            "bias": -9.0,
            "thresholds": {"0.01": 55.0},
            "own_tempo": {"thresholds": {"0.01": 50.0}},
        }
        return replace(super().spec, calibration=calibration)


def _pitch_classes(samples: np.ndarray) -> np.ndarray:
    """(n,) -> tonal frames (m, 48), five a second, the same in all channels; silence gives zeros."""
    size = SAMPLE_RATE // 5
    windows = samples[: len(samples) // size * size].reshape(-1, size) * np.hanning(size)
    spectrum = np.abs(np.fft.rfft(windows, axis=1))
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    kept = (hertz > 60) & (hertz < 3500)
    classes = np.round(69 + 12 * np.log2(hertz[kept] / 440)).astype(int) % 12
    chroma = np.stack([spectrum[:, kept][:, classes == each].sum(axis=1) for each in range(12)], axis=1)
    loudest = chroma.max(axis=1, keepdims=True) if len(chroma) else np.ones((0, 1))
    levels = np.where(loudest > 1, 15 * chroma / np.maximum(loudest, 1e-9), 0).round()
    return np.tile((17 * levels).astype(np.uint8), (1, COLUMNS // PITCH_CLASSES))


def _project(windows: np.ndarray) -> np.ndarray:
    """(n, samples) -> (n, DIM) unit vectors, zeros for silence."""
    spectrum = np.abs(np.fft.rfft(windows, axis=1))[:, :4000].reshape(len(windows), 400, 10).mean(axis=2)
    vectors = np.sqrt(spectrum) @ np.random.default_rng(7).normal(size=(400, DIM))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0).astype(np.float32)


def song(seed: int, duration: float = 5.0) -> np.ndarray:
    """(n,) float32: a melody of short notes, different for every seed."""
    random = np.random.default_rng(seed)
    seconds = np.arange(round(duration * SAMPLE_RATE)) / SAMPLE_RATE
    notes = random.uniform(100, 3500, size=int(duration / 0.25) + 1)
    phase = 2 * np.pi * np.cumsum(notes[(seconds / 0.25).astype(int)]) / SAMPLE_RATE
    return (0.5 * np.sin(phase)).astype(np.float32)


def tune(seed: int, duration: float = 40.0, *, key: int = 0, tempo: float = 1.0, sound: int = 1) -> np.ndarray:
    """(n,) float32: a melody of half-second notes, different for every seed, transposed and at another tempo.

    Another `sound` is another rendition of the same song.
    """
    notes = 48 + np.random.default_rng(seed).integers(0, 24, size=int(4 * duration) + 1) + key
    seconds = np.arange(round(duration * SAMPLE_RATE)) / SAMPLE_RATE
    hertz = 440 * 2 ** ((notes[(seconds * tempo / 0.5).astype(int)] - 69) / 12)
    phase = 2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE
    overtone = np.sin(2**sound * phase)
    return (0.3 * np.sin(phase) + 0.2 * overtone).astype(np.float32)


def cut(seed: int, start: float, end: float) -> np.ndarray:
    """The part of a song of half a minute between two times in seconds."""
    return song(seed, 30.0)[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def write(path: Path, samples: np.ndarray) -> Path:
    """Write samples (n,) as a 16-bit WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def write_song(path: Path, seed: int, duration: float = 5.0) -> Path:
    return write(path, song(seed, duration))


def write_poison(path: Path) -> Path:
    """Write a file that kills a `ToyEncoder(crashes=True)`."""
    samples = song(999)
    samples[100] = POISON
    return write(path, samples)


def write_songs(folder: Path, count: int, duration: float = 5.0) -> list[Path]:
    """Write `Band 00 - Song 00.wav` and so on."""
    return [write_song(folder / f"Band {seed:02} - Song {seed:02}.wav", seed, duration) for seed in range(count)]
