"""Where a stretch of music is heard again: the very same recording, in something else that was heard.

No samples are kept of music that nobody knows, so there is no second witness: the vectors alone must be sure, over
seconds rather than moments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from songprint.fingerprint import align
from songprint.store.index import Index
from songprint.types import Embeddings, Interval

WINDOW = 8.0  # seconds looked at together,
EVERY = 4.0  # one beginning every so many
NEIGHBOURS = 30
CANDIDATES = 6  # lines that are fitted for a window
LEAST = 5.0  # seconds of a window that must agree
SAME = 0.8  # mean cosine of a window from which it is the same recording: others reach 0.78
DRIFT = 1.0  # seconds by which lines of one airing may disagree


@dataclass(frozen=True)
class Again:
    """One stretch, and where the same is heard in an occurrence that is known. Seconds from the beginning of each."""

    occurrence: int
    here: Interval
    there: Interval
    score: float  # mean cosine


def find(heard: Embeddings, window: float, index: Index, known: Mapping[int, Embeddings]) -> list[Again]:
    """Where the stretch is heard in `known`, whose heard rows are in `index`; the longest first.

    `window` is what one vector describes, in seconds. One occurrence may be found at several places.
    """
    found: list[Again] = []
    for rows in _windows(heard):
        for line, times in _lines(heard, rows, window, index, known):
            found = _joined(found, _again(line, times, window))
    return sorted(found, key=lambda each: -each.here.duration)


def _windows(heard: Embeddings) -> Iterator[np.ndarray]:
    """Row numbers of the heard vectors, WINDOW seconds at a time; the last window ends with the stretch."""
    count, length = len(heard), round(WINDOW / heard.hop)
    starts = [*range(0, max(1, count - length), round(EVERY / heard.hop)), max(0, count - length)]
    sounding = heard.has_content
    for start in dict.fromkeys(starts):
        rows = start + np.flatnonzero(sounding[start : start + length])
        if len(rows) * heard.hop >= LEAST - 1:
            yield rows


def _lines(
    heard: Embeddings, rows: np.ndarray, window: float, index: Index, known: Mapping[int, Embeddings]
) -> Iterator[tuple[align.LineAlignment, np.ndarray]]:
    """The line of each occurrence that agrees with a window well enough, if one does."""
    times, vectors = rows * heard.hop, heard.vectors[rows]
    ids, cosines = index.search(vectors, NEIGHBOURS)
    best: dict[int, align.LineAlignment] = {}
    for candidate in align.vote(ids, cosines, times, _hop(known), most=CANDIDATES):
        reference = known[candidate.recording_id]
        line = align.verify(vectors, align.Layout(times, reference.hop, window), reference, candidate)
        if line is None or line.last - line.first < 2:
            continue
        agreeing = times[line.last - 1] - times[line.first] + window
        rival = best.get(line.recording_id)
        if agreeing >= LEAST and line.score >= SAME and (rival is None or line.cosines.sum() > rival.cosines.sum()):
            best[line.recording_id] = line
    for line in best.values():
        yield line, times


def _hop(known: Mapping[int, Embeddings]) -> float:
    return next(iter(known.values())).hop if known else 1.0


def _again(line: align.LineAlignment, times: np.ndarray, window: float) -> tuple[Again, align.LineAlignment]:
    start, end = float(times[line.first]), float(times[line.last - 1]) + window
    there = Interval(line.at(start), line.at(end))
    return Again(line.recording_id, Interval(start, end), there, line.score), line


def _joined(found: list[Again], added: tuple[Again, align.LineAlignment]) -> list[Again]:
    """With one more: it goes on with what was found before, or stands alone."""
    again, line = added
    for place, other in enumerate(found):
        if other.occurrence != again.occurrence or again.here.start > other.here.end + EVERY:
            continue
        expected = line.at(other.here.end)
        if abs(expected - other.there.end) < DRIFT:
            share = other.here.duration / (other.here.duration + again.here.duration)
            grown = replace(
                other,
                here=_hull(other.here, again.here),
                there=_hull(other.there, again.there),
                score=share * other.score + (1 - share) * again.score,
            )
            return [*found[:place], grown, *found[place + 1 :]]
    return [*found, again]


def _hull(one: Interval, other: Interval) -> Interval:
    return Interval(min(one.start, other.start), max(one.end, other.end))
