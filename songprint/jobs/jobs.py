"""Jobs: a queue in the database of the catalogue, processed by any number of workers on any number of machines.

    waiting ─claim─> running ─finish─> finished
       ^               │ ├────fail───> failed ──────┐
       └──fail, release┘ └───cancel──> cancelled ───┤
       └───────────────────retry───────────────────┘

A claim is a lease that expires: heartbeats extend it, and the job of a dead worker goes to another. Every change by a
worker checks its lease, so a worker that has lost its lease (it was suspended or cut off, or the job was cancelled)
cannot change the job. The usage and the callback of a job are written in the transaction that ends it: both happen
exactly once.

The clock of the database may be wrong, and may be corrected at any time. A job that waits for its first attempt
therefore runs whatever its due time; a delay that was measured by a clock that has been set back since is over; and
leases count only while the clock is steady (see `clockwatch`) and never last longer than a lease can.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, func, insert, not_, or_, select, update
from sqlalchemy.exc import IntegrityError

from songprint.errors import DuplicateSession, JobNotFound, JobStateError, QueueFull
from songprint.jobs import deliveries, usage
from songprint.jobs.clockwatch import TOLERANCE, ClockWatch
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

LEASE = 30.0  # seconds without a heartbeat after which a worker is considered dead
SESSION_WINDOW = 3 * 86400  # seconds in which a session id cannot be used again
PRIORITIES = range(-10, 11)
MAX_ATTEMPTS = 5  # at a job that fails for a temporary reason
MAX_LOST = 20  # attempts whose workers died; the job itself may be the reason
FIRST_WAIT, MAX_WAIT = 5.0, 900.0  # seconds before the second attempt, doubled for each further one; maximum
_CANDIDATES = 16  # due jobs that `claim` tries before it returns None
_DELETED_AT_ONCE = 200  # jobs per transaction
_POLL_SECONDS = (0.1, 1.0)  # between two polls of `wait`, at first and at most


class Jobs:
    """The queue of a database. All methods may be called from any process, thread and machine.

    The secrets of a job, for its callback or an object store, are stored encrypted. `vault` encrypts and decrypts them;
    callers that meet no secrets need none. `watch` detects changes of the database's clock.
    """

    def __init__(self, database: Database, vault: Vault | None = None, *, watch: ClockWatch | None = None) -> None:
        self._database = database
        self._vault = vault
        self._watch = watch or ClockWatch()

    def submit(
        self,
        input: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
        *,
        priority: int = 0,
        key_id: str = "",
        session_id: str = "",
        session_context: str = "",
        max_waiting: int | None = None,
    ) -> Job:
        """Queue a job. After this returns, the job survives any crash.

        Raises DuplicateSession for a `session_id` that the same key used within three days, and QueueFull if
        `max_waiting` jobs of this key are waiting.
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
            return self._submitted(row, max_waiting)
        except IntegrityError:  # another process used the session id at the same moment
            return self._submitted(row, max_waiting)

    def opened(self, job: Job) -> Job:
        """The job with its secrets decrypted. KeyRefused without the right master key."""

        def decrypted(sealed: str) -> str:
            return self.decrypted(sealed, job.id)

        return replace(job, input=with_secrets(job.input, decrypted), options=with_secrets(job.options, decrypted))

    def decrypted(self, sealed: str, owner: str) -> str:
        """A secret of the job or station `owner`, as it was before it was stored. KeyRefused as for `opened`."""
        return self._required_vault().open(base64.b64decode(sealed), owner)

    def _sealed(self, value: Mapping[str, Any], job_id: str) -> str:
        def encrypted(secret: str) -> str:
            return base64.b64encode(self._required_vault().seal(secret, job_id)).decode()

        return to_text(with_secrets(value, encrypted))

    def _required_vault(self) -> Vault:
        if self._vault is None:
            raise ValueError("a job with secrets needs a vault: Jobs(database, vault)")
        return self._vault

    def get(self, job_id: str) -> Job:
        """The job with this id. Raises JobNotFound."""
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
        """The jobs in these states and of these keys, latest first, without their results.

        Args:
            before: id of a job; only jobs submitted before it are returned.
            since, until: limits of the time of submission.
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
        """Number of jobs that `find` returns without a limit."""
        with self._database.reading() as connection:
            return int(connection.scalar(_chosen(select(func.count()), state, key_id, since, until)) or 0)

    def counts(self) -> dict[str, int]:
        """Number of jobs in each state."""
        with self._database.reading() as connection:
            found = {
                state: number
                for state, number in connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
            }
        return {state: found.get(state, 0) for state in STATES}

    def changed_since(self, moment: str, *, limit: int = 1000) -> list[Job]:
        """The jobs that changed at this time or later, in order of their change, without their results."""
        wanted = (
            select(*_LISTED)
            .where(jobs.c.changed_at >= milliseconds(moment))
            .order_by(jobs.c.changed_at, jobs.c.number)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [to_job(row) for row in connection.execute(wanted)]

    def wait(self, job_id: str, timeout: float, *, seen: Job | None = None) -> Job:
        """The job as soon as it ends or, with `seen`, differs from that; at the latest after `timeout` seconds."""
        give_up, pause = time.monotonic() + timeout, _POLL_SECONDS[0]
        while True:
            job = self.get(job_id)
            left = give_up - time.monotonic()
            if job.ended or left <= 0 or (seen is not None and job.changed_at != seen.changed_at):
                return job
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _POLL_SECONDS[1])

    def claim(self, worker: str, lease: float = LEASE) -> Job | None:
        """Claim the next job for `worker` and `lease` seconds; None if none is due.

        Order: priority, then age. A job whose lease expired is due again.
        """
        with self._database.reading() as connection:
            due = connection.scalars(
                select(jobs.c.number)
                .where(self._due(clock(connection), lease))
                .order_by(jobs.c.priority.desc(), jobs.c.number)
                .limit(_CANDIDATES)
            ).all()
        for number in due:
            job = self._claimed(number, worker, lease)
            if job is not None:
                return job
        return None

    def heartbeat(self, job: Job, progress: float, partial: Mapping[str, Any] | None = None) -> bool:
        """Extend the lease of a claimed job. False if it was cancelled or went to another worker.

        `partial` is the timeline so far; None leaves it as it is.
        """
        news = {} if partial is None else {"result": to_text(partial)}

        def prolong(connection: Connection) -> bool:
            now = clock(connection)
            return _changed(
                connection,
                _held(job),
                now,
                progress=min(1.0, max(0.0, progress)),
                lease_until=now + round(1000 * _lease(job).seconds),
                **news,
            )

        return self._database.write(prolong)

    def finish(self, job: Job, result: Mapping[str, Any], seconds: float) -> bool:
        """Store the result of a claimed job, its usage and its callback. False if the lease was lost."""

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
        """End an attempt at a claimed job. With `retry` the job waits for another attempt, if any is left.

        Returns the job as it is now. Nothing changes if the lease was lost.
        """
        failure = {"error_code": code, "error": storable(message)}

        def end(connection: Connection) -> Job:
            now = clock(connection)
            if retry and job.attempts < MAX_ATTEMPTS:
                pause = min(FIRST_WAIT * 2 ** (job.attempts - 1), MAX_WAIT)
                _changed(
                    connection,
                    _held(job),
                    now,
                    state=WAITING,
                    lease="",
                    lease_until=None,
                    due_at=now + round(1000 * pause),
                    **failure,
                )
            elif _changed(connection, _held(job), now, **failure, **_end(FAILED, now)):
                _failed(connection, now, job)
            return to_job(_row(connection, job.id))

        return self._database.write(end)

    def release(self, job: Job) -> bool:
        """Return a claimed job to the queue. The attempt does not count. False if the lease was lost."""

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
        """Cancel a waiting or (with `running`) running job. A worker stops at its next heartbeat."""
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
                raise JobStateError(f"job {job_id} is {job.state}: only {' and '.join(wanted)} jobs can be cancelled")
            deliveries.queue(connection, now, job.id, job.options, CANCELLED)
            return job

        return self._database.write(end)

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again."""

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
                raise JobStateError(f"job {job_id} is {job.state}: only failed and cancelled jobs can be retried")
            return job

        return self._database.write(begin)

    def keep(self, job: Job, path: str) -> bool:
        """Store the path where the input of a claimed job is kept. False if the lease was lost."""
        return self._database.write(lambda connection: _changed(connection, _held(job), clock(connection), upload=path))

    def forget(self, days: float) -> int:
        """Delete jobs that ended more than `days` ago, but not their usage; return their number.

        A job whose input is still stored (see `inputs`) stays until that is deleted, for a week at most.
        """
        forgotten = 0
        while number := self._database.write(lambda connection: _forget(connection, 86_400_000 * days)):
            forgotten += number
        return forgotten

    def _submitted(self, row: dict[str, Any], max_waiting: int | None) -> Job:
        def submit(connection: Connection) -> Job:
            now = clock(connection)
            if row["session_id"]:
                _register_session(connection, now, row)
            if max_waiting is not None:
                waiting = connection.scalar(_chosen(select(func.count()), WAITING, row["key_id"])) or 0
                if waiting >= max_waiting:
                    raise QueueFull(
                        f"{waiting:,} jobs are waiting, and the limit is {max_waiting:,}."
                        " Submit this job again when some have finished"
                    )
            connection.execute(insert(jobs).values(row | {"created_at": now, "changed_at": now, "due_at": now}))
            return to_job(_row(connection, row["id"]))

        return self._database.write(submit)

    def _claimed(self, number: int, worker: str, seconds: float) -> Job | None:
        lease, this = Lease(secrets.token_hex(16), seconds), jobs.c.number == number

        def claim(connection: Connection) -> Job | None:
            now = clock(connection)
            # By its number, so that a database server locks only this row. SQLite has one writer anyway.
            due = self._due(now, seconds)
            row = connection.execute(select(jobs).where(this, due).with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            if row.state == RUNNING and row.attempts >= MAX_LOST:
                _changed(
                    connection,
                    this,
                    now,
                    error_code="internal",
                    **_end(FAILED, now),
                    error=(f"{row.attempts} workers died while running it. Do they have enough memory for this input?"),
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
                result=None,
            )
            job = to_job(_row(connection, row.id), lease)
            if row.attempts == 0:
                deliveries.queue(connection, now, job.id, job.options, RUNNING)
            return job

        return self._database.write(claim)

    def _due(self, now: int, lease: float) -> ColumnElement[bool]:
        """The jobs that `claim` may claim, for `lease` seconds."""
        longest = max(lease, LEASE)
        waiting = or_(jobs.c.attempts == 0, jobs.c.due_at <= now, jobs.c.changed_at > now + TOLERANCE)
        expired = or_(jobs.c.lease_until < now, jobs.c.lease_until > now + round(1000 * longest) + TOLERANCE)
        due = and_(jobs.c.state == WAITING, waiting)
        return or_(due, and_(jobs.c.state == RUNNING, expired)) if self._watch.is_steady(now, longest) else due


_LISTED = [column for column in jobs.c if column.name != "result"]


def _lease(job: Job) -> Lease:
    if job.lease is None:
        raise ValueError(f"job {job.id} was not claimed")
    return job.lease


def _held(job: Job) -> ColumnElement[bool]:
    return and_(jobs.c.id == job.id, jobs.c.state == RUNNING, jobs.c.lease == _lease(job).token)


def _changed(connection: Connection, where: ColumnElement[bool], now: int, **values: object) -> bool:
    """Set values of the job that fits; False if there is none."""
    return connection.execute(update(jobs).where(where).values(changed_at=now, **values)).rowcount == 1


def _end(state: str, now: int) -> dict[str, object]:
    return {"state": state, "finished_at": now, "lease": "", "lease_until": None}


def _failed(connection: Connection, now: int, job: Job) -> None:
    usage.count(connection, now, job.key_id, job.id, 0.0)  # listed at no cost
    deliveries.queue(connection, now, job.id, job.options, FAILED)


def _forget(connection: Connection, age: float) -> int:
    """Delete some of the jobs that ended more than `age` milliseconds ago; return their number."""
    now = clock(connection)
    kept = and_(jobs.c.upload.is_not(None), jobs.c.finished_at > now - age - 1000 * LOOKED_FOR)
    old = list(
        connection.scalars(
            select(jobs.c.id)
            .where(jobs.c.state.in_(ENDED), jobs.c.finished_at < now - age, not_(kept))
            .limit(_DELETED_AT_ONCE)
        )
    )
    callbacks = list(connection.scalars(select(owed.c.id).where(owed.c.job_id.in_(old))))
    connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(callbacks)))
    for table in (owed, verdicts):
        connection.execute(delete(table).where(table.c.job_id.in_(old)))
    connection.execute(delete(sessions).where(sessions.c.created_at < now - 1000 * SESSION_WINDOW))
    return connection.execute(delete(jobs).where(jobs.c.id.in_(old))).rowcount


def _register_session(connection: Connection, now: int, row: Mapping[str, Any]) -> None:
    this = and_(sessions.c.key_id == row["key_id"], sessions.c.session_id == row["session_id"])
    found = connection.execute(select(sessions).where(this).with_for_update()).first()
    values = {"job_id": row["id"], "created_at": now}
    if found is None:
        connection.execute(insert(sessions).values(key_id=row["key_id"], session_id=row["session_id"], **values))
    elif abs(now - found.created_at) < 1000 * SESSION_WINDOW:  # a clock that was years ahead blocks no session id
        raise DuplicateSession(
            f"session id {row['session_id']!r} was used less than three days ago, by job"
            f" {found.job_id}. Query that job, or choose another id",
            found.job_id,
        )
    else:
        connection.execute(update(sessions).where(this).values(values))


def _chosen(
    query: Select[Any],
    state: str | Collection[str],
    key_id: str | Collection[str] | None,
    since: str = "",
    until: str = "",
) -> Select[Any]:
    query = query.where(jobs.c.state.in_([state] if isinstance(state, str) else list(state)))
    if key_id is not None:
        query = query.where(jobs.c.key_id.in_([key_id] if isinstance(key_id, str) else list(key_id)))
    if since:
        query = query.where(jobs.c.created_at >= milliseconds(since))
    return query.where(jobs.c.created_at < milliseconds(until)) if until else query


def _row(connection: Connection, job_id: str) -> Row[Any]:
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
    if row is None:
        raise JobNotFound(f"no job {job_id}. `songprint jobs list` lists all jobs")
    return row
