"""Samples -> unit vectors of one second each, which the same second keeps through noise, rooms and codecs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from songprint.encoders.contract import EncoderSpec
from songprint.encoders.runtime import open_network
from songprint.fingerprint import landmarks, logmel
from songprint.types import Embeddings

BATCH = 32  # windows per run of the network: fits the second-level cache
SHORTEST_SAMPLES = logmel.WINDOW_SAMPLES // 2  # less sound than half a window is not worth a guess
AT_ONCE = 4  # vectors that are worth a run of the network


class Encoder:
    """An ONNX network with its front end. Holds a session of onnxruntime; safe to use from threads."""

    def __init__(self, spec: EncoderSpec, network: bytes, threads: int = 1):
        self.spec = spec
        self.session = open_network(network, threads)

    def encode(self, samples: np.ndarray, hop: float | None = None) -> Embeddings:
        """(n,) float32 mono at `spec.sample_rate` -> one row per window, every `hop` seconds.

        `hop` is a multiple of 1/32 s; `spec.hop` when not given. Only whole windows count, except that a
        clip shorter than one window is filled up with silence if it is at least half as long.
        """
        return self.encode_stream([samples], hop)[0]

    def encode_stream(self, blocks: Iterable[np.ndarray], hop: float | None = None) -> tuple[Embeddings, float]:
        """Blocks of samples, one after the other -> embeddings of the whole, and its length in seconds.

        Without `hop` they are made as for the library: every `spec.hop` seconds, and the landmarks with them.
        Memory does not grow with the length, but for the vectors (1 kB per second of sound).
        """
        wants_landmarks = hop is None
        hop = self.spec.hop if hop is None else hop
        hop_frames = round(hop * logmel.FRAMES_PER_SECOND)
        if hop_frames < 1 or abs(hop_frames / logmel.FRAMES_PER_SECOND - hop) > 1e-9:
            raise ValueError(f"hop={hop} must be a positive multiple of 1/{logmel.FRAMES_PER_SECOND} s")
        counter = _Counter(blocks)
        vectors, peaks, tail = [np.zeros((0, self.spec.dim), np.float32)], landmarks.Collector(), None
        for stretch in _stretches(counter, hop_frames * logmel.FRAME_HOP_SAMPLES):
            power = logmel.power(stretch)
            vectors.append(self._vectors(logmel.mel(power), hop_frames))
            if wants_landmarks:
                own = hop_frames * len(vectors[-1])
                peaks.add(power[:own])
                tail = power[own:]  # the next stretch begins with it, if there is one
        if tail is not None:
            peaks.add(tail)
        return (
            Embeddings(np.concatenate(vectors), hop, self.spec.id, peaks.landmarks()),
            counter.samples / self.spec.sample_rate,
        )

    def _vectors(self, decibels: np.ndarray, hop_frames: int) -> np.ndarray:
        """(frames, 128) dBFS -> (windows, dim) float32; rows of zeros where nothing can be recognised."""
        windows = logmel.windows(decibels, hop_frames)  # (n, 128, 32)
        vectors = np.zeros((len(windows), self.spec.dim), np.float32)
        heard = np.flatnonzero(logmel.has_content(windows))
        for start in range(0, len(heard), BATCH):
            rows = heard[start : start + BATCH]
            vectors[rows] = self.session.run(None, {"logmel": logmel.normalise(windows[rows])})[0]
        return vectors


class _Counter:
    """Counts the samples that pass."""

    def __init__(self, blocks: Iterable[np.ndarray]):
        self.blocks, self.samples = blocks, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self.blocks:
            self.samples += len(block)
            yield np.asarray(block, dtype=np.float32)


def _stretches(
    blocks: Iterable[np.ndarray], hop_samples: int, length: int = 30 * logmel.SAMPLE_RATE
) -> Iterator[np.ndarray]:
    """Blocks of any length -> stretches whose windows, one after the other, are those of the whole.

    Neighbouring stretches overlap by what a window needs beyond its hop.
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
    if first and SHORTEST_SAMPLES <= len(samples) < logmel.WINDOW_SAMPLES:
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
        """(n,) float32 samples -> (m, dim) the vectors that they completed; they may wait for more to come."""
        self._waiting = np.concatenate([self._waiting, block])
        return self._vectors() if self._count() >= AT_ONCE else self._nothing()

    def finish(self) -> np.ndarray:
        """(m, dim): the vectors that were waiting."""
        return self._vectors() if self._count() > 0 else self._nothing()

    def _count(self) -> int:
        return (len(self._waiting) - self._window_samples) // self._hop_samples + 1

    def _vectors(self) -> np.ndarray:
        count = self._count()
        stretch = self._waiting[: (count - 1) * self._hop_samples + self._window_samples]
        self._waiting = self._waiting[count * self._hop_samples :]
        return self._encoder.encode_stream([stretch], hop=self._hop)[0].vectors

    def _nothing(self) -> np.ndarray:
        return np.zeros((0, self._encoder.spec.dim), np.float32)
