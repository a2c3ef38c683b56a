"""Agreement between a timeline and the ground truth: pure functions of intervals and names.

A song counts by the seconds in which it plays and is reported. Two songs at once count twice. In a fade (audible,
but more than 12 dB below its level), reporting a song is neither required nor an error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab.data.programmes import Part
from songprint.intervals import subtract
from songprint.types import Interval, Kind, covered

JOINED = 10.0  # seconds; intervals of one false song that are nearer to each other count as one


@dataclass(frozen=True)
class Detection:
    """A song that a timeline reports, with its time."""

    song: str  # file of this song in the library
    kind: Kind
    interval: Interval


@dataclass(frozen=True)
class Agreement:
    """Seconds of songs."""

    played: float  # that a perfect timeline reports
    reported: float
    correct: float  # reported where they play

    @property
    def precision(self) -> float:
        return self.correct / self.reported if self.reported else float(not self.played)

    @property
    def recall(self) -> float:
        return self.correct / self.played if self.played else 1.0

    @property
    def f1(self) -> float:
        return 2 * self.correct / (self.played + self.reported) if self.played + self.reported else 1.0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.played + other.played, self.reported + other.reported, self.correct + other.correct)


def agreement(parts: Sequence[Part], detections: Sequence[Detection], kind: Kind | None = None) -> Agreement:
    """Compare detections with the truth; with `kind`, only for songs that are played as this kind.

    A song that is reported with the other kind is correct (see `wrong_kind`). A false song counts against the kind
    with which it is reported.
    """
    played = by_song((part.song, part.interval) for part in parts if kind in (None, part.kind))
    reported = by_song((each.song, each.interval) for each in detections)
    correct = sum(covered(overlap(spans, reported.get(song, []))) for song, spans in played.items())
    wrong = sum(map(covered, false_spans(parts, detections, kind).values()))
    return Agreement(sum(map(covered, played.values())), correct + wrong, correct)


def false_spans(
    parts: Sequence[Part], detections: Sequence[Detection], kind: Kind | None = None
) -> dict[str, list[Interval]]:
    """Return the intervals in which a song is reported (as this kind) but does not play, by song."""
    audible = by_song((part.song, part.audible) for part in parts)
    reported = by_song((each.song, each.interval) for each in detections if kind in (None, each.kind))
    return {song: without(spans, audible.get(song, [])) for song, spans in reported.items()}


def wrong_kind(parts: Sequence[Part], detections: Sequence[Detection]) -> float:
    """Return the seconds in which the song is correct, but a cover is reported as a recording or vice versa."""
    return sum(
        covered(
            overlap(
                [each.interval],
                joined(part.interval for part in parts if part.song == each.song and part.kind != each.kind),
            )
        )
        for each in detections
    )


@dataclass(frozen=True)
class Edge:
    """The start or the end of a part that is found, and the time reported for it."""

    part: Part
    at_end: bool
    reported: float  # seconds in the programme

    @property
    def time(self) -> float:
        """The true time in seconds: where the music is 12 dB below its level."""
        return self.part.interval.end if self.at_end else self.part.interval.start

    @property
    def error(self) -> float:
        """Seconds between the reported and the true time."""
        return abs(self.reported - self.time)

    @property
    def excess(self) -> float:
        """Seconds by which the song is reported for too long; negative where it is reported for too short.

        Zero within the last 12 dB of a fade.
        """
        if self.at_end:
            too_long, too_short = self.reported - self.part.audible.end, self.part.interval.end - self.reported
        else:
            too_long, too_short = self.part.audible.start - self.reported, self.reported - self.part.interval.start
        return max(0.0, too_long) - max(0.0, too_short)

    @property
    def hard(self) -> bool:
        """Whether the music is cut there, not faded."""
        return self.part.hard_end if self.at_end else self.part.hard_start


def edges(parts: Sequence[Part], detections: Sequence[Detection]) -> list[Edge]:
    """Return the start and the end of every part that is found. Holes in between are a matter of recall.

    A detection that overlaps several parts of its song belongs to the one that it overlaps most.
    """
    found: dict[Part, list[Interval]] = defaultdict(list)
    for each in detections:
        shared = {part: covered(overlap([each.interval], [part.interval])) for part in parts if part.song == each.song}
        best = max(shared, key=lambda part: shared[part], default=None)
        if best and shared[best]:
            found[best].append(each.interval)
    return [
        edge
        for part in parts
        if part in found
        for edge in (
            Edge(part, False, min(span.start for span in found[part])),
            Edge(part, True, max(span.end for span in found[part])),
        )
    ]


def missed(parts: Sequence[Part], detections: Sequence[Detection]) -> list[Part]:
    """Return the parts of which nothing is reported."""
    reported = by_song((each.song, each.interval) for each in detections)
    return [part for part in parts if not covered(overlap([part.interval], reported.get(part.song, [])))]


def false_songs(parts: Sequence[Part], detections: Sequence[Detection]) -> list[Detection]:
    """Return the songs that are reported where they do not play at all. Neighbouring intervals count as one."""
    audible = by_song((part.song, part.audible) for part in parts)
    found = []
    for song, kind in dict.fromkeys((each.song, each.kind) for each in detections):
        spans = joined((each.interval for each in detections if (each.song, each.kind) == (song, kind)), JOINED)
        found += [Detection(song, kind, span) for span in spans if not covered(overlap([span], audible.get(song, [])))]
    return found


def by_song(spans: Iterable[tuple[str, Interval]]) -> dict[str, list[Interval]]:
    """Group intervals by song and join those that overlap."""
    groups: dict[str, list[Interval]] = defaultdict(list)
    for song, span in spans:
        groups[song].append(span)
    return {song: joined(group) for song, group in groups.items()}


def joined(spans: Iterable[Interval], apart: float = 0.0) -> list[Interval]:
    """Sort the intervals and join those that overlap or lie at most `apart` seconds apart.

    >>> joined([Interval(5, 9), Interval(0, 3), Interval(2, 4)])
    [Interval(start=0, end=4), Interval(start=5, end=9)]
    """
    found: list[Interval] = []
    for span in sorted(spans, key=lambda span: span.start):
        if found and span.start <= found[-1].end + apart:
            found[-1] = Interval(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def overlap(ones: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """Return the intersection. Neither side may overlap itself.

    >>> overlap([Interval(0, 4), Interval(6, 9)], [Interval(3, 7)])
    [Interval(start=3, end=4), Interval(start=6, end=7)]
    """
    return [
        Interval(max(one.start, other.start), min(one.end, other.end))
        for one in ones
        for other in others
        if max(one.start, other.start) < min(one.end, other.end)
    ]


def without(ones: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """Return what lies in the first and not in the second.

    >>> without([Interval(0, 9)], [Interval(3, 4), Interval(8, 20)])
    [Interval(start=0, end=3), Interval(start=4, end=8)]
    """
    return [piece for one in ones for piece in subtract(one, others)]
