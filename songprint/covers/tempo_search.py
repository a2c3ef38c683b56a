"""A clip is looked for as it is, and as it would be at other tempi.

Renditions that differ in tempo by half are hard to lay along each other: what is a moment of one lasts for two of the
other, and a second of it is no longer what the networks have learned that moments are like. So a clip that is not
recognised is made slower, and faster, and looked for again. Only its tonal frames are changed: the library needs
nothing for it, and the clip need not be heard again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from songprint.confidence import Calibration
from songprint.covers.align import TonalAlignment
from songprint.covers.search import JUDGED, CoverCandidate
from songprint.covers.tonal import FRAMES_PER_SECOND
from songprint.types import Embeddings, Interval, Section

CHANGE = 1.6  # renditions are laid along each other well up to 1.4 times the tempo, not beyond twice
TEMPI = (1 / CHANGE, CHANGE)  # that a clip is given
LONGEST = 90.0  # seconds of a clip that is changed; of longer ones enough is found as they are
FEW = 20  # recordings that a changed clip is laid along: what is gained is mostly among the first
ENOUGH = 2.0  # log-odds with which a clip is recognised, and no other tempo is tried

Find = Callable[..., Iterable[CoverCandidate]]  # as `versions.find`: of a query, at `most` so many, best first
Embed = Callable[[np.ndarray], np.ndarray]  # tonal frames (n, 48) uint8 -> vectors, as `CoverEncoder.embed`


@dataclass(frozen=True)
class ScoredCandidate:
    """A candidate, and the log-odds that it is one."""

    candidate: CoverCandidate
    logit: float


def scored_candidates(query: Embeddings, find: Find, judge: Calibration, embed: Embed | None) -> list[ScoredCandidate]:
    """The recordings that may be other renditions of a query, each at the tempo at which it is most probable; at most
    JUDGED, most probable first. Without `embed` no other tempo is tried.
    """
    found: list[ScoredCandidate] = []
    for versions in candidates_by_tempo(query, find, embed):
        found += [ScoredCandidate(candidate, judge.logit(candidate.features)) for candidate in versions]
        if any(answer.logit >= ENOUGH for answer in found):
            break
    best: dict[int, ScoredCandidate] = {}
    for answer in sorted(found, key=lambda answer: -answer.logit):
        best.setdefault(answer.candidate.recording_id, answer)
    return list(best.values())[:JUDGED]


def candidates_by_tempo(query: Embeddings, find: Find, embed: Embed | None) -> Iterator[list[CoverCandidate]]:
    """The JUDGED best versions of the query as it is; then those of what it would be at each of the TEMPI.

    Each look is taken when it is asked for. All are told of the query as it is, but for the feature `changed`.
    """
    yield list(islice(find(query), JUDGED))
    if embed and is_short_enough(query):
        duration = duration_of(query)
        for tempo in TEMPI:
            frames = change_tempo(query.evidence, tempo)
            other = Embeddings(embed(frames), query.hop, query.encoder_id, frames)
            told = (_told(candidate, tempo, duration) for candidate in islice(find(other, most=FEW), JUDGED))
            yield [candidate for candidate in told if candidate.claimable]


def is_short_enough(query: Embeddings) -> bool:
    """Whether it is looked for at other tempi."""
    return duration_of(query) <= LONGEST


def duration_of(query: Embeddings) -> float:
    """Seconds, as far as there are tonal frames."""
    return len(query.evidence) / FRAMES_PER_SECOND


def change_tempo(frames: np.ndarray, tempo: float) -> np.ndarray:
    """Tonal frames (n, 48) uint8 -> (n / tempo, 48) uint8 as they would be at `tempo` times the tempo."""
    count = len(frames)
    at = np.minimum(np.arange(round(count / tempo)) * tempo, count - 1)
    before = at.astype(int)
    share = (at - before).astype(np.float32)[:, None]
    return np.rint(frames[before] * (1 - share) + frames[np.minimum(before + 1, count - 1)] * share).astype(np.uint8)


def _told(candidate: CoverCandidate, tempo: float, duration: float) -> CoverCandidate:
    """A candidate of a query that was made `tempo` times as fast -> of the query as it is, of so many seconds."""
    alignment = undo_tempo(candidate.alignment, tempo, duration)
    features = {"aligned": alignment.features["aligned"], "length": float(np.log(max(1.0, duration))), "changed": 1.0}
    return replace(candidate, alignment=alignment, features=candidate.features | features)


def undo_tempo(alignment: TonalAlignment, tempo: float, duration: float) -> TonalAlignment:
    """The alignment of a query made `tempo` times as fast -> that of the query as it is, of so many seconds."""
    return TonalAlignment(
        alignment.score,
        alignment.key_shift,
        alignment.tempo / tempo,
        tuple(
            Section(Interval(section.query.start * tempo, min(section.query.end * tempo, duration)), section.reference)
            for section in alignment.sections
        ),
        alignment.path * (tempo, 1.0),
        alignment.features | {"aligned": alignment.features["aligned"] * tempo},
    )
