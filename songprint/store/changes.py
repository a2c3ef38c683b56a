"""The log of changes: which recordings each revision of the catalogue has changed.

An index that has seen a revision reads only what is newer. The log states which recordings may differ, not how; a
reader compares these recordings with the catalogue as it is now.

Every revision has at least one row, so a gap shows that an older Songprint, which does not write the log, has changed
the catalogue. Each revision has a random token, so a reader detects a database that was restored from a backup and has
reached the same revision in another way. In all these cases the reader compares everything.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from songprint.store.tables import changes, library

# Stands for all recordings in a row of the log, for changes that do not name the recordings.
EVERYTHING = 0
# Stands for no recording: a revision in which nothing changed has a row as well.
NOTHING = -1
# Revisions in the log. An index that is further behind compares everything, which takes seconds for large libraries.
KEPT = 20_000
# Revisions between two removals of old rows.
PRUNE_INTERVAL = 500
# Rows that a reader reads. Comparing everything is cheaper beyond.
MAX_ROWS = 20_000


@dataclass(frozen=True)
class Mark:
    """A revision of one catalogue, as an index remembers it."""

    revision: int
    token: int


@dataclass(frozen=True)
class Changes:
    """The recordings that may have changed until the revision `mark`."""

    mark: Mark
    recording_ids: frozenset[int]


def record(connection: Connection, recording_ids: Iterable[int]) -> None:
    """Write the recordings that the current revision changes, inside the transaction that raised the revision."""
    revision = connection.execute(select(library.c.revision)).scalar_one()
    token = secrets.randbits(62)
    connection.execute(
        insert(changes),
        [
            {"revision": revision, "recording_id": recording_id, "token": token}
            for recording_id in sorted(set(recording_ids)) or [NOTHING]
        ],
    )
    if revision % PRUNE_INTERVAL == 0:
        connection.execute(delete(changes).where(changes.c.revision < revision - KEPT))


def mark(connection: Connection) -> Mark | None:
    """Return the current revision; None if an older Songprint made it."""
    found = connection.execute(
        select(changes.c.revision, changes.c.token).join(library, library.c.revision == changes.c.revision).limit(1)
    ).first()
    return Mark(found.revision, found.token) if found else None


def since(connection: Connection, last: Mark) -> Changes | None:
    """Return what has changed after the revision `last`; None if the log does not contain that."""
    current: int = connection.execute(select(library.c.revision)).scalar_one()
    if not last.revision <= current <= last.revision + MAX_ROWS:
        return None
    rows = connection.execute(
        select(changes.c.revision, changes.c.recording_id, changes.c.token)
        .where(changes.c.revision >= last.revision)
        .order_by(changes.c.revision)
        .limit(MAX_ROWS + 1)
    ).all()
    tokens = {row.revision: row.token for row in rows}
    newer = {row.recording_id for row in rows if row.revision > last.revision}
    complete = tokens.keys() == set(range(last.revision, current + 1)) and tokens[last.revision] == last.token
    if not complete or len(rows) > MAX_ROWS or EVERYTHING in newer:
        return None
    return Changes(Mark(current, tokens[current]), frozenset(newer - {NOTHING}))
