"""What the peaks of the whole library say of a clip: the third witness, asked where the other two are not sure.

The second witness tells how well the peaks of a recording lie on a clip where the embeddings say. How much that is
worth shows in the rest of the library: at how many peaks less the next recording ends, wherever the clip is laid on
it (`songprint.fingerprint.peak_index`). And it shows in the recording itself: a drone lies on another one a second later just
as well. A clip that noise hides from the embeddings may also be found so in the first place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from threading import Lock

import numpy as np

from songprint.fingerprint import landmarks, logmel
from songprint.fingerprint.align import Candidate, LineAlignment
from songprint.fingerprint.landmarks import Verification
from songprint.fingerprint.peak_index import RATE, PeakIndex, Peaks
from songprint.store.catalog import State
from songprint.store.level import Level

MAX_HOURS = 200.0  # hours of music in a library whose peaks are kept in memory; 200 MB
FEWEST = 8  # peaks of a clip; fewer say nothing
LIKELY = 2  # places that are looked at closely
RIVALS = 6  # recordings with most peaks, of which the best that is another piece is the rival
HIGHEST_LEAD = 8.0  # more says no more
NEAR = 1.0  # seconds from a line at which a place is that of the line
NO_EVIDENCE = {"everywhere": 0.0, "clearly": 0.0, "nearby": 0.0}
SLACK = 5  # frames that a place may be off
FROM, REACH = round(1.0 * RATE), round(8.0 * RATE)  # frames from a place at which the recording is another, and to


class LibraryPeaks:
    """The landmarks of all references of a library, read when they are first needed and then kept in step.

    Make it with `level.companion(LibraryPeaks)`.
    """

    def __init__(self, level: Level) -> None:
        self._level = level
        self._index = PeakIndex()
        self._in_step_with: State | None = None
        self._lock = Lock()

    @property
    def usable(self) -> bool:
        """Whether the library is small enough to keep all its peaks in memory."""
        return len(self._level.index) * self._level.spec.hop <= 3600 * MAX_HOURS

    def index(self) -> PeakIndex:
        """Return the peaks of all recordings, as of the level's last `refresh`."""
        level = self._level
        with self._lock:
            state = level.state
            if state != self._in_step_with:
                searched, present = level.catalog.searched(level.kind).keys(), self._index.recording_ids
                added = level.catalog.each_embeddings(level.kind, searched - present, as_stored=True)
                self._index = self._index.changed(
                    ((recording_id, made.evidence) for recording_id, made in added), present - searched
                )
                self._in_step_with = state
            return self._index


class PeakSearch:
    """A clip, laid everywhere in the library."""

    def __init__(self, samples: np.ndarray, begin: float, index: PeakIndex, leave_out: Collection[int] = ()):
        """`samples (n,)` float32 at `logmel.SAMPLE_RATE` from `begin` seconds in the clip on."""
        self.begin, self.middle = begin, begin + len(samples) / logmel.SAMPLE_RATE / 2
        self._peaks = Peaks(landmarks.of_power(logmel.power(samples)))
        self._best = index.count(self._peaks).best(RIVALS, leave_out) if len(self._peaks) >= FEWEST else []

    def candidates(self, lines: Iterable[LineAlignment]) -> list[Candidate]:
        """Likely places where no line is yet."""
        known = [(line.recording_id, line.at(self.middle)) for line in lines]
        found = []
        for place in self._best[:LIKELY]:
            at = place.offset + self.middle - self.begin
            if all(place.recording_id != recording_id or abs(at - there) > NEAR for recording_id, there in known):
                found.append(Candidate(place.recording_id, at - self.middle, place.count))
        return found

    def features(
        self, line: LineAlignment, verification: Verification, recording: np.ndarray, same: Collection[int]
    ) -> dict[str, float]:
        """By how many standard deviations of chance a line has more peaks than any other recording: twice, the second
        time without what is against it; and than the same recording at any other place nearby.

        The line is looked at as it is and with the changes of `verification`; what others have by chance is about the
        same in both. `recording (frames, SLOTS)` are the landmarks of the line's; recordings that are the `same`
        are no others.
        """
        if len(self._peaks) < FEWEST:
            return NO_EVIDENCE
        changes = {(1.0, 1.0), (verification.speed, verification.pitch)} if verification.is_simple else {(1.0, 1.0)}
        at = line.at(self.middle)
        around = max(
            (
                self._peaks.around(recording, speed, pitch, at - speed * (self.middle - self.begin), REACH)
                for speed, pitch in changes
            ),
            key=_here,
        )
        count, elsewhere = _here(around), float(max(around[: REACH - FROM + 1].max(), around[REACH + FROM :].max()))
        rival = next(
            (
                place.count
                for place in self._best
                if place.recording_id != line.recording_id and place.recording_id not in same
            ),
            0.0,
        )
        lead = _lead(count, rival)
        return {"everywhere": lead, "clearly": max(0.0, lead), "nearby": _lead(count, elsewhere)}


def _here(around: np.ndarray) -> float:
    """Of counts (2 * REACH + 1,) around a place the highest that is its own."""
    return float(around[REACH - SLACK : REACH + SLACK + 1].max())


def _lead(count: float, rival: float) -> float:
    """In standard deviations of what chance gives the rival."""
    return min((count - rival) / float(np.sqrt(rival + 1)), HIGHEST_LEAD)
