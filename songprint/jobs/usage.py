"""Usage: the number and duration of jobs and queries, by key and day, for bills and charts.

The duration of an input counts whether songs were found in it or not; a failed job counts as 0 seconds. The seconds of
a day are summed and then rounded up to minutes.

Each job has a row of its own, which counts it once whatever happens. All queries of a key on one day share one row,
which every server process increments.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from sqlalchemy import Connection, case, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from songprint.errors import SongprintError
from songprint.store.tables import usage
from songprint.store.timestamps import iso

if TYPE_CHECKING:
    from songprint.store.database import Database


QUERY = "query"  # the kind of rows that count queries; the other kind is "job"


@dataclass(frozen=True)
class Used:
    """The usage of one key on one day."""

    day: str  # UTC, such as 2025-06-13
    key: str  # empty for jobs without a key
    jobs: int
    seconds: float  # of input, of jobs and queries
    queries: int = 0

    @property
    def minutes(self) -> int:
        """The billed minutes, rounded up.

        >>> Used("2025-06-13", "", 2, 61.0).minutes
        2
        """
        return math.ceil(round(self.seconds, 3) / 60)

    def cost(self, price: float) -> float:
        """The cost at a price per minute."""
        return round(self.minutes * price, 2)


def used_object(used: Used, price: float | None = None) -> dict[str, object]:
    """Usage as JSON, with the cost if a price per minute is given."""
    listed: dict[str, object] = {
        "day": used.day,
        "key": used.key or None,
        "jobs": used.jobs,
        "queries": used.queries,
        "seconds": round(used.seconds, 3),
        "minutes": used.minutes,
    }
    return listed if price is None else listed | {"cost": used.cost(price)}


class Usage:
    """The usage table of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_queries(self, key_id: str, day: str, number: int, seconds: float) -> None:
        """Add queries of this duration in total to those of a key on a UTC day such as 2025-06-13.

        `Jobs` counts jobs itself when they end.
        """
        row = {"job_id": f"{QUERY} {day} {key_id}"[:64], "key_id": key_id, "day": day, "kind": QUERY}

        def add(connection: Connection) -> None:
            added = update(usage).where(usage.c.job_id == row["job_id"])
            more = {"count": usage.c.count + number, "seconds": usage.c.seconds + seconds}
            if not connection.execute(added.values(more)).rowcount:
                connection.execute(insert(usage).values(**row, count=number, seconds=seconds))

        try:
            self._database.write(add)
        except IntegrityError:  # another process inserted the row at the same moment
            self._database.write(add)

    def by_day(self, key_id: str | Collection[str] | None = None, since: str = "", until: str = "") -> list[Used]:
        """Usage from the day `since` to the day `until`, inclusive: one value per day and key."""
        queries = func.sum(case((usage.c.kind == QUERY, usage.c.count), else_=0))
        wanted = select(
            usage.c.day, usage.c.key_id, func.sum(usage.c.count) - queries, func.sum(usage.c.seconds), queries
        )
        if key_id is not None:
            wanted = wanted.where(usage.c.key_id.in_([key_id] if isinstance(key_id, str) else list(key_id)))
        if since:
            wanted = wanted.where(usage.c.day >= _day(since))
        if until:
            wanted = wanted.where(usage.c.day <= _day(until))
        with self._database.reading() as connection:
            rows = connection.execute(
                wanted.group_by(usage.c.day, usage.c.key_id).order_by(usage.c.day, usage.c.key_id)
            )
            return [
                Used(day, key, int(jobs), float(seconds), int(queries)) for day, key, jobs, seconds, queries in rows
            ]


def count(connection: Connection, now: int, key_id: str, job_id: str, seconds: float) -> None:
    """Count a job inside the transaction of the caller. An earlier count of the job is replaced."""
    values = {"key_id": key_id, "day": iso(now)[:10], "seconds": seconds}
    if not connection.execute(update(usage).where(usage.c.job_id == job_id).values(values)).rowcount:
        connection.execute(insert(usage).values(job_id=job_id, **values))


def to_csv(rows: Iterable[Used], price: float | None = None) -> str:
    """A table with a header line, and with costs if a `price` per minute is given.

    >>> print(to_csv([Used("2025-06-13", "SPabc", 2, 61.0)], price=0.44), end="")
    day,key,jobs,queries,seconds,minutes,cost
    2025-06-13,SPabc,2,0,61.000,2,0.88
    """
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(["day", "key", "jobs", "queries", "seconds", "minutes"] + ["cost"] * (price is not None))
    for row in rows:
        table.writerow(
            [row.day, row.key, row.jobs, row.queries, f"{row.seconds:.3f}", row.minutes]
            + ([f"{row.cost(price):.2f}"] if price is not None else [])
        )
    return written.getvalue()


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text[:10]).isoformat()
    except ValueError as error:
        raise SongprintError(f"{text!r} is not a date. Write it as 2025-06-13") from error
