"""Export formats of timelines. Each format is a pure function from a Timeline to text.

>>> from songprint.types import Timeline
>>> write(Timeline([], [], 60.0, {}, searched=3, elapsed=0.1), "vtt")
'WEBVTT\\n'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from songprint.errors import SongprintError
from songprint.formats import cue, labels, results, structured
from songprint.types import Timeline, Views


@dataclass(frozen=True)
class Format:
    """An export format: its function, the suffix of its files and its media type."""

    suffix: str
    media_type: str
    write: Callable[[Timeline], str]


FORMATS = {
    "json": Format(".json", "application/json", structured.json),
    "jsonl": Format(".jsonl", "application/x-ndjson", structured.jsonl),
    "csv": Format(".csv", "text/csv; charset=utf-8", structured.csv),
    "audacity": Format(".txt", "text/plain; charset=utf-8", labels.audacity),
    "cue": Format(".cue", "application/x-cue", cue.sheet),
    "srt": Format(".srt", "application/x-subrip", labels.srt),
    "vtt": Format(".vtt", "text/vtt; charset=utf-8", labels.vtt),
    "tracklist": Format(".txt", "text/plain; charset=utf-8", labels.tracklist),
}


def write(timeline: Timeline, name: str) -> str:
    """Export a timeline in the format `name`, a key of FORMATS.

    The text can always be encoded as UTF-8. Line ends follow the format, so write files with `newline=""`.
    Raises SongprintError for an unknown format.
    """
    if name not in FORMATS:
        raise SongprintError(f"no format {name!r}: choose one of {', '.join(FORMATS)}")
    return FORMATS[name].write(timeline)


Views.register(results.VIEWS)
