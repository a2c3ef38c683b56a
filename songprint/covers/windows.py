"""The windows of a clip beside those of recordings, in the space of the encoder of covers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from hashlib import blake2b
from itertools import islice, pairwise
from threading import Lock

import numpy as np

from songprint.covers.align import TonalAlignment
from songprint.covers.cohort import Cohort
from songprint.types import Embeddings

WINDOW = 20.0  # seconds that a vector describes
ROOM = 1 << 20  # bytes that remember how common the windows of some thousand recordings are
NEAR = 7.5  # seconds off the path at which a window still agrees with it
FEWEST = 4  # songs of a cohort without which there is nothing to normalise by
USUAL_COSINE = (0.2, 0.1)  # mean and standard deviation that are taken then


class WindowComparison:
    """The windows of a query against those of several references."""

    def __init__(self, vectors: np.ndarray, references: Sequence[tuple[Embeddings, np.ndarray]], cohort: Cohort):
        """`vectors (m, dim)` of the query; of each reference the rows that are heard."""
        self.hops = [reference.hop for reference, _ in references]
        self.rows = [rows for _, rows in references]
        self.vectors = np.concatenate([reference.vectors[rows] for reference, rows in references])
        self.firsts = np.cumsum([0, *map(len, self.rows)])[:-1]
        common = _commonness(cohort)
        self.common = np.concatenate([common(reference.vectors[rows]) for reference, rows in references])
        own = cohort.commonness(vectors)[:, None]
        self.similarity = vectors @ self.vectors.T - (own + self.common) / 2  # (m, windows of all references)
        self.raw = better_half(np.maximum.reduceat(self.similarity, self.firsts, axis=1))
        self.cohort = cohort
        self.raw_crowd = (
            better_half(
                np.maximum.reduceat(vectors @ cohort.vectors.T - (own + cohort.common) / 2, cohort.firsts, axis=1)
            )
            if len(cohort.vectors)
            else np.zeros(0, np.float32)
        )
        self.scores, self.crowd = (
            normalised(those, self.raw_crowd, USUAL_COSINE) for those in (self.raw, self.raw_crowd)
        )

    def of(self, number: int) -> slice:
        """The columns of one reference."""
        return slice(self.firsts[number], self.firsts[number] + len(self.rows[number]))

    def leads(
        self, best: Sequence[int], scores: Sequence[np.ndarray], strangers: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """How far each of the `best` is above the best rival; 0 for the others; by each kind of `scores`.

        The songs of the cohort, of which the first have the scores `strangers`, are rivals as well: a small library
        has few of its own. Two that are more like each other than either is like the query are renditions of one
        song, and no rivals.
        """
        leads = [np.zeros(len(those)) for those in scores]
        between = self._between(best)
        orders = [np.argsort(-of_strangers, kind="stable").tolist() for of_strangers in strangers]
        for place, one in enumerate(best):
            rivals = [
                other
                for other, alike in zip(best, between[place], strict=True)
                if other != one and alike < max(self.raw[one], self.raw[other])
            ]
            to_stranger = cache(partial(self._to_stranger, one))
            for lead, those, of_strangers, order in zip(leads, scores, strangers, orders, strict=True):
                strange = (
                    of_strangers[song] for song in order if to_stranger(song) < max(self.raw[one], self.raw_crowd[song])
                )
                lead[one] = those[one] - max([*those[rivals], *islice(strange, 1)], default=0.0)
        return leads

    def _between(self, numbers: Sequence[int]) -> np.ndarray:
        """(n, n) how similar each of these references is to each."""
        parts = [self.of(number) for number in numbers]
        firsts = np.cumsum([0, *(part.stop - part.start for part in parts)])
        vectors, common = (np.concatenate([those[part] for part in parts]) for those in (self.vectors, self.common))
        nearest = np.maximum.reduceat(vectors @ vectors.T - common / 2, firsts[:-1], axis=1) - common[:, None] / 2
        return np.array([better_half(nearest[first:last]) for first, last in pairwise(firsts)])

    def _to_stranger(self, one: int, song: int) -> float:
        """How similar a reference and a song of the cohort are, of which few windows are kept."""
        rows, columns = self.cohort.rows(song), self.of(one)
        similarity = self.cohort.vectors[rows] @ self.vectors[columns].T - self.common[columns] / 2
        nearest = similarity.max(axis=1, keepdims=True) - self.cohort.common[rows][:, None] / 2
        return float(better_half(nearest)[0])

    def consistent(self, number: int, times: np.ndarray, alignment: TonalAlignment | None) -> float:
        """The share of the query's windows that are most similar to where the alignment lays them.

        `times (m,)` are seconds at which they begin.
        """
        if alignment is None:
            return 0.0
        nearest = self.rows[number][self.similarity[:, self.of(number)].argmax(axis=1)] * self.hops[number]
        query, reference = alignment.path.T
        expected = np.interp(times + WINDOW / 2, query, reference) - WINDOW / 2
        return float((np.abs(nearest - expected) <= NEAR).mean())


def better_half(best: np.ndarray) -> np.ndarray:
    """(m, n) for each window its best in each reference -> (n,) mean over the better half of the windows."""
    count = (len(best) + 1) // 2
    return np.partition(best, len(best) - count, axis=0)[len(best) - count :].mean(axis=0)


def normalised(
    scores: Sequence[float] | np.ndarray, crowd: Sequence[float] | np.ndarray, usual: tuple[float, float]
) -> np.ndarray:
    """Standard deviations above the crowd; where there is none, above what is `usual`."""
    mean, deviation = (np.mean(crowd), np.std(crowd)) if len(crowd) >= FEWEST else usual
    return (np.asarray(scores) - mean) / max(float(deviation), usual[1] / 4)


@lru_cache(maxsize=2)
def _commonness(cohort: Cohort) -> Remembered:
    """`Cohort.commonness`, that of the recordings asked for last remembered."""
    return Remembered(cohort.commonness, ROOM)


class Remembered:
    """A function of an array, with its last results, as many as there is `room` for, in bytes.

    An array is known by its numbers, wherever they come from. Results are shared: they are not to be written to. Safe
    to use from threads.
    """

    def __init__(self, function: Callable[[np.ndarray], np.ndarray], room: int):
        self._function = function
        self._left = room
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def __call__(self, given: np.ndarray) -> np.ndarray:
        name = blake2b(np.ascontiguousarray(given), digest_size=16).digest()
        with self._lock:
            if (known := self._kept.get(name)) is not None:
                self._kept.move_to_end(name)
        if known is None:
            known = self._function(given)
            known.flags.writeable = False
            self._keep(name, known)
        return known

    def _keep(self, name: bytes, result: np.ndarray) -> None:
        with self._lock:
            if name in self._kept:  # by another thread, in the meantime
                return
            self._kept[name] = result
            self._left -= result.nbytes
            while self._left < 0:
                self._left += self._kept.popitem(last=False)[1].nbytes
