"""Encoders that are told their samples bit by bit: what is heard comes out while it is going on.

A stream keeps only the samples that what comes next still needs. What it gives, put together, is what the encoder
makes of the whole (tonal frames near the edges of a portion differ by less than their rounding).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from songprint.encoders import tonal
from songprint.encoders.tonal import COLUMNS, FRAMES_PER_SECOND

if TYPE_CHECKING:
    from songprint.encoders import Encoder
    from songprint.encoders.cover import CoverEncoder

AT_ONCE = 4                 # vectors that are worth a run of the network
CONTEXT_FRAMES = tonal.CONTEXT
PORTION_FRAMES = tonal.STRETCH - tonal.CONTEXT - 1      # tonal frames: with context either side one run of the network


class VectorStream:
    """Blocks of samples -> vectors of kind "recording", every `hop` seconds."""

    def __init__(self, encoder: Encoder, hop: float):
        self._encoder, self._hop = encoder, hop
        self._hop_samples = round(hop * encoder.spec.sample_rate)
        self._window_samples = round(encoder.spec.window * encoder.spec.sample_rate)
        self._waiting = np.zeros(0, np.float32)

    def hear(self, block: np.ndarray) -> np.ndarray:
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
        stretch = self._waiting[:(count - 1) * self._hop_samples + self._window_samples]
        self._waiting = self._waiting[count * self._hop_samples:]
        return self._encoder.encode_stream([stretch], hop=self._hop)[0].vectors

    def _nothing(self) -> np.ndarray:
        return np.zeros((0, self._encoder.spec.dim), np.float32)


class FrameStream:
    """Blocks of samples -> tonal frames, and of these the vectors of kind "cover"."""

    def __init__(self, encoder: CoverEncoder):
        self._encoder = encoder
        self._frame_samples = encoder.spec.sample_rate // FRAMES_PER_SECOND
        self._waiting = np.zeros(0, np.float32)
        self._before = 0            # frames of context in front of what is waiting

    def hear(self, block: np.ndarray) -> np.ndarray:
        """(n,) float32 samples -> (m, 48) uint8: the frames that they completed, a minute at a time."""
        self._waiting = np.concatenate([self._waiting, block])
        found = [np.zeros((0, COLUMNS), np.uint8)]
        while len(self._waiting) >= (self._before + PORTION_FRAMES + CONTEXT_FRAMES) * self._frame_samples:
            part = self._waiting[:(self._before + PORTION_FRAMES + CONTEXT_FRAMES) * self._frame_samples]
            found.append(self._encoder.frames([part])[self._before:self._before + PORTION_FRAMES])
            self._waiting = self._waiting[(self._before + PORTION_FRAMES - CONTEXT_FRAMES) * self._frame_samples:]
            self._before = CONTEXT_FRAMES
        return np.concatenate(found)

    def finish(self) -> np.ndarray:
        """(m, 48): what was waiting."""
        if len(self._waiting) < (self._before + 1) * self._frame_samples:
            return np.zeros((0, COLUMNS), np.uint8)
        return self._encoder.frames([self._waiting])[self._before:]
