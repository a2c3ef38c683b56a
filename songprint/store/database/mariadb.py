"""MariaDB and MySQL, with the driver PyMySQL."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError

from songprint.errors import LibraryError
from songprint.store.database.server import CONNECT_TIMEOUT, IDLE_TIMEOUT, ServerDatabase, Trouble

OLDEST = {"MariaDB": (10, 6), "MySQL": (8, 0)}  # the first versions with FOR UPDATE SKIP LOCKED
LOCK_TIMEOUT = 7 * 24 * 3600  # seconds after which the server ends the silent connection that holds a lock
MEGABYTE = 1 << 20
# A client flag: an update returns the number of matched rows, as in other databases, and not of changed ones.
_FOUND_ROWS = 2

_TROUBLES = {  # by error code
    1045: Trouble.REFUSED,
    1698: Trouble.REFUSED,
    1049: Trouble.MISSING,
    1044: Trouble.FORBIDDEN,
    1142: Trouble.FORBIDDEN,
    1143: Trouble.FORBIDDEN,
    1227: Trouble.FORBIDDEN,
    1213: Trouble.ABORTED,
    1020: Trouble.ABORTED,
    1205: Trouble.BUSY,
    1040: Trouble.CROWDED,
    1203: Trouble.CROWDED,
    1226: Trouble.CROWDED,
    1021: Trouble.FULL,
    1114: Trouble.FULL,
    1290: Trouble.READONLY,
    1836: Trouble.READONLY,
    1792: Trouble.READONLY,
    1153: Trouble.TOO_LARGE,
    2003: Trouble.UNREACHABLE,
    2002: Trouble.UNREACHABLE,
    2006: Trouble.LOST,
    2013: Trouble.LOST,
    2055: Trouble.LOST,
    1053: Trouble.LOST,
    1927: Trouble.LOST,
    1129: Trouble.UNREACHABLE,
}


class MariaDatabase(ServerDatabase):
    """A database of MariaDB 10.6 or MySQL 8.0, or later."""

    driver, extra, dialect = "pymysql", "mysql", "mysql+pymysql://"
    reading_begins = ("START TRANSACTION READ ONLY",)  # all reads see the same snapshot
    # Writers see what others committed before they got their locks, and lock no gaps between rows.
    writing_begins = ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION")

    @property
    def bytes_on_disk(self) -> int:
        with self.reading() as connection:
            size = connection.exec_driver_sql(
                "SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables"
                " WHERE table_schema = DATABASE()"
            )
            return int(size.scalar_one())

    def problems(self) -> list[str]:
        with self._translated_errors(), self._engine.connect() as connection:
            tables = connection.exec_driver_sql("SHOW TABLES").scalars().all()
            rows = [row for table in tables for row in connection.exec_driver_sql(f"CHECK TABLE `{table}`")]
            return [f"{row[0]}: {row[3]}" for row in rows if row[2].lower() in ("error", "warning")]

    def _connect(self) -> DBAPIConnection:
        address = self.address
        seconds = max(1, round(self._busy_timeout))
        connection: DBAPIConnection = self._driver.connect(
            host=address.host,
            port=address.port,
            unix_socket=address.socket or None,
            user=address.user,
            password=address.password,
            database=address.name,
            charset="utf8mb4",
            autocommit=True,
            ssl=self._tls(),
            ssl_disabled=address.tls == "off",
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=CONNECT_TIMEOUT,
            client_flag=_FOUND_ROWS,
            init_command="SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',"
            f" innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}, wait_timeout = {IDLE_TIMEOUT},"
            " collation_connection = 'utf8mb4_bin'",
        )
        # The driver has no timeout for connecting alone, and a statement may take longer.
        connection._read_timeout = None
        return connection

    def _inspect_server(self) -> None:
        with self.reading() as connection:
            version, self._max_packet, readonly = connection.exec_driver_sql(
                "SELECT VERSION(), @@max_allowed_packet, @@read_only"
            ).one()
        name = "MariaDB" if "mariadb" in version.lower() else "MySQL"
        version = version.removeprefix("5.5.5-")  # a prefix that proxies add
        number = re.match(r"[\d.]*\d", version)
        self.product, self.readonly = f"{name} {number[0] if number else version}", bool(readonly)
        if number and tuple(map(int, number[0].split(".")[:2])) < OLDEST[name]:
            raise LibraryError(
                f"the database server {self.address.server} is {self.product}; Songprint needs {name}"
                f" {'.'.join(map(str, OLDEST[name]))} or newer"
            )

    def _lock(self, connection: DBAPIConnection, name: str, wait: float) -> bool:
        # All databases of a server share the names of locks.
        full = hashlib.blake2b(f"{self.address.name} {name}".encode(), digest_size=16).hexdigest()
        cursor = connection.cursor()
        cursor.execute(f"SET SESSION wait_timeout = {LOCK_TIMEOUT}")
        cursor.execute("SELECT GET_LOCK(%s, %s)", (f"songprint-{full}", round(wait)))
        row = cursor.fetchone()
        cursor.close()
        return row is not None and bool(row[0] == 1)

    def _trouble(self, error: BaseException) -> Trouble:
        code = error.args[0] if error.args else 0
        if code == 3 and "28" in str(error):  # error writing a file, with ENOSPC
            return Trouble.FULL
        if isinstance(error, self._driver.InterfaceError):
            return Trouble.LOST
        return _TROUBLES.get(code, Trouble.OTHER)

    def _detail(self, error: BaseException) -> str:
        return str(error.args[-1] if error.args else error).splitlines()[0]

    def _remedy(self, trouble: Trouble, error: BaseException) -> str:
        if trouble is Trouble.MISSING:
            return (
                f"there is no database '{self.address.name}' on the server {self.address.server}. Create it:"
                f" CREATE DATABASE `{self.address.name}` CHARACTER SET utf8mb4"
            )
        # A server that receives a packet beyond its limit often closes the connection without an error.
        size = _largest_row(error)
        limit = getattr(self, "_max_packet", 0)
        if trouble is Trouble.TOO_LARGE or size > limit > 0:
            wanted = max(2 * limit, 2 * size) // MEGABYTE + 1
            return (
                f"the database server {self.address.server} accepts at most {limit // MEGABYTE} MB at once, and this"
                f" recording needs more. Set max_allowed_packet={wanted}M in its configuration, restart it and run"
                " the command again"
            )
        return ""


def _largest_row(error: BaseException) -> int:
    """Return the bytes of the largest row that the failed statement writes."""
    parameters: Any = error.params if isinstance(error, DBAPIError) else None
    several = isinstance(parameters, list | tuple) and parameters and isinstance(parameters[0], dict | tuple)
    rows = parameters if several else [parameters or ()]
    return max(
        (
            sum(len(value) for value in (row.values() if isinstance(row, dict) else row) if isinstance(value, bytes))
            for row in rows
        ),
        default=0,
    )
