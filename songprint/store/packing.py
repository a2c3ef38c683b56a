"""How embeddings are kept: a byte for each number of a vector, half a byte for each of a tonal frame.

Landmarks are kept as they are; nothing makes them smaller. Tonal frames have sixteen levels and change slowly:
two values share a byte, and zlib finds what repeats. Half the number of columns is the first byte.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import fields

import numpy as np
from sqlalchemy import Row

from songprint.store.database import storable
from songprint.store.tables import recordings
from songprint.store.timestamps import iso
from songprint.types import LANDMARKS_PER_FRAME, Kind, Recording, Tags

LEVEL = 17  # a tonal value is one of 0, 17, 34 ... 255
EFFORT = 6  # of zlib: more takes three times as long for 2 %


def quantise(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors (n, dim) float32 -> int8: a byte for each number; cosines change by 0.003."""
    return np.clip(np.rint(vectors * 127.0), -127, 127).astype(np.int8)


def restore(quantised: np.ndarray) -> np.ndarray:
    """The unit vectors (n, dim) float32 that were quantised; rows of zeros stay zero."""
    vectors = quantised.astype(np.float32)
    length = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None]
    vectors /= np.where(length > 0, length, 1)
    return vectors


class StoredRows:
    """Vectors (n, dim) as the catalogue keeps them; the rows that are asked for come as unit vectors.

    Fitting a clip to a song takes a tenth of the song's rows, and restoring all takes longer than reading them.
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
    """(frames, columns) uint8 -> bytes. Tonal values are rounded to the sixteen levels that they have."""
    if kind is not Kind.COVER:
        return evidence.tobytes()
    levels = (evidence.astype(np.uint16) + LEVEL // 2) // LEVEL
    pairs = (levels[:, 0::2] << 4 | levels[:, 1::2]).astype(np.uint8)  # (frames, columns / 2)
    # Along the time line a value repeats oftener than across the columns: a tenth smaller.
    return bytes([pairs.shape[1]]) + zlib.compress(pairs.T.tobytes(), EFFORT)


def unpack_evidence(kind: Kind, packed: bytes) -> np.ndarray:
    """What was packed: (frames, columns) uint8. Raises ValueError if it is damaged."""
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


def to_row(tags: Tags) -> dict[str, object]:
    """The columns of a recording that its tags fill."""
    row = {field.name: getattr(tags, field.name) for field in fields(Tags)}
    row["artists"] = json.dumps([storable(name) for name in tags.artists], ensure_ascii=False)
    return {
        name: storable(value, recordings.c[name].type.length) if isinstance(value, str) else value
        for name, value in row.items()
    }


def to_recording(row: Row) -> Recording:
    """The recording that a row tells of."""
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
    )
