"""The alignments of one window of a query: candidates by votes, fitted, refined and verified."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from songprint.fingerprint import align, evidence
from songprint.fingerprint.align import Candidate, LineAlignment, ReferenceExcerpt
from songprint.fingerprint.landmarks import LandmarkVerifier, Verification
from songprint.fingerprint.parameters import DEFAULT
from songprint.fingerprint.peak_search import LibraryPeaks, PeakSearch
from songprint.store.index import NOTHING
from songprint.types import Embeddings

if TYPE_CHECKING:
    from songprint.fingerprint.query import Query
    from songprint.store.level import Level

Features = dict[str, float]
Neighbours = tuple[np.ndarray, np.ndarray]  # ids and cosines (m, k), see `identify.neighbours`
References = Callable[[Collection[int]], Mapping[int, Embeddings]]

PARAMETERS = DEFAULT.search


@dataclass(frozen=True)
class VerifiedAlignment:
    """An alignment of one window, with its verification and its features. The calibration is fitted on these."""

    line: LineAlignment
    times: np.ndarray  # (m,) seconds in the query of the segments that the line was fitted to
    verification: Verification
    features: Features

    @property
    def agreement(self) -> float:
        """Mean cosine plus the prominence of the landmarks: the order of alignments before they are classified."""
        return float(self.line.cosines.mean()) + self.verification.prominence


class WindowAlignments:
    """The alignments of one window of a query. Each is verified once."""

    def __init__(
        self,
        query: Query,
        level: Level,
        window: np.ndarray,
        near: Neighbours,
        embeddings_of: References,
        *,
        max_candidates: int = PARAMETERS.max_candidates,
        max_refined: int = PARAMETERS.max_refined,
    ):
        """Align and refine the best candidates of a window.

        Args:
            window: (m,) row numbers of the query's segments in the window.
            near: ids and cosines (m, k) of the nearest vectors of each segment.
            embeddings_of: returns the stored embeddings of recordings.
            max_candidates: candidates that are aligned.
            max_refined: best alignments that are refined.
        """
        self._query, self._level, self._embeddings_of = query, level, embeddings_of
        self._ids, cosines = near
        self._times, self._vectors = query.times(window), query.embeddings.vectors[window]
        self._layout = align.Layout(self._times, level.spec.hop, level.spec.window)
        # Recordings that the search did not return are at most as similar to a segment as the last one it did return.
        self._others = np.where(self._ids[:, -1] == NOTHING, 0, cosines[:, -1]).clip(0)
        self._begin = max(0.0, float(self._times[0]))
        self._verifier: LandmarkVerifier | None = None  # computed for the first alignment that needs it
        self._references: dict[int, Embeddings] = {}
        self.lines: list[LineAlignment] = []
        self._excerpts: list[ReferenceExcerpt] = []
        self._verifications: dict[int, Verification] = {}  # by the number of the alignment
        candidates = align.vote(self._ids, cosines, self._times, level.spec.hop, most=max_candidates)
        self._refine(_best(self._aligned(candidates), max_refined))

    def _aligned(self, candidates: Sequence[Candidate]) -> list[LineAlignment]:
        self._references |= self._embeddings_of(
            {candidate.recording_id for candidate in candidates} - self._references.keys()
        )
        lines = [
            align.verify(self._vectors, self._layout, self._references[candidate.recording_id], candidate)
            for candidate in candidates
            if candidate.recording_id in self._references  # it may have been removed since the search
        ]
        return [line for line in lines if line]

    def _refine(self, lines: Iterable[LineAlignment]) -> None:
        for line in lines:
            reference = self._references[line.recording_id]
            self.lines.append(align.refine(line, self._vectors, self._layout, reference))
            self._excerpts.append(ReferenceExcerpt(self.lines[-1], reference.vectors))

    def verified(
        self, *, alike: float = 0.0, hopeful: Callable[[Features], bool] | None = None
    ) -> list[VerifiedAlignment]:
        """The best alignment of each recording, best first.

        Alignments with a mean cosine below `alike` are left out. If `hopeful` is given, alignments are verified only
        if it accepts their features without verification, and are left out otherwise.
        """
        hop, times = self._query.embeddings.hop, self._times
        min_segments = max(
            PARAMETERS.min_segments, min(PARAMETERS.min_duration / hop, PARAMETERS.min_share * len(times))
        )
        found: dict[int, VerifiedAlignment] = {}
        min_sum = 0.0  # summed cosine below which an alignment is not verified
        for number, line in enumerate(self.lines):
            if line.last - line.first < min_segments or line.cosines.sum() < min_sum or line.score < alike:
                continue
            features = self._features(number)
            if hopeful and not hopeful(features(Verification())):
                continue
            verification = self._verification(number)
            if verification.conclusive:
                min_sum = max(min_sum, PARAMETERS.skip_below * float(line.cosines.sum()))
            own_features = features(verification)
            if verification.reliable:  # landmarks are more precise than embeddings
                line = replace(line, speed=verification.speed, offset=verification.offset)
            alignment = VerifiedAlignment(line, times, verification, own_features)
            known = found.get(line.recording_id)
            if known is None or alignment.agreement > known.agreement:
                found[line.recording_id] = alignment
        return sorted(found.values(), key=lambda alignment: -alignment.agreement)

    def _features(self, number: int) -> Callable[[Verification], Features]:
        line, level = self.lines[number], self._level
        rivals = self._rivals(number) or [self._others]
        hits = align.hits(line, self._ids, self._times, level.spec.hop)
        return lambda verification: evidence.features(
            line,
            verification,
            rivals=rivals,
            vectors=self._vectors,
            hits=hits,
            hop=self._query.embeddings.hop,
            library_segments=len(level.index),
        )

    def _rivals(self, number: int) -> list[np.ndarray]:
        """The cosines of the other recordings. A recording with the same audio is no rival."""
        line, excerpt = self.lines[number], self._excerpts[number]
        return [
            other.cosines
            for other, rows in zip(self.lines, self._excerpts, strict=True)
            if other.recording_id != line.recording_id and not align.same_sound(line, other, excerpt, rows)
        ]

    def _verification(self, number: int) -> Verification:
        """The landmark verification of an alignment."""
        if number not in self._verifications:
            self._verifier = self._verifier or LandmarkVerifier(self._samples())
            line = self.lines[number]
            self._verifications[number] = self._verifier.verify(
                self._references[line.recording_id].evidence, line.speed, line.at(self._begin)
            ).shifted(self._begin)
        return self._verifications[number]

    def _samples(self) -> np.ndarray:
        spec = self._level.spec
        return self._query.between(self._begin, float(self._times[-1]) + spec.window, spec.sample_rate)

    def with_peak_search(
        self, found: Sequence[VerifiedAlignment], leave_out: Collection[int] = ()
    ) -> list[VerifiedAlignment]:
        """The alignments `found` and those that the peak search adds, best first.

        Their features are `evidence.PEAK_SEARCH_FEATURES`. Recordings in `leave_out` are ignored.
        """
        search = PeakSearch(self._samples(), self._begin, self._level.companion(LibraryPeaks).index(), leave_out)
        if added := search.candidates(alignment.line for alignment in found):
            self._refine(self._aligned(added))
            found = self.verified()
        lines = {alignment.line.recording_id: alignment.line for alignment in found}
        excerpts = {
            recording_id: ReferenceExcerpt(line, self._references[recording_id].vectors)
            for recording_id, line in lines.items()
        }

        def duplicates(line: LineAlignment) -> set[int]:
            return {
                other_id
                for other_id, other in lines.items()
                if other_id != line.recording_id
                and align.same_sound(line, other, excerpts[line.recording_id], excerpts[other_id])
            }

        extended = [
            replace(
                alignment,
                features=alignment.features
                | search.features(
                    alignment.line,
                    alignment.verification,
                    self._references[alignment.line.recording_id].evidence,
                    duplicates(alignment.line),
                ),
            )
            for alignment in found
        ]
        max_lead = DEFAULT.peak_search.max_lead
        return sorted(extended, key=lambda each: -each.agreement - each.features["clearly"] / max_lead)


def continuation(
    recording_id: int, place: float, vectors: np.ndarray, layout: align.Layout, reference: Embeddings
) -> LineAlignment | None:
    """Align a recording that is expected to continue, with `place` seconds of it in the middle of the layout.

    None unless the `vectors (m, dim)` agree closely from the first to the last: then no other recording can be audible
    there. Takes a hundredth of the time of a search.
    """
    line = align.verify(vectors, layout, reference, Candidate(recording_id, place - layout.middle, 0.0))
    line = line and align.refine(line, vectors, layout, reference)
    if line is None or abs(line.at(layout.middle) - place) > PARAMETERS.continuation_max_deviation:
        return None
    unsupported = float(np.mean(line.cosines < PARAMETERS.continuation_support))
    agrees = float(line.cosines.mean()) >= PARAMETERS.continuation_cosine
    return line if agrees and unsupported <= PARAMETERS.continuation_max_unsupported else None


def _best(lines: list[LineAlignment], most: int) -> list[LineAlignment]:
    """The `most` alignments with the highest summed cosine, at most a few of one recording, at different offsets."""
    chosen: list[LineAlignment] = []
    for line in sorted(lines, key=lambda line: -line.cosines.sum()):
        same = [other for other in chosen if other.recording_id == line.recording_id]
        if len(same) < PARAMETERS.max_per_recording and all(
            abs(other.offset - line.offset) > DEFAULT.alignment.bin for other in same
        ):
            chosen.append(line)
        if len(chosen) == most:
            break
    return chosen
