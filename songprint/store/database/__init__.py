"""The database under the catalogue: a SQLite file in the library's folder, or MariaDB, MySQL or PostgreSQL.

All keep the same contract (`Database`) and pass the same tests, so whoever has tables in it writes them once, with
SQLAlchemy Core. What differs is told here:

* With SQLite one transaction writes at a time. On a server several do: who reads rows in order to change them locks
  them (`select(...).with_for_update()`, which SQLite ignores), or takes the catalogue's own lock by `catalog.change`.
* A server may give up one of two transactions that wait for each other. `write` then does the work again.
* MariaDB and MySQL end a transaction at every change of a table's form. A schema step must do no harm when taken twice.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection

from songprint.address import DatabaseAddress

Result = TypeVar("Result")


class Database(Protocol):
    """An open database with transactions that read and transactions that write. Threads may share it."""

    name: str  # where it is, as messages say it: never with a password
    product: str  # "SQLite 3.40.1", "MariaDB 10.11.4", ...
    readonly: bool

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that sees one state of the database; writers go on meanwhile."""

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that writes; when it ends without an error, it is on the disk."""

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work` in a transaction that writes; once more if the database gave it up for the sake of another."""

    def migrating(self) -> AbstractContextManager[None]:
        """Inside, nobody else on any machine changes the form of the tables."""

    def lock(self, name: str, wait: float = 0.0) -> AbstractContextManager[bool]:
        """True inside for one holder of this name at a time, on all machines; False after `wait` seconds."""

    def lower(self, text: ColumnElement[str]) -> ColumnElement[str]:
        """The text in small letters, of every alphabet, as `str.lower` makes them."""

    @property
    def bytes_on_disk(self) -> int:
        """What the database takes, with its indexes."""

    def problems(self) -> list[str]:
        """What the database's own check of everything finds wrong."""

    def checkpoint(self) -> None:
        """Leave no more on the disk than needed, where that can be done at once."""

    def close(self) -> None:
        """Let go of files and connections."""


def storable(value: str, length: int | None = None) -> str:
    """Make text that every database accepts: valid UTF-8 without NUL, at most `length` characters long."""
    return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "")[:length]


def open_database(folder: Path, url: str = "", *, create: bool, busy_timeout: float) -> Database:
    """The database that `url` names; without one the SQLite file in the folder.

    `busy_timeout` is the seconds to wait for another who writes. With `create` the folder and an empty file are made;
    the database on a server has to be there.
    """
    if not url:
        from songprint.store.database import sqlite

        return sqlite.open_file(folder / sqlite.FILE_NAME, create=create, busy_timeout=busy_timeout)
    address = DatabaseAddress.parse(url)
    if address.scheme == "mysql":
        from songprint.store.database.mariadb import MariaDatabase as ServerDatabase
    else:
        from songprint.store.database.postgresql import PostgresDatabase as ServerDatabase
    return ServerDatabase(address, busy_timeout=busy_timeout)
