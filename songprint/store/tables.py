"""The tables of a catalogue, and the numbered steps that bring an older one up to date.

A catalogue names its schema version in `library.schema_version`. Opening it runs the steps it lacks, each in
a transaction of its own; an empty database is simply version 0, so new libraries and old ones take the same
road. To change the tables: change them here, and append a step that does nothing where it is done already,
for step 1 makes the tables as they are today. MariaDB and MySQL make each table for good at once: there a step
that was interrupted is taken again from its beginning.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    false,
    inspect,
    text,
)

from songprint.errors import LibraryError, LibraryVersionError
from songprint.store import service_tables
from songprint.store.database.columns import EXACT, Blob, Identifier, LongText

metadata = MetaData()

library = Table(
    "library",
    metadata,  # one row
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("schema_version", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),  # grows with every change of what is searched
    Column("created_at", String(40), nullable=False),
    Column("songprint_version", String(40), nullable=False),  # that made it
    Column("identity", String(32), nullable=False, server_default=""),  # a word that no other library has
    **EXACT,
)

encoders = Table(
    "encoders",
    metadata,  # whose vectors are searched, of each kind
    Column("kind", String(20), primary_key=True),  # there from the first recording that has that kind
    Column("encoder_id", String(200), nullable=False),
    **EXACT,
)

recordings = Table(
    "recordings",
    metadata,
    Column("id", Identifier, primary_key=True),  # never used again after a removal
    Column("content_hash", String(128), nullable=False, unique=True),
    Column("title", String(1000), nullable=False),
    Column("artists", LongText, nullable=False),  # a JSON list of names
    Column("album", String(1000), nullable=False),
    Column("isrc", String(40), nullable=False),
    Column("track", Integer),
    Column("year", Integer),
    Column("musicbrainz_recording_id", String(100), nullable=False),
    Column("musicbrainz_release_id", String(100), nullable=False),
    Column("work", String(200), nullable=False),
    Column("original", Boolean, nullable=False, server_default=false()),  # the user says so, of those of its work
    Column("duration", Float(53), nullable=False),  # seconds
    Column("source", LongText, nullable=False),
    Column("added_at", String(40), nullable=False),  # UTC, ISO 8601
    sqlite_autoincrement=True,
    **EXACT,
)

embeddings = Table(
    "embeddings",
    metadata,
    Column("recording_id", Identifier, ForeignKey("recordings.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("encoder_id", String(200), primary_key=True),
    Column("hop", Float(53), nullable=False),  # seconds between rows
    Column("count", Integer, nullable=False),  # rows
    Column("dim", Integer, nullable=False),
    Column("vectors", Blob, nullable=False),  # (count, dim) int8: unit vectors times 127
    Column("evidence", Blob),  # what a closer look needs, see packing
    **EXACT,
)

unknown_music = Table(
    "unknown_music",
    metadata,  # one row for each occurrence, see songprint.unknown.memory
    Column("id", Identifier, primary_key=True),  # never used again
    Column("number", BigInteger, nullable=False),  # of the music: the id of its first occurrence
    Column("source", LongText, nullable=False),
    Column("start", Float(53), nullable=False),  # seconds in the source
    Column("end", Float(53), nullable=False),
    Column("heard_at", String(40), nullable=False),  # UTC, ISO 8601
    Column("encoder_id", String(200), nullable=False),
    Column("count", Integer, nullable=False),  # rows of vectors; 0 where other occurrences have them
    Column("dim", Integer, nullable=False),
    Column("vectors", Blob, nullable=False),  # (count, dim) int8: unit vectors times 127
    sqlite_autoincrement=True,
    **EXACT,
)

Index("unknown_music_by_number", unknown_music.c.number)
Index("recordings_by_title", recordings.c.title, mysql_length=200)
_by_work = Index("recordings_by_work", recordings.c.work)
# Which recordings are searched is asked at every change: answered without touching the vectors.
Index(
    "embeddings_by_encoder", embeddings.c.encoder_id, embeddings.c.kind, embeddings.c.recording_id, embeddings.c.count
)


def _step_1(connection: Connection, songprint_version: str) -> None:
    library.create(connection, checkfirst=True)  # first: it tells whose the others are
    metadata.create_all(connection, checkfirst=True)
    connection.execute(
        library.insert().values(
            id=1, schema_version=1, revision=0, created_at=now(), songprint_version=songprint_version
        )
    )


def _step_2(connection: Connection, songprint_version: str) -> None:
    """Landmarks beside the vectors. Recordings added before have none until they are read again."""
    if not {"landmarks", "evidence"} & _columns(connection, "embeddings"):
        kind = embeddings.c.evidence.type.compile(connection.dialect)
        connection.execute(text(f"ALTER TABLE embeddings ADD COLUMN landmarks {kind}"))


def _step_3(connection: Connection, songprint_version: str) -> None:
    """Landmarks become the evidence of one kind among others."""
    if "landmarks" in _columns(connection, "embeddings"):
        connection.execute(text("ALTER TABLE embeddings RENAME COLUMN landmarks TO evidence"))


def _step_4(connection: Connection, songprint_version: str) -> None:
    """An encoder of each kind. In a library made before, the column `library.encoder_id` stays, and means nothing:
    SQLite can drop columns only since version 3.35, of 2021.
    """
    if "encoder_id" not in _columns(connection, "library"):
        return
    encoders.create(connection, checkfirst=True)
    present = connection.execute(text("SELECT encoder_id FROM library")).scalar_one()
    if present and not connection.execute(encoders.select()).first():
        connection.execute(encoders.insert().values(kind="recording", encoder_id=present))


def _step_5(connection: Connection, songprint_version: str) -> None:
    """The original of a work can be marked, and its recordings are found quickly."""
    if "original" not in _columns(connection, "recordings"):
        column = recordings.c.original
        kind, default = (
            column.type.compile(connection.dialect),
            column.server_default.arg.compile(dialect=connection.dialect),
        )
        connection.execute(text(f"ALTER TABLE recordings ADD COLUMN original {kind} DEFAULT {default} NOT NULL"))
    _by_work.create(connection, checkfirst=True)


def _step_6(connection: Connection, songprint_version: str) -> None:
    """The tables of the service."""
    service_tables.create(connection)


def _step_7(connection: Connection, songprint_version: str) -> None:
    """A name that no other library has: what is derived on other machines and servers is kept under it."""
    if "identity" not in _columns(connection, "library"):
        connection.execute(text("ALTER TABLE library ADD COLUMN identity VARCHAR(32) DEFAULT '' NOT NULL"))
    connection.execute(library.update().where(library.c.identity == "").values(identity=secrets.token_hex(8)))


def _step_8(connection: Connection, songprint_version: str) -> None:
    """What people say of what was recognised."""
    service_tables.create(connection)


def _step_9(connection: Connection, songprint_version: str) -> None:
    """Music that nobody knows is remembered."""
    unknown_music.create(connection, checkfirst=True)


def _columns(connection: Connection, table: str) -> set[str]:
    return {column["name"] for column in inspect(connection).get_columns(table)}


# STEPS[n] leads from version n to n + 1
STEPS: list[Callable[[Connection, str], None]] = [
    _step_1,
    _step_2,
    _step_3,
    _step_4,
    _step_5,
    _step_6,
    _step_7,
    _step_8,
    _step_9,
]


def version(connection: Connection) -> int:
    """The schema version of what is there: 0 for an empty database, or one whose making broke off."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return 0
    if "library" not in tables or "schema_version" not in _columns(connection, "library"):
        raise LibraryError("its database is not a Songprint catalogue. Songprint needs a database of its own")
    return connection.execute(text("SELECT schema_version FROM library")).scalar_one_or_none() or 0


def check(found: int) -> None:
    """Refuse a catalogue made by a newer Songprint: it may mean things that this one cannot know."""
    if found > len(STEPS):
        raise LibraryVersionError(
            f"it has schema version {found}, and this Songprint knows up to {len(STEPS)}."
            " Upgrade with `pip install --upgrade songprint`"
        )


def step(connection: Connection, songprint_version: str) -> bool:
    """Take the next step, inside the caller's transaction. False when there was none left to take."""
    found = version(connection)
    check(found)
    if found == len(STEPS):
        return False
    STEPS[found](connection, songprint_version)
    connection.execute(text("UPDATE library SET schema_version = :version"), {"version": found + 1})
    return True


def now() -> str:
    """The time as the catalogue writes it: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
