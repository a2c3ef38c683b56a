"""The vectors of a whole long recording, kept until it is known which parts of it are unknown music."""

from __future__ import annotations

import numpy as np

from songprint.store.packing import quantise, restore
from songprint.types import Embeddings, Interval


class VectorHistory:
    """All vectors of a long recording, one byte per number: 128 bytes per vector."""

    def __init__(self, hop: float, window: float, encoder_id: str) -> None:
        """`hop` is the time between two vectors and `window` the audio that one describes, both in seconds."""
        self.hop, self.window, self.encoder_id = hop, window, encoder_id
        self._rows: list[np.ndarray] = []

    def add(self, vectors: np.ndarray) -> None:
        """Append the next vectors (n, dim)."""
        self._rows.append(quantise(vectors))

    def between(self, interval: Interval) -> Embeddings:
        """The vectors whose audio lies entirely within an interval."""
        if len(self._rows) != 1:
            self._rows = [np.concatenate(self._rows)] if self._rows else [np.zeros((0, 1), np.int8)]
        first = max(0, int(np.ceil(interval.start / self.hop - 1e-6)))
        last = int(np.floor((interval.end - self.window) / self.hop + 1e-6)) + 1
        return Embeddings(restore(self._rows[0][first : max(first, last)]), self.hop, self.encoder_id)
