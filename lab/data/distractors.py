"""Recordings that were never audio but match real music, to fill large libraries for measurements.

Every distractor is made from two real recordings, the sources. Its embeddings are a mixture of theirs: with x and y
rows of the two sources and m the mean row of all sources, a row is

    unit(m + cos(a) (x - m) + sin(a) (y - m)).

Mean, covariance and correlation in time are those of the sources, so a query finds neighbours as similar as among
real music. A random walk is much easier: the best of 20,000 unrelated rows has a cosine of 0.56 instead of 0.75.
Landmarks and tonal frames are those of the first source, moved in time, transposed, and with some peaks changed, so
their density is real.

The sources must neither be in the library nor be queried: distractors resemble them everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from songprint.covers import tonal
from songprint.types import Embeddings, Kind, Tags

ANGLES = (0.5, 1.07)  # radians; between them, neither source has more than 77% of the variance
CHANGED_PEAKS = 0.1  # share of the landmarks that move by a step of frequency
TRANSPOSED = 24  # steps of the landmark scale, at most
WORDS = 20_000  # different words in titles, names and albums
SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvw" for vowel in "aeiou"]


@dataclass(frozen=True)
class Likeness:
    """How rows resemble rows of other recordings, and their own neighbours."""

    best: float  # mean cosine of the best among `compared` rows of other recordings
    compared: int
    next_row: float  # mean cosine of a row and the next one
    later: float  # of a row and the one 16 rows later
    mean: float  # length of the mean row
    spread: np.ndarray  # eigenvalues of the covariance, the largest first


class Distractors:
    """Makes distractors from the embeddings of at least two sources, each with all kinds."""

    def __init__(self, sources: Sequence[Mapping[Kind, Embeddings]], duration: float = 240.0, seed: int = 0) -> None:
        if len(sources) < 2:
            raise ValueError("distractors need at least two sources")
        self.duration, self.seed = duration, seed
        self._sources = sources
        self._means = {
            kind: np.concatenate([source[kind].vectors for source in sources]).mean(0) for kind in sources[0]
        }
        rng = np.random.default_rng([seed, 1])
        self._words = ["".join(rng.choice(SYLLABLES, rng.integers(1, 5))).capitalize() for _ in range(WORDS)]
        self._often = np.cumsum(1 / np.arange(10, WORDS + 10))  # few words are frequent, as in language

    def embeddings(self, number: int) -> dict[Kind, Embeddings]:
        """Return the embeddings of one distractor. The same number always gives the same."""
        rng = np.random.default_rng([self.seed, 2, number])
        first, second = (self._sources[each] for each in rng.choice(len(self._sources), 2, replace=False))
        places, angle = rng.random(2), rng.uniform(*ANGLES)
        made = {}
        for kind, of_first in first.items():
            of_second = second[kind]
            rows = max(1, round(self.duration / of_first.hop))
            mean = self._means[kind]
            vectors = (
                mean
                + np.cos(angle) * (_from(of_first.vectors, places[0], rows) - mean)
                + np.sin(angle) * (_from(of_second.vectors, places[1], rows) - mean)
            )
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
            per_second = len(of_first.evidence) / (len(of_first.vectors) * of_first.hop)
            evidence = _from(of_first.evidence, places[0], round(self.duration * per_second))
            changed = _other_peaks(evidence, rng) if kind is Kind.RECORDING else _other_key(evidence, rng)
            made[kind] = Embeddings(vectors.astype(np.float32), of_first.hop, of_first.encoder_id, changed)
        return made

    def tags(self, number: int) -> Tags:
        """Return invented tags of one distractor."""
        rng = np.random.default_rng([self.seed, 3, number])

        def words(count: int) -> str:
            places = np.searchsorted(self._often, rng.random(count) * self._often[-1])
            return " ".join(self._words[each] for each in places)

        return Tags(title=words(3), artists=(words(2),), album=words(2), year=int(rng.integers(1950, 2026)))


def likeness(rows: Sequence[np.ndarray], queries: np.ndarray, compared: int, seed: int = 0) -> Likeness:
    """Measure `rows`, one array for each recording, and how close they come to `queries` (n, dim) of other music."""
    together = np.concatenate(rows)
    chosen = together[np.random.default_rng(seed).permutation(len(together))[:compared]]
    centred = together - together.mean(0)
    return Likeness(
        best=float(np.mean([(part @ chosen.T).max(1).mean() for part in np.array_split(queries, 8) if len(part)])),
        compared=len(chosen),
        next_row=_at_lag(rows, 1),
        later=_at_lag(rows, 16),
        mean=float(np.linalg.norm(together.mean(0))),
        spread=np.linalg.eigvalsh(centred.T @ centred / len(centred))[::-1],
    )


def _at_lag(rows: Sequence[np.ndarray], lag: int) -> float:
    return float(np.mean([(each[:-lag] * each[lag:]).sum(1).mean() for each in rows if len(each) > 2 * lag]))


def _from(rows: np.ndarray, place: float, count: int) -> np.ndarray:
    """Return `count` rows from a place (0 to 1) on; after the last row, the first one follows."""
    return rows[(int(place * len(rows)) + np.arange(count)) % len(rows)]


def _other_peaks(landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Transpose landmarks and move some of them. Those that leave the range of codes stay at its ends."""
    steps = rng.integers(-TRANSPOSED, TRANSPOSED + 1) + np.where(
        rng.random(landmarks.shape, np.float32) < CHANGED_PEAKS, rng.integers(-3, 4, landmarks.shape), 0
    )
    moved = np.clip(landmarks.astype(np.int16) + steps, 1, 255).astype(np.uint8)
    return np.where(landmarks > 0, moved, np.uint8(0))


def _other_key(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Transpose tonal frames."""
    pitches = tonal.COLUMNS // tonal.CHANNELS
    channels = frames.reshape(len(frames), tonal.CHANNELS, pitches)
    return np.roll(channels, int(rng.integers(pitches)), axis=2).reshape(frames.shape)
