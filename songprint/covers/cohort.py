"""The cohort: songs that ship with the cover encoder and are covers of nothing, for normalising scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from songprint.covers.parameters import DEFAULT
from songprint.covers.tonal import COLUMNS, FRAMES_PER_SECOND

if TYPE_CHECKING:
    from songprint.types import Embeddings

PARAMETERS = DEFAULT.cohort


@dataclass(frozen=True, eq=False)
class Cohort:
    """Songs unrelated to any library. Scores are given in standard deviations above those of the cohort."""

    vectors: np.ndarray  # (n, dim) float32, song by song
    songs: np.ndarray  # (n,) the song of each vector: 0, 1, 2, ...
    excerpts: tuple[np.ndarray, ...]  # tonal frames (m, 48) of some of the songs

    @classmethod
    def of(cls, recordings: Iterable[Embeddings], *, excerpts: int = 64, seconds: float = 60.0) -> Cohort:
        """All vectors with content, and the middle `seconds` of the frames of the first `excerpts` recordings."""
        recordings = [recording for recording in recordings if recording.has_content.any()]
        vectors = [np.asarray(recording.vectors)[recording.has_content] for recording in recordings]
        length = round(seconds * FRAMES_PER_SECOND)
        return cls(
            np.concatenate(vectors) if vectors else np.zeros((0, 0), np.float32),
            np.repeat(np.arange(len(vectors)), [len(own) for own in vectors]),
            tuple(_middle(recording.evidence, length) for recording in recordings[:excerpts]),
        )

    @classmethod
    def none(cls) -> Cohort:
        """An empty cohort: scores are normalised by typical values."""
        return cls.of([])

    @classmethod
    def load(cls, path: Path) -> Cohort:
        """Read a file written by `save`. Raises OSError, ValueError, KeyError or BadZipFile if it is damaged."""
        with path.open("rb") as file, np.load(file) as kept:
            vectors = kept["vectors"].astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            return cls(
                vectors,
                kept["songs"].astype(np.int64),
                tuple(np.split(kept["frames"], np.cumsum(kept["lengths"])[:-1])),
            )

    def save(self, path: Path) -> None:
        """Write a compressed file with one byte per number of a vector."""
        frames = np.concatenate([np.zeros((0, COLUMNS), np.uint8), *self.excerpts])
        np.savez_compressed(
            path,
            vectors=np.rint(self.vectors * 127).astype(np.int8),
            songs=self.songs.astype(np.int16),
            frames=frames,
            lengths=np.array([len(excerpt) for excerpt in self.excerpts]),
        )

    @cached_property
    def firsts(self) -> np.ndarray:
        """(songs,) the first row of each song."""
        return np.flatnonzero(np.diff(self.songs, prepend=-1))

    def rows(self, song: int) -> slice:
        """The rows of one song."""
        following = self.firsts[song + 1] if song + 1 < len(self.firsts) else len(self.songs)
        return slice(self.firsts[song], following)

    @cached_property
    def own_hubness(self) -> np.ndarray:
        """(n,) the hubness of each vector of the cohort, measured on the other songs."""
        similarity = self.vectors @ self.vectors.T
        similarity[self.songs[:, None] == self.songs] = -1
        return mean_of_nearest(similarity)

    def hubness(self, vectors: np.ndarray) -> np.ndarray:
        """(m, dim) -> (m,) mean cosine of each vector with its nearest vectors of the cohort.

        Vectors with a high value (hubs) are similar to everything.
        """
        if not len(self.vectors):
            return np.zeros(len(vectors), np.float32)
        return mean_of_nearest(vectors @ self.vectors.T)


def mean_of_nearest(similarity: np.ndarray) -> np.ndarray:
    """(m, n) similarity -> (m,) mean of the largest values of each row."""
    count = min(PARAMETERS.neighbours, similarity.shape[1])
    means: np.ndarray = np.partition(similarity, -count, axis=1)[:, -count:].mean(axis=1)
    return means


def _middle(frames: np.ndarray, length: int) -> np.ndarray:
    start = max(0, len(frames) - length) // 2
    return frames[start : start + length]
