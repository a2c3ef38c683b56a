"""Conversions between Python values and the columns of the catalogue.

Vectors take one byte for each component. Landmarks are stored as they are, because they do not compress. Tonal frames
have sixteen levels and change slowly: two values share a byte, and zlib removes the repetitions.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import fields
from typing import Any

import numpy as np
from sqlalchemy import Row

from songprint.store.database import storable
from songprint.store.fields import from_json
from songprint.store.tables import max_length, recordings
from songprint.store.text import composed, searched
from songprint.store.timestamps import iso
from songprint.types import LANDMARKS_PER_FRAME, Kind, Recording, Tags

LEVEL = 17  # the step of tonal values: they are 0, 17, 34 ... 255
EFFORT = 6  # of zlib; higher levels take three times as long and save 2%


def quantise(vectors: np.ndarray) -> np.ndarray:
    """Convert unit vectors (n, dim) from float32 to int8. Cosines change by about 0.003."""
    return np.clip(np.rint(vectors * 127.0), -127, 127).astype(np.int8)


def restore(quantised: np.ndarray) -> np.ndarray:
    """Convert quantised vectors (n, dim) back to float32 unit vectors. Rows of zeros stay zero."""
    vectors = quantised.astype(np.float32)
    length = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None]
    vectors /= np.where(length > 0, length, 1)
    return vectors


class StoredRows:
    """Quantised vectors (n, dim), restored to unit vectors row by row when they are read.

    Verifying a query against a recording reads a tenth of its rows. Restoring all of them would take longer than
    reading them from the database.
    """

    def __init__(self, quantised: np.ndarray) -> None:
        self._quantised = quantised
        self.shape, self.dtype = quantised.shape, np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self._quantised)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return restore(self._quantised[rows])

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return restore(self._quantised).astype(dtype or self.dtype, copy=False)


def pack_evidence(kind: Kind, evidence: np.ndarray) -> bytes:
    """Convert evidence (frames, columns) uint8 to bytes. Tonal values are rounded to their sixteen levels.

    The first byte of packed tonal frames is half the number of columns.
    """
    if kind is not Kind.COVER:
        return evidence.tobytes()
    levels = (evidence.astype(np.uint16) + LEVEL // 2) // LEVEL
    pairs = (levels[:, 0::2] << 4 | levels[:, 1::2]).astype(np.uint8)  # (frames, columns / 2)
    # Values repeat more often over time than over columns: transposing saves 10%.
    return bytes([pairs.shape[1]]) + zlib.compress(pairs.T.tobytes(), EFFORT)


def unpack_evidence(kind: Kind, packed: bytes) -> np.ndarray:
    """Reverse `pack_evidence`: return (frames, columns) uint8. Raises ValueError for damaged data."""
    if kind is not Kind.COVER:
        return np.frombuffer(packed, np.uint8).reshape(-1, LANDMARKS_PER_FRAME)
    try:
        content = zlib.decompress(packed[1:])
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not content:
        return np.zeros((0, 2 * packed[0]), np.uint8)
    pairs = np.frombuffer(content, np.uint8).reshape(packed[0], -1).T
    frames = np.empty((len(pairs), 2 * packed[0]), np.uint8)
    frames[:, 0::2], frames[:, 1::2] = pairs >> 4, pairs & 15
    return frames * np.uint8(LEVEL)


def to_row(tags: Tags) -> dict[str, Any]:
    """Return the columns of `recordings` that contain tags, and the one that is searched."""
    row = {
        name: composed(value) if isinstance(value, str) else value
        for name, value in ((field.name, getattr(tags, field.name)) for field in fields(Tags))
    }
    artists = [composed(storable(name)) for name in tags.artists]
    row["artists"] = json.dumps(artists, ensure_ascii=False)
    row["search"] = searched(row["title"], artists, row["album"])
    return {
        name: storable(value, max_length(recordings.c[name])) if isinstance(value, str) else value
        for name, value in row.items()
    }


def to_recording(row: Row[Any]) -> Recording:
    """Convert a row of `recordings`."""
    tags = {field.name: getattr(row, field.name) for field in fields(Tags)}
    tags["artists"] = tuple(json.loads(row.artists))
    return Recording(
        id=row.id,
        tags=Tags(**tags),
        duration=row.duration,
        source=row.source,
        content_hash=row.content_hash,
        added_at=iso(row.added_at, "seconds"),
        original=bool(row.original),
        missing_since=iso(row.missing_since, "seconds"),
        fields=from_json(row.fields),
    )
