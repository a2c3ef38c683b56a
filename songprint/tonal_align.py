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

from songprint.encoders.tonal import CHANNELS, COLUMNS, FRAMES_PER_SECOND, PITCH_CLASSES
from songprint.types import Interval, Section

POOLED = 2                      # frames are averaged in pairs
STEP = POOLED / FRAMES_PER_SECOND               # seconds between rows of a rendition: 0.4
WEIGHTS = np.array([1.0, 0.3, 0.7, 1.0], np.float32)    # of harmony, bass, melody and all notes
MELODY, NOTES = 2, 3
ELSEWHERE = np.concatenate([np.arange(-150, -7), np.arange(8, 151)])    # rows: 3.2 s to a minute
FAINTEST = 0.15                 # length of a row below which it is not made longer
CONTEXT = 7                     # rows that make a moment: 2.8 s. Rendered covers like 2 s, real ones 4 (Serrà et al.)
SHORTEST = 8.0                  # seconds: less is not aligned
KEYS = 2                        # transpositions of each reference that are tried, the most likely ones
BROAD = 4                       # rows in one, and such rows in a moment, by which the key is told: 1.6 s, 6.4 s

FLAT = np.float32(1e-3)         # standard deviation below which a row or column has nothing that stands out
STANDS_OUT = 1.3                # standard deviations from which a cell speaks for an alignment
MOST, GAP = 1.0, 0.5            # what one cell can add, and cost
NEVER = np.float32(-1e9)        # keeps references apart, and paths out of rows that are taken
CELLS = 6_000_000               # of the matrix at a time: 24 MB

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


def align(query: np.ndarray, references: Sequence[np.ndarray | Rendition | None], keys: Sequence[int] | None = None
          ) -> list[TonalAlignment | None]:
    """Lay tonal frames `query (n, 48) uint8` along each of the references, frames too or made ready already.

    `keys` says in how many transpositions each is tried, the most likely ones first; KEYS if it is not given.
    None for a reference that is too short or silent, or has nothing in common with the query; all None if
    the query is too short or silent.

    >>> align(np.zeros((100, 48), np.uint8), [np.zeros((200, 48), np.uint8)])
    [None]
    """
    found: list[TonalAlignment | None] = [None] * len(references)
    rendition = Rendition.of(query)
    if rendition is None:
        return found
    best: dict[int, _Fit] = {}
    others: dict[int, float] = {}
    ready = [Rendition.of(frames) if isinstance(frames, np.ndarray) else frames for frames in references]
    for fit in _fits(rendition, ready, [KEYS] * len(ready) if keys is None else keys):
        known = best.setdefault(fit.number, fit)
        if known is not fit:
            best[fit.number], less = (fit, known) if fit.total > known.total else (known, fit)
            others[fit.number] = max(others.get(fit.number, 0.0), less.total)
    for number, fit in best.items():
        found[number] = fit.alignment(others.get(number, fit.total))
    return found


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


class Rendition:
    """Tonal frames made ready: a row for every STEP, of unit length in each channel that sounds."""

    def __init__(self, rows: np.ndarray):
        self.rows = rows                                    # (n, 4, 12)

    @classmethod
    def of(cls, frames: np.ndarray) -> Rendition | None:
        """None if there is less than SHORTEST, or nothing sounds."""
        count = len(frames) // POOLED
        if count * STEP < SHORTEST or not frames.any():
            return None
        rows = frames[:count * POOLED].reshape(count, POOLED, CHANNELS, PITCH_CLASSES)
        rows = np.sqrt(rows.mean(axis=1, dtype=np.float32) / 255)
        rows /= np.maximum(np.linalg.norm(rows, axis=2, keepdims=True), FAINTEST)
        return cls(rows * np.sqrt(WEIGHTS)[:, None])

    @property
    def moments(self) -> int:
        return len(self.rows) - CONTEXT + 1

    def raised(self, key: int) -> np.ndarray:
        """(n, 48) the rows `key` semitones higher."""
        return np.roll(self.rows, key, axis=2).reshape(-1, COLUMNS)

    def channel(self, number: int, key: int) -> np.ndarray:
        """(n, 12) one of the channels, `key` semitones higher."""
        return np.roll(self.rows[:, number], key, axis=1)

    @cached_property
    def broad(self) -> np.ndarray:
        """(m, 4, 4, 12) moments of BROAD * BROAD rows, of unit length: a coarse picture."""
        count = len(self.rows) // BROAD
        rows = self.rows[:count * BROAD].reshape(count, BROAD, CHANNELS, PITCH_CLASSES).mean(axis=1)
        rows -= rows.mean(axis=2, keepdims=True)
        moments = np.stack([rows[at:count - BROAD + 1 + at] for at in range(BROAD)], axis=1)
        length = np.sqrt(np.einsum("nbcp,nbcp->n", moments, moments))
        return moments / np.maximum(length, FAINTEST)[:, None, None, None]


def likely_keys(query: Rendition, references: Sequence[Rendition]) -> np.ndarray:
    """(references, 12) by how many semitones to raise each for it to sound like the query, the most likely first.

    In the right key every moment of the query has one in the reference that is like it; what the moments of
    the query have in common does not count.
    """
    moments = query.broad - query.broad.mean(axis=0)
    # raising the reference is lowering the query
    lowered = np.concatenate([np.roll(moments, -key, axis=3) for key in range(PITCH_CLASSES)])
    lowered = lowered.reshape(len(lowered), -1)
    fit = np.empty((PITCH_CLASSES, len(references)), np.float32)
    for number, reference in enumerate(references):
        similarity = reference.broad.reshape(-1, lowered.shape[1]) @ lowered.T        # (moments, 12 * moments)
        fit[:, number] = similarity.max(axis=0).reshape(PITCH_CLASSES, -1).mean(axis=1)
    return np.argsort(-fit, axis=0, kind="stable").T


@dataclass(frozen=True)
class _Place:
    """A reference in one key, and where its columns begin in the matrix."""

    number: int
    key: int
    reference: Rendition
    first: int

    @property
    def columns(self) -> slice:
        return slice(self.first, self.first + self.reference.moments)

    @property
    def end(self) -> int:
        return self.first + len(self.reference.rows)


@dataclass(frozen=True)
class _Fit:
    """The best path through one reference in one key."""

    number: int
    key: int
    total: float
    evidence: np.ndarray        # (n, m)
    totals: np.ndarray          # (n, m)

    def alignment(self, other: float) -> TonalAlignment | None:
        """None where not one stretch agrees for SHORTEST_SECTION. `other` is the total in the next best key."""
        pieces = _trace(self.totals)
        sections = tuple(section for piece in pieces
                         if (section := _section(piece)).query.duration >= SHORTEST_SECTION)
        if not sections:
            return None
        cells = np.concatenate(pieces)
        said = self.evidence[cells[:, 0], cells[:, 1]]
        longest = max(pieces, key=len)
        usual = float(np.sqrt(len(self.evidence)))
        return TonalAlignment(
            score=self.total / usual,
            key_shift=(self.key + 5) % PITCH_CLASSES - 5,
            tempo=_tempo(longest),
            sections=sections,
            path=_seconds(cells),
            features={
                "aligned": sum(section.query.duration for section in sections),
                "sections": float(len(sections)),
                "density": float((said > 0).mean()),
                "agreement": float(said.mean()),
                "crookedness": _crookedness(longest),
                "key_lead": (self.total - other) / usual,
            })


def _fits(query: Rendition, references: Sequence[Rendition | None], counts: Sequence[int]) -> Iterator[_Fit]:
    """Every reference in so many of its most likely keys."""
    known = [number for number, reference in enumerate(references) if reference]
    keys = likely_keys(query, [references[number] for number in known])
    wanted = [(number, int(key), references[number])
              for number, those in zip(known, keys, strict=True) for key in those[:counts[number]]]
    for places in _groups(query, wanted):
        matrix = np.full((query.moments, places[-1].end), NEVER, np.float32)
        rows = np.zeros((places[-1].end, COLUMNS), np.float32)
        for place in places:
            rows[place.first:place.end] = place.reference.raised(place.key)
        similarity = _along(query.raised(0) @ rows.T, CONTEXT)          # (n, m) of moments
        for place in places:
            matrix[:, place.columns] = evidence(similarity[:, place.columns])
        totals = accumulate(matrix, [place.first for place in places])
        highest = totals.max(axis=0)
        for place in places:
            yield _Fit(place.number, place.key, float(highest[place.columns].max()), matrix[:, place.columns],
                       totals[:, place.columns])


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


def _along(similarity: np.ndarray, count: int) -> np.ndarray:
    """(n, m) -> (n - count + 1, m - count + 1): each cell and the `count - 1` after it on the diagonal, summed."""
    if count == 1:
        return similarity
    half = count // 2
    sums = _along(similarity, half)
    sums = sums[:-half, :-half] + sums[half:, half:]
    return sums[:-1, :-1] + similarity[2 * half:, 2 * half:] if count % 2 else sums


def evidence(similarity: np.ndarray) -> np.ndarray:
    """(n, m) -> (n, m) what each cell says for a path that runs through it, -GAP to MOST.

    It speaks for one if it is far above the others of its row and above those of its column: a chord that is
    everywhere in one of the two says nothing.
    """
    outstanding = _outstanding(similarity)
    outstanding -= STANDS_OUT
    return np.clip(outstanding, -GAP, MOST, out=outstanding)


def _outstanding(similarity: np.ndarray) -> np.ndarray:
    """(n, m) -> (n, m) by how many standard deviations each cell is above its row and its column, the less of both."""
    n, m = similarity.shape
    over_rows, over_columns = np.full(n, 1 / n, np.float32), np.full((m, 1), 1 / m, np.float32)
    centred = similarity - over_rows @ similarity
    centred -= centred @ over_columns                   # products: four times as fast as means
    square = centred * centred
    rows, columns = np.sqrt(square @ over_columns), np.sqrt(over_rows @ square)
    centred *= np.minimum(1 / np.maximum(rows, FLAT), 1 / np.maximum(columns, FLAT), out=square)
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
