"""The songs that ship with the encoder of covers, and are nobody's cover: against them it is told what is usual."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from songprint.covers.tonal import COLUMNS, FRAMES_PER_SECOND
from songprint.types import Embeddings

CROWD = 10  # nearest windows of the cohort that tell how common a window is


@dataclass(frozen=True, eq=False)
class Cohort:
    """Songs that are nobody's cover, to tell what is usual."""

    vectors: np.ndarray  # (n, dim) float32, those of a song one after the other
    songs: np.ndarray  # (n,) the song of each, 0, 1, 2, ...
    excerpts: tuple[np.ndarray, ...]  # tonal frames (m, 48) of some of them

    @classmethod
    def of(cls, recordings: Iterable[Embeddings], *, excerpts: int = 64, seconds: float = 60.0) -> Cohort:
        """All heard vectors of the recordings, and the middle `seconds` of the frames of the first `excerpts`."""
        recordings = [recording for recording in recordings if recording.has_content.any()]
        heard = [np.asarray(recording.vectors)[recording.has_content] for recording in recordings]
        length = round(seconds * FRAMES_PER_SECOND)
        return cls(
            np.concatenate(heard) if heard else np.zeros((0, 0), np.float32),
            np.repeat(np.arange(len(heard)), [len(vectors) for vectors in heard]),
            tuple(_middle(recording.evidence, length) for recording in recordings[:excerpts]),
        )

    @classmethod
    def none(cls) -> Cohort:
        """Nobody: what is usual is then a guess."""
        return cls.of([])

    @classmethod
    def load(cls, path: Path) -> Cohort:
        with path.open("rb") as file, np.load(file) as kept:
            vectors = kept["vectors"].astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            return cls(
                vectors,
                kept["songs"].astype(np.int64),
                tuple(np.split(kept["frames"], np.cumsum(kept["lengths"])[:-1])),
            )

    def save(self, path: Path) -> None:
        """As a compressed file: a byte for each number of a vector."""
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
        """(songs,) the first row of each."""
        return np.flatnonzero(np.diff(self.songs, prepend=-1))

    def rows(self, song: int) -> slice:
        """Those of one song."""
        following = self.firsts[song + 1] if song + 1 < len(self.firsts) else len(self.songs)
        return slice(self.firsts[song], following)

    @cached_property
    def common(self) -> np.ndarray:
        """(n,) how common each window of the cohort is among the others' windows."""
        similarity = self.vectors @ self.vectors.T
        similarity[self.songs[:, None] == self.songs] = -1
        return crowd(similarity)

    def commonness(self, vectors: np.ndarray) -> np.ndarray:
        """(m, dim) -> (m,) mean cosine of each with the CROWD nearest windows of the cohort."""
        if not len(self.vectors):
            return np.zeros(len(vectors), np.float32)
        return crowd(vectors @ self.vectors.T)


def crowd(similarity: np.ndarray) -> np.ndarray:
    """(m, n) -> (m,) mean of the CROWD largest."""
    count = min(CROWD, similarity.shape[1])
    return np.partition(similarity, -count, axis=1)[:, -count:].mean(axis=1)


def _middle(frames: np.ndarray, length: int) -> np.ndarray:
    start = max(0, len(frames) - length) // 2
    return frames[start : start + length]
