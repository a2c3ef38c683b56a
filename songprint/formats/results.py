"""Results in Python: rows for tables of data, HTML for notebooks, and files.

The methods of `Report` and `Timeline` call these functions; `songprint.formats` registers them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from songprint import formats
from songprint.errors import MissingExtra, SongprintError
from songprint.formats import cells
from songprint.formats.entries import (
    EVERY_SOUND,
    entries,
    gap_label,
    mark,
    match_record,
    name,
    one_line,
    song,
    source_name,
    times_record,
)
from songprint.types import (
    Gap,
    Interval,
    Kind,
    Match,
    Record,
    Recording,
    Report,
    Segment,
    Timeline,
    Views,
    duration_text,
)

PICTURES = (".png", ".pdf", ".svg")
TEXT_FORMATS = {".txt": "tracklist"}  # of suffixes that several formats have
NOTEBOOK_DPI = 80  # the picture is 14 inches wide; notebooks are about 1,000 pixels wide
MAX_ROWS = 50  # of a table in a notebook

TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums"
CELL = "text-align:left;padding:.2em .8em .2em 0;vertical-align:top"


def records(result: Report | Timeline) -> list[Record]:
    """Return one row per match, or per segment and gap. All rows have the same columns."""
    if isinstance(result, Report):
        rows = [_match_record(match) for match in result.matches]
    else:
        rows = [_entry_record(entry) for entry in entries(result, EVERY_SOUND)]
    fields = sorted({column for row in rows for column in row if column.startswith(cells.FIELD_PREFIX)})
    own = ["unknown"] if isinstance(result, Timeline) else []
    return [{column: row.get(column) for column in (*cells.MATCH_COLUMNS, *own, *fields)} for row in rows]


def _match_record(match: Match) -> Record:
    whose = match.original if match.kind is Kind.COVER and match.original else match.recording
    return match_record(match, match.query, match.reference, name(whose))


def _entry_record(entry: Segment | Gap) -> Record:
    if isinstance(entry, Segment):
        return match_record(entry, entry.interval, entry.reference, name(song(entry)))
    return {**times_record(entry.interval), "kind": str(entry.sound), "unknown": entry.unknown}


def save(timeline: Timeline, path: str | Path, format: str | None = None) -> None:
    """Write a timeline to a file; without `format`, in the format of the suffix. See `Timeline.save`."""
    suffix = Path(path).suffix.lower()
    if format is None and suffix in PICTURES:
        from songprint.formats import picture  # imports the decoders of audio, which the other formats do not need

        picture.timeline(timeline, path)
        return
    content = formats.write(timeline, format or _format_of(suffix, path))
    try:
        Path(path).write_text(content, encoding="utf-8", newline="")
    except OSError as error:
        raise SongprintError(f"cannot write {path}: {error.strerror}") from error


def _format_of(suffix: str, path: str | Path) -> str:
    names = [key for key, each in formats.FORMATS.items() if each.suffix == suffix]
    if not names:
        known = sorted({*PICTURES, *(each.suffix for each in formats.FORMATS.values())})
        raise SongprintError(
            f"the suffix of {str(path)!r} names no format: use one of {', '.join(known)},"
            f" or give format=, one of {', '.join(formats.FORMATS)}"
        )
    return TEXT_FORMATS.get(suffix, names[0])


def html(result: Report | Timeline) -> str:
    """Return HTML for notebooks: a table, and the picture of a timeline if matplotlib is installed."""
    return _report_html(result) if isinstance(result, Report) else _timeline_html(result)


def _report_html(report: Report) -> str:
    source = escape(one_line(Path(report.source).name)) or "Query"
    facts = f"<p><b>{source}</b>, {duration_text(report.duration)}"
    if not report.matches:
        return f"{facts}: no match. {escape(report.reason)}</p>" + _warnings(report.warnings)
    rows = [
        (
            _named(match.recording, " (cover)" if match.kind is Kind.COVER else ""),
            f"{int(match.confidence)}%",
            _between(match.query),
            _between(match.reference),
            f"{match.speed:.3f}",
            f"{match.key_shift:+.1f}",
        )
        for match in report.matches
    ]
    header = ("recording", "confidence", "in the query", "in the recording", "speed", "key shift")
    return f"{facts}</p>" + _table(header, rows) + _warnings(report.warnings)


def _timeline_html(timeline: Timeline) -> str:
    source = escape(source_name(timeline)) or "Timeline"
    songs = len(timeline.songs)
    interrupted = "" if timeline.complete else ", interrupted; the result up to that point"
    facts = (
        f"<p><b>{source}</b>, {duration_text(timeline.duration)}, {songs} {'song' if songs == 1 else 'songs'}"
        f"{interrupted}</p>"
    )
    rows = [
        (_between(entry.interval), escape(gap_label(entry)), "", "")
        if isinstance(entry, Gap)
        else (
            _between(entry.interval),
            _named(song(entry), mark(entry)),
            f"{int(entry.confidence)}%",
            _between(entry.reference),
        )
        for entry in entries(timeline, EVERY_SOUND)
    ]
    header = ("time", "song", "confidence", "in the recording")
    return facts + _picture(timeline) + _table(header, rows) + _warnings(timeline.warnings)


def _picture(timeline: Timeline) -> str:
    from songprint.formats import picture

    try:
        drawn = base64.b64encode(picture.png(timeline, NOTEBOOK_DPI)).decode()
    except MissingExtra:
        return ""
    return f'<img alt="The timeline as a picture" style="max-width:100%" src="data:image/png;base64,{drawn}">'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; cells are HTML."""
    head = "".join(f'<th scope="col" style="{CELL}">{each}</th>' for each in header)
    body = "".join(
        "<tr>" + "".join(f'<td style="{CELL}">{cell}</td>' for cell in row) + "</tr>" for row in rows[:MAX_ROWS]
    )
    more = f"<p>and {len(rows) - MAX_ROWS:,} more</p>" if len(rows) > MAX_ROWS else ""
    return f'<table style="{TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}'


def _named(recording: Recording, suffix: str) -> str:
    return f"{escape(name(recording))}{suffix}"


def _between(interval: Interval) -> str:
    return f"{duration_text(interval.start)} to {duration_text(interval.end)}"


def _warnings(warnings: Iterable[str]) -> str:
    return "".join(f"<p>Warning: {escape(one_line(warning))}</p>" for warning in warnings)


VIEWS = Views(html, records, save)
