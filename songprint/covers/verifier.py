"""What lies along the path of an alignment: a picture of it for the network that judges it.

A path through the matrix of two renditions says only that there is one. What the cells around it look like tells a song
from another of the same chords: whether the tune follows the path, whether the diagonal goes through the changes of
chord or around them, whether it would fit as well two bars later. So the surroundings are cut out along the path, which
then runs straight down the middle, each channel by itself (networks that look at such matrices: Chang, Lee, Choe and
Lee, "Audio cover song identification using convolutional neural network", 2017).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from songprint.covers.align import TonalAlignment, cells
from songprint.covers.paths import outstanding
from songprint.covers.rows import CONTEXT, Rendition
from songprint.covers.tonal import CHANNELS

REACH = 20  # rows of the reference to either side: 8 s
WIDTH = 2 * REACH + 1
PLANES = CHANNELS + 2  # how alike each channel is, the motifs of a network, and the path
LEVELS = 32.0  # of one standard deviation
MOST = 127.0
SMOOTHED = 15  # rows (6 s) over which the middle follows the path
LONGEST_STEP = 2  # in a path that does not jump


def band(query: Rendition, reference: Rendition, alignment: TonalAlignment) -> np.ndarray:
    """(rows of the query, WIDTH, PLANES) int8: each channel in standard deviations times LEVELS, so the motifs, and
    the path.

    Row i, column REACH is where the middle of the path lies; what is beyond the ends of the reference is 0.
    """
    path = cells(alignment.path) + CONTEXT // 2  # of rows, not of moments
    columns = np.rint(middle(path, len(query.rows))).astype(np.intp)[:, None] + np.arange(-REACH, REACH + 1)
    inside = (columns >= 0) & (columns < len(reference.rows))
    columns = columns.clip(0, len(reference.rows) - 1)
    found = np.zeros((*columns.shape, PLANES), np.float32)
    pairs = [
        (query.channel(channel, 0), reference.channel(channel, alignment.key_shift)) for channel in range(CHANNELS)
    ] + [(query.motifs(0), reference.motifs(alignment.key_shift))]
    for plane, (one, other) in enumerate(pairs):
        found[:, :, plane] = np.take_along_axis(outstanding(one @ other.T), columns, axis=1) * LEVELS
    i, j = path.T
    beside = j - columns[i, REACH] + REACH
    shown = (beside >= 0) & (beside < WIDTH)
    found[i[shown], beside[shown], PLANES - 1] = LEVELS
    return (found * inside[:, :, None]).clip(-MOST, MOST).astype(np.int8)


def middle(path: np.ndarray, rows: int) -> np.ndarray:
    """(k, 2) cells -> (rows,) the column at which the band of each row has its middle.

    It follows the path as a whole, not its every step; before, after and between the pieces of a path that jumps
    it goes on as the nearest piece does.
    """
    steps = np.diff(path, axis=0)
    pieces = np.split(path, np.flatnonzero((steps < 1).any(axis=1) | (steps > LONGEST_STEP).any(axis=1)) + 1)
    changes = [(one[-1, 0] + other[0, 0]) // 2 + 1 for one, other in pairwise(pieces)]
    found = np.empty(rows)
    for piece, first, last in zip(pieces, [0, *changes], [*changes, rows], strict=True):
        found[first:last] = _smoothed(piece, np.arange(first, last))
    return found


def _smoothed(piece: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The columns of a piece at these rows, one or more: its line, and what it strays from it."""
    i, j = piece.T.astype(float)
    slope, start = np.polyfit(i, j, 1) if len(piece) > SMOOTHED else (1.0, float(np.mean(j - i)))
    around = np.arange(rows[0] - SMOOTHED // 2, rows[-1] + SMOOTHED // 2 + 1)
    strays = np.interp(around, i, j - slope * i - start)
    return slope * rows + start + np.convolve(strays, np.full(SMOOTHED, 1 / SMOOTHED), "valid")
