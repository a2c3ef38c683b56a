"""Whether two recordings of the library are the very same one: told by their stored embeddings alone."""

from __future__ import annotations

import numpy as np

from songprint.types import Embeddings

PROBES = 5  # stretches of the shorter recording that are looked for in the longer one,
PROBE = 20  # of so many rows
SAME = 0.7  # mean cosine of a stretch from which it is the same sound: strangers stay below 0.6
ENOUGH = 0.6  # share of the stretches that are to be found, where they should be
SLACK = 2  # rows by which a stretch may be off,
DRIFT = 0.01  # and for each row that it lies from another: players never keep time so exactly together


def same_recording(one: Embeddings, other: Embeddings) -> bool:
    """Whether one is the other, or a part of it, in another encoding or master too."""
    shorter, longer = sorted((one, other), key=len)
    size = min(PROBE, len(shorter))
    if not size:
        return False
    rows, whole = shorter.vectors[:], longer.vectors[:]
    starts = np.unique(np.linspace(0, len(rows) - size, PROBES).round().astype(int))
    found = []  # (row in the shorter, row in the longer)
    probed = 0
    for start in starts:
        probe = rows[start : start + size]
        heard = int(np.any(probe, axis=1).sum())
        if 2 * heard < size:  # silence is in every recording
            continue
        probed += 1
        cosines = probe @ whole.T  # (size, n)
        lags = len(whole) - size + 1
        along = sum(cosines[row, row : row + lags] for row in range(size)) / heard
        if along.max() >= SAME:
            found.append((start, int(along.argmax())))
    if not found:
        return False
    offsets = [
        [place - start - (other_place - other_start) for other_start, other_place in found] for start, place in found
    ]
    apart = [[abs(start - other_start) for other_start, _ in found] for start, _ in found]
    on_one_line = (np.abs(offsets) <= SLACK + DRIFT * np.array(apart)).sum(axis=1).max()
    return bool(on_one_line >= ENOUGH * probed)
