"""How well a timeline agrees with the truth: pure functions of intervals and names.

A song counts by the seconds in which it is heard and named. Two songs at once count twice. Where music is faded
(audible, but more than 12 dB down), naming it is neither asked for nor wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab.data.programmes import Part
from songprint.types import Interval, Kind, covered

JOINED = 10.0  # seconds: stretches of one wrong name that are nearer to each other are one invention


@dataclass(frozen=True)
class Claim:
    """What a timeline says: this song, from here to there."""

    song: str  # the file that the library holds
    kind: Kind
    heard: Interval


@dataclass(frozen=True)
class Agreement:
    """Seconds, counted by song."""

    heard: float  # of songs that a perfect timeline names
    claimed: float
    right: float

    @property
    def precision(self) -> float:
        return self.right / self.claimed if self.claimed else float(not self.heard)

    @property
    def recall(self) -> float:
        return self.right / self.heard if self.heard else 1.0

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.heard + self.claimed) if self.heard + self.claimed else 1.0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.heard + other.heard, self.claimed + other.claimed, self.right + other.right)


def agreement(parts: Sequence[Part], claims: Sequence[Claim], kind: Kind | None = None) -> Agreement:
    """How well the songs are named; with `kind` only those that are heard as such.

    A song that is named as being of the other kind is right all the same (see `other_kind`); a wrong name counts
    against the kind that was claimed.
    """
    heard = by_song((part.song, part.heard) for part in parts if kind in (None, part.kind))
    anywhere = by_song((part.song, part.audible) for part in parts)
    claimed = by_song((claim.song, claim.heard) for claim in claims)
    of_kind = by_song((claim.song, claim.heard) for claim in claims if kind in (None, claim.kind))
    right = sum(total(overlap(spans, claimed.get(song, []))) for song, spans in heard.items())
    wrong = sum(total(without(spans, anywhere.get(song, []))) for song, spans in of_kind.items())
    return Agreement(sum(map(total, heard.values())), right + wrong, right)


def other_kind(parts: Sequence[Part], claims: Sequence[Claim]) -> float:
    """Seconds of songs that are named rightly, but as a recording where it is a cover, or the other way round."""
    return sum(
        total(
            overlap(
                [claim.heard],
                joined(part.heard for part in parts if part.song == claim.song and part.kind != claim.kind),
            )
        )
        for claim in claims
    )


@dataclass(frozen=True)
class Edge:
    """How far a claimed start or end lies from the true one, in seconds."""

    error: float
    hard: bool  # the music was cut there, not faded
    kind: Kind


def edges(parts: Sequence[Part], claims: Sequence[Claim]) -> list[Edge]:
    """Of each part that is found at all: its start and its end. Holes in between are a matter of recall."""
    found = []
    for part in parts:
        spans = [
            claim.heard for claim in claims if claim.song == part.song and total(overlap([claim.heard], [part.heard]))
        ]
        if spans:
            found.append(Edge(abs(min(span.start for span in spans) - part.heard.start), part.hard_start, part.kind))
            found.append(Edge(abs(max(span.end for span in spans) - part.heard.end), part.hard_end, part.kind))
    return found


def missed(parts: Sequence[Part], claims: Sequence[Claim]) -> list[Part]:
    """The parts of which nothing is named."""
    named = by_song((claim.song, claim.heard) for claim in claims)
    return [part for part in parts if not total(overlap([part.heard], named.get(part.song, [])))]


def invented(parts: Sequence[Part], claims: Sequence[Claim]) -> list[Claim]:
    """Songs that are named where nothing of them is heard. Stretches near to each other are one."""
    audible = by_song((part.song, part.audible) for part in parts)
    found = []
    for song, kind in dict.fromkeys((claim.song, claim.kind) for claim in claims):
        spans = joined((claim.heard for claim in claims if (claim.song, claim.kind) == (song, kind)), JOINED)
        found += [Claim(song, kind, span) for span in spans if not total(overlap([span], audible.get(song, [])))]
    return found


def by_song(spans: Iterable[tuple[str, Interval]]) -> dict[str, list[Interval]]:
    """The stretches of each song, joined where they overlap."""
    groups: dict[str, list[Interval]] = defaultdict(list)
    for song, span in spans:
        groups[song].append(span)
    return {song: joined(group) for song, group in groups.items()}


def joined(spans: Iterable[Interval], apart: float = 0.0) -> list[Interval]:
    """In order, those that overlap or lie at most so many seconds apart made one.

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
    """What lies in both; each side is free of overlaps in itself.

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
    """What lies in the first and not in the second.

    >>> without([Interval(0, 9)], [Interval(3, 4), Interval(8, 20)])
    [Interval(start=0, end=3), Interval(start=4, end=8)]
    """
    left = list(ones)
    for other in others:
        left = [
            piece
            for one in left
            for piece in (Interval(one.start, min(one.end, other.start)), Interval(max(one.start, other.end), one.end))
            if piece.start < piece.end
        ]
    return left


def total(spans: Iterable[Interval]) -> float:
    """Seconds, each counted once."""
    return covered(spans)
