"""A timeline as people read it: a line for each segment and each gap, in the order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from songprint.cli.output import between, changes, changes_of_a_cover, console, counted, duration, position, text

if TYPE_CHECKING:
    from songprint.types import Gap, Segment, Timeline

SHORTEST = 2.0  # seconds: shorter gaps are not printed
SOUNDS = {"music": "unknown music", "speech": "speech", "silence": "silence", "other": "no music that is known"}


def print_timeline(timeline: Timeline, name: str) -> None:
    """When, what, and how sure; then the songs with the time that each was played."""
    screen = console()
    screen.print(text((name, "bold"), f": {duration(timeline.duration)}, {counted(len(timeline.songs), 'song')}"))
    entries = [*timeline.segments, *(gap for gap in timeline.gaps if gap.interval.duration >= SHORTEST)]
    width = len(position(timeline.duration))
    for entry in sorted(entries, key=lambda entry: (entry.interval.start, entry.interval.end)):
        times = f"{position(entry.interval.start):>{width}} - {position(entry.interval.end):>{width}}  "
        if hasattr(entry, "sound"):
            screen.print(text((times + gap_name(entry), "dim")))
        else:
            screen.print(text(times, (entry.recording.name, "bold green"), f", {details(entry)}"))


def gap_name(gap: Gap) -> str:
    """`unknown music 3`: the number is the same wherever the same unknown music is heard."""
    return SOUNDS[gap.sound] + (f" {gap.unknown}" if gap.unknown is not None else "")


def details(segment: Segment) -> str:
    """`recording, 99 % sure, 0:42.0 to 1:20.5 of 3:05, +4.0 % speed`"""
    part = f"{between(segment.reference)} of {duration(segment.recording.duration)}"
    parts = [str(segment.kind), f"{int(segment.confidence)} % sure", part]
    if segment.original and segment.original.id != segment.recording.id:
        parts.insert(1, f"original: {segment.original.name}")
    changed = changes(segment.speed, segment.key_shift) if segment.kind == "recording" else changes_of_a_cover(segment)
    return ", ".join([*parts, *changed])
