"""The tracker of recordings in something long: searches windows, links hits into tracks, reports presences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from songprint import confidence
from songprint.encoders.contract import Settled
from songprint.fingerprint import presence, tracks
from songprint.fingerprint.encoder import VectorStream, encoder_of
from songprint.fingerprint.history import VectorHistory
from songprint.fingerprint.parameters import DEFAULT
from songprint.fingerprint.query import Query
from songprint.fingerprint.tracks import EVERY, HOP, NEIGHBOURS, WINDOW, Hit, Track
from songprint.intervals import beside, joined_performances, one_at_a_time
from songprint.store.duplicates import by_tags, same_recording
from songprint.store.level import References
from songprint.types import Embeddings, Interval, Kind, Recording, Segment

if TYPE_CHECKING:
    from songprint.fingerprint.presence import Presence
    from songprint.store.level import Level

PARAMETERS = DEFAULT.tracker
UNSEARCHED = -2  # id of the neighbours of vectors that were not searched yet


class RecordingTracker:
    """Tracks recordings; see `songprint.encoders.contract.Tracker`.

    Keeps 16 kB of samples per second until their window is searched, then 0.5 kB of vectors.
    """

    min_segment = 0.0

    def __init__(
        self, level: Level, accepts: Callable[[Segment], bool] = lambda segment: True, *, remember: bool = False
    ):
        """With `remember`, all vectors are kept in `history`."""
        self.level, self.spec = level, level.spec
        self.history = VectorHistory(HOP, level.spec.window, level.spec.id) if remember else None
        self._accepts = accepts
        self._settled_until = 0.0
        self._stream = VectorStream(encoder_of(level), HOP)
        self._references = References(level)
        self._samples = np.zeros(0, np.int16)
        self._samples_from = 0  # number of the first sample that is kept
        self._vectors = np.zeros((0, self.spec.dim), np.float32)
        self._base = 0  # number of the first vector that is kept
        self._ids = np.zeros((0, NEIGHBOURS), np.int64)
        self._cosines = np.zeros((0, NEIGHBOURS), np.float32)
        self._peeked: list[Hit] = []  # in the last seconds, before their window is complete
        self._peeked_until = 0
        self._leading: Hit | None = None  # the hit of the last window, if it is certain
        self._unsearched = 0  # windows since it was searched
        self._next = 0  # number of the vector with which the next window begins
        self._fed = 0  # samples
        self._reported: list[Segment] = []  # final, with seconds that are not dropped yet
        self._copies: dict[tuple[int, int], bool] = {}  # pairs of recordings, whether they are copies
        self.hits: list[Hit] = []

    @property
    def duration(self) -> float:
        """Seconds of audio that were fed."""
        return self._fed / self.spec.sample_rate

    def feed(self, block: np.ndarray) -> None:
        """Process the next (n,) float32 samples."""
        self._fed += len(block)
        self._samples = np.concatenate([self._samples, (np.clip(block, -1, 1) * 32767).astype(np.int16)])
        self._take(self._stream.feed(block))
        while self._count >= self._next + round(WINDOW / HOP):
            self._search(self._next + round(WINDOW / HOP))

    def finish(self) -> None:
        """Process the end of the audio."""
        self._take(self._stream.finish())
        if self._count > self._next:
            self._next = max(self._base, self._count - round(WINDOW / HOP))
            self._search(self._count)

    def peek(self) -> None:
        """Search the last seconds now, although their window is not complete."""
        first = max(self._base, self._count - round(WINDOW / HOP))
        if self._count > self._peeked_until and self._count > self._next:
            self._peeked = self._found_in(first, self._count)
            self._peeked_until = self._count

    def settle(self, known: Sequence[Segment], until: float, *, last: bool = False, growing: bool = True) -> Settled:
        """Return the recordings that are final: what is half a minute old, up to the start of what may still grow.

        The kind comes first, so `known` and `until` do not matter. Growing segments cost nothing here.
        """
        present = self.segments()
        horizon = max(self._settled_until, self.duration - PARAMETERS.settling)
        edge = min(
            [
                horizon,
                *(each.interval.start - PARAMETERS.start_margin for each in present if each.interval.end > horizon),
            ]
        )
        if last:
            edge = self.duration
        elif edge <= self._settled_until:
            return Settled(self._settled_until, [], present)
        self.forget(edge)
        self._settled_until = edge
        final = [each for each in present if each.interval.start < edge]
        # A song that begins before these end keeps their last seconds, in which they would be found again.
        self._reported = [each for each in (*self._reported, *final) if each.interval.end > edge]
        return Settled(
            edge,
            final,
            [each for each in present if each.interval.start >= edge],
        )

    def current(self, known: Sequence[Segment]) -> list[Segment]:
        """Return the recordings that may still grow, including the very last seconds."""
        self.peek()
        return self.segments()

    def forget(self, until: float) -> None:
        """Drop what was fed before `until` seconds."""
        gone = min(max(0, int(until / HOP) - self._base), self._next - self._base)
        self._vectors, self._ids, self._cosines = self._vectors[gone:], self._ids[gone:], self._cosines[gone:]
        self._base += gone
        self.hits, self._peeked = ([hit for hit in hits if hit.middle > until] for hits in (self.hits, self._peeked))

    @property
    def _count(self) -> int:
        """The number of vectors so far, dropped ones included."""
        return self._base + len(self._vectors)

    def segments(self) -> list[Segment]:
        """The accepted segments in everything that was fed and not dropped."""
        found = [
            track
            for track in tracks.link_hits(self.hits + self._peeked)
            if max(hit.logit for hit in track.hits) > PARAMETERS.min_logit
        ]
        supports = []
        for track in found:
            reference = self._references([track.recording_id]).get(track.recording_id)
            if reference is not None:
                supports.append(
                    tracks.measure_support(track, self._vectors, self._base, HOP, reference, PARAMETERS.reach)
                )
        presences = presence.find_presences(supports)
        recordings = self.level.catalog.recordings_with({each.support.track.recording_id for each in presences})
        segments = [
            self._segment(each, recordings[each.support.track.recording_id])
            for each in presences
            if each.support.track.recording_id in recordings
        ]
        named = self._with_best_tags(segments, found)
        accepted = [each for each in joined_performances(named) if self._accepts(each)]
        new = (beside(each, self._reported, PARAMETERS.min_segment) for each in accepted)
        return one_at_a_time(filter(None, new), PARAMETERS.min_segment)

    def _with_best_tags(self, segments: list[Segment], found: list[Track]) -> list[Segment]:
        """The segments, each named after the copy with most tags of those that were tracked there.

        The other copies are its alternatives.
        """
        chosen = []
        for segment in segments:
            start, end = segment.interval.start, segment.interval.end
            near = {
                track.recording_id: track
                for track in found
                if track.start < end and track.end > start and track.recording_id != segment.recording.id
            }
            copies = [
                recording
                for recording in self.level.catalog.recordings_with(set(near)).values()
                if self._are_copies(recording.id, segment.recording.id)
            ]
            ids = {segment.recording.id, *(recording.id for recording in copies)}
            better = [recording for recording in copies if by_tags(recording) < by_tags(segment.recording)]
            for recording in sorted(better, key=by_tags):
                first, last = near[recording.id].places(np.array([start, end]))
                if -PARAMETERS.snap <= first and last <= recording.duration + PARAMETERS.snap:
                    played = Interval(max(0.0, float(first)), min(recording.duration, float(last)))
                    segment = replace(segment, recording=recording, reference=played)
                    break
            chosen.append(replace(segment, alternatives=tuple(sorted(ids - {segment.recording.id}))))
        return chosen

    def _are_copies(self, one: int, other: int) -> bool:
        """Whether two recordings are the same one in two files."""
        pair = (min(one, other), max(one, other))
        if pair not in self._copies:
            stored = self._references(pair)
            self._copies[pair] = len(stored) == 2 and same_recording(stored[one], stored[other])
        return self._copies[pair]

    def _take(self, vectors: np.ndarray) -> None:
        if len(vectors):
            if self.history:
                self.history.add(vectors)
            self._vectors = np.concatenate([self._vectors, vectors])
            self._ids = np.concatenate([self._ids, np.full((len(vectors), NEIGHBOURS), UNSEARCHED)])
            self._cosines = np.concatenate([self._cosines, np.zeros((len(vectors), NEIGHBOURS), np.float32)])

    def _neighbours(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """(m, k) ids and cosines of the segments nearest to these vectors; each is searched once."""
        ids, cosines = self._ids[rows], self._cosines[rows]  # views
        lacking = np.flatnonzero(ids[:, 0] == UNSEARCHED)
        if len(lacking):
            ids[lacking], cosines[lacking] = self.level.index.search(self._vectors[rows][lacking], NEIGHBOURS)
        return ids, cosines

    def _search(self, last: int) -> None:
        """Search the window from the next vector to `last`."""
        first, self._peeked = self._next, []
        window = self._embeddings(first, last)
        known = None
        if self._leading and self._unsearched < PARAMETERS.max_unsearched:
            known = tracks.continuation(self._leading, window, first * HOP, self.level, self._references)
        if known:
            self.hits.append(known)
            self._leading, self._unsearched = known, self._unsearched + 1
        else:
            found = self._found_in(first, last)
            self.hits += found
            best = max(found, key=lambda hit: hit.logit, default=None)
            self._leading, self._unsearched = best if best and best.logit > PARAMETERS.certain else None, 0
        self._next = first + round(EVERY / HOP)
        kept = round(max(0, self._next * HOP - WINDOW) * self.spec.sample_rate)
        self._samples, self._samples_from = self._samples[kept - self._samples_from :], kept

    def _embeddings(self, first: int, last: int) -> Embeddings:
        return Embeddings(self._vectors[first - self._base : last - self._base], HOP, self.spec.id)

    def _found_in(self, first: int, last: int) -> list[Hit]:
        """The hits in the vectors [first, last)."""
        rate = self.spec.sample_rate
        begin, end = round(first * HOP * rate), round((last - 1) * HOP * rate + self.spec.window * rate)
        samples = self._samples[max(0, begin - self._samples_from) : end - self._samples_from]
        window = Query(self._embeddings(first, last), samples, 0.0, len(samples) / rate)
        return tracks.hits(
            window,
            first * HOP,
            self.level,
            self._neighbours(slice(first - self._base, last - self._base)),
            self._references,
        )

    def _segment(self, found: Presence, recording: Recording) -> Segment:
        track, support = found.support.track, found.support
        start, end = presence.refined_ends(found, self.spec.window)
        # At the ends of the recording or of the audio, nothing outside shows where the presence begins or ends.
        if start < (support.first + 0.5) * HOP + self.spec.window / 2:
            start = min(start, max(0.0, self._when(track, 0.0, start)))
        if end > (support.last - 1.5) * HOP + self.spec.window / 2:
            end = max(end, min(self.duration, self._when(track, recording.duration, end)))
        start, end = max(0.0, start), min(self.duration, end)
        first, last = track.places(np.array([start, end])).clip(0, recording.duration)
        within = [
            hit.logit
            for hit in self.hits + self._peeked
            if hit.recording_id == recording.id and start - 1 < hit.middle < end + 1
        ]
        logit = confidence.combine(within, PARAMETERS.windows_per_hour) if within else -10.0
        return Segment(
            recording,
            Kind.RECORDING,
            confidence.to_confidence(logit),
            Interval(start, end),
            Interval(float(first), float(last)),
            track.speed,
            track.key_shift,
        )

    def _when(self, track: Track, place: float, near: float) -> float:
        """When a position of the recording is played, if that is close to `near` seconds; else `near`."""
        seconds = near + (place - float(track.places(np.array([near]))[0])) / track.speed
        return seconds if abs(seconds - near) < PARAMETERS.snap else near
