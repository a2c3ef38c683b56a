"""A database on a server: what MariaDB, MySQL and PostgreSQL have in common."""

from __future__ import annotations

import logging
import random
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum, auto
from importlib import import_module
from typing import ClassVar

from sqlalchemy import ColumnElement, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from songprint.address import DatabaseAddress
from songprint.errors import LibraryError, LibraryFull, MissingExtra
from songprint.store.database import Result

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0  # seconds
KEPT, MOST = 5, 20  # connections that stay open; that may be open at once
ATTEMPTS = 6  # of a transaction that the server gives up for the sake of another
IDLE = 600  # seconds after which the server ends a transaction of somebody who has gone silent


class Trouble(Enum):
    """What an error of a server means for those who use it."""

    UNREACHABLE = auto()
    REFUSED = auto()  # name or password
    MISSING = auto()  # the database
    FORBIDDEN = auto()  # to this user
    GIVEN_UP = auto()  # for the sake of another transaction: to be done again
    BUSY = auto()  # waited for another transaction for too long
    CROWDED = auto()  # too many connections
    FULL = auto()
    READONLY = auto()
    TOO_LARGE = auto()
    LOST = auto()  # the connection
    OTHER = auto()


class _GivenUp(LibraryError):
    """The server ended a transaction that it may be given once more."""


class ServerDatabase(ABC):
    """An open database on a server; see `Database`."""

    driver: ClassVar[str]  # as Python imports it
    extra: ClassVar[str]  # of Songprint, that installs it
    dialect: ClassVar[str]  # as SQLAlchemy calls it
    reading_begins: ClassVar[tuple[str, ...]]
    writing_begins: ClassVar[tuple[str, ...]]

    def __init__(self, address: DatabaseAddress, *, busy_timeout: float) -> None:
        self.address, self.name = address, str(address)
        self.product, self.readonly = type(self).__name__, False
        self._busy_timeout = busy_timeout
        try:
            self._driver = import_module(self.driver)
        except ImportError as error:
            raise MissingExtra(
                f"the database {self.name} needs the package {self.driver}: pip install 'songprint[{self.extra}]'"
            ) from error
        self._engine = create_engine(
            self.dialect,
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=KEPT,
            max_overflow=MOST - KEPT,
            pool_timeout=busy_timeout,
            pool_logging_name="songprint",
        )
        event.listen(self._engine, "checkout", self._check)
        event.listen(self._engine, "begin", self._begin)
        # A connection that broke cannot be closed in form, which nobody has to know.
        logging.getLogger("sqlalchemy.pool.impl.QueuePool.songprint").setLevel(logging.CRITICAL)
        self._writer: Engine = self._engine.execution_options(writes=True)
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database; writers go on meanwhile."""
        with self._translated_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; when it ends without an error, it is on the server's disk."""
        with self._translated_errors(), self._writer.begin() as connection:
            yield connection

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work` in a transaction that writes; again if the server gave it up for the sake of another."""
        for attempt in range(1, ATTEMPTS):
            try:
                with self.writing() as connection:
                    return work(connection)
            except _GivenUp as error:
                log.info("%s; attempt %d", error, attempt)
                time.sleep(random.uniform(0, 0.01 * 2**attempt))
        with self.writing() as connection:
            return work(connection)

    def migrating(self) -> AbstractContextManager[None]:
        """Inside, nobody else on any machine changes the form of the tables."""
        return self._migrating()

    @contextmanager
    def _migrating(self) -> Iterator[None]:
        with self.lock("schema", wait=self._busy_timeout) as mine:
            if not mine:
                raise self._said(Trouble.BUSY, "")
            yield

    @contextmanager
    def lock(self, name: str, wait: float = 0.0) -> Iterator[bool]:
        """True inside for one holder of this name at a time; the end of the connection ends it too."""
        with self._translated_errors():
            connection = self._connect()  # of its own: the lock is the connection's
        try:
            with self._translated_errors():
                mine = self._lock(connection, name, wait)
            yield mine
        finally:
            connection.close()

    @abstractmethod
    def lower(self, text: ColumnElement[str]) -> ColumnElement[str]:
        """The text in small letters, of every alphabet."""

    @property
    @abstractmethod
    def bytes_on_disk(self) -> int:
        """What the tables take, with their indexes."""

    @abstractmethod
    def problems(self) -> list[str]:
        """What the server's own check of the tables finds."""

    def checkpoint(self) -> None:
        """The server looks after its disk itself."""
        return

    def close(self) -> None:
        self._engine.dispose()

    @abstractmethod
    def _connect(self) -> object:
        """A connection of the driver, which leaves the beginning of transactions to us."""

    @abstractmethod
    def _look(self) -> None:
        """Ask the server what it is, and refuse one that will not do."""

    @abstractmethod
    def _lock(self, connection: object, name: str, wait: float) -> bool:
        """Take the lock of this name for as long as the connection lives."""

    @abstractmethod
    def _trouble(self, error: BaseException | None) -> Trouble:
        """What an error of the driver means."""

    @abstractmethod
    def _detail(self, error: BaseException) -> str:
        """What the server itself said, on one line."""

    @abstractmethod
    def _remedy(self, trouble: Trouble, error: BaseException) -> str:
        """What to do about a MISSING database, and about what was TOO_LARGE."""

    def _check(self, connection: object, *_: object) -> None:
        """One that broke while nobody used it is replaced, and all that were opened before with it.

        SQLAlchemy's own check does not know the bare errors of sockets that pg8000 lets through.
        """
        try:
            cursor = connection.cursor()
            cursor.execute("SELECT 1")
            cursor.close()
        except (self._driver.Error, OSError) as error:
            raise InvalidatePoolError from error

    def _begin(self, connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        for statement in self.writing_begins if writes else self.reading_begins:
            connection.exec_driver_sql(statement)

    def _tls(self) -> ssl.SSLContext | None:
        """How to encrypt the connection, if it is to be."""
        if self.address.tls == "off":
            return None
        try:
            context = ssl.create_default_context(cafile=self.address.tls_ca or None)
        except OSError as error:
            raise LibraryError(f"cannot read the certificates in {self.address.tls_ca}: {error}") from error
        if self.address.tls == "on":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise  # the business of whoever wrote
        except (DBAPIError, NoConnectionFree, self._driver.Error) as error:
            raise self._explained(error) from error
        except OSError as error:
            raise self._said(Trouble.LOST, str(error)) from error

    def _explained(self, error: BaseException) -> LibraryError:
        if isinstance(error, NoConnectionFree):
            return LibraryError(f"all {MOST} connections of this process to {self.name} are in use. Try again")
        original = getattr(error, "orig", None) or error
        trouble = self._trouble(original)
        said = self._detail(original)
        if trouble in (Trouble.MISSING, Trouble.TOO_LARGE, Trouble.LOST):
            remedy = self._remedy(trouble, error)
            if remedy:
                return LibraryError(remedy)
        return self._said(trouble, said)

    def _said(self, trouble: Trouble, said: str) -> LibraryError:
        server, user = self.address.server, self.address.user
        if trouble is Trouble.FULL:
            return LibraryFull(
                f"the disk of the database server {server} is full. What was added before is safe:"
                " make room and run the command again"
            )
        if trouble is Trouble.GIVEN_UP:
            return _GivenUp(f"others keep changing the same in {self.name}. Try again")
        return LibraryError(
            {
                Trouble.UNREACHABLE: f"no database server answers at {server} ({said}). Is it running, and does the"
                " setting `database` name it rightly?",
                Trouble.REFUSED: f"the database server {server} does not let the user '{user}' in ({said}). Are name and"
                " password in the setting `database` right?",
                Trouble.FORBIDDEN: f"the user '{user}' lacks rights in the database {self.name} ({said}). Songprint makes"
                " and changes tables: grant it all rights on this database",
                Trouble.BUSY: f"another process keeps the library at {self.name} busy. Try again when it has finished",
                Trouble.CROWDED: f"the database server {server} has no connection free ({said}). Raise its limit"
                " (max_connections), or run fewer processes",
                Trouble.READONLY: f"the library at {self.name} is read-only: it can be searched, not changed",
                Trouble.LOST: f"the connection to the database server {server} broke off ({said}). What was confirmed"
                " before is safe: give the command again when the server runs",
            }.get(trouble, f"cannot use the library at {self.name}: {said}")
        )
