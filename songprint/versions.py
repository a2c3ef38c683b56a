"""A clip -> the recordings of the library that may be other renditions of its song.

The index suggests recordings with similar windows. Each of the best is compared in two ways that err differently:
window by window in the space of the encoder, and by laying its tonal frames along those of the clip
(`tonal_align`). Both are told in standard deviations above what the clip reaches against a cohort, songs that
ship with the encoder and are nobody's cover: some clips resemble everything. The same holds for recordings, so
that similarities are lowered where a window resembles much of the cohort (cross-domain similarity local scaling:
Conneau et al., "Word translation without parallel data", ICLR 2018). What is laid along each other is what sounds
and the motifs that a network finds in it (`tonal_rows`); of the very best another network looks at what lies along the
path (`tonal_bands`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache, partial
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from songprint import tonal_align, tonal_bands
from songprint.encoders.tonal import COLUMNS, FRAMES_PER_SECOND, PITCH_CLASSES
from songprint.index import NOTHING, Index, split_ids
from songprint.remembered import Remembered
from songprint.tonal_align import Comparison, TonalAlignment
from songprint.tonal_rows import FindMotifs, Rendition
from songprint.types import Embeddings

NEIGHBOURS = 200            # nearest windows looked at for each window of the clip
MANY = 1000                 # when some recordings are to be left out of them
SHORTEST = 8.0              # seconds aligned; with less no cover is claimed
WINDOW = 20.0               # seconds that a vector describes
ROOM = 1 << 20              # bytes that remember how common the windows of some thousand recordings are
NEAR = 7.5                  # seconds off the path at which a window still agrees with it
CROWD = 10                  # nearest windows of the cohort that tell how common a window is
EMBEDDING, ALIGNMENT = 0.5, 0.5         # what each comparison counts
LIKELY = 5                  # references, by each comparison, that are laid in so many keys:
LIKELY_KEYS = 6
JUDGED = 5                  # the best ones, that are looked at closely, and that a judge is asked about
CLOSELY = ("tune", "place_lead", "verified")        # what is asked of these alone
RIVALS = 10                 # versions, the best ones, that are rivals of each other
FEWEST = 4                  # songs of a cohort without which there is nothing to normalise by
USUAL_COSINE = (0.2, 0.1)   # mean and standard deviation that are taken then
USUAL_ALIGNMENT = (1.4, 0.5)

LEADS = ("lead", "embedding_lead", "alignment_lead")       # over rivals, by both comparisons and by each
UNBOUNDED = ("score", *LEADS, "embedding", "alignment", "crookedness")     # a judge weighs the logarithms of these
FEATURES = (*(f"log_{name}" for name in UNBOUNDED), "aligned", "share", "density", "agreement", "consistent",
            "key_lead", *CLOSELY, "length", "entropy", "library")


@dataclass(frozen=True)
class Version:
    """A recording that may be another rendition of what is heard, and what speaks for it."""

    recording_id: int
    alignment: TonalAlignment | None        # None only if it was not asked to be `find`'s answer
    features: dict[str, float]              # what a judge looks at, FEATURES, and what is UNBOUNDED as it is
    score: float                            # standard deviations above unrelated music

    @property
    def claimable(self) -> bool:
        """Whether as much of it is aligned as a cover needs."""
        return self.alignment is not None and self.features["aligned"] >= SHORTEST

    def features_in(self, segments: int) -> dict[str, float]:
        """The features when it is the answer of a library of so many segments, whatever it was compared with."""
        return self.features | {"library": float(np.log10(segments + 1))}


@dataclass(frozen=True, eq=False)
class Networks:
    """What looks at renditions besides the encoder. Without them they are compared by what sounds alone."""

    motifs: FindMotifs | None = None
    verify: Callable[[np.ndarray], np.ndarray] | None = None   # bands (n, rows, ...) of `tonal_bands` -> (n,) log-odds

    def ready(self, frames: np.ndarray) -> Rendition | None:
        """Tonal frames, made ready for alignment."""
        return Rendition.of(frames, self.motifs)


NONE = Networks()


@dataclass(frozen=True, eq=False)
class Cohort:
    """Songs that are nobody's cover, to tell what is usual."""

    vectors: np.ndarray                     # (n, dim) float32, those of a song one after the other
    songs: np.ndarray                       # (n,) the song of each, 0, 1, 2, ...
    excerpts: tuple[np.ndarray, ...]        # tonal frames (m, 48) of some of them

    @classmethod
    def of(cls, recordings: Iterable[Embeddings], *, excerpts: int = 64, seconds: float = 60.0) -> Cohort:
        """All heard vectors of the recordings, and the middle `seconds` of the frames of the first `excerpts`."""
        recordings = [recording for recording in recordings if recording.heard.any()]
        heard = [np.asarray(recording.vectors)[recording.heard] for recording in recordings]
        length = round(seconds * FRAMES_PER_SECOND)
        return cls(np.concatenate(heard) if heard else np.zeros((0, 0), np.float32),
                   np.repeat(np.arange(len(heard)), [len(vectors) for vectors in heard]),
                   tuple(_middle(recording.evidence, length) for recording in recordings[:excerpts]))

    @classmethod
    def none(cls) -> Cohort:
        """Nobody: what is usual is then a guess."""
        return cls.of([])

    @classmethod
    def load(cls, path: Path) -> Cohort:
        with path.open("rb") as file, np.load(file) as kept:
            vectors = kept["vectors"].astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            return cls(vectors, kept["songs"].astype(np.int64),
                       tuple(np.split(kept["frames"], np.cumsum(kept["lengths"])[:-1])))

    def save(self, path: Path) -> None:
        """As a compressed file: a byte for each number of a vector."""
        frames = np.concatenate([np.zeros((0, COLUMNS), np.uint8), *self.excerpts])
        np.savez_compressed(path, vectors=np.rint(self.vectors * 127).astype(np.int8),
                            songs=self.songs.astype(np.int16), frames=frames,
                            lengths=np.array([len(excerpt) for excerpt in self.excerpts]))

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
        return _crowd(similarity)

    def commonness(self, vectors: np.ndarray) -> np.ndarray:
        """(m, dim) -> (m,) mean cosine of each with the CROWD nearest windows of the cohort."""
        if not len(self.vectors):
            return np.zeros(len(vectors), np.float32)
        return _crowd(vectors @ self.vectors.T)


def find(query: Embeddings, index: Index, embeddings_of: Callable[[Iterable[int]], Mapping[int, Embeddings]],
         cohort: Cohort, networks: Networks = NONE, *, leave_out: Collection[int] = (), most: int = 50
         ) -> Iterator[Version]:
    """The recordings that may be other renditions of the query, at most `most`, best first.

    Each is made when it is asked for. Those of which less than SHORTEST seconds can be aligned are not among them.
    `leave_out` pretends that the library lacks some recordings.
    """
    candidates = suggested(query, index, leave_out=leave_out, most=most)
    for version in compare(query, embeddings_of(candidates), cohort, networks):
        if version.claimable:
            yield replace(version, features=version.features_in(len(index)))


def suggested(query: Embeddings, index: Index, *, leave_out: Collection[int] = (), most: int = 50) -> list[int]:
    """The recordings with the windows most like those of the query, most similar first."""
    vectors = query.vectors[query.heard]
    if not len(vectors) or not len(index):
        return []
    ids, cosines = index.search(vectors, MANY if leave_out else NEIGHBOURS)
    recordings = np.where(ids == NOTHING, NOTHING, split_ids(ids)[0])
    known = (recordings != NOTHING) & ~np.isin(recordings, list(leave_out))
    names, places = np.unique(recordings[known], return_inverse=True)
    # a recording that the search did not bring up for a window is like the last one that it did
    floor = np.where(known, cosines, 1).min(axis=1)
    best = np.repeat(floor[:, None], len(names), axis=1)
    np.maximum.at(best, (np.nonzero(known)[0], places), cosines[known])
    scores = _better_half(best)
    return names[np.argsort(-scores, kind="stable")[:most]].tolist()


def compare(query: Embeddings, references: Mapping[int, Embeddings], cohort: Cohort, networks: Networks = NONE
            ) -> Iterator[Version]:
    """The query against each of the references, best first, also those that cannot be aligned.

    Each is made when it is asked for.
    """
    heard = {name: rows for name, one in references.items() if len(rows := np.flatnonzero(one.heard))}
    if not query.heard.any() or not heard:
        return
    names = list(heard)
    windows = _Windows(query.vectors[query.heard], [(references[name], heard[name]) for name in names], cohort)
    ready = [networks.ready(references[name].evidence) for name in names]
    own, strangers = networks.ready(query.evidence), _made_ready(cohort, networks)
    along = Comparison(own, [*ready, *strangers])
    everything = range(len(ready) + len(strangers))
    along.lay(everything)
    usual = [along.height(number) for number in everything[len(ready):]]

    def compared() -> tuple[np.ndarray, np.ndarray]:
        by_alignment = _normalised([along.height(number) for number in range(len(ready))], usual, USUAL_ALIGNMENT)
        return by_alignment, _both(windows.scores, by_alignment)

    along.lay(np.unique([np.argsort(-by, kind="stable")[:LIKELY] for by in (windows.scores, compared()[1])]).tolist(),
              LIKELY_KEYS)
    by_alignment, scores = compared()
    best = np.argsort(-scores, kind="stable").tolist()
    crowd = windows.crowd[:len(usual)], _normalised(usual, usual, USUAL_ALIGNMENT)
    leads = windows.leads(best[:RIVALS], (scores, windows.scores, by_alignment), (_both(*crowd), *crowd))
    closely = _closely(own, ready, along, best[:JUDGED], networks)
    times = np.flatnonzero(query.heard) * query.hop
    duration = max(1.0, len(query.evidence) / FRAMES_PER_SECOND)
    about = {"length": float(np.log(duration)), "entropy": entropy(query.evidence),
             "library": float(np.log10(len(references) + 1))}
    for number in best:
        alignment = along.alignment(number)
        features = about | _with_logarithms({
            "score": float(scores[number]), "embedding": float(windows.scores[number]),
            "alignment": float(by_alignment[number]), "crookedness": _said(alignment, "crookedness"),
            **{name: float(those[number]) for name, those in zip(LEADS, leads, strict=True)}}) | {
            "consistent": windows.consistent(number, times, alignment),
            **{name: _said(alignment, name) for name in ("aligned", "density", "agreement", "key_lead")},
            "share": _said(alignment, "aligned") / duration,
        } | dict.fromkeys(CLOSELY, 0.0) | closely.get(number, {})
        yield Version(names[number], alignment, features, float(scores[number]))


def _closely(own: Rendition, ready: Sequence[Rendition | None], along: Comparison, numbers: Sequence[int],
             networks: Networks) -> dict[int, dict[str, float]]:
    """What is asked of a few references alone, CLOSELY, as far as they are aligned.

    Songs of the same few chords agree as well a bar later, and have other tunes. How that looks along the path, all
    channels together, a network has learned.
    """
    aligned = {number: alignment for number in numbers if (alignment := along.alignment(number))}
    found = {number: tonal_align.channels_along(own, ready[number], alignment) for number, alignment in aligned.items()}
    if networks.verify and aligned:
        bands = np.stack([tonal_bands.band(own, ready[number], alignment) for number, alignment in aligned.items()])
        for number, log_odds in zip(aligned, networks.verify(bands).tolist(), strict=True):
            found[number]["verified"] = log_odds
    return found


@lru_cache(maxsize=2)
def _made_ready(cohort: Cohort, networks: Networks) -> list[Rendition | None]:
    """The excerpts of a cohort, for alignment."""
    return [networks.ready(excerpt) for excerpt in cohort.excerpts]


@lru_cache(maxsize=2)
def _commonness(cohort: Cohort) -> Remembered:
    """`Cohort.commonness`, that of the recordings asked for last remembered."""
    return Remembered(cohort.commonness, ROOM)


def _both(by_windows: np.ndarray, by_alignment: np.ndarray) -> np.ndarray:
    """The two comparisons as one score."""
    return EMBEDDING * by_windows + ALIGNMENT * by_alignment


def _with_logarithms(deviations: dict[str, float]) -> dict[str, float]:
    """Beside each its logarithm, with its sign: forty standard deviations are no more certain than twenty.

    One song of the same four chords as the query, from end to end, may be that far above the cohort.
    """
    return deviations | {f"log_{name}": float(np.copysign(np.log1p(abs(value)), value))
                         for name, value in deviations.items()}


def entropy(frames: np.ndarray) -> float:
    """How evenly the pitch classes sound, from 0, a single one, to 1, all alike as in noise."""
    sounds = frames[:, :PITCH_CLASSES].sum(axis=0, dtype=np.float64)
    if not sounds.any():
        return 1.0
    share = sounds[sounds > 0] / sounds.sum()
    return float(-(share * np.log(share)).sum() / np.log(PITCH_CLASSES))


def _middle(frames: np.ndarray, length: int) -> np.ndarray:
    start = max(0, len(frames) - length) // 2
    return frames[start:start + length]


def _said(alignment: TonalAlignment | None, name: str) -> float:
    return alignment.features[name] if alignment else 0.0


class _Windows:
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
        self.similarity = vectors @ self.vectors.T - (own + self.common) / 2        # (m, windows of all references)
        self.raw = _better_half(np.maximum.reduceat(self.similarity, self.firsts, axis=1))
        self.cohort = cohort
        self.raw_crowd = (_better_half(np.maximum.reduceat(
            vectors @ cohort.vectors.T - (own + cohort.common) / 2, cohort.firsts, axis=1))
            if len(cohort.vectors) else np.zeros(0, np.float32))
        self.scores, self.crowd = (_normalised(those, self.raw_crowd, USUAL_COSINE)
                                   for those in (self.raw, self.raw_crowd))

    def of(self, number: int) -> slice:
        """The columns of one reference."""
        return slice(self.firsts[number], self.firsts[number] + len(self.rows[number]))

    def leads(self, best: Sequence[int], scores: Sequence[np.ndarray], strangers: Sequence[np.ndarray]
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
            rivals = [other for other, alike in zip(best, between[place], strict=True)
                      if other != one and alike < max(self.raw[one], self.raw[other])]
            to_stranger = cache(partial(self._to_stranger, one))
            for lead, those, of_strangers, order in zip(leads, scores, strangers, orders, strict=True):
                strange = (of_strangers[song] for song in order
                           if to_stranger(song) < max(self.raw[one], self.raw_crowd[song]))
                lead[one] = those[one] - max([*those[rivals], *islice(strange, 1)], default=0.0)
        return leads

    def _between(self, numbers: Sequence[int]) -> np.ndarray:
        """(n, n) how similar each of these references is to each."""
        parts = [self.of(number) for number in numbers]
        firsts = np.cumsum([0, *(part.stop - part.start for part in parts)])
        vectors, common = (np.concatenate([those[part] for part in parts]) for those in (self.vectors, self.common))
        nearest = np.maximum.reduceat(vectors @ vectors.T - common / 2, firsts[:-1], axis=1) - common[:, None] / 2
        return np.array([_better_half(nearest[first:last]) for first, last in pairwise(firsts)])

    def _to_stranger(self, one: int, song: int) -> float:
        """How similar a reference and a song of the cohort are, of which few windows are kept."""
        rows, columns = self.cohort.rows(song), self.of(one)
        similarity = self.cohort.vectors[rows] @ self.vectors[columns].T - self.common[columns] / 2
        nearest = similarity.max(axis=1, keepdims=True) - self.cohort.common[rows][:, None] / 2
        return float(_better_half(nearest)[0])

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


def _better_half(best: np.ndarray) -> np.ndarray:
    """(m, n) for each window its best in each reference -> (n,) mean over the better half of the windows."""
    count = (len(best) + 1) // 2
    return np.partition(best, len(best) - count, axis=0)[len(best) - count:].mean(axis=0)


def _crowd(similarity: np.ndarray) -> np.ndarray:
    """(m, n) -> (m,) mean of the CROWD largest."""
    count = min(CROWD, similarity.shape[1])
    return np.partition(similarity, -count, axis=1)[:, -count:].mean(axis=1)


def _normalised(scores: Sequence[float] | np.ndarray, crowd: Sequence[float] | np.ndarray,
                usual: tuple[float, float]) -> np.ndarray:
    """Standard deviations above the crowd; where there is none, above what is `usual`."""
    mean, deviation = (np.mean(crowd), np.std(crowd)) if len(crowd) >= FEWEST else usual
    return (np.asarray(scores) - mean) / max(float(deviation), usual[1] / 4)
