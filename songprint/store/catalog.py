"""The catalogue: recordings and their embeddings, in SQL. It is the truth; all else is derived from it.

A recording and its embeddings of all kinds are written in one transaction, so it is there as a whole or not at
all, whatever happens to the process or the machine. What they take is told in `store/packing.py`.

Every change first takes the row of `library`, and holds it to the end of its transaction. So changes come one after
the other in every database, recordings get their ids in the order in which they become visible, and who has read a
`revision` misses nothing that came before it. Other tables of the same database are not held up by that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, Row, Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from songprint.errors import LibraryError, LibraryNotFound, LibraryVersionError, RecordingNotFound
from songprint.store import disk, schema, tables
from songprint.store.database import Result, open_database, storable
from songprint.store.packing import StoredRows, pack_evidence, quantise, restore, to_recording, to_row, unpack_evidence
from songprint.store.tables import embeddings, encoders, library, recordings
from songprint.store.timestamps import clock
from songprint.types import Embeddings, Kind, KnownFile, Recording, Tags

ORDERS = ("id", "title", "artists", "album", "year", "duration", "added_at")
AT_ONCE = 200  # recordings read or removed by one statement: some MB of vectors


@dataclass(frozen=True)
class State:
    """Where the catalogue is: `revision` grows with every change of what is searched."""

    revision: int
    encoders: Mapping[Kind, str]  # whose vectors are searched; a kind of which there are none is not in it
    schema_version: int
    identity: str = ""  # a word that no other library has

    def encoder_id(self, kind: Kind) -> str:
        """The encoder of this kind; empty while nothing of it was ever added."""
        return self.encoders.get(kind, "")


@dataclass(frozen=True)
class Totals:
    """What the catalogue holds."""

    recordings: int
    duration: float  # seconds
    segments: dict[Kind, int]


class Catalog:
    """An open catalogue. Several processes may read and write it at the same time.

    `database` is the URL of a database on a server; without it the catalogue is a SQLite file in the folder. Several
    machines may share a database, each with a folder of its own, where the index is kept.

    With `create` a missing one is made; otherwise that is LibraryNotFound. On a read-only file system it
    opens for reading, and whatever would write raises LibraryError.
    """

    def __init__(self, folder: Path, *, create: bool = False, busy_timeout: float = 30.0, database: str = "") -> None:
        self.folder = Path(folder)
        # Other tables, those of jobs and keys for instance, are kept in it too.
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

    def change(self, work: Callable[[Connection], Result], *, of_searched: bool = True) -> Result:
        """Do `work` in a transaction while nobody else changes recordings; again if the database gave it up.

        `of_searched` says that it changes what is searched, so that every index is brought into step.
        """

        def one_after_the_other(connection: Connection) -> Result:
            connection.execute(update(library).values(revision=library.c.revision + int(of_searched)))
            return work(connection)

        return self.database.write(one_after_the_other)

    def add(
        self, *, tags: Tags, duration: float, source: str, content_hash: str, embeddings: Mapping[Kind, Embeddings]
    ) -> Recording | KnownFile:
        """Keep a recording with its embeddings of every kind; when this returns, it survives a power cut.

        A content that is there already is left as it is, and comes back as `KnownFile`.
        """
        row = to_row(tags) | {
            "duration": duration,
            "source": storable(source),
            "content_hash": content_hash,
        }
        packed = [_packed(kind, made) for kind, made in embeddings.items()]

        def write(connection: Connection) -> Recording:
            inserted = connection.execute(insert(recordings).values(row | {"added_at": clock(connection)}))
            recording_id = inserted.inserted_primary_key[0]
            for each in packed:
                self._claim_encoder(connection, Kind(each["kind"]), each["encoder_id"])
                connection.execute(insert(tables.embeddings).values(each | {"recording_id": recording_id}))
            return to_recording(connection.execute(select(recordings).where(recordings.c.id == recording_id)).one())

        try:
            return self.change(write)
        except IntegrityError:
            known = self.known(content_hash)
            if known is None:
                raise
            return KnownFile(source, known)

    def remove(self, recording_ids: Iterable[int]) -> None:
        """Forget these recordings: all of them, or none when one of the ids is unknown."""
        wanted = sorted(set(recording_ids))

        def write(connection: Connection) -> None:
            for ids in _batches(wanted):
                present = set(connection.scalars(select(recordings.c.id).where(recordings.c.id.in_(ids))))
                for missing in set(ids) - present:
                    raise _not_found(missing)
                connection.execute(delete(embeddings).where(embeddings.c.recording_id.in_(ids)))
                connection.execute(delete(recordings).where(recordings.c.id.in_(ids)))

        self.change(write)

    def known(self, content_hash: str) -> int | None:
        """The id of the recording with exactly this content, if there is one."""
        with self._reading() as connection:
            return connection.scalar(select(recordings.c.id).where(recordings.c.content_hash == content_hash))

    def recording(self, recording_id: int) -> Recording:
        """The recording with this id; RecordingNotFound when there is none."""
        found = self.recordings_with([recording_id])
        if recording_id not in found:
            raise _not_found(recording_id)
        return found[recording_id]

    def recordings_with(self, recording_ids: Iterable[int]) -> dict[int, Recording]:
        """The recordings with these ids; those that were removed meanwhile are left out."""
        with self._reading() as connection:
            return {
                row.id: to_recording(row)
                for ids in _batches(sorted(set(recording_ids)))
                for row in connection.execute(select(recordings).where(recordings.c.id.in_(ids)))
            }

    def recordings(
        self, query: str = "", *, order: str = "id", offset: int = 0, limit: int | None = None
    ) -> list[Recording]:
        """All recordings in the order they were added, or those in which every word of `query` occurs.

        Words are looked for in title, artists and album, whether in capitals or not. `order` is one of ORDERS, with
        "-" before it for the reverse.
        """
        column = recordings.c[order.removeprefix("-")]
        wanted = (
            select(recordings)
            .where(self._holding(query))
            .order_by(
                *([column.desc(), recordings.c.id.desc()] if order.startswith("-") else [column, recordings.c.id])
            )
        )
        with self._reading() as connection:
            return [to_recording(row) for row in connection.execute(wanted.offset(offset).limit(limit))]

    def count(self, query: str = "") -> int:
        """How many recordings `recordings` would give without a limit."""
        with self._reading() as connection:
            return connection.scalar(select(func.count()).select_from(recordings).where(self._holding(query)))

    def edit(self, recording_id: int, changes: Mapping[str, object]) -> Recording:
        """Change tags of a recording, by the names of the fields of `Tags`; returns it as it is now."""
        this = select(recordings).where(recordings.c.id == recording_id)

        def write(connection: Connection) -> Recording:
            row = connection.execute(this).first()
            if row is None:
                raise _not_found(recording_id)
            values = to_row(replace(to_recording(row).tags, **changes))
            if values["work"] != row.work:
                values["original"] = False
            connection.execute(update(recordings).where(recordings.c.id == recording_id).values(values))
            return to_recording(connection.execute(this).one())

        return self.change(write, of_searched=False)

    def recordings_of(self, works: Iterable[str]) -> list[Recording]:
        """All recordings of these works, in the order they were added."""
        with self._reading() as connection:
            return [
                to_recording(row)
                for names in _batches(sorted(set(filter(None, works))))
                for row in connection.execute(
                    select(recordings).where(recordings.c.work.in_(names)).order_by(recordings.c.id)
                )
            ]

    def assign(self, recording_ids: Sequence[int], work: str, original: int | None = None) -> str:
        """Say of which work recordings are, and which is the original; the name of the work as it is kept."""
        work = storable(work, recordings.c.work.type.length)

        def write(connection: Connection) -> None:
            chosen = recordings.c.id.in_(recording_ids)
            connection.execute(
                update(recordings).where(chosen, recordings.c.work != work).values(work=work, original=False)
            )
            if original is not None:
                connection.execute(
                    update(recordings).where(recordings.c.work == work).values(original=recordings.c.id == original)
                )

        self.change(write, of_searched=False)
        return work

    def embeddings(self, kind: Kind, recording_id: int) -> Embeddings:
        """The embeddings of one recording; RecordingNotFound when there are none."""
        found = dict(self.each_embeddings(kind, [recording_id]))
        if recording_id not in found:
            raise _not_found(recording_id)
        return found[recording_id]

    def each_embeddings(
        self, kind: Kind, recording_ids: Iterable[int], *, as_stored: bool = False
    ) -> Iterator[tuple[int, Embeddings]]:
        """One recording after the other, for going through the whole library in bounded memory.

        Those that have none of this kind, or were removed meanwhile, are left out. With `as_stored` the vectors
        are `StoredRows`, for those who want a few rows of each.
        Between two batches no transaction is open, so a slow reader does not hold up the writers.
        """
        for ids in _batches(sorted(set(recording_ids))):
            with self._reading() as connection:
                rows = connection.execute(
                    _of_kind(kind, embeddings)
                    .where(embeddings.c.recording_id.in_(ids))
                    .order_by(embeddings.c.recording_id)
                ).all()
            yield from ((row.recording_id, self._unpacked(row, as_stored)) for row in rows)

    def searched(self, kind: Kind) -> dict[int, int]:
        """The recordings that can be searched with the library's encoder, and how many segments each has."""
        with self._reading() as connection:
            rows = connection.execute(_of_kind(kind, embeddings.c.recording_id, embeddings.c.count))
            return {row.recording_id: row.count for row in rows}

    def state(self) -> State:
        """Cheap enough to ask before every query (0.2 ms)."""
        with self._reading() as connection:
            revision, version, identity = connection.execute(
                select(library.c.revision, library.c.schema_version, library.c.identity)
            ).one()
            present = connection.execute(select(encoders.c.kind, encoders.c.encoder_id))
            return State(revision, {Kind(kind): encoder_id for kind, encoder_id in present}, version, identity)

    def totals(self) -> Totals:
        """How many recordings, seconds and segments of each kind there are."""
        with self._reading() as connection:
            count, duration = connection.execute(
                select(func.count(), func.coalesce(func.sum(recordings.c.duration), 0.0))
            ).one()
            segments = connection.execute(
                select(embeddings.c.kind, func.sum(embeddings.c.count))
                .join(encoders, _SEARCHED)
                .group_by(embeddings.c.kind)
            )
            return Totals(count, float(duration), {Kind(kind): int(number) for kind, number in segments})

    def held(self, kind: Kind) -> tuple[int, int]:
        """How many recordings have embeddings of this kind, and the bytes that they take."""
        size = func.length(embeddings.c.vectors) + func.coalesce(func.length(embeddings.c.evidence), 0)
        with self._reading() as connection:
            count, total = connection.execute(_of_kind(kind, func.count(), func.coalesce(func.sum(size), 0))).one()
            return int(count), int(total)

    def dim(self, kind: Kind) -> int | None:
        """The width of the vectors that are searched; None while there are none."""
        with self._reading() as connection:
            return connection.scalar(_of_kind(kind, embeddings.c.dim).limit(1))

    def lacking(self, kind: Kind, encoder_id: str) -> list[Recording]:
        """The recordings that this encoder has not read."""
        read = select(embeddings.c.recording_id).where(
            embeddings.c.kind == kind.value, embeddings.c.encoder_id == encoder_id
        )
        with self._reading() as connection:
            rows = connection.execute(select(recordings).where(recordings.c.id.not_in(read)).order_by(recordings.c.id))
            return [to_recording(row) for row in rows]

    def check_encoder(self, present: str, wanted: str) -> None:
        """The first recording decides with which encoder a library is made; another is refused."""
        if present and present != wanted:
            raise LibraryVersionError(
                f"the library at {self.folder} was made with the encoder {present}, and this Songprint has"
                f" {wanted}. `songprint --library {self.folder} rebuild --reencode` reads its files again"
            )

    def add_embeddings(self, recording_id: int, made: Mapping[Kind, Embeddings]) -> None:
        """Keep what other encoders made of a recording, beside what is searched now (see `adopt`)."""
        rows = [_packed(kind, each) | {"recording_id": recording_id} for kind, each in made.items()]
        self.change(lambda connection: connection.execute(insert(embeddings), rows))

    def adopt(self, kind: Kind, encoder_id: str) -> None:
        """Search with this encoder from now on, and drop what others made of the recordings it has read."""
        newer = (
            select(embeddings.c.recording_id)
            .where(embeddings.c.kind == kind.value, embeddings.c.encoder_id == encoder_id)
            .subquery()
        )

        def write(connection: Connection) -> None:
            connection.execute(delete(encoders).where(encoders.c.kind == kind.value))
            connection.execute(insert(encoders).values(kind=kind.value, encoder_id=encoder_id))
            connection.execute(
                delete(embeddings).where(
                    embeddings.c.kind == kind.value,
                    embeddings.c.encoder_id != encoder_id,
                    embeddings.c.recording_id.in_(select(newer.c.recording_id)),
                )
            )

        self.change(write)

    def problems(self) -> list[str]:
        """What a full check of the database finds wrong; it reads everything."""
        found = self.database.problems()
        with self._reading() as connection:
            rows = connection.execute(
                select(
                    embeddings.c.recording_id,
                    embeddings.c.count,
                    embeddings.c.dim,
                    func.length(embeddings.c.vectors).label("bytes"),
                )
            )
            found += [
                f"the embeddings of recording {row.recording_id} are incomplete"
                for row in rows
                if row.bytes != row.count * row.dim
            ]
            return found

    @property
    def bytes_on_disk(self) -> int:
        return self.database.bytes_on_disk

    def checkpoint(self) -> None:
        """Leave no more on the disk than the catalogue needs, where that can be done at once."""
        self.database.checkpoint()

    def close(self) -> None:
        self.database.close()

    def _migrate(self, create: bool) -> None:
        with self.database.reading() as connection, self._named():
            found = schema.version(connection)
        if found == len(schema.MIGRATIONS):
            return
        if not found and not create:
            raise LibraryNotFound(
                f"no library in {self.database.name}. Make one with `songprint --library {self.folder} add MUSIC`"
            )
        if self.readonly:
            raise LibraryError(
                f"the library at {self.database.name} was made by an older Songprint and cannot be"
                " brought up to date because it is read-only"
            )
        with self.database.migrating():
            more = True
            while more:
                with self.database.writing() as connection, self._named():
                    more = schema.migrate(connection)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say of which library it is that a schema error speaks."""
        try:
            yield
        except LibraryVersionError as error:
            raise LibraryVersionError(f"cannot open the library at {self.database.name}: {error}") from error
        except LibraryError as error:
            raise LibraryError(f"cannot open {self.database.name}: {error}") from error

    def _holding(self, query: str):
        columns = (recordings.c.title, recordings.c.artists, recordings.c.album)
        return and_(
            True,
            *(
                or_(*(self.database.lower(column).contains(word.lower(), autoescape=True) for column in columns))
                for word in query.split()
            ),
        )

    def _reading(self):
        return self.database.reading()

    def _claim_encoder(self, connection: Connection, kind: Kind, encoder_id: str) -> None:
        present = connection.scalar(select(encoders.c.encoder_id).where(encoders.c.kind == kind.value))
        self.check_encoder(present or "", encoder_id)
        if not present:
            connection.execute(insert(encoders).values(kind=kind.value, encoder_id=encoder_id))

    def _unpacked(self, row: Row, as_stored: bool) -> Embeddings:
        damaged = LibraryError(
            f"the embeddings of recording {row.recording_id} in {self.database.name} are damaged."
            f" Remove the recording and add it again"
        )
        if len(row.vectors) != row.count * row.dim:
            raise damaged
        quantised = np.frombuffer(row.vectors, dtype=np.int8).reshape(row.count, row.dim)
        vectors = StoredRows(quantised) if as_stored else restore(quantised)
        try:
            evidence = unpack_evidence(Kind(row.kind), row.evidence or b"")
        except ValueError as error:
            raise damaged from error
        return Embeddings(vectors, row.hop, row.encoder_id, evidence)


# The embeddings that are searched: those of each kind's present encoder.
_SEARCHED = and_(encoders.c.kind == embeddings.c.kind, encoders.c.encoder_id == embeddings.c.encoder_id)


def _of_kind(kind: Kind, *columns: object) -> Select:
    return select(*columns).join(encoders, _SEARCHED).where(embeddings.c.kind == kind.value)


def _packed(kind: Kind, made: Embeddings) -> dict[str, object]:
    return {
        "kind": kind.value,
        "encoder_id": made.encoder_id,
        "hop": made.hop,
        "count": len(made),
        "dim": made.vectors.shape[1],
        "vectors": quantise(made.vectors).tobytes(),
        "evidence": pack_evidence(kind, made.evidence),
    }


def _batches(ids: Sequence) -> Iterator[Sequence]:
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))


def _not_found(recording_id: int) -> RecordingNotFound:
    return RecordingNotFound(f"no recording {recording_id} in the library. `songprint list` shows what there is")
