"""A CUE sheet: the long recording as an album whose tracks are its songs.

The format knows starts alone, so what is heard between two songs is a track as well; otherwise a song would seem
to last until the next.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from songprint.formats.entries import EVERY_SOUND, Entry, entries, label, mark, name, one_line, song, source_name
from songprint.types import Gap, Kind, Timeline

TRACKS = 99  # that a sheet can hold
FRAMES = 75  # a second
LETTERS = 80  # of a text
SHORTEST_GAP = 2.0  # seconds of a gap that is a track
FILE_TYPES = {".mp3": "MP3", ".mp2": "MP3", ".aif": "AIFF", ".aiff": "AIFF"}  # all else is called WAVE
ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")

logger = logging.getLogger(__name__)


def sheet(timeline: Timeline) -> str:
    """At most 99 tracks: beyond, the shortest gaps are left out, then the shortest songs, and the log says so."""
    wanted = [
        entry
        for entry in entries(timeline, EVERY_SOUND)
        if not isinstance(entry, Gap) or entry.interval.duration >= SHORTEST_GAP
    ]
    ranks = sorted(range(len(wanted)), key=lambda position: _weight(wanted[position]))
    tracks = [wanted[position] for position in sorted(ranks[-TRACKS:])]
    lines = [f"FILE {_quoted(source_name(timeline) or 'audio')} {_file_type(timeline)}"]
    if len(wanted) > TRACKS:
        left_out = f"{len(wanted) - TRACKS} of {len(wanted)} tracks are left out: a CUE sheet holds {TRACKS}"
        logger.warning("%s", left_out)
        lines.insert(0, f"REM COMMENT {_quoted(left_out)}")
    previous = -1
    for number, entry in enumerate(tracks, start=1):
        frame = max(previous + 1, round(max(0.0, entry.interval.start) * FRAMES))  # no two begin at one frame
        lines += [f"  TRACK {number:02} AUDIO", *_texts(entry)]
        if number == 1 and frame > 0:
            lines.append("    INDEX 00 00:00:00")  # what comes before is the lead-in of the first
        lines.append(f"    INDEX 01 {_index(frame)}")
        previous = frame
    return "".join(f"{line}\n" for line in lines)


def _weight(entry: Entry) -> tuple[bool, float]:
    """What sorts first is left out first."""
    return not isinstance(entry, Gap), entry.interval.duration


def _texts(entry: Entry) -> list[str]:
    if isinstance(entry, Gap):
        return [f"    TITLE {_quoted(label(entry))}"]
    shown = song(entry)
    texts = [f"    TITLE {_quoted(one_line(shown.title) or name(shown), mark(entry))}"]
    if shown.artists:
        texts.append(f"    PERFORMER {_quoted(', '.join(map(one_line, shown.artists)))}")
    isrc = shown.tags.isrc.upper().replace("-", "")
    return texts + ([f"    ISRC {isrc}"] if entry.kind == Kind.RECORDING and ISRC.fullmatch(isrc) else [])


def _quoted(text: str, behind: str = "") -> str:
    """In double quotes, which have no escape: those inside become single ones. Longer than allowed ends in `…`."""
    room = LETTERS - len(behind)
    text = text if len(text) <= room else text[: room - 1].rstrip() + "…"
    return '"' + (text + behind).replace('"', "'") + '"'


def _file_type(timeline: Timeline) -> str:
    return FILE_TYPES.get(Path(timeline.source).suffix.lower(), "WAVE")


def _index(frame: int) -> str:
    """mm:ss:ff; of long recordings the minutes have three digits, which players take."""
    seconds, frames = divmod(frame, FRAMES)
    return f"{seconds // 60:02}:{seconds % 60:02}:{frames:02}"
