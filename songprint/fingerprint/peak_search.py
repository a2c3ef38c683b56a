"""Peak search: the landmarks of a query, counted over all recordings of the library, for uncertain queries.

In a library of up to 200 hours, peaks are counted at every position (`songprint.fingerprint.peak_index`). In a larger
one, pairs of peaks on disk suggest the positions at which they are counted (`songprint.fingerprint.peak_files`).

Landmark verification measures how well the peaks of one recording fit a query at the position that the embeddings
suggest. Two comparisons show how much that is worth: with the best other recording at any position
(`songprint.fingerprint.peak_index`), and with the same recording at other positions, because a drone fits another
drone a second later just as well. The search also finds recordings whose embeddings are masked by noise.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from songprint.fingerprint import landmarks, logmel
from songprint.fingerprint.align import Candidate, LineAlignment
from songprint.fingerprint.parameters import DEFAULT
from songprint.fingerprint.peak_files import PairFiles, PairIndex, Part
from songprint.fingerprint.peak_index import RATE, PeakIndex, Peaks, Place
from songprint.fingerprint.peak_pairs import UNIT
from songprint.store import disk

if TYPE_CHECKING:
    from songprint.fingerprint.landmarks import Verification
    from songprint.store.catalog import State
    from songprint.store.changes import Mark
    from songprint.store.level import Level

log = logging.getLogger(__name__)

PARAMETERS = DEFAULT.peak_search
FOLDER = "peaks"  # in the folder of the index
NO_EVIDENCE = {"everywhere": 0.0, "clearly": 0.0, "nearby": 0.0}
# Frames from an alignment at which other positions of its recording begin and end.
FROM, REACH = round(PARAMETERS.elsewhere_from * RATE), round(PARAMETERS.elsewhere_to * RATE)


class LargePeakIndex:
    """The landmarks of a library that is too large to count all of them. Immutable, hence thread-safe.

    Peaks are counted where pairs of them suggest it (`peak_files`), and at all positions of recent recordings.
    """

    def __init__(
        self,
        pairs: PairIndex,
        removed: Collection[int],
        recent: PeakIndex,
        landmarks_of: Callable[[Collection[int]], Mapping[int, np.ndarray]],
    ) -> None:
        """`removed` are recordings of `pairs` that are not searched; `landmarks_of` reads landmarks by recording."""
        self._pairs, self._removed, self._recent, self._landmarks_of = pairs, frozenset(removed), recent, landmarks_of

    @property
    def recording_ids(self) -> set[int]:
        return {*self._pairs.recording_ids - self._removed, *self._recent.recording_ids}

    def best(self, peaks: Peaks, most: int, leave_out: Collection[int] = ()) -> list[Place]:
        """The best position of each of the `most` recordings with the highest counts, best first."""
        rough = self._pairs.search(peaks.landmarks, PARAMETERS.counted_places, {*leave_out, *self._removed})
        landmarks = self._landmarks_of({place.recording_id for place in rough})
        reach = PARAMETERS.count_reach
        best = {place.recording_id: place for place in reversed(self._recent.best(peaks, most, leave_out))}
        for place in rough:
            if place.recording_id in landmarks:  # it may have been removed since the search
                counts = peaks.around(landmarks[place.recording_id], 1.0, 1.0, place.frame / RATE, reach)
                at = int(counts.argmax())
                found = Place(place.recording_id, (place.frame + at - reach) / RATE, float(counts[at]))
                if place.recording_id not in best or found.count > best[place.recording_id].count:
                    best[place.recording_id] = found
        return sorted(best.values(), key=lambda place: -place.count)[:most]

    def chance(self, peaks: Peaks) -> float:
        """The count that the best of all positions is expected to have by chance.

        Pairs seldom suggest that position if the query has few peaks. Without this limit its count would be too low,
        and so any other recording would seem to have a clear lead.
        """
        from scipy.special import pdtrc  # takes 0.1 s, which commands without a search do not need

        _, codes = peaks.at_original(1.0, 1.0)
        # A peak counts 1 in its frame and half in each of the two next to it.
        mean = 2.0 * float(self._pairs.density[codes].sum())
        counts = np.arange(10 * len(peaks) + 1)
        best = np.argmax(pdtrc(counts, mean) * max(1, self._pairs.frames) < 1)
        return PARAMETERS.chance_excess * float(best)


class LibraryPeaks:
    """The landmarks of a library, kept in step with it. Created by `level.companion(LibraryPeaks)`.

    A small library is held in memory: its landmarks are read when they are first needed. For a large one, `tidy` and
    `rebuild` write the pairs of peaks to disk; recordings that the files do not contain yet are held in memory.
    """

    def __init__(self, level: Level) -> None:
        self._level = level
        self._recent = PeakIndex()
        self._index: PeakIndex | LargePeakIndex = self._recent
        self._searched: dict[int, int] = {}  # segments of each recording
        self._mark: Mark | None = None
        self._in_step_with: tuple[State, PairIndex | None] | None = None
        self._files: PairFiles | None = None
        self._lock = Lock()

    @property
    def usable(self) -> bool:
        """Whether there is anything to search: the library is small, or its pairs of peaks are on disk."""
        return self._is_small or bool(self._pairs().parts)

    @property
    def _is_small(self) -> bool:
        return self._hours(len(self._level.index)) <= PARAMETERS.max_hours

    def _hours(self, segments: int) -> float:
        return segments * self._level.spec.hop / 3600

    def _pairs(self) -> PairIndex:
        return self._opened().index()

    def _opened(self) -> PairFiles:
        folder = self._level.folder / FOLDER
        if self._files is None or self._files.folder != folder:
            self._files = PairFiles(folder)
        return self._files

    def index(self) -> PeakIndex | LargePeakIndex:
        """Return the peaks of all recordings, as of the level's last `refresh`."""
        with self._lock:
            pairs = None if self._is_small else self._pairs()
            state = self._level.state
            if (state, pairs) != self._in_step_with:
                self._follow()
                covered = pairs.recording_ids if pairs else frozenset()
                present = self._recent.recording_ids
                wanted = self._searched.keys() - covered
                if pairs:
                    wanted = self._at_most(wanted, PARAMETERS.max_recent_hours)
                self._recent = self._recent.changed(self._landmarks(wanted - present), present - wanted)
                self._index = self._recent
                if pairs:
                    removed = covered - self._searched.keys()
                    self._index = LargePeakIndex(pairs, removed, self._recent, self._landmarks_of)
                self._in_step_with = (state, pairs)
            return self._index

    @property
    def bytes_on_disk(self) -> int:
        """The size of the files of pairs; 0 for a small library."""
        return sum(path.stat().st_size for path in self._opened().folder.rglob("*.npy"))

    def tidy(self) -> None:
        """Write the pairs of recordings that the files of a large library do not contain yet, if those are many."""
        self._write(everything=False)

    def rebuild(self) -> None:
        """Write the pairs of all recordings again, or delete the files of a library that is small now."""
        self._write(everything=True)

    def _write(self, *, everything: bool) -> None:
        files, catalog, kind = self._opened(), self._level.catalog, self._level.kind
        if self._hours(catalog.totals().segments.get(kind, 0)) <= PARAMETERS.max_hours:
            if everything:
                shutil.rmtree(files.folder, ignore_errors=True)
            return
        searched = catalog.searched(kind)
        with files.lock() as granted:
            if not granted:  # another process writes them now, or the disk is read-only
                return
            pairs = files.index()
            missing = self._hours(sum(searched[each] for each in searched.keys() - pairs.recording_ids))
            kept = () if everything else _unchanged(pairs.parts, searched, missing, self._hours)
            if not everything and missing <= PARAMETERS.max_recent_hours and len(kept) == len(pairs.parts):
                return
            covered = PairIndex(tuple(kept)).recording_ids
            log.info("writing the pairs of peaks of %s", catalog.folder)
            with disk.translated_errors(catalog.folder):
                files.replace([part.name for part in kept], self._landmarks(searched.keys() - covered))

    def _follow(self) -> None:
        """Bring the list of recordings into step with the catalogue."""
        catalog, kind = self._level.catalog, self._level.kind
        changes = catalog.changes_since(self._mark) if self._mark else None
        if changes:
            for recording_id in changes.recording_ids:
                self._searched.pop(recording_id, None)
            self._searched |= catalog.searched(kind, changes.recording_ids)
            self._mark = changes.mark
        else:
            self._mark, self._searched = catalog.mark(), catalog.searched(kind)

    def _at_most(self, recording_ids: Iterable[int], hours: float) -> set[int]:
        """The first of these recordings, up to some hours of music."""
        chosen = sorted(recording_ids)
        total = np.cumsum([self._searched[each] for each in chosen]) * self._level.spec.hop / 3600
        return set(chosen[: int(np.searchsorted(total, hours, side="right"))])

    def _landmarks(self, recording_ids: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        read = self._level.catalog.each_embeddings(self._level.kind, recording_ids, as_stored=True)
        return ((recording_id, made.evidence) for recording_id, made in read)

    def _landmarks_of(self, recording_ids: Collection[int]) -> Mapping[int, np.ndarray]:
        return dict(self._landmarks(recording_ids))


def _unchanged(
    parts: Sequence[Part], searched: Collection[int], missing: float, hours: Callable[[int], float]
) -> Sequence[Part]:
    """The parts that stay as they are when `missing` hours of music are added.

    A part is written again if many of its recordings are removed, or if it is no larger than what is added: so each
    recording is written a few times at most, and parts remain few.
    """
    kept = [
        part
        for part in parts
        if sum(each not in searched for each in part.recording_ids) <= PARAMETERS.max_removed * len(part.recording_ids)
    ]
    while kept and kept[-1].units * UNIT / RATE / 3600 <= missing:
        missing += kept.pop().units * UNIT / RATE / 3600
    return kept


class PeakSearch:
    """The peaks of a query, counted at every position of every recording."""

    def __init__(
        self, samples: np.ndarray, begin: float, index: PeakIndex | LargePeakIndex, leave_out: Collection[int] = ()
    ):
        """`samples (n,)` float32 at `logmel.SAMPLE_RATE`, from `begin` seconds of the query on."""
        self.begin, self.middle = begin, begin + len(samples) / logmel.SAMPLE_RATE / 2
        self._peaks = Peaks(landmarks.of_power(logmel.power(samples)))
        enough = len(self._peaks) >= PARAMETERS.min_peaks
        self._best = index.best(self._peaks, PARAMETERS.rivals, leave_out) if enough else []
        self._chance = index.chance(self._peaks) if enough else 0.0

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
        rival = max(rival, self._chance)
        lead = _lead(count, rival)
        return {"everywhere": lead, "clearly": max(0.0, lead), "nearby": _lead(count, elsewhere)}


def _at_alignment(around: np.ndarray) -> float:
    """The highest of the counts (2 * REACH + 1,) around an alignment that belongs to the alignment itself."""
    slack = PARAMETERS.slack_frames
    return float(around[REACH - slack : REACH + slack + 1].max())


def _lead(count: float, rival: float) -> float:
    """The lead in standard deviations of the rival's count (Poisson)."""
    return min((count - rival) / float(np.sqrt(rival + 1)), PARAMETERS.max_lead)
