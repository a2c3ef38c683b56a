"""Extents: the parts of a cover in which it agrees with the reference, second by second.

The best path through a cross-similarity matrix gains evidence by chance: between unrelated songs it follows what
happens to agree, and it bridges silence, speech and other songs if the cover continues behind them. What a path gains
by chance is therefore subtracted, and the parts of it that still gain are decoded (`intervals.most_likely_sequence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from songprint import intervals
from songprint.covers.align import PARAMETERS as ALIGNMENT
from songprint.covers.align import TonalAlignment
from songprint.covers.parameters import DEFAULT
from songprint.covers.paths import PARAMETERS as PATHS
from songprint.covers.rows import CONTEXT, STEP
from songprint.types import Interval, Section

PARAMETERS = DEFAULT.extents
HALF = CONTEXT * STEP / 2  # seconds, of a moment


@dataclass(frozen=True, eq=False)
class Agreement:
    """The path of an alignment, and the evidence of each moment of it."""

    path: np.ndarray  # (k, 2) seconds in the query, seconds in the reference: the middles of moments
    evidence: np.ndarray  # (k,)

    @property
    def start(self) -> float:
        """Seconds in the query."""
        return float(self.path[0, 0]) - HALF

    @property
    def end(self) -> float:
        """Seconds in the query."""
        return float(self.path[:, 0].max()) + HALF

    @property
    def total(self) -> float:
        """The evidence above chance of all moments."""
        return float((self.evidence - PARAMETERS.chance).sum())

    def then(self, other: Agreement) -> Agreement:
        """This path followed by a later one."""
        return Agreement(np.concatenate([self.path, other.path]), np.concatenate([self.evidence, other.evidence]))

    def between(self, start: float, end: float) -> Agreement:
        """The moments of the path that lie within `start` and `end` seconds of the query."""
        inside = (self.path[:, 0] - HALF > start - STEP / 2) & (self.path[:, 0] + HALF < end + STEP / 2)
        return Agreement(self.path[inside], self.evidence[inside])

    def gains(self, start: float, count: int) -> np.ndarray:
        """(count,) evidence above chance of each moment from `start` seconds on, STEP seconds apart.

        Moments outside the path count like those that contradict it.
        """
        found = np.full(count, -PATHS.max_penalty - PARAMETERS.chance)
        places = np.rint((self.path[:, 0] - start) / STEP).astype(np.intp)
        for earlier in (1, 0):  # a path may leave out every other moment: they count like the next one
            inside = (places >= earlier) & (places < count + earlier)
            found[places[inside] - earlier] = self.evidence[inside] - PARAMETERS.chance
        return found


NO_AGREEMENT = Agreement(np.zeros((0, 2)), np.zeros(0, np.float32))


def agreeing(agreement: Agreement) -> list[Agreement]:
    """The parts of a path in which query and reference agree, in the order of the query."""
    if not len(agreement.path):
        return []
    start, end = agreement.path[0, 0], agreement.path[:, 0].max()
    gains = agreement.gains(start, round((end - start) / STEP) + 1)
    present = intervals.most_likely_sequence(gains[:, None], PARAMETERS.start_cost) != intervals.NO_SONG
    parts = [
        agreement.between(start + first * STEP - HALF, start + (last - 1) * STEP + HALF)
        for first, last in intervals.runs(present)
    ]
    return [part for part in map(_without_detached, parts) if sections_of(part)]


def _without_detached(agreement: Agreement) -> Agreement:
    """A path without the first and last pieces that a jump separates from the rest, if they have little evidence.

    Something in the sound before or after a cover agrees with some place of the recording by chance.
    """
    pieces = _pieces(agreement)
    while len(pieces) > 1 and pieces[0].total < PARAMETERS.min_detached:
        del pieces[0]
    while len(pieces) > 1 and pieces[-1].total < PARAMETERS.min_detached:
        del pieces[-1]
    return Agreement(
        np.concatenate([piece.path for piece in pieces]), np.concatenate([piece.evidence for piece in pieces])
    )


def _pieces(agreement: Agreement) -> list[Agreement]:
    """The pieces of a path between jumps."""
    steps = np.rint(np.diff(agreement.path, axis=0) / STEP)
    edges = np.flatnonzero((steps < 1).any(axis=1) | (steps > 2).any(axis=1)) + 1
    return [
        Agreement(path, evidence)
        for path, evidence in zip(np.split(agreement.path, edges), np.split(agreement.evidence, edges), strict=True)
        if len(path)
    ]


def sections_of(agreement: Agreement) -> tuple[Section, ...]:
    """The pieces of a path between jumps, except those that are too short to be reported."""
    sections = (_section(piece.path) for piece in _pieces(agreement))
    return tuple(each for each in sections if each.query.duration >= ALIGNMENT.min_section)


def keeps_time(one: Agreement, other: Agreement) -> bool:
    """Whether a part continues an earlier one where it would be if the song had gone on in between."""
    passed, played = other.path[0] - one.path[-1]
    return bool(passed <= PARAMETERS.max_bridge and abs(played - passed) <= PARAMETERS.max_deviation)


def agreeing_sections(alignment: TonalAlignment) -> tuple[Section, ...]:
    """The sections of an alignment without what only chance aligns.

    All of them if their ends hardly move, or if too little remains to be reported. The alignment of a query at another
    tempo keeps its sections as well, because its moments are no longer STEP apart.
    """
    if len(alignment.evidence) != len(alignment.path):
        return alignment.sections
    parts = agreeing(Agreement(alignment.path, alignment.evidence))
    sections = tuple(section for part in parts for section in sections_of(part))
    if sum(each.query.duration for each in sections) < DEFAULT.search.min_duration:
        return alignment.sections
    return alignment.sections if same_ends(sections, alignment.sections) else sections


def same_ends(some: Sequence[Section], others: Sequence[Section]) -> bool:
    """Whether sections begin and end at about the same times as others: a path is not more exact than that."""
    one, other = interval_of(some), interval_of(others)
    return max(abs(one.start - other.start), abs(one.end - other.end)) <= PARAMETERS.tolerance


def best_cut(one: Agreement, other: Agreement, overlap: Interval) -> float:
    """Seconds in an overlap at which to change from one cover to the other, so that most evidence remains."""
    count = max(1, round(overlap.duration / STEP))
    before, after = (each.gains(overlap.start + STEP / 2, count) for each in (one, other))
    totals = np.concatenate([[0.0], np.cumsum(before - after)])
    return overlap.start + overlap.duration * int(totals.argmax()) / count


def interval_of(sections: Sequence[Section]) -> Interval:
    """From the start of the first section to the end of the last, in the query."""
    return Interval(sections[0].query.start, max(section.query.end for section in sections))


def _section(path: np.ndarray) -> Section:
    """From the beginning of the first moment to the end of the last."""
    (start, first), (end, last) = path[0] - HALF, path[-1] + HALF
    return Section(Interval(float(start), float(end)), Interval(float(first), float(last)))
