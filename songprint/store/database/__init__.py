"""The database of a library: a SQLite file in its folder, or MariaDB, MySQL or PostgreSQL.

All of them implement `Database` and pass the same tests. Modules with their own tables use SQLAlchemy Core, so each
statement is written once. Three differences remain visible:

* SQLite runs one writing transaction at a time, the servers run several. Code that reads rows in order to change them
  locks the rows (`select(...).with_for_update()`, which SQLite ignores) or takes the lock of `Catalog.change`.
* A server aborts one of two transactions that wait for each other (a deadlock). `Database.write` then runs it again.
* MariaDB and MySQL commit at every change of a table's schema, so running a migration twice must do no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, event

from songprint.address import DatabaseAddress

Result = TypeVar("Result")


class Database(Protocol):
    """An open database with reading and writing transactions. Threads may share it."""

    name: str  # its location, for messages; never contains a password
    product: str  # "SQLite 3.40.1", "MariaDB 10.11.4", ...
    readonly: bool

    def reading(self) -> AbstractContextManager[Connection]:
        """Open a transaction that reads one consistent state of the database. It does not block writers."""

    def writing(self) -> AbstractContextManager[Connection]:
        """Open a transaction that writes. Its changes are durable once it ends without an error."""

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a writing transaction, and again if the database aborts it because of a deadlock."""

    def migrating(self) -> AbstractContextManager[None]:
        """Prevent all other processes, on any machine, from migrating the schema at the same time."""

    def lock(self, name: str, wait: float = 0.0) -> AbstractContextManager[bool]:
        """Take a named lock that one holder on all machines can have; yields False after `wait` seconds without it."""

    @property
    def bytes_on_disk(self) -> int:
        """The size of the database with its indexes."""

    def problems(self) -> list[str]:
        """Return the errors that the database's own integrity check finds."""

    def checkpoint(self) -> None:
        """Free disk space that the database no longer needs, if that is possible without waiting."""

    def close(self) -> None:
        """Close files and connections."""


def make_storable(engine: Engine) -> None:
    """Make all text that is sent over an engine storable, in whatever statement: values, searches, keys.

    PostgreSQL refuses NUL and all drivers refuse lone surrogates, and file names and requests may contain both.
    """
    event.listen(engine, "before_cursor_execute", _storable_parameters, retval=True)


def _storable_parameters(
    connection: Connection, cursor: object, statement: str, parameters: Any, context: object, many: bool
) -> tuple[str, Any]:
    return statement, [_cleaned(row) for row in parameters] if many else _cleaned(parameters)


def _cleaned(row: Any) -> Any:
    if isinstance(row, dict):
        return {name: storable(value) if isinstance(value, str) else value for name, value in row.items()}
    return type(row)(storable(value) if isinstance(value, str) else value for value in row) if row else row


def storable(value: str, length: int | None = None) -> str:
    """Make text that every database accepts: valid UTF-8 without NUL, at most `length` characters long."""
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode("utf-8")
    return value.replace("\0", "")[:length]


def open_database(folder: Path, url: str = "", *, create: bool, busy_timeout: float) -> Database:
    """Open the database at `url`, or the SQLite file in `folder` if there is no URL.

    `busy_timeout` is the time in seconds to wait for other writers. `create` makes the folder and an empty file; a
    database on a server must exist.
    """
    if not url:
        from songprint.store.database import sqlite

        return sqlite.open_file(folder / sqlite.FILE_NAME, create=create, busy_timeout=busy_timeout)
    address = DatabaseAddress.parse(url)
    if address.scheme == "mysql":
        from songprint.store.database.mariadb import MariaDatabase

        return MariaDatabase(address, busy_timeout=busy_timeout)
    from songprint.store.database.postgresql import PostgresDatabase

    return PostgresDatabase(address, busy_timeout=busy_timeout)
