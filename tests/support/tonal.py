"""Songs as tonal frames: chords, bass and a tune drawn from a seed, played in any key, tempo and order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from songprint.types import Embeddings

FRAMES_PER_SECOND = 5
BEATS = 32  # of one part
DEGREES = [(0, 4, 7), (2, 5, 9), (4, 7, 11), (5, 9, 0), (7, 11, 2), (9, 0, 4)]
PARTS = "ABAC"
WINDOW, HOP, DIM = 20.0, 5.0, 64  # of the embeddings


class Song:
    """Three parts of BEATS beats; a chord lasts two to four beats, a note of the tune one or two."""

    def __init__(self, seed: int):
        random = np.random.default_rng([909, seed])
        self.home = int(random.integers(12))
        self.parts = {name: self._part(random) for name in sorted(set(PARTS))}
        # the embedding of every beat, the same in all keys and tempi
        self.places = {name: random.standard_normal((BEATS // 4, DIM)).repeat(4, axis=0) for name in self.parts}

    def _part(self, random: np.random.Generator) -> np.ndarray:
        """(BEATS, 48) what sounds at each beat."""
        beats = np.zeros((BEATS, 4, 12), np.float32)
        at = 0
        while at < BEATS:
            chord, length = DEGREES[random.integers(6)], int(random.integers(2, 5))
            beats[at : at + length, 0, list(chord)] = 0.8
            beats[at : at + length, 1, chord[0]] = 0.9
            at += length
        at, note = 0, int(random.integers(7))
        while at < BEATS:
            length = int(random.integers(1, 3))
            note = (note + int(random.integers(-3, 4))) % 7
            beats[at : at + length, 2, (0, 2, 4, 5, 7, 9, 11)[note]] = 1.0
            at += length
        return np.roll(beats, self.home, axis=2).reshape(BEATS, 48)

    def frames(
        self,
        *,
        key: int = 0,
        tempo: float = 1.0,
        parts: str = PARTS,
        noise: float = 0.1,
        seed: int = 0,
        channels: Sequence[int] = (0, 1, 2),
    ) -> np.ndarray:
        """(n, 48) uint8: `parts` one after the other, two beats a second at tempo 1, `key` semitones higher."""
        beats = np.concatenate([self.parts[part] for part in parts]).reshape(-1, 4, 12)
        beats = np.roll(beats, key, axis=2)
        beats[:, [channel for channel in range(3) if channel not in channels]] = 0
        beats[:, 3] = beats.max(axis=1)
        beats = beats[np.arange(0, len(beats), 2 * tempo / FRAMES_PER_SECOND).astype(int)]
        sounds = beats.any(axis=2, keepdims=True)
        frames = beats + sounds * np.random.default_rng([seed, len(beats)]).normal(0, noise, beats.shape)
        return (np.round(np.clip(frames, 0, 1) * 15) * 17).astype(np.uint8).reshape(-1, 48)

    def rendition(
        self, *, tempo: float = 1.0, parts: str = PARTS, noise: float = 0.1, seed: int = 0, **how
    ) -> Embeddings:
        """The embeddings of a cover encoder for these frames."""
        frames = self.frames(tempo=tempo, parts=parts, noise=noise, seed=seed, **how)
        return Embeddings(self._vectors(frames, tempo, parts, noise, seed), HOP, "toy-cover", frames)

    def _vectors(self, frames: np.ndarray, tempo: float, parts: str, noise: float, seed: int) -> np.ndarray:
        beats = np.concatenate([self.places[part] for part in parts])
        length = len(frames) / FRAMES_PER_SECOND
        starts = np.minimum(np.arange(0, max(length - WINDOW, 0) + HOP, HOP), max(length - WINDOW, 0))
        edges = (starts[:, None] + [0, WINDOW]) * 2 * tempo
        vectors = np.stack([beats[round(first) : round(last)].mean(axis=0) for first, last in edges])
        vectors += np.random.default_rng([seed, 1]).normal(0, noise, vectors.shape)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def excerpt(rendition: Embeddings, start: float, duration: float = 1e9) -> Embeddings:
    """The seconds of a rendition from `start`, a multiple of HOP."""
    first, last = round(start * FRAMES_PER_SECOND), round((start + duration) * FRAMES_PER_SECOND)
    rows = slice(round(start / HOP), round((start + max(duration - WINDOW, 0)) / HOP) + 1)
    return Embeddings(rendition.vectors[rows], HOP, rendition.encoder_id, rendition.evidence[first:last])


def seconds(part: int, tempo: float = 1.0) -> float:
    """When the `part`-th part begins."""
    return part * BEATS / (2 * tempo)
