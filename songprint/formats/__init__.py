"""A timeline as text, in the formats that other programs read. Each is a pure function, Timeline -> str.

>>> from songprint.types import Timeline
>>> write(Timeline([], [], 60.0, {}, searched=3, elapsed=0.1), "vtt")
'WEBVTT\\n'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from songprint.errors import SongprintError
from songprint.formats import cue, labels, structured, subtitles
from songprint.types import Timeline


@dataclass(frozen=True)
class Format:
    """How a timeline is written, what a file with it is called and how a server announces it."""

    suffix: str
    media_type: str
    write: Callable[[Timeline], str]


FORMATS = {
    "json": Format(".json", "application/json", structured.json),
    "jsonl": Format(".jsonl", "application/x-ndjson", structured.jsonl),
    "csv": Format(".csv", "text/csv; charset=utf-8", structured.csv),
    "audacity": Format(".txt", "text/plain; charset=utf-8", labels.audacity),
    "cue": Format(".cue", "application/x-cue", cue.sheet),
    "srt": Format(".srt", "application/x-subrip", subtitles.srt),
    "vtt": Format(".vtt", "text/vtt; charset=utf-8", subtitles.vtt),
    "tracklist": Format(".txt", "text/plain; charset=utf-8", labels.tracklist),
}


def write(timeline: Timeline, name: str) -> str:
    """The timeline in the format of that name, as text that any UTF-8 file takes.

    Lines end as the format wants it: write the file with `newline=""`.
    """
    if name not in FORMATS:
        raise SongprintError(f"there is no format {name!r}: known are {', '.join(FORMATS)}")
    return FORMATS[name].write(timeline)
