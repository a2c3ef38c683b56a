"""Scan a live stream, and apart from its mono mix the channels that the mix does not contain."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from songprint.audio.channels import WINDOW, Block, Part, hidden
from songprint.intervals import gaps, part_of, subtract
from songprint.scan.parts import overlap
from songprint.types import Gap, Interval, Segment, Sound, Timeline

MAX_PARTS = 4  # that are scanned at the same time, because each costs as much as the mix
_MIN_REST = 3.0  # seconds; a shorter remainder of a partly known segment is dropped


class StreamScanner(Protocol):
    """The part of `Scanner` that streams need. Times are seconds since the first samples, (n,) float32 mono."""

    @property
    def sounds(self) -> list[tuple[Interval, Sound]]: ...

    @property
    def settled_until(self) -> float: ...

    def feed(self, block: np.ndarray) -> None: ...

    def settled(self) -> list[Segment]: ...

    def current(self) -> list[Segment]: ...

    def finish(self) -> Timeline: ...


@dataclass
class _PartScanner:
    """A scanner of some channels."""

    part: Part
    scanner: StreamScanner
    begin: float  # seconds in the stream
    needed: float  # seconds in the stream up to which the mix does not contain the part

    def feed(self, block: Block) -> None:
        assert block.channels is not None
        self.scanner.feed(np.asarray(self.part.weights, np.float32) @ block.channels)

    def placed(self, segments: Iterable[Segment]) -> list[Segment]:
        """The segments with times in the stream, and their channel."""
        return [
            replace(
                each,
                interval=Interval(each.interval.start + self.begin, each.interval.end + self.begin),
                channel=self.part.channel,
            )
            for each in segments
        ]


def after(seconds: float, found: Iterable[Gap]) -> list[Gap]:
    """The parts of gaps after a time in seconds."""
    return [
        replace(gap, interval=Interval(max(gap.interval.start, seconds), gap.interval.end))
        for gap in found
        if gap.interval.end > seconds
    ]


def same_recording(one: Segment, other: Segment) -> bool:
    """Whether two segments are of one recording."""
    return one.recording.id == other.recording.id


@dataclass
class ChannelScanner:
    """Scans a stream with a scanner for the mono mix, and one for each part that the mix does not contain.

    The correlation of the channels is measured in windows of WINDOW seconds. The scanner of a part starts one window
    earlier, with samples that were kept, and ends when the mix has contained the part for a window.
    """

    new_scanner: Callable[[], StreamScanner]
    sample_rate: int
    same_song: Callable[[Segment, Segment], bool] = same_recording
    _parts: list[_PartScanner] = field(default_factory=list)
    _kept: deque[Block] = field(default_factory=deque)  # at least a window, and at most two
    _kept_samples: int = 0
    _samples: int = 0  # of the stream
    _window_samples: int = 0  # since the end of the last window
    _ended: list[Segment] = field(default_factory=list)  # of scanners that have ended, not returned yet
    _of_mix: list[Segment] = field(default_factory=list)  # final ones
    _of_parts: list[Segment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._mix = self.new_scanner()

    def feed(self, block: Block) -> None:
        """Process the next samples."""
        self._mix.feed(block.mix)
        self._samples += len(block)
        if self._kept and self._kept[-1].layout != block.layout:
            self._end(self._parts)
            self._kept.clear()
            self._kept_samples = self._window_samples = 0
        if block.channels is None:
            return
        self._kept.append(block)
        self._kept_samples += len(block)
        self._window_samples += len(block)
        for part in self._parts:
            part.feed(block)
        window = round(WINDOW * self.sample_rate)
        if self._window_samples >= window:
            self._compare()
            self._window_samples = 0
        while self._kept_samples - len(self._kept[0]) >= 2 * window:
            self._kept_samples -= len(self._kept.popleft())

    def settled(self) -> list[Segment]:
        """Return the segments that have become final since the last call."""
        mix = self._without(self._of_parts, self._mix.settled())
        self._of_mix += mix
        found = [segment for part in self._parts for segment in part.placed(part.scanner.settled())]
        others = self._new([*found, *self._ended])
        self._ended = []
        return [*mix, *others]

    def current(self) -> list[Segment]:
        """Return the segments that may still grow."""
        found = self._without(self._of_parts, self._mix.current())
        for part in self._parts:
            found += self._without([*self._of_mix, *self._of_parts, *found], part.placed(part.scanner.current()))
        return found

    def gaps(self, since: float) -> list[Gap]:
        """Return the gaps between the final segments from `since` seconds to where everything is final."""
        segments = [*self._of_mix, *self._of_parts]
        return after(since, gaps(self._mix.settled_until, segments, self._mix.sounds))

    def finish(self) -> Timeline:
        """Return the timeline of the whole stream: no more audio follows."""
        timeline = self._mix.finish()
        self._of_mix = self._without(self._of_parts, timeline.segments)
        self._end(self._parts)
        self._new(self._ended)
        segments = sorted([*self._of_mix, *self._of_parts], key=lambda each: each.interval.start)
        return replace(timeline, segments=segments)

    def _new(self, segments: Iterable[Segment]) -> list[Segment]:
        """Keep, and return, what final segments of parts add to the known ones."""
        before = len(self._of_parts)
        for segment in segments:
            self._of_parts += self._without([*self._of_mix, *self._of_parts], [segment])
        return self._of_parts[before:]

    def _compare(self) -> None:
        """Start and end scanners of parts, after each window."""
        recent = [block.channels for block in self._blocks(self._window_samples) if block.channels is not None]
        samples = np.concatenate(recent, axis=1)
        layout = self._kept[-1].layout
        assert layout is not None
        now = self._samples / self.sample_rate
        lost = hidden(samples @ samples.T / samples.shape[1], layout)
        known = {each.part: each for each in self._parts}
        for part in lost:
            if part in known:
                known[part].needed = now
            elif len(self._parts) < MAX_PARTS:
                begin = (self._samples - self._kept_samples) / self.sample_rate
                started = _PartScanner(part, self.new_scanner(), begin, now)
                for block in self._kept:
                    started.feed(block)
                self._parts.append(started)
        self._end([each for each in self._parts if now - each.needed > 1.5 * WINDOW])

    def _blocks(self, samples: int) -> list[Block]:
        """The last blocks, with at least so many samples."""
        found: list[Block] = []
        for block in reversed(self._kept):
            if samples <= 0:
                break
            found.append(block)
            samples -= len(block)
        return found[::-1]

    def _end(self, parts: Iterable[_PartScanner]) -> None:
        for part in list(parts):
            self._ended += part.placed(part.scanner.finish().segments)
            self._parts.remove(part)

    def _without(self, known: Sequence[Segment], segments: Iterable[Segment]) -> list[Segment]:
        """Cut out of segments what known ones of the same song cover."""
        found: list[Segment] = []
        for segment in segments:
            same = [each.interval for each in known if overlap(each, segment) and self.same_song(each, segment)]
            rest = max(subtract(segment.interval, same), key=lambda part: part.duration, default=None)
            if not same:
                found.append(segment)
            elif rest and rest.duration >= _MIN_REST:
                found.append(part_of(segment, rest))
        return found
