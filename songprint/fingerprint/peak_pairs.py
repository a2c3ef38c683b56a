"""Pairs of landmarks: hashes of two peaks and their distance in time, for libraries too large to count every peak.

A pair is a peak, a later peak, and the frames between them (Wang, "An industrial-strength audio search algorithm",
ISMIR 2003). Every pair has a fixed, random rank. Of each second of a recording, the few pairs with the lowest ranks are
kept, so a query needs to look up only pairs with low ranks, and the size of an index depends on the duration alone.
A query looks up all its pairs of low rank, also with a distance one frame longer or shorter, as noise moves peaks.

Constants here define the files of `peak_files`: increase `peak_files.FORMAT` when one of them changes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from songprint.fingerprint.landmarks import SLOTS
from songprint.fingerprint.logmel import FRAMES_PER_SECOND

UNIT = 2  # frames; the precision of positions in the index
NEAREST, FARTHEST = 2, 9  # frames between the two peaks: 8 distances, 3 bits of the hash
MIN_CODES_APART = 3  # a tone that lasts pairs with itself; such pairs are frequent and agree anywhere
PAIRS_PER_SECOND = 12
CODE_BITS, DISTANCE_BITS = 8, 3
HASHES = 1 << 2 * CODE_BITS + DISTANCE_BITS
RANKS = 1 << 16
# A second of music has 170 possible pairs on average, so 12 of them have ranks below 7%. Quiet music has fewer pairs
# with higher ranks.
MAX_RANK = int(0.15 * RANKS)


def _ranks() -> np.ndarray:
    """(HASHES,) uint16: the rank of each hash; RANKS - 1 for those that are never kept."""
    hashes = np.arange(HASHES, dtype=np.uint32)
    mixed = hashes ^ hashes >> np.uint32(9)  # a fixed mixing function, so that files do not depend on numpy's generator
    mixed *= np.uint32(0x9E3779B1)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    ranks: np.ndarray = np.minimum(mixed >> np.uint32(16), RANKS - 2).astype(np.uint16)
    first = hashes >> (CODE_BITS + DISTANCE_BITS)
    second = hashes >> DISTANCE_BITS & (1 << CODE_BITS) - 1
    apart = np.abs(first.astype(np.int64) - second)
    ranks[(first == 0) | (second == 0) | (apart < MIN_CODES_APART)] = RANKS - 1
    return ranks


RANK = _ranks()
_IS_LOW = RANK < MAX_RANK


def of_recording(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of a recording (frames, SLOTS) that the index keeps: hashes and first frames, (n,) int32 each."""
    distances = ((distance, distance) for distance in range(NEAREST, FARTHEST + 1))
    hashes, frames = _pairs(landmarks, distances)
    seconds = frames // FRAMES_PER_SECOND
    order = np.argsort(seconds.astype(np.int64) * RANKS + RANK[hashes], kind="stable")
    seconds = seconds[order]
    starts = np.searchsorted(seconds, np.arange(len(landmarks) // FRAMES_PER_SECOND + 1))
    lower = np.arange(len(order)) - starts[seconds]  # pairs of the same second with lower ranks
    kept = order[lower < PAIRS_PER_SECOND]
    return hashes[kept], frames[kept]


def of_query(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that a query (frames, SLOTS) looks up: hashes and first frames, (n,) int32 each, without duplicates."""
    distances = (
        (distance, looked_up)
        for distance in range(NEAREST - 1, FARTHEST + 2)
        for looked_up in range(distance - 1, distance + 2)
        if NEAREST <= looked_up <= FARTHEST
    )
    hashes, frames = _pairs(landmarks, distances)
    unique = np.unique(frames.astype(np.int64) * HASHES + hashes)
    return (unique % HASHES).astype(np.int32), (unique // HASHES).astype(np.int32)


def _pairs(landmarks: np.ndarray, distances: Iterable[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and first frames of all pairs of low rank; for each distance, the one that the hash contains instead."""
    hashes, frames = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    if landmarks.shape[1:] == (SLOTS,):
        # Empty slots form no pairs: four of ten are left out before the lookups, which take most of the time.
        peaks = np.flatnonzero(landmarks)
        rows = (peaks // SLOTS).astype(np.int32)
        firsts = landmarks.reshape(-1)[peaks].astype(np.int32) << CODE_BITS + DISTANCE_BITS
        seconds = np.zeros((SLOTS, len(landmarks) + FARTHEST + 1), np.int32)
        seconds[:, : len(landmarks)] = landmarks.T.astype(np.int32) << DISTANCE_BITS
        for distance, hashed in distances:
            early = firsts + np.int32(hashed - NEAREST)
            for later in seconds:
                found = early | later[rows + np.int32(distance)]
                low = np.flatnonzero(_IS_LOW[found])
                hashes.append(found[low])
                frames.append(rows[low])
    return np.concatenate(hashes), np.concatenate(frames)
