"""The version of the database schema, and the migrations that bring an older database up to date.

`library.schema_version` holds the version. Opening a catalogue runs the migrations that it lacks, each in its own
transaction. An empty database has version 0, so new and old libraries take the same path.

To change the schema, change `songprint.store.tables` and append a migration to `MIGRATIONS`. The first migration
creates the tables as they are today, so every later one must do nothing where its change is already in place.
MariaDB and MySQL commit each change of a table at once: there an interrupted migration runs again from its start.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from sqlalchemy import Column, Connection, String, bindparam, insert, inspect, select, update
from sqlalchemy.schema import CreateColumn

from songprint import __version__
from songprint.errors import LibraryError, LibraryVersionError
from songprint.store import totals as counts
from songprint.store.changes import EVERYTHING
from songprint.store.tables import (
    audit,
    changes,
    claims,
    deliveries,
    folders,
    kept_apart,
    library,
    merged,
    metadata,
    places,
    plays,
    recordings,
    stations,
    templates,
    totals,
    usage,
)
from songprint.store.text import searched
from songprint.store.timestamps import clock
from songprint.types import Tags


def _create_tables(connection: Connection) -> None:
    # `library` comes first: its presence shows that the other tables belong to Songprint.
    library.create(connection, checkfirst=True)
    metadata.create_all(connection, checkfirst=True)
    connection.execute(
        library.insert().values(
            id=1,
            schema_version=1,
            revision=0,
            created_at=clock(connection),
            songprint_version=__version__,
            identity=secrets.token_hex(8),
        )
    )


def _add_templates_counts_and_actors(connection: Connection) -> None:
    """Version 2: templates; how many queries a row of the usage counts; who changed something without a key."""
    templates.create(connection, checkfirst=True)
    for index in templates.indexes:
        index.create(connection, checkfirst=True)
    for column in (usage.c.kind, usage.c.count, audit.c.actor):
        _add_column(connection, column)
    # Version 1 has one row for all queries of a key on one day in one run of a server.
    connection.execute(update(usage).where(usage.c.job_id.startswith("clips-")).values(kind="query"))


def _add_column(connection: Connection, column: Column[Any]) -> None:
    """Add a column, which needs a default or null for the present rows, unless the table has it."""
    name = column.table.name
    if column.name not in {present["name"] for present in inspect(connection).get_columns(name)}:
        described = CreateColumn(column).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {described}")


def _add_places(connection: Connection) -> None:
    """Version 3: files are facts about recordings, and recordings are identified by their sound.

    Files are read once more at the next `sync`, which replaces the hash of the file by that of its sound.
    """
    metadata.create_all(connection, tables=[places, folders], checkfirst=True)
    _add_column(connection, recordings.c.missing_since)
    _add_column(connection, recordings.c.file_tags)
    has_place = select(places.c.recording_id)
    read = [recordings.c[field.name] for field in fields(Tags)]  # later versions have columns that are missing here
    wanted = select(recordings.c.id, recordings.c.source, *read).where(
        recordings.c.source != "", recordings.c.id.not_in(has_place)
    )
    seen: set[str] = set(connection.scalars(select(places.c.path_hash)))
    for row in connection.execute(wanted.order_by(recordings.c.id)).all():
        path_hash = hashlib.sha256(row.source.encode()).hexdigest()
        if path_hash in seen:
            continue
        seen.add(path_hash)
        values = {field.name: getattr(row, field.name) for field in fields(Tags) if getattr(row, field.name)}
        values["artists"] = json.loads(row.artists)
        connection.execute(
            insert(places).values(
                path_hash=path_hash,
                path=row.source,
                recording_id=row.id,
                size=-1,
                modified=0,
                tags=json.dumps(values),
            )
        )


def _add_search(connection: Connection) -> None:
    """Version 4: the text that searches compare, without differences of case, accents and width."""
    _add_column(connection, recordings.c.search)
    read = (recordings.c.id, recordings.c.title, recordings.c.artists, recordings.c.album)
    while rows := connection.execute(select(*read).where(recordings.c.search.is_(None)).limit(_ROWS_AT_ONCE)).all():
        connection.execute(
            update(recordings).where(recordings.c.id == bindparam("this")),
            [{"this": row.id, "search": searched(row.title, json.loads(row.artists), row.album)} for row in rows],
        )


_ROWS_AT_ONCE = 1000


def _add_fields(connection: Connection) -> None:
    """Version 5: user fields of recordings."""
    _add_column(connection, recordings.c.fields)


def _add_decisions(connection: Connection) -> None:
    """Version 6: merged recordings, and decisions about duplicates."""
    metadata.create_all(connection, tables=[merged, kept_apart], checkfirst=True)


def _add_changes(connection: Connection) -> None:
    """Version 7: the log of changes, which begins with the present revision."""
    changes.create(connection, checkfirst=True)
    if connection.execute(select(changes.c.revision).limit(1)).first() is None:
        revision = connection.execute(select(library.c.revision)).scalar_one()
        connection.execute(
            insert(changes).values(revision=revision, recording_id=EVERYTHING, token=secrets.randbits(62))
        )


def _add_claims(connection: Connection) -> None:
    """Version 8: claims of files that several machines add."""
    metadata.create_all(connection, tables=[claims], checkfirst=True)


def _add_totals(connection: Connection) -> None:
    """Version 9: the counts of recordings and embeddings, and an index for each order of the recordings."""
    for index in recordings.indexes:
        index.create(connection, checkfirst=True)
    totals.create(connection, checkfirst=True)
    counts.recount(connection)


def _add_stations(connection: Connection) -> None:
    """Version 10: stations, their airplay history, and the callbacks of their events."""
    metadata.create_all(connection, tables=[stations, plays], checkfirst=True)
    for column in (deliveries.c.station_id, deliveries.c.body, deliveries.c.secret):
        _add_column(connection, column)
    for index in (*deliveries.indexes, *stations.indexes, *plays.indexes):
        index.create(connection, checkfirst=True)


# MIGRATIONS[n] leads from version n to version n + 1.
MIGRATIONS: list[Callable[[Connection], None]] = [
    _create_tables,
    _add_templates_counts_and_actors,
    _add_places,
    _add_search,
    _add_fields,
    _add_decisions,
    _add_changes,
    _add_claims,
    _add_totals,
    _add_stations,
]


def version(connection: Connection) -> int:
    """Return the schema version of a database: 0 if it is empty or if its creation was interrupted.

    Raises LibraryError if the database belongs to another program, and LibraryVersionError if this Songprint cannot
    read it: a newer version created it, or a development version from before the first release.
    """
    inspector = inspect(connection)
    tables = inspector.get_table_names()
    if not tables:
        return 0
    columns = {column["name"]: column for column in inspector.get_columns("library")} if "library" in tables else {}
    if "schema_version" not in columns:
        raise LibraryError("its database is not a Songprint catalogue. Songprint needs its own database")
    # Development versions numbered their schemas 1 to 9 as well, but stored points in time as text.
    if isinstance(columns["created_at"]["type"], String):
        raise LibraryVersionError(
            "a development version from before the first release created it, and that format is no longer supported."
            " Create a new library in an empty folder or database, and add the music again"
        )
    found = connection.execute(select(library.c.schema_version)).scalar_one_or_none() or 0
    if found > len(MIGRATIONS):
        raise LibraryVersionError(
            f"it has schema version {found}, and this Songprint supports versions up to {len(MIGRATIONS)}."
            " Upgrade with `pip install --upgrade songprint`"
        )
    return found


def migrate(connection: Connection) -> bool:
    """Run the next migration inside the caller's transaction. Returns False if the schema is up to date."""
    found = version(connection)
    if found == len(MIGRATIONS):
        return False
    MIGRATIONS[found](connection)
    connection.execute(update(library).values(schema_version=found + 1))
    return True
