"""What speaks for a line: the features that its calibration weighs."""

from __future__ import annotations

import numpy as np

from songprint.fingerprint.align import LineAlignment
from songprint.fingerprint.landmarks import Verification

FEATURES = (
    "score",
    "lead",
    "lead_length",
    "score_length",
    "hits",
    "length",
    "sameness",
    "library",
    "prominence",
    "excess",
    "excess_length",
    "contrast",
    "background",
    "plain",
    "unchanged",
    "rivalled",
)
PEAK_SEARCH_FEATURES = (
    *FEATURES,
    "everywhere",
    "clearly",
    "nearby",
)  # of a clip that was laid everywhere in the library
HIGHEST_CONTRAST = 12.0  # more says no more
ALIKE, AHEAD = 0.6, 0.15  # a mean cosine above the one that leads by less than the other has a rival in earnest
APART = 1.25  # seconds from which two segments share no sound


def features(
    line: LineAlignment,
    verification: Verification,
    rivals: list[np.ndarray],
    vectors: np.ndarray,
    hits: np.ndarray,
    hop: float,
    library_segments: int,
) -> dict[str, float]:
    """What is known of a line, given the cosines (m,) along the lines of other recordings over the same clip.

    Rivals that are the same sound (`align.same_sound`) must have been left out. `vectors (m, dim)` is the clip,
    `hits (m,)` the segments for which the search itself came up with this place (`align.hits`), `hop` its
    seconds between segments.
    """
    stretch = slice(line.first, line.last)
    length = (line.last - line.first) * hop
    rival = max((float(other[stretch].mean()) for other in rivals), default=0.0)
    lead = line.score - rival
    return {
        "score": line.score,
        "lead": lead,
        "lead_length": lead * np.sqrt(length),
        "score_length": line.score * np.sqrt(length),
        "hits": float(hits[stretch].mean()),
        "length": float(np.log(length)),
        "sameness": _sameness(vectors[stretch], round(APART / hop)),
        "library": float(np.log10(library_segments + 1)),
        "prominence": verification.prominence,
        "excess": verification.excess,
        "excess_length": verification.excess * float(np.sqrt(length)),
        "contrast": min(verification.contrast, HIGHEST_CONTRAST),
        "background": verification.background,
        "plain": float(verification.is_simple),
        "unchanged": min(verification.unchanged, HIGHEST_CONTRAST),
        # to the embeddings a drone is like any drone: what is very much alike is to have no rival
        "rivalled": max(0.0, line.score - ALIKE) * max(0.0, AHEAD - lead),
    }


def _sameness(vectors: np.ndarray, apart: int) -> float:
    """Mean cosine of the clip with itself, `apart` segments and more later.

    A drone, or noise, agrees with another drone for as long as it lasts: its many segments say one thing.
    """
    count = len(vectors) - apart
    if count < 1:
        return 0.0
    later = np.cumsum(vectors[apart:][::-1], axis=0)[::-1]  # (count, dim) sums from each one on
    return float(np.vdot(vectors[:count], later)) / (count * (count + 1) / 2)
