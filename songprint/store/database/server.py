"""A database on a server: the common part of MariaDB, MySQL and PostgreSQL."""

from __future__ import annotations

import logging
import random
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from songprint.errors import LibraryError, LibraryFull, MissingExtra
from songprint.store.database import Database, Result, make_storable

if TYPE_CHECKING:
    from songprint.address import DatabaseAddress

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0  # seconds
IDLE_CONNECTIONS = 5  # connections that stay open when they are not in use
MAX_CONNECTIONS = 20  # open at the same time, per process
ATTEMPTS = 6  # at a transaction that the server aborts because of a deadlock
IDLE_TIMEOUT = 600  # seconds after which the server ends the transaction of a silent client


class Trouble(Enum):
    """The causes of errors that Songprint distinguishes."""

    UNREACHABLE = auto()
    REFUSED = auto()  # wrong user name or password
    MISSING = auto()  # the database does not exist
    FORBIDDEN = auto()  # the user lacks rights
    ABORTED = auto()  # a deadlock; running the transaction again helps
    BUSY = auto()  # waited too long for another transaction
    CROWDED = auto()  # too many connections
    FULL = auto()  # the disk of the server
    READONLY = auto()
    TOO_LARGE = auto()  # a statement
    LOST = auto()  # the connection
    OTHER = auto()


class _Aborted(LibraryError):
    """The server aborted a transaction that can be run again."""


class ServerDatabase(Database, ABC):
    """An open database on a server; see `Database`."""

    driver: ClassVar[str]  # the Python module
    extra: ClassVar[str]  # the extra of Songprint that installs the driver
    dialect: ClassVar[str]  # the name in SQLAlchemy
    reading_begins: ClassVar[tuple[str, ...]]  # statements that start a reading transaction
    writing_begins: ClassVar[tuple[str, ...]]

    def __init__(self, address: DatabaseAddress, *, busy_timeout: float) -> None:
        self.address, self.name = address, str(address)
        self.product, self.readonly = type(self).__name__, False
        self._busy_timeout = busy_timeout
        try:
            self._driver: Any = import_module(self.driver)
        except ImportError as error:
            raise MissingExtra(
                f"the database {self.name} needs the package {self.driver}: pip install 'songprint[{self.extra}]'"
            ) from error
        self._engine = create_engine(
            self.dialect,
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=IDLE_CONNECTIONS,
            max_overflow=MAX_CONNECTIONS - IDLE_CONNECTIONS,
            pool_timeout=busy_timeout,
            pool_logging_name="songprint",
        )
        event.listen(self._engine, "checkout", self._check_connection)
        event.listen(self._engine, "begin", self._begin)
        make_storable(self._engine)
        # SQLAlchemy logs an error when it closes a broken connection, which is of no interest to users.
        logging.getLogger("sqlalchemy.pool.impl.QueuePool.songprint").setLevel(logging.CRITICAL)
        self._writer: Engine = self._engine.execution_options(writes=True)
        try:
            self._inspect_server()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that reads one consistent state of the database. It does not block writers."""
        with self._translated_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes. Its changes are durable once it ends without an error."""
        with self._translated_errors(), self._writer.begin() as connection:
            yield connection

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a writing transaction, and again if the server aborts it because of a deadlock."""
        for attempt in range(1, ATTEMPTS):
            try:
                with self.writing() as connection:
                    return work(connection)
            except _Aborted as error:
                log.info("%s; attempt %d", error, attempt)
                time.sleep(random.uniform(0, 0.01 * 2**attempt))
        with self.writing() as connection:
            return work(connection)

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Prevent all other processes, on any machine, from migrating the schema at the same time."""
        with self.lock("schema", wait=self._busy_timeout) as locked:
            if not locked:
                raise self._error(Trouble.BUSY, "")
            yield

    @contextmanager
    def lock(self, name: str, wait: float = 0.0) -> Iterator[bool]:
        """Take a named lock, see `Database`. The server releases it when the connection ends."""
        with self._translated_errors():
            connection = self._connect()  # a separate connection, which owns the lock
        try:
            with self._translated_errors():
                locked = self._lock(connection, name, wait)
            yield locked
        finally:
            connection.close()

    def checkpoint(self) -> None:
        """Do nothing: servers manage their disk space themselves."""
        return

    def close(self) -> None:
        self._engine.dispose()

    @abstractmethod
    def _connect(self) -> DBAPIConnection:
        """Open a connection of the driver, in autocommit mode: `_begin` starts the transactions."""

    @abstractmethod
    def _inspect_server(self) -> None:
        """Read product, version and mode of the server, and refuse unsupported ones."""

    @abstractmethod
    def _lock(self, connection: DBAPIConnection, name: str, wait: float) -> bool:
        """Take the named lock for as long as the connection lives."""

    @abstractmethod
    def _trouble(self, error: BaseException) -> Trouble:
        """Classify an error of the driver."""

    @abstractmethod
    def _detail(self, error: BaseException) -> str:
        """Return the message of the server, on one line."""

    @abstractmethod
    def _remedy(self, trouble: Trouble, error: BaseException) -> str:
        """Return the message for a MISSING database or a TOO_LARGE statement; empty if there is none."""

    def _check_connection(self, connection: DBAPIConnection, *_: object) -> None:
        """Replace a connection that broke while it was idle, and all that were opened before it.

        SQLAlchemy's `pool_pre_ping` does not recognise the plain socket errors that pg8000 raises.
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
        """Return the TLS settings of connections; None for unencrypted ones."""
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
            raise  # callers handle violated constraints
        except (DBAPIError, NoConnectionFree, self._driver.Error) as error:
            raise self._translated(error) from error
        except OSError as error:
            raise self._error(Trouble.LOST, str(error)) from error

    def _translated(self, error: BaseException) -> LibraryError:
        if isinstance(error, NoConnectionFree):
            return LibraryError(
                f"all {MAX_CONNECTIONS} connections of this process to {self.name} are in use. Try again"
            )
        original = getattr(error, "orig", None) or error
        trouble = self._trouble(original)
        detail = self._detail(original)
        if trouble in (Trouble.MISSING, Trouble.TOO_LARGE, Trouble.LOST):
            remedy = self._remedy(trouble, error)
            if remedy:
                return LibraryError(remedy)
        return self._error(trouble, detail)

    def _error(self, trouble: Trouble, detail: str) -> LibraryError:
        server, user = self.address.server, self.address.user
        if trouble is Trouble.FULL:
            return LibraryFull(
                f"the disk of the database server {server} is full. Everything added before is safe:"
                " free some space and run the command again"
            )
        if trouble is Trouble.ABORTED:
            return _Aborted(f"deadlock with other transactions in {self.name}. Try again")
        return LibraryError(
            {
                Trouble.UNREACHABLE: f"no database server answers at {server} ({detail}). Check that it is running and"
                " that the setting `database` is correct",
                Trouble.REFUSED: f"the database server {server} refuses the user '{user}' ({detail}). Check the user"
                " name and password in the setting `database`",
                Trouble.FORBIDDEN: f"the user '{user}' lacks rights in the database {self.name} ({detail}). Songprint"
                " creates and changes tables: grant it all rights on this database",
                Trouble.BUSY: f"another process keeps the library at {self.name} busy. Try again when it has finished",
                Trouble.CROWDED: f"the database server {server} accepts no more connections ({detail}). Raise its limit"
                " (max_connections), or run fewer processes",
                Trouble.READONLY: f"the library at {self.name} is read-only: it can be searched, but not changed",
                Trouble.LOST: f"lost the connection to the database server {server} ({detail}). Everything confirmed"
                " before is safe: run the command again when the server is available",
            }.get(trouble, f"cannot use the library at {self.name}: {detail}")
        )
