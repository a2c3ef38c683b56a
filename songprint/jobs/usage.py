"""Usage: the duration of the inputs of jobs, by key and day, for bills and charts.

The duration of an input counts whether songs were found in it or not; a failed job counts as 0 seconds. The seconds of
a day are summed and then rounded up to minutes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, insert, select, update

from songprint.errors import SongprintError
from songprint.store.tables import usage
from songprint.store.timestamps import clock, iso

if TYPE_CHECKING:
    from songprint.store.database import Database


@dataclass(frozen=True)
class Used:
    """The usage of one key on one day."""

    day: str  # UTC, such as 2025-06-13
    key: str  # empty for jobs without a key
    jobs: int
    seconds: float  # of input

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
        "seconds": round(used.seconds, 3),
        "minutes": used.minutes,
    }
    return listed if price is None else listed | {"cost": used.cost(price)}


class Usage:
    """The usage table of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, key_id: str, job_id: str, seconds: float) -> None:
        """Count work that is not a job, such as identified queries. A `job_id` that exists is replaced.

        `Jobs` counts jobs itself when they end.
        """
        self._database.write(lambda connection: count(connection, clock(connection), key_id, job_id, seconds))

    def by_day(self, key_id: str | Collection[str] | None = None, since: str = "", until: str = "") -> list[Used]:
        """Usage from the day `since` to the day `until`, inclusive: one value per day and key."""
        wanted = select(usage.c.day, usage.c.key_id, func.count(), func.sum(usage.c.seconds))
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
            return [Used(day, key, jobs, float(seconds)) for day, key, jobs, seconds in rows]


def count(connection: Connection, now: int, key_id: str, job_id: str, seconds: float) -> None:
    """Count a job inside the transaction of the caller. An earlier count of the job is replaced."""
    values = {"key_id": key_id, "day": iso(now)[:10], "seconds": seconds}
    if not connection.execute(update(usage).where(usage.c.job_id == job_id).values(values)).rowcount:
        connection.execute(insert(usage).values(job_id=job_id, **values))


def to_csv(rows: Iterable[Used], price: float | None = None) -> str:
    """A table with a header line, and with costs if a `price` per minute is given.

    >>> print(to_csv([Used("2025-06-13", "SPabc", 2, 61.0)], price=0.44), end="")
    day,key,jobs,seconds,minutes,cost
    2025-06-13,SPabc,2,61.000,2,0.88
    """
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(["day", "key", "jobs", "seconds", "minutes"] + ["cost"] * (price is not None))
    for row in rows:
        table.writerow(
            [row.day, row.key, row.jobs, f"{row.seconds:.3f}", row.minutes]
            + ([f"{row.cost(price):.2f}"] if price is not None else [])
        )
    return written.getvalue()


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text[:10]).isoformat()
    except ValueError as error:
        raise SongprintError(f"{text!r} is not a date. Write it as 2025-06-13") from error
