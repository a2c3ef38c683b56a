"""Decisions about duplicates: recordings that are merged into one, and pairs that are kept apart.

A merged recording is gone, but its files become those of the recording that is kept, and its sound stays known: when
one of its files is read again, it is a file of the recording that is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from songprint.errors import LibraryConflict, MetadataError, RecordingNotFound
from songprint.store import places, totals
from songprint.store.fields import changed, from_json, to_json
from songprint.store.packing import to_recording, to_row
from songprint.store.tables import embeddings, kept_apart, merged, recordings, verdicts
from songprint.store.timestamps import clock
from songprint.types import Recording, Tags

if TYPE_CHECKING:
    from songprint.store.catalog import Catalog

Pair = tuple[int, int]  # ids of two recordings, the smaller one first
MAX_DECIDED = 100  # recordings in one decision, which writes a row for each pair


def merge(catalog: Catalog, keep: int, others: Iterable[int]) -> Recording:
    """Merge recordings into the recording `keep`, and return it.

    It receives their files, and those tags and user fields that it lacks. Its own tags and its work stay. Verdicts
    about the others become verdicts about it. The vectors of the others are deleted.

    Raises RecordingNotFound if one of them does not exist, and LibraryConflict if there is nothing to merge.
    """
    ids = sorted(set(others))
    if not ids or keep in ids:
        raise LibraryConflict("merging needs the recording to keep, and at least one other recording")

    def write(connection: Connection) -> Recording:
        this = recordings.c.id == keep
        found = {row.id: row for row in connection.execute(select(recordings).where(this | recordings.c.id.in_(ids)))}
        for recording_id in (keep, *ids):
            if recording_id not in found:
                raise RecordingNotFound(
                    f"no recording {recording_id} in the library. `songprint list` shows all recordings"
                )
        rows = [found[recording_id] for recording_id in ids]
        connection.execute(update(recordings).where(this).values(_completed(found[keep], rows)))
        places.move(connection, ids, keep)
        connection.execute(update(merged).where(merged.c.recording_id.in_(ids)).values(recording_id=keep))
        connection.execute(
            insert(merged),
            [{"content_hash": row.content_hash, "recording_id": keep, "merged_id": row.id} for row in rows],
        )
        connection.execute(update(verdicts).where(verdicts.c.recording_id.in_(ids)).values(recording_id=keep))
        _move_decisions(connection, ids, keep)
        totals.removed(connection, ids)
        connection.execute(delete(embeddings).where(embeddings.c.recording_id.in_(ids)))
        connection.execute(delete(recordings).where(recordings.c.id.in_(ids)))
        return to_recording(connection.execute(select(recordings).where(this)).one())

    return catalog.change(write, changed=lambda _: ids)


def keep_apart(catalog: Catalog, recording_ids: Iterable[int]) -> None:
    """Remember that these recordings are different, so that no two of them are listed as duplicates again.

    Raises RecordingNotFound if one of them does not exist, and LibraryConflict for fewer than two or too many.
    """
    ids = sorted(set(recording_ids))
    if not 2 <= len(ids) <= MAX_DECIDED:
        raise LibraryConflict(f"a decision about duplicates needs 2 to {MAX_DECIDED} recordings, not {len(ids)}")
    for recording_id in ids:
        catalog.recording(recording_id)
    catalog.change(lambda connection: put_apart(connection, combinations(ids, 2)), affects_search=False)


def put_apart(connection: Connection, pairs: Iterable[Pair]) -> None:
    """Add pairs to those that are kept apart, in the caller's transaction."""
    for one, other in sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}):
        this = (kept_apart.c.one == one) & (kept_apart.c.other == other)
        if connection.execute(select(kept_apart.c.one).where(this)).first() is None:
            connection.execute(insert(kept_apart).values(one=one, other=other, at=clock(connection)))


def apart(catalog: Catalog) -> set[Pair]:
    """Return all pairs that are kept apart."""
    with catalog.database.reading() as connection:
        return {(row.one, row.other) for row in connection.execute(select(kept_apart.c.one, kept_apart.c.other))}


def _completed(kept: Row[Any], others: Sequence[Row[Any]]) -> dict[str, Any]:
    """The columns of the recording to keep, with what it lacks from the others, the first one first."""
    tags, own = to_recording(kept).tags, from_json(kept.fields)
    for other in others:
        theirs = to_recording(other).tags
        lacking = [each.name for each in fields(Tags) if not getattr(tags, each.name)]
        tags = replace(tags, **{name: getattr(theirs, name) for name in lacking})
        try:
            own = changed(own, {name: value for name, value in from_json(other.fields).items() if name not in own})
        except MetadataError:  # more fields than one recording may have
            continue
    original = any(row.original and row.work == tags.work for row in (kept, *others))
    return to_row(tags) | {"fields": to_json(own), "original": original}


def _move_decisions(connection: Connection, former: Sequence[int], keep: int) -> None:
    """Apply decisions about merged recordings to the recording that is kept."""
    chosen = or_(kept_apart.c.one.in_(former), kept_apart.c.other.in_(former))
    pairs = connection.execute(select(kept_apart.c.one, kept_apart.c.other).where(chosen)).all()
    connection.execute(delete(kept_apart).where(chosen))
    new = {recording_id: keep for recording_id in former}
    put_apart(connection, [(new.get(one, one), new.get(other, other)) for one, other in pairs])
