"""The tracker of covers in something long.

Intervals without known recordings are searched in windows of a minute, like queries. The match of a single window is
uncertain: a minute of a cover resembles unrelated songs too. Consecutive windows that match one recording form a
passage, which is compared again as a whole with the recordings that its windows match. The passage is chosen where the
recording matches best, so its log-odds are limited to those of its windows together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from songprint import confidence, intervals
from songprint.covers import extents, search
from songprint.covers.encoder import FrameStream, encoder_of
from songprint.covers.extents import NO_AGREEMENT, Agreement
from songprint.covers.parameters import DEFAULT
from songprint.covers.tonal import FRAMES_PER_SECOND
from songprint.encoders.contract import Settled
from songprint.intervals import share
from songprint.store.level import References
from songprint.types import Embeddings, Interval, Kind, Recording, Section, Segment

if TYPE_CHECKING:
    from songprint.covers.search import CoverCandidate
    from songprint.store.level import Level

PARAMETERS = DEFAULT.tracker
MIN_DURATION = DEFAULT.search.min_duration


@dataclass(frozen=True)
class WindowMatch:
    """A recording found in a window or a passage."""

    recording_id: int
    window: Interval
    sections: tuple[Section, ...]
    key_shift: int
    tempo: float
    logit: float
    agreement: Agreement = NO_AGREEMENT  # of the whole path, in seconds of the long recording

    @property
    def interval(self) -> Interval:
        return extents.interval_of(self.sections)

    def within(self, start: float, end: float) -> WindowMatch | None:
        """The part between two times; None if it is too short to be reported."""
        agreement = self.agreement.between(start, end)
        sections = extents.sections_of(agreement)
        if not sections or extents.interval_of(sections).duration < MIN_DURATION:
            return None
        return replace(self, sections=sections, agreement=agreement)


@dataclass(frozen=True)
class _Passage:
    """A part of the audio that is classified as a whole."""

    start: float
    end: float
    free: Interval  # around it, without known recordings
    support: Mapping[int, float]  # log-odds of its windows, for the recording and its rivals


class CoverTracker:
    """Tracks covers; see `songprint.encoders.contract.Tracker`.

    Keeps 32 kB of samples per second, or 0.2 kB of tonal frames where they were needed. Only work that can lead to an
    accepted segment is done: passages whose windows are too uncertain are not compared as a whole.
    """

    min_segment = MIN_DURATION
    history = None

    def __init__(self, level: Level, accepts: Callable[[Segment], bool] = lambda segment: True):
        self.level = level
        self._accepts = accepts
        self._stream = FrameStream(encoder_of(level))
        self._references = References(level, PARAMETERS.cached_references)
        self._base = 0  # number of the first frame that is kept
        self._searched: dict[tuple[int, ...], list[WindowMatch]] = {}  # by first frame, last frame and recordings

    @property
    def duration(self) -> float:
        """Seconds of audio with complete frames."""
        return self._stream.count / FRAMES_PER_SECOND

    @property
    def forgotten(self) -> float:
        """Seconds of audio whose frames were dropped."""
        return self._base / FRAMES_PER_SECOND

    def feed(self, block: np.ndarray) -> None:
        """Process the next (n,) float32 samples."""
        self._stream.feed(block)

    def finish(self) -> None:
        """Process the end of the audio."""
        self._stream.finish()

    def forget(self, until: float) -> None:
        """Drop what was fed before `until` seconds."""
        self._base = min(max(self._base, int(until * FRAMES_PER_SECOND)), self._stream.count)
        self._stream.forget(self._base)
        self._searched = {key: found for key, found in self._searched.items() if key[1] > self._base}

    def settle(self, known: Sequence[Segment], until: float, *, last: bool = False, growing: bool = True) -> Settled:
        """Return the covers outside the known segments. They are final up to the start of any that may still grow.

        Without `growing`, passages that may still grow are left for a later call, and everything is cut on the grid of
        the windows, so that nothing is computed twice.
        """
        if growing or last:
            found = self.segments(known, until)
        else:
            until = max(0.0, min(until, self.duration - PARAMETERS.settling)) // PARAMETERS.step * PARAMETERS.step
            found = self.segments(known, until, growing=False)
        edge = until if last else self.settled_until(known, until, growing=growing)
        if not last:
            edge = _free_edge(edge, found, 0.0 if growing else PARAMETERS.step)
        edge = max(edge, self.forgotten)
        self.forget(edge)
        return Settled(
            edge,
            [each for each in found if each.interval.start < edge or last],
            [each for each in found if each.interval.start >= edge and not last],
        )

    def current(self, known: Sequence[Segment]) -> list[Segment]:
        """Return the covers in everything that is not forgotten."""
        return self.segments(known)

    def segments(self, exact: Sequence[Segment] = (), until: float = np.inf, *, growing: bool = True) -> list[Segment]:
        """The covers in everything that was fed and not dropped, up to `until` seconds.

        The intervals of the known recordings `exact` are not searched. Without `growing`, passages that may continue
        after `until` are left out.
        """
        classified = self._classified(exact, min(until, self.duration), growing)
        chosen = _one_at_a_time(part for match in classified for part in self._agreeing(match))
        recordings = self.level.catalog.recordings_with({match.recording_id for match in chosen})
        return [_segment(match, recordings[match.recording_id]) for match in chosen if match.recording_id in recordings]

    def settled_until(self, exact: Sequence[Segment], until: float, *, growing: bool = True) -> float:
        """Seconds up to which later audio cannot change the segments."""
        until = min(until, self.duration - PARAMETERS.settling)
        continuing = [
            each.start - PARAMETERS.step for each in self._passages(exact, until, growing) if _may_continue(each, until)
        ]
        return max(0.0, min([until - PARAMETERS.window, *continuing]))

    def _classified(self, exact: Sequence[Segment], until: float, growing: bool = True) -> list[WindowMatch]:
        """The matches of each passage, classified as a whole, or in parts if it is long."""
        found = []
        for passage in self._passages(exact, until, growing):
            if (not growing and _may_continue(passage, until)) or not self._hopeful(passage):
                continue
            # Parts are counted from the start, so that earlier parts of a continuing song stay the same and are cached.
            more = np.arange(
                passage.start + PARAMETERS.max_passage, passage.end - PARAMETERS.window, PARAMETERS.max_passage
            ).tolist()
            parts = [
                self._best_in(Interval(start, end), passage)
                for start, end in pairwise([passage.start, *more, passage.end])
            ]
            found += [
                replace(match, logit=min(match.logit, passage.support[match.recording_id]))
                for match in _joined(part for part in parts if part)
            ]
        return found

    def _hopeful(self, passage: _Passage) -> bool:
        """Whether a match in the passage can be accepted: its log-odds are at most those of its windows."""
        recording_id, logit = max(passage.support.items(), key=lambda item: item[1])
        recording = self.level.catalog.recordings_with({recording_id}).get(recording_id)
        if recording is None:
            return True
        section = Section(passage.free, Interval(0.0, recording.duration))
        return self._accepts(_segment(WindowMatch(recording_id, passage.free, (section,), 0, 1.0, logit), recording))

    def _best_in(self, part: Interval, passage: _Passage) -> WindowMatch | None:
        """The best match in a part of a passage, extended beyond the ends of the passage while the song continues.

        The extension stops when it lowers the log-odds: then something else follows.
        """
        start, end = part.start, part.end
        best: WindowMatch | None = None
        for _ in range(PARAMETERS.max_extensions):
            matches = self._search(start, end, tuple(passage.support))
            if not matches or (best and matches[0].logit < best.logit):
                break
            best = matches[0]
            wider = start, end
            if part.start == passage.start and best.interval.start - start < PARAMETERS.near_end:
                wider = max(passage.free.start, start - PARAMETERS.step), wider[1]
            if part.end == passage.end and end - best.interval.end < PARAMETERS.near_end:
                wider = wider[0], min(passage.free.end, end + PARAMETERS.step)
            if best.logit < PARAMETERS.min_logit or wider == (start, end):
                break
            start, end = wider
        return best

    def _agreeing(self, match: WindowMatch) -> list[WindowMatch]:
        """The parts of a match in which it agrees with the recording: not silence, speech or other music.

        The part with most evidence keeps the log-odds of the match. Others are searched again on their own: a path also
        finds something that agrees in the song that follows.
        """
        parts = self._bridged(extents.agreeing(match.agreement))
        if len(parts) == 1 and extents.same_ends(extents.sections_of(parts[0]), match.sections):
            return [match]
        best = max(parts, key=lambda part: part.total, default=None)
        found = []
        for part in parts:
            sections = extents.sections_of(part)
            own = replace(match, sections=sections, agreement=part)
            if own.interval.duration < MIN_DURATION:
                continue
            if part is not best:
                again = self._search(own.interval.start, own.interval.end)
                logits = [each.logit for each in again if each.recording_id == match.recording_id]
                own = replace(own, logit=min(match.logit, max(logits, default=-match.logit)))
            if part is best or own.logit > 0:
                found.append(own)
        return found

    def _bridged(self, parts: Sequence[Agreement]) -> list[Agreement]:
        """Join parts between which the performance goes on: a solo agrees little, but the song keeps its time."""
        found: list[Agreement] = []
        for part in parts:
            if found and extents.keeps_time(found[-1], part) and self._sounds(found[-1].end, part.start):
                found[-1] = found[-1].then(part)
            else:
                found.append(part)
        return found

    def _sounds(self, start: float, end: float) -> bool:
        """Whether there are tones in most of the frames between two times."""
        first, last = (round(edge * FRAMES_PER_SECOND) for edge in (start, end))
        frames = self._stream.between(max(self._base, first), last)
        return bool(frames.any(axis=1).mean() > PARAMETERS.min_sounding) if len(frames) else True

    def _passages(self, exact: Sequence[Segment], until: float, growing: bool) -> list[_Passage]:
        """The passages in which consecutive windows match one recording.

        Without `growing`, windows that continue after `until` are left out: they are searched when they are complete.
        """
        found: list[_Passage] = []
        for free in intervals.subtract(Interval(self.forgotten, until), [each.interval for each in exact]):
            matches: dict[int, list[WindowMatch]] = defaultdict(list)
            complete = growing or free.end < until
            for window in _windows(free) if complete else _complete_windows(free):
                for match in self._search(window.start, window.end)[: PARAMETERS.max_followed]:
                    if match.logit > PARAMETERS.min_logit:
                        matches[match.recording_id].append(match)
            found += [_passage(run, free, matches) for those in matches.values() for run in _runs(those)]
        return found

    def _search(self, start: float, end: float, recordings: tuple[int, ...] = ()) -> list[WindowMatch]:
        """The matches from `start` to `end` seconds, best first; only with these recordings if any are given."""
        first, last = (round(edge * FRAMES_PER_SECOND) for edge in (start, end))
        key = (first, last, *sorted(recordings))
        if key not in self._searched:
            frames = self._stream.between(first, last)
            level, spec = self.level, self.level.spec
            encoder = encoder_of(level)
            query = Embeddings(encoder.embed(frames), spec.hop, spec.id, frames)
            found: Iterable[CoverCandidate] = ()
            if query.has_content.any() and len(level.index):
                comparison = encoder.cohort, encoder.networks
                if recordings:
                    found = search.compare(query, self._references(recordings), *comparison)
                else:
                    found = search.find(query, level.index, self._references, *comparison, most=PARAMETERS.max_compared)
            matches = [
                _window_match(
                    candidate,
                    Interval(first / FRAMES_PER_SECOND, last / FRAMES_PER_SECOND),
                    level.calibration.logit(candidate.features_in(len(level.index))),
                )
                for candidate in found
                if candidate.claimable
            ]
            self._searched[key] = sorted(matches, key=lambda match: -match.logit)
        return self._searched[key]


def _one_at_a_time(matches: Iterable[WindowMatch]) -> list[WindowMatch]:
    """Matches that do not overlap, best first: the most probable ones, and among certain ones the longest.

    A match that others cover for the most part is left out. Where two overlap a little, one is cut where the other
    begins to agree better.
    """
    chosen: list[WindowMatch] = []
    for match in sorted(matches, key=lambda match: (-min(match.logit, PARAMETERS.certain), -match.interval.duration)):
        if share(match.interval, [other.interval for other in chosen]) >= 0.5:
            continue
        rest: WindowMatch | None = match
        for number, other in enumerate(chosen):
            if rest is None:
                break
            overlap = Interval(
                max(rest.interval.start, other.interval.start), min(rest.interval.end, other.interval.end)
            )
            if overlap.duration <= 0:
                continue
            if rest.interval.start < other.interval.start and rest.interval.end <= other.interval.end:
                cut = extents.best_cut(rest.agreement, other.agreement, overlap)
                rest = rest.within(rest.interval.start, cut)
                chosen[number] = other.within(cut, other.interval.end) or other
            elif rest.interval.start >= other.interval.start:
                cut = extents.best_cut(other.agreement, rest.agreement, overlap)
                rest = rest.within(cut, rest.interval.end)
                chosen[number] = other.within(other.interval.start, cut) or other
            else:
                longest = max(intervals.subtract(rest.interval, [other.interval]), key=lambda part: part.duration)
                rest = rest.within(longest.start, longest.end)
        if rest:
            chosen.append(rest)
    return chosen


def _may_continue(passage: _Passage, until: float) -> bool:
    """Whether audio after `until` seconds may extend the passage."""
    return passage.end > until - PARAMETERS.step


def _free_edge(edge: float, found: Iterable[Segment], step: float) -> float:
    """The last time up to `edge` that no segment crosses, so that none is reported in two parts.

    With a `step`, a multiple of it.
    """
    while True:
        crossed = [each.interval.start for each in found if each.interval.start < edge < each.interval.end]
        on_grid = min([edge, *crossed])
        if step:
            on_grid = on_grid // step * step
        if on_grid == edge:
            return edge
        edge = on_grid


def _joined(matches: Iterable[WindowMatch]) -> list[WindowMatch]:
    """Join consecutive matches of one recording in one key."""
    found: list[WindowMatch] = []
    for match in matches:
        last = found[-1] if found else None
        if (
            last
            and (last.recording_id, last.key_shift) == (match.recording_id, match.key_shift)
            and match.interval.start - last.interval.end < PARAMETERS.step
        ):
            found[-1] = replace(
                max(last, match, key=lambda one: one.interval.duration),
                sections=last.sections + match.sections,
                agreement=last.agreement.then(match.agreement),
                logit=max(last.logit, match.logit),
            )
        else:
            found.append(match)
    return found


def _passage(run: Sequence[WindowMatch], free: Interval, matches: Mapping[int, Sequence[WindowMatch]]) -> _Passage:
    """The passage around consecutive matches. The recordings that other windows in it match are its rivals."""
    recording = run[0].recording_id
    start = max(free.start, min(match.interval.start for match in run) - PARAMETERS.margin)
    end = min(free.end, max(match.interval.end for match in run) + PARAMETERS.margin)
    logits = {
        other: [match.logit for match in own if match.window.start < end and match.window.end > start]
        for other, own in matches.items()
    }
    rivals = sorted(
        (other for other in logits if logits[other] and other != recording),
        key=lambda other: -np.exp(logits[other]).sum(),
    )
    return _Passage(
        start,
        end,
        free,
        {each: confidence.combine(logits[each], 1) for each in (recording, *rivals[: PARAMETERS.rivals])},
    )


def _windows(free: Interval) -> list[Interval]:
    """Windows on a grid of `step` seconds, cut at the ends of `free`; short ones and contained ones are left out."""
    starts = np.arange(
        np.floor(free.start / PARAMETERS.step) * PARAMETERS.step - (PARAMETERS.window - PARAMETERS.step),
        free.end,
        PARAMETERS.step,
    )
    windows = [
        Interval(max(free.start, float(start)), min(free.end, float(start) + PARAMETERS.window)) for start in starts
    ]
    windows = [window for window in windows if window.duration >= MIN_DURATION]
    return [
        window
        for number, window in enumerate(windows)
        if not any(
            other.start <= window.start and window.end <= other.end
            for place, other in enumerate(windows)
            if place != number and (other != window or place < number)
        )
    ]


def _complete_windows(free: Interval) -> list[Interval]:
    """The windows that stay the same if `free` continues beyond its end."""
    continued = Interval(free.start, free.end + PARAMETERS.window)
    return [window for window in _windows(continued) if window.end <= free.end]


def _runs(matches: Sequence[WindowMatch]) -> list[list[WindowMatch]]:
    """Groups of consecutive matches of one recording in one key, at most a window apart."""
    matches = sorted(matches, key=lambda match: match.window.start)
    runs = [matches[:1]]
    for one, other in pairwise(matches):
        if other.window.start > one.window.end or other.key_shift != one.key_shift:
            runs.append([])
        runs[-1].append(other)
    return runs


def _window_match(candidate: CoverCandidate, window: Interval, logit: float) -> WindowMatch:
    alignment = candidate.alignment
    assert alignment is not None  # claimable candidates have one
    sections = tuple(
        Section(Interval(window.start + each.query.start, window.start + each.query.end), each.reference)
        for each in alignment.sections
    )
    agreement = Agreement(alignment.path + np.array([window.start, 0.0]), alignment.evidence)
    return WindowMatch(candidate.recording_id, window, sections, alignment.key_shift, alignment.tempo, logit, agreement)


def _segment(match: WindowMatch, recording: Recording) -> Segment:
    return Segment(
        recording,
        Kind.COVER,
        confidence.to_confidence(match.logit),
        match.interval,
        Interval(
            min(each.reference.start for each in match.sections), max(each.reference.end for each in match.sections)
        ),
        match.tempo,
        float(match.key_shift),
    )
