"""Deliveries: callbacks that are owed, written together with the end of their job, and what became of each.

A delivery is attempted until the receiver answers with 2xx, at waits of 5 s to 6 h; then it is given up, and can be
sent again by hand. It is claimed with a lease as a job is: when the sender dies, another sends it. So it arrives at
least once; the receiver knows a repetition by its id, or by that of the job. Sending itself is in `callbacks.py`.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row, and_, func, insert, or_, select, update

from songprint.errors import JobNotFound
from songprint.formats import schema
from songprint.store.database import storable
from songprint.store.tables import attempts, deliveries, jobs
from songprint.store.timestamps import clock, iso

if TYPE_CHECKING:
    from songprint.store.database import Database

WAITING, SENDING, DELIVERED, GIVEN_UP = STATES = ("waiting", "sending", "delivered", "given up")
WAITS = (5, 30, 120, 600, 1800, 7200, 21600)  # seconds before each further attempt, and a little more or less
JITTER = 0.1  # of a wait, so that a receiver that was away is not run over
LEASE = 30.0  # seconds after which a silent sender is taken for dead
_LOOKED_AT = 16


@dataclass(frozen=True)
class Attempt:
    """One time that a callback was sent."""

    at: str
    elapsed: float  # seconds
    status: int | None  # of the answer; None: there was none
    error: str  # empty: it arrived


@dataclass(frozen=True)
class Delivery:
    """One callback that is owed. Moments are UTC in ISO 8601, and empty for what has not happened."""

    id: str  # the same at every attempt
    job_id: str
    event: str  # the state of the job that is told: running, finished, failed, cancelled
    url: str
    style: str  # who makes the body: "tencent" or "standard"
    state: str
    created_at: str
    due_at: str  # of the next attempt
    delivered_at: str
    attempts: tuple[Attempt, ...] = ()
    host: str = ""
    lease: str = field(default="", repr=False, compare=False)  # of a delivery that was just claimed


def delivery_object(delivery: Delivery) -> schema.Delivery:
    """A delivery as JSON."""
    return {
        "id": delivery.id,
        "job_id": delivery.job_id,
        "event": delivery.event,
        "url": delivery.url,
        "style": delivery.style,
        "state": delivery.state,
        "created_at": delivery.created_at,
        "due_at": delivery.due_at if delivery.state == WAITING else None,
        "delivered_at": delivery.delivered_at or None,
        "attempts": [
            {"at": each.at, "elapsed": each.elapsed, "status": each.status, "error": each.error or None}
            for each in delivery.attempts
        ],
    }


def queue(connection: Connection, now: int, job_id: str, options: Mapping, event: str) -> None:
    """Owe the callback that a job's options ask for, inside the caller's transaction.

    Told is the end of a job; its beginning too if the callback's "mode" is "change".
    """
    callback = options.get("callback")
    if not callback or (event == "running" and callback.get("mode") != "change"):
        return
    connection.execute(
        insert(deliveries).values(
            id=f"msg_{secrets.token_hex(16)}",
            job_id=job_id,
            event=event,
            url=callback["url"],
            host=_host(callback["url"]),
            style=callback.get("style", "standard"),
            state=WAITING,
            created_at=now,
            due_at=now,
            attempts=0,
            waits=0,
            lease="",
        )
    )


class Deliveries:
    """The callbacks of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self) -> int:
        """How many wait for being sent now."""
        with self._database.reading() as connection:
            return connection.scalar(select(func.count()).where(_due(clock(connection))))

    def counts(self) -> dict[str, int]:
        """How many deliveries are in each state."""
        with self._database.reading() as connection:
            found = {
                state: number
                for state, number in connection.execute(
                    select(deliveries.c.state, func.count()).group_by(deliveries.c.state)
                )
            }
        return {state: found.get(state, 0) for state in STATES}

    def of_job(self, job_id: str) -> list[Delivery]:
        """The callbacks of one job with all their attempts, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(deliveries)
                .where(deliveries.c.job_id == job_id)
                .order_by(deliveries.c.created_at, deliveries.c.id)
            ).all()
            log = connection.execute(
                select(attempts).where(attempts.c.delivery_id.in_([row.id for row in rows])).order_by(attempts.c.number)
            ).all()
        return [_to_delivery(row, [each for each in log if each.delivery_id == row.id]) for row in rows]

    def find(
        self,
        *,
        state: str | None = None,
        key_id: str | Collection[str] | None = None,
        limit: int = 100,
        before: str = "",
    ) -> list[Delivery]:
        """The callbacks in this state, of jobs of these keys, the latest first; `before` is the id of the last seen."""
        wanted = select(deliveries).order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc()).limit(limit)
        if state is not None:
            wanted = wanted.where(deliveries.c.state == state)
        if key_id is not None:
            wanted = wanted.join(jobs, jobs.c.id == deliveries.c.job_id).where(
                jobs.c.key_id.in_([key_id] if isinstance(key_id, str) else list(key_id))
            )
        with self._database.reading() as connection:
            if before:
                last = connection.execute(select(deliveries).where(deliveries.c.id == before)).first()
                if last is None:
                    raise JobNotFound(f"no callback {before}")
                wanted = wanted.where(
                    or_(
                        deliveries.c.created_at < last.created_at,
                        and_(deliveries.c.created_at == last.created_at, deliveries.c.id < last.id),
                    )
                )
            rows = connection.execute(wanted).all()
            log = connection.execute(
                select(attempts).where(attempts.c.delivery_id.in_([row.id for row in rows])).order_by(attempts.c.number)
            ).all()
        return [_to_delivery(row, [each for each in log if each.delivery_id == row.id]) for row in rows]

    def claim(self, lease: float = LEASE, *, not_to: Collection[str] = ()) -> Delivery | None:
        """The delivery that is due longest, now being sent; None when none is due. Hosts in `not_to` are left out."""
        with self._database.reading() as connection:
            due = connection.scalars(
                select(deliveries.c.id)
                .where(_due(clock(connection)), deliveries.c.host.not_in(list(not_to)))
                .order_by(deliveries.c.due_at, deliveries.c.id)
                .limit(_LOOKED_AT)
            ).all()
        claimed = (self._claimed(delivery_id, lease) for delivery_id in due)
        return next(filter(None, claimed), None)

    def attempted(
        self, delivery: Delivery, *, status: int | None, error: str = "", elapsed: float = 0.0, again: bool = True
    ) -> str:
        """Log what became of a claimed delivery; without an `error` it has arrived. Returns its state now.

        With `again` it is tried once more after the next wait, if there is any left. A sender that lost its lease
        logs its attempt all the same; only an arrival changes the state then.
        """

        def log(connection: Connection) -> str:
            now, this = clock(connection), deliveries.c.id == delivery.id
            row = connection.execute(select(deliveries).where(this).with_for_update()).one()
            connection.execute(
                insert(attempts).values(
                    delivery_id=delivery.id,
                    at=now,
                    elapsed=round(elapsed, 3),
                    status=status,
                    error=storable(error, 2000),
                )
            )
            if not error:
                values = {"state": DELIVERED, "delivered_at": now}
            elif row.lease != delivery.lease:
                return row.state
            elif again and row.waits < len(WAITS):
                wait = WAITS[row.waits] * (1 + JITTER * random.uniform(-1, 1))
                values = {"state": WAITING, "waits": row.waits + 1, "due_at": now + round(1000 * wait)}
            else:
                values = {"state": GIVEN_UP}
            connection.execute(update(deliveries).where(this).values(lease="", lease_until=None, **values))
            return values["state"]

        return self._database.write(log)

    def resend(self, job_id: str) -> list[Delivery]:
        """Send the latest callback of a job again, whether it arrived or not, with all attempts before it."""

        def owe(connection: Connection) -> int:
            latest = connection.scalar(
                select(deliveries.c.id)
                .where(deliveries.c.job_id == job_id)
                .order_by(deliveries.c.created_at.desc(), deliveries.c.id)
                .limit(1)
            )
            return connection.execute(
                update(deliveries)
                .where(deliveries.c.id == latest)
                .values(state=WAITING, due_at=clock(connection), waits=0, lease="", lease_until=None, delivered_at=None)
            ).rowcount

        if not self._database.write(owe):
            raise JobNotFound(f"no callback of job {job_id}: it has not ended, or none was asked for")
        return self.of_job(job_id)

    def _claimed(self, delivery_id: str, seconds: float) -> Delivery | None:
        token, this = secrets.token_hex(16), deliveries.c.id == delivery_id

        def claim(connection: Connection) -> Delivery | None:
            now = clock(connection)
            row = connection.execute(
                select(deliveries).where(this, _due(now)).with_for_update(skip_locked=True)
            ).first()
            if row is None:
                return None
            connection.execute(
                update(deliveries)
                .where(this)
                .values(state=SENDING, lease=token, lease_until=now + round(1000 * seconds), attempts=row.attempts + 1)
            )
            return _to_delivery(row, [], lease=token)

        return self._database.write(claim)


def _due(now: int):
    return or_(
        and_(deliveries.c.state == WAITING, deliveries.c.due_at <= now),
        and_(deliveries.c.state == SENDING, deliveries.c.lease_until < now),
    )


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "")[:255]
    except ValueError:  # whoever sends it will say what is wrong with it
        return ""


def _to_delivery(row: Row, log: Collection[Row], lease: str = "") -> Delivery:
    return Delivery(
        id=row.id,
        job_id=row.job_id,
        event=row.event,
        url=row.url,
        style=row.style,
        state=row.state,
        created_at=iso(row.created_at),
        due_at=iso(row.due_at),
        delivered_at=iso(row.delivered_at),
        attempts=tuple(Attempt(iso(each.at), each.elapsed, each.status, each.error) for each in log),
        host=row.host,
        lease=lease,
    )
