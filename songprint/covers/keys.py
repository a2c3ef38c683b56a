"""Ranking of keys: in which transpositions two renditions may correspond, estimated on their coarse pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from songprint.covers.parameters import DEFAULT
from songprint.covers.paths import CELLS, accumulate, evidence, highest, portions
from songprint.covers.rows import Rendition, rolled
from songprint.covers.tonal import PITCH_CLASSES

PARAMETERS = DEFAULT.keys
APART = 2  # columns between references in a matrix
FLAT = 1e-6  # standard deviation over the keys below which they do not differ


def survey(query: Rendition, references: Sequence[Rendition]) -> tuple[np.ndarray, np.ndarray]:
    """Rank the keys of each reference, and score its best coarse path.

    Returns (references, 12) semitones by which the reference has to be raised to match the query, most likely first,
    and (references,) the support of the best coarse path.

    In the correct key every moment of the query has a similar one in the reference, apart from what all moments of
    the query have in common, and these similar moments lie on a path. The first condition is computed for all keys,
    the second for the best ones.
    """
    # Raising the reference is the same as lowering the query.
    anywhere_moments = query.coarse_moments(PARAMETERS.anywhere_rows)
    anywhere_moments, path_moments = (
        np.stack([rolled(moments, -key) for key in range(PITCH_CLASSES)])
        for moments in (
            anywhere_moments - anywhere_moments.mean(axis=0),
            query.coarse_moments(PARAMETERS.path_rows),
        )
    )
    lengths = [len(reference.coarse) for reference in references]
    room = CELLS // (PITCH_CLASSES * anywhere_moments.shape[1])
    anywhere = np.concatenate([_anywhere(anywhere_moments, references[part]) for part in portions(lengths, room)])
    ranked = np.argsort(-anywhere, axis=1, kind="stable")
    likely = ranked[:, : PARAMETERS.path_keys]
    room = CELLS // (PARAMETERS.path_keys * path_moments.shape[1])
    on_path = np.concatenate(
        [_along_paths(path_moments, references[part], likely[part]) for part in portions(lengths, room)]
    )
    both = _scaled(on_path) + PARAMETERS.anywhere_weight * np.take_along_axis(_scaled(anywhere), likely, axis=1)
    ranked[:, : PARAMETERS.path_keys] = np.take_along_axis(likely, np.argsort(-both, axis=1, kind="stable"), axis=1)
    return ranked, on_path.max(axis=1) / np.sqrt(path_moments.shape[1])


def _scaled(of_keys: np.ndarray) -> np.ndarray:
    """(references, keys) divided by the standard deviation over the keys."""
    scaled: np.ndarray = of_keys / np.maximum(of_keys.std(axis=1, keepdims=True), FLAT)
    return scaled


def _anywhere(moments: np.ndarray, references: Sequence[Rendition]) -> np.ndarray:
    """(references, 12) mean similarity of the moments (12, m, rows, 4, 12) with the nearest one of each reference."""
    parts = [
        reference.coarse_moments(PARAMETERS.anywhere_rows).reshape(-1, moments[0, 0].size) for reference in references
    ]
    similarity = np.concatenate(parts) @ moments.reshape(-1, moments[0, 0].size).T
    nearest = np.maximum.reduceat(similarity, np.cumsum([0, *map(len, parts)])[:-1])
    means: np.ndarray = nearest.reshape(len(parts), PITCH_CLASSES, -1).mean(axis=2)
    return means


def _along_paths(moments: np.ndarray, references: Sequence[Rendition], keys: np.ndarray) -> np.ndarray:
    """(references, k) support of the best path of the moments (12, m, rows, 4, 12) in `keys (references, k)`."""
    moments = moments.reshape(PITCH_CLASSES, moments.shape[1], -1)
    parts = [reference.coarse_moments(PARAMETERS.path_rows).reshape(-1, moments.shape[2]) for reference in references]
    lasts = np.cumsum(np.repeat([APART + len(part) for part in parts], keys.shape[1])).tolist()
    spans = [(first + APART, last) for first, last in pairwise([0, *lasts])]
    similarity = np.zeros((moments.shape[1], lasts[-1]), np.float32)
    places = iter(spans)
    for part, own in zip(parts, keys, strict=True):
        beside = moments[own].reshape(-1, moments.shape[2]) @ part.T
        for block in np.split(beside, len(own)):
            first, last = next(places)
            similarity[:, first:last] = block
    totals = accumulate(evidence(similarity, spans, PARAMETERS.min_deviations), [first for first, _ in spans])
    return highest(totals, spans).reshape(keys.shape)
