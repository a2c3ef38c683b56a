"""Verdicts: what people say of what was recognised, kept beside the jobs.

A segment of a job's result may be accepted, rejected, or corrected to another recording; a gap may be named. The
result itself stays as it was found: `corrected` makes of it what people say it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, cast

from sqlalchemy import Connection, and_, delete, insert, select

from songprint.formats import schema
from songprint.store.database import storable
from songprint.store.tables import verdicts
from songprint.store.timestamps import clock, iso
from songprint.types import Interval, Kind, Recording, Segment, Timeline

if TYPE_CHECKING:
    from songprint.store.database import Database

ACCEPT, REJECT, CORRECT = VERDICTS = ("accept", "reject", "correct")
SEGMENT, GAP = PARTS = ("segment", "gap")
CERTAIN = 100.0  # the confidence of what a person has said


@dataclass(frozen=True)
class Verdict:
    """What somebody said of one segment or gap of a job's result."""

    job_id: str
    part: str  # "segment" or "gap"
    position: int  # in the list of these
    verdict: str  # one of VERDICTS; a gap is "correct" with the recording that it is
    recording_id: int | None  # of a correction
    note: str
    key_id: str  # who said so; empty: somebody at the machine itself
    at: str  # UTC, ISO 8601


def verdict_object(verdict: Verdict) -> schema.Verdict:
    """A verdict as JSON."""
    return cast(schema.Verdict, asdict(verdict) | {"key_id": verdict.key_id or None})


class Verdicts:
    """The verdicts of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def say(
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
        """Keep a verdict, in the place of an earlier one."""
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

    def take_back(self, job_id: str, part: str, position: int) -> bool:
        """Forget a verdict; False if there was none."""
        this = _this(job_id, part, position)
        return self._database.write(lambda connection: connection.execute(delete(verdicts).where(this)).rowcount > 0)

    def of_job(self, job_id: str) -> list[Verdict]:
        """All verdicts on a job's result, segments first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(verdicts)
                .where(verdicts.c.job_id == job_id)
                .order_by(verdicts.c.part.desc(), verdicts.c.position)
            )
            return [_to_verdict(row) for row in rows]


def corrected(timeline: Timeline, said: Iterable[Verdict], recordings: Mapping[int, Recording]) -> Timeline:
    """The timeline as people say it is: without what was rejected, with what was corrected or named.

    `recordings` are those that corrections name; of one that is not there any more the segment is left out.
    """
    of_segment = {each.position: each for each in said if each.part == SEGMENT}
    segments = []
    for position, segment in enumerate(timeline.segments):
        verdict = of_segment.get(position)
        if verdict is None:
            segments.append(segment)
        elif verdict.verdict == ACCEPT:
            segments.append(replace(segment, confidence=CERTAIN))
        elif verdict.verdict == CORRECT and verdict.recording_id in recordings:
            recording = recordings[verdict.recording_id]
            segments.append(replace(segment, recording=recording, original=None, confidence=CERTAIN))
    named = {
        each.position: recordings[each.recording_id]
        for each in said
        if each.part == GAP and each.recording_id in recordings and each.position < len(timeline.gaps)
    }
    for position, recording in named.items():
        heard = timeline.gaps[position].interval
        segments.append(Segment(recording, Kind.RECORDING, CERTAIN, heard, Interval(0.0, heard.duration)))
    gaps = [gap for position, gap in enumerate(timeline.gaps) if position not in named]
    return replace(timeline, segments=sorted(segments, key=lambda each: each.interval.start), gaps=gaps)


def _this(job_id: str, part: str, position: int):
    return and_(verdicts.c.job_id == job_id, verdicts.c.part == part, verdicts.c.position == position)


def _to_verdict(row) -> Verdict:
    return Verdict(row.job_id, row.part, row.position, row.verdict, row.recording_id, row.note, row.key_id, iso(row.at))
