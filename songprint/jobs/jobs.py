"""Jobs: rows of the catalogue's database, worked off by any number of processes on any number of machines.

    waiting ─claim─> running ─finish─> finished
       ^               │ ├────fail───> failed ──────┐
       └──fail, release┘ └───cancel──> cancelled ───┤
       └───────────────────retry───────────────────┘

A claim is a lease that ends by itself: heartbeats prolong it, and the job of a worker that died goes to another. Every
change by a worker names the lease it holds, so one that has lost it (it slept, it was cut off, it was cancelled) can
change nothing any more. What the end of a job brings about, its usage and its callback, is written in the same
transaction: it happens once, or the job has not ended.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Row, Select, and_, delete, func, insert, not_, or_, select, update
from sqlalchemy.exc import IntegrityError

from songprint.errors import DuplicateSession, JobNotFound, JobStateError, QueueFull
from songprint.jobs import deliveries, usage
from songprint.jobs.inputs import LOOKED_FOR
from songprint.jobs.job import (
    CANCELLED,
    ENDED,
    ERROR_CODES,
    FAILED,
    FINISHED,
    RUNNING,
    STATES,
    WAITING,
    Job,
    Lease,
    job_object,
    to_job,
    to_text,
    with_secrets,
)
from songprint.store.database import storable
from songprint.store.tables import attempts, jobs, sessions, verdicts
from songprint.store.tables import deliveries as owed
from songprint.store.timestamps import clock, milliseconds

if TYPE_CHECKING:
    from songprint.accounts.vault import Vault
    from songprint.store.database import Database

__all__ = ["ENDED", "ERROR_CODES", "STATES", "Job", "Jobs", "Lease", "job_object"]

LEASE = 30.0  # seconds after which a silent worker is taken for dead
SESSION_WINDOW = 3 * 86400  # seconds in which a session id may not come twice
PRIORITIES = range(-10, 11)
MOST_ATTEMPTS = 5  # at a job that fails in a way that may pass
MOST_LOST = 20  # attempts, of workers that died: the job itself may be what kills them
FIRST_WAIT, LONGEST_WAIT = 5.0, 900.0  # seconds before the second attempt, doubled for each further one
_LOOKED_AT = 16  # jobs that a worker tries to claim before it says that there is none
_FORGOTTEN_AT_ONCE = 200
_POLLS = (0.1, 1.0)  # seconds between two looks at a job that is waited for: first, at most


class Jobs:
    """The queue of a database. All methods may be called by any process, thread and machine.

    The secrets that come with a job, of a callback or of an object store, lie sealed in its row. `vault` seals them;
    who never sees such a job needs none.
    """

    def __init__(self, database: Database, vault: Vault | None = None) -> None:
        self._database = database
        self._vault = vault

    def submit(
        self,
        input: Mapping,
        options: Mapping | None = None,
        *,
        priority: int = 0,
        key_id: str = "",
        session_id: str = "",
        session_context: str = "",
        most_waiting: int | None = None,
    ) -> Job:
        """Queue a job; when this returns it survives everything.

        A `session_id` that the same key used within three days is DuplicateSession. With `most_waiting`, QueueFull if
        so many jobs of this key wait already.
        """
        if priority not in PRIORITIES:
            raise ValueError(f"priority={priority} must lie between -10 and 10")
        job_id = secrets.token_hex(16)
        row = {
            "id": job_id,
            "state": WAITING,
            "priority": priority,
            "input": self._sealed(input, job_id),
            "options": self._sealed(options or {}, job_id),
            "progress": 0.0,
            "error_code": "",
            "error": "",
            "key_id": key_id,
            "session_id": storable(session_id, 200),
            "session_context": storable(session_context),
            "attempts": 0,
            "seconds": 0.0,
            "worker": "",
            "lease": "",
            "upload": input["path"] if input["type"] == "file" else None,
        }
        try:
            return self._submitted(row, most_waiting)
        except IntegrityError:  # another process used the session id at this very moment
            return self._submitted(row, most_waiting)

    def opened(self, job: Job) -> Job:
        """The job with its secrets readable, for whoever sends or fetches; KeyRefused without the right master key."""

        def opened(sealed: str) -> str:
            return self._vault.open(base64.b64decode(sealed), job.id)

        return replace(job, input=with_secrets(job.input, opened), options=with_secrets(job.options, opened))

    def _sealed(self, value: Mapping, job_id: str) -> str:
        def sealed(secret: str) -> str:
            return base64.b64encode(self._vault.seal(secret, job_id)).decode()

        return to_text(with_secrets(value, sealed))

    def get(self, job_id: str) -> Job:
        """The job with this id; JobNotFound when there is none."""
        with self._database.reading() as connection:
            return to_job(_row(connection, job_id))

    def find(
        self,
        *,
        state: str | Collection[str] = STATES,
        key_id: str | Collection[str] | None = None,
        limit: int = 100,
        before: str = "",
        since: str = "",
        until: str = "",
    ) -> list[Job]:
        """The jobs in these states and of these keys, the latest first, without their results.

        `before` is the id of the last one seen: those that were submitted earlier follow. `since` and `until` bound
        the moment of submission.
        """
        wanted = _chosen(select(*_LISTED), state, key_id, since, until).order_by(jobs.c.number.desc()).limit(limit)
        with self._database.reading() as connection:
            if before:
                wanted = wanted.where(jobs.c.number < _row(connection, before).number)
            return [to_job(row) for row in connection.execute(wanted)]

    def count(
        self,
        *,
        state: str | Collection[str] = STATES,
        key_id: str | Collection[str] | None = None,
        since: str = "",
        until: str = "",
    ) -> int:
        """How many jobs `find` would give without a limit."""
        with self._database.reading() as connection:
            return connection.scalar(_chosen(select(func.count()), state, key_id, since, until))

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self._database.reading() as connection:
            found = {
                state: number
                for state, number in connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
            }
        return {state: found.get(state, 0) for state in STATES}

    def changed_since(self, moment: str, *, limit: int = 1000) -> list[Job]:
        """The jobs that changed at this moment or later, in that order, without their results."""
        wanted = (
            select(*_LISTED)
            .where(jobs.c.changed_at >= milliseconds(moment))
            .order_by(jobs.c.changed_at, jobs.c.number)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [to_job(row) for row in connection.execute(wanted)]

    def wait(self, job_id: str, timeout: float, *, seen: Job | None = None) -> Job:
        """The job as soon as it has ended or, with `seen`, is no more as it was; as it is after `timeout` seconds."""
        give_up, pause = time.monotonic() + timeout, _POLLS[0]
        while True:
            job = self.get(job_id)
            left = give_up - time.monotonic()
            if job.ended or left <= 0 or (seen is not None and job.changed_at != seen.changed_at):
                return job
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _POLLS[1])

    def claim(self, worker: str, lease: float = LEASE) -> Job | None:
        """The job whose turn it is, now run by `worker` for `lease` seconds; None when none is due.

        The highest priority goes first, then the oldest. One whose lease ran out is due again.
        """
        with self._database.reading() as connection:
            due = connection.scalars(
                select(jobs.c.number)
                .where(_due(clock(connection)))
                .order_by(jobs.c.priority.desc(), jobs.c.number)
                .limit(_LOOKED_AT)
            ).all()
        for number in due:
            job = self._claimed(number, worker, lease)
            if job is not None:
                return job
        return None

    def heartbeat(self, job: Job, progress: float) -> bool:
        """Say that a claimed job is still worked on. False: it was cancelled or went to another; stop."""

        def prolong(connection: Connection) -> bool:
            now = clock(connection)
            return _changed(
                connection,
                _held(job),
                now,
                progress=min(1.0, max(0.0, progress)),
                lease_until=now + round(1000 * job.lease.seconds),
            )

        return self._database.write(prolong)

    def finish(self, job: Job, result: Mapping, seconds: float) -> bool:
        """The end of a claimed job, with its usage and its callback. False: it was no longer this worker's."""

        def end(connection: Connection) -> bool:
            now = clock(connection)
            held = _changed(
                connection,
                _held(job),
                now,
                result=to_text(result),
                seconds=seconds,
                progress=1.0,
                error_code="",
                error="",
                **_end(FINISHED, now),
            )
            if held:
                usage.count(connection, now, job.key_id, job.id, seconds)
                deliveries.queue(connection, now, job.id, job.options, FINISHED)
            return held

        return self._database.write(end)

    def fail(self, job: Job, code: str, message: str, retry: bool) -> Job:
        """A claimed job could not be done. With `retry` it waits for another attempt, if it has any left.

        Returns the job as it is now; one that was no longer this worker's is left alone.
        """
        told = {"error_code": code, "error": storable(message)}

        def end(connection: Connection) -> Job:
            now = clock(connection)
            if retry and job.attempts < MOST_ATTEMPTS:
                pause = min(FIRST_WAIT * 2 ** (job.attempts - 1), LONGEST_WAIT)
                _changed(
                    connection,
                    _held(job),
                    now,
                    state=WAITING,
                    lease="",
                    lease_until=None,
                    due_at=now + round(1000 * pause),
                    **told,
                )
            elif _changed(connection, _held(job), now, **told, **_end(FAILED, now)):
                _failed(connection, now, job)
            return to_job(_row(connection, job.id))

        return self._database.write(end)

    def release(self, job: Job) -> bool:
        """Give a claimed job back undone: another worker may take it at once, and no attempt was made."""

        def give_back(connection: Connection) -> bool:
            now = clock(connection)
            return _changed(
                connection,
                _held(job),
                now,
                state=WAITING,
                lease="",
                lease_until=None,
                due_at=now,
                attempts=jobs.c.attempts - 1,
            )

        return self._database.write(give_back)

    def cancel(self, job_id: str, *, running: bool = True) -> Job:
        """End a job that waits or (with `running`) runs; its worker notices at its next heartbeat."""
        wanted = (WAITING, RUNNING) if running else (WAITING,)

        def end(connection: Connection) -> Job:
            now = clock(connection)
            changed = _changed(
                connection,
                and_(jobs.c.id == job_id, jobs.c.state.in_(wanted)),
                now,
                error_code="cancelled",
                error="it was cancelled",
                **_end(CANCELLED, now),
            )
            job = to_job(_row(connection, job_id))
            if not changed:
                raise JobStateError(
                    f"job {job_id} is {job.state}: only a job that is {' or '.join(wanted)} can be cancelled"
                )
            deliveries.queue(connection, now, job.id, job.options, CANCELLED)
            return job

        return self._database.write(end)

    def retry(self, job_id: str) -> Job:
        """Queue a job again that failed or was cancelled."""

        def begin(connection: Connection) -> Job:
            now = clock(connection)
            changed = _changed(
                connection,
                and_(jobs.c.id == job_id, jobs.c.state.in_((FAILED, CANCELLED))),
                now,
                state=WAITING,
                due_at=now,
                attempts=0,
                progress=0.0,
                error_code="",
                error="",
                started_at=None,
                finished_at=None,
            )
            job = to_job(_row(connection, job_id))
            if not changed:
                raise JobStateError(
                    f"job {job_id} is {job.state}: only one that failed or was cancelled can be tried again"
                )
            return job

        return self._database.write(begin)

    def keep(self, job: Job, path: str) -> bool:
        """Remember where the input of a claimed job is kept for listening. False: it is no longer this worker's."""
        return self._database.write(lambda connection: _changed(connection, _held(job), clock(connection), upload=path))

    def forget(self, days: float) -> int:
        """Delete what is known of jobs that ended so many days ago, but for their usage; how many they were.

        One whose input is still kept somewhere (see `inputs`) is left until that is removed, for a week at most.
        """
        forgotten = 0
        while number := self._database.write(lambda connection: _forget(connection, 86_400_000 * days)):
            forgotten += number
        return forgotten

    def _submitted(self, row: dict[str, object], most_waiting: int | None) -> Job:
        def submit(connection: Connection) -> Job:
            now = clock(connection)
            if row["session_id"]:
                _register_session(connection, now, row)
            if most_waiting is not None:
                waiting = connection.scalar(_chosen(select(func.count()), WAITING, row["key_id"]))
                if waiting >= most_waiting:
                    raise QueueFull(
                        f"{waiting:,} jobs wait already, and {most_waiting:,} may."
                        " Submit this one again when some have finished"
                    )
            connection.execute(insert(jobs).values(row | {"created_at": now, "changed_at": now, "due_at": now}))
            return to_job(_row(connection, row["id"]))

        return self._database.write(submit)

    def _claimed(self, number: int, worker: str, seconds: float) -> Job | None:
        lease, this = Lease(secrets.token_hex(16), seconds), jobs.c.number == number

        def claim(connection: Connection) -> Job | None:
            now = clock(connection)
            # By its number, so that a server locks this row alone; SQLite has one writer anyway.
            row = connection.execute(select(jobs).where(this, _due(now)).with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            if row.state == RUNNING and row.attempts >= MOST_LOST:
                _changed(
                    connection,
                    this,
                    now,
                    error_code="internal",
                    **_end(FAILED, now),
                    error=(
                        f"{row.attempts} workers ended while they ran it. Is their memory too small for this input?"
                    ),
                )
                _failed(connection, now, to_job(row))
                return None
            _changed(
                connection,
                this,
                now,
                state=RUNNING,
                worker=storable(worker, 200),
                lease=lease.token,
                lease_until=now + round(1000 * seconds),
                started_at=now,
                attempts=row.attempts + 1,
                progress=0.0,
            )
            job = to_job(_row(connection, row.id), lease)
            if row.attempts == 0:
                deliveries.queue(connection, now, job.id, job.options, RUNNING)
            return job

        return self._database.write(claim)


_LISTED = [column for column in jobs.c if column.name != "result"]


def _due(now: int):
    return or_(
        and_(jobs.c.state == WAITING, jobs.c.due_at <= now), and_(jobs.c.state == RUNNING, jobs.c.lease_until < now)
    )


def _held(job: Job):
    return and_(jobs.c.id == job.id, jobs.c.state == RUNNING, jobs.c.lease == job.lease.token)


def _changed(connection: Connection, where, now: int, **values: object) -> bool:
    """Whether there was such a job; it has these values now."""
    return connection.execute(update(jobs).where(where).values(changed_at=now, **values)).rowcount == 1


def _end(state: str, now: int) -> dict[str, object]:
    return {"state": state, "finished_at": now, "lease": "", "lease_until": None}


def _failed(connection: Connection, now: int, job: Job) -> None:
    usage.count(connection, now, job.key_id, job.id, 0.0)  # listed, not charged
    deliveries.queue(connection, now, job.id, job.options, FAILED)


def _forget(connection: Connection, age: float) -> int:
    """Delete some of the jobs that ended so many milliseconds ago."""
    now = clock(connection)
    kept = and_(jobs.c.upload.is_not(None), jobs.c.finished_at > now - age - 1000 * LOOKED_FOR)
    old = list(
        connection.scalars(
            select(jobs.c.id)
            .where(jobs.c.state.in_(ENDED), jobs.c.finished_at < now - age, not_(kept))
            .limit(_FORGOTTEN_AT_ONCE)
        )
    )
    told = list(connection.scalars(select(owed.c.id).where(owed.c.job_id.in_(old))))
    connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(told)))
    for table in (owed, verdicts):
        connection.execute(delete(table).where(table.c.job_id.in_(old)))
    connection.execute(delete(sessions).where(sessions.c.created_at < now - 1000 * SESSION_WINDOW))
    return connection.execute(delete(jobs).where(jobs.c.id.in_(old))).rowcount


def _register_session(connection: Connection, now: int, row: Mapping) -> None:
    this = and_(sessions.c.key_id == row["key_id"], sessions.c.session_id == row["session_id"])
    found = connection.execute(select(sessions).where(this).with_for_update()).first()
    values = {"job_id": row["id"], "created_at": now}
    if found is None:
        connection.execute(insert(sessions).values(key_id=row["key_id"], session_id=row["session_id"], **values))
    elif found.created_at > now - 1000 * SESSION_WINDOW:
        raise DuplicateSession(
            f"session id {row['session_id']!r} was used less than three days ago, by job"
            f" {found.job_id}. Ask for that job, or choose another id",
            found.job_id,
        )
    else:
        connection.execute(update(sessions).where(this).values(values))


def _chosen(
    query: Select, state: str | Collection[str], key_id: str | Collection[str] | None, since: str = "", until: str = ""
) -> Select:
    query = query.where(jobs.c.state.in_([state] if isinstance(state, str) else list(state)))
    if key_id is not None:
        query = query.where(jobs.c.key_id.in_([key_id] if isinstance(key_id, str) else list(key_id)))
    if since:
        query = query.where(jobs.c.created_at >= milliseconds(since))
    return query.where(jobs.c.created_at < milliseconds(until)) if until else query


def _row(connection: Connection, job_id: str) -> Row:
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
    if row is None:
        raise JobNotFound(f"no job {job_id}. `songprint jobs list` shows what there is")
    return row
