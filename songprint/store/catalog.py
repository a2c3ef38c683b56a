"""The catalogue: recordings and their embeddings in an SQL database. Everything else is derived from it.

A recording and its embeddings of all kinds are written in one transaction, so a crash never leaves half a recording.

Every change first updates the row of the table `library` and holds its lock until the end of the transaction. So
changes of recordings run one after the other in every database, ids grow in the order in which recordings become
visible, and a reader that has seen a `revision` has seen everything before it. Changes of other tables are not
delayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    RowMapping,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError

from songprint.audio.identity import PREFIX
from songprint.errors import EncoderChanged, LibraryError, LibraryNotFound, LibraryVersionError, RecordingNotFound
from songprint.store import changes, disk, schema, tables
from songprint.store import totals as counts
from songprint.store.changes import Changes, Mark
from songprint.store.database import Result, open_database, storable
from songprint.store.fields import changed, to_json
from songprint.store.packing import StoredRows, pack_evidence, quantise, restore, to_recording, to_row, unpack_evidence
from songprint.store.tables import embeddings, encoders, library, recordings
from songprint.store.text import composed, folded
from songprint.store.timestamps import clock
from songprint.store.totals import Totals
from songprint.types import NO_FIELDS, Embeddings, Fields, Kind, KnownFile, Recording, Tags

Item = TypeVar("Item")

ORDERS = ("id", "title", "artists", "album", "year", "duration", "added_at")
FEW = 500  # matches of a search that are sorted by themselves; more are found in the order of an index
AT_ONCE = 200  # recordings read or removed by one statement; their vectors take a few MB


@dataclass(frozen=True)
class State:
    """The state of a catalogue. Indexes compare it with the state that they were built from."""

    revision: int  # grows with every change of the searchable recordings
    encoders: Mapping[Kind, str]  # the encoder of each kind that has embeddings
    schema_version: int
    identity: str = ""  # unique for each library

    def encoder_id(self, kind: Kind) -> str:
        """Return the encoder of this kind; empty while the library has no embeddings of it."""
        return self.encoders.get(kind, "")


@dataclass(frozen=True)
class Addition:
    """A recording to add, with its embeddings of every kind."""

    tags: Tags
    duration: float  # seconds
    source: str
    content_hash: str
    embeddings: Mapping[Kind, Embeddings]
    fields: Fields = NO_FIELDS

    def row(self) -> dict[str, Any]:
        """Return the columns of `recordings` except those that the database assigns."""
        return to_row(self.tags) | {
            "duration": self.duration,
            "source": storable(self.source),
            "content_hash": self.content_hash,
            "fields": to_json(self.fields),
        }

    def packed(self) -> list[dict[str, Any]]:
        """Return the rows of `embeddings`, without the id of the recording."""
        return [_packed(kind, each) for kind, each in self.embeddings.items()]


class Catalog:
    """An open catalogue. Several processes and threads may read and write it at the same time.

    `database` is the URL of a database on a server; if it is empty, the catalogue is a SQLite file in `folder`.
    Several machines may share a database, each with its own folder for the index.

    `create` makes a missing catalogue; without it LibraryNotFound is raised. On a read-only file system the catalogue
    opens for reading, and every change raises LibraryError.
    """

    def __init__(self, folder: Path, *, create: bool = False, busy_timeout: float = 30.0, database: str = "") -> None:
        self.folder = Path(folder)
        # Jobs, keys and unknown music are stored in the same database, by their own modules.
        self.database = open_database(self.folder, database, create=create, busy_timeout=busy_timeout)
        try:
            self._migrate(create)
            with disk.translated_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
        except BaseException:
            self.close()
            raise

    @property
    def readonly(self) -> bool:
        return self.database.readonly

    def change(
        self,
        work: Callable[[Connection], Result],
        *,
        affects_search: bool = True,
        changed: Callable[[Result], Iterable[int]] | None = None,
    ) -> Result:
        """Run `work` in a transaction in which nothing else changes recordings; again after a deadlock.

        `affects_search` marks changes of the searchable recordings. They raise the revision, so that every index
        is updated. `changed` returns the ids of the recordings that were added, removed or encoded, given the result
        of `work`. Without it every index compares all recordings, which is slow in a large library.
        """

        def exclusively(connection: Connection) -> Result:
            connection.execute(update(library).values(revision=library.c.revision + int(affects_search)))
            result = work(connection)
            if affects_search:
                changes.record(connection, changed(result) if changed else [changes.EVERYTHING])
                counts.keep(connection)
            return result

        return self.database.write(exclusively)

    def mark(self) -> Mark | None:
        """Return the current revision for `changes_since`; None if the log of changes does not contain it."""
        with self.database.reading() as connection:
            return changes.mark(connection)

    def changes_since(self, mark: Mark) -> Changes | None:
        """Return which recordings may have changed after `mark`; None if the log of changes does not reach back."""
        with self.database.reading() as connection:
            return changes.since(connection, mark)

    def add(
        self,
        *,
        tags: Tags,
        duration: float,
        source: str,
        content_hash: str,
        embeddings: Mapping[Kind, Embeddings],
        fields: Fields = NO_FIELDS,
        attach: Callable[[Connection, int], None] | None = None,
    ) -> Recording | KnownFile:
        """Add a recording with its embeddings of every kind. It is durable when this returns.

        `attach` writes more about the recording with this id, in the same transaction. If the library already contains
        the same sound, nothing changes and a `KnownFile` is returned.
        """
        addition = Addition(tags, duration, source, content_hash, embeddings, fields)
        row, packed = addition.row(), addition.packed()

        def write(connection: Connection) -> Recording | KnownFile:
            kept = connection.scalar(_merged_into(content_hash))
            if kept is not None:
                return KnownFile(source, kept)
            recording_id = self.insert(connection, row, packed)
            if attach:
                attach(connection, recording_id)
            return to_recording(connection.execute(select(recordings).where(recordings.c.id == recording_id)).one())

        def changed(added: Recording | KnownFile) -> list[int]:
            return [added.id] if isinstance(added, Recording) else []

        try:
            return self.change(write, changed=changed)
        except IntegrityError:
            known = self.known(content_hash)
            if known is None:
                raise
            return KnownFile(source, known)

    def add_many(self, additions: Sequence[Addition]) -> list[int]:
        """Add recordings in one transaction, which is much faster than one for each. Returns the ids of the new ones.

        Those whose sound the library contains are left out.
        """
        prepared = {each.content_hash: (each.row(), each.packed()) for each in additions}

        def write(connection: Connection) -> list[int]:
            present: set[str] = set()
            for hashes in _batches(list(prepared)):
                for table in (recordings, tables.merged):
                    found = select(table.c.content_hash).where(table.c.content_hash.in_(hashes))
                    present.update(connection.scalars(found))
            return [
                self.insert(connection, row, packed)
                for content_hash, (row, packed) in prepared.items()
                if content_hash not in present
            ]

        return self.change(write, changed=lambda added: added)

    def insert(self, connection: Connection, row: Mapping[str, Any], packed: Sequence[Mapping[str, Any]]) -> int:
        """Insert a row of `recordings` and its rows of `embeddings`, in the caller's transaction. Returns the id."""
        inserted = connection.execute(insert(recordings).values({"added_at": clock(connection), **row}))
        recording_id: int = cast(Row[Any], inserted.inserted_primary_key)[0]
        for each in packed:
            self.claim_encoder(connection, Kind(each["kind"]), each["encoder_id"])
            connection.execute(insert(embeddings).values({**each, "recording_id": recording_id}))
        counts.added(connection, [row["duration"]], packed)
        return recording_id

    def remove(self, recording_ids: Iterable[int]) -> None:
        """Remove recordings. Raises RecordingNotFound, and removes none, if one of the ids does not exist."""
        wanted = sorted(set(recording_ids))

        def write(connection: Connection) -> None:
            for ids in _batches(wanted):
                present = set(connection.scalars(select(recordings.c.id).where(recordings.c.id.in_(ids))))
                for missing in set(ids) - present:
                    raise _not_found(missing)
                counts.removed(connection, ids)
                for table in (embeddings, tables.places, tables.merged):
                    connection.execute(delete(table).where(table.c.recording_id.in_(ids)))
                for column in (tables.kept_apart.c.one, tables.kept_apart.c.other):
                    connection.execute(delete(tables.kept_apart).where(column.in_(ids)))
                connection.execute(delete(recordings).where(recordings.c.id.in_(ids)))

        self.change(write, changed=lambda _: wanted)

    def known(self, content_hash: str) -> int | None:
        """Return the id of the recording with this hash, or of the one it was merged into; None if there is none."""
        with self.database.reading() as connection:
            found: int | None = connection.scalar(
                select(recordings.c.id).where(recordings.c.content_hash == content_hash)
            )
            return connection.scalar(_merged_into(content_hash)) if found is None else found

    def has_file_hashes(self) -> bool:
        """Whether recordings of an older version are still identified by the hash of their file."""
        with self.database.reading() as connection:
            old = select(recordings.c.id).where(recordings.c.content_hash.not_like(f"{PREFIX}%")).limit(1)
            return connection.scalar(old) is not None

    def identify_by_sound(self, file_hash: str, sound: str) -> None:
        """Replace the hash of a file, by which an older version identified a recording, by the hash of its sound."""

        def write(connection: Connection) -> None:
            for table in (recordings, tables.merged):
                this = table.c.content_hash == file_hash
                connection.execute(update(table).where(this).values(content_hash=sound))

        self.change(write, affects_search=False)

    def recording(self, recording_id: int) -> Recording:
        """Return the recording with this id. Raises RecordingNotFound."""
        found = self.recordings_with([recording_id])
        if recording_id not in found:
            raise _not_found(recording_id)
        return found[recording_id]

    def recordings_with(self, recording_ids: Iterable[int]) -> dict[int, Recording]:
        """Return the recordings with these ids, without those that do not exist (any more)."""
        with self.database.reading() as connection:
            return {
                row.id: to_recording(row)
                for ids in _batches(sorted(set(recording_ids)))
                for row in connection.execute(select(recordings).where(recordings.c.id.in_(ids)))
            }

    def recordings(
        self, query: str = "", *, order: str = "id", offset: int = 0, limit: int | None = None
    ) -> list[Recording]:
        """Return the recordings whose title, artists or album contain every word of `query`.

        Case, accents and the width of characters make no difference. An empty query matches all recordings.
        `order` is one of ORDERS; a leading "-" reverses it.
        """
        wanted = select(recordings).where(self._matching(query)).order_by(*_ordering(order)).offset(offset).limit(limit)
        with self.database.reading() as connection:
            return [to_recording(row) for row in connection.execute(wanted)]

    def count(self, query: str = "") -> int:
        """Return the number of recordings that `recordings` returns without a limit."""
        with self.database.reading() as connection:
            wanted = select(func.count()).select_from(recordings).where(self._matching(query))
            return connection.execute(wanted).scalar_one()

    def page(self, query: str = "", *, order: str = "id", offset: int = 0, limit: int) -> tuple[list[Recording], int]:
        """Return at most `limit` of what `recordings` returns, from number `offset` on, and the number of all.

        It reads the searched texts once and few whole rows, so it takes less than `recordings` and `count`.
        """
        if not folded(query).split():
            ids = select(recordings.c.id).order_by(*_ordering(order)).offset(offset).limit(limit).subquery()
            with self.database.reading() as connection:
                wanted = select(recordings).join(ids, ids.c.id == recordings.c.id).order_by(*_ordering(order))
                return [to_recording(row) for row in connection.execute(wanted)], counts.read(connection).recordings
        with self.database.reading() as connection:
            found = sorted(connection.scalars(select(recordings.c.id).where(self._matching(query))))
        total = len(found)
        if order in ("id", "-id"):
            chosen = (found if order == "id" else found[::-1])[offset : offset + limit]
            rows = self.recordings_with(chosen)
            return [rows[each] for each in chosen if each in rows], total
        if total > FEW:  # the database finds a page of these without reading many others
            return self.recordings(query, order=order, offset=offset, limit=limit), total
        wanted = select(recordings).where(recordings.c.id.in_(found)).order_by(*_ordering(order))
        with self.database.reading() as connection:
            return [to_recording(row) for row in connection.execute(wanted.offset(offset).limit(limit))], total

    def edit(self, recording_id: int, changes: Mapping[str, Any]) -> Recording:
        """Change one recording, as `edit_many` does, and return it as it is then."""
        return self.edit_many({recording_id: changes})[recording_id]

    def edit_many(self, changes: Mapping[int, Mapping[str, Any]]) -> dict[int, Recording]:
        """Change recordings, given by their ids, and return them as they are then.

        Changes have the names of the fields of `Tags`; `fields`, see `songprint.store.fields.changed`; and `original`,
        which marks a recording as the only original of its work, or removes the mark. A recording that moves to
        another work is no longer the original. Raises RecordingNotFound or MetadataError, and then changes nothing.
        """

        def write(connection: Connection) -> dict[int, Recording]:
            for ids in _batches(list(changes)):
                rows = connection.execute(select(recordings).where(recordings.c.id.in_(ids))).all()
                present = {row.id: row for row in rows}
                values: dict[tuple[str, ...], list[dict[str, Any]]] = {}  # of one statement, by the changed columns
                for recording_id in ids:
                    if recording_id not in present:
                        raise _not_found(recording_id)
                    edited = _edited(present[recording_id], changes[recording_id])
                    if edited.get("original"):  # at once: a later recording of the same work removes the mark again
                        _unmark(connection, edited.get("work", present[recording_id].work))
                        connection.execute(update(recordings).where(recordings.c.id == recording_id).values(edited))
                    elif edited:
                        values.setdefault(tuple(edited), []).append(edited | {"this": recording_id})
                for each in values.values():
                    connection.execute(update(recordings).where(recordings.c.id == bindparam("this")), each)
            return {
                row.id: to_recording(row)
                for ids in _batches(list(changes))
                for row in connection.execute(select(recordings).where(recordings.c.id.in_(ids)))
            }

        return self.change(write, affects_search=False)

    def recordings_of(self, works: Iterable[str]) -> list[Recording]:
        """Return all recordings of these works, in the order in which they were added."""
        with self.database.reading() as connection:
            return [
                to_recording(row)
                for names in _batches(sorted({composed(work) for work in works if work}))
                for row in connection.execute(
                    select(recordings).where(recordings.c.work.in_(names)).order_by(recordings.c.id)
                )
            ]

    def assign(self, recording_ids: Sequence[int], work: str, original: int | None = None) -> str:
        """Assign recordings to a work and mark its original. Returns the name of the work as it is stored."""
        work = storable(composed(work), tables.max_length(recordings.c.work))

        def write(connection: Connection) -> None:
            chosen = recordings.c.id.in_(recording_ids)
            connection.execute(
                update(recordings).where(chosen, recordings.c.work != work).values(work=work, original=False)
            )
            if original is not None:
                connection.execute(
                    update(recordings).where(recordings.c.work == work).values(original=recordings.c.id == original)
                )

        self.change(write, affects_search=False)
        return work

    def embeddings(self, kind: Kind, recording_id: int) -> Embeddings:
        """Return the embeddings of one recording. Raises RecordingNotFound if there are none."""
        found = dict(self.each_embeddings(kind, [recording_id]))
        if recording_id not in found:
            raise _not_found(recording_id)
        return found[recording_id]

    def each_embeddings(
        self, kind: Kind, recording_ids: Iterable[int], *, as_stored: bool = False, evidence: bool = True
    ) -> Iterator[tuple[int, Embeddings]]:
        """Yield the embeddings of recordings in the order of their ids, with bounded memory.

        Recordings without embeddings of this kind are left out. With `as_stored`, the vectors are `StoredRows`,
        for readers of a few rows per recording. Without `evidence`, it is not read. No transaction is open between two
        batches, so a slow reader does not block writers.
        """
        columns = [column for column in embeddings.c if evidence or column is not embeddings.c.evidence]
        for ids in _batches(sorted(set(recording_ids))):
            wanted = _searchable(kind, *columns).where(embeddings.c.recording_id.in_(ids))
            with self.database.reading() as connection:
                rows = connection.execute(wanted.order_by(embeddings.c.recording_id)).mappings().all()
            yield from ((row["recording_id"], self._unpacked(row, as_stored)) for row in rows)

    def searched(self, kind: Kind, recording_ids: Iterable[int] | None = None) -> dict[int, int]:
        """Return the ids of the recordings that can be found by this kind, with the number of segments of each.

        With `recording_ids`, only those of them.
        """
        listed = _searchable(kind, embeddings.c.recording_id, embeddings.c.count)
        with self.database.reading() as connection:
            if recording_ids is None:
                return {recording_id: segments for recording_id, segments in connection.execute(listed)}
            return {
                recording_id: segments
                for ids in _batches(sorted(set(recording_ids)))
                for recording_id, segments in connection.execute(listed.where(embeddings.c.recording_id.in_(ids)))
            }

    def state(self) -> State:
        """Return the current state. It takes 0.2 ms, so every query can ask for it."""
        with self.database.reading() as connection:
            revision, version, identity = connection.execute(
                select(library.c.revision, library.c.schema_version, library.c.identity)
            ).one()
            present = connection.execute(select(encoders.c.kind, encoders.c.encoder_id))
            return State(revision, {Kind(kind): encoder_id for kind, encoder_id in present}, version, identity)

    def totals(self) -> Totals:
        """Return the number of recordings, their duration and the searchable segments of each kind. Counts nothing."""
        with self.database.reading() as connection:
            return counts.read(connection)

    def recount(self) -> None:
        """Count again what `totals` returns, unless the catalogue is read-only. It reads the whole catalogue."""
        if not self.readonly:
            self.change(counts.recount, affects_search=False)

    def dim(self, kind: Kind) -> int | None:
        """Return the dimension of the stored vectors; None if there are none."""
        with self.database.reading() as connection:
            found: int | None = connection.scalar(_searchable(kind, embeddings.c.dim).limit(1))
            return found

    def lacking(self, kind: Kind, encoder_id: str) -> list[Recording]:
        """Return the recordings without embeddings by this encoder."""
        encoded = select(embeddings.c.recording_id).where(
            embeddings.c.kind == kind.value, embeddings.c.encoder_id == encoder_id
        )
        wanted = select(recordings).where(recordings.c.id.not_in(encoded)).order_by(recordings.c.id)
        with self.database.reading() as connection:
            return [to_recording(row) for row in connection.execute(wanted)]

    def check_encoder(self, present: str, wanted: str) -> None:
        """Raise EncoderChanged if the encoder of the library is not `wanted`; the first recording sets it."""
        if present and present != wanted:
            raise EncoderChanged(
                f"the library at {self.folder} was made with the encoder {present}, but this Songprint has {wanted}."
                f" `songprint --library {self.folder} rebuild --reencode` encodes its files again"
            )

    def has_source(self, source: str) -> bool:
        """Whether a recording was added from this file."""
        with self.database.reading() as connection:
            found = connection.execute(select(recordings.c.id).where(recordings.c.source == storable(source)).limit(1))
            return found.first() is not None

    def claim_encoder(self, connection: Connection, kind: Kind, encoder_id: str) -> None:
        """Make this the encoder of the kind if it has none, in the caller's transaction. Raises EncoderChanged."""
        present = connection.scalar(select(encoders.c.encoder_id).where(encoders.c.kind == kind.value))
        self.check_encoder(present or "", encoder_id)
        if not present:
            connection.execute(insert(encoders).values(kind=kind.value, encoder_id=encoder_id))

    def add_embeddings(self, recording_id: int, made: Mapping[Kind, Embeddings]) -> None:
        """Store embeddings by another encoder. They are searched after `adopt`."""
        rows = [_packed(kind, each) | {"recording_id": recording_id} for kind, each in made.items()]

        def write(connection: Connection) -> None:
            connection.execute(insert(embeddings), rows)
            counts.added(connection, [], rows)

        self.change(write, changed=lambda _: [recording_id])

    def adopt(self, kind: Kind, encoder_id: str) -> None:
        """Make this the encoder of the library, and delete the older embeddings of the recordings it has encoded."""
        newer = (
            select(embeddings.c.recording_id)
            .where(embeddings.c.kind == kind.value, embeddings.c.encoder_id == encoder_id)
            .subquery()
        )

        def write(connection: Connection) -> None:
            connection.execute(delete(encoders).where(encoders.c.kind == kind.value))
            connection.execute(insert(encoders).values(kind=kind.value, encoder_id=encoder_id))
            older = (
                embeddings.c.kind == kind.value,
                embeddings.c.encoder_id != encoder_id,
                embeddings.c.recording_id.in_(select(newer.c.recording_id)),
            )
            counts.removed_embeddings(connection, *older)
            connection.execute(delete(embeddings).where(*older))

        self.change(write)

    def problems(self) -> list[str]:
        """Check the whole database, which reads everything, and return the errors found."""
        found = self.database.problems()
        size = func.length(embeddings.c.vectors)
        with self.database.reading() as connection:
            if counts.differ(connection):
                found.append("the counts of recordings and embeddings are wrong. `songprint rebuild` counts them again")
            rows = connection.execute(select(embeddings.c.recording_id, embeddings.c.count, embeddings.c.dim, size))
            return found + [
                f"the embeddings of recording {recording_id} are incomplete"
                for recording_id, count, dim, stored_bytes in rows
                if stored_bytes != count * dim
            ]

    def close(self) -> None:
        self.database.close()

    def _migrate(self, create: bool) -> None:
        with self.database.reading() as connection, self._named_errors():
            found = schema.version(connection)
        if found == len(schema.MIGRATIONS):
            return
        if not found and not create:
            raise LibraryNotFound(
                f"no library in {self.database.name}. Create one with `songprint --library {self.folder} add MUSIC`"
            )
        if self.readonly:
            raise LibraryError(
                f"the library at {self.database.name} was made by an older Songprint and cannot be migrated,"
                " because it is read-only"
            )
        with self.database.migrating():
            more = True
            while more:
                with self.database.writing() as connection, self._named_errors():
                    more = schema.migrate(connection)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Add the name of the database to errors of the schema."""
        try:
            yield
        except LibraryVersionError as error:
            raise LibraryVersionError(f"cannot open the library at {self.database.name}: {error}") from error
        except LibraryError as error:
            raise LibraryError(f"cannot open {self.database.name}: {error}") from error

    def _matching(self, query: str) -> ColumnElement[bool]:
        words = folded(query).split()
        return and_(true(), *(recordings.c.search.contains(word, autoescape=True) for word in words))

    def _unpacked(self, row: RowMapping, as_stored: bool) -> Embeddings:
        damaged = LibraryError(
            f"the embeddings of recording {row['recording_id']} in {self.database.name} are damaged."
            f" Remove the recording and add it again"
        )
        if len(row["vectors"]) != row["count"] * row["dim"]:
            raise damaged
        quantised = np.frombuffer(row["vectors"], dtype=np.int8).reshape(row["count"], row["dim"])
        # StoredRows offers as much of an array as the readers of single rows use.
        vectors = cast(np.ndarray, StoredRows(quantised)) if as_stored else restore(quantised)
        try:
            if "evidence" not in row:
                return Embeddings(vectors, row["hop"], row["encoder_id"])
            evidence = unpack_evidence(Kind(row["kind"]), row["evidence"] or b"")
        except ValueError as error:
            raise damaged from error
        return Embeddings(vectors, row["hop"], row["encoder_id"], evidence)


# Selects the embeddings by the current encoder of their kind.
_CURRENT_ENCODER = and_(encoders.c.kind == embeddings.c.kind, encoders.c.encoder_id == embeddings.c.encoder_id)


def _searchable(kind: Kind, *columns: Any) -> Select[Any]:
    return select(*columns).join(encoders, _CURRENT_ENCODER).where(embeddings.c.kind == kind.value)


def _ordering(order: str) -> list[ColumnElement[Any]]:
    column = recordings.c[order.removeprefix("-")]
    return [column.desc(), recordings.c.id.desc()] if order.startswith("-") else [column, recordings.c.id]


def _unmark(connection: Connection, work: str) -> None:
    """Remove the mark of the original of a work."""
    connection.execute(update(recordings).where(recordings.c.work == work).values(original=False))


def _edited(row: Row[Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a recording that changes concern."""
    before = to_recording(row)
    tags = {name: value for name, value in changes.items() if name not in ("fields", "original")}
    values = to_row(replace(before.tags, **tags)) if tags else {}
    work = values.get("work", row.work)
    if "fields" in changes:
        values["fields"] = to_json(changed(before.fields, changes["fields"]))
    if "original" in changes:
        values["original"] = changes["original"]
    elif work != row.work:
        values["original"] = False
    return values


def _merged_into(content_hash: str) -> Select[Any]:
    return select(tables.merged.c.recording_id).where(tables.merged.c.content_hash == content_hash)


def _packed(kind: Kind, made: Embeddings) -> dict[str, Any]:
    return {
        "kind": kind.value,
        "encoder_id": made.encoder_id,
        "hop": made.hop,
        "count": len(made),
        "dim": made.vectors.shape[1],
        "vectors": quantise(made.vectors).tobytes(),
        "evidence": pack_evidence(kind, made.evidence),
    }


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))


def _not_found(recording_id: int) -> RecordingNotFound:
    return RecordingNotFound(f"no recording {recording_id} in the library. `songprint list` shows all recordings")
