"""Verdicts: corrections of results by people, stored in addition to the results of jobs.

A segment of a result can be accepted, rejected or corrected to another recording, and a gap can be named. The stored
result does not change; `corrected` applies the verdicts to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select

from songprint.formats import schema
from songprint.store.database import storable
from songprint.store.tables import verdicts
from songprint.store.timestamps import clock, iso
from songprint.types import Interval, Kind, Recording, Segment, Timeline

if TYPE_CHECKING:
    from songprint.store.catalog import Catalog
    from songprint.store.database import Database

ACCEPT, REJECT, CORRECT = VERDICTS = ("accept", "reject", "correct")
SEGMENT, GAP = PARTS = ("segment", "gap")
CERTAIN = 100.0  # confidence after a verdict


@dataclass(frozen=True)
class Verdict:
    """A verdict about one segment or gap of the result of a job."""

    job_id: str
    part: str  # "segment" or "gap"
    position: int  # index in the list of segments or gaps
    verdict: str  # one of VERDICTS; for a gap "correct", with its recording
    recording_id: int | None  # of a correction
    note: str
    key_id: str  # of the caller; empty for a caller on this machine
    at: str  # UTC, ISO 8601


def verdict_object(verdict: Verdict) -> schema.Verdict:
    """A verdict as JSON."""
    return cast(schema.Verdict, asdict(verdict) | {"key_id": verdict.key_id or None})


class Verdicts:
    """The verdicts of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        job_id: str,
        part: str,
        position: int,
        verdict: str,
        *,
        recording_id: int | None = None,
        note: str = "",
        key_id: str = "",
    ) -> Verdict:
        """Store a verdict. It replaces an earlier one."""
        this = _this(job_id, part, position)

        def write(connection: Connection) -> Verdict:
            connection.execute(delete(verdicts).where(this))
            connection.execute(
                insert(verdicts).values(
                    job_id=job_id,
                    part=part,
                    position=position,
                    verdict=verdict,
                    recording_id=recording_id,
                    note=storable(note, 2000),
                    key_id=key_id,
                    at=clock(connection),
                )
            )
            return _to_verdict(connection.execute(select(verdicts).where(this)).one())

        return self._database.write(write)

    def withdraw(self, job_id: str, part: str, position: int) -> bool:
        """Delete a verdict. Return False if there was none."""
        this = _this(job_id, part, position)
        return self._database.write(lambda connection: connection.execute(delete(verdicts).where(this)).rowcount > 0)

    def of_job(self, job_id: str) -> list[Verdict]:
        """All verdicts about the result of a job, segments first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(verdicts)
                .where(verdicts.c.job_id == job_id)
                .order_by(verdicts.c.part.desc(), verdicts.c.position)
            )
            return [_to_verdict(row) for row in rows]


def corrected(timeline: Timeline, given: Collection[Verdict], recordings: Mapping[int, Recording]) -> Timeline:
    """Apply verdicts to a timeline: drop rejected segments, replace corrected ones, and turn named gaps into segments.

    `recordings` contains the recordings that corrections name. A segment corrected to a deleted recording is dropped.
    """
    of_segment = {each.position: each for each in given if each.part == SEGMENT}
    segments = []
    for position, segment in enumerate(timeline.segments):
        verdict = of_segment.get(position)
        if verdict is None:
            segments.append(segment)
        elif verdict.verdict == ACCEPT:
            segments.append(replace(segment, confidence=CERTAIN))
        elif verdict.verdict == CORRECT and (recording := _named_by(verdict, recordings)):
            segments.append(replace(segment, recording=recording, original=None, confidence=CERTAIN))
    named = {
        each.position: recording
        for each in given
        if each.part == GAP and each.position < len(timeline.gaps) and (recording := _named_by(each, recordings))
    }
    for position, recording in named.items():
        interval = timeline.gaps[position].interval
        segments.append(Segment(recording, Kind.RECORDING, CERTAIN, interval, Interval(0.0, interval.duration)))
    gaps = [gap for position, gap in enumerate(timeline.gaps) if position not in named]
    return replace(timeline, segments=sorted(segments, key=lambda each: each.interval.start), gaps=gaps)


def reviewed(timeline: Timeline, job_id: str, catalog: Catalog) -> Timeline:
    """Apply the stored verdicts about a job to its timeline."""
    given = Verdicts(catalog.database).of_job(job_id)
    named = {each.recording_id for each in given if each.recording_id}
    return corrected(timeline, given, catalog.recordings_with(named))


def _named_by(verdict: Verdict, recordings: Mapping[int, Recording]) -> Recording | None:
    return None if verdict.recording_id is None else recordings.get(verdict.recording_id)


def _this(job_id: str, part: str, position: int) -> ColumnElement[bool]:
    return and_(verdicts.c.job_id == job_id, verdicts.c.part == part, verdicts.c.position == position)


def _to_verdict(row: Row[Any]) -> Verdict:
    return Verdict(row.job_id, row.part, row.position, row.verdict, row.recording_id, row.note, row.key_id, iso(row.at))
