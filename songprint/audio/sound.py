"""Samples of a query that several encoders can read one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

BLOCK_SECONDS = 10.0  # duration of the blocks in later readings


class Sound:
    """The samples of a query. They are read from the source once and stored as 16-bit integers.

    At 8 kHz, they take 16 kB per second, or 60 MB per hour. The first reading yields the blocks of the source; later
    readings yield the stored samples. Only one thread may do the first reading.
    """

    def __init__(self, blocks: Iterable[np.ndarray], sample_rate: int) -> None:
        """`blocks` yields mono float32 samples, (n,), at `sample_rate` Hz."""
        self.sample_rate = sample_rate
        self._source: Iterator[np.ndarray] | None = iter(blocks)
        self._kept: list[np.ndarray] = []

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield blocks of float32 samples, (n,)."""
        if self._source is None:
            length = round(BLOCK_SECONDS * self.sample_rate)
            for start in range(0, len(self.samples), length):
                yield self.samples[start : start + length].astype(np.float32) / 32767
            return
        for block in self._source:
            self._kept.append((np.clip(block, -1, 1) * 32767).astype(np.int16))
            yield block
        self._source = None

    @property
    def samples(self) -> np.ndarray:
        """Everything that was read so far, as int16 samples, (n,)."""
        if len(self._kept) != 1:
            self._kept = [np.concatenate([np.zeros(0, np.int16), *self._kept])]
        return self._kept[0]

    @property
    def duration(self) -> float:
        """Seconds that were read so far."""
        return sum(len(block) for block in self._kept) / self.sample_rate
