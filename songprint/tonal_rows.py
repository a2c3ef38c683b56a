"""Tonal frames made ready to be laid along others: rows of chords, and the keys in which two may be alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from songprint.encoders.tonal import CHANNELS, COLUMNS, FRAMES_PER_SECOND, PITCH_CLASSES

POOLED = 2                      # frames are averaged in pairs
STEP = POOLED / FRAMES_PER_SECOND               # seconds between rows of a rendition: 0.4
WEIGHTS = np.array([1.0, 0.3, 0.7, 1.0], np.float32)    # of harmony, bass, melody and all notes
FAINTEST = 0.15                 # length of a row below which it is not made longer
CONTEXT = 7                     # rows that make a moment: 2.8 s. Rendered covers like 2 s, real ones 4 (Serrà et al.)
SHORTEST = 8.0                  # seconds: less is not aligned
BROAD = 4                       # rows in one, and such rows in a moment, by which the key is told: 1.6 s, 6.4 s
AT_ONCE = 1 << 20               # cells that are compared for the key at once: 4 MB
ROOTS = np.sqrt(np.arange(POOLED * 255 + 1, dtype=np.float32) / (POOLED * 255))     # of sums of POOLED frames


class Rendition:
    """Tonal frames made ready: a row for every STEP, of unit length in each channel that sounds."""

    def __init__(self, rows: np.ndarray):
        self.rows = rows                                    # (n, 4, 12)

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

    def raised(self, key: int) -> np.ndarray:
        """(n, 48) the rows `key` semitones higher."""
        return _rolled(self.rows, key).reshape(-1, COLUMNS)

    def channel(self, number: int, key: int) -> np.ndarray:
        """(n, 12) one of the channels, `key` semitones higher."""
        return _rolled(self.rows[:, number], key)

    @cached_property
    def broad(self) -> np.ndarray:
        """(m, 4, 4, 12) moments of BROAD * BROAD rows, of unit length: a coarse picture."""
        count = len(self.rows) // BROAD
        rows = sum(self.rows[at:count * BROAD:BROAD] for at in range(BROAD)) / BROAD
        rows -= (np.einsum("ncp->nc", rows) / PITCH_CLASSES)[:, :, None]
        moments = np.stack([rows[at:count - BROAD + 1 + at] for at in range(BROAD)], axis=1)
        length = np.sqrt(np.einsum("nbcp,nbcp->n", moments, moments))
        return moments / np.maximum(length, FAINTEST)[:, None, None, None]


def likely_keys(query: Rendition, references: Sequence[Rendition]) -> np.ndarray:
    """(references, 12) by how many semitones to raise each for it to sound like the query, the most likely first.

    In the right key every moment of the query has one in the reference that is like it; what the moments of
    the query have in common does not count.
    """
    moments = query.broad - query.broad.mean(axis=0)
    # raising the reference is lowering the query
    lowered = np.concatenate([_rolled(moments, -key) for key in range(PITCH_CLASSES)])
    lowered = lowered.reshape(len(lowered), -1).T                           # (numbers of a moment, 12 * moments)
    fit = [np.zeros((0, lowered.shape[1]), np.float32)]
    for some in _portions([reference.broad for reference in references], AT_ONCE // lowered.shape[1]):
        similarity = np.concatenate(some).reshape(-1, len(lowered)) @ lowered
        fit.append(np.maximum.reduceat(similarity, np.cumsum([0, *map(len, some)])[:-1]))
    mean = np.concatenate(fit).reshape(len(references), PITCH_CLASSES, -1).mean(axis=2)
    return np.argsort(-mean, axis=1, kind="stable")


def _portions(arrays: Sequence[np.ndarray], rows: int) -> list[list[np.ndarray]]:
    """Arrays one after the other, about so many rows at a time."""
    portions: list[list[np.ndarray]] = []
    room = 0
    for array in arrays:
        if room < len(array):
            portions.append([])
            room = rows
        portions[-1].append(array)
        room -= len(array)
    return portions


def _rolled(rows: np.ndarray, key: int) -> np.ndarray:
    """The last axis, the pitch classes, moved up by `key`; a fifth of the time of `np.roll`."""
    return rows.take((np.arange(PITCH_CLASSES) - key) % PITCH_CLASSES, axis=-1)
