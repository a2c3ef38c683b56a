"""What only SQLite needs: opening the file, its write-ahead log, read-only disks, errors in plain words."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Engine, QueuePool, create_engine, event, func
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from songprint.errors import LibraryError, LibraryNotFound
from songprint.store import disk
from songprint.store.database import Result

log = logging.getLogger(__name__)

FILE_NAME = "catalogue.sqlite"


class SqliteDatabase:
    """An open file; see `Database`."""

    product = f"SQLite {sqlite3.sqlite_version}"

    def __init__(self, file: Path, *, mode: str, busy_timeout: float) -> None:
        self.file, self.name = file, str(file)
        self.readonly = mode not in ("rw", "rwc")
        self._mode = mode
        self._busy_timeout = busy_timeout
        self._engine = create_engine("sqlite://", creator=self._connect, poolclass=QueuePool)
        event.listen(self._engine, "begin", _begin)
        self._writer: Engine = self._engine.execution_options(writes=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database; writers go on meanwhile."""
        with translated_errors(self.file), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is the only one to write; when it ends without an error, it is on the disk."""
        if self.readonly:
            raise _explained("readonly", self.file)
        with translated_errors(self.file), self._writer.begin() as connection:
            yield connection

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work` in a transaction that writes. It is the only one, and so never given up for another."""
        with self.writing() as connection:
            return work(connection)

    def migrating(self) -> AbstractContextManager[None]:
        """Nothing to do: every transaction that writes is alone."""
        return nullcontext()

    def lock(self, name: str, wait: float = 0.0) -> AbstractContextManager[bool]:
        """True inside for one holder of this name at a time: a file is used by one machine."""
        return disk.lock(self.file.parent / "index", f"lock-{name}", wait)

    def lower(self, text: ColumnElement[str]) -> ColumnElement[str]:
        """By Python's own `lower`, see `_connect`."""
        return func.lower(text)

    def problems(self) -> list[str]:
        """What SQLite's own check of the whole file finds."""
        with self.reading() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
            return [line for line in found if line != "ok"]

    @property
    def bytes_on_disk(self) -> int:
        """The file and its write-ahead log."""
        names = (self.file, self.file.with_name(self.file.name + "-wal"))
        return sum(name.stat().st_size for name in names if name.exists())

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file, where nobody is just reading it; it waits for no one.

        Otherwise up to 4 MB stay in it until the last process has closed the library.
        """
        if self.readonly:
            return
        connection = self._engine.raw_connection()
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            log.info("the write-ahead log of %s stays: %s", self.file, error)
        finally:
            connection.execute(f"PRAGMA busy_timeout = {round(1000 * self._busy_timeout)}")
            connection.close()  # back to the pool

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
            connection.execute("PRAGMA synchronous = FULL")  # what was added survives a power cut
            # SQLite knows capitals only in ASCII.
            connection.create_function("lower", 1, lambda text: text and text.lower(), deterministic=True)
        except BaseException:
            connection.close()
            raise
        return connection

    def _use_write_ahead_log(self, connection: sqlite3.Connection) -> None:
        """Readers and a writer side by side. The file remembers it; SQLite does not wait here by itself."""
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
    """Open the catalogue in a library's folder, for writing where that is possible, else for reading."""
    folder = file.parent
    with translated_errors(file):
        if folder.exists() and not folder.is_dir():
            raise LibraryError(f"{folder} is a file; a library is a folder")
        if create:
            _make_room(folder, file)
        elif not file.is_file():
            raise _nothing_there(folder)
    if not create and file.stat().st_size == 0:
        raise _nothing_there(folder)  # the process that was making it died
    if os.access(folder, os.W_OK) and (not file.exists() or os.access(file, os.W_OK)):
        return _tried(file, "rwc" if create else "rw", busy_timeout)
    try:
        return _tried(file, "ro", busy_timeout)
    except LibraryError as error:
        log.info("opening %s as a file that nobody changes: %s", file, error)
        return _tried(file, "immutable", busy_timeout)


@contextmanager
def translated_errors(file: Path) -> Iterator[None]:
    """Turn the errors of SQLite and of the file system into a LibraryError that says what to do."""
    try:
        with disk.translated_errors(file.parent):
            yield
    except IntegrityError:
        raise  # the business of whoever wrote
    except (DBAPIError, sqlite3.Error) as error:
        raise _explained(str(getattr(error, "orig", None) or error), file) from error
    except NoConnectionFree as error:
        raise _explained("locked", file) from error


def _tried(file: Path, mode: str, busy_timeout: float) -> SqliteDatabase:
    database = SqliteDatabase(file, mode=mode, busy_timeout=busy_timeout)
    try:
        with database.reading() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar()
    except BaseException:
        database.close()
        raise
    return database


def _begin(connection: Connection) -> None:
    # A transaction that first reads and then writes would fail, not wait, when another wrote in between.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_room(folder: Path, file: Path) -> None:
    """Make the folder. One that holds other things is refused: it was hardly meant."""
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
            f"{folder} holds other files ({sorted(others)[0]}) and no library."
            " Choose an empty or new folder for the library"
        )
    # Left over from a catalogue that somebody deleted: its segment ids mean other recordings.
    shutil.rmtree(folder / "index", ignore_errors=True)


def _nothing_there(folder: Path) -> LibraryNotFound:
    return LibraryNotFound(f"no library at {folder}. Make one with `songprint --library {folder} add MUSIC`")


def _explained(said: str, file: Path) -> LibraryError:
    folder = file.parent
    if "disk is full" in said or ("disk I/O error" in said and disk.nearly_full(folder)):
        return disk.full(folder)
    if "not a database" in said or "malformed" in said:
        return LibraryError(
            f"{file} is damaged or no catalogue (SQLite: {said})."
            " Put a backup in its place, or add the music to a new library"
        )
    if "locked" in said:
        return LibraryError(f"another process keeps the library at {folder} busy. Try again when it has finished")
    if "readonly" in said:
        return LibraryError(f"the library at {folder} is read-only: it can be searched, not changed")
    return LibraryError(f"cannot use the library at {folder}: {said}")
