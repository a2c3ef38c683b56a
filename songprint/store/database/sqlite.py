"""SQLite: opens the file of a library, also on read-only disks, and keeps its write-ahead log small."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from songprint.errors import LibraryError, LibraryNotFound
from songprint.store import disk
from songprint.store.database import make_storable

if TYPE_CHECKING:
    from songprint.store.database import Result

log = logging.getLogger(__name__)

FILE_NAME = "catalogue.sqlite"


class SqliteDatabase:
    """An open database file; see `Database`."""

    product = f"SQLite {sqlite3.sqlite_version}"

    def __init__(self, file: Path, *, mode: str, busy_timeout: float) -> None:
        self.file, self.name = file, str(file)
        self.readonly = mode not in ("rw", "rwc")
        self._mode = mode
        self._busy_timeout = busy_timeout
        self._engine = create_engine("sqlite://", creator=self._connect, poolclass=QueuePool)
        event.listen(self._engine, "begin", _begin)
        make_storable(self._engine)
        self._writer: Engine = self._engine.execution_options(writes=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that reads one consistent state of the database. It does not block writers."""
        with translated_errors(self.file), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open the only writing transaction. Its changes are durable once it ends without an error."""
        if self.readonly:
            raise _translated("readonly", self.file)
        with translated_errors(self.file), self._writer.begin() as connection:
            yield connection

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in the only writing transaction, which is never aborted because of a deadlock."""
        with self.writing() as connection:
            return work(connection)

    def migrating(self) -> AbstractContextManager[None]:
        """Do nothing: there is only one writing transaction at a time."""
        return nullcontext()

    def lock(self, name: str, wait: float = 0.0) -> AbstractContextManager[bool]:
        """Take a named lock, see `Database`. A file lock is enough because one machine uses the database."""
        return disk.lock(self.file.parent / "index", f"lock-{name}", wait)

    def problems(self) -> list[str]:
        """Return the errors that SQLite's check of the whole file finds."""
        with self.reading() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
            return [line for line in found if line != "ok"]

    @property
    def bytes_on_disk(self) -> int:
        """The size of the file and its write-ahead log."""
        names = (self.file, self.file.with_name(self.file.name + "-wal"))
        return sum(name.stat().st_size for name in names if name.exists())

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file, without waiting for readers.

        Otherwise up to 4 MB stay in the log until the last process closes the library.
        """
        if self.readonly:
            return
        connection = self._engine.raw_connection()
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            log.info("cannot truncate the write-ahead log of %s: %s", self.file, error)
        finally:
            connection.execute(f"PRAGMA busy_timeout = {round(1000 * self._busy_timeout)}")
            connection.close()  # returns it to the pool

    def close(self) -> None:
        self._engine.dispose()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.file.absolute().as_uri()}?{_QUERY[self._mode]}",
            uri=True,
            timeout=self._busy_timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if self._mode == "rwc":
                self._use_write_ahead_log(connection)
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")  # commits survive a power failure
        except BaseException:
            connection.close()
            raise
        return connection

    def _use_write_ahead_log(self, connection: sqlite3.Connection) -> None:
        """Switch the file to the mode in which readers and a writer work in parallel.

        SQLite's busy timeout does not apply to this switch.
        """
        give_up = time.monotonic() + self._busy_timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > give_up:
                    raise
                time.sleep(0.05)


_QUERY = {"rw": "mode=rw", "rwc": "mode=rwc", "ro": "mode=ro", "immutable": "mode=ro&immutable=1"}


def open_file(file: Path, *, create: bool, busy_timeout: float) -> SqliteDatabase:
    """Open the database in a library's folder: for writing if possible, else for reading.

    Raises LibraryNotFound if there is none and `create` is false, and LibraryError for an unusable folder or file.
    """
    folder = file.parent
    with translated_errors(file):
        if folder.exists() and not folder.is_dir():
            raise LibraryError(f"{folder} is a file; a library is a folder")
        if create:
            _prepare_folder(folder, file)
        elif not file.is_file():
            raise _not_found(folder)
    if not create and file.stat().st_size == 0:
        raise _not_found(folder)  # the process that created it was killed
    if os.access(folder, os.W_OK) and (not file.exists() or os.access(file, os.W_OK)):
        return _open(file, "rwc" if create else "rw", busy_timeout)
    try:
        return _open(file, "ro", busy_timeout)
    except LibraryError as error:
        # SQLite cannot create the files of its write-ahead log here. An immutable database needs none.
        log.info("opening %s as an immutable file: %s", file, error)
        return _open(file, "immutable", busy_timeout)


@contextmanager
def translated_errors(file: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into a LibraryError that explains what to do."""
    try:
        with disk.translated_errors(file.parent):
            yield
    except IntegrityError:
        raise  # callers handle violated constraints
    except (DBAPIError, sqlite3.Error) as error:
        raise _translated(str(getattr(error, "orig", None) or error), file) from error
    except NoConnectionFree as error:
        raise _translated("locked", file) from error


def _open(file: Path, mode: str, busy_timeout: float) -> SqliteDatabase:
    database = SqliteDatabase(file, mode=mode, busy_timeout=busy_timeout)
    try:
        with database.reading() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar()
    except BaseException:
        database.close()
        raise
    return database


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later fails, without waiting, if another one writes in between.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_folder(folder: Path, file: Path) -> None:
    """Create the folder. A folder with other files is refused: it is probably a mistake."""
    folder.mkdir(parents=True, exist_ok=True)
    if file.exists():
        return
    others = [
        entry.name
        for entry in folder.iterdir()
        if not entry.name.startswith((".", file.name)) and entry.name not in ("index", "lost+found")
    ]
    if others:
        raise LibraryError(
            f"{folder} contains other files ({sorted(others)[0]}) and no library."
            " Choose an empty or new folder for the library"
        )
    # An index left over from a deleted catalogue: its segment ids belong to other recordings.
    shutil.rmtree(folder / "index", ignore_errors=True)


def _not_found(folder: Path) -> LibraryNotFound:
    return LibraryNotFound(f"no library at {folder}. Create one with `songprint --library {folder} add MUSIC`")


def _translated(detail: str, file: Path) -> LibraryError:
    folder = file.parent
    if "disk is full" in detail or ("disk I/O error" in detail and disk.nearly_full(folder)):
        return disk.full(folder)
    if "not a database" in detail or "malformed" in detail:
        return LibraryError(
            f"{file} is damaged or not a catalogue (SQLite: {detail})."
            " Restore a backup, or add the music to a new library"
        )
    if "locked" in detail:
        return LibraryError(f"another process keeps the library at {folder} busy. Try again when it has finished")
    if "readonly" in detail:
        return LibraryError(f"the library at {folder} is read-only: it can be searched, but not changed")
    return LibraryError(f"cannot use the library at {folder}: {detail}")
