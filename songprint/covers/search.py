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
from functools import lru_cache

import numpy as np

from songprint.covers import align, verifier
from songprint.covers.align import Comparison, TonalAlignment
from songprint.covers.cohort import Cohort
from songprint.covers.rows import FindMotifs, Rendition
from songprint.covers.tonal import FRAMES_PER_SECOND, PITCH_CLASSES
from songprint.covers.windows import WindowComparison, better_half, normalised
from songprint.store.index import NOTHING, Index, split_ids
from songprint.types import Embeddings

NEIGHBOURS = 1000  # nearest windows looked at for each window of the clip
MOST = 30  # recordings that are compared closely,
LOOKED_OVER = 6  # and so many for each of them that are looked over: those that have the nearest windows
SHORTEST = 8.0  # seconds aligned; with less no cover is claimed
PROMISING = 0.5  # what a deviation of the coarse picture counts beside one of the windows
EMBEDDING, ALIGNMENT = 0.5, 0.5  # what each comparison counts
LIKELY = 5  # references, by each comparison, that are laid in so many keys:
LIKELY_KEYS = 6
JUDGED = 5  # the best ones, that are looked at closely, and that a judge is asked about
CLOSELY = ("tune", "place_lead", "verified")  # what is asked of these alone
RIVALS = 10  # versions, the best ones, that are rivals of each other
USUAL_ALIGNMENT = (1.4, 0.5)
USUAL_PROMISE = (1.9, 0.35)

LEADS = ("lead", "embedding_lead", "alignment_lead")  # over rivals, by both comparisons and by each
UNBOUNDED = ("score", *LEADS, "embedding", "alignment", "crookedness")  # a judge weighs the logarithms of these
FEATURES = (
    *(f"log_{name}" for name in UNBOUNDED),
    "aligned",
    "share",
    "density",
    "agreement",
    "consistent",
    "key_lead",
    *CLOSELY,
    "length",
    "entropy",
    "library",
)


@dataclass(frozen=True)
class CoverCandidate:
    """A recording that may be another rendition of what is heard, and what speaks for it."""

    recording_id: int
    alignment: TonalAlignment | None  # None only if it was not asked to be `find`'s answer
    features: dict[str, float]  # what a judge looks at: FEATURES, what is UNBOUNDED as it is, and
    #                                         `changed`, 1 if the clip was given another tempo (`tempi`)
    score: float  # standard deviations above unrelated music

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
    verify: Callable[[np.ndarray], np.ndarray] | None = None  # bands (n, rows, ...) of `tonal_bands` -> (n,) log-odds

    def prepare(self, frames: np.ndarray) -> Rendition | None:
        """Tonal frames, made ready for alignment."""
        return Rendition.of(frames, self.motifs)


NONE = Networks()


def find(
    query: Embeddings,
    index: Index,
    embeddings_of: Callable[[Iterable[int]], Mapping[int, Embeddings]],
    cohort: Cohort,
    networks: Networks = NONE,
    *,
    leave_out: Collection[int] = (),
    most: int = MOST,
) -> Iterator[CoverCandidate]:
    """The recordings that may be other renditions of the query, at most `most`, best first.

    Each is made when it is asked for. Those of which less than SHORTEST seconds can be aligned are not among them.
    `leave_out` pretends that the library lacks some recordings.
    """
    candidates = nearest_recordings(query, index, leave_out=leave_out, most=LOOKED_OVER * most)
    for candidate in compare(query, embeddings_of(candidates), cohort, networks, most):
        if candidate.claimable:
            yield replace(candidate, features=candidate.features_in(len(index)))


def nearest_recordings(query: Embeddings, index: Index, *, leave_out: Collection[int] = (), most: int) -> list[int]:
    """The recordings with the windows most like those of the query, most similar first."""
    vectors = query.vectors[query.has_content]
    if not len(vectors) or not len(index):
        return []
    ids, cosines = index.search(vectors, NEIGHBOURS)
    recordings = np.where(ids == NOTHING, NOTHING, split_ids(ids)[0])
    known = (recordings != NOTHING) & ~np.isin(recordings, list(leave_out))
    names, places = np.unique(recordings[known], return_inverse=True)
    # a recording that the search did not bring up for a window is like the last one that it did
    floor = np.where(known, cosines, 1).min(axis=1)
    best = np.repeat(floor[:, None], len(names), axis=1)
    np.maximum.at(best, (np.nonzero(known)[0], places), cosines[known])
    scores = better_half(best)
    return names[np.argsort(-scores, kind="stable")[:most]].tolist()


def compare(
    query: Embeddings,
    references: Mapping[int, Embeddings],
    cohort: Cohort,
    networks: Networks = NONE,
    most: int | None = None,
) -> Iterator[CoverCandidate]:
    """The query against each of the references, best first, also those that cannot be aligned.

    Each is made when it is asked for. Of more than `most` references those alone are compared closely that promise most
    by their windows and their coarse pictures.
    """
    heard = {name: rows for name, one in references.items() if len(rows := np.flatnonzero(one.has_content))}
    if not query.has_content.any() or not heard:
        return
    names = list(heard)
    windows = WindowComparison(
        query.vectors[query.has_content], [(references[name], heard[name]) for name in names], cohort
    )
    ready = [networks.prepare(references[name].evidence) for name in names]
    own, strangers = networks.prepare(query.evidence), _made_ready(cohort, networks)
    along = Comparison(own, [*ready, *strangers])
    crowd = range(len(ready), len(ready) + len(strangers))
    near = _promising(along, windows, crowd, most)
    along.align([*near, *crowd])
    usual = [along.score(number) for number in crowd]

    def compared() -> tuple[np.ndarray, np.ndarray]:
        by_alignment = normalised([along.score(number) for number in range(len(ready))], usual, USUAL_ALIGNMENT)
        return by_alignment, _both(windows.scores, by_alignment)

    def best_first(by: np.ndarray) -> list[int]:
        return near[np.argsort(-by[near], kind="stable")].tolist()

    along.align(
        sorted({number for by in (windows.scores, compared()[1]) for number in best_first(by)[:LIKELY]}), LIKELY_KEYS
    )
    by_alignment, scores = compared()
    best = best_first(scores)
    strange = windows.crowd[: len(usual)], normalised(usual, usual, USUAL_ALIGNMENT)
    leads = windows.leads(best[:RIVALS], (scores, windows.scores, by_alignment), (_both(*strange), *strange))
    closely = _closely(own, ready, along, best[:JUDGED], networks)
    times = np.flatnonzero(query.has_content) * query.hop
    duration = max(1.0, len(query.evidence) / FRAMES_PER_SECOND)
    about = {
        "length": float(np.log(duration)),
        "entropy": entropy(query.evidence),
        "library": float(np.log10(len(references) + 1)),
        "changed": 0.0,
    }
    for number in best:
        alignment = along.alignment(number)
        features = (
            about
            | _with_logarithms(
                {
                    "score": float(scores[number]),
                    "embedding": float(windows.scores[number]),
                    "alignment": float(by_alignment[number]),
                    "crookedness": _said(alignment, "crookedness"),
                    **{name: float(those[number]) for name, those in zip(LEADS, leads, strict=True)},
                }
            )
            | {
                "consistent": windows.consistent(number, times, alignment),
                **{name: _said(alignment, name) for name in ("aligned", "density", "agreement", "key_lead")},
                "share": _said(alignment, "aligned") / duration,
            }
            | dict.fromkeys(CLOSELY, 0.0)
            | closely.get(number, {})
        )
        yield CoverCandidate(names[number], alignment, features, float(scores[number]))


def _promising(along: Comparison, windows: WindowComparison, crowd: Sequence[int], most: int | None) -> np.ndarray:
    """The numbers of the references that promise most, at most so many."""
    numbers = np.arange(len(windows.scores))
    if most is None or len(numbers) <= most:
        return numbers
    along.survey([*numbers, *crowd])
    coarse = normalised(
        [along.coarse_score(number) for number in numbers],
        [along.coarse_score(number) for number in crowd],
        USUAL_PROMISE,
    )
    return np.sort(np.argsort(-windows.scores - PROMISING * coarse, kind="stable")[:most])


def _closely(
    own: Rendition, ready: Sequence[Rendition | None], along: Comparison, numbers: Sequence[int], networks: Networks
) -> dict[int, dict[str, float]]:
    """What is asked of a few references alone, CLOSELY, as far as they are aligned.

    Songs of the same few chords agree as well a bar later, and have other tunes. How that looks along the path, all
    channels together, a network has learned.
    """
    aligned = {number: alignment for number in numbers if (alignment := along.alignment(number))}
    found = {number: align.channels_along(own, ready[number], alignment) for number, alignment in aligned.items()}
    if networks.verify and aligned:
        bands = np.stack([verifier.band(own, ready[number], alignment) for number, alignment in aligned.items()])
        for number, log_odds in zip(aligned, networks.verify(bands).tolist(), strict=True):
            found[number]["verified"] = log_odds
    return found


@lru_cache(maxsize=2)
def _made_ready(cohort: Cohort, networks: Networks) -> list[Rendition | None]:
    """The excerpts of a cohort, for alignment."""
    return [networks.prepare(excerpt) for excerpt in cohort.excerpts]


def _both(by_windows: np.ndarray, by_alignment: np.ndarray) -> np.ndarray:
    """The two comparisons as one score."""
    return EMBEDDING * by_windows + ALIGNMENT * by_alignment


def _with_logarithms(deviations: dict[str, float]) -> dict[str, float]:
    """Beside each its logarithm, with its sign: forty standard deviations are no more certain than twenty.

    One song of the same four chords as the query, from end to end, may be that far above the cohort.
    """
    return deviations | {
        f"log_{name}": float(np.copysign(np.log1p(abs(value)), value)) for name, value in deviations.items()
    }


def entropy(frames: np.ndarray) -> float:
    """How evenly the pitch classes sound, from 0, a single one, to 1, all alike as in noise."""
    sounds = frames[:, :PITCH_CLASSES].sum(axis=0, dtype=np.float64)
    if not sounds.any():
        return 1.0
    share = sounds[sounds > 0] / sounds.sum()
    return float(-(share * np.log(share)).sum() / np.log(PITCH_CLASSES))


def _said(alignment: TonalAlignment | None, name: str) -> float:
    return alignment.features[name] if alignment else 0.0
