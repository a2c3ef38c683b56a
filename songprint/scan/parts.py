"""Scan the parts of a file that its mono mix does not contain: other audio tracks, and channels that differ."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from songprint.audio import files
from songprint.audio.channels import WINDOW, ChannelMeter, Part
from songprint.intervals import subtract
from songprint.scan.resuming import Past
from songprint.types import Interval, Segment, Sound

if TYPE_CHECKING:
    import numpy as np

    from songprint.scan.scan import Scanner
    from songprint.store.store import Store

SETTLED_EVERY = 18  # windows between two requests for final segments

Sounds = tuple[tuple[Interval, Sound], ...]


@dataclass(frozen=True)
class Step:
    """The progress of a scan of several parts, in seconds, and the segments so far."""

    done: float  # of the current part
    total: float | None  # of the current part; None if the file does not contain its duration
    before: float  # of the parts that are scanned
    after: float  # of the parts that are left, as far as they are known
    segments: Sequence[Segment] = ()


def add_others(
    past: Past,
    source: files.Source,
    tracks: Sequence[int | None],
    meter: ChannelMeter,
    store: Store,
    new_scanner: Callable[[], Scanner],
    step: Callable[[Step], bool],
) -> tuple[Past, list[str], bool]:
    """Add what the other tracks and the channels contain to the results of the first track.

    `meter` has measured the channels of the first track. `step` is called after every window that is scanned, and
    returns whether to stop. Also returns warnings, and whether everything was scanned.
    """
    first, *others = tracks
    past = replace(past, segments=tuple(replace(each, track=first) for each in past.segments))
    warnings: list[str] = []
    waiting: list[tuple[Part, frozenset[int] | None]] = [
        *_hidden(meter, first),
        *((Part(each), None) for each in others),
    ]
    length = before = past.until  # tracks are about as long as the first one

    def seconds(windows: frozenset[int] | None) -> float:
        return length if windows is None else min(length, WINDOW * len(windows))

    while waiting:
        part, windows = waiting.pop(0)
        meter = ChannelMeter()
        total, after = seconds(windows), sum(seconds(each) for _, each in waiting)
        blocks = files.blocks(
            source,
            store.sample_rate,
            block_seconds=WINDOW,
            on_warning=(lambda warning: None) if windows else warnings.append,
            part=part,
            meter=meter,
        )
        with closing(blocks), closing(_scanned(blocks, windows, new_scanner, store.sample_rate)) as results:
            for found in results:
                if isinstance(found, float):
                    if step(Step(found, max(found, total), before, after, past.segments)):
                        return past, warnings, False
                    continue
                found = replace(
                    found,
                    segments=tuple(replace(each, track=part.track, channel=part.channel) for each in found.segments),
                )
                past = Past(
                    max(past.until, found.until),
                    merged(past.segments, found.segments, store),
                    _audible(past.sounds, found.sounds),
                )
        before += total
        if windows is None:
            waiting = [*_hidden(meter, part.track), *waiting]
    return past, warnings, True


def _hidden(meter: ChannelMeter, track: int | None) -> list[tuple[Part, frozenset[int] | None]]:
    """The parts of a track that its mono mix does not contain, each with its windows and those next to them."""
    return [
        (replace(part, track=track), frozenset(near for window in windows for near in range(window - 1, window + 2)))
        for part, windows in meter.lost().items()
    ]


def _scanned(
    blocks: Iterator[np.ndarray],
    windows: frozenset[int] | None,
    new_scanner: Callable[[], Scanner],
    sample_rate: int,
) -> Generator[Past | float, None, None]:
    """Scan each run of consecutive windows, and yield its results with times from the start of the file.

    After each window, the seconds that were scanned so far are yielded.
    """
    samples = 0
    for wanted, run in groupby(enumerate(blocks), key=lambda each: windows is None or each[0] in windows):
        if not wanted:
            continue  # `groupby` reads the run
        begin = 0.0
        with new_scanner() as scanner:
            for count, (window, block) in enumerate(run):
                begin = begin if count else window * WINDOW
                scanner.feed(block)
                samples += len(block)
                if count % SETTLED_EVERY == SETTLED_EVERY - 1:
                    scanner.settled()
                yield samples / sample_rate
            timeline = scanner.finish()
        yield Past(begin).then(timeline.duration, timeline.segments, scanner.sounds)


def merged(known: Sequence[Segment], new: Sequence[Segment], store: Store) -> tuple[Segment, ...]:
    """Add segments of another part. Of segments of one song at one time, the longest counts."""
    found = list(known)
    for segment in new:
        same = [each for each in found if overlap(each, segment) and same_song(each, segment, store)]
        if not same:
            found.append(segment)
        elif segment.interval.duration > sum(each.interval.duration for each in same) + 1:
            found = [segment, *(each for each in found if each not in same)]
        elif len(same) == 1 and same[0].track == segment.track and same[0].channel != segment.channel:
            found[found.index(same[0])] = replace(same[0], channel="")  # in several channels
    return tuple(sorted(found, key=lambda each: (each.interval.start, each.interval.end)))


def overlap(one: Segment, other: Segment) -> bool:
    return one.interval.start < other.interval.end and other.interval.start < one.interval.end


def same_song(one: Segment, other: Segment, store: Store) -> bool:
    """Whether two segments name the same recording, a copy of it, or the same work."""
    ids = one.recording.id, other.recording.id
    return ids[0] == ids[1] or bool(one.work and one.work == other.work) or bool(store.copies([ids[0]], of=[ids[1]]))


def _audible(sounds: Sounds, others: Sounds) -> Sounds:
    """Replace silence by the sounds that another part has there."""
    found: list[tuple[Interval, Sound]] = []
    silent = [interval for interval, sound in sounds if sound == Sound.SILENCE]
    end = max((interval.end for interval, _ in sounds), default=0.0)
    for interval, sound in others:
        if sound == Sound.SILENCE:
            continue
        for free in (*silent, Interval(end, float("inf"))):
            part = Interval(max(interval.start, free.start), min(interval.end, free.end))
            if part.duration > 0:
                found.append((part, sound))
    covered = [interval for interval, _ in found]
    kept = [(part, sound) for interval, sound in sounds for part in subtract(interval, covered)]
    return tuple(sorted([*kept, *found], key=lambda each: each[0].start))
