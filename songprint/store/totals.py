"""The size of the catalogue, counted at every change.

Counting everything takes half a second in a library of 100,000 recordings, and every page, health check and command
asks for it. So each transaction that changes recordings or embeddings also changes the counts.

The counts are valid for one revision of the catalogue. If another revision is current, an older Songprint, which does
not count, has changed the catalogue: then everything is counted again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, literal, select, update

from songprint.store.tables import embeddings, encoders, library, recordings, totals
from songprint.types import Kind

ALL = ""  # the kind, and the encoder, in the row that counts recordings; the other rows count embeddings

_BYTES = func.length(embeddings.c.vectors) + func.coalesce(func.length(embeddings.c.evidence), 0)


@dataclass(frozen=True)
class Totals:
    """The size of a catalogue. Embeddings are those by the current encoder of each kind."""

    recordings: int
    duration: float  # seconds
    segments: Mapping[Kind, int]
    recordings_of: Mapping[Kind, int]  # recordings with embeddings of each kind
    bytes_of: Mapping[Kind, int]  # size of these embeddings


def read(connection: Connection) -> Totals:
    """Return the totals. They are counted if the counts are not those of the current revision."""
    rows = [dict(row._mapping) for row in connection.execute(select(totals))]
    if not any(row["kind"] == ALL and row["revision"] == _revision(connection) for row in rows):
        rows = counted(connection)
    present = {(row.kind, row.encoder_id) for row in connection.execute(select(encoders))}
    every = next(row for row in rows if row["kind"] == ALL)
    kinds = {
        Kind(row["kind"]): row for row in rows if (row["kind"], row["encoder_id"]) in present and row["recordings"]
    }
    return Totals(
        recordings=every["recordings"],
        # Differences of sums leave a rest.
        duration=every["duration"] if every["recordings"] else 0.0,
        segments={kind: row["segments"] for kind, row in kinds.items()},
        recordings_of={kind: row["recordings"] for kind, row in kinds.items()},
        bytes_of={kind: row["bytes"] for kind, row in kinds.items()},
    )


def counted(connection: Connection) -> list[dict[str, Any]]:
    """Count everything, and return the rows as the table of totals contains them. It reads the whole catalogue."""
    revision = select(library.c.revision).scalar_subquery()
    of_recordings = select(
        literal(ALL).label("kind"),
        literal(ALL).label("encoder_id"),
        func.count().label("recordings"),
        func.coalesce(func.sum(recordings.c.duration), 0.0).label("duration"),
        literal(0).label("segments"),
        literal(0).label("bytes"),
        revision.label("revision"),
    ).select_from(recordings)
    of_embeddings = select(
        embeddings.c.kind,
        embeddings.c.encoder_id,
        func.count().label("recordings"),
        literal(0.0).label("duration"),
        func.sum(embeddings.c.count).label("segments"),
        func.sum(_BYTES).label("bytes"),
        revision.label("revision"),
    ).group_by(embeddings.c.kind, embeddings.c.encoder_id)
    rows = [*connection.execute(of_recordings), *connection.execute(of_embeddings)]
    # MariaDB and PostgreSQL sum integers to decimal numbers.
    return [
        row | {name: int(row[name]) for name in ("recordings", "segments", "bytes")}
        for row in (dict(each._mapping) for each in rows)
    ]


def recount(connection: Connection) -> None:
    """Count everything again, in the caller's transaction."""
    connection.execute(delete(totals))
    connection.execute(insert(totals), counted(connection))


def differ(connection: Connection) -> bool:
    """Whether the counts are not those of the current content. It reads the whole catalogue."""
    rows = [dict(row._mapping) for row in connection.execute(select(totals)) if row.recordings]
    if not any(row["kind"] == ALL and row["revision"] == _revision(connection) for row in rows):
        return False  # an older Songprint changed the catalogue: the counts are not used
    return _numbers(rows) != _numbers([row for row in counted(connection) if row["recordings"]])


def _numbers(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    return {
        (row["kind"], row["encoder_id"]): (row["recordings"], round(row["duration"]), row["segments"], row["bytes"])
        for row in rows
    }


def keep(connection: Connection) -> None:
    """Make the counts those of the current revision, at the end of a transaction that raised it by one."""
    current = _revision(connection)
    valid = and_(totals.c.kind == ALL, totals.c.revision == current - 1)
    if connection.execute(update(totals).where(valid).values(revision=current)).rowcount != 1:
        recount(connection)


def added(connection: Connection, durations: Sequence[float], packed: Iterable[Mapping[str, Any]]) -> None:
    """Count recordings of these durations in seconds, and these rows of `embeddings`, that the caller has added."""
    sums: dict[tuple[str, str], dict[str, float]] = {}
    if durations:
        sums[ALL, ALL] = _change(len(durations), duration=sum(durations))
    for row in packed:
        change = _change(1, segments=row["count"], size=len(row["vectors"]) + len(row["evidence"] or b""))
        before = sums.get((row["kind"], row["encoder_id"]), _change(0))
        sums[row["kind"], row["encoder_id"]] = {name: before[name] + change[name] for name in change}
    _apply(connection, sums)


def removed(connection: Connection, recording_ids: Sequence[int]) -> None:
    """Subtract recordings with their embeddings, before the caller removes them."""
    count, duration = connection.execute(
        select(func.count(), func.coalesce(func.sum(recordings.c.duration), 0.0)).where(
            recordings.c.id.in_(recording_ids)
        )
    ).one()
    _apply(connection, {(ALL, ALL): _change(-count, duration=-duration)})
    removed_embeddings(connection, embeddings.c.recording_id.in_(recording_ids))


def removed_embeddings(connection: Connection, *chosen: Any) -> None:
    """Subtract the embeddings that fulfil these conditions, before the caller removes them."""
    rows = connection.execute(
        select(embeddings.c.kind, embeddings.c.encoder_id, func.count(), func.sum(embeddings.c.count), func.sum(_BYTES))
        .where(*chosen)
        .group_by(embeddings.c.kind, embeddings.c.encoder_id)
    )
    _apply(
        connection,
        {
            (kind, encoder_id): _change(-count, segments=-int(segments), size=-int(size))
            for kind, encoder_id, count, segments, size in rows.all()
        },
    )


def _revision(connection: Connection) -> int:
    revision: int = connection.execute(select(library.c.revision)).scalar_one()
    return revision


def _change(recordings: int, *, duration: float = 0.0, segments: int = 0, size: int = 0) -> dict[str, float]:
    return {"recordings": recordings, "duration": duration, "segments": segments, "bytes": size}


def _apply(connection: Connection, sums: Mapping[tuple[str, str], Mapping[str, float]]) -> None:
    for (kind, encoder_id), change in sums.items():
        this = and_(totals.c.kind == kind, totals.c.encoder_id == encoder_id)
        values = {name: totals.c[name] + number for name, number in change.items()}
        if connection.execute(update(totals).where(this).values(values)).rowcount != 1:
            connection.execute(insert(totals).values(kind=kind, encoder_id=encoder_id, revision=-1, **change))
