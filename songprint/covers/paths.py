"""The best path through a cross-similarity matrix, from one rendition to the other.

The local alignment follows the recurrence of Serrà, Serra and Andrzejak ("Cross recurrence quantification for cover
song identification", New Journal of Physics 11, 2009): a cell continues from (i-1, j-1), (i-2, j-1) or (i-1, j-2),
which limits the tempo ratio to 1/2 to 2. Unlike there, the matrix is not binary: the evidence of a cell is how far it
stands out from its row and its column, and a path may jump elsewhere at a cost. No cell depends on another of its row,
so several references are placed side by side in one matrix, and a row of it takes a handful of NumPy operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from songprint.covers.parameters import DEFAULT

PARAMETERS = DEFAULT.paths
Spans = Sequence[tuple[int, int]]  # the columns [first, last) of each reference

FLAT = np.float32(1e-3)  # standard deviation below which nothing stands out from a row or column
NEVER = np.float32(-1e9)  # evidence between references, which no path may cross
CELLS = 500_000  # cells of the matrix at a time: 2 MB, which fits the cache


def portions(sizes: Sequence[int], room: int) -> Iterator[slice]:
    """Consecutive slices of items with these sizes; each has a total size of at most `room`, or a single item."""
    first, left = 0, room
    for number, size in enumerate(sizes):
        if left < size and number > first:
            yield slice(first, number)
            first, left = number, room
        left -= size
    if first < len(sizes):
        yield slice(first, len(sizes))


def along(similarity: np.ndarray, count: int) -> np.ndarray:
    """(n, m) -> (n - count + 1, m - count + 1) sums of each cell and the `count - 1` after it on the diagonal."""
    if count == 1:
        return similarity
    half = count // 2
    halves = along(similarity, half)
    sums: np.ndarray = halves[:-half, :-half] + halves[half:, half:]
    if count % 2:
        sums = sums[:-1, :-1] + similarity[2 * half :, 2 * half :]
    return sums


def evidence(similarity: np.ndarray, spans: Spans, min_deviations: float = PARAMETERS.min_deviations) -> np.ndarray:
    """(n, m) similarity -> (n, m) evidence of each cell for a path through it; NEVER outside the spans.

    A cell supports a path if it is far above the others of its row and above those of its column: a chord that occurs
    everywhere in one of the two is no evidence. The columns of each span are a matrix of their own.
    """
    matrix = outstanding(similarity, spans)
    matrix -= min_deviations
    np.clip(matrix, -PARAMETERS.max_penalty, PARAMETERS.max_support, out=matrix)
    matrix[:, _outside(spans, matrix.shape[1])] = NEVER
    return matrix


def _outside(spans: Spans, width: int) -> np.ndarray:
    """(width,) bool: the columns that are in none of the spans."""
    edges = np.zeros(width + 1, np.int8)
    for first, last in spans:
        edges[first] += 1
        edges[last] -= 1
    outside: np.ndarray = edges[:-1].cumsum() == 0
    return outside


def outstanding(similarity: np.ndarray, spans: Spans | None = None) -> np.ndarray:
    """(n, m) -> (n, m) standard deviations of each cell above its row and its column, the lower of the two.

    The columns of each span are a matrix of their own; cells outside the spans are undefined.
    """
    n, m = similarity.shape
    spans = spans or [(0, m)]
    edges = _edges(spans, m)
    widths = np.array([last - first for first, last in spans], np.float32)

    def over_columns(values: np.ndarray) -> np.ndarray:
        means: np.ndarray = np.add.reduceat(values, edges, axis=1)[:, ::2] / widths
        return means.T[:, :, None]  # (spans, n, 1)

    over_rows = np.full(n, 1 / n, np.float32)
    centred: np.ndarray = similarity - over_rows @ similarity  # a product takes a quarter of the time of a mean
    for (first, last), mean in zip(spans, over_columns(centred), strict=True):
        centred[:, first:last] -= mean
    square = centred * centred
    rows = 1 / np.maximum(np.sqrt(over_columns(square)), FLAT)
    columns = 1 / np.maximum(np.sqrt(over_rows @ square), FLAT)
    for (first, last), row in zip(spans, rows, strict=True):
        centred[:, first:last] *= np.minimum(row, columns[first:last], out=square[:, first:last])
    return centred


def accumulate(evidence: np.ndarray, firsts: Sequence[int]) -> np.ndarray:
    """(n, m) evidence -> (n, m) total of the best path that ends in each cell, at least 0.

    `firsts` are the first columns of the references; the two columns before each contain NEVER.
    """
    totals = np.zeros((len(evidence) + 2, evidence.shape[1]), np.float32)  # two empty rows before the first
    penalty = np.float32(PARAMETERS.jump_penalty)
    edges = [*firsts, evidence.shape[1]]
    highest_so_far = np.full(len(firsts), penalty, np.float32)  # of each reference; no jump pays below the penalty
    landing = np.zeros(evidence.shape[1] - 2, np.float32)  # total after a jump to each column, at least 0
    lowest, jumping = penalty, False
    for i, row in enumerate(evidence, 2):
        own = totals[i, 2:]
        np.maximum(totals[i - 1, 1:-1], totals[i - 2, 1:-1], out=own)
        np.maximum(own, totals[i - 1, :-2], out=own)
        if jumping:
            np.maximum(own, landing, out=own)
        own += row[2:]
        np.maximum(own, 0, out=own)
        # Few rows raise a highest total above the penalty; the landing is written only then.
        if own.max() > lowest:
            tops = np.maximum.reduceat(totals[i], firsts)
            for number in np.flatnonzero(tops > highest_so_far).tolist():
                highest_so_far[number] = tops[number]
                landing[edges[number] - 2 : edges[number + 1] - 2] = tops[number] - penalty
            lowest, jumping = highest_so_far.min(), True
    return totals[2:]


def highest(totals: np.ndarray, spans: Spans) -> np.ndarray:
    """(n, m) totals -> (spans,) total of the best path of each reference."""
    best: np.ndarray = np.maximum.reduceat(totals.max(axis=0), _edges(spans, totals.shape[1]))[::2]
    return best


def _edges(spans: Spans, width: int) -> np.ndarray:
    """Where `reduceat` divides the columns: every second part is a span."""
    return np.ravel(spans)[: None if spans[-1][1] < width else -1]


def trace(totals: np.ndarray) -> list[np.ndarray]:
    """Trace the best path back -> its pieces (k, 2) between jumps, from beginning to end."""
    rows, columns = totals.shape
    framed = np.zeros((rows + 2, columns + 2), np.float32)  # two empty rows and columns before the first
    framed[2:, 2:] = totals
    best = framed.max(axis=1)
    elsewhere = (np.maximum.accumulate(best) - PARAMETERS.jump_penalty).tolist()
    pieces: list[list[tuple[int, int]]] = []
    cells: list[tuple[int, int]] = []
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
