"""Timelines for programs and spreadsheets: JSON, JSON lines and CSV."""

from __future__ import annotations

import csv as csv_module
import io
import json as json_module
from typing import Any, cast

from songprint.errors import SongprintError
from songprint.formats import cells, objects, schema
from songprint.formats.entries import (
    EVERY_SOUND,
    Entry,
    clock,
    entries,
    match_record,
    name,
    one_line,
    song,
    times_record,
)
from songprint.types import FieldValue, Gap, Record, Segment, Timeline

COLUMNS = ("from", "to", *cells.MATCH_COLUMNS, "unknown")


def json(timeline: Timeline) -> str:
    """Write the whole timeline as one indented object."""
    return (
        objects.readable(
            json_module.dumps(objects.timeline_object(timeline), ensure_ascii=False, allow_nan=False, indent=2)
        )
        + "\n"
    )


def jsonl(timeline: Timeline) -> str:
    """Write one object for the timeline, then one per segment and gap, ordered by start."""
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


def read(text: str, name: str) -> list[Timeline]:
    """Read timelines that were written as JSON or JSON lines, or that are the results of jobs.

    The text may contain several, one per line. `name` is that of the file, for messages.
    Raises SongprintError if the text contains no timeline, or a damaged one.
    """
    try:
        values = [json_module.loads(text)]
    except ValueError:
        try:
            values = [json_module.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise SongprintError(f"{name} is not JSON: {error}") from error
    found: list[dict[str, Any]] = []
    try:
        for value in values:
            if value.get("type") == "timeline":  # of `jsonl`; its segments and gaps follow
                found.append({**value, "segments": [], "gaps": []})
            elif value.get("type") in ("segment", "gap"):
                found[-1][f"{value['type']}s"].append(value)
            else:
                found.append(value.get("result", value))
        timelines = [objects.timeline_from_object(cast(schema.Timeline, value)) for value in found]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise SongprintError(
            f"{name} contains no timeline: it takes the output of `songprint scan --json` or of a finished job"
        ) from error
    if not timelines:
        raise SongprintError(f"{name} is empty")
    return timelines


def csv(timeline: Timeline) -> str:
    """Write a table with one row per segment and gap. Lines end with CR LF (RFC 4180).

    User fields of the recordings have columns of their own after the others. Texts that a spreadsheet would interpret
    as formulas are prefixed with an apostrophe.
    """
    text = io.StringIO(newline="")
    names = sorted({name for segment in timeline.segments for name in segment.recording.fields})
    header = [*COLUMNS, *(cells.FIELD_PREFIX + name for name in names)]
    table = csv_module.DictWriter(text, header, restval="")
    table.writeheader()
    for entry in entries(timeline, EVERY_SOUND):
        table.writerow({column: _cell(value) for column, value in _row(entry).items()})
    return text.getvalue()


def _row(entry: Entry) -> Record:
    interval = entry.interval
    clocks: Record = {"from": clock(interval.start), "to": clock(interval.end)}
    if isinstance(entry, Segment):
        found = match_record(entry, interval, entry.reference, name(song(entry)))
        return clocks | {column: _plain(value) for column, value in found.items()}
    unknown = "" if entry.unknown is None else entry.unknown
    return clocks | times_record(interval) | {"kind": str(entry.sound), "unknown": unknown}


def _plain(value: FieldValue | None) -> str | float | int | None:
    return str(value).lower() if isinstance(value, bool) else value


def _cell(value: str | float | int | None) -> str | float | int | None:
    if not isinstance(value, str):
        return value
    return cells.guarded(one_line(value))
