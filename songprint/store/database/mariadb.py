"""MariaDB and MySQL, through PyMySQL."""

from __future__ import annotations

import hashlib
import re

from sqlalchemy import ColumnElement, func
from sqlalchemy.exc import DBAPIError

from songprint.errors import LibraryError
from songprint.store.database.server import CONNECT_TIMEOUT, IDLE, ServerDatabase, Trouble

OLDEST = {"MariaDB": (10, 6), "MySQL": (8, 0)}  # FOR UPDATE SKIP LOCKED
LONGEST = 7 * 24 * 3600  # seconds that somebody may hold a lock without a word
MEGABYTE = 1 << 20
_FOUND_ROWS = 2  # count the rows that an update found, as elsewhere, and not those that it made different

_TROUBLES = {
    1045: Trouble.REFUSED,
    1698: Trouble.REFUSED,
    1049: Trouble.MISSING,
    1044: Trouble.FORBIDDEN,
    1142: Trouble.FORBIDDEN,
    1143: Trouble.FORBIDDEN,
    1227: Trouble.FORBIDDEN,
    1213: Trouble.GIVEN_UP,
    1020: Trouble.GIVEN_UP,
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
    reading_begins = ("START TRANSACTION READ ONLY",)  # in it all reads see what the first one sees
    # A writer sees what others have committed when it got its lock, and locks no gaps between rows.
    writing_begins = ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION")

    def lower(self, text: ColumnElement[str]) -> ColumnElement[str]:
        return func.lower(text)

    @property
    def bytes_on_disk(self) -> int:
        with self.reading() as connection:
            return int(
                connection.exec_driver_sql(
                    "SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables"
                    " WHERE table_schema = DATABASE()"
                ).scalar()
            )

    def problems(self) -> list[str]:
        with self._translated_errors(), self._engine.connect() as connection:
            tables = connection.exec_driver_sql("SHOW TABLES").scalars().all()
            rows = [row for table in tables for row in connection.exec_driver_sql(f"CHECK TABLE `{table}`")]
            return [f"{row[0]}: {row[3]}" for row in rows if row[2].lower() in ("error", "warning")]

    def _connect(self) -> object:
        address = self.address
        seconds = max(1, round(self._busy_timeout))
        connection = self._driver.connect(
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
            f" innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}, wait_timeout = {IDLE},"
            " collation_connection = 'utf8mb4_bin'",
        )
        connection._read_timeout = None  # it was for connecting, where the driver has no other: a statement may last
        return connection

    def _look(self) -> None:
        with self.reading() as connection:
            told, self._largest, self.readonly = connection.exec_driver_sql(
                "SELECT VERSION(), @@max_allowed_packet, @@read_only"
            ).one()
        name = "MariaDB" if "mariadb" in told.lower() else "MySQL"
        number = re.search(r"(\d+)\.(\d+)(\.\d+)?", told.removeprefix("5.5.5-"))  # which proxies put before it
        self.product, self.readonly = f"{name} {number[0]}", bool(self.readonly)
        if (int(number[1]), int(number[2])) < OLDEST[name]:
            raise LibraryError(
                f"the database server {self.address.server} is {self.product}; Songprint needs {name}"
                f" {'.'.join(map(str, OLDEST[name]))} or newer"
            )

    def _lock(self, connection: object, name: str, wait: float) -> bool:
        # The names of locks are common to all databases of a server.
        full = hashlib.blake2b(f"{self.address.name} {name}".encode(), digest_size=16).hexdigest()
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION wait_timeout = {LONGEST}")
            cursor.execute("SELECT GET_LOCK(%s, %s)", (f"songprint-{full}", round(wait)))
            return cursor.fetchone()[0] == 1

    def _trouble(self, error: BaseException | None) -> Trouble:
        code = error.args[0] if error is not None and error.args else None
        if code == 3 and "28" in str(error):  # error writing a file: no space left
            return Trouble.FULL
        if isinstance(error, self._driver.InterfaceError):
            return Trouble.LOST
        return _TROUBLES.get(code, Trouble.OTHER)

    def _detail(self, error: BaseException) -> str:
        return str(error.args[-1] if error.args else error).splitlines()[0]

    def _remedy(self, trouble: Trouble, error: BaseException) -> str:
        if trouble is Trouble.MISSING:
            return (
                f"there is no database '{self.address.name}' on the server {self.address.server}. Make it there:"
                f" CREATE DATABASE `{self.address.name}` CHARACTER SET utf8mb4"
            )
        # A server that is sent too much often hangs up without a word.
        size = _largest_value(error)
        largest = getattr(self, "_largest", 0)
        if trouble is Trouble.TOO_LARGE or size > largest > 0:
            wanted = max(2 * largest, 2 * size) // MEGABYTE + 1
            return (
                f"the database server {self.address.server} takes no more than {largest // MEGABYTE} MB at once,"
                f" and this recording needs more. Set max_allowed_packet={wanted}M in its configuration, restart it"
                " and give the command again"
            )
        return ""


def _largest_value(error: BaseException) -> int:
    """Bytes of what was being written."""
    given = error.params if isinstance(error, DBAPIError) else None
    rows = given if isinstance(given, list | tuple) and given and isinstance(given[0], dict | tuple) else [given or ()]
    return max(
        (
            sum(len(value) for value in (row.values() if isinstance(row, dict) else row) if isinstance(value, bytes))
            for row in rows
        ),
        default=0,
    )
