"""CoverTracker: hears something long, block by block, and tells of which songs other renditions are heard when.

Where no recording is known, windows of a minute are asked for as clips are. What a window finds is a guess: a minute
of a cover resembles strangers too. Guesses of one recording that follow each other make a stretch, and that is asked
for again as a whole, against the other recordings that were guessed in it. It is looked for where it fits best, so what
it then says counts for no more than what its windows say together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from songprint import confidence, intervals
from songprint.covers import search
from songprint.covers.encoder import FrameStream
from songprint.covers.search import SHORTEST, CoverCandidate
from songprint.covers.tonal import COLUMNS, FRAMES_PER_SECOND
from songprint.encoders.contract import Settled
from songprint.intervals import share
from songprint.store.level import Level
from songprint.store.references import References
from songprint.types import Embeddings, Interval, Kind, Recording, Section, Segment

WINDOW, EVERY = 60.0, 30.0  # seconds asked for as one, and from one such window to the next
CANDIDATES = 16  # recordings that a window is laid along
KEPT = 128  # recordings at hand
GUESSES = 4  # of a window that are followed,
LEAST = -3.0  # as far as they have such log-odds
RIVALS = 6  # recordings that a stretch is compared with: those guessed in it most often
LONGEST = 300.0  # seconds of a stretch that are judged at once
SURE = 6.0  # log-odds beyond doubt: of guesses that have them the longest counts
MARGIN = 10.0  # seconds around a stretch that are judged with it
NEAR = 5.0  # seconds: a song heard so near to an end of a stretch may go on there,
FURTHER = 4  # and is looked for there so often
STILL = 20.0  # seconds at the end of what was heard that wait for more


@dataclass(frozen=True)
class Guess:
    """A recording in a stretch of what is heard."""

    recording_id: int
    window: Interval
    sections: tuple[Section, ...]
    key_shift: int
    tempo: float
    logit: float

    @property
    def interval(self) -> Interval:
        return Interval(self.sections[0].query.start, max(section.query.end for section in self.sections))


@dataclass(frozen=True)
class _Stretch:
    """What is to be judged as a whole."""

    start: float
    end: float
    free: Interval  # around it, in which no recording is known
    support: Mapping[int, float]  # log-odds by the windows alone: of the recording guessed, and of its rivals


class CoverTracker:
    """Tracks covers; see `songprint.encoders.contract.Tracker`. Keeps 0.2 kB of tonal frames a second."""

    min_segment = SHORTEST
    history = None

    def __init__(self, level: Level):
        self.level = level
        self._stream = FrameStream(level.encoder)
        self._references = References(level, KEPT)
        self._base = 0  # number of the first frame
        self._frames = np.zeros((0, COLUMNS), np.uint8)
        self._asked: dict[tuple[int, ...], list[Guess]] = {}  # by what was asked for

    @property
    def duration(self) -> float:
        """Seconds of which the frames are there."""
        return (self._base + len(self._frames)) / FRAMES_PER_SECOND

    @property
    def forgotten(self) -> float:
        """Seconds of which the frames are there no more."""
        return self._base / FRAMES_PER_SECOND

    def feed(self, block: np.ndarray) -> None:
        """(n,) float32 samples that come next."""
        self._take(self._stream.feed(block))

    def finish(self) -> None:
        """Nothing comes any more."""
        self._take(self._stream.finish())

    def _take(self, frames: np.ndarray) -> None:
        self._frames = np.concatenate([self._frames, frames])

    def forget(self, until: float) -> None:
        """What was heard before `until` seconds, to which nothing will be added."""
        gone = min(max(0, int(until * FRAMES_PER_SECOND) - self._base), len(self._frames))
        self._frames = self._frames[gone:]
        self._base += gone
        self._asked = {key: found for key, found in self._asked.items() if key[1] > self._base}

    def settle(self, known: Sequence[Segment], until: float, *, last: bool = False) -> Settled:
        """Return the covers beside the known segments, final up to the start of whatever may still grow."""
        found = self.segments(known, until)
        edge = until if last else self.settled_until(known, until)
        for each in sorted(found, key=lambda each: -each.interval.end):
            if (
                not last and each.interval.start < edge < each.interval.end
            ):  # what continues is not reported in two parts
                edge = each.interval.start
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

    def segments(self, exact: Sequence[Segment] = (), until: float = np.inf) -> list[Segment]:
        """The covers in what was heard and not forgotten, up to `until` seconds.

        Where `exact` says that a recording is heard, no cover is looked for.
        """
        judged = self._judged(exact, min(until, self.duration))
        chosen: list[Guess] = []
        for guess in sorted(judged, key=lambda guess: (-min(guess.logit, SURE), -guess.interval.duration)):
            if share(guess.interval, [other.interval for other in chosen]) < 0.5:
                chosen.append(guess)
        recordings = self.level.catalog.recordings_with({guess.recording_id for guess in chosen})
        return [_segment(guess, recordings[guess.recording_id]) for guess in chosen if guess.recording_id in recordings]

    def settled_until(self, exact: Sequence[Segment], until: float) -> float:
        """Seconds up to which nothing that is still to come can change what is heard."""
        until = min(until, self.duration - STILL)
        going_on = [each.start - EVERY for each in self._stretches(exact, until) if each.end > until - EVERY]
        return max(0.0, min([until - WINDOW, *going_on]))

    def _judged(self, exact: Sequence[Segment], until: float) -> list[Guess]:
        """Each stretch as a whole, or in parts where it is long."""
        found = []
        for stretch in self._stretches(exact, until):
            # counted from the start: while a song goes on, what was asked of it need not be asked again
            more = np.arange(stretch.start + LONGEST, stretch.end - WINDOW, LONGEST).tolist()
            parts = [
                self._heard_best(Interval(start, end), stretch)
                for start, end in pairwise([stretch.start, *more, stretch.end])
            ]
            found += [
                replace(guess, logit=min(guess.logit, stretch.support[guess.recording_id]))
                for guess in _joined(part for part in parts if part)
            ]
        return found

    def _heard_best(self, part: Interval, stretch: _Stretch) -> Guess | None:
        """What is heard in a part of a stretch; from the ends of the stretch on further, as long as the song goes on.

        Where it does not, less speaks for it with what follows than without.
        """
        start, end = part.start, part.end
        best: Guess | None = None
        for _ in range(FURTHER):
            guesses = self._ask(start, end, tuple(stretch.support))
            if not guesses or (best and guesses[0].logit < best.logit):
                break
            best = guesses[0]
            wider = start, end
            if part.start == stretch.start and best.interval.start - start < NEAR:
                wider = max(stretch.free.start, start - EVERY), wider[1]
            if part.end == stretch.end and end - best.interval.end < NEAR:
                wider = wider[0], min(stretch.free.end, end + EVERY)
            if best.logit < LEAST or wider == (start, end):
                break
            start, end = wider
        return best

    def _stretches(self, exact: Sequence[Segment], until: float) -> list[_Stretch]:
        """Where a recording was guessed again and again."""
        found: list[_Stretch] = []
        for free in intervals.subtract(Interval(self.forgotten, until), [each.interval for each in exact]):
            guesses: dict[int, list[Guess]] = defaultdict(list)
            for window in _windows(free):
                for guess in self._ask(window.start, window.end)[:GUESSES]:
                    if guess.logit > LEAST:
                        guesses[guess.recording_id].append(guess)
            found += [_stretch(run, free, guesses) for those in guesses.values() for run in _runs(those)]
        return found

    def _ask(self, start: float, end: float, recordings: tuple[int, ...] = ()) -> list[Guess]:
        """What is heard from `start` to `end` seconds, the likeliest first; of these recordings if some are named."""
        first, last = (round(edge * FRAMES_PER_SECOND) for edge in (start, end))
        key = (first, last, *sorted(recordings))
        if key not in self._asked:
            frames = self._frames[first - self._base : last - self._base]
            level, spec = self.level, self.level.spec
            query = Embeddings(level.encoder.embed(frames), spec.hop, spec.id, frames)
            found: Iterable[CoverCandidate] = ()
            if query.has_content.any() and len(level.index):
                judges = level.encoder.cohort, level.encoder.networks
                if recordings:
                    found = search.compare(query, self._references(recordings), *judges)
                else:
                    found = search.find(query, level.index, self._references, *judges, most=CANDIDATES)
            guesses = [
                _guess(
                    candidate,
                    Interval(first / FRAMES_PER_SECOND, last / FRAMES_PER_SECOND),
                    level.calibration.logit(candidate.features_in(len(level.index))),
                )
                for candidate in found
                if candidate.claimable
            ]
            self._asked[key] = sorted(guesses, key=lambda guess: -guess.logit)
        return self._asked[key]


def _joined(guesses: Iterable[Guess]) -> list[Guess]:
    """Guesses one after the other; those that follow each other and are of one recording in one key are one."""
    found: list[Guess] = []
    for guess in guesses:
        last = found[-1] if found else None
        if (
            last
            and (last.recording_id, last.key_shift) == (guess.recording_id, guess.key_shift)
            and guess.interval.start - last.interval.end < EVERY
        ):
            found[-1] = replace(
                max(last, guess, key=lambda one: one.interval.duration),
                sections=last.sections + guess.sections,
                logit=max(last.logit, guess.logit),
            )
        else:
            found.append(guess)
    return found


def _stretch(run: Sequence[Guess], free: Interval, guesses: Mapping[int, Sequence[Guess]]) -> _Stretch:
    """Around guesses that follow each other, with those recordings as rivals that were guessed there as well."""
    recording = run[0].recording_id
    start = max(free.start, min(guess.interval.start for guess in run) - MARGIN)
    end = min(free.end, max(guess.interval.end for guess in run) + MARGIN)
    said = {
        other: [guess.logit for guess in theirs if guess.window.start < end and guess.window.end > start]
        for other, theirs in guesses.items()
    }
    rivals = sorted(
        (other for other in said if said[other] and other != recording), key=lambda other: -np.exp(said[other]).sum()
    )
    return _Stretch(
        start, end, free, {each: confidence.combine(said[each], 1) for each in (recording, *rivals[:RIVALS])}
    )


def _windows(free: Interval) -> list[Interval]:
    """Windows on a grid of EVERY seconds, cut where `free` ends; too short ones are not asked for."""
    starts = np.arange(np.floor(free.start / EVERY) * EVERY - (WINDOW - EVERY), free.end, EVERY)
    windows = [Interval(max(free.start, float(start)), min(free.end, float(start) + WINDOW)) for start in starts]
    windows = [window for window in windows if window.duration >= SHORTEST]
    return [
        window
        for number, window in enumerate(windows)
        if not any(
            other.start <= window.start and window.end <= other.end
            for place, other in enumerate(windows)
            if place != number and (other != window or place < number)
        )
    ]


def _runs(guesses: Sequence[Guess]) -> list[list[Guess]]:
    """Guesses of one recording that follow each other, at most a window apart."""
    guesses = sorted(guesses, key=lambda guess: guess.window.start)
    runs = [guesses[:1]]
    for one, other in pairwise(guesses):
        if other.window.start > one.window.end or other.key_shift != one.key_shift:
            runs.append([])
        runs[-1].append(other)
    return runs


def _guess(candidate: CoverCandidate, window: Interval, logit: float) -> Guess:
    alignment = candidate.alignment
    sections = tuple(
        Section(Interval(window.start + each.query.start, window.start + each.query.end), each.reference)
        for each in alignment.sections
    )
    return Guess(candidate.recording_id, window, sections, alignment.key_shift, alignment.tempo, logit)


def _segment(guess: Guess, recording: Recording) -> Segment:
    return Segment(
        recording,
        Kind.COVER,
        confidence.to_confidence(guess.logit),
        guess.interval,
        Interval(
            min(each.reference.start for each in guess.sections), max(each.reference.end for each in guess.sections)
        ),
        guess.tempo,
        float(guess.key_shift),
    )
