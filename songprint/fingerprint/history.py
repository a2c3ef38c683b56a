"""What is kept of all that was heard, until it is known where in it music is that nobody knows."""

from __future__ import annotations

import numpy as np

from songprint.store.packing import quantise, restore
from songprint.types import Embeddings, Interval


class VectorHistory:
    """The vectors of something long, a byte a number: 128 bytes a second."""

    def __init__(self, hop: float, window: float, encoder_id: str) -> None:
        """`hop` and `window` of the vectors in seconds."""
        self.hop, self.window, self.encoder_id = hop, window, encoder_id
        self._rows: list[np.ndarray] = []

    def add(self, vectors: np.ndarray) -> None:
        """(n, dim) those that come next."""
        self._rows.append(quantise(vectors))

    def between(self, interval: Interval) -> Embeddings:
        """Of what is heard in an interval and not around it."""
        if len(self._rows) != 1:
            self._rows = [np.concatenate(self._rows)] if self._rows else [np.zeros((0, 1), np.int8)]
        first = max(0, int(np.ceil(interval.start / self.hop - 1e-6)))
        last = int(np.floor((interval.end - self.window) / self.hop + 1e-6)) + 1
        return Embeddings(restore(self._rows[0][first : max(first, last)]), self.hop, self.encoder_id)
