"""Tonal frames made ready to be laid along others: what sounds, and what a network makes of it.

Two passages of the same chords sound alike whether they are one song or not. So a network, where there is one, has
learned what a moment has in common with the same moment of other renditions, and with no other moment of any song: its
motifs. They count beside what sounds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from songprint.covers.tonal import CHANNELS, FRAMES_PER_SECOND, PITCH_CLASSES

POOLED = 2  # frames are averaged in pairs
STEP = POOLED / FRAMES_PER_SECOND  # seconds between rows of a rendition: 0.4
WEIGHTS = np.array([1.0, 0.3, 0.7, 1.0], np.float32)  # of harmony, bass, melody and all notes
MOTIFS = 8  # planes of twelve pitch classes in which a network tells a row
MOTIFS_WEIGHT = 1.5  # and what they count; what sounds counts the sum of WEIGHTS
FAINTEST = 0.15  # length of a row below which it is not made longer
CONTEXT = 3  # rows that make a moment: 1.2 s. Real covers like 4 s (Serrà et al.): motifs see 4.6 s
SHORTEST = 8.0  # seconds: less is not aligned
BROAD = 4  # rows in one by which the key is told: 1.6 s
ROOTS = np.sqrt(np.arange(POOLED * 255 + 1, dtype=np.float32) / (POOLED * 255))  # of sums of POOLED frames


FindMotifs = Callable[[np.ndarray], np.ndarray]  # frames (n, 48) uint8 -> (n // POOLED, MOTIFS, 12) unit rows


class Rendition:
    """Tonal frames made ready: a row for every STEP, of unit length in each channel that sounds, and its motifs."""

    def __init__(self, rows: np.ndarray, find_motifs: Callable[[], np.ndarray] | None = None):
        """`rows (n, 4, 12)` float32; the motifs (n, MOTIFS, 12) are found when they are first needed."""
        self.rows = rows
        self._find_motifs = find_motifs
        self._broad: dict[int, np.ndarray] = {}

    @classmethod
    def of(cls, frames: np.ndarray, motifs: FindMotifs | None = None) -> Rendition | None:
        """Frames (n, 48) uint8, with what a network finds in them; None if there is less than SHORTEST, or nothing
        sounds."""
        count = len(frames) // POOLED
        if count * STEP < SHORTEST or not frames.any():
            return None
        parts = [frames[at : count * POOLED : POOLED].astype(np.uint16) for at in range(POOLED)]
        rows = ROOTS.take(sum(parts)).reshape(count, CHANNELS, PITCH_CLASSES)
        length = np.sqrt(np.einsum("ncp,ncp->nc", rows, rows))
        rows *= (np.sqrt(WEIGHTS) / np.maximum(length, FAINTEST))[:, :, None]
        return cls(rows, motifs and (lambda: motifs(frames[: count * POOLED])))

    @cached_property
    def planes(self) -> np.ndarray:
        """(n, 4, 12) the rows, or with the motifs (n, 4 + MOTIFS, 12)."""
        if self._find_motifs is None:
            return self.rows
        found = self._find_motifs() * np.float32(np.sqrt(MOTIFS_WEIGHT))
        return np.concatenate([self.rows, found], axis=1)

    @property
    def moments(self) -> int:
        return len(self.rows) - CONTEXT + 1

    @property
    def flat(self) -> np.ndarray:
        """(n, all planes * 12) the rows as they are, not copied."""
        return self.planes.reshape(len(self.planes), -1)

    def raised(self, key: int) -> np.ndarray:
        """(n, all planes * 12) the rows `key` semitones higher."""
        return rolled(self.planes, key).reshape(len(self.planes), -1)

    def channel(self, number: int, key: int) -> np.ndarray:
        """(n, 12) one of the channels, `key` semitones higher."""
        return rolled(self.rows[:, number], key)

    def motifs(self, key: int) -> np.ndarray:
        """(n, 12 * MOTIFS) what the network found, `key` semitones higher; (n, 0) without one."""
        return rolled(self.planes[:, CHANNELS:], key).reshape(len(self.planes), -1)

    @cached_property
    def coarse(self) -> np.ndarray:
        """(m, 4, 12) a coarse picture: the mean of BROAD rows, less what all pitch classes have in common."""
        rows = sum(self.rows[at : len(self.rows) // BROAD * BROAD : BROAD] for at in range(BROAD)) / BROAD
        return rows - (np.einsum("ncp->nc", rows) / PITCH_CLASSES)[:, :, None]

    def broad(self, count: int) -> np.ndarray:
        """(n, count, 4, 12) moments of so many coarse rows, of unit length."""
        if count not in self._broad:
            last = len(self.coarse) - count + 1
            moments = np.stack([self.coarse[at : last + at] for at in range(count)], axis=1)
            length = np.sqrt(np.einsum("nbcp,nbcp->n", moments, moments))
            self._broad[count] = moments / np.maximum(length, FAINTEST)[:, None, None, None]
        return self._broad[count]


def rolled(rows: np.ndarray, key: int) -> np.ndarray:
    """The last axis, the pitch classes, moved up by `key`; a fifth of the time of `np.roll`."""
    return rows.take((np.arange(PITCH_CLASSES) - key) % PITCH_CLASSES, axis=-1)
