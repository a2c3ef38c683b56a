"""What all formats share: the order of a timeline's entries, what they are called, times of day."""

from __future__ import annotations

import unicodedata
from collections.abc import Container
from pathlib import Path

from songprint.types import Gap, Interval, Kind, Recording, Segment, Sound, Timeline

Entry = Segment | Gap

EVERY_SOUND = frozenset(Sound)
NO_MARK = {Sound.MUSIC: "unknown music", Sound.SPEECH: "speech", Sound.SILENCE: "silence", Sound.OTHER: "other sound"}


def entries(timeline: Timeline, sounds: Container[Sound]) -> list[Entry]:
    """Songs, and the gaps in which one of these sounds is heard, in the order in which they start."""
    gaps = [gap for gap in timeline.gaps if gap.sound in sounds]
    return sorted([*timeline.segments, *gaps], key=lambda entry: (entry.interval.start, entry.interval.end))


def label(entry: Entry) -> str:
    """What an entry is called, in one line: `Artist - Title`, `Artist - Title (cover)`, `[unknown music 2]`."""
    if isinstance(entry, Gap):
        number = f" {entry.unknown}" if entry.unknown is not None else ""
        return f"[{NO_MARK[entry.sound]}{number}]"
    return name(song(entry)) + mark(entry)


def mark(segment: Segment) -> str:
    """What is said behind a title."""
    return " (cover)" if segment.kind == Kind.COVER else ""


def song(segment: Segment) -> Recording:
    """The recording that is heard; of a cover the original, for what is heard is in no library."""
    return segment.original if segment.kind == Kind.COVER and segment.original else segment.recording


def name(recording: Recording) -> str:
    return one_line(recording.name) or f"recording {recording.id}"


def source_name(timeline: Timeline) -> str:
    """The long recording's file name without its folder; empty if it has none."""
    return one_line(Path(timeline.source).name) if timeline.source != "-" else ""


def one_line(text: str) -> str:
    """Line breaks, tabs and runs of blanks become one blank; control codes go; bytes that are no text show as `\ufffd`.

    >>> one_line(" two\\r\\nlines\\tand\\x00 \\x1b[31m a\\udcff")
    'two lines and [31m a\ufffd'
    """
    return " ".join("".join(map(_plain, text)).split())


def _plain(letter: str) -> str:
    category = unicodedata.category(letter)
    if category == "Cs":  # half of a surrogate pair: a byte of a file name that is no text
        return "\ufffd"
    return "" if category == "Cc" and not letter.isspace() else letter


def clock(seconds: float, separator: str = ".") -> str:
    """`hh:mm:ss.mmm`.

    >>> clock(3723.4567), clock(59.9996, ","), clock(360_000)
    ('01:02:03.457', '00:01:00,000', '100:00:00.000')
    """
    whole, milliseconds = divmod(max(0, round(seconds * 1000)), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{separator}{milliseconds:03}"


def visible(heard: Interval) -> Interval:
    """To the millisecond, of which it lasts one at least: players refuse what ends where it starts."""
    start = round(max(0.0, heard.start), 3)
    return Interval(start, max(round(heard.end, 3), start + 0.001))
