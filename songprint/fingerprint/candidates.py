"""The lines that a part of a clip suggests: candidates by the nearest segments, fitted, looked at closely, told of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from songprint.fingerprint import align, evidence
from songprint.fingerprint.align import Candidate, LineAlignment, ReferenceExcerpt
from songprint.fingerprint.landmarks import LandmarkVerifier, Verification
from songprint.fingerprint.peak_search import HIGHEST_LEAD, LibraryPeaks, PeakSearch
from songprint.fingerprint.query import Query
from songprint.store.index import NOTHING
from songprint.store.level import Level
from songprint.types import Embeddings

Features = dict[str, float]
Neighbours = tuple[np.ndarray, np.ndarray]  # ids and cosines (m, k), see `recordings.neighbours`
References = Callable[[Collection[int]], Mapping[int, Embeddings]]

VERIFIED = 30  # candidates whose line is fitted
REFINED = 8  # of these, the lines that are looked at closely,
PLACES = 2  # and of one recording at most so many
FEWEST_SEGMENTS = 2  # one segment alone is no evidence
SHORTEST_STRETCH = 2.5  # seconds that a line must hold, or
MUCH_WORSE = 0.85  # of the agreement of a line beyond doubt: with less another need not be looked at
SHARE = 0.6  # of a clip that is shorter than that needs
CLOSELY, SELDOM = 0.6, 0.05  # mean cosine, and share of segments below EVIDENT, of a song that simply goes on
EVIDENT = 0.3  # cosine from which a segment speaks for it
ASTRAY = 0.6  # seconds by which it may be off


@dataclass(frozen=True)
class VerifiedAlignment:
    """A line in one window of the clip, and what speaks for it. The laboratory calibrates on these."""

    line: LineAlignment
    times: np.ndarray  # (m,) seconds in the clip of the segments that the line was fitted to
    verification: Verification
    features: Features


class WindowAlignments:
    """The lines in one window of a clip, each looked at but once."""

    def __init__(
        self,
        query: Query,
        level: Level,
        window: np.ndarray,
        near: Neighbours,
        embeddings_of: References,
        *,
        max_candidates: int = VERIFIED,
        max_refined: int = REFINED,
    ):
        """Of segments `window (m,)` of the query and what is nearest to each.

        `embeddings_of` gives what is stored of recordings. `verified` is the number of candidates that are looked at,
        and `refined` that of lines that are looked at closely.
        """
        self._query, self._level, self._embeddings_of = query, level, embeddings_of
        self._ids, cosines = near
        self._times, self._vectors = query.times(window), query.embeddings.vectors[window]
        self._layout = align.Layout(self._times, level.spec.hop, level.spec.window)
        # a recording that the search did not bring up is no more like a segment than the last one it did
        self._others = np.where(self._ids[:, -1] == NOTHING, 0, cosines[:, -1]).clip(0)
        self._begin = max(0.0, float(self._times[0]))
        self._verifier: LandmarkVerifier | None = None  # made when a line is worth it
        self._references: dict[int, Embeddings] = {}
        self.lines: list[LineAlignment] = []
        self._excerpts: list[ReferenceExcerpt] = []
        self._verifications: dict[int, Verification] = {}  # by the number of the line
        candidates = align.vote(self._ids, cosines, self._times, level.spec.hop, most=max_candidates)
        self._refine(_closest(self._verified(candidates), max_refined))

    def _verified(self, candidates: Sequence[Candidate]) -> list[LineAlignment]:
        self._references |= self._embeddings_of(
            {candidate.recording_id for candidate in candidates} - self._references.keys()
        )
        lines = [
            align.verify(self._vectors, self._layout, self._references[candidate.recording_id], candidate)
            for candidate in candidates
            if candidate.recording_id in self._references
        ]  # not removed meanwhile
        return [line for line in lines if line]

    def _refine(self, lines: Iterable[LineAlignment]) -> None:
        for line in lines:
            reference = self._references[line.recording_id]
            self.lines.append(align.refine(line, self._vectors, self._layout, reference))
            self._excerpts.append(ReferenceExcerpt(self.lines[-1], reference.vectors))

    def verified(
        self, *, alike: float = 0.0, hopeful: Callable[[Features], bool] | None = None
    ) -> list[VerifiedAlignment]:
        """One for each recording, best first.

        A line of which the mean cosine is not `alike` is left out. With `hopeful` the second witness is heard only
        of lines whose features without it are.
        """
        hop, times = self._query.embeddings.hop, self._times
        fewest = max(FEWEST_SEGMENTS, min(SHORTEST_STRETCH / hop, SHARE * len(times)))
        found: dict[int, VerifiedAlignment] = {}
        needed = 0.0  # summed cosines with which a line is still of interest
        for number, line in enumerate(self.lines):
            if line.last - line.first < fewest or line.cosines.sum() < needed or line.score < alike:
                continue
            features = self._features(number)
            if hopeful and not hopeful(features(Verification())):
                continue
            verification = self._verification(number)
            said = features(verification)
            if verification.conclusive:
                needed = max(needed, MUCH_WORSE * float(line.cosines.sum()))
            if verification.reliable:  # of the two it knows better
                line = replace(line, speed=verification.speed, offset=verification.offset)
            known = found.get(line.recording_id)
            if known is None or _agreement(line, verification) > _agreement(known.line, known.verification):
                found[line.recording_id] = VerifiedAlignment(line, times, verification, said)
        return sorted(found.values(), key=lambda verified: -_agreement(verified.line, verified.verification))

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
        """The cosines of other recordings. One that is the same sound, twice in the library, is no rival."""
        line, passage = self.lines[number], self._excerpts[number]
        return [
            other.cosines
            for other, rows in zip(self.lines, self._excerpts, strict=True)
            if other.recording_id != line.recording_id and not align.same_sound(line, other, passage, rows)
        ]

    def _verification(self, number: int) -> Verification:
        """What the second witness says of a line."""
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
        """The alignments `found`, and what comes up when the clip is laid everywhere in the library, best first.

        Their features are those of `evidence.PEAK_SEARCH_FEATURES`. `leave_out` pretends that the library lacks recordings.
        """
        view = PeakSearch(self._samples(), self._begin, self._level.companion(LibraryPeaks).index(), leave_out)
        if also := view.candidates(verified.line for verified in found):
            self._refine(self._verified(also))
            found = self.verified()
        lines = {verified.line.recording_id: verified.line for verified in found}
        passages = {
            recording_id: ReferenceExcerpt(line, self._references[recording_id].vectors)
            for recording_id, line in lines.items()
        }

        def same(line: LineAlignment) -> set[int]:
            return {
                number
                for number, other in lines.items()
                if number != line.recording_id
                and align.same_sound(line, other, passages[line.recording_id], passages[number])
            }

        told = [
            replace(
                verified,
                features=verified.features
                | view.features(
                    verified.line,
                    verified.verification,
                    self._references[verified.line.recording_id].evidence,
                    same(verified.line),
                ),
            )
            for verified in found
        ]
        return sorted(
            told,
            key=lambda verified: (
                -_agreement(verified.line, verified.verification) - verified.features["clearly"] / HIGHEST_LEAD
            ),
        )


def continuation(
    recording_id: int, place: float, vectors: np.ndarray, layout: align.Layout, reference: Embeddings
) -> LineAlignment | None:
    """The line of a recording that simply goes on, with `place` seconds of it in the middle of the layout.

    None unless it agrees closely from the first of the `vectors (m, dim)` to the last: then nothing else can be heard
    there. A hundredth of the time that a search takes.
    """
    line = align.verify(vectors, layout, reference, Candidate(recording_id, place - layout.middle, 0.0))
    line = line and align.refine(line, vectors, layout, reference)
    if line is None or abs(line.at(layout.middle) - place) > ASTRAY:
        return None
    return line if line.cosines.mean() >= CLOSELY and np.mean(line.cosines < EVIDENT) <= SELDOM else None


def _closest(lines: list[LineAlignment], most: int) -> list[LineAlignment]:
    """The `most` lines with most agreement: PLACES of one recording, none twice."""
    chosen: list[LineAlignment] = []
    for line in sorted(lines, key=lambda line: -line.cosines.sum()):
        same = [other for other in chosen if other.recording_id == line.recording_id]
        if len(same) < PLACES and all(abs(other.offset - line.offset) > align.BIN for other in same):
            chosen.append(line)
        if len(chosen) == most:
            break
    return chosen


def _agreement(line: LineAlignment, verification: Verification) -> float:
    """Both witnesses on one scale, to choose among lines before they are judged."""
    return float(line.cosines.mean()) + verification.prominence
