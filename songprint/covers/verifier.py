"""Bands: the surroundings of an alignment's path, for the network that verifies covers.

A path alone does not separate covers from songs with the same chords. The cells around it do: whether the melody
follows the path, whether the diagonal crosses changes of chord, and whether the path would fit as well two bars later.
The surroundings are cut out along the path, which then runs down the middle, one plane for each channel. Networks on
cross-similarity matrices: Chang, Lee, Choe and Lee, "Audio cover song identification using convolutional neural
network" (2017). Constants here define the input of the network.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from songprint.covers.align import TonalAlignment, cells
from songprint.covers.paths import outstanding
from songprint.covers.rows import CONTEXT, Rendition
from songprint.covers.tonal import CHANNELS

REACH = 20  # rows of the reference on either side of the path: 8 s
WIDTH = 2 * REACH + 1
PLANES = CHANNELS + 2  # the similarity of each channel, that of the motifs, and the path
LEVELS = 32.0  # integer steps per standard deviation
MOST = 127.0
SMOOTHED = 15  # rows (6 s) over which the middle of the band is smoothed
LONGEST_STEP = 2  # cells from one to the next within a piece of a path


def band(query: Rendition, reference: Rendition, alignment: TonalAlignment) -> np.ndarray:
    """(rows of the query, WIDTH, PLANES) int8: standard deviations times LEVELS of each channel and of the motifs,
    and the path.

    Column REACH of row i is the middle of the path. Cells beyond the ends of the reference are 0.
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
    clipped: np.ndarray = (found * inside[:, :, None]).clip(-MOST, MOST)
    return clipped.astype(np.int8)


def middle(path: np.ndarray, rows: int) -> np.ndarray:
    """(k, 2) cells of a path -> (rows,) the column in the middle of the band, for each row of the query.

    The middle follows the smoothed path. Before, after and between the pieces of a path it continues the nearest one.
    """
    steps = np.diff(path, axis=0)
    pieces = np.split(path, np.flatnonzero((steps < 1).any(axis=1) | (steps > LONGEST_STEP).any(axis=1)) + 1)
    changes = [(one[-1, 0] + other[0, 0]) // 2 + 1 for one, other in pairwise(pieces)]
    found = np.empty(rows)
    for piece, first, last in zip(pieces, [0, *changes], [*changes, rows], strict=True):
        found[first:last] = _smoothed(piece, np.arange(first, last))
    return found


def _smoothed(piece: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The columns of a piece at one or more rows: a fitted line plus the smoothed residuals."""
    i, j = piece.T.astype(float)
    slope, start = np.polyfit(i, j, 1) if len(piece) > SMOOTHED else (1.0, float(np.mean(j - i)))
    around = np.arange(rows[0] - SMOOTHED // 2, rows[-1] + SMOOTHED // 2 + 1)
    residuals = np.interp(around, i, j - slope * i - start)
    columns: np.ndarray = slope * rows + start + np.convolve(residuals, np.full(SMOOTHED, 1 / SMOOTHED), "valid")
    return columns
