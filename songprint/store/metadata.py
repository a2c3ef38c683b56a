"""The metadata of recordings as a CSV table: written for spreadsheets, and read back to change many at once.

A row is about one recording. A cell that is still as the table was written changes nothing, so a table can be read
back whole, and only what was edited is changed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from songprint.audio.files import file_path
from songprint.errors import MetadataError
from songprint.formats.cells import FIELD_PREFIX, guarded, unguarded
from songprint.store import fields, places
from songprint.store.tables import max_length, recordings
from songprint.store.text import composed
from songprint.types import FieldValue, MetadataChange, MetadataReport, Recording, WrongRow

if TYPE_CHECKING:
    from songprint.store.catalog import Catalog

KEYS = ("id", "path", "isrc")  # columns that name the recording of a row; the first that is not empty counts
TAGS = ("title", "artists", "album", "isrc", "track", "year", "work")
COLUMNS = ("id", "path", "title", "artists", "album", "isrc", "track", "year", "work", "original")
DELIMITERS = ",;\t"
BYTE_ORDER_MARK = "\ufeff"  # without it, spreadsheet programs do not read UTF-8

MAX_ARTISTS = 100
MAX_ARTIST = 500  # characters
NUMBERS = {"track": range(1, 100_000), "year": range(1000, 3000)}
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}", re.ASCII)
_MAX_DIGITS = 18  # of an id: it fits into 64 bits
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0", "")
_AT_ONCE = 200  # ISRCs in one statement


def write(catalog: Catalog) -> str:
    """Write a table of all recordings, one row each, in the order of their ids.

    Artists are joined with "; ", and each user field has the column `field:NAME`. The text begins with a byte order
    mark. Text that a spreadsheet would interpret as a formula is prefixed with an apostrophe, which `read` removes.
    """
    rows = [_cells(recording) for recording in catalog.recordings()]
    names = sorted({column for row in rows for column in row if column.startswith(FIELD_PREFIX)})
    text = io.StringIO(newline="")
    text.write(BYTE_ORDER_MARK)
    table = csv.DictWriter(text, [*COLUMNS, *names], restval="")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def read(catalog: Catalog, content: bytes, *, clear_empty: bool = False, dry_run: bool = False) -> MetadataReport:
    """Change recordings as a table says: all rows in one transaction, or none if a row is wrong.

    Each row names its recording by the first of KEYS that it has. Columns that the table does not have stay as they
    are, and so do empty cells, unless `clear_empty` is set. With `dry_run`, nothing is written.

    Raises MetadataError if the content is not a table of this kind. Wrong rows are part of the report.
    """
    lines, wrong = _lines(content)
    rows = len(lines) + len(wrong)
    named = _Named(catalog, lines)
    changed: list[MetadataChange] = []
    changes: dict[int, dict[str, Any]] = {}
    line_of: dict[int, int] = {}
    original_of: dict[str, int] = {}  # work: line
    for line in lines:
        try:
            recording = named.by(line)
            if recording.id in line_of:
                raise MetadataError(f"recording {recording.id} is also in line {line_of[recording.id]}")
            line_of[recording.id] = line.number
            change = _change(recording, line.cells, clear_empty)
            work = change.get("work", recording.tags.work)
            if _boolean(line.cells.get("original", "")):
                if not work:
                    raise MetadataError("a recording without a work cannot be its original")
                if work in original_of:
                    raise MetadataError(f"line {original_of[work]} has the original of {work!r} too")
                original_of[work] = line.number
        except MetadataError as error:
            wrong.append(WrongRow(line.number, str(error)))
            continue
        if change:
            changes[recording.id] = change
            changed.append(MetadataChange(line.number, recording.id, recording.title, tuple(described(change))))
    write_now = not wrong and not dry_run
    if changes and write_now:
        catalog.edit_many(changes)
    wrong.sort(key=lambda each: each.line)
    return MetadataReport(rows, changed, wrong, written=write_now)


def described(change: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the columns that a change concerns."""
    for name, value in change.items():
        if name == "fields":
            yield from (FIELD_PREFIX + field for field in value)
        else:
            yield name


def tag(name: str, text: str) -> object:
    """Convert text to the value of a tag; empty text empties it. Raises MetadataError if it is not valid.

    >>> tag("artists", "Nina Simone; Band"), tag("year", "1965"), tag("isrc", "us-ab1-65-00001"), tag("track", "")
    (('Nina Simone', 'Band'), 1965, 'USAB16500001', None)
    """
    text = composed(text.strip())
    if name == "artists":
        return checked_artists(text.split(";"))
    if name in NUMBERS:
        return _number(name, text) if text else None
    if name == "isrc":
        isrc = re.sub(r"[\s-]", "", text).upper()
        if isrc and not _ISRC.fullmatch(isrc):
            raise MetadataError(f"{_short(text)} is not an ISRC, such as USAB16500001")
        return isrc
    longest = max_length(recordings.c[name]) or 0
    if len(text) > longest:
        raise MetadataError(f"{name} can have at most {longest:,} characters, not {len(text):,}")
    return text


def checked_artists(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of artists without empty ones. Raises MetadataError for too many or too long ones."""
    artists = tuple(filter(None, (composed(name.strip()) for name in names)))
    if len(artists) > MAX_ARTISTS:
        raise MetadataError(f"a recording can have at most {MAX_ARTISTS} artists, not {len(artists)}")
    for artist in artists:
        if len(artist) > MAX_ARTIST:
            raise MetadataError(f"an artist can have at most {MAX_ARTIST} characters, not {len(artist)}")
    return artists


@dataclass(frozen=True)
class _Line:
    """A row of a table."""

    number: int  # of its first line in the file, from 1
    cells: Mapping[str, str]  # by the name of the column


def _cells(recording: Recording) -> dict[str, str]:
    """The row of a recording, as it is written."""
    tags = recording.tags
    texts = {
        "path": recording.source,
        "title": tags.title,
        "artists": "; ".join(tags.artists),
        "album": tags.album,
        "isrc": tags.isrc,
        "work": tags.work,
    }
    return {
        "id": str(recording.id),
        **{name: guarded(text) for name, text in texts.items()},
        "track": str(tags.track or ""),
        "year": str(tags.year or ""),
        "original": fields.written(recording.original),
        **{FIELD_PREFIX + name: _field_cell(value) for name, value in recording.fields.items()},
    }


def _field_cell(value: FieldValue) -> str:
    return guarded(fields.written(value)) if isinstance(value, str) else fields.written(value)


def _lines(content: bytes) -> tuple[list[_Line], list[WrongRow]]:
    """The rows of a table, and those that cannot be read. Empty rows are left out."""
    text = _decoded(content)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    lines: list[_Line] = []
    wrong: list[WrongRow] = []
    header: list[str] = []
    started = 1
    try:
        for row in reader:
            number, started = started, reader.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = _header(row)
            elif any(cell.strip() for cell in row[len(header) :]):
                wrong.append(WrongRow(number, f"it has {len(row)} cells, and the header has {len(header)}"))
            else:  # spreadsheets leave out empty cells at the end
                cells = [*row, *[""] * (len(header) - len(row))]
                lines.append(_Line(number, dict(zip(header, cells, strict=False))))
    except csv.Error as error:
        wrong.append(WrongRow(started, f"it is not CSV: {error}"))
    if not header and not wrong:
        raise MetadataError("it is empty. The first row has the names of the columns")
    return lines, wrong


def _decoded(content: bytes) -> str:
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise MetadataError("it is not UTF-8. Spreadsheet programs save it as `CSV UTF-8`") from error


def _delimiter(text: str) -> str:
    """The delimiter with which the first row has the most known columns."""

    def known(delimiter: str) -> int:
        reader = csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=delimiter)
        try:
            return sum(_column(cell) is not None for cell in next(reader, []))
        except csv.Error:
            return 0

    return max(DELIMITERS, key=known)


def _column(cell: str) -> str | None:
    """The column that a cell of the header names; None if there is no such column."""
    name = unguarded(cell.strip())
    if name.lower().startswith(FIELD_PREFIX):
        return FIELD_PREFIX + name[len(FIELD_PREFIX) :].strip()
    return name.lower() if name.lower() in COLUMNS else None


def _header(row: Sequence[str]) -> list[str]:
    while row and not row[-1].strip():
        row = row[:-1]
    header: list[str] = []
    for cell in row:
        column = _column(cell)
        if column is None:
            raise MetadataError(
                f"there is no column {_short(cell)}. The columns are {', '.join(COLUMNS)}, and {FIELD_PREFIX}NAME for"
                " each user field"
            )
        if column in header:
            raise MetadataError(f"it has two columns {_short(column)}")
        if column.startswith(FIELD_PREFIX):
            fields.checked_name(column.removeprefix(FIELD_PREFIX))
        header.append(column)
    if not set(KEYS) & set(header):
        raise MetadataError("it needs a column that names the recording: id, path or isrc")
    return header


class _Named:
    """The recordings that the rows of a table name."""

    def __init__(self, catalog: Catalog, lines: Sequence[_Line]) -> None:
        cells: dict[str, set[str]] = {key: set() for key in KEYS}
        for line in lines:
            key, cell = _key(line)
            if key:
                cells[key].add(cell)
        ids = {int(cell) for cell in cells["id"] if _is_id(cell)}
        self._of_path: dict[str, int] = {}
        found = places.at(catalog, map(file_path, cells["path"]))
        for cell in cells["path"]:
            if place := found.get(file_path(cell)):
                self._of_path[cell] = place.recording_id
        self._of_isrc = _ids_by_isrc(catalog, cells["isrc"] | {_normal(cell) for cell in cells["isrc"]})
        chosen = {*ids, *self._of_path.values(), *(each for ids in self._of_isrc.values() for each in ids)}
        self._recordings = catalog.recordings_with(chosen)

    def by(self, line: _Line) -> Recording:
        """The recording of a row. Raises MetadataError if there is none, or more than one."""
        key, cell = _key(line)
        if key == "id":
            if not _is_id(cell):
                raise MetadataError(f"the id {_short(cell)} is not a number")
            found = [int(cell)]
        elif key == "path":
            found = [self._of_path[cell]] if cell in self._of_path else []
        elif key == "isrc":
            found = sorted({*self._of_isrc.get(cell, ()), *self._of_isrc.get(_normal(cell), ())})
        else:
            raise MetadataError("it names no recording: id, path and isrc are empty")
        present = [each for each in found if each in self._recordings]
        if not present:
            raise MetadataError(f"no recording has the {key} {_short(cell)}")
        if len(present) > 1:
            numbers = ", ".join(map(str, present[:5]))
            raise MetadataError(f"several recordings have the isrc {_short(cell)}: {numbers}. Give the id or the path")
        return self._recordings[present[0]]


def _key(line: _Line) -> tuple[str, str]:
    """The column that names the recording of a row, and its cell; two empty texts if there is none."""
    for key in KEYS:
        if cell := unguarded(line.cells.get(key, "")).strip():
            return key, cell
    return "", ""


def _is_id(cell: str) -> bool:
    return cell.isascii() and cell.isdecimal() and len(cell) <= _MAX_DIGITS


def _normal(isrc: str) -> str:
    return re.sub(r"[\s-]", "", isrc).upper()


def _ids_by_isrc(catalog: Catalog, isrcs: Iterable[str]) -> dict[str, list[int]]:
    wanted = sorted(isrcs)
    found: dict[str, list[int]] = {}
    with catalog.database.reading() as connection:
        for start in range(0, len(wanted), _AT_ONCE):
            chosen = recordings.c.isrc.in_(wanted[start : start + _AT_ONCE])
            rows = select(recordings.c.id, recordings.c.isrc).where(chosen).order_by(recordings.c.id)
            for recording_id, isrc in connection.execute(rows):
                found.setdefault(isrc, []).append(recording_id)
    return found


def _change(recording: Recording, cells: Mapping[str, str], clear_empty: bool) -> dict[str, Any]:
    """The changes of a recording that a row makes, as `Catalog.edit_many` takes them."""
    present = _cells(recording)
    change: dict[str, Any] = {}
    user_fields: dict[str, FieldValue | None] = {}
    for column, cell in cells.items():
        text = unguarded(cell).strip()
        if column in ("id", "path", "original") or cell == present.get(column, "") or not (text or clear_empty):
            continue
        if column in TAGS:
            value = tag(column, text)
            if value != getattr(recording.tags, column):
                change[column] = value
        elif text or column in present:
            user_fields[column.removeprefix(FIELD_PREFIX)] = fields.parsed(text) if text else None
    if "original" in cells and (cells["original"].strip() or clear_empty):
        original = _boolean(cells["original"])
        if original != recording.original or (original and "work" in change):
            change["original"] = original
    if user_fields:
        fields.changed(recording.fields, user_fields)
        change["fields"] = user_fields
    return change


def _boolean(cell: str) -> bool:
    text = cell.strip().lower()
    if text not in _TRUE + _FALSE:
        raise MetadataError(f"original must be true or false, not {_short(cell)}")
    return text in _TRUE


def _number(name: str, text: str) -> int:
    allowed = NUMBERS[name]
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS and int(text) in allowed):
        raise MetadataError(f"{name} must be a number from {allowed.start} to {allowed.stop - 1}, not {_short(text)}")
    return int(text)


def _short(text: str) -> str:
    """A text in a message."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
