"""Sound: blocks of samples that several encoders can read one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

BLOCK_SECONDS = 10.0  # of a block when the sound is read again


class Sound:
    """A query, read from its source once and kept at 16 bits: 16 kB a second at 8 kHz, 60 MB an hour.

    The first reading passes the blocks through as they come; later ones return what was kept. Only one thread may
    read for the first time.
    """

    def __init__(self, blocks: Iterable[np.ndarray], sample_rate: int) -> None:
        """`blocks` of (n,) float32 mono samples at `sample_rate` Hz."""
        self.sample_rate = sample_rate
        self._source: Iterator[np.ndarray] | None = iter(blocks)
        self._kept: list[np.ndarray] = []

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield (n,) float32 samples."""
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
        """(n,) int16: everything that was read."""
        if len(self._kept) != 1:
            self._kept = [np.concatenate([np.zeros(0, np.int16), *self._kept])]
        return self._kept[0]

    @property
    def duration(self) -> float:
        """Seconds that were read."""
        return sum(len(block) for block in self._kept) / self.sample_rate
