"""What the peaks of the whole library say of a clip: the third witness, asked where the other two are not sure.

The second witness tells how well the peaks of a recording lie on a clip where the embeddings say. How much that is
worth shows in the rest of the library: at how many peaks less the next recording ends, wherever the clip is laid on
it (`songprint.encoders.peaks`). A clip that noise hides from the embeddings may also be found so in the first place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from songprint.align import Candidate, Line
from songprint.encoders import landmarks, logmel
from songprint.encoders.peaks import Counts, PeakIndex, Peaks, Place

FEWEST = 8              # peaks of a clip; fewer say nothing
CHANGES = 3             # speeds and pitches at which the library is gone through: unchanged, and the likeliest two,
                        # if they are changes of speed, tempo or pitch alone
ALIKE = 0.004           # of speed and of pitch: such are one change
LIKELY = 2              # places of each change that are looked at closely
RIVALS = 6              # recordings with most peaks, of which the best that is another piece is the rival
HIGHEST_LEAD = 8.0      # more says no more
NEAR = 1.0              # seconds from a line at which a place is that of the line
SILENT = {"everywhere": 0.0, "clearly": 0.0}


@dataclass(frozen=True)
class _View:
    """The library at one speed and pitch of the clip."""

    speed: float
    counts: Counts
    best: list[Place]


class Everywhere:
    """A clip, laid everywhere in the library."""

    def __init__(self, samples: np.ndarray, begin: float, index: PeakIndex, changes: Iterable[tuple[float, float]],
                 leave_out: Collection[int] = ()):
        """`samples (n,)` float32 at `logmel.SAMPLE_RATE` from `begin` seconds in the clip on; changes as
        (speed, pitch), of which the unchanged one is always looked at."""
        self.begin, self.middle = begin, begin + len(samples) / logmel.SAMPLE_RATE / 2
        peaks = Peaks(landmarks.of_power(logmel.power(samples)))
        self._views = []
        for speed, pitch in _distinct(changes) if len(peaks) >= FEWEST else ():
            counts = index.count(peaks, speed, pitch)
            self._views.append(_View(speed, counts, counts.best(RIVALS, leave_out)))

    def candidates(self, lines: Iterable[Line], middle: float) -> list[Candidate]:
        """Likely places where no line is yet; `middle` is the second of the clip about which lines turn."""
        known = [(line.recording_id, line.speed * self.middle + line.offset) for line in lines]
        found = []
        for view in self._views:
            for place in view.best[:LIKELY]:
                at = place.offset + view.speed * (self.middle - self.begin)
                if all(place.recording_id != recording_id or abs(at - there) > NEAR for recording_id, there in known):
                    known.append((place.recording_id, at))
                    found.append(Candidate(place.recording_id, at + view.speed * (middle - self.middle) - middle,
                                           float(place.count)))
        return found

    def features(self, line: Line, same: Collection[int]) -> dict[str, float]:
        """By how many standard deviations of chance a line has more peaks than any other recording, in the view in
        which it has most; the recordings `same` are no others. Twice, the second time without what is against it."""
        leads = []
        for view in self._views:
            at = line.speed * self.middle + line.offset
            count = view.counts.at(line.recording_id, at - view.speed * (self.middle - self.begin))
            rival = next((place.count for place in view.best
                          if place.recording_id != line.recording_id and place.recording_id not in same), 0)
            leads.append((count - rival) / np.sqrt(rival + 1))
        if not leads:
            return SILENT
        lead = min(float(max(leads)), HIGHEST_LEAD)
        return {"everywhere": lead, "clearly": max(0.0, lead)}


def _distinct(changes: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    kept = [(1.0, 1.0)]
    for speed, pitch in changes:
        if all(max(abs(speed - other), abs(pitch - another)) > ALIKE for other, another in kept):
            kept.append((speed, pitch))
    return kept[:CHANGES]
