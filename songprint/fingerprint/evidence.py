"""The features of an alignment that its calibration reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from songprint.fingerprint.parameters import DEFAULT

if TYPE_CHECKING:
    from songprint.fingerprint.align import LineAlignment
    from songprint.fingerprint.landmarks import Verification

PARAMETERS = DEFAULT.features

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
PEAK_SEARCH_FEATURES = (*FEATURES, "everywhere", "clearly", "nearby")  # those of `peak_search` included


def features(
    line: LineAlignment,
    verification: Verification,
    rivals: list[np.ndarray],
    vectors: np.ndarray,
    hits: np.ndarray,
    hop: float,
    library_segments: int,
) -> dict[str, float]:
    """Compute FEATURES of an alignment.

    Args:
        line: the alignment.
        verification: the result of landmark verification; the default values if it was not verified.
        rivals: cosines (m,) of the same query along the alignments of other recordings. Recordings with the same
            audio (`align.same_sound`) must be left out.
        vectors: (m, dim) the query.
        hits: (m,) bool, the segments for which the index search returned this position (`align.hits`).
        hop: seconds between the segments of the query.
        library_segments: size of the library.
    """
    agreeing = slice(line.first, line.last)
    length = (line.last - line.first) * hop
    rival = max((float(other[agreeing].mean()) for other in rivals), default=0.0)
    lead = line.score - rival
    return {
        "score": line.score,
        "lead": lead,
        "lead_length": lead * np.sqrt(length),
        "score_length": line.score * np.sqrt(length),
        "hits": float(hits[agreeing].mean()),
        "length": float(np.log(length)),
        "sameness": _sameness(vectors[agreeing], round(PARAMETERS.disjoint / hop)),
        "library": float(np.log10(library_segments + 1)),
        "prominence": verification.prominence,
        "excess": verification.excess,
        "excess_length": verification.excess * float(np.sqrt(length)),
        "contrast": min(verification.contrast, PARAMETERS.max_contrast),
        "background": verification.background,
        "plain": float(verification.is_simple),
        "unchanged": min(verification.unchanged, PARAMETERS.max_contrast),
        # Drones have similar embeddings: a high score with a close rival counts against an alignment.
        "rivalled": max(0.0, line.score - PARAMETERS.high_score) * max(0.0, PARAMETERS.close_lead - lead),
    }


def _sameness(vectors: np.ndarray, apart: int) -> float:
    """Mean cosine of the query with itself, `apart` segments and more later.

    A drone or steady noise agrees with another one for as long as it lasts, so its many segments are one observation.
    """
    count = len(vectors) - apart
    if count < 1:
        return 0.0
    later = np.cumsum(vectors[apart:][::-1], axis=0)[::-1]  # (count, dim) sums from each segment to the end
    return float(np.vdot(vectors[:count], later)) / (count * (count + 1) / 2)
