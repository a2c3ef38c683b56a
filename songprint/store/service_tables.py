"""The tables of the service: jobs, callbacks, keys, usage, audit. They lie in the catalogue's database.

All moments are whole milliseconds since 1970 by the clock of the database (`clock`): so workers on several machines
agree about when a lease ends, whatever their own clocks say.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import BigInteger, Column, Connection, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy import text as sql

from songprint.store.database.columns import EXACT, Identifier, LongText

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("number", Identifier, primary_key=True),  # in the order of submission
    Column("id", String(64), nullable=False, unique=True),
    Column("state", String(12), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("input", LongText, nullable=False),  # JSON
    Column("options", LongText, nullable=False),  # JSON
    Column("progress", Float(53), nullable=False),  # 0 to 1
    Column("result", LongText),  # JSON: a timeline
    Column("error_code", String(40), nullable=False),
    Column("error", Text, nullable=False),
    Column("key_id", String(64), nullable=False),  # whose job it is; empty: nobody's
    Column("session_id", String(200), nullable=False),
    Column("session_context", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),  # of the latest attempt
    Column("finished_at", BigInteger),
    Column("changed_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),  # not to be begun before
    Column("attempts", Integer, nullable=False),  # that were begun
    Column("seconds", Float(53), nullable=False),  # of the input
    Column("worker", String(200), nullable=False),  # who runs it, or ran it last
    Column("lease", String(40), nullable=False),  # a word that only the present claim knows
    Column("lease_until", BigInteger),
    Column("upload", Text),  # a file to be removed when nobody needs it any more
    sqlite_autoincrement=True,
    **EXACT,
)
Index("jobs_by_turn", jobs.c.state, jobs.c.priority, jobs.c.number)
Index("jobs_by_key", jobs.c.key_id, jobs.c.number)
Index("jobs_by_change", jobs.c.changed_at)

sessions = Table(
    "job_sessions",
    metadata,  # the same session id does not make a second job
    Column("key_id", String(64), primary_key=True),
    Column("session_id", String(200), primary_key=True),
    Column("job_id", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    **EXACT,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(64), primary_key=True),  # the webhook-id: the same at every attempt
    Column("job_id", String(64), nullable=False, index=True),
    Column("event", String(12), nullable=False),  # the state of the job that is told
    Column("url", Text, nullable=False),
    Column("host", String(255), nullable=False),  # of the URL: one slow host must not hold up others
    Column("style", String(20), nullable=False),
    Column("state", String(12), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),  # that were begun
    Column("waits", Integer, nullable=False),  # of the schedule that were used up
    Column("lease", String(40), nullable=False),
    Column("lease_until", BigInteger),
    Column("delivered_at", BigInteger),
    **EXACT,
)
Index("deliveries_by_turn", deliveries.c.state, deliveries.c.due_at)

attempts = Table(
    "delivery_attempts",
    metadata,
    Column("number", Identifier, primary_key=True),
    Column("delivery_id", String(64), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("elapsed", Float(53), nullable=False),  # seconds
    Column("status", Integer),  # of the answer; none: there was no answer
    Column("error", Text, nullable=False),
    sqlite_autoincrement=True,
    **EXACT,
)

keys = Table(
    "service_keys",
    metadata,  # KEYS is a word of MariaDB's own
    Column("id", String(64), primary_key=True),  # the SecretId of Tencent's signature
    Column("name", String(200), nullable=False),
    Column("scope", String(12), nullable=False),
    Column("parent", String(64), nullable=False, index=True),  # empty: a key of its own
    Column("rate", Float(53)),  # requests per second; none: no limit
    Column("secret", LargeBinary, nullable=False),  # encrypted: a signature needs the secret itself
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    **EXACT,
)

usage = Table(
    "service_usage",
    metadata,  # USAGE is a word of MariaDB's own
    Column("job_id", String(64), primary_key=True),  # so a job is counted once
    Column("key_id", String(64), nullable=False),
    Column("day", String(10), nullable=False, index=True),  # UTC
    Column("seconds", Float(53), nullable=False),  # of input
    **EXACT,
)

audit = Table(
    "audit",
    metadata,
    Column("number", Identifier, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("key_id", String(64), nullable=False, index=True),  # who did it; empty: somebody at the machine itself
    Column("action", String(60), nullable=False),
    Column("subject", Text, nullable=False),  # to what
    sqlite_autoincrement=True,
    **EXACT,
)

verdicts = Table(
    "verdicts",
    metadata,  # what people say of what was recognised
    Column("job_id", String(64), primary_key=True),
    Column("part", String(10), primary_key=True),  # of the result: "segment" or "gap"
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("verdict", String(12), nullable=False),
    Column("recording_id", BigInteger),  # of a correction
    Column("note", Text, nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    **EXACT,
)

_CLOCKS = {
    "sqlite": "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "mysql": "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000",
    "mariadb": "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000",
    "postgresql": "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}


def create(connection: Connection) -> None:
    """Make the tables that are not there."""
    metadata.create_all(connection, checkfirst=True)


def clock(connection: Connection) -> int:
    """Now, by the clock of the database: milliseconds since 1970."""
    return int(connection.scalar(sql(_CLOCKS[connection.dialect.name])))


def iso(moment: int | None) -> str:
    """A moment as people and programs write it, in UTC; empty for none.

    >>> iso(1749816500250)
    '2025-06-13T12:08:20.250+00:00'
    """
    if moment is None:
        return ""
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds")


def milliseconds(moment: str) -> int:
    """The reverse of `iso`, for anything in ISO 8601; without a zone it is UTC. ValueError if it is no moment.

    >>> milliseconds("2025-06-13T12:08:20.250Z")
    1749816500250
    """
    parsed = datetime.fromisoformat(moment)
    return round((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
