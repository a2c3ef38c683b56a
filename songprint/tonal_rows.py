"""Tonal frames made ready to be laid along others."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from songprint.encoders.tonal import CHANNELS, COLUMNS, FRAMES_PER_SECOND, PITCH_CLASSES

POOLED = 2                      # frames are averaged in pairs
STEP = POOLED / FRAMES_PER_SECOND               # seconds between rows of a rendition: 0.4
WEIGHTS = np.array([1.0, 0.3, 0.7, 1.0], np.float32)    # of harmony, bass, melody and all notes
FAINTEST = 0.15                 # length of a row below which it is not made longer
CONTEXT = 7                     # rows that make a moment: 2.8 s. Rendered covers like 2 s, real ones 4 (Serrà et al.)
SHORTEST = 8.0                  # seconds: less is not aligned
BROAD = 4                       # rows in one by which the key is told: 1.6 s
ROOTS = np.sqrt(np.arange(POOLED * 255 + 1, dtype=np.float32) / (POOLED * 255))     # of sums of POOLED frames


class Rendition:
    """Tonal frames made ready: a row for every STEP, of unit length in each channel that sounds."""

    def __init__(self, rows: np.ndarray):
        self.rows = rows                                    # (n, 4, 12)
        self._broad: dict[int, np.ndarray] = {}

    @classmethod
    def of(cls, frames: np.ndarray) -> Rendition | None:
        """None if there is less than SHORTEST, or nothing sounds."""
        count = len(frames) // POOLED
        if count * STEP < SHORTEST or not frames.any():
            return None
        parts = [frames[at:count * POOLED:POOLED].astype(np.uint16) for at in range(POOLED)]
        rows = ROOTS.take(sum(parts)).reshape(count, CHANNELS, PITCH_CLASSES)
        length = np.sqrt(np.einsum("ncp,ncp->nc", rows, rows))
        return cls(rows * (np.sqrt(WEIGHTS) / np.maximum(length, FAINTEST))[:, :, None])

    @property
    def moments(self) -> int:
        return len(self.rows) - CONTEXT + 1

    @property
    def flat(self) -> np.ndarray:
        """(n, 48) the rows as they are, not copied."""
        return self.rows.reshape(-1, COLUMNS)

    def raised(self, key: int) -> np.ndarray:
        """(n, 48) the rows `key` semitones higher."""
        return rolled(self.rows, key).reshape(-1, COLUMNS)

    def channel(self, number: int, key: int) -> np.ndarray:
        """(n, 12) one of the channels, `key` semitones higher."""
        return rolled(self.rows[:, number], key)

    @cached_property
    def coarse(self) -> np.ndarray:
        """(m, 4, 12) a coarse picture: the mean of BROAD rows, less what all pitch classes have in common."""
        rows = sum(self.rows[at:len(self.rows) // BROAD * BROAD:BROAD] for at in range(BROAD)) / BROAD
        return rows - (np.einsum("ncp->nc", rows) / PITCH_CLASSES)[:, :, None]

    def broad(self, count: int) -> np.ndarray:
        """(n, count, 4, 12) moments of so many coarse rows, of unit length."""
        if count not in self._broad:
            last = len(self.coarse) - count + 1
            moments = np.stack([self.coarse[at:last + at] for at in range(count)], axis=1)
            length = np.sqrt(np.einsum("nbcp,nbcp->n", moments, moments))
            self._broad[count] = moments / np.maximum(length, FAINTEST)[:, None, None, None]
        return self._broad[count]


def rolled(rows: np.ndarray, key: int) -> np.ndarray:
    """The last axis, the pitch classes, moved up by `key`; a fifth of the time of `np.roll`."""
    return rows.take((np.arange(PITCH_CLASSES) - key) % PITCH_CLASSES, axis=-1)
