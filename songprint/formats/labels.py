"""Timelines as labels with times: Audacity label tracks, tracklists, and subtitles (SubRip, WebVTT)."""

from __future__ import annotations

from collections.abc import Iterator

from songprint.formats.entries import EVERY_SOUND, Entry, clock, entries, label
from songprint.types import Segment, Sound, Timeline

# SubRip has no escapes, and players interpret <i>, {\an8} and {y:i} as markup; similar characters replace them.
SUBRIP_REPLACEMENTS = str.maketrans({"<": "‹", ">": "›", "{": "(", "}": ")"})


def audacity(timeline: Timeline) -> str:
    """Write an Audacity label track: start, end and label, separated by tabs. Labels of songs contain the
    confidence."""
    return "".join(
        f"{entry.interval.start:.6f}\t{entry.interval.end:.6f}\t{label(entry)}{_confidence(entry)}\n"
        for entry in entries(timeline, EVERY_SOUND)
    )


def _confidence(entry: Entry) -> str:
    return f" ({int(entry.confidence)}%)" if isinstance(entry, Segment) else ""


def tracklist(timeline: Timeline) -> str:
    """Write one line per song and per gap with unknown music: `00:03:20 Artist - Title`.

    Start times are rounded down to seconds, so that playing from there includes the start of the song.
    """
    return "".join(f"{clock(entry.interval.start)[:-4]} {label(entry)}\n" for entry in entries(timeline, {Sound.MUSIC}))


def srt(timeline: Timeline) -> str:
    """Write SubRip subtitles for songs and unknown music. Players show simultaneous songs together."""
    return "\n".join(
        f"{number}\n{times}\n{text.translate(SUBRIP_REPLACEMENTS)}\n" for number, times, text in _cues(timeline, ",")
    )


def vtt(timeline: Timeline) -> str:
    """Write WebVTT subtitles for songs and unknown music."""
    cues = (f"{number}\n{times}\n{_escape(text)}\n" for number, times, text in _cues(timeline, "."))
    return "\n".join(["WEBVTT\n", *cues])


def _cues(timeline: Timeline, separator: str) -> Iterator[tuple[int, str, str]]:
    """Yield the number, the times and the text of each cue. `separator` precedes the milliseconds."""
    for number, entry in enumerate(entries(timeline, {Sound.MUSIC}), start=1):
        start = round(max(0.0, entry.interval.start), 3)
        end = max(round(entry.interval.end, 3), start + 0.001)  # players reject cues of length 0
        yield number, f"{clock(start, separator)} --> {clock(end, separator)}", label(entry)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
