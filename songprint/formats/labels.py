"""Plain lines: labels for Audacity, and the list of songs that stands under a mix."""

from __future__ import annotations

from songprint.formats.entries import EVERY_SOUND, entries, label
from songprint.types import Sound, Timeline


def audacity(timeline: Timeline) -> str:
    """A label track: start, end and label, parted by tabs. Songs say how sure they are."""
    return "".join(
        f"{entry.interval.start:.6f}\t{entry.interval.end:.6f}\t{label(entry)}{_sureness(entry)}\n"
        for entry in entries(timeline, EVERY_SOUND)
    )


def tracklist(timeline: Timeline) -> str:
    """`00:03:20 Artist - Title`; music that nobody knows is listed, speech and silence are not.

    Seconds are rounded down: who jumps there hears how the song begins.
    """
    return "".join(
        f"{_time_of_day(entry.interval.start)} {label(entry)}\n" for entry in entries(timeline, {Sound.MUSIC})
    )


def _sureness(entry: object) -> str:
    confidence = getattr(entry, "confidence", None)
    return "" if confidence is None else f" ({int(confidence)} %)"


def _time_of_day(seconds: float) -> str:
    whole = int(max(0.0, seconds) + 0.0005)  # 199.9999 is 200
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
