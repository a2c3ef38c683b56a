"""Vectors under segment ids, and the search for the nearest of them.

Every engine keeps the same contract (`Index`) and passes the same tests. An index is derived from the
catalogue: it can be thrown away and made again, so no engine has to be careful with its data.

A segment id carries its meaning: `recording_id << 20 | position`. There is no table of segments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from songprint.store.index.faiss import FaissIndex

POSITION_BITS = 20
MAX_SEGMENTS = 1 << POSITION_BITS  # 145 hours at a hop of 0.5 s
MAX_RECORDING_ID = (1 << (63 - POSITION_BITS)) - 1
NOTHING = -1  # the id in places where a search found fewer than k


def segment_ids(recording_id: int, positions: np.ndarray) -> np.ndarray:
    """(n,) row numbers of one recording's embeddings -> (n,) int64 segment ids."""
    return (np.int64(recording_id) << POSITION_BITS) | np.asarray(positions, dtype=np.int64)


def split_ids(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segment ids -> (recording ids, positions), both int64 and of the same shape."""
    return ids >> POSITION_BITS, ids & (MAX_SEGMENTS - 1)


class Index(Protocol):
    """What a vector engine has to do. Vectors are float32 of unit length; scores are cosines."""

    kind: str
    shared: bool  # by several processes or machines: one of them fills it, by `alone` of the database

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Keep `vectors (n, dim)` under `ids (n,)` int64; they are found from now on.

        All segments of a recording come at once.
        """

    def remove(self, recording_ids: Iterable[int]) -> None:
        """Forget every segment of these recordings. Unknown ids are no error."""

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """`vectors (m, dim)` -> ids (m, k) int64 and cosines (m, k) float32, best first.

        Where there are fewer than `k`, the rest is `NOTHING` with cosine -1.
        """

    def recording_ids(self) -> set[int]:
        """The recordings that can be found."""

    def __len__(self) -> int:
        """How many vectors can be found."""

    def reload_if_changed(self) -> bool:
        """See whether others have replaced what is kept; True if so, and `recording_ids` may be others."""

    def wants_rebuild(self) -> bool:
        """Whether it would now be better made anew."""

    def rebuild(self, source: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]) -> None:
        """Make it anew of what `source` yields, (ids, vectors), which can be called again."""

    @property
    def bytes_on_disk(self) -> int:
        """What it takes on this machine's disk."""

    def close(self) -> None:
        """Let go of files and connections."""


def open_index(folder: Path, dim: int, *, exact_limit: int) -> FaissIndex:
    """The index in a library's folder: exact in memory up to `exact_limit` vectors, FAISS on the disk above."""
    from songprint.store.index.faiss import FaissIndex

    return FaissIndex(folder, dim, exact_limit)
