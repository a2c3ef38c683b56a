"""Peak search: the landmarks of a query, counted over all recordings of the library, for uncertain queries.

Landmark verification measures how well the peaks of one recording fit a query at the position that the embeddings
suggest. Two comparisons show how much that is worth: with the best other recording at any position
(`songprint.fingerprint.peak_index`), and with the same recording at other positions, because a drone fits another
drone a second later just as well. The search also finds recordings whose embeddings are masked by noise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from songprint.fingerprint import landmarks, logmel
from songprint.fingerprint.align import Candidate, LineAlignment
from songprint.fingerprint.parameters import DEFAULT
from songprint.fingerprint.peak_index import RATE, PeakIndex, Peaks

if TYPE_CHECKING:
    from songprint.fingerprint.landmarks import Verification
    from songprint.store.catalog import State
    from songprint.store.level import Level

PARAMETERS = DEFAULT.peak_search
NO_EVIDENCE = {"everywhere": 0.0, "clearly": 0.0, "nearby": 0.0}
# Frames from an alignment at which other positions of its recording begin and end.
FROM, REACH = round(PARAMETERS.elsewhere_from * RATE), round(PARAMETERS.elsewhere_to * RATE)


class LibraryPeaks:
    """The landmarks of all recordings of a library, read when they are first needed and then kept in step with it.

    Created by `level.companion(LibraryPeaks)`.
    """

    def __init__(self, level: Level) -> None:
        self._level = level
        self._index = PeakIndex()
        self._in_step_with: State | None = None
        self._lock = Lock()

    @property
    def usable(self) -> bool:
        """Whether the library is small enough to keep all its peaks in memory."""
        return len(self._level.index) * self._level.spec.hop <= 3600 * PARAMETERS.max_hours

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
    """The peaks of a query, counted at every position of every recording."""

    def __init__(self, samples: np.ndarray, begin: float, index: PeakIndex, leave_out: Collection[int] = ()):
        """`samples (n,)` float32 at `logmel.SAMPLE_RATE`, from `begin` seconds of the query on."""
        self.begin, self.middle = begin, begin + len(samples) / logmel.SAMPLE_RATE / 2
        self._peaks = Peaks(landmarks.of_power(logmel.power(samples)))
        enough = len(self._peaks) >= PARAMETERS.min_peaks
        self._best = index.count(self._peaks).best(PARAMETERS.rivals, leave_out) if enough else []

    def candidates(self, lines: Iterable[LineAlignment]) -> list[Candidate]:
        """The best positions that no alignment covers yet."""
        known = [(line.recording_id, line.at(self.middle)) for line in lines]
        found = []
        for place in self._best[: PARAMETERS.max_candidates]:
            at = place.offset + self.middle - self.begin
            if all(
                place.recording_id != recording_id or abs(at - other) > PARAMETERS.near for recording_id, other in known
            ):
                found.append(Candidate(place.recording_id, at - self.middle, place.count))
        return found

    def features(
        self, line: LineAlignment, verification: Verification, recording: np.ndarray, duplicates: Collection[int]
    ) -> dict[str, float]:
        """The features that the peak search adds to those of an alignment.

        Args:
            line: the alignment.
            verification: its verification.
            recording: (frames, SLOTS) the landmarks of its recording.
            duplicates: recordings with the same audio, which are no rivals.

        `everywhere` is the lead in peaks over the best other recording, in standard deviations of what chance gives
        that recording; `clearly` the same, at least 0; `nearby` the lead over other positions of the same recording.
        The peaks are counted for the original speed and pitch, and for those of the verification; chance gives other
        recordings about the same in both.
        """
        if len(self._peaks) < PARAMETERS.min_peaks:
            return NO_EVIDENCE
        changes = {(1.0, 1.0), (verification.speed, verification.pitch)} if verification.is_simple else {(1.0, 1.0)}
        at = line.at(self.middle)
        around = max(
            (
                self._peaks.around(recording, speed, pitch, at - speed * (self.middle - self.begin), REACH)
                for speed, pitch in changes
            ),
            key=_at_alignment,
        )
        count = _at_alignment(around)
        elsewhere = float(max(around[: REACH - FROM + 1].max(), around[REACH + FROM :].max()))
        rival = next(
            (
                place.count
                for place in self._best
                if place.recording_id != line.recording_id and place.recording_id not in duplicates
            ),
            0.0,
        )
        lead = _lead(count, rival)
        return {"everywhere": lead, "clearly": max(0.0, lead), "nearby": _lead(count, elsewhere)}


def _at_alignment(around: np.ndarray) -> float:
    """The highest of the counts (2 * REACH + 1,) around an alignment that belongs to the alignment itself."""
    slack = PARAMETERS.slack_frames
    return float(around[REACH - slack : REACH + slack + 1].max())


def _lead(count: float, rival: float) -> float:
    """The lead in standard deviations of the rival's count (Poisson)."""
    return min((count - rival) / float(np.sqrt(rival + 1)), PARAMETERS.max_lead)
