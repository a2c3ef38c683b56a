"""Tonal frames -> which stretches of one rendition correspond to which of another, in what key and tempo.

Both are laid against each other as a matrix: how much the seconds around i of the query sound like those around
j of the reference. Renditions of one song make diagonals in it, and the best path through it (`tonal_paths`) says what
corresponds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from songprint.covers.keys import survey
from songprint.covers.paths import CELLS, accumulate, along, evidence, highest, outstanding, portions, trace
from songprint.covers.rows import CONTEXT, STEP, Rendition
from songprint.covers.tonal import PITCH_CLASSES
from songprint.types import Interval, Section

MELODY, NOTES = 2, 3
ELSEWHERE = np.concatenate([np.arange(-150, -7), np.arange(8, 151)])  # rows: 3.2 s to a minute
KEYS = 2  # transpositions of each reference that are tried, the most likely ones
SHORTEST_SECTION = 6.0  # seconds: shorter ones are not told
STRAIGHT = 30.0  # seconds in which renditions keep their tempos


@dataclass(frozen=True)
class TonalAlignment:
    """A query laid along a reference that may be another rendition of it."""

    score: float  # evidence over the root of the query's length: about 2 for unrelated music
    key_shift: int  # semitones that the query sounds higher, -5 to 6
    tempo: float  # tempo of the query over that of the reference
    sections: tuple[Section, ...]  # in the order of the query; none overlap in it
    path: np.ndarray  # (k, 2) seconds in the query, seconds in the reference
    features: dict[str, float] = field(default_factory=dict)


def align(
    query: np.ndarray | Rendition | None, references: Sequence[np.ndarray | Rendition | None], keys: int = KEYS
) -> list[TonalAlignment | None]:
    """Lay a query along each of the references, all of them tonal frames (n, 48) uint8 or made ready already.

    Each is tried in so many transpositions, the most likely ones.
    None for a reference that is too short or silent, or has nothing in common with the query; all None if
    the query is too short or silent.

    >>> align(np.zeros((100, 48), np.uint8), [np.zeros((200, 48), np.uint8)])
    [None]
    """
    own, *ready = (Rendition.of(one) if isinstance(one, np.ndarray) else one for one in (query, *references))
    comparison = Comparison(own, ready)
    comparison.align(range(len(ready)), keys)
    return [comparison.alignment(number) for number in range(len(ready))]


def similarity(query: Rendition, reference: Rendition, key: int) -> np.ndarray:
    """(n, m) for people to look at: how alike the moments of two are, the reference raised by `key` semitones.

    Row i and column j are i and j times STEP seconds.
    """
    return along(query.flat @ reference.raised(key).T, CONTEXT) / CONTEXT


def channels_along(query: Rendition, reference: Rendition, alignment: TonalAlignment) -> dict[str, float]:
    """What single channels say of an alignment. Songs of the same few chords can be laid along each other as a whole.

    `tune`: by how many standard deviations the melodies alone agree more along it than elsewhere.
    `place_lead`: how much more all notes agree along it than along the same path up to a minute earlier or later.
    """
    i, j = cells(alignment.path).T
    melody, notes = (
        outstanding(along(query.channel(number, 0) @ reference.channel(number, alignment.key_shift).T, CONTEXT))
        for number in (MELODY, NOTES)
    )
    columns = j + ELSEWHERE[:, None]  # (displaced paths, cells)
    inside = (columns >= 0) & (columns < notes.shape[1])
    enough = inside.mean(axis=1) > 0.5
    columns, inside = columns[enough], inside[enough]
    displaced = np.where(inside, notes[i, columns.clip(0, notes.shape[1] - 1)], 0).sum(axis=1) / inside.sum(axis=1)
    elsewhere = float(displaced.max(initial=0.0))
    return {"tune": float(melody[i, j].mean()), "place_lead": float(notes[i, j].mean()) - elsewhere}


@dataclass(frozen=True)
class _Place:
    """A reference in one key, and where its columns begin in the matrix."""

    number: int
    key: int
    reference: Rendition
    first: int

    @property
    def last(self) -> int:
        """Where its moments end."""
        return self.first + self.reference.moments

    @property
    def end(self) -> int:
        """Where its rows end."""
        return self.first + len(self.reference.rows)


@dataclass(frozen=True)
class _Laid:
    """The best path through one reference in one key."""

    key: int
    total: float  # evidence along it
    pieces: tuple[np.ndarray, ...]  # (k, 2) cells between its jumps
    said: np.ndarray  # (cells,) the evidence of each

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The pieces that are long enough to be told."""
        sections = (_section(piece) for piece in self.pieces)
        return tuple(section for section in sections if section.query.duration >= SHORTEST_SECTION)


class Comparison:
    """A query beside references, along which it is laid in more and more keys."""

    def __init__(self, query: Rendition | None, references: Sequence[Rendition | None]):
        self._query = query
        self._references = {number: reference for number, reference in enumerate(references) if query and reference}
        self._keys: dict[int, np.ndarray] = {}  # those not tried yet, the most likely first
        self._promise: dict[int, float] = {}
        self._best: dict[int, _Laid] = {}
        self._others: dict[int, float] = {}  # the total in the next best key

    def survey(self, numbers: Iterable[int]) -> None:
        """Compare coarse pictures of the query and of these references, as far as that was not done."""
        if new := [number for number in numbers if number in self._references and number not in self._keys]:
            ranked, promise = survey(self._query, [self._references[number] for number in new])
            self._keys.update(zip(new, ranked, strict=True))
            self._promise.update(zip(new, promise.tolist(), strict=True))

    def coarse_score(self, number: int) -> float:
        """How high a reference that was looked over reaches by its coarse picture."""
        return self._promise.get(number, 0.0)

    def align(self, numbers: Iterable[int], keys: int = KEYS) -> None:
        """Try these references in their `keys` likeliest keys, as far as that was not done."""
        numbers = [number for number in numbers if number in self._references]
        self.survey(numbers)
        wanted = []
        for number in numbers:
            untried = self._keys[number]
            count = max(0, keys - (PITCH_CLASSES - len(untried)))
            wanted += [(number, int(key), self._references[number]) for key in untried[:count]]
            self._keys[number] = untried[count:]
        if not wanted:
            return
        rows = [len(reference.rows) for _, _, reference in wanted]
        for part in portions(rows, CELLS // len(self._query.rows)):
            places = _side_by_side(wanted[part])
            matrix = _beside(self._query, places)
            totals = accumulate(matrix, [place.first for place in places])
            best = highest(totals, [(place.first, place.last) for place in places]).tolist()
            for place, total in sorted(zip(places, best, strict=True), key=lambda pair: -pair[1]):
                self._take(place, total, matrix, totals)

    def _take(self, place: _Place, total: float, matrix: np.ndarray, totals: np.ndarray) -> None:
        known = self._best.get(place.number)
        if known is None or total > known.total:
            columns = slice(place.first, place.last)
            pieces = trace(totals[:, columns])
            i, j = np.concatenate(pieces).T if pieces else np.zeros((2, 0), np.intp)
            self._best[place.number] = _Laid(place.key, total, tuple(pieces), matrix[i, j + place.first])
        if known is not None:
            less = min(total, known.total)
            self._others[place.number] = max(less, self._others.get(place.number, less))

    def score(self, number: int) -> float:
        """`TonalAlignment.score`; 0 where there is no alignment."""
        laid = self._best.get(number)
        return laid.total / self._usual if laid and laid.sections else 0.0

    @property
    def _usual(self) -> float:
        """What totals grow by with the length of the query."""
        return float(np.sqrt(self._query.moments))

    def alignment(self, number: int) -> TonalAlignment | None:
        """None where not one stretch agrees for SHORTEST_SECTION."""
        laid = self._best.get(number)
        if not laid or not laid.sections:
            return None
        longest = max(laid.pieces, key=len)
        return TonalAlignment(
            score=self.score(number),
            key_shift=(laid.key + 5) % PITCH_CLASSES - 5,
            tempo=_tempo(longest),
            sections=laid.sections,
            path=_seconds(np.concatenate(laid.pieces)),
            features={
                "aligned": sum(section.query.duration for section in laid.sections),
                "sections": float(len(laid.sections)),
                "density": float((laid.said > 0).mean()),
                "agreement": float(laid.said.mean()),
                "crookedness": _crookedness(longest),
                "key_lead": (laid.total - self._others.get(number, laid.total)) / self._usual,
            },
        )


def _side_by_side(wanted: Sequence[tuple[int, int, Rendition]]) -> list[_Place]:
    """References in a key, beside each other in one matrix."""
    places: list[_Place] = []
    for number, key, reference in wanted:
        places.append(_Place(number, key, reference, places[-1].end if places else 2))
    return places


def _beside(query: Rendition, places: Sequence[_Place]) -> np.ndarray:
    """(n, columns of all places) evidence; NEVER between them."""
    lowered: dict[int, np.ndarray] = {}  # lowering the query is raising the reference
    similarity = np.empty((len(query.rows), places[-1].end), np.float32)
    similarity[:, : places[0].first] = 0
    for place in places:
        if place.key not in lowered:
            lowered[place.key] = query.raised(-place.key)
        similarity[:, place.first : place.end] = lowered[place.key] @ place.reference.flat.T
    similarity = along(similarity, CONTEXT)  # of moments
    return evidence(similarity, [(place.first, place.last) for place in places])


def _seconds(cells: np.ndarray) -> np.ndarray:
    """Cells (k, 2) -> the middle of their moments, in seconds."""
    return (cells + CONTEXT / 2) * STEP


def cells(seconds: np.ndarray) -> np.ndarray:
    """Back from `_seconds`."""
    return np.rint(seconds / STEP - CONTEXT / 2).astype(np.intp)


def _section(path: np.ndarray) -> Section:
    """From the beginning of the first moment to the end of the last."""
    starts, ends = path[0] * STEP, (path[-1] + CONTEXT) * STEP
    return Section(Interval(float(starts[0]), float(ends[0])), Interval(float(starts[1]), float(ends[1])))


def _tempo(path: np.ndarray) -> float:
    """Seconds of the reference in one second of the query."""
    if len(path) < 2:
        return 1.0
    i, j = (path - path.mean(axis=0)).T
    return float((j @ j + i @ j) / (i @ i + i @ j))


def _crookedness(path: np.ndarray) -> float:
    """Seconds by which a path strays from straight lines, one for every STRAIGHT seconds of it: musicians drift."""
    pieces = np.array_split(path, max(1, round((path[-1, 0] - path[0, 0]) * STEP / STRAIGHT)))
    return float(np.sqrt(sum(_strays(piece) for piece in pieces) / len(path))) * STEP


def _strays(path: np.ndarray) -> float:
    """The sum of the squared distances of a path from a straight line."""
    i, j = path.T
    if len(path) < 3:
        return 0.0
    return float(((j - np.polyval(np.polyfit(i, j, 1), i)) ** 2).sum())
