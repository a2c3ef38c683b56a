"""Search for covers: a query -> the recordings of the library that may be other renditions of its song.

The index returns recordings with similar windows. The best of them are compared in two ways with independent errors:
window by window in the space of the encoder (`windows`), and by aligning tonal frames (`align`). Both scores are given
in standard deviations above those of a cohort of unrelated songs that ships with the encoder, because some queries are
similar to everything. What is aligned are pitch classes and the motifs that a network finds in them (`rows`). For the
best candidates a second network classifies the surroundings of the path (`verifier`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from songprint.covers import align, verifier
from songprint.covers.align import Comparison, TonalAlignment
from songprint.covers.parameters import DEFAULT
from songprint.covers.rows import FindMotifs, Rendition
from songprint.covers.tonal import FRAMES_PER_SECOND, PITCH_CLASSES
from songprint.covers.windows import WindowComparison, better_half, normalised
from songprint.store.index import NOTHING, Index, split_ids

if TYPE_CHECKING:
    from songprint.covers.cohort import Cohort
    from songprint.types import Embeddings

PARAMETERS = DEFAULT.search
COHORT = DEFAULT.cohort

VERIFIED = ("tune", "place_lead", "verified")  # features of the best candidates alone; 0 for the others
LEADS = ("lead", "embedding_lead", "alignment_lead")  # leads over rivals, by both scores and by each
UNBOUNDED = ("score", *LEADS, "embedding", "alignment", "crookedness")  # the calibration reads their logarithms
FEATURES = (
    *(f"log_{name}" for name in UNBOUNDED),
    "aligned",
    "share",
    "density",
    "agreement",
    "consistent",
    "key_lead",
    *VERIFIED,
    "length",
    "entropy",
    "library",
)


@dataclass(frozen=True)
class CoverCandidate:
    """A recording that may be another rendition of a query, with its alignment and its features."""

    recording_id: int
    alignment: TonalAlignment | None  # None only for results of `compare`
    # FEATURES, the UNBOUNDED ones without logarithm too, and `changed`: 1 if the query's tempo was changed
    features: dict[str, float]
    score: float  # standard deviations above unrelated music

    @property
    def claimable(self) -> bool:
        """Whether enough of it is aligned to be reported as a cover."""
        return self.alignment is not None and self.features["aligned"] >= PARAMETERS.min_duration

    def features_in(self, segments: int) -> dict[str, float]:
        """The features for a library of `segments` segments, whatever the candidate was compared with."""
        return self.features | {"library": float(np.log10(segments + 1))}


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of the search besides the encoder. Without them, only pitch classes are compared."""

    motifs: FindMotifs | None = None  # of references and the cohort
    query_motifs: FindMotifs | None = None  # of queries; the same network
    verify: Callable[[np.ndarray], np.ndarray] | None = None  # bands (n, rows, ...) of `verifier` -> (n,) log-odds

    def prepare(self, frames: np.ndarray) -> Rendition | None:
        """Prepare tonal frames of a reference for alignment; None if they are too short or silent."""
        return Rendition.of(frames, self.motifs)

    def prepare_query(self, frames: np.ndarray) -> Rendition | None:
        """Prepare tonal frames of a query for alignment; None if they are too short or silent."""
        return Rendition.of(frames, self.query_motifs)


NONE = Networks()


def find(
    query: Embeddings,
    index: Index,
    embeddings_of: Callable[[Collection[int]], Mapping[int, Embeddings]],
    cohort: Cohort,
    networks: Networks = NONE,
    *,
    leave_out: Collection[int] = (),
    most: int = PARAMETERS.max_compared,
    surveyed: int = PARAMETERS.surveyed_per_compared,
) -> Iterator[CoverCandidate]:
    """The recordings that may be other renditions of the query, at most `most`, best first.

    They are chosen by their coarse pictures from `surveyed` times as many. Each candidate is computed when it is
    needed. Candidates with less than `min_duration` aligned are left out. Recordings in `leave_out` are ignored.
    """
    candidates = nearest_recordings(query, index, leave_out=leave_out, most=surveyed * most)
    for candidate in compare(query, embeddings_of(candidates), cohort, networks, most):
        if candidate.claimable:
            yield replace(candidate, features=candidate.features_in(len(index)))


def nearest_recordings(query: Embeddings, index: Index, *, leave_out: Collection[int] = (), most: int) -> list[int]:
    """The ids of the recordings whose windows are most similar to those of the query, most similar first."""
    vectors = query.vectors[query.has_content]
    if not len(vectors) or not len(index):
        return []
    ids, cosines = index.search(vectors, PARAMETERS.neighbours)
    recordings = np.where(ids == NOTHING, NOTHING, split_ids(ids)[0])
    known = (recordings != NOTHING) & ~np.isin(recordings, list(leave_out))
    names, places = np.unique(recordings[known], return_inverse=True)
    # Recordings that the search did not return for a window are as similar to it as the last one it did return.
    floor = np.where(known, cosines, 1).min(axis=1)
    best = np.repeat(floor[:, None], len(names), axis=1)
    np.maximum.at(best, (np.nonzero(known)[0], places), cosines[known])
    scores = better_half(best)
    return [int(name) for name in names[np.argsort(-scores, kind="stable")[:most]]]


def compare(
    query: Embeddings,
    references: Mapping[int, Embeddings],
    cohort: Cohort,
    networks: Networks = NONE,
    most: int | None = None,
) -> Iterator[CoverCandidate]:
    """Compare the query with each of the references, best first, also those that cannot be aligned.

    Each candidate is computed when it is needed. Of more than `most` references, only those with the best windows and
    coarse pictures are aligned.
    """
    content = {name: rows for name, one in references.items() if len(rows := np.flatnonzero(one.has_content))}
    if not query.has_content.any() or not content:
        return
    names = list(content)
    windows = WindowComparison(
        query.vectors[query.has_content], [(references[name], content[name]) for name in names], cohort
    )
    prepared = [networks.prepare(references[name].evidence) for name in names]
    own, of_cohort = networks.prepare_query(query.evidence), _prepared(cohort, networks)
    comparison = Comparison(own, [*prepared, *of_cohort])
    cohort_numbers = range(len(prepared), len(prepared) + len(of_cohort))
    promising = _promising(comparison, windows, cohort_numbers, most)
    comparison.align([*promising, *cohort_numbers])
    cohort_scores = [comparison.score(number) for number in cohort_numbers]

    def current_scores() -> tuple[np.ndarray, np.ndarray]:
        scores = [comparison.score(number) for number in range(len(prepared))]
        by_alignment = normalised(scores, cohort_scores, COHORT.typical_alignment)
        return by_alignment, _combined(windows.scores, by_alignment)

    def best_first(scores: np.ndarray) -> list[int]:
        return [int(number) for number in promising[np.argsort(-scores[promising], kind="stable")]]

    best_by_each = {
        number
        for scores in (windows.scores, current_scores()[1])
        for number in best_first(scores)[: PARAMETERS.best_by_each]
    }
    comparison.align(sorted(best_by_each), PARAMETERS.best_keys)
    by_alignment, scores = current_scores()
    best = best_first(scores)
    cohort_by_each = (
        windows.cohort_scores[: len(cohort_scores)],
        normalised(cohort_scores, cohort_scores, COHORT.typical_alignment),
    )
    leads = windows.leads(
        best[: PARAMETERS.rivals],
        (scores, windows.scores, by_alignment),
        (_combined(*cohort_by_each), *cohort_by_each),
    )
    verified = _verified(own, prepared, comparison, best[: PARAMETERS.max_verified], networks)
    times = np.flatnonzero(query.has_content) * query.hop
    duration = max(1.0, len(query.evidence) / FRAMES_PER_SECOND)
    of_query = {
        "length": float(np.log(duration)),
        "entropy": entropy(query.evidence),
        "library": float(np.log10(len(references) + 1)),
        "changed": 0.0,
    }
    for number in best:
        alignment = comparison.alignment(number)
        features = (
            of_query
            | _with_logarithms(
                {
                    "score": float(scores[number]),
                    "embedding": float(windows.scores[number]),
                    "alignment": float(by_alignment[number]),
                    "crookedness": _feature(alignment, "crookedness"),
                    **{name: float(lead[number]) for name, lead in zip(LEADS, leads, strict=True)},
                }
            )
            | {
                "consistent": windows.consistent(number, times, alignment),
                **{name: _feature(alignment, name) for name in ("aligned", "density", "agreement", "key_lead")},
                "share": _feature(alignment, "aligned") / duration,
            }
            | dict.fromkeys(VERIFIED, 0.0)
            | verified.get(number, {})
        )
        yield CoverCandidate(names[number], alignment, features, float(scores[number]))


def _promising(
    comparison: Comparison, windows: WindowComparison, cohort_numbers: Sequence[int], most: int | None
) -> np.ndarray:
    """The numbers of the references with the best windows and coarse pictures, at most `most`, ascending."""
    numbers = np.arange(len(windows.scores))
    if most is None or len(numbers) <= most:
        return numbers
    comparison.survey([*numbers.tolist(), *cohort_numbers])
    coarse = normalised(
        [comparison.coarse_score(number) for number in numbers.tolist()],
        [comparison.coarse_score(number) for number in cohort_numbers],
        COHORT.typical_coarse,
    )
    return np.sort(np.argsort(-windows.scores - PARAMETERS.coarse_weight * coarse, kind="stable")[:most])


def _verified(
    own: Rendition | None,
    prepared: Sequence[Rendition | None],
    comparison: Comparison,
    numbers: Sequence[int],
    networks: Networks,
) -> dict[int, dict[str, float]]:
    """The VERIFIED features of these references, as far as they are aligned.

    Songs with the same few chords agree a bar later as well, and have other melodies. The network was trained to
    detect this in the surroundings of the path, with all channels together.
    """
    aligned = [
        (number, reference, alignment)
        for number in numbers
        if (alignment := comparison.alignment(number)) and (reference := prepared[number])
    ]
    if own is None or not aligned:
        return {}
    found = {number: align.channels_along(own, reference, alignment) for number, reference, alignment in aligned}
    if networks.verify:
        bands = np.stack([verifier.band(own, reference, alignment) for _, reference, alignment in aligned])
        for number, log_odds in zip(found, networks.verify(bands).tolist(), strict=True):
            found[number]["verified"] = log_odds
    return found


@lru_cache(maxsize=2)
def _prepared(cohort: Cohort, networks: Networks) -> list[Rendition | None]:
    """The excerpts of a cohort, prepared for alignment."""
    return [networks.prepare(excerpt) for excerpt in cohort.excerpts]


def _combined(by_windows: np.ndarray, by_alignment: np.ndarray) -> np.ndarray:
    """The two scores as one."""
    return PARAMETERS.embedding_weight * by_windows + PARAMETERS.alignment_weight * by_alignment


def _with_logarithms(deviations: dict[str, float]) -> dict[str, float]:
    """Add the signed logarithm of each value: forty standard deviations are no more certain than twenty.

    One song over the same four chords as the query, from beginning to end, can be that far above the cohort.
    """
    return deviations | {
        f"log_{name}": float(np.copysign(np.log1p(abs(value)), value)) for name, value in deviations.items()
    }


def entropy(frames: np.ndarray) -> float:
    """Normalised entropy of the pitch classes: 0 for a single one, 1 for all alike as in noise or silence."""
    sounds = frames[:, :PITCH_CLASSES].sum(axis=0, dtype=np.float64)
    if not sounds.any():
        return 1.0
    share = sounds[sounds > 0] / sounds.sum()
    return float(-(share * np.log(share)).sum() / np.log(PITCH_CLASSES))


def _feature(alignment: TonalAlignment | None, name: str) -> float:
    return alignment.features[name] if alignment else 0.0
