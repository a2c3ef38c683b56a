"""A matrix of how alike two renditions are -> the best path through it, from one to the other.

The best local alignment follows the recurrence of Serrà, Serra and Andrzejak ("Cross recurrence quantification for
cover song identification", New Journal of Physics 11, 2009): a cell continues from (i-1, j-1), (i-2, j-1) or
(i-1, j-2), which bounds the tempo ratio by 1/2 and 2. Other than there a cell counts by degrees: by how far it stands
out from its row and from its column. No cell depends on another of its row, so several references stand side by side
in one matrix and a row of it is a handful of operations of NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

Spans = Sequence[tuple[int, int]]  # the first column of each reference, and the one after its last

FLAT = np.float32(1e-3)  # standard deviation below which a row or column has nothing that stands out
STANDS_OUT = 1.3  # standard deviations from which a cell speaks for an alignment
MOST, GAP = 1.0, 0.5  # what one cell can add, and cost
NEVER = np.float32(-1e9)  # keeps references apart, and paths out of rows that are taken
CELLS = 500_000  # of the matrix at a time: 2 MB, which a processor has at hand

JUMP = 18.0  # what it costs to go on elsewhere: a repeat, a cut, another order


def portions(sizes: Sequence[int], room: int) -> Iterator[slice]:
    """Things of these sizes, one after the other, as many at a time as there is room for; one at least."""
    first, left = 0, room
    for number, size in enumerate(sizes):
        if left < size and number > first:
            yield slice(first, number)
            first, left = number, room
        left -= size
    if first < len(sizes):
        yield slice(first, len(sizes))


def along(similarity: np.ndarray, count: int) -> np.ndarray:
    """(n, m) -> (n - count + 1, m - count + 1): each cell and the `count - 1` after it on the diagonal, summed."""
    if count == 1:
        return similarity
    half = count // 2
    sums = along(similarity, half)
    sums = sums[:-half, :-half] + sums[half:, half:]
    return sums[:-1, :-1] + similarity[2 * half :, 2 * half :] if count % 2 else sums


def evidence(similarity: np.ndarray, spans: Spans, stands_out: float = STANDS_OUT) -> np.ndarray:
    """(n, m) -> (n, m) what each cell says for a path that runs through it, -GAP to MOST; NEVER outside the spans.

    It speaks for one if it is far above the others of its row and above those of its column: a chord that is
    everywhere in one of the two says nothing. The columns of each of the `spans` are a matrix of its own.
    """
    matrix = outstanding(similarity, spans)
    matrix -= stands_out
    np.clip(matrix, -GAP, MOST, out=matrix)
    matrix[:, _outside(spans, matrix.shape[1])] = NEVER
    return matrix


def _outside(spans: Spans, width: int) -> np.ndarray:
    """(width,) bool: the columns that are in none of the spans."""
    edges = np.zeros(width + 1, np.int8)
    for first, last in spans:
        edges[first] += 1
        edges[last] -= 1
    return edges[:-1].cumsum() == 0


def outstanding(similarity: np.ndarray, spans: Spans | None = None) -> np.ndarray:
    """(n, m) -> (n, m) by how many standard deviations each cell is above its row and its column, the less of both.

    The columns of each of the spans are a matrix of its own; what lies outside means nothing.
    """
    n, m = similarity.shape
    spans = spans or [(0, m)]
    edges = _edges(spans, m)
    widths = np.float32([last - first for first, last in spans])

    def over_columns(values: np.ndarray) -> np.ndarray:
        return (np.add.reduceat(values, edges, axis=1)[:, ::2] / widths).T[:, :, None]  # (spans, n, 1)

    over_rows = np.full(n, 1 / n, np.float32)
    centred = similarity - over_rows @ similarity  # a product: four times as fast as a mean
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
    totals = np.zeros((len(evidence) + 2, evidence.shape[1]), np.float32)  # two rows of nothing before it
    widths = np.diff([*firsts, evidence.shape[1]])
    elsewhere = np.full(len(widths), -JUMP, np.float32)  # the most that each reference had, less the jump
    for i, row in enumerate(evidence, 2):
        own = totals[i, 2:]
        np.maximum(totals[i - 1, 1:-1], totals[i - 2, 1:-1], out=own)
        np.maximum(own, totals[i - 1, :-2], out=own)
        np.maximum(own, np.repeat(elsewhere, widths), out=own)
        own += row[2:]
        np.maximum(own, 0, out=own)
        np.maximum(elsewhere, np.maximum.reduceat(totals[i], firsts) - JUMP, out=elsewhere)
    return totals[2:]


def highest(totals: np.ndarray, spans: Spans) -> np.ndarray:
    """(n, m) totals -> (spans,) that of the best path of each."""
    return np.maximum.reduceat(totals.max(axis=0), _edges(spans, totals.shape[1]))[::2]


def _edges(spans: Spans, width: int) -> np.ndarray:
    """Where `reduceat` divides so many columns: every second part is a span."""
    return np.ravel(spans)[: None if spans[-1][1] < width else -1]


def trace(totals: np.ndarray) -> list[np.ndarray]:
    """The best path as the pieces (k, 2) between its jumps, from its beginning to its end."""
    rows, columns = totals.shape
    framed = np.zeros((rows + 2, columns + 2), np.float32)  # nothing before it
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
