"""The windows of a query compared with those of recordings, in the space of the cover encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache, partial
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np

from songprint.covers.cache import ArrayCache
from songprint.covers.parameters import DEFAULT

if TYPE_CHECKING:
    from songprint.covers.align import TonalAlignment
    from songprint.covers.cohort import Cohort
    from songprint.types import Embeddings

PARAMETERS = DEFAULT.cohort
WINDOW = 20.0  # seconds that a vector describes


class WindowComparison:
    """The windows of a query compared with those of several references.

    Similarities are lowered where a window is a hub, that is, similar to much of the cohort (cross-domain similarity
    local scaling: Conneau et al., "Word translation without parallel data", ICLR 2018).
    """

    def __init__(self, vectors: np.ndarray, references: Sequence[tuple[Embeddings, np.ndarray]], cohort: Cohort):
        """`vectors (m, dim)` of the query; each reference with the numbers of its rows with content."""
        self.hops = [reference.hop for reference, _ in references]
        self.rows = [rows for _, rows in references]
        self.vectors = np.concatenate([reference.vectors[rows] for reference, rows in references])
        self.firsts = np.cumsum([0, *map(len, self.rows)])[:-1]
        hubness = _cached_hubness(cohort)
        self.hubness = np.concatenate([hubness(reference.vectors[rows]) for reference, rows in references])
        own = cohort.hubness(vectors)[:, None]
        self.similarity = vectors @ self.vectors.T - (own + self.hubness) / 2  # (m, windows of all references)
        self.raw = better_half(np.maximum.reduceat(self.similarity, self.firsts, axis=1))
        self.cohort = cohort
        self.raw_cohort = (
            better_half(
                np.maximum.reduceat(vectors @ cohort.vectors.T - (own + cohort.own_hubness) / 2, cohort.firsts, axis=1)
            )
            if len(cohort.vectors)
            else np.zeros(0, np.float32)
        )
        self.scores, self.cohort_scores = (
            normalised(scores, self.raw_cohort, PARAMETERS.typical_cosine) for scores in (self.raw, self.raw_cohort)
        )

    def of(self, number: int) -> slice:
        """The columns of one reference."""
        return slice(self.firsts[number], self.firsts[number] + len(self.rows[number]))

    def leads(
        self, best: Sequence[int], scores: Sequence[np.ndarray], cohort_scores: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """The lead of each of the `best` references over its best rival, 0 for the others, for each kind of score.

        Args:
            best: numbers of references.
            scores: for each kind of score, (references,).
            cohort_scores: for each kind of score, those of the first songs of the cohort.

        The songs of the cohort are rivals as well, because a small library has few. References that are more similar
        to each other than either is to the query are renditions of one song and no rivals.
        """
        leads = [np.zeros(len(of_kind)) for of_kind in scores]
        between = self._between(best)
        orders = [np.argsort(-of_kind, kind="stable").tolist() for of_kind in cohort_scores]
        for place, one in enumerate(best):
            rivals = [
                other
                for other, alike in zip(best, between[place], strict=True)
                if other != one and alike < max(self.raw[one], self.raw[other])
            ]
            to_song = cache(partial(self._to_cohort_song, one))
            for lead, of_kind, of_cohort, order in zip(leads, scores, cohort_scores, orders, strict=True):
                unrelated = (
                    of_cohort[song] for song in order if to_song(song) < max(self.raw[one], self.raw_cohort[song])
                )
                lead[one] = of_kind[one] - max([*of_kind[rivals], *islice(unrelated, 1)], default=0.0)
        return leads

    def _between(self, numbers: Sequence[int]) -> np.ndarray:
        """(n, n) similarity of each of these references with each."""
        parts = [self.of(number) for number in numbers]
        firsts = np.cumsum([0, *(part.stop - part.start for part in parts)])
        vectors, hubness = (np.concatenate([values[part] for part in parts]) for values in (self.vectors, self.hubness))
        nearest = np.maximum.reduceat(vectors @ vectors.T - hubness / 2, firsts[:-1], axis=1) - hubness[:, None] / 2
        return np.array([better_half(nearest[first:last]) for first, last in pairwise(firsts)])

    def _to_cohort_song(self, one: int, song: int) -> float:
        """Similarity of a reference with a song of the cohort, of which few windows are kept."""
        rows, columns = self.cohort.rows(song), self.of(one)
        similarity = self.cohort.vectors[rows] @ self.vectors[columns].T - self.hubness[columns] / 2
        nearest = similarity.max(axis=1, keepdims=True) - self.cohort.own_hubness[rows][:, None] / 2
        return float(better_half(nearest)[0])

    def consistent(self, number: int, times: np.ndarray, alignment: TonalAlignment | None) -> float:
        """The share of the query's windows whose nearest window lies where the alignment places it.

        `times (m,)` are the seconds at which the windows begin.
        """
        if alignment is None:
            return 0.0
        nearest = self.rows[number][self.similarity[:, self.of(number)].argmax(axis=1)] * self.hops[number]
        query, reference = alignment.path.T
        expected = np.interp(times + WINDOW / 2, query, reference) - WINDOW / 2
        return float((np.abs(nearest - expected) <= PARAMETERS.consistent_distance).mean())


def better_half(best: np.ndarray) -> np.ndarray:
    """(m, n) similarity of each window with each reference -> (n,) mean over the better half of the windows."""
    count = (len(best) + 1) // 2
    means: np.ndarray = np.partition(best, len(best) - count, axis=0)[len(best) - count :].mean(axis=0)
    return means


def normalised(
    scores: Sequence[float] | np.ndarray, cohort: Sequence[float] | np.ndarray, typical: tuple[float, float]
) -> np.ndarray:
    """Scores in standard deviations above the mean of the cohort's (cohort normalisation, z-norm).

    `typical` is the mean and the standard deviation that replace those of a cohort with too few songs.
    """
    mean, deviation = (np.mean(cohort), np.std(cohort)) if len(cohort) >= PARAMETERS.min_songs else typical
    return (np.asarray(scores) - mean) / max(float(deviation), typical[1] / 4)


@lru_cache(maxsize=2)
def _cached_hubness(cohort: Cohort) -> ArrayCache:
    """`Cohort.hubness`, cached for the recordings that were compared last."""
    return ArrayCache(cohort.hubness, PARAMETERS.cache_bytes)
