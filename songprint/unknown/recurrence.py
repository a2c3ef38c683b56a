"""Find occurrences of the same recording in unknown music that was remembered.

The audio of unknown music is not stored, so landmark verification is impossible. The vectors alone must agree, over
several seconds and with a high cosine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from songprint.fingerprint import align
from songprint.types import Embeddings, Interval

if TYPE_CHECKING:
    from songprint.store.index.exact import ExactIndex

WINDOW = 8.0  # seconds of the query that are compared at a time
WINDOW_STEP = 4.0  # seconds between the starts of two windows
NEIGHBOURS = 30  # per vector
CANDIDATES = 6  # per window; occurrences with a consistent offset that are aligned
MIN_AGREEMENT = 5.0  # seconds of a window that must agree
# Mean cosine of a window from which it is the same recording. Windows of other recordings reach 0.78.
MIN_COSINE = 0.8
MAX_DRIFT = 1.0  # seconds by which the alignments of two windows of the same recurrence may differ


@dataclass(frozen=True)
class Recurrence:
    """A part of a query and the same recording in a remembered occurrence. Times are relative to the start of each."""

    occurrence: int
    query: Interval
    reference: Interval
    score: float  # mean cosine


def find(query: Embeddings, window: float, index: ExactIndex, known: Mapping[int, Embeddings]) -> list[Recurrence]:
    """Return where the query occurs in `known`, the longest first. One occurrence may be found several times.

    Args:
        window: seconds of audio that one vector describes.
        index: contains the vectors of `known` that have content.
    """
    found: list[Recurrence] = []
    for rows in _windows(query):
        times = rows * query.hop
        for line in _alignments(query.vectors[rows], times, window, index, known):
            found = _extend(found, line, times, window)
    return sorted(found, key=lambda each: -each.query.duration)


def _windows(query: Embeddings) -> Iterator[np.ndarray]:
    """Yield the rows with content of each window. The last window ends with the query."""
    count, length = len(query), round(WINDOW / query.hop)
    starts = [*range(0, max(1, count - length), round(WINDOW_STEP / query.hop)), max(0, count - length)]
    has_content = query.has_content
    for start in dict.fromkeys(starts):
        rows = start + np.flatnonzero(has_content[start : start + length])
        if len(rows) * query.hop >= MIN_AGREEMENT - 1:
            yield rows


def _alignments(
    vectors: np.ndarray, times: np.ndarray, window: float, index: ExactIndex, known: Mapping[int, Embeddings]
) -> list[align.LineAlignment]:
    """Return the best alignment of a window with each occurrence, if it agrees well enough."""
    ids, cosines = index.search(vectors, NEIGHBOURS)
    best: dict[int, align.LineAlignment] = {}
    for candidate in align.vote(ids, cosines, times, _hop(known), most=CANDIDATES):
        reference = known[candidate.recording_id]
        line = align.verify(vectors, align.Layout(times, reference.hop, window), reference, candidate)
        if line is None or line.last - line.first < 2:
            continue
        agreement = times[line.last - 1] - times[line.first] + window
        rival = best.get(line.recording_id)
        if (
            agreement >= MIN_AGREEMENT
            and line.score >= MIN_COSINE
            and (rival is None or float(line.cosines.sum()) > float(rival.cosines.sum()))
        ):
            best[line.recording_id] = line
    return list(best.values())


def _hop(known: Mapping[int, Embeddings]) -> float:
    return next(iter(known.values())).hop if known else 1.0


def _extend(found: list[Recurrence], line: align.LineAlignment, times: np.ndarray, window: float) -> list[Recurrence]:
    """Add the alignment of a window: it extends a recurrence that it continues, or is a new one."""
    start, end = float(times[line.first]), float(times[line.last - 1]) + window
    reference = Interval(float(line.at(start)), float(line.at(end)))
    new = Recurrence(line.recording_id, Interval(start, end), reference, line.score)
    for position, other in enumerate(found):
        if other.occurrence != new.occurrence or new.query.start > other.query.end + WINDOW_STEP:
            continue
        if abs(line.at(other.query.end) - other.reference.end) < MAX_DRIFT:
            share = other.query.duration / (other.query.duration + new.query.duration)
            extended = replace(
                other,
                query=_hull(other.query, new.query),
                reference=_hull(other.reference, new.reference),
                score=share * other.score + (1 - share) * new.score,
            )
            return [*found[:position], extended, *found[position + 1 :]]
    return [*found, new]


def _hull(one: Interval, other: Interval) -> Interval:
    return Interval(min(one.start, other.start), max(one.end, other.end))
