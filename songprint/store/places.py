"""Places: the files in which the recordings of a library are, as facts about recordings that may change.

A recording is its sound. A file at a path has a size, a time of its last change and tags; all of them change while
the recording stays the same. Several files with the same sound are places of one recording. A recording whose last
file has gone stays in the library, marked as missing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from songprint.audio.files import file_path, stored_path
from songprint.store.packing import to_recording, to_row
from songprint.store.tables import folders, places, recordings
from songprint.store.timestamps import clock, iso
from songprint.types import FileState, Tags

if TYPE_CHECKING:
    from songprint.store.catalog import Catalog


@dataclass(frozen=True)
class Place:
    """A file of a recording, as it was when it was last read."""

    path: str
    recording_id: int
    state: FileState
    tags: Tags
    missing_since: str = ""  # UTC, ISO 8601; empty while the file exists


def under(catalog: Catalog, roots: Iterable[str]) -> dict[str, Place]:
    """Return the places in these folders, by their paths; a root may also be a file."""
    found: dict[str, Place] = {}
    with catalog.database.reading() as connection:
        for root in roots:
            stored = stored_path(root)
            inside = stored.rstrip(os.sep) + os.sep
            wanted = places.c.path.startswith(inside, autoescape=True)
            for row in connection.execute(select(places).where((places.c.path == stored) | wanted)):
                if row.path == stored or row.path.startswith(inside):  # LIKE ignores the case in some databases
                    place = _to_place(row)
                    found[place.path] = place
    return found


def everywhere(catalog: Catalog) -> list[Place]:
    """Return all places of the library, in the order of their paths."""
    with catalog.database.reading() as connection:
        return [_to_place(row) for row in connection.execute(select(places).order_by(places.c.path))]


def at(catalog: Catalog, paths: Iterable[str]) -> dict[str, Place]:
    """Return the places at these paths, by their paths."""
    keys = [path_key(stored_path(path)) for path in paths]
    found: dict[str, Place] = {}
    with catalog.database.reading() as connection:
        for start in range(0, len(keys), _AT_ONCE):
            chosen = places.c.path_hash.in_(keys[start : start + _AT_ONCE])
            for row in connection.execute(select(places).where(chosen)):
                place = _to_place(row)
                found[place.path] = place
    return found


def of(catalog: Catalog, recording_id: int) -> list[Place]:
    """Return the places of a recording, in the order of their paths."""
    with catalog.database.reading() as connection:
        rows = connection.execute(
            select(places).where(places.c.recording_id == recording_id).order_by(places.c.path)
        ).all()
    return [_to_place(row) for row in rows]


def assign(
    catalog: Catalog, recording_id: int, path: str, state: FileState, tags: Tags, *, moved_from: str = ""
) -> None:
    """Make the file at `path` a place of a recording; `moved_from` is its former path.

    The tags of a recording follow those of its file, of the first one if it has several: a field changes when the file
    changes it. So what a user edited stays until the file itself is tagged anew. A recording that loses its last place
    is missing from now on.
    """

    def write(connection: Connection) -> None:
        before, former = _row(connection, path), _row(connection, moved_from) if moved_from else None
        _put(connection, recording_id, path, state, tags)
        if former is not None and moved_from != path:
            connection.execute(delete(places).where(places.c.path_hash == former.path_hash))
            this = (recordings.c.id == recording_id) & (recordings.c.source == former.path)
            connection.execute(update(recordings).where(this).values(source=stored_path(path)))
        read = former if former is not None else before
        retagged = (
            read is not None
            and read.recording_id == recording_id
            and (read.size, read.modified) != (state.size, state.modified)
        )
        _settle(connection, recording_id, retagged=stored_path(path) if retagged else "")
        for row in (before, former):
            if row is not None and row.recording_id != recording_id:
                _settle(connection, row.recording_id)

    catalog.change(write, affects_search=False)


def attach(connection: Connection, recording_id: int, path: str, state: FileState, tags: Tags) -> None:
    """Make the file at `path` the place of a new recording, in the caller's transaction."""
    before = _row(connection, path)
    _put(connection, recording_id, path, state, tags)
    this = recordings.c.id == recording_id
    connection.execute(update(recordings).where(this).values(file_tags=_to_json(tags)))
    if before is not None:
        _settle(connection, before.recording_id)


def move(connection: Connection, former: Iterable[int], recording_id: int) -> None:
    """Give the files of other recordings to this one, in the caller's transaction. Its tags stay."""
    connection.execute(update(places).where(places.c.recording_id.in_(list(former))).values(recording_id=recording_id))
    rows = connection.execute(select(places).where(places.c.recording_id == recording_id).order_by(places.c.path)).all()
    present = [row for row in rows if row.missing_since is None]
    this = recordings.c.id == recording_id
    source = connection.scalar(select(recordings.c.source).where(this))
    if present:  # tags that differ from those of its file are no change of the file
        chosen = next((row for row in present if row.path == source), present[0])
        connection.execute(update(recordings).where(this).values(file_tags=chosen.tags))
    if rows:
        _settle(connection, recording_id)


def restore(connection: Connection, recording_id: int, rows: Iterable[Mapping[str, Any]]) -> None:
    """Give a new recording places from another library, in the caller's transaction.

    Each of `rows` has the columns of a place. Paths that are places of other recordings are left out; a recording
    without any other place is then missing.
    """
    taken = False
    for row in rows:
        key = path_key(row["path"])
        if connection.scalar(select(places.c.recording_id).where(places.c.path_hash == key)) is not None:
            taken = True
            continue
        values = {name: row.get(name) for name in ("path", "size", "modified", "tags", "missing_since")}
        connection.execute(insert(places).values(values | {"path_hash": key, "recording_id": recording_id}))
    if taken:
        _settle(connection, recording_id)


def mark_missing(catalog: Catalog, paths: Iterable[str]) -> None:
    """Record that the files at these paths no longer exist."""
    keys = [path_key(stored_path(path)) for path in paths]

    def write(connection: Connection) -> None:
        touched: set[int] = set()
        for start in range(0, len(keys), _AT_ONCE):
            chosen = places.c.path_hash.in_(keys[start : start + _AT_ONCE])
            touched.update(connection.scalars(select(places.c.recording_id).where(chosen)))
            connection.execute(update(places).where(chosen).values(missing_since=clock(connection)))
        for recording_id in touched:
            _settle(connection, recording_id)

    if keys:
        catalog.change(write, affects_search=False)


def missing(catalog: Catalog) -> list[int]:
    """Return the ids of the recordings of which no file exists any more."""
    with catalog.database.reading() as connection:
        return list(
            connection.scalars(
                select(recordings.c.id).where(recordings.c.missing_since.is_not(None)).order_by(recordings.c.id)
            )
        )


def remember_folder(catalog: Catalog, path: str, *, recursive: bool) -> None:
    """Remember a folder whose files the library follows."""
    stored = stored_path(path)
    key = path_key(stored)

    def write(connection: Connection) -> None:
        connection.execute(delete(folders).where(folders.c.path_hash == key))
        connection.execute(insert(folders).values(path_hash=key, path=stored, recursive=recursive))

    if remembered_folders(catalog).get(path) != recursive:
        catalog.change(write, affects_search=False)


def remembered_folders(catalog: Catalog) -> dict[str, bool]:
    """Return the folders that the library follows, and whether their subfolders belong to them."""
    with catalog.database.reading() as connection:
        rows = connection.execute(select(folders).order_by(folders.c.path)).all()
    return {file_path(row.path): bool(row.recursive) for row in rows}


_AT_ONCE = 200  # paths in one statement


def path_key(stored: str) -> str:
    """Return the key of a stored path in tables that are indexed by path."""
    return hashlib.sha256(stored.encode()).hexdigest()


def _row(connection: Connection, path: str) -> Row[Any] | None:
    return connection.execute(select(places).where(places.c.path_hash == path_key(stored_path(path)))).first()


def _put(connection: Connection, recording_id: int, path: str, state: FileState, tags: Tags) -> None:
    stored = stored_path(path)
    key = path_key(stored)
    connection.execute(delete(places).where(places.c.path_hash == key))
    connection.execute(
        insert(places).values(
            path_hash=key,
            path=stored,
            recording_id=recording_id,
            size=state.size,
            modified=state.modified,
            tags=_to_json(tags),
            missing_since=None,
        )
    )


def _settle(connection: Connection, recording_id: int, *, retagged: str = "") -> None:
    """Bring a recording into step with its places: its source, its tags, and whether it is missing.

    `retagged` is the path of a file that was written since it was last read.
    """
    this = recordings.c.id == recording_id
    rows = connection.execute(select(places).where(places.c.recording_id == recording_id).order_by(places.c.path)).all()
    present = {row.path: row for row in rows if row.missing_since is None}
    recording = connection.execute(select(recordings).where(this)).one()
    if not present:
        since = recording.missing_since or clock(connection)
        connection.execute(update(recordings).where(this).values(missing_since=since))
        return
    source = recording.source if recording.source in present else next(iter(present))
    values = _carried_over(recording, _tags(present[source].tags), by_file=source == retagged)
    connection.execute(
        update(recordings)
        .where(this)
        .values({**values, "missing_since": None, "source": source, "file_tags": present[source].tags})
    )
    # Places that are gone are of no use once the recording has another one.
    connection.execute(delete(places).where(places.c.recording_id == recording_id, places.c.missing_since.is_not(None)))


def _carried_over(row: Row[Any], tags: Tags, *, by_file: bool) -> dict[str, Any]:
    """The columns of a recording that change because its file now has these tags.

    Without `by_file`, only the path changed, and with it perhaps a title that was read from it: that does not replace
    what a user wrote.
    """
    current = to_recording(row).tags
    before = _tags(row.file_tags) if row.file_tags is not None else current
    changes = {
        field.name: getattr(tags, field.name)
        for field in fields(Tags)
        if getattr(tags, field.name) != getattr(before, field.name)
        and (by_file or getattr(current, field.name) == getattr(before, field.name))
    }
    if not changes:
        return {}
    values = to_row(replace(current, **changes))
    return values if values["work"] == row.work else values | {"original": False}


def _to_json(tags: Tags) -> str:
    return json.dumps({name: value for name, value in vars(tags).items() if value}, ensure_ascii=True)


def _to_place(row: Row[Any]) -> Place:
    return Place(
        file_path(row.path),
        row.recording_id,
        FileState(row.size, row.modified),
        _tags(row.tags),
        iso(row.missing_since),
    )


def _tags(stored: str) -> Tags:
    values: dict[str, Any] = json.loads(stored)
    return Tags(**values | {"artists": tuple(values.get("artists", ()))})
