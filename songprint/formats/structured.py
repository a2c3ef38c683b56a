"""For programs and spreadsheets: JSON, JSON lines, CSV."""

from __future__ import annotations

import csv as csv_module
import io
import json as json_module

from songprint.formats import objects
from songprint.formats.entries import EVERY_SOUND, Entry, clock, entries, name, one_line, song
from songprint.types import Gap, Segment, Timeline

COLUMNS = (
    "from",
    "to",
    "start",
    "end",
    "kind",
    "artists",
    "title",
    "album",
    "isrc",
    "confidence",
    "reference_start",
    "reference_end",
    "speed",
    "key_shift",
    "recording_id",
    "song",
    "work",
    "unknown",
)
STARTS_A_FORMULA = "=+-@＝＋－＠"  # in one spreadsheet or another, some also in their full width


def json(timeline: Timeline) -> str:
    """Everything, as one object that people can read too."""
    return (
        objects.readable(
            json_module.dumps(objects.timeline_object(timeline), ensure_ascii=False, allow_nan=False, indent=2)
        )
        + "\n"
    )


def jsonl(timeline: Timeline) -> str:
    """A line about the whole, then one for each segment and gap in the order of time."""
    whole = objects.timeline_object(timeline)
    about = {key: value for key, value in whole.items() if key not in ("segments", "songs", "gaps")}
    lines = [{"type": "timeline", **about}]
    for entry in entries(timeline, EVERY_SOUND):
        lines.append(
            {"type": "gap", **objects.gap_object(entry)}
            if isinstance(entry, Gap)
            else {"type": "segment", **objects.segment_object(entry)}
        )
    return "".join(objects.to_json(line) + "\n" for line in lines)


def csv(timeline: Timeline) -> str:
    """A table with a row for each segment and gap, lines ended by CR LF as RFC 4180 has it.

    A text that a spreadsheet would take for a formula gets an apostrophe in front: a title is data, never a program.
    """
    text = io.StringIO(newline="")
    table = csv_module.DictWriter(text, COLUMNS, restval="")
    table.writeheader()
    for entry in entries(timeline, EVERY_SOUND):
        table.writerow({column: _cell(value) for column, value in _row(entry).items()})
    return text.getvalue()


def _row(entry: Entry) -> dict[str, str | float | int]:
    heard = entry.interval
    times = {
        "from": clock(heard.start),
        "to": clock(heard.end),
        "start": round(float(heard.start), 3),
        "end": round(float(heard.end), 3),
    }
    if isinstance(entry, Segment):
        return times | _of_a_song(entry)
    return times | {"kind": str(entry.sound), "unknown": "" if entry.unknown is None else entry.unknown}


def _of_a_song(segment: Segment) -> dict[str, str | float | int]:
    tags = segment.recording.tags
    return {
        "kind": str(segment.kind),
        "artists": ", ".join(tags.artists),
        "title": tags.title,
        "album": tags.album,
        "isrc": tags.isrc,
        "confidence": round(float(segment.confidence), 1),
        "reference_start": round(float(segment.reference.start), 3),
        "reference_end": round(float(segment.reference.end), 3),
        "speed": round(float(segment.speed), 4),
        "key_shift": round(float(segment.key_shift), 2),
        "recording_id": segment.recording.id,
        "song": name(song(segment)),
        "work": tags.work,
    }


def _cell(value: str | float | int) -> str | float | int:
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text[:1] and text[0] in STARTS_A_FORMULA else text
