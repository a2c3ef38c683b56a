"""The audit log: who changed what, and when. Entries are never changed or deleted."""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from songprint.store.database import storable
from songprint.store.tables import audit
from songprint.store.timestamps import clock, iso

if TYPE_CHECKING:
    from songprint.store.database import Database


@dataclass(frozen=True)
class Entry:
    """One recorded action."""

    number: int
    at: str  # UTC, ISO 8601
    key_id: str  # the actor's key; empty without one
    action: str  # such as "keys.create"
    subject: str  # what was changed
    actor: str = ""  # the actor without a key: "command line, user NAME"; empty for a local user of the server


def command_line_user() -> str:
    """The actor of changes by commands, as the operating system names it."""
    return f"command line, user {_user_name()}"


class Audit:
    """The audit log of a library."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, key_id: str, action: str, subject: str = "", *, actor: str = "") -> None:
        """Record an action of this key, or of an `actor` without a key."""
        with self._database.writing() as connection:
            connection.execute(
                insert(audit).values(
                    at=clock(connection),
                    key_id=key_id,
                    action=storable(action, 60),
                    subject=storable(subject, 2000),
                    actor=storable(actor, 200),
                )
            )

    def entries(self, *, key_id: str | None = None, limit: int = 100, before: int | None = None) -> list[Entry]:
        """Return entries of all keys or of one, newest first.

        `before` is the number of the last entry of the previous page.
        """
        wanted = select(audit).order_by(audit.c.number.desc()).limit(limit)
        if key_id is not None:
            wanted = wanted.where(audit.c.key_id == key_id)
        if before is not None:
            wanted = wanted.where(audit.c.number < before)
        with self._database.reading() as connection:
            return [
                Entry(row.number, iso(row.at), row.key_id, row.action, row.subject, row.actor)
                for row in connection.execute(wanted)
            ]


def _user_name() -> str:
    if sys.platform == "win32":
        return getpass.getuser()
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a user that is not in its list of users
        return f"number {os.getuid()}"
