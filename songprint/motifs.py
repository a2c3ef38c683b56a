"""Motifs of tonal frames, those found last at hand: a search lays a query along fifty songs, the next along many of
the same, and to find the motifs of a song takes longer than to lay something along it.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from threading import Lock

import numpy as np

from songprint.tonal_rows import FindMotifs

LEVELS = 127                    # of a number, kept as a byte: what is at hand and what is not are alike
ROOM = 64 << 20                 # bytes: 78 hours of music


class Motifs:
    """(n, 48) uint8 -> (n // POOLED, MOTIFS, 12) float32 rows of unit length, rounded; safe to use from threads.

    What is asked for again is known by its frames, wherever they come from.
    """

    def __init__(self, find: FindMotifs, room: int = ROOM):
        self._find = find
        self._left = room
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        name = blake2b(np.ascontiguousarray(frames), digest_size=16).digest()
        with self._lock:
            if (known := self._kept.get(name)) is not None:
                self._kept.move_to_end(name)
        if known is None:
            known = np.rint(self._find(frames) * np.float32(LEVELS)).astype(np.int8)
            self._keep(name, known)
        return known / np.float32(LEVELS)

    def _keep(self, name: bytes, found: np.ndarray) -> None:
        with self._lock:
            if name in self._kept:              # by another thread, in the meantime
                return
            self._kept[name] = found
            self._left -= found.nbytes
            while self._left < 0:
                self._left += self._kept.popitem(last=False)[1].nbytes
