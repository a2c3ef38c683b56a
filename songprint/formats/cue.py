"""CUE sheets: the long recording as an album whose tracks are its songs.

The format contains no end times, so gaps are tracks as well. Otherwise each song would appear to last until the next.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from songprint.formats.entries import EVERY_SOUND, Entry, entries, label, mark, name, one_line, song, source_name
from songprint.types import Gap, Kind, Timeline

MAX_TRACKS = 99  # limit of the format
FRAMES_PER_SECOND = 75
MAX_TEXT_LENGTH = 80  # characters
MIN_GAP = 2.0  # seconds; shorter gaps are not tracks
# File types by suffix; every other file is declared as WAVE.
FILE_TYPES = {".mp3": "MP3", ".mp2": "MP3", ".aif": "AIFF", ".aiff": "AIFF"}
ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")

logger = logging.getLogger(__name__)


def sheet(timeline: Timeline) -> str:
    """Write a CUE sheet. Beyond 99 tracks, the shortest gaps and then the shortest songs are omitted with a warning."""
    wanted = [
        entry
        for entry in entries(timeline, EVERY_SOUND)
        if not isinstance(entry, Gap) or entry.interval.duration >= MIN_GAP
    ]
    ranks = sorted(range(len(wanted)), key=lambda position: _importance(wanted[position]))
    tracks = [wanted[position] for position in sorted(ranks[-MAX_TRACKS:])]
    lines = [f"FILE {_quoted(source_name(timeline) or 'audio')} {_file_type(timeline)}"]
    if len(wanted) > MAX_TRACKS:
        omitted = f"{len(wanted) - MAX_TRACKS} of {len(wanted)} tracks are omitted: a CUE sheet allows {MAX_TRACKS}"
        logger.warning("%s", omitted)
        lines.insert(0, f"REM COMMENT {_quoted(omitted)}")
    previous = -1
    for number, entry in enumerate(tracks, start=1):
        frame = max(previous + 1, round(max(0.0, entry.interval.start) * FRAMES_PER_SECOND))  # starts must differ
        lines += [f"  TRACK {number:02} AUDIO", *_texts(entry)]
        if number == 1 and frame > 0:
            lines.append("    INDEX 00 00:00:00")  # the part before the first track is its pregap
        lines.append(f"    INDEX 01 {_index(frame)}")
        previous = frame
    return "".join(f"{line}\n" for line in lines)


def _importance(entry: Entry) -> tuple[bool, float]:
    """Sort key; entries with the lowest importance are omitted first."""
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


def _quoted(text: str, suffix: str = "") -> str:
    """Quote a text. Double quotes cannot be escaped and become single ones; long texts are cut before the suffix."""
    room = MAX_TEXT_LENGTH - len(suffix)
    text = text if len(text) <= room else text[: room - 1].rstrip() + "…"
    return '"' + (text + suffix).replace('"', "'") + '"'


def _file_type(timeline: Timeline) -> str:
    return FILE_TYPES.get(Path(timeline.source).suffix.lower(), "WAVE")


def _index(frame: int) -> str:
    """mm:ss:ff. Beyond 99 minutes there are three digits, which players accept."""
    seconds, frames = divmod(frame, FRAMES_PER_SECOND)
    return f"{seconds // 60:02}:{seconds % 60:02}:{frames:02}"
