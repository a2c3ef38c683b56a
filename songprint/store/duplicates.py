"""Copies: recordings of the library that are the same one in two files, and which of them is named.

They are detected from their stored embeddings alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from songprint.types import Embeddings, Recording

PROBES = 5  # excerpts of the shorter recording that are searched in the longer one
PROBE = 20  # length of an excerpt, in rows
SAME = 0.7  # minimum mean cosine of an excerpt; most different recordings stay below 0.6
# Speech of one voice and drones agree at any position (synthesised speech: 0.68). The best position of an excerpt
# must exceed the mean of all positions by this share of the distance to 1, unless its mean cosine is CERTAIN.
CONTRAST = 0.3
CERTAIN = 0.9
ENOUGH = 0.6  # share of the excerpts that must be found at consistent positions
SLACK = 2  # tolerance of a position, in rows
# Additional tolerance for each row between two excerpts. Two performances never keep the same tempo that exactly.
DRIFT = 0.01


def same_recording(one: Embeddings, other: Embeddings) -> bool:
    """Whether one recording equals the other or a part of it, possibly in another encoding or master."""
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
        with_content = int(np.any(probe, axis=1).sum())
        if 2 * with_content < size:  # every recording contains silence
            continue
        probed += 1
        cosines = probe @ whole.T  # (size, n)
        lags = len(whole) - size + 1
        mean_cosines = sum(cosines[row, row : row + lags] for row in range(size)) / with_content  # (lags,)
        anywhere = cosines.sum() / max(1, with_content * np.any(whole, axis=1).sum())
        if mean_cosines.max() >= np.clip(anywhere + CONTRAST * (1 - anywhere), SAME, CERTAIN):
            found.append((start, int(mean_cosines.argmax())))
    if not found:
        return False
    offsets = [
        [place - start - (other_place - other_start) for other_start, other_place in found] for start, place in found
    ]
    distances = [[abs(start - other_start) for other_start, _ in found] for start, _ in found]
    consistent = (np.abs(offsets) <= SLACK + DRIFT * np.array(distances)).sum(axis=1).max()
    return bool(consistent >= ENOUGH * probed)


def tagged_fields(recording: Recording) -> int:
    """The number of tags that a file names besides its title, which may come from the name of the file."""
    tags = recording.tags
    return sum(
        bool(each)
        for each in (
            tags.artists,
            tags.album,
            tags.isrc,
            tags.track,
            tags.year,
            tags.musicbrainz_recording_id,
            tags.musicbrainz_release_id,
            tags.work,
        )
    )


def by_tags(recording: Recording) -> tuple[int, int]:
    """Sort key for copies: the one with most tags comes first, then the one that was added first."""
    return -tagged_fields(recording), recording.id
