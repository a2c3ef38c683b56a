"""Tempo search: a query is compared as it is, and at other tempos.

Renditions whose tempos differ by half are hard to align: a moment of one lasts for two of the other, and one second of
it is not what the networks were trained on. An unidentified query is therefore slowed down, sped up and searched again.
Only its tonal frames are resampled: neither the library nor the audio of the query is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from songprint.covers.align import TonalAlignment
from songprint.covers.parameters import DEFAULT
from songprint.covers.search import CoverCandidate
from songprint.covers.tonal import FRAMES_PER_SECOND
from songprint.types import Embeddings, Interval, Section

if TYPE_CHECKING:
    from songprint.confidence import Calibration

PARAMETERS = DEFAULT.tempo_search
TEMPOS = PARAMETERS.tempos
MAX_CANDIDATES = DEFAULT.search.max_verified

Find = Callable[..., Iterable[CoverCandidate]]  # like `search.find`: candidates of a query, best first
Embed = Callable[[np.ndarray], np.ndarray]  # like `CoverEncoder.embed`: tonal frames (n, 48) uint8 -> vectors


@dataclass(frozen=True)
class ScoredCandidate:
    """A candidate, and the log-odds that it is a cover."""

    candidate: CoverCandidate
    logit: float


def scored_candidates(
    query: Embeddings, find: Find, calibration: Calibration, embed: Embed | None
) -> list[ScoredCandidate]:
    """The most probable candidates, each at its most probable tempo, best first; at most MAX_CANDIDATES.

    Without `embed`, no other tempo is tried. Other tempos are not tried either once a candidate is certain.
    """
    found: list[ScoredCandidate] = []
    for candidates in candidates_by_tempo(query, find, embed):
        found += [ScoredCandidate(candidate, calibration.logit(candidate.features)) for candidate in candidates]
        if any(scored.logit >= PARAMETERS.certain for scored in found):
            break
    best: dict[int, ScoredCandidate] = {}
    for scored in sorted(found, key=lambda scored: -scored.logit):
        best.setdefault(scored.candidate.recording_id, scored)
    return list(best.values())[:MAX_CANDIDATES]


def candidates_by_tempo(query: Embeddings, find: Find, embed: Embed | None) -> Iterator[list[CoverCandidate]]:
    """The best candidates at the tempo of the query, then those at each of the TEMPOS.

    Each list is computed when it is needed. Times and tempos refer to the query as it is; candidates at another tempo
    have the feature `changed`.
    """
    yield list(islice(find(query), MAX_CANDIDATES))
    if embed and is_short_enough(query):
        duration = duration_of(query)
        for tempo in TEMPOS:
            frames = change_tempo(query.evidence, tempo)
            other = Embeddings(embed(frames), query.hop, query.encoder_id, frames)
            found = islice(find(other, most=PARAMETERS.max_compared), MAX_CANDIDATES)
            candidates = [_at_own_tempo(candidate, tempo, duration) for candidate in found]
            yield [candidate for candidate in candidates if candidate.claimable]


def is_short_enough(query: Embeddings) -> bool:
    """Whether a query is short enough to be searched at other tempos."""
    return duration_of(query) <= PARAMETERS.max_duration


def duration_of(query: Embeddings) -> float:
    """The duration of the tonal frames of a query, in seconds."""
    return len(query.evidence) / FRAMES_PER_SECOND


def change_tempo(frames: np.ndarray, tempo: float) -> np.ndarray:
    """Resample tonal frames (n, 48) uint8 -> (n / tempo, 48) uint8 at `tempo` times the tempo."""
    count = len(frames)
    at = np.minimum(np.arange(round(count / tempo)) * tempo, count - 1)
    before = at.astype(int)
    share = (at - before).astype(np.float32)[:, None]
    mixed = frames[before] * (1 - share) + frames[np.minimum(before + 1, count - 1)] * share
    rounded: np.ndarray = np.rint(mixed)
    return rounded.astype(np.uint8)


def _at_own_tempo(candidate: CoverCandidate, tempo: float, duration: float) -> CoverCandidate:
    """A candidate of a query at `tempo` times its tempo -> the candidate of the query of `duration` seconds."""
    if candidate.alignment is None:
        return candidate
    alignment = undo_tempo(candidate.alignment, tempo, duration)
    features = {"aligned": alignment.features["aligned"], "length": float(np.log(max(1.0, duration))), "changed": 1.0}
    return replace(candidate, alignment=alignment, features=candidate.features | features)


def undo_tempo(alignment: TonalAlignment, tempo: float, duration: float) -> TonalAlignment:
    """The alignment of a query at `tempo` times its tempo -> that of the query of `duration` seconds."""
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
