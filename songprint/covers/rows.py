"""Tonal frames prepared for alignment: the pitch classes that sound, and the motifs that a network finds in them.

Two passages over the same chords sound alike whether they belong to one song or not. A network therefore finds what a
moment has in common with the same moment of other renditions, and with no other moment of any song: its motifs. They
are compared in addition to the pitch classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from songprint.covers.tonal import CHANNELS, FRAMES_PER_SECOND, PITCH_CLASSES

POOLED = 2  # frames that are averaged into one row
STEP = POOLED / FRAMES_PER_SECOND  # seconds between the rows of a rendition: 0.4
WEIGHTS = np.array([1.0, 0.3, 0.7, 1.0], np.float32)  # of harmony, bass, melody and all notes
MOTIFS = 8  # planes of twelve pitch classes in which the network describes a row
MOTIFS_WEIGHT = 1.5  # weight of the motifs; that of the channels is the sum of WEIGHTS
FAINTEST = 0.15  # rows shorter than this are not scaled to unit length
CONTEXT = 3  # rows of a moment: 1.2 s. Without motifs covers would need 4 s (Serrà et al.); motifs cover 4.6 s
SHORTEST = 8.0  # seconds; shorter renditions are not aligned
COARSE = 4  # rows that are averaged into one row of the coarse picture: 1.6 s
ROOTS = np.sqrt(np.arange(POOLED * 255 + 1, dtype=np.float32) / (POOLED * 255))  # of sums of POOLED frames


FindMotifs = Callable[[np.ndarray], np.ndarray]  # frames (n, 48) uint8 -> (n // POOLED, MOTIFS, 12) unit rows


class Rendition:
    """Tonal frames prepared for alignment: a row every STEP seconds, scaled in each channel, and its motifs."""

    def __init__(self, rows: np.ndarray, find_motifs: Callable[[], np.ndarray] | None = None):
        """`rows (n, 4, 12)` float32; the motifs (n, MOTIFS, 12) are computed when they are first needed."""
        self.rows = rows
        self._find_motifs = find_motifs
        self._coarse_moments: dict[int, np.ndarray] = {}

    @classmethod
    def of(cls, frames: np.ndarray, motifs: FindMotifs | None = None) -> Rendition | None:
        """Prepare frames (n, 48) uint8. None if they are shorter than SHORTEST, or silent.

        `motifs` is the network that finds motifs; without one, only pitch classes are compared.
        """
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
        """(n, 4 + MOTIFS, 12) the rows and the motifs, or (n, 4, 12) without a network."""
        if self._find_motifs is None:
            return self.rows
        found = self._find_motifs() * np.float32(np.sqrt(MOTIFS_WEIGHT))
        return np.concatenate([self.rows, found], axis=1)

    @property
    def moments(self) -> int:
        """The number of moments, CONTEXT rows each."""
        return len(self.rows) - CONTEXT + 1

    @property
    def flat(self) -> np.ndarray:
        """(n, planes * 12) a view of all planes."""
        return self.planes.reshape(len(self.planes), -1)

    def raised(self, key: int) -> np.ndarray:
        """(n, planes * 12) all planes, `key` semitones higher."""
        return rolled(self.planes, key).reshape(len(self.planes), -1)

    def channel(self, number: int, key: int) -> np.ndarray:
        """(n, 12) one of the channels, `key` semitones higher."""
        return rolled(self.rows[:, number], key)

    def motifs(self, key: int) -> np.ndarray:
        """(n, 12 * MOTIFS) the motifs, `key` semitones higher; (n, 0) without a network."""
        return rolled(self.planes[:, CHANNELS:], key).reshape(len(self.planes), -1)

    @cached_property
    def coarse(self) -> np.ndarray:
        """(m, 4, 12) the coarse picture: means of COARSE rows, less the mean of all pitch classes."""
        last = len(self.rows) // COARSE * COARSE
        rows: np.ndarray = (
            sum((self.rows[at:last:COARSE] for at in range(1, COARSE)), self.rows[0:last:COARSE]) / COARSE
        )
        centred: np.ndarray = rows - (np.einsum("ncp->nc", rows) / PITCH_CLASSES)[:, :, None]
        return centred

    def coarse_moments(self, count: int) -> np.ndarray:
        """(n, count, 4, 12) moments of `count` coarse rows, of unit length."""
        if count not in self._coarse_moments:
            last = len(self.coarse) - count + 1
            moments = np.stack([self.coarse[at : last + at] for at in range(count)], axis=1)
            length = np.sqrt(np.einsum("nbcp,nbcp->n", moments, moments))
            self._coarse_moments[count] = moments / np.maximum(length, FAINTEST)[:, None, None, None]
        return self._coarse_moments[count]


def rolled(rows: np.ndarray, key: int) -> np.ndarray:
    """The last axis, the pitch classes, moved up by `key` semitones. Takes a fifth of the time of `np.roll`."""
    return rows.take((np.arange(PITCH_CLASSES) - key) % PITCH_CLASSES, axis=-1)
