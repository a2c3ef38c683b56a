"""What the formats share: the entries of a timeline in order, their labels, and times as text."""

from __future__ import annotations

import unicodedata
from collections.abc import Container
from pathlib import Path

from songprint.formats import cells
from songprint.types import Gap, Interval, Kind, Match, Record, Recording, Segment, Sound, Timeline

Entry = Segment | Gap

EVERY_SOUND = frozenset(Sound)
GAP_LABELS = {
    Sound.MUSIC: "unknown music",
    Sound.SPEECH: "speech",
    Sound.SILENCE: "silence",
    Sound.OTHER: "other sound",
}


def entries(timeline: Timeline, sounds: Container[Sound]) -> list[Entry]:
    """Return the segments, and the gaps with one of these sounds, ordered by start."""
    gaps = [gap for gap in timeline.gaps if gap.sound in sounds]
    return sorted([*timeline.segments, *gaps], key=lambda entry: (entry.interval.start, entry.interval.end))


def label(entry: Entry) -> str:
    """Label an entry in one line: `Artist - Title`, `Artist - Title (cover)`, `[unknown music 2]`."""
    if isinstance(entry, Gap):
        return f"[{gap_label(entry)}]"
    return name(song(entry)) + mark(entry)


def gap_label(gap: Gap) -> str:
    """`unknown music 3`: the same unknown music has the same number everywhere."""
    return GAP_LABELS[gap.sound] + (f" {gap.unknown}" if gap.unknown is not None else "")


def mark(segment: Segment) -> str:
    """The suffix of a title."""
    return " (cover)" if segment.kind == Kind.COVER else ""


def song(segment: Segment) -> Recording:
    """The recording whose name is displayed. For a cover it is the original, because the cover itself is unknown."""
    return segment.original if segment.kind == Kind.COVER and segment.original else segment.recording


def name(recording: Recording) -> str:
    """`Artist - Title`, or the id of a recording without tags."""
    return one_line(recording.name) or f"recording {recording.id}"


def source_name(timeline: Timeline) -> str:
    """The file name of the long recording without its folder; empty if it has none."""
    return one_line(Path(timeline.source).name) if timeline.source != "-" else ""


def one_line(text: str) -> str:
    """Replace white space by single blanks and invalid bytes by `\ufffd`; remove control characters.

    >>> one_line(" two\\r\\nlines\\tand\\x00 \\x1b[31m a\\udcff")
    'two lines and [31m a\ufffd'
    """
    return " ".join("".join(map(_plain, text)).split())


def _plain(letter: str) -> str:
    category = unicodedata.category(letter)
    if category == "Cs":  # a lone surrogate: an invalid byte of a file name
        return "\ufffd"
    return "" if category == "Cc" and not letter.isspace() else letter


def clock(seconds: float, separator: str = ".") -> str:
    """Format a time as `hh:mm:ss.mmm`.

    >>> clock(3723.4567), clock(59.9996, ","), clock(360_000)
    ('01:02:03.457', '00:01:00,000', '100:00:00.000')
    """
    whole, milliseconds = divmod(max(0, round(seconds * 1000)), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{separator}{milliseconds:03}"


def match_record(found: Match | Segment, interval: Interval, reference: Interval, song_name: str) -> Record:
    """The columns `cells.MATCH_COLUMNS` of a table, and one for each user field of the recording."""
    tags = found.recording.tags
    return {
        **times_record(interval),
        "kind": str(found.kind),
        "artists": ", ".join(tags.artists),
        "title": tags.title,
        "album": tags.album,
        "isrc": tags.isrc,
        "confidence": round(float(found.confidence), 1),
        "reference_start": round(float(reference.start), 3),
        "reference_end": round(float(reference.end), 3),
        "speed": round(float(found.speed), 4),
        "key_shift": round(float(found.key_shift), 2),
        "recording_id": found.recording.id,
        "song": song_name,
        "work": tags.work,
        **{cells.FIELD_PREFIX + key: value for key, value in found.recording.fields.items()},
    }


def times_record(interval: Interval) -> Record:
    """The columns with the start and the end, in seconds."""
    return {"start": round(float(interval.start), 3), "end": round(float(interval.end), 3)}
