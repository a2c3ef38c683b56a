"""How a stretch of a long recording corresponds to a cover's recording, as data that a page can draw.

`similarity` runs in a process of the crew, as what is in `duties` does.
"""

from __future__ import annotations

import base64

import numpy as np

from songprint.audio import files
from songprint.covers.explain import Explanation
from songprint.covers.rows import STEP
from songprint.covers.within_library import cover_level, stored
from songprint.formats.objects import Object, interval_object
from songprint.library import Library
from songprint.types import Interval

MOST_POINTS = 320  # of a picture, on its longer side
LONGEST = 1200.0  # seconds of the stretch that are compared


def similarity(library: Library, path: str, start: float, end: float, recording_id: int) -> Object:
    """The cross-similarity of a stretch of a file and a recording, and the lines along which they go together.

    `pixels` is base64 of bytes, row after row: across is the stretch, up the recording; 255 is most alike. The
    intervals say which seconds the picture shows. `path` has a list of [seconds in the file, seconds in the
    recording] for each section; none if no part corresponds.
    """
    level = cover_level(library.store)
    library.store.check_encoders()
    reference = stored(level, recording_id).evidence
    length = min(end - start, LONGEST)
    samples = files.stretch(path, library.store.sample_rate, start, length)
    query = level.encoder.encode_stream([samples])[0].evidence
    shown = Explanation.of("this stretch", query, "the recording", reference, level.encoder.networks.ready)
    alike, found = shown.similarity(), shown.alignment  # (n, m)
    picture = _reduced(alike.T)  # (up, across)
    seconds = np.array(alike.shape) * STEP
    return {
        "query": interval_object(Interval(start, start + seconds[0])),
        "reference": interval_object(Interval(0.0, seconds[1])),
        "width": picture.shape[1],
        "height": picture.shape[0],
        "pixels": base64.b64encode(picture.tobytes()).decode(),
        "path": [[[round(start + along, 2), round(up, 2)] for along, up in part.tolist()] for part in shown.paths()],
        "key_shift": found.key_shift if found else None,
        "speed": round(found.tempo, 4) if found else None,
    }


def _reduced(alike: np.ndarray) -> np.ndarray:
    """At most MOST_POINTS on a side, as bytes: the largest value of each block, so that thin lines stay."""
    block = -(-max(alike.shape) // MOST_POINTS)
    height, width = (-(-side // block) for side in alike.shape)
    padded = np.full((height * block, width * block), -np.inf, alike.dtype)
    padded[: alike.shape[0], : alike.shape[1]] = alike
    largest = padded.reshape(height, block, width, block).max(axis=(1, 3))
    low, high = np.percentile(largest[np.isfinite(largest)], [25, 99.8])  # half of all is alike by chance
    shares = np.clip((largest - low) / max(high - low, 1e-6), 0, 1)
    return (255 * shares).astype(np.uint8)
