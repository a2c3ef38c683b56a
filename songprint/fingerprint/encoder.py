"""Samples -> one unit vector per second of audio, robust against noise, reverberation and codecs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

from songprint.encoders.runtime import open_network
from songprint.fingerprint import landmarks, logmel
from songprint.types import Embeddings

if TYPE_CHECKING:
    from songprint.encoders.contract import EncoderSpec
    from songprint.store.level import Level

BATCH = 32  # windows per run of the network; their activations fit the second-level cache
MIN_SAMPLES = logmel.WINDOW_SAMPLES // 2  # queries shorter than half a window get no vector
STREAM_BATCH = 4  # vectors of a stream that are computed together
CHUNK_SAMPLES = 30 * logmel.SAMPLE_RATE  # samples of a recording that are analysed together


class Encoder:
    """An ONNX network with its front end. Holds an ONNX Runtime session. Thread-safe."""

    def __init__(self, spec: EncoderSpec, network: bytes, threads: int = 1):
        self.spec = spec
        self.session = open_network(network, threads)

    def encode(self, samples: np.ndarray, hop: float | None = None) -> Embeddings:
        """(n,) float32 mono samples at `spec.sample_rate` -> one vector per window, every `hop` seconds.

        `hop` is a multiple of 1/32 s; the default is `spec.hop`. Only whole windows are encoded, except that audio
        shorter than one window is padded with silence if it has at least half its length.
        """
        return self.encode_stream([samples], hop)[0]

    def encode_stream(self, blocks: Iterable[np.ndarray], hop: float | None = None) -> tuple[Embeddings, float]:
        """Consecutive blocks of samples -> the embeddings of the whole, and its duration in seconds.

        Without `hop`, the result is what the library stores: vectors every `spec.hop` seconds, and landmarks.
        Memory grows only with the vectors, 1 kB per second of audio.
        """
        wants_landmarks = hop is None
        hop = self.spec.hop if hop is None else hop
        hop_frames = round(hop * logmel.FRAMES_PER_SECOND)
        if hop_frames < 1 or abs(hop_frames / logmel.FRAMES_PER_SECOND - hop) > 1e-9:
            raise ValueError(f"hop={hop} must be a positive multiple of 1/{logmel.FRAMES_PER_SECOND} s")
        counter = _Counter(blocks)
        vectors, peaks, tail = [np.zeros((0, self.spec.dim), np.float32)], landmarks.Collector(), None
        for chunk in _chunks(counter, hop_frames * logmel.FRAME_HOP_SAMPLES):
            power = logmel.power(chunk)
            vectors.append(self._vectors(logmel.mel(power), hop_frames))
            if wants_landmarks:
                own = hop_frames * len(vectors[-1])
                peaks.add(power[:own])
                tail = power[own:]  # the next chunk, if there is one, begins with it
        if tail is not None:
            peaks.add(tail)
        return (
            Embeddings(np.concatenate(vectors), hop, self.spec.id, peaks.landmarks()),
            counter.samples / self.spec.sample_rate,
        )

    def _vectors(self, decibels: np.ndarray, hop_frames: int) -> np.ndarray:
        """(frames, 128) dBFS -> (windows, dim) float32 unit vectors; zeros for windows without content."""
        windows = logmel.windows(decibels, hop_frames)  # (n, 128, 32)
        vectors = np.zeros((len(windows), self.spec.dim), np.float32)
        audible = np.flatnonzero(logmel.has_content(windows))
        for start in range(0, len(audible), BATCH):
            rows = audible[start : start + BATCH]
            vectors[rows] = self.session.run(None, {"logmel": logmel.normalise(windows[rows])})[0]
        return vectors


class _Counter:
    """Passes blocks on as float32 and counts their samples."""

    def __init__(self, blocks: Iterable[np.ndarray]):
        self.blocks, self.samples = blocks, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self.blocks:
            self.samples += len(block)
            yield np.asarray(block, dtype=np.float32)


def _chunks(blocks: Iterable[np.ndarray], hop_samples: int, length: int = CHUNK_SAMPLES) -> Iterator[np.ndarray]:
    """Blocks of any length -> chunks whose windows, one chunk after the other, are the windows of the whole.

    Neighbouring chunks overlap by a window less its hop.
    """
    waiting: list[np.ndarray] = []
    count, first = 0, True
    for block in blocks:
        waiting.append(block)
        count += len(block)
        if count >= length + logmel.WINDOW_SAMPLES:
            samples = np.concatenate(waiting)
            windows = (len(samples) - logmel.WINDOW_SAMPLES) // hop_samples + 1
            yield samples[: (windows - 1) * hop_samples + logmel.WINDOW_SAMPLES]
            waiting, first = [samples[windows * hop_samples :]], False
            count = len(waiting[0])
    samples = np.concatenate(waiting) if waiting else np.zeros(0, np.float32)
    if first and MIN_SAMPLES <= len(samples) < logmel.WINDOW_SAMPLES:
        samples = np.pad(samples, (0, logmel.WINDOW_SAMPLES - len(samples)))
    if len(samples) >= logmel.WINDOW_SAMPLES:
        yield samples


class VectorStream:
    """Blocks of samples -> vectors of kind "recording", every `hop` seconds."""

    def __init__(self, encoder: Encoder, hop: float):
        self._encoder, self._hop = encoder, hop
        self._hop_samples = round(hop * encoder.spec.sample_rate)
        self._window_samples = round(encoder.spec.window * encoder.spec.sample_rate)
        self._waiting = np.zeros(0, np.float32)

    def feed(self, block: np.ndarray) -> np.ndarray:
        """(n,) float32 samples -> (m, dim) the vectors that are complete; vectors are computed in batches."""
        self._waiting = np.concatenate([self._waiting, block])
        return self._vectors() if self._count() >= STREAM_BATCH else self._nothing()

    def finish(self) -> np.ndarray:
        """(m, dim) the remaining vectors."""
        return self._vectors() if self._count() > 0 else self._nothing()

    def _count(self) -> int:
        return (len(self._waiting) - self._window_samples) // self._hop_samples + 1

    def _vectors(self) -> np.ndarray:
        count = self._count()
        chunk = self._waiting[: (count - 1) * self._hop_samples + self._window_samples]
        self._waiting = self._waiting[count * self._hop_samples :]
        return self._encoder.encode_stream([chunk], hop=self._hop)[0].vectors

    def _nothing(self) -> np.ndarray:
        return np.zeros((0, self._encoder.spec.dim), np.float32)


def encoder_of(level: Level) -> Encoder:
    """The encoder of a level of kind "recording"."""
    return cast(Encoder, level.encoder)
