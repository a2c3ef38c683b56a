"""Deliveries: the queue of callbacks, each written in the transaction that ends its job, and their attempts.

A delivery is attempted until the receiver answers with 2xx, after delays of 5 s to 6 h; then it is given up, and can be
sent again by hand. It is claimed with a lease like a job, so another sender takes over when one dies. A callback
arrives at least once; the receiver detects repetitions by the id. `callbacks.py` sends them. As for jobs, no change of
the database's clock delays the first attempt, prolongs a delay or breaks a lease.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, insert, or_, select, update

from songprint.errors import JobNotFound
from songprint.jobs.clockwatch import TOLERANCE, ClockWatch
from songprint.store.database import storable
from songprint.store.tables import attempts, deliveries, jobs, stations
from songprint.store.timestamps import clock, iso

if TYPE_CHECKING:
    from songprint.formats import schema
    from songprint.store.database import Database

WAITING, SENDING, DELIVERED, GIVEN_UP = STATES = ("waiting", "sending", "delivered", "given up")
WAITS = (5, 30, 120, 600, 1800, 7200, 21600)  # seconds before each further attempt, plus or minus JITTER
JITTER = 0.1  # fraction of a delay, to spread the load on a receiver that was down
LEASE = 30.0  # seconds without an answer after which a sender is considered dead
LONGEST_LEASE = 600.0  # seconds; no lease lasts longer, whatever the time limit of callbacks on its machine
_CANDIDATES = 16  # due deliveries to try to claim at a time


@dataclass(frozen=True)
class Attempt:
    """One attempt to send a callback."""

    at: str
    elapsed: float  # seconds
    status: int | None  # of the answer; None without an answer
    error: str  # empty if it arrived


@dataclass(frozen=True)
class Delivery:
    """One callback. Times are UTC in ISO 8601, and empty for events that have not happened."""

    id: str  # the same for every attempt
    job_id: str  # empty: of a station
    event: str  # the reported state of the job (running, finished, failed, cancelled), or the event of the station
    url: str
    style: str  # format of the body: "tencent" or "standard"
    state: str
    created_at: str
    due_at: str  # of the next attempt
    delivered_at: str
    attempts: tuple[Attempt, ...] = ()
    host: str = ""
    lease: str = field(default="", repr=False, compare=False)  # of a delivery that has just been claimed
    station_id: str = ""  # empty: of a job
    body: str | None = None  # of a station's event
    secret: str = field(default="", repr=False)  # encrypted, of the station

    @property
    def origin(self) -> str:
        """`job 1a2b` or `station 3c4d`, for messages."""
        return f"station {self.station_id}" if self.station_id else f"job {self.job_id}"


def delivery_object(delivery: Delivery) -> schema.Delivery:
    """A delivery as JSON."""
    return {
        "id": delivery.id,
        "job_id": delivery.job_id,
        "station_id": delivery.station_id or None,
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


def queue(connection: Connection, now: int, job_id: str, options: Mapping[str, Any], event: str) -> None:
    """Queue the callback that the options of a job request, inside the transaction of the caller.

    The end of a job is reported; its start too if the "mode" of the callback is "change".
    """
    callback = options.get("callback")
    if not callback or (event == "running" and callback.get("mode") != "change"):
        return
    _insert(connection, now, callback, event, job_id=job_id)


def queue_event(
    connection: Connection, now: int, station_id: str, options: Mapping[str, Any], event: str, body: str
) -> None:
    """Queue the callback that the options of a station request for an event, inside the transaction of the caller.

    The secret in the options is encrypted, with the id of the station as its owner.
    """
    callback = options.get("callback")
    if callback:
        more = {"station_id": station_id, "body": body, "secret": callback.get("secret") or None}
        _insert(connection, now, callback, event, job_id="", **more)


def _insert(connection: Connection, now: int, callback: Mapping[str, Any], event: str, **more: str | None) -> None:
    connection.execute(
        insert(deliveries).values(
            id=f"msg_{secrets.token_hex(16)}",
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
            **more,
        )
    )


class Deliveries:
    """The callbacks of a database."""

    def __init__(self, database: Database, *, watch: ClockWatch | None = None) -> None:
        """`watch` detects changes of the database's clock."""
        self._database = database
        self._watch = watch or ClockWatch()

    def due(self) -> int:
        """Number of deliveries that are due now."""
        with self._database.reading() as connection:
            return connection.scalar(select(func.count()).where(self._due(clock(connection), LEASE))) or 0

    def counts(self) -> dict[str, int]:
        """Number of deliveries in each state."""
        with self._database.reading() as connection:
            found = {
                state: number
                for state, number in connection.execute(
                    select(deliveries.c.state, func.count()).group_by(deliveries.c.state)
                )
            }
        return {state: found.get(state, 0) for state in STATES}

    def of_job(self, job_id: str) -> list[Delivery]:
        """The callbacks of one job with all their attempts, oldest first."""
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
        """The callbacks in a state, of jobs and stations of these keys, latest first.

        With `before`, only those older than the callback with this id.
        """
        wanted = select(deliveries).order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc()).limit(limit)
        if state is not None:
            wanted = wanted.where(deliveries.c.state == state)
        if key_id is not None:
            visible = [key_id] if isinstance(key_id, str) else list(key_id)
            wanted = wanted.where(
                or_(
                    deliveries.c.job_id.in_(select(jobs.c.id).where(jobs.c.key_id.in_(visible))),
                    deliveries.c.station_id.in_(select(stations.c.id).where(stations.c.key_id.in_(visible))),
                )
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
        """Claim the delivery that has been due longest, except to hosts in `not_to`; None if none is due."""
        with self._database.reading() as connection:
            due = connection.scalars(
                select(deliveries.c.id)
                .where(self._due(clock(connection), lease), deliveries.c.host.not_in(list(not_to)))
                .order_by(deliveries.c.due_at, deliveries.c.id)
                .limit(_CANDIDATES)
            ).all()
        claimed = (self._claimed(delivery_id, lease) for delivery_id in due)
        return next(filter(None, claimed), None)

    def attempted(
        self, delivery: Delivery, *, status: int | None, error: str = "", elapsed: float = 0.0, retry: bool = True
    ) -> str:
        """Store the result of an attempt; without an `error` the callback has arrived. Return the new state.

        With `retry` there is another attempt after the next delay in WAITS, if any is left. The attempt of a sender
        that lost its lease is stored too, but changes the state only if the callback arrived.
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
                state, values = DELIVERED, {"delivered_at": now}
            elif row.lease != delivery.lease:
                return str(row.state)
            elif retry and row.waits < len(WAITS):
                wait = WAITS[row.waits] * (1 + JITTER * random.uniform(-1, 1))
                state, values = WAITING, {"waits": row.waits + 1, "due_at": now + round(1000 * wait)}
            else:
                state, values = GIVEN_UP, {}
            connection.execute(update(deliveries).where(this).values(state=state, lease="", lease_until=None, **values))
            return state

        return self._database.write(log)

    def resend(self, job_id: str) -> list[Delivery]:
        """Queue the latest callback of a job again, whether it arrived or not; return its callbacks."""

        def requeue(connection: Connection) -> int:
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

        if not self._database.write(requeue):
            raise JobNotFound(f"no callback of job {job_id}: it has not ended, or it requests none")
        return self.of_job(job_id)

    def _claimed(self, delivery_id: str, seconds: float) -> Delivery | None:
        token, this = secrets.token_hex(16), deliveries.c.id == delivery_id

        def claim(connection: Connection) -> Delivery | None:
            now = clock(connection)
            row = connection.execute(
                select(deliveries).where(this, self._due(now, seconds)).with_for_update(skip_locked=True)
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

    def _due(self, now: int, lease: float) -> ColumnElement[bool]:
        """The deliveries that `claim` may claim, for `lease` seconds."""
        longest = round(1000 * max(lease, LONGEST_LEASE)) + TOLERANCE
        waiting = or_(deliveries.c.waits == 0, deliveries.c.due_at <= now, deliveries.c.due_at - _LONGEST_WAIT > now)
        expired = or_(deliveries.c.lease_until < now, deliveries.c.lease_until > now + longest)
        due = and_(deliveries.c.state == WAITING, waiting)
        return or_(due, and_(deliveries.c.state == SENDING, expired)) if self._watch.is_steady(now, lease) else due


# The longest time in milliseconds that a delivery waits after its latest attempt. What is due later than that was
# written by a clock that has been set back since.
_LONGEST_WAIT = case(
    {waits: round(1000 * wait * (1 + JITTER)) + TOLERANCE for waits, wait in enumerate(WAITS, 1)},
    value=deliveries.c.waits,
    else_=0,
)


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "")[:255]
    except ValueError:  # sending it reports the error
        return ""


def _to_delivery(row: Row[Any], log: Collection[Row[Any]], lease: str = "") -> Delivery:
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
        station_id=row.station_id,
        body=row.body,
        secret=row.secret or "",
    )
