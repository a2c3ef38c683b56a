"""Alignment of two renditions by their tonal frames: which sections correspond, in which key and tempo.

The renditions form a cross-similarity matrix: how similar the moment at second i of the query is to the moment at
second j of the reference. Renditions of one song have diagonals in it. The best path through the matrix (`paths`)
gives the corresponding sections.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from songprint.covers.keys import survey
from songprint.covers.parameters import DEFAULT
from songprint.covers.paths import CELLS, accumulate, along, evidence, highest, outstanding, portions, trace
from songprint.covers.rows import CONTEXT, STEP, Rendition
from songprint.covers.tonal import PITCH_CLASSES
from songprint.types import Interval, Section

PARAMETERS = DEFAULT.alignment
MELODY, NOTES = 2, 3  # channels
_NEAREST, _FARTHEST = PARAMETERS.displacement
DISPLACEMENTS = np.concatenate([np.arange(-_FARTHEST, 1 - _NEAREST), np.arange(_NEAREST, _FARTHEST + 1)])  # rows


@dataclass(frozen=True)
class TonalAlignment:
    """A query aligned with a reference that may be another rendition of it."""

    score: float  # evidence divided by the square root of the query's length; about 2 for unrelated music
    key_shift: int  # semitones that the query sounds higher, -5 to 6
    tempo: float  # tempo of the query divided by that of the reference
    sections: tuple[Section, ...]  # in the order of the query, without overlap in the query
    path: np.ndarray  # (k, 2) seconds in the query, seconds in the reference
    features: dict[str, float] = field(default_factory=dict)
    evidence: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))  # (k,) along the path


def align(
    query: np.ndarray | Rendition | None,
    references: Sequence[np.ndarray | Rendition | None],
    keys: int = PARAMETERS.keys,
) -> list[TonalAlignment | None]:
    """Align a query with each of the references, in the `keys` most likely transpositions of each.

    Query and references are tonal frames (n, 48) uint8 or prepared renditions. The alignment is None for a reference
    that is too short, silent or has nothing in common with the query. All are None if the query is too short or silent.

    >>> align(np.zeros((100, 48), np.uint8), [np.zeros((200, 48), np.uint8)])
    [None]
    """
    own, *prepared = (Rendition.of(one) if isinstance(one, np.ndarray) else one for one in (query, *references))
    comparison = Comparison(own, prepared)
    comparison.align(range(len(prepared)), keys)
    return [comparison.alignment(number) for number in range(len(prepared))]


def similarity(query: Rendition, reference: Rendition, key: int) -> np.ndarray:
    """(n, m) similarity of the moments of two renditions, for pictures; the reference is raised by `key` semitones.

    Row i and column j are the moments at i and j times STEP seconds.
    """
    return along(query.flat @ reference.raised(key).T, CONTEXT) / CONTEXT


def channels_along(query: Rendition, reference: Rendition, alignment: TonalAlignment) -> dict[str, float]:
    """Features of single channels along an alignment, which separate songs that share their chords.

    `tune`: the mean evidence of the melody channel along the path, in standard deviations.
    `place_lead`: the same for all notes, less the highest value of the path displaced in time by up to a minute.
    """
    i, j = cells(alignment.path).T
    melody, notes = (
        outstanding(along(query.channel(number, 0) @ reference.channel(number, alignment.key_shift).T, CONTEXT))
        for number in (MELODY, NOTES)
    )
    columns = j + DISPLACEMENTS[:, None]  # (displaced paths, cells)
    inside = (columns >= 0) & (columns < notes.shape[1])
    enough = inside.mean(axis=1) > PARAMETERS.min_displaced_share
    columns, inside = columns[enough], inside[enough]
    displaced = np.where(inside, notes[i, columns.clip(0, notes.shape[1] - 1)], 0).sum(axis=1) / inside.sum(axis=1)
    elsewhere = float(displaced.max(initial=0.0))
    return {"tune": float(melody[i, j].mean()), "place_lead": float(notes[i, j].mean()) - elsewhere}


@dataclass(frozen=True)
class _Block:
    """The columns of a reference in one key, in a matrix of several references."""

    number: int
    key: int
    reference: Rendition
    first: int

    @property
    def last(self) -> int:
        """The end of its moments."""
        return self.first + self.reference.moments

    @property
    def end(self) -> int:
        """The end of its rows."""
        return self.first + len(self.reference.rows)


@dataclass(frozen=True)
class _BestPath:
    """The best path through one reference in one key."""

    key: int
    total: float  # evidence along the path
    pieces: tuple[np.ndarray, ...]  # (k, 2) cells between jumps
    evidence: np.ndarray  # (cells,)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The pieces that are long enough to be reported."""
        sections = (_section(piece) for piece in self.pieces)
        return tuple(section for section in sections if section.query.duration >= PARAMETERS.min_section)


class Comparison:
    """A query and references, which are aligned with it in more and more keys."""

    def __init__(self, query: Rendition | None, references: Sequence[Rendition | None]):
        self._query = query
        self._references = {number: reference for number, reference in enumerate(references) if query and reference}
        self._keys: dict[int, np.ndarray] = {}  # keys not tried yet, most likely first
        self._coarse_scores: dict[int, float] = {}
        self._best: dict[int, _BestPath] = {}
        self._others: dict[int, float] = {}  # the total in the second best key

    def survey(self, numbers: Iterable[int]) -> None:
        """Compare the coarse pictures of the query and these references, unless that was done before."""
        new = [number for number in numbers if number in self._references and number not in self._keys]
        if self._query and new:
            ranked, scores = survey(self._query, [self._references[number] for number in new])
            self._keys.update(zip(new, ranked, strict=True))
            self._coarse_scores.update(zip(new, scores.tolist(), strict=True))

    def coarse_score(self, number: int) -> float:
        """The score of the coarse picture of a reference; 0 if it was not compared."""
        return self._coarse_scores.get(number, 0.0)

    def align(self, numbers: Iterable[int], keys: int = PARAMETERS.keys) -> None:
        """Align these references in their `keys` most likely keys, except for keys tried before."""
        numbers = [number for number in numbers if number in self._references]
        self.survey(numbers)
        wanted = []
        for number in numbers:
            untried = self._keys[number]
            count = max(0, keys - (PITCH_CLASSES - len(untried)))
            wanted += [(number, int(key), self._references[number]) for key in untried[:count]]
            self._keys[number] = untried[count:]
        if not self._query or not wanted:
            return
        rows = [len(reference.rows) for _, _, reference in wanted]
        for part in portions(rows, CELLS // len(self._query.rows)):
            blocks = _side_by_side(wanted[part])
            matrix = _evidence(self._query, blocks)
            totals = accumulate(matrix, [block.first for block in blocks])
            best = highest(totals, [(block.first, block.last) for block in blocks]).tolist()
            for block, total in sorted(zip(blocks, best, strict=True), key=lambda pair: -pair[1]):
                self._update(block, total, matrix, totals)

    def _update(self, block: _Block, total: float, matrix: np.ndarray, totals: np.ndarray) -> None:
        """Keep the best path of a reference, and the total of its second best key."""
        known = self._best.get(block.number)
        if known is None or total > known.total:
            columns = slice(block.first, block.last)
            pieces = trace(totals[:, columns])
            i, j = np.concatenate(pieces).T if pieces else np.zeros((2, 0), np.intp)
            self._best[block.number] = _BestPath(block.key, total, tuple(pieces), matrix[i, j + block.first])
        if known is not None:
            less = min(total, known.total)
            self._others[block.number] = max(less, self._others.get(block.number, less))

    def score(self, number: int) -> float:
        """`TonalAlignment.score`; 0 where there is no alignment."""
        best = self._best.get(number)
        return best.total / self._typical_total if best and best.sections else 0.0

    @cached_property
    def _typical_total(self) -> float:
        """The growth of totals with the length of the query."""
        return float(np.sqrt(self._query.moments)) if self._query else 1.0

    def alignment(self, number: int) -> TonalAlignment | None:
        """None if no section is long enough to be reported."""
        best = self._best.get(number)
        if not best or not best.sections:
            return None
        longest = max(best.pieces, key=len)
        return TonalAlignment(
            score=self.score(number),
            key_shift=(best.key + 5) % PITCH_CLASSES - 5,
            tempo=_tempo(longest),
            sections=best.sections,
            path=_seconds(np.concatenate(best.pieces)),
            evidence=best.evidence,
            features={
                "aligned": sum(section.query.duration for section in best.sections),
                "sections": float(len(best.sections)),
                "density": float((best.evidence > 0).mean()),
                "agreement": float(best.evidence.mean()),
                "crookedness": _crookedness(longest),
                "key_lead": (best.total - self._others.get(number, best.total)) / self._typical_total,
            },
        )


def _side_by_side(wanted: Sequence[tuple[int, int, Rendition]]) -> list[_Block]:
    """References in a key -> their columns in one matrix."""
    blocks: list[_Block] = []
    for number, key, reference in wanted:
        blocks.append(_Block(number, key, reference, blocks[-1].end if blocks else 2))
    return blocks


def _evidence(query: Rendition, blocks: Sequence[_Block]) -> np.ndarray:
    """(n, columns of all blocks) evidence; NEVER between the blocks."""
    lowered: dict[int, np.ndarray] = {}  # lowering the query is the same as raising the reference
    similarity = np.empty((len(query.rows), blocks[-1].end), np.float32)
    similarity[:, : blocks[0].first] = 0
    for block in blocks:
        if block.key not in lowered:
            lowered[block.key] = query.raised(-block.key)
        similarity[:, block.first : block.end] = lowered[block.key] @ block.reference.flat.T
    similarity = along(similarity, CONTEXT)  # of moments
    return evidence(similarity, [(block.first, block.last) for block in blocks])


def _seconds(cells: np.ndarray) -> np.ndarray:
    """Cells (k, 2) -> the middles of their moments, in seconds."""
    return (cells + CONTEXT / 2) * STEP


def cells(seconds: np.ndarray) -> np.ndarray:
    """The inverse of `_seconds`."""
    return np.rint(seconds / STEP - CONTEXT / 2).astype(np.intp)


def _section(path: np.ndarray) -> Section:
    """From the beginning of the first moment to the end of the last."""
    starts, ends = path[0] * STEP, (path[-1] + CONTEXT) * STEP
    return Section(Interval(float(starts[0]), float(ends[0])), Interval(float(starts[1]), float(ends[1])))


def _tempo(path: np.ndarray) -> float:
    """Seconds of the reference per second of the query."""
    if len(path) < 2:
        return 1.0
    i, j = (path - path.mean(axis=0)).T
    return float((j @ j + i @ j) / (i @ i + i @ j))


def _crookedness(path: np.ndarray) -> float:
    """Root mean square distance of a path from straight lines, in seconds.

    One line is fitted for every `straight` seconds of it: musicians drift.
    """
    pieces = np.array_split(path, max(1, round((path[-1, 0] - path[0, 0]) * STEP / PARAMETERS.straight)))
    return float(np.sqrt(sum(_squared_distance(piece) for piece in pieces) / len(path))) * STEP


def _squared_distance(path: np.ndarray) -> float:
    """The sum of the squared distances of a path from a straight line."""
    i, j = path.T
    if len(path) < 3:
        return 0.0
    return float(((j - np.polyval(np.polyfit(i, j, 1), i)) ** 2).sum())
