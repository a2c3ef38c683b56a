"""Subtitles that name the music while it plays: SubRip and WebVTT. Speech and silence need no words."""

from __future__ import annotations

from songprint.formats.entries import clock, entries, label, visible
from songprint.types import Sound, Timeline

# SubRip has no escapes, and players take <i>, {\an8} and {y:i} for markup: look-alikes stand in.
LOOK_ALIKES = str.maketrans({"<": "‹", ">": "›", "{": "(", "}": ")"})


def srt(timeline: Timeline) -> str:
    """SubRip: songs and unknown music, numbered from 1. Songs at the same time are shown together by players."""
    return "\n".join(
        f"{number}\n{start} --> {end}\n{text.translate(LOOK_ALIKES)}\n"
        for number, start, end, text in _cues(timeline, ",")
    )


def vtt(timeline: Timeline) -> str:
    """WebVTT: the same, with the characters escaped that mean something to it."""
    return "\n".join(
        [
            "WEBVTT\n",
            *(f"{number}\n{start} --> {end}\n{_escaped(text)}\n" for number, start, end, text in _cues(timeline, ".")),
        ]
    )


def _cues(timeline: Timeline, separator: str) -> list[tuple[int, str, str, str]]:
    """Number, start, end and text of each."""
    return [
        (
            number,
            clock(visible(entry.interval).start, separator),
            clock(visible(entry.interval).end, separator),
            label(entry),
        )
        for number, entry in enumerate(entries(timeline, {Sound.MUSIC}), start=1)
    ]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
