"""What a coarse picture of two renditions tells: in which keys they may be alike, and how much so at first sight."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from songprint.covers.paths import CELLS, accumulate, evidence, highest, portions
from songprint.covers.rows import Rendition, rolled
from songprint.covers.tonal import PITCH_CLASSES

ALONE = 4  # coarse rows in a moment that is looked for anywhere: 6.4 s
ON_A_PATH = 2  # and in one that lies on a path: 3.2 s
STANDS_OUT = 0.7  # standard deviations from which one speaks for the path
ANYWHERE = 2.0  # what the first counts, where the path counts 1
LIKELY = 6  # keys, by the first, in which paths are looked for
APART = 2  # columns between references
FLAT = 1e-6  # deviation of what says the same in all keys


def survey(query: Rendition, references: Sequence[Rendition]) -> tuple[np.ndarray, np.ndarray]:
    """(references, 12) by how many semitones to raise each for it to sound like the query, the most likely first;
    (references,) what speaks for the best coarse path in each.

    In the right key every moment of the query has one in the reference that is like it, what the moments of
    the query have in common not counted; and these lie on a path.
    """
    # raising the reference is lowering the query
    alone = query.broad(ALONE)
    alone, paths = (
        np.stack([rolled(moments, -key) for key in range(PITCH_CLASSES)])
        for moments in (alone - alone.mean(axis=0), query.broad(ON_A_PATH))
    )
    lengths = [len(reference.coarse) for reference in references]
    anywhere = np.concatenate(
        [_anywhere(alone, references[part]) for part in portions(lengths, CELLS // (PITCH_CLASSES * alone.shape[1]))]
    )
    ranked = np.argsort(-anywhere, axis=1, kind="stable")
    likely = ranked[:, :LIKELY]
    on_a_path = np.concatenate(
        [
            _along_paths(paths, references[part], likely[part])
            for part in portions(lengths, CELLS // (LIKELY * paths.shape[1]))
        ]
    )
    both = _told(on_a_path) + ANYWHERE * np.take_along_axis(_told(anywhere), likely, axis=1)
    ranked[:, :LIKELY] = np.take_along_axis(likely, np.argsort(-both, axis=1, kind="stable"), axis=1)
    return ranked, on_a_path.max(axis=1) / np.sqrt(paths.shape[1])


def _told(of_keys: np.ndarray) -> np.ndarray:
    """(references, keys) on the scale of how far keys differ."""
    return of_keys / np.maximum(of_keys.std(axis=1, keepdims=True), FLAT)


def _anywhere(moments: np.ndarray, references: Sequence[Rendition]) -> np.ndarray:
    """(references, 12) how alike the `moments (12, m, ALONE, 4, 12)` are to the nearest of each reference."""
    parts = [reference.broad(ALONE).reshape(-1, moments[0, 0].size) for reference in references]
    similarity = np.concatenate(parts) @ moments.reshape(-1, moments[0, 0].size).T
    nearest = np.maximum.reduceat(similarity, np.cumsum([0, *map(len, parts)])[:-1])
    return nearest.reshape(len(parts), PITCH_CLASSES, -1).mean(axis=2)


def _along_paths(moments: np.ndarray, references: Sequence[Rendition], keys: np.ndarray) -> np.ndarray:
    """(references, k) what speaks for the best path of the `moments (12, m, ON_A_PATH, 4, 12)` in each reference, in
    each of the `keys (references, k)`."""
    moments = moments.reshape(PITCH_CLASSES, moments.shape[1], -1)
    parts = [reference.broad(ON_A_PATH).reshape(-1, moments.shape[2]) for reference in references]
    lasts = np.cumsum(np.repeat([APART + len(part) for part in parts], keys.shape[1])).tolist()
    spans = [(first + APART, last) for first, last in pairwise([0, *lasts])]
    similarity = np.zeros((moments.shape[1], lasts[-1]), np.float32)
    places = iter(spans)
    for part, own in zip(parts, keys, strict=True):
        beside = moments[own].reshape(-1, moments.shape[2]) @ part.T
        for block in np.split(beside, len(own)):
            first, last = next(places)
            similarity[:, first:last] = block
    totals = accumulate(evidence(similarity, spans, STANDS_OUT), [first for first, _ in spans])
    return highest(totals, spans).reshape(keys.shape)
