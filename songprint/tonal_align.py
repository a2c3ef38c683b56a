"""Tonal frames -> which stretches of one rendition correspond to which of another, in what key and tempo.

Both are laid against each other as a matrix: how much the seconds around i of the query sound like those around
j of the reference. Renditions of one song make diagonals in it. The best local alignment follows the recurrence
of Serrà, Serra and Andrzejak ("Cross recurrence quantification for cover song identification", New Journal of
Physics 11, 2009): a cell continues from (i-1, j-1), (i-2, j-1) or (i-1, j-2), which bounds the tempo ratio by 1/2
and 2. Other than there a cell counts by degrees: by how far it stands out from its row and from its column.
No cell depends on another of its row, so all references stand side by side in one matrix and a row of it is
a handful of operations of NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from songprint.encoders.tonal import PITCH_CLASSES
from songprint.tonal_rows import CONTEXT, STEP, Rendition, likely_keys
from songprint.types import Interval, Section

MELODY, NOTES = 2, 3
ELSEWHERE = np.concatenate([np.arange(-150, -7), np.arange(8, 151)])    # rows: 3.2 s to a minute
KEYS = 2                        # transpositions of each reference that are tried, the most likely ones

FLAT = np.float32(1e-3)         # standard deviation below which a row or column has nothing that stands out
STANDS_OUT = 1.3                # standard deviations from which a cell speaks for an alignment
MOST, GAP = 1.0, 0.5            # what one cell can add, and cost
NEVER = np.float32(-1e9)        # keeps references apart, and paths out of rows that are taken
CELLS = 500_000                 # of the matrix at a time: 2 MB, which a processor has at hand

JUMP = 18.0                     # what it costs to go on elsewhere: a repeat, a cut, another order
SHORTEST_SECTION = 6.0          # seconds: shorter ones are not told
STRAIGHT = 30.0                 # seconds in which renditions keep their tempos


@dataclass(frozen=True)
class TonalAlignment:
    """A query laid along a reference that may be another rendition of it."""

    score: float                    # evidence over the root of the query's length: about 2 for unrelated music
    key_shift: int                  # semitones that the query sounds higher, -5 to 6
    tempo: float                    # tempo of the query over that of the reference
    sections: tuple[Section, ...]   # in the order of the query; none overlap in it
    path: np.ndarray                # (k, 2) seconds in the query, seconds in the reference
    features: dict[str, float] = field(default_factory=dict)


def align(query: np.ndarray, references: Sequence[np.ndarray | Rendition | None], keys: int = KEYS
          ) -> list[TonalAlignment | None]:
    """Lay tonal frames `query (n, 48) uint8` along each of the references, frames too or made ready already.

    Each is tried in so many transpositions, the most likely ones.
    None for a reference that is too short or silent, or has nothing in common with the query; all None if
    the query is too short or silent.

    >>> align(np.zeros((100, 48), np.uint8), [np.zeros((200, 48), np.uint8)])
    [None]
    """
    ready = [Rendition.of(frames) if isinstance(frames, np.ndarray) else frames for frames in references]
    comparison = Comparison(Rendition.of(query), ready)
    comparison.lay(range(len(ready)), keys)
    return [comparison.alignment(number) for number in range(len(ready))]


def similarity(query: np.ndarray, reference: np.ndarray, key: int) -> np.ndarray:
    """(n, m) for people to look at: how alike the moments of two are, the reference raised by `key` semitones.

    Row i and column j are i and j times STEP seconds.
    """
    one, other = Rendition.of(query), Rendition.of(reference)
    return _along(one.raised(0) @ other.raised(key).T, CONTEXT) / CONTEXT


def channels_along(query: Rendition, reference: Rendition, alignment: TonalAlignment) -> dict[str, float]:
    """What single channels say of an alignment. Songs of the same few chords can be laid along each other as a whole.

    `tune`: by how many standard deviations the melodies alone agree more along it than elsewhere.
    `place_lead`: how much more all notes agree along it than along the same path up to a minute earlier or later.
    """
    i, j = _cells(alignment.path).T
    melody, notes = (_outstanding(_along(query.channel(number, 0) @ reference.channel(number, alignment.key_shift).T,
                                         CONTEXT)) for number in (MELODY, NOTES))
    columns = j + ELSEWHERE[:, None]                                            # (displaced paths, cells)
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
    total: float                # evidence along it
    pieces: tuple[np.ndarray, ...]      # (k, 2) cells between its jumps
    said: np.ndarray            # (cells,) the evidence of each

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
        self._keys: dict[int, np.ndarray] = {}          # those not tried yet, the most likely first
        self._best: dict[int, _Laid] = {}
        self._others: dict[int, float] = {}             # the total in the next best key

    def lay(self, numbers: Iterable[int], keys: int = KEYS) -> None:
        """Try these references in their `keys` likeliest keys, as far as that was not done."""
        numbers = [number for number in numbers if number in self._references]
        if new := [number for number in numbers if number not in self._keys]:
            ranked = likely_keys(self._query, [self._references[number] for number in new])
            self._keys.update(zip(new, ranked, strict=True))
        wanted = []
        for number in numbers:
            untried = self._keys[number]
            count = max(0, keys - (PITCH_CLASSES - len(untried)))
            wanted += [(number, int(key), self._references[number]) for key in untried[:count]]
            self._keys[number] = untried[count:]
        for places in _groups(self._query, wanted):
            matrix = _beside(self._query, places)
            totals = accumulate(matrix, [place.first for place in places])
            edges = np.ravel([(place.first, place.last) for place in places])[:-1]
            highest = np.maximum.reduceat(totals.max(axis=0), edges)[::2]
            for place, total in sorted(zip(places, highest.tolist(), strict=True), key=lambda pair: -pair[1]):
                self._take(place, total, matrix, totals)

    def _take(self, place: _Place, total: float, matrix: np.ndarray, totals: np.ndarray) -> None:
        known = self._best.get(place.number)
        if known is None or total > known.total:
            columns = slice(place.first, place.last)
            pieces = _trace(totals[:, columns])
            i, j = np.concatenate(pieces).T if pieces else np.zeros((2, 0), np.intp)
            self._best[place.number] = _Laid(place.key, total, tuple(pieces), matrix[i, j + place.first])
        if known is not None:
            less = min(total, known.total)
            self._others[place.number] = max(less, self._others.get(place.number, less))

    def height(self, number: int) -> float:
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
            score=self.height(number),
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
            })


def _groups(query: Rendition, wanted: Iterable[tuple[int, int, Rendition]]) -> Iterator[list[_Place]]:
    """References in a key, side by side, as many at a time as memory should bear."""
    places: list[_Place] = []
    for number, key, reference in wanted:
        if places and (places[-1].end + len(reference.rows)) * len(query.rows) > CELLS:
            yield places
            places = []
        places.append(_Place(number, key, reference, places[-1].end if places else 2))
    if places:
        yield places


def _beside(query: Rendition, places: Sequence[_Place]) -> np.ndarray:
    """(n, columns of all places) evidence; NEVER between them."""
    lowered: dict[int, np.ndarray] = {}             # lowering the query is raising the reference
    similarity = np.empty((len(query.rows), places[-1].end), np.float32)
    similarity[:, :places[0].first] = 0
    for place in places:
        if place.key not in lowered:
            lowered[place.key] = query.raised(-place.key)
        similarity[:, place.first:place.end] = lowered[place.key] @ place.reference.raised(0).T
    similarity = _along(similarity, CONTEXT)                            # of moments
    return evidence(similarity, [(place.first, place.last) for place in places])


def _along(similarity: np.ndarray, count: int) -> np.ndarray:
    """(n, m) -> (n - count + 1, m - count + 1): each cell and the `count - 1` after it on the diagonal, summed."""
    if count == 1:
        return similarity
    half = count // 2
    sums = _along(similarity, half)
    sums = sums[:-half, :-half] + sums[half:, half:]
    return sums[:-1, :-1] + similarity[2 * half:, 2 * half:] if count % 2 else sums


def evidence(similarity: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """(n, m) -> (n, m) what each cell says for a path that runs through it, -GAP to MOST; NEVER outside the spans.

    It speaks for one if it is far above the others of its row and above those of its column: a chord that is
    everywhere in one of the two says nothing. The columns of each of the `spans` are a matrix of its own.
    """
    matrix = _outstanding(similarity, spans)
    matrix -= STANDS_OUT
    np.clip(matrix, -GAP, MOST, out=matrix)
    matrix[:, _outside(spans, matrix.shape[1])] = NEVER
    return matrix


def _outside(spans: Sequence[tuple[int, int]], width: int) -> np.ndarray:
    """(width,) bool: the columns that are in none of the spans."""
    edges = np.zeros(width + 1, np.int8)
    for first, last in spans:
        edges[first] += 1
        edges[last] -= 1
    return edges[:-1].cumsum() == 0


def _outstanding(similarity: np.ndarray, spans: Sequence[tuple[int, int]] | None = None) -> np.ndarray:
    """(n, m) -> (n, m) by how many standard deviations each cell is above its row and its column, the less of both.

    The columns of each of the spans are a matrix of its own; what lies outside means nothing.
    """
    n, m = similarity.shape
    spans = spans or [(0, m)]
    edges = np.ravel(spans)[:None if spans[-1][1] < m else -1]
    widths = np.float32([last - first for first, last in spans])

    def over_columns(values: np.ndarray) -> np.ndarray:
        return (np.add.reduceat(values, edges, axis=1)[:, ::2] / widths).T[:, :, None]      # (spans, n, 1)

    over_rows = np.full(n, 1 / n, np.float32)
    centred = similarity - over_rows @ similarity                       # a product: four times as fast as a mean
    for (first, last), mean in zip(spans, over_columns(centred), strict=True):
        centred[:, first:last] -= mean
    square = centred * centred
    rows = 1 / np.maximum(np.sqrt(over_columns(square)), FLAT)
    columns = 1 / np.maximum(np.sqrt(over_rows @ square), FLAT)
    for (first, last), row in zip(spans, rows, strict=True):
        centred[:, first:last] *= np.minimum(row, columns[first:last], out=square[:, first:last])
    return centred


def accumulate(evidence: np.ndarray, firsts: Sequence[int]) -> np.ndarray:
    """(n, m) evidence -> (n, m) total of the best path up to each cell.

    `firsts` are the columns at which the references begin; the two before each hold NEVER.
    """
    totals = np.zeros((len(evidence) + 2, evidence.shape[1]), np.float32)       # two rows of nothing before it
    widths = np.diff([*firsts, evidence.shape[1]])
    elsewhere = np.full(len(widths), -JUMP, np.float32)         # the most that each reference had, less the jump
    for i, row in enumerate(evidence, 2):
        own = totals[i, 2:]
        np.maximum(totals[i - 1, 1:-1], totals[i - 2, 1:-1], out=own)
        np.maximum(own, totals[i - 1, :-2], out=own)
        np.maximum(own, np.repeat(elsewhere, widths), out=own)
        own += row[2:]
        np.maximum(own, 0, out=own)
        np.maximum(elsewhere, np.maximum.reduceat(totals[i], firsts) - JUMP, out=elsewhere)
    return totals[2:]


def _trace(totals: np.ndarray) -> list[np.ndarray]:
    """The best path as the pieces (k, 2) between its jumps, from its beginning to its end."""
    rows, columns = totals.shape
    framed = np.zeros((rows + 2, columns + 2), np.float32)      # nothing before it
    framed[2:, 2:] = totals
    best = framed.max(axis=1)
    elsewhere = (np.maximum.accumulate(best) - JUMP).tolist()
    pieces, cells = [], []
    i = int(best.argmax())
    j = int(framed[i].argmax())
    while framed.item(i, j) > 0:
        cells.append((i, j))
        straight, down, right = framed.item(i - 1, j - 1), framed.item(i - 2, j - 1), framed.item(i - 1, j - 2)
        if elsewhere[i - 1] > max(straight, down, right, 0):
            pieces.append(cells)
            cells = []
            i = int(best[:i].argmax())
            j = int(framed[i].argmax())
        elif straight >= max(down, right):
            i, j = i - 1, j - 1
        else:
            i, j = (i - 2, j - 1) if down > right else (i - 1, j - 2)
    pieces.append(cells)
    return [np.array(cells[::-1], np.intp).reshape(-1, 2) - 2 for cells in reversed(pieces) if cells]


def _seconds(cells: np.ndarray) -> np.ndarray:
    """Cells (k, 2) -> the middle of their moments, in seconds."""
    return (cells + CONTEXT / 2) * STEP


def _cells(seconds: np.ndarray) -> np.ndarray:
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
