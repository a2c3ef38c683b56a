"""Library files: all recordings of a library in one file, to move them to another database or version.

A library file contains metadata, files and vectors, but no audio. It is a SQLite database with its own tables, which do
not follow those of the catalogue: `manifest` describes it, `recordings` has one row with JSON and a checksum for each
recording, and `embeddings` contains vectors as the catalogue stores them, so that nothing is encoded again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, and_, func, insert, select, text

from songprint import __version__
from songprint.audio.files import stored_path
from songprint.errors import EncoderChanged, LibraryError, LibraryVersionError
from songprint.store import merging, places, tables
from songprint.store.catalog import Catalog
from songprint.store.packing import to_row
from songprint.store.tables import embeddings, encoders, recordings
from songprint.types import Kind, Tags

if TYPE_CHECKING:
    from songprint.store.store import Store

OnTransfer = Callable[[int, int], None]  # recordings done, recordings in total

FORMAT = 1  # of library files; a change that older versions cannot read raises it
APPLICATION_ID = 0x534E4750  # marks a SQLite file as a library file: "SNGP"
AT_ONCE = 50  # recordings read by one statement
BATCH_BYTES = 8_000_000  # of embeddings written by one transaction
EMBEDDING = ("kind", "encoder_id", "hop", "count", "dim", "vectors", "evidence")
_NOT_COPIED = {"id", "search"}  # the id may change, and `search` is computed from the tags

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
CREATE TABLE apart (one INTEGER NOT NULL, other INTEGER NOT NULL, PRIMARY KEY (one, other));
CREATE TABLE manifest (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE folders (path TEXT PRIMARY KEY, recursive INTEGER NOT NULL);
CREATE TABLE recordings (
    id INTEGER PRIMARY KEY, content_hash TEXT NOT NULL, facts TEXT NOT NULL, checksum BLOB NOT NULL
);
CREATE TABLE embeddings (
    recording_id INTEGER NOT NULL, kind TEXT NOT NULL, encoder_id TEXT NOT NULL, hop REAL NOT NULL,
    count INTEGER NOT NULL, dim INTEGER NOT NULL, vectors BLOB NOT NULL, evidence BLOB,
    PRIMARY KEY (recording_id, kind)
);
"""


@dataclass(frozen=True)
class ExportReport:
    """The result of an export."""

    path: Path
    recordings: int
    size: int  # bytes


@dataclass(frozen=True)
class ImportReport:
    """The result of an import."""

    added: int
    known: int  # recordings that were in the library before, by their sound
    # The new ids of added recordings that could not keep theirs, by the ids in the file.
    new_ids: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Item:
    """A recording of a library file."""

    id: int
    content_hash: str
    row: dict[str, Any]  # columns of `recordings`
    places: list[dict[str, Any]]
    merged: list[dict[str, Any]]  # the sounds and former ids of recordings that were merged into it
    embeddings: list[dict[str, Any]]

    @property
    def size(self) -> int:
        return sum(len(each["vectors"]) + len(each["evidence"] or b"") for each in self.embeddings)


def export(store: Store, path: str | Path, on_progress: OnTransfer | None = None) -> ExportReport:
    """Write all recordings of a library to a new file.

    Only embeddings by the current encoders are written. The file appears under its name when it is complete. Raises
    LibraryError if it exists or cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise LibraryError(f"{path} exists already. Give another name, or remove it first")
    partial = path.with_name(path.name + ".part")
    try:
        with _written(path, partial) as file:
            count = _export(store.catalog, file, on_progress)
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        size = partial.stat().st_size
        os.replace(partial, path)
    except OSError as error:
        raise LibraryError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return ExportReport(path, count, size)


def import_(store: Store, path: str | Path, on_progress: OnTransfer | None = None) -> ImportReport:
    """Add all recordings of a library file whose sound is not in the library yet.

    A recording is added as a whole or not at all, and what was added stays after an interruption. A recording keeps its
    id if the library has no recording with this or a higher id. A path that already belongs to a recording of the
    library keeps belonging to it.

    Raises LibraryVersionError for a file of a newer version, EncoderChanged for one of another encoder, and
    LibraryError for a damaged one.
    """
    path = Path(path)
    added = done = 0
    new_ids: dict[int, int] = {}
    with _opened(path) as file:
        manifest = _manifest(path, file)
        _check_encoders(store, path, manifest)
        total = int(manifest["recordings"])
        for found in _batches(file):
            present = _present(store.catalog, found.values())
            wanted = [recording_id for recording_id, sound in found.items() if sound not in present]
            for batch in _by_size(_item(path, file, recording_id) for recording_id in wanted):
                assigned = _add(store.catalog, batch)
                added += len(assigned)
                new_ids |= {before: after for before, after in assigned.items() if before != after}
            done += len(found)
            if on_progress:
                on_progress(done, total)
        for folder, recursive in file.execute("SELECT path, recursive FROM folders"):
            if folder not in places.remembered_folders(store.catalog):
                places.remember_folder(store.catalog, folder, recursive=bool(recursive))
        _take_decisions(store.catalog, file)
    store.tidy()
    return ImportReport(added, done - added, new_ids)


# Writing


@contextmanager
def _written(path: Path, partial: Path) -> Iterator[sqlite3.Connection]:
    """Open a new library file for writing."""
    partial.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(partial, isolation_level=None)) as file:
            # An interrupted export is deleted, so nothing needs a journal.
            file.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
            yield file
    except sqlite3.Error as error:
        raise LibraryError(f"cannot write {path}: {error}. Is there enough space?") from error


def _export(catalog: Catalog, file: sqlite3.Connection, on_progress: OnTransfer | None) -> int:
    """Write the content of a library file. Returns the number of recordings."""
    with catalog.database.reading() as connection:
        ids = list(connection.scalars(select(recordings.c.id).order_by(recordings.c.id)))
    count = 0
    for start in range(0, len(ids), AT_ONCE):
        file.execute("BEGIN")
        for row, its_places, its_merged, its_embeddings in _stored(catalog, ids[start : start + AT_ONCE]):
            facts = _facts(row, its_places, its_merged)
            checksum = _checksum(facts, its_embeddings)
            file.execute("INSERT INTO recordings VALUES (?, ?, ?, ?)", (row.id, row.content_hash, facts, checksum))
            file.executemany(
                "INSERT INTO embeddings VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [(row.id, *each) for each in its_embeddings]
            )
            count += 1
        file.execute("COMMIT")
        if on_progress:
            on_progress(min(len(ids), start + AT_ONCE), len(ids))
    state = catalog.state()
    manifest = {
        "songprint": __version__,
        "schema": state.schema_version,
        "library": state.identity,
        "encoders": json.dumps({kind.value: encoder_id for kind, encoder_id in state.encoders.items()}),
        "recordings": count,
    }
    file.execute("BEGIN")
    file.executemany(
        "INSERT INTO folders VALUES (?, ?)",
        [(stored_path(path), recursive) for path, recursive in places.remembered_folders(catalog).items()],
    )
    file.executemany("INSERT INTO apart VALUES (?, ?)", sorted(merging.apart(catalog)))
    file.executemany("INSERT INTO manifest VALUES (?, ?)", [(name, str(value)) for name, value in manifest.items()])
    file.execute("COMMIT")
    return count


def _stored(
    catalog: Catalog, ids: Sequence[int]
) -> Iterator[tuple[Row[Any], list[dict[str, Any]], list[dict[str, Any]], list[tuple[Any, ...]]]]:
    """Yield these recordings, in one consistent state, with what the file stores of each.

    These are its places, the recordings that were merged into it, and its embeddings.
    """
    current = and_(encoders.c.kind == embeddings.c.kind, encoders.c.encoder_id == embeddings.c.encoder_id)
    vectors = select(embeddings.c.recording_id, *(embeddings.c[name] for name in EMBEDDING)).join(encoders, current)
    with catalog.database.reading() as connection:
        rows = connection.execute(select(recordings).where(recordings.c.id.in_(ids)).order_by(recordings.c.id)).all()
        of_places: dict[int, list[dict[str, Any]]] = {row.id: [] for row in rows}
        wanted = select(tables.places).where(tables.places.c.recording_id.in_(ids)).order_by(tables.places.c.path)
        for place in connection.execute(wanted).mappings():
            copied = {name: value for name, value in place.items() if name not in ("recording_id", "path_hash")}
            of_places[place["recording_id"]].append(copied)
        of_merged: dict[int, list[dict[str, Any]]] = {row.id: [] for row in rows}
        wanted = select(tables.merged).where(tables.merged.c.recording_id.in_(ids)).order_by(tables.merged.c.merged_id)
        for each in connection.execute(wanted).mappings():
            copied = {"content_hash": each["content_hash"], "merged_id": each["merged_id"]}
            of_merged[each["recording_id"]].append(copied)
        of_vectors: dict[int, list[tuple[Any, ...]]] = {row.id: [] for row in rows}
        wanted = vectors.where(embeddings.c.recording_id.in_(ids)).order_by(embeddings.c.kind)
        for recording_id, *values in connection.execute(wanted):
            of_vectors[recording_id].append(tuple(values))
    for row in rows:
        yield row, of_places[row.id], of_merged[row.id], of_vectors[row.id]


def _facts(row: Row[Any], its_places: list[dict[str, Any]], its_merged: list[dict[str, Any]]) -> str:
    copied = {name: value for name, value in row._mapping.items() if name not in _NOT_COPIED}
    return json.dumps({"recording": copied, "places": its_places, "merged": its_merged})


def _checksum(facts: str, its_embeddings: Sequence[tuple[Any, ...]]) -> bytes:
    total = hashlib.sha256(facts.encode())
    for kind, encoder_id, hop, count, dim, vectors, evidence in sorted(its_embeddings, key=lambda each: str(each[0])):
        total.update(json.dumps([kind, encoder_id, hop, count, dim, len(vectors)]).encode())
        total.update(vectors)
        total.update(evidence or b"")
    return total.digest()


# Reading


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a library file for reading. Errors of SQLite inside become errors about a damaged file."""
    if not path.is_file():
        raise LibraryError(f"there is no file {path}. `songprint library export {path}` writes one")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as file:
            file.execute("PRAGMA trusted_schema = OFF")
            yield file
    except sqlite3.Error as error:
        if "not a database" in str(error):
            raise _foreign(path) from error
        raise _damaged(path, str(error)) from error


def _manifest(path: Path, file: sqlite3.Connection) -> dict[str, str]:
    """Check the format of a library file, and return its manifest."""
    ((application_id,),) = file.execute("PRAGMA application_id")
    ((found,),) = file.execute("PRAGMA user_version")
    if application_id != APPLICATION_ID:
        raise _foreign(path)
    manifest: dict[str, str] = {}
    if found <= FORMAT:
        manifest = dict(file.execute("SELECT name, value FROM manifest"))
        ((count,),) = file.execute("SELECT count(*) FROM recordings")
        if manifest.get("recordings") != str(count) or "encoders" not in manifest:
            raise _damaged(path, f"it has {count} recordings of {manifest.get('recordings', 'an unknown number')}")
        return manifest
    raise LibraryVersionError(
        f"{path} has format {found}, and this Songprint reads formats up to {FORMAT}. Upgrade with"
        " `pip install --upgrade songprint`"
    )


def _check_encoders(store: Store, path: Path, manifest: Mapping[str, str]) -> None:
    """Raise EncoderChanged unless the library can search the vectors of the file."""
    store.check_encoders()
    present = {kind.value: encoder_id for kind, encoder_id in store.catalog.state().encoders.items()}
    present |= {level.kind.value: level.spec.id for level in store.levels.values()}
    for kind, encoder_id in json.loads(manifest["encoders"]).items():
        if kind not in set(Kind):
            raise LibraryVersionError(
                f"{path} contains vectors of kind {kind!r}, which this Songprint does not support. Upgrade with"
                " `pip install --upgrade songprint`"
            )
        if present.get(kind, encoder_id) != encoder_id:
            raise EncoderChanged(
                f"{path} was made with the encoder {encoder_id} (Songprint {manifest.get('songprint', '')}), but this"
                f" library uses {present[kind]}. Import it with the version that made it, upgrade, and run"
                " `songprint rebuild --reencode`; or encode the exported library again first, and export it again"
            )


def _batches(file: sqlite3.Connection) -> Iterator[dict[int, str]]:
    """Yield the ids and the hashes of the sound of all recordings of a library file, in the order of their ids."""
    last = -1
    while found := dict(
        file.execute(
            "SELECT id, content_hash FROM recordings WHERE id > ? ORDER BY id LIMIT ?", (last, AT_ONCE)
        ).fetchall()
    ):
        yield found
        last = max(found)


def _item(path: Path, file: sqlite3.Connection, recording_id: int) -> _Item:
    """Read a recording of a library file. Raises LibraryError if its content does not match its checksum."""
    this = (recording_id,)
    content_hash, facts, checksum = file.execute(
        "SELECT content_hash, facts, checksum FROM recordings WHERE id = ?", this
    ).fetchone()
    columns = ", ".join(EMBEDDING)
    rows = file.execute(f"SELECT {columns} FROM embeddings WHERE recording_id = ?", this).fetchall()
    try:
        if _checksum(facts, rows) != checksum:
            raise ValueError("its content does not match its checksum")
        parsed = json.loads(facts)
        row, known = parsed["recording"], {column.name for column in recordings.c} - _NOT_COPIED
        tags = {each.name: row[each.name] for each in fields(Tags)} | {"artists": tuple(json.loads(row["artists"]))}
        values = {name: value for name, value in row.items() if name in known} | to_row(Tags(**tags))
        its_embeddings = [dict(zip(EMBEDDING, each, strict=True)) for each in rows]
        if values["content_hash"] != content_hash or any(
            len(each["vectors"]) != each["count"] * each["dim"] for each in its_embeddings
        ):
            raise ValueError("its content is incomplete")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(path, f"recording {recording_id}: {error}") from error
    return _Item(recording_id, content_hash, values, parsed["places"], parsed["merged"], its_embeddings)


def _by_size(items: Iterator[_Item]) -> Iterator[list[_Item]]:
    """Collect recordings into batches for one transaction each."""
    batch: list[_Item] = []
    for item in items:
        batch.append(item)
        if sum(each.size for each in batch) >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _present(catalog: Catalog, sounds: Iterable[str]) -> set[str]:
    """Return those sounds that the library contains."""
    with catalog.database.reading() as connection:
        return _present_in(connection, sounds)


def _present_in(connection: Connection, sounds: Iterable[str]) -> set[str]:
    wanted = list(sounds)
    return {
        sound
        for column in (recordings.c.content_hash, tables.merged.c.content_hash)
        for sound in connection.scalars(select(column).where(column.in_(wanted)))
    }


def _add(catalog: Catalog, batch: Sequence[_Item]) -> dict[int, int]:
    """Add recordings in one transaction, and return their new ids by their ids in the file.

    Those that another process added meanwhile are left out.
    """

    def write(connection: Connection) -> dict[int, int]:
        present = _present_in(connection, [item.content_hash for item in batch])
        highest: int = connection.execute(select(func.coalesce(func.max(recordings.c.id), 0))).scalar_one()
        assigned: dict[int, int] = {}
        for item in batch:
            if item.content_hash in present:
                continue
            values = item.row | ({"id": item.id} if item.id > highest else {})
            recording_id = catalog.insert(connection, values, item.embeddings)
            highest = max(highest, recording_id)
            places.restore(connection, recording_id, item.places)
            known = _present_in(connection, [each["content_hash"] for each in item.merged])
            for each in item.merged:
                if each["content_hash"] not in known:
                    values = {name: each[name] for name in ("content_hash", "merged_id")}
                    connection.execute(insert(tables.merged).values(values | {"recording_id": recording_id}))
            assigned[item.id] = recording_id
        _continue_after(connection, highest)
        return assigned

    return catalog.change(write, changed=lambda assigned: assigned.values())


def _take_decisions(catalog: Catalog, file: sqlite3.Connection) -> None:
    """Keep those recordings apart that are kept apart in the library of the file."""
    sounds = "(SELECT content_hash FROM recordings WHERE id = apart.{})"
    pairs = []
    for one, other in file.execute(f"SELECT {sounds.format('one')}, {sounds.format('other')} FROM apart"):
        ids = [catalog.known(sound) for sound in (one, other) if sound is not None]
        if len(ids) == 2 and ids[0] is not None and ids[1] is not None:
            pairs.append((ids[0], ids[1]))
    if pairs:
        catalog.change(lambda connection: merging.put_apart(connection, pairs), affects_search=False)


def _continue_after(connection: Connection, highest: int) -> None:
    """Make PostgreSQL assign ids above `highest`: there, given ids do not advance the sequence."""
    if connection.dialect.name != "postgresql":
        return
    sequence = connection.scalar(text("SELECT pg_get_serial_sequence('recordings', 'id')"))
    if highest > connection.scalar(text(f"SELECT last_value FROM {sequence}")):
        connection.execute(text("SELECT setval(:sequence, :highest)"), {"sequence": sequence, "highest": highest})


def _foreign(path: Path) -> LibraryError:
    return LibraryError(f"{path} is not a library file. `songprint library export FILE` writes library files")


def _damaged(path: Path, reason: str) -> LibraryError:
    return LibraryError(
        f"{path} is damaged: {reason}. Copy or export it again; what was imported before the damage stays"
    )
