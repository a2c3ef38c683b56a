"""One job, as a value, as a row of the database and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

from sqlalchemy import Row

from songprint.formats import schema
from songprint.store.timestamps import iso

WAITING, RUNNING, FINISHED, FAILED, CANCELLED = STATES = ("waiting", "running", "finished", "failed", "cancelled")
ENDED = (FINISHED, FAILED, CANCELLED)
ERROR_CODES = (
    "input_refused",
    "input_not_found",
    "input_too_large",
    "input_unreadable",
    "input_timeout",
    "cancelled",
    "internal",
)


@dataclass(frozen=True)
class Lease:
    """The right to change a job, until it expires. Heartbeats extend it."""

    token: str
    seconds: float


@dataclass(frozen=True)
class Job:
    """A job of the queue. Times are UTC in ISO 8601, and empty for events that have not happened."""

    id: str
    state: str
    priority: int  # -10 to 10; higher runs first
    input: dict[str, Any]
    options: dict[str, Any]
    progress: float  # 0 to 1
    result: dict[str, Any] | None  # a timeline as `export.timeline_object` makes it; of a finished job
    error_code: str  # one of ERROR_CODES; for a waiting job, of the last attempt
    error: str
    key_id: str  # of the key that submitted it; empty without a key
    session_id: str
    session_context: str
    created_at: str
    started_at: str  # of the latest attempt
    finished_at: str
    changed_at: str
    attempts: int  # started so far
    seconds: float  # duration of the input, for usage
    worker: str  # name of the last worker
    partial: dict[str, Any] | None = None  # the timeline so far, of a running job
    lease: Lease | None = field(default=None, repr=False, compare=False)  # of a job that has just been claimed

    @property
    def ended(self) -> bool:
        return self.state in ENDED


def job_object(job: Job) -> schema.Job:
    """A job as JSON, without the secrets that came with it and without paths of this machine."""
    return {
        "id": job.id,
        "state": cast(schema.State, job.state),
        "priority": job.priority,
        "input": _public(job.input),
        "options": _public(job.options),
        "progress": job.progress,
        "result": job.result,
        "partial": job.partial,
        "key_id": job.key_id,
        "session_id": job.session_id,
        "session_context": job.session_context,
        "created_at": job.created_at,
        "started_at": job.started_at or None,
        "finished_at": job.finished_at or None,
        "changed_at": job.changed_at,
        "attempts": job.attempts,
        "seconds": job.seconds,
        "error": {"code": job.error_code, "message": job.error} if job.error_code else None,
    }


def to_job(row: Row[Any], lease: Lease | None = None) -> Job:
    """A job from a row of the table; the row may lack the result."""
    named = {each.name for each in fields(Job)} - {"lease", "result", "partial"}
    values = {name: getattr(row, name) for name in named}
    stored = getattr(row, "result", None)
    timeline = json.loads(stored) if stored else None
    times = {name: iso(values[name]) for name in named if name.endswith("_at")}
    return Job(
        **values
        | times
        | {
            "input": json.loads(row.input),
            "options": json.loads(row.options),
            "result": timeline if row.state == FINISHED else None,
            "partial": timeline if row.state == RUNNING else None,
            "lease": lease,
        }
    )


def with_secrets(value: Any, change: Callable[[str], str]) -> Any:
    """The input or options of a job with `change` applied to its secrets, at any depth. Empty ones stay empty.

    >>> with_secrets({"type": "s3", "secret_key": "k3y", "secret_id": ""}, str.upper)
    {'type': 's3', 'secret_key': 'K3Y', 'secret_id': ''}
    """
    if not isinstance(value, Mapping):
        return value
    return {
        name: change(inner) if _is_secret(name) and inner else with_secrets(inner, change)
        for name, inner in value.items()
    }


def to_text(value: Mapping[str, Any]) -> str:
    """What a job was given, or gives, as it is stored."""
    return json.dumps(value)  # escaped, so that whatever a stranger wrote can be stored


def _public(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _public(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if not _is_secret(name) and name != "path"
    }


def _is_secret(name: str) -> bool:
    return "secret" in name
