"""PostgreSQL, with the driver pg8000."""

from __future__ import annotations

import hashlib
import time

from sqlalchemy.engine.interfaces import DBAPIConnection

from songprint.errors import LibraryError
from songprint.store.database.server import CONNECT_TIMEOUT, IDLE_TIMEOUT, ServerDatabase, Trouble

OLDEST = 12  # major version
LOCK_INTERVAL = 0.05  # seconds between two attempts to take a lock

_TROUBLES = {  # by SQLSTATE
    "28P01": Trouble.REFUSED,
    "28000": Trouble.REFUSED,
    "3D000": Trouble.MISSING,
    "42501": Trouble.FORBIDDEN,
    "40P01": Trouble.ABORTED,
    "40001": Trouble.ABORTED,
    "55P03": Trouble.BUSY,
    "57014": Trouble.BUSY,
    "53300": Trouble.CROWDED,
    "53100": Trouble.FULL,
    "25006": Trouble.READONLY,
    "54000": Trouble.TOO_LARGE,
    "57P03": Trouble.UNREACHABLE,
    "57P01": Trouble.LOST,
    "57P02": Trouble.LOST,
    "25P03": Trouble.LOST,
    "08006": Trouble.LOST,
}


class PostgresDatabase(ServerDatabase):
    """A database of PostgreSQL 12 or later."""

    driver, extra, dialect = "pg8000", "postgresql", "postgresql+pg8000://"
    reading_begins = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",)
    writing_begins = ("BEGIN ISOLATION LEVEL READ COMMITTED",)

    @property
    def bytes_on_disk(self) -> int:
        with self.reading() as connection:
            return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())

    def problems(self) -> list[str]:
        return []  # PostgreSQL has no check that an ordinary user may run

    def _connect(self) -> DBAPIConnection:
        address = self.address
        connection: DBAPIConnection = self._driver.connect(
            user=address.user,
            password=address.password or None,
            database=address.name,
            **({"unix_sock": address.socket} if address.socket else {"host": address.host, "port": address.port}),
            ssl_context=self._tls() or False,
            timeout=CONNECT_TIMEOUT,
            application_name="songprint",
        )
        connection._usock.settimeout(None)  # the driver has no timeout for connecting alone
        connection.autocommit = True  # `_begin` starts the transactions
        cursor = connection.cursor()
        cursor.execute(f"SET lock_timeout = {round(1000 * self._busy_timeout)}")
        cursor.execute(f"SET idle_in_transaction_session_timeout = {1000 * IDLE_TIMEOUT}")
        cursor.execute("SET tcp_keepalives_idle = 60")  # frees the locks of clients that are gone
        cursor.close()
        return connection

    def _inspect_server(self) -> None:
        with self.reading() as connection:
            version, number, encoding, readonly = connection.exec_driver_sql(
                "SELECT current_setting('server_version'), current_setting('server_version_num')::int,"
                " current_setting('server_encoding'),"
                " pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'"
            ).one()
        self.product, self.readonly = f"PostgreSQL {version.split()[0]}", readonly
        if number < OLDEST * 10000:
            raise LibraryError(
                f"the database server {self.address.server} is {self.product}; Songprint needs"
                f" PostgreSQL {OLDEST} or newer"
            )
        if encoding != "UTF8":
            raise LibraryError(
                f"the database {self.name} stores text as {encoding}. Create one that supports all alphabets:"
                f" CREATE DATABASE \"{self.address.name}\" ENCODING 'UTF8' TEMPLATE template0"
            )

    def _lock(self, connection: DBAPIConnection, name: str, wait: float) -> bool:
        number = int.from_bytes(hashlib.blake2b(f"songprint {name}".encode(), digest_size=8).digest(), signed=True)
        give_up = time.monotonic() + wait
        cursor = connection.cursor()
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", (number,))
            row = cursor.fetchone()
            locked = row is not None and bool(row[0])
            if locked or time.monotonic() >= give_up:
                return locked
            time.sleep(LOCK_INTERVAL)

    def _trouble(self, error: BaseException) -> Trouble:
        code = _fields(error).get("C")
        if code:
            return _TROUBLES.get(code, Trouble.LOST if code.startswith("08") else Trouble.OTHER)
        if isinstance(error, self._driver.InterfaceError):
            return Trouble.UNREACHABLE if "create a connection" in str(error) else Trouble.LOST
        return Trouble.LOST if isinstance(error, OSError) else Trouble.OTHER

    def _detail(self, error: BaseException) -> str:
        message = _fields(error).get("M")
        return str(message or error.__cause__ or error).splitlines()[0]

    def _remedy(self, trouble: Trouble, error: BaseException) -> str:
        if trouble is Trouble.MISSING:
            return (
                f"there is no database '{self.address.name}' on the server {self.address.server}. Create it:"
                f" CREATE DATABASE \"{self.address.name}\" ENCODING 'UTF8' TEMPLATE template0"
            )
        return ""


def _fields(error: BaseException) -> dict[str, str]:
    """Return the fields of the server's error response: C is the code, M the message."""
    return error.args[0] if error.args and isinstance(error.args[0], dict) else {}
