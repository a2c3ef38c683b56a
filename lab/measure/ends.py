"""Errors of start and end times by surrounding: how far, in which direction, and where to listen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Protocol

import numpy as np

from lab.data import surroundings
from lab.data.programmes import Item, Programme
from lab.data.surroundings import Join
from lab.measure import spans
from lab.measure.spans import Detection, Edge
from lab.program import table
from songprint.types import Kind, covered

FAR = 3.0  # seconds; larger errors are counted separately
WORST = 10  # listed with their positions
NOUNS = {Kind.RECORDING: "recordings", Kind.COVER: "covers"}
QUARTET = ("count", "median", "p90", "worst")  # of errors
BOTH_WAYS = ("too long: count", *QUARTET[1:], "too short: count", *QUARTET[1:])


class Outcome(Protocol):
    """A programme, its audio file and what was reported."""

    @property
    def programme(self) -> Programme: ...
    @property
    def path(self) -> Path: ...
    @property
    def detections(self) -> list[Detection]: ...


@dataclass(frozen=True)
class End:
    """The start or the end of a song that was found, with the surrounding there."""

    programme: Programme
    file: str
    join: Join
    edge: Edge


def tables(outcomes: Sequence[Outcome]) -> list[str]:
    """Return Markdown: all ends, ends by surrounding, seconds of false songs, the worst ends, overlapping segments."""
    found = [end for each in outcomes for end in measured(each)]
    return [overall(found), by_surrounding(found), seconds(outcomes), worst(found), twice(outcomes)]


def measured(outcome: Outcome) -> Iterator[End]:
    edges = {(edge.part, edge.at_end): edge for edge in spans.edges(outcome.programme.songs, outcome.detections)}
    for join in surroundings.joins(outcome.programme):
        edge = edges.get((join.part, join.at_end))
        if edge:
            yield End(outcome.programme, outcome.path.name, join, edge)


def overall(found: Sequence[End]) -> str:
    """Errors of starts and ends in seconds; 0 within the last 12 dB of a fade."""
    rows = []
    for kind, noun in NOUNS.items():
        errors = [end.edge.excess for end in found if end.edge.part.kind == kind]
        if errors:
            far = sum(abs(error) > FAR for error in errors)
            rows.append([noun, *_quartet(map(abs, errors)), far, *_both_ways(errors)])
    return table(["starts and ends, s", *QUARTET, f"over {FAR:g} s", *BOTH_WAYS], rows)


def by_surrounding(found: Sequence[End]) -> str:
    groups: dict[tuple[str, Kind], list[float]] = defaultdict(list)
    for end in found:
        groups[end.join.surrounding, end.edge.part.kind].append(end.edge.excess)
    order = list(surroundings.SURROUNDINGS.values())
    in_order = sorted(groups.items(), key=lambda group: (order.index(group[0][0].partition(" (")[0]), group[0]))
    rows = [[name, NOUNS[kind], len(errors), *_both_ways(errors)] for (name, kind), errors in in_order]
    return table(["surrounding", "songs", "ends", *BOTH_WAYS], rows)


def _both_ways(errors: Sequence[float]) -> list[object]:
    return [*_quartet(e for e in errors if e > 0), *_quartet(-e for e in errors if e < 0)]


def _quartet(errors: Iterable[float]) -> list[object]:
    """Count, median, 90th percentile and maximum."""
    values = list(errors)
    if not values:
        return [0, "-", "-", "-"]
    return [len(values), *(f"{np.quantile(values, share):.2f}" for share in (0.5, 0.9, 1.0))]


def seconds(outcomes: Sequence[Outcome]) -> str:
    """Seconds of each surrounding, and how many of them are reported as a song that does not play there."""
    played: dict[str, float] = defaultdict(float)
    wrong: dict[tuple[str, Kind], float] = defaultdict(float)
    for each in outcomes:
        false = {kind: spans.false_spans(each.programme.songs, each.detections, kind).values() for kind in Kind}
        for name, interval in surroundings.places(each.programme):
            played[name] += interval.duration
            for kind, groups in false.items():
                wrong[name, kind] += sum(covered(spans.overlap(group, [interval])) for group in groups)
    rows = [
        [name, f"{played[name]:.0f}", *(f"{wrong[name, kind]:.1f}" for kind in Kind)]
        for name in sorted(played, key=lambda name: -sum(wrong[name, kind] for kind in Kind))
    ]
    return table(["surrounding", "played, s", "a false recording reported, s", "a false cover reported, s"], rows)


def twice(outcomes: Sequence[Outcome]) -> str:
    """How often two segments of one song overlap. One performance is one segment."""
    pairs = sum(
        one.song == other.song and bool(spans.overlap([one.interval], [other.interval]))
        for each in outcomes
        for one, other in combinations(each.detections, 2)
    )
    return f"Segments that overlap another one of the same song: {pairs}."


def worst(found: Sequence[End]) -> str:
    """The largest errors, with positions in the programme: `--keep` keeps the files to listen to."""
    rows = []
    for end in sorted(found, key=lambda end: -abs(end.edge.excess))[:WORST]:
        edge, join = end.edge, end.join
        way = "too long" if edge.excess > 0 else "too short"
        rows.append(
            [
                f"{'end' if edge.at_end else 'start'} {abs(edge.excess):.2f} s {way}",
                end.file,
                clock(edge.time),
                clock(edge.reported),
                f"{Path(edge.part.path).name}{_level(join.item)}",
                f"{join.surrounding}{_level(join.neighbour)}",
            ]
        )
    return table(["worst", "programme", "position", "reported", "song (level)", "surrounding (level)"], rows)


def _level(item: Item) -> str:
    if item.what in ("silence", "dither"):
        return ""
    return f" ({surroundings.REFERENCE_LEVEL + item.level:.0f} dBFS)"


def clock(time: float) -> str:
    """Minutes and seconds, to a hundredth.

    >>> clock(83.456)
    '1:23.46'
    """
    hundredths = round(100 * time)
    return f"{hundredths // 6000}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
