"""The vector index: nearest-neighbour search over the segments of all recordings.

Every engine implements `Index` and passes the same tests. An index is derived from the catalogue and can be rebuilt
at any time, so the engines need no protection against data loss.

A segment id contains the recording and the position: `recording_id << 20 | position`. There is no table of segments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from songprint.address import IndexAddress, MilvusAddress

if TYPE_CHECKING:
    from songprint.store.index.faiss import FaissIndex

POSITION_BITS = 20
MAX_SEGMENTS = 1 << POSITION_BITS  # 145 hours at a hop of 0.5 s
MAX_RECORDING_ID = (1 << (63 - POSITION_BITS)) - 1
NOTHING = -1  # the id that fills up results with fewer than k segments


def segment_ids(recording_id: int, positions: np.ndarray) -> np.ndarray:
    """Convert row numbers (n,) of one recording's embeddings to segment ids (n,) int64."""
    return (np.int64(recording_id) << POSITION_BITS) | np.asarray(positions, dtype=np.int64)


def split_ids(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert segment ids to recording ids and positions, both int64 of the same shape."""
    return ids >> POSITION_BITS, ids & (MAX_SEGMENTS - 1)


class Index(Protocol):
    """A vector engine. Vectors are float32 of unit length; scores are cosines."""

    @property
    def kind(self) -> str:
        """The type of the engine, for statistics."""

    # Whether several processes or machines use the same index. Then one of them fills it, under a database lock.
    shared: bool

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Add `vectors` (n, dim) under `ids` (n,) int64. Searches find them immediately.

        Callers add all segments of a recording in one call.
        """

    def settle(self) -> None:
        """End a series of `add`: build what makes searches of many new vectors fast. Cheap if nothing is to be done."""

    def remove(self, recording_ids: Iterable[int]) -> None:
        """Remove all segments of these recordings. Unknown ids are ignored."""

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ids (m, k) int64 and cosines (m, k) float32 of the nearest segments of `vectors` (m, dim), best first.

        If there are fewer than `k`, the rest is `NOTHING` with cosine -1.
        """

    def recording_ids(self) -> set[int]:
        """Return the ids of all recordings in the index."""

    def contains(self, recording_ids: Iterable[int]) -> set[int]:
        """Return those of these recordings that the index contains. Much faster than `recording_ids` for a few."""

    def __len__(self) -> int:
        """Return the number of vectors in the index."""

    def reload_if_changed(self) -> bool:
        """Open the index again if another process has replaced it. Returns True if so: `recording_ids` may differ."""

    def rebuild(self, source: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]) -> None:
        """Build the index again from the (ids, vectors) that `source` yields. `source` may be called several times."""

    @property
    def bytes_on_disk(self) -> int:
        """The size of the index on disk; 0 if a server does not report it."""

    def close(self) -> None:
        """Close files and connections."""


def open_index(folder: Path, dim: int, *, exact_limit: int) -> FaissIndex:
    """Open the index in a library's folder: exact in memory up to `exact_limit` vectors, beyond that FAISS on disk."""
    from songprint.store.index.faiss import FaissIndex

    return FaissIndex(folder, dim, exact_limit)


def open_shared(address: IndexAddress, library: str, encoder_id: str, dim: int, rows: int) -> Index:
    """Open the index of an encoder of a library on a server, or create it for about this many rows."""
    if isinstance(address, MilvusAddress):
        from songprint.store.index.milvus import MilvusIndex, collection_name

        return MilvusIndex(address, collection_name(library, encoder_id), dim, rows)
    from songprint.store.index.pgvector import PgvectorIndex, table_name

    return PgvectorIndex(address, table_name(library, encoder_id), dim)


def drop_others(address: IndexAddress, library: str, encoder_ids: Collection[str]) -> None:
    """Delete the indexes of a library on a server that belong to other encoders than these."""
    if isinstance(address, MilvusAddress):
        from songprint.store.index import milvus

        milvus.drop_others(address, library, encoder_ids)
    else:
        from songprint.store.index import pgvector

        pgvector.drop_others(address, library, encoder_ids)
