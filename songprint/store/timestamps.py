"""How the database stores points in time: whole milliseconds since 1970 (UTC), by the clock of the database.

Workers on several machines share one clock this way. So they agree on when a lease ends, even if their own clocks
differ.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, text

CLOCKS = {
    "sqlite": "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "mysql": "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000",
    "mariadb": "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000",
    "postgresql": "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}


def clock(connection: Connection) -> int:
    """The current time in milliseconds since 1970, by the clock of the database."""
    return int(connection.execute(text(CLOCKS[connection.dialect.name])).scalar_one())


def iso(moment: int | None, timespec: str = "milliseconds") -> str:
    """Convert milliseconds since 1970 to ISO 8601 in UTC; None becomes the empty string.

    `timespec` is the precision, as in `datetime.isoformat`.

    >>> iso(1749816500250)
    '2025-06-13T12:08:20.250+00:00'
    >>> iso(1749816500250, "seconds")
    '2025-06-13T12:08:20+00:00'
    """
    if moment is None:
        return ""
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec=timespec)


def milliseconds(moment: str) -> int:
    """Convert ISO 8601 to milliseconds since 1970. A time without a zone is in UTC.

    Raises ValueError if the text is not a valid time.

    >>> milliseconds("2025-06-13T12:08:20.250Z")
    1749816500250
    """
    parsed = datetime.fromisoformat(moment)
    return round((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
