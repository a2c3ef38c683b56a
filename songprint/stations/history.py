"""The airplay history: what the stations played and when; writing, searching and counting it.

Songs may overlap. Everything else covers the time between them: an interval of the same kind that continues the
previous one extends it. A song that continues after an interruption, at the corresponding place of the recording, is
the same play.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, and_, delete, func, insert, or_, select, update

from songprint.intervals import subtract
from songprint.stations.station import (
    DOWN,
    KIND_OF_SOUND,
    KINDS,
    OTHER,
    SILENCE,
    SONGS,
    SPEECH,
    UNKNOWN,
    Play,
    Station,
    to_play,
)
from songprint.stations.stations import down_values, held_row, notify
from songprint.store.database import storable
from songprint.store.tables import plays
from songprint.store.text import folded, searched
from songprint.store.timestamps import clock
from songprint.types import Interval, Segment, Sound

if TYPE_CHECKING:
    from songprint.formats import schema
    from songprint.store.database import Database

MIN_OUTAGE = 1000  # milliseconds; shorter outages are not recorded
CONTINUES_WITHIN = 180_000  # milliseconds after the end of a play in which the same song may continue it
CONTINUES_AT = 10.0  # seconds by which the place in the recording may then differ from the expected one
_DELETED_AT_ONCE = 1000  # plays per transaction


@dataclass(frozen=True)
class Filter:
    """Which plays to return. Empty values match everything."""

    stations: Collection[str] | None = None  # ids; None: all
    recording_id: int | None = None
    kinds: Collection[str] = KINDS
    query: str = ""  # words in title, artists or album
    since: int | None = None  # milliseconds since 1970: plays that end later
    until: int | None = None  # plays that start earlier


class History:
    """The plays of a database. Methods that write take a claimed station, and raise LeaseLost if it is not held."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(
        self, wanted: Filter, *, limit: int | None = 100, before: int | None = None, oldest: bool = False
    ) -> list[Play]:
        """The plays that match, latest first, or with `oldest` in order of time.

        `before` is the id of the last play of the previous page.
        """
        order = (plays.c.started_at, plays.c.id)
        query = _matching(select(plays), wanted).limit(limit)
        query = query.order_by(*order) if oldest else query.order_by(*(column.desc() for column in order))
        with self._database.reading() as connection:
            if before is not None:
                last = connection.execute(select(plays).where(plays.c.id == before)).first()
                if last is None:
                    return []
                same = plays.c.started_at == last.started_at
                query = query.where(
                    or_(plays.c.started_at > last.started_at, and_(same, plays.c.id > before))
                    if oldest
                    else or_(plays.c.started_at < last.started_at, and_(same, plays.c.id < before))
                )
            return [to_play(row) for row in connection.execute(query)]

    def count(self, wanted: Filter) -> int:
        """Number of plays that `find` returns without a limit."""
        with self._database.reading() as connection:
            return int(connection.scalar(_matching(select(func.count()).select_from(plays), wanted)) or 0)

    def statistics(self, station_id: str, since: int, until: int, *, top: int = 20) -> schema.StationStatistics:
        """What a station played in a period: the time of each kind in seconds, and the songs that played most often."""
        found = self.find(Filter([station_id], since=since, until=until), limit=None, oldest=True)
        return statistics(found, since, until, top=top)

    def begin(self, station: Station, segment: Segment, started: int, announced: str) -> Play:
        """Record the start of a song, or continue a play of it that was interrupted.

        Returns the new play, or the interrupted one as it was, with its end.
        """

        def begin(connection: Connection) -> Play:
            row, now = held_row(connection, station), clock(connection)
            interrupted = _interrupted(connection, station.id, segment, started)
            if interrupted is not None:
                _update(connection, interrupted.id, ended_at=None)
                return interrupted
            play_id = _insert(connection, station.id, segment, started, None, announced)
            play = _play(connection, play_id)
            notify(connection, now, row, play, "started")
            return play

        return self._database.write(begin)

    def end(
        self, station: Station, play: Play | None, segment: Segment, started: int, ended: int, announced: str
    ) -> Play:
        """Record the end of a song and its final times; a song without a `play` was not recorded when it started."""

        def end(connection: Connection) -> Play:
            row, now = held_row(connection, station), clock(connection)
            if play is None:
                play_id = _insert(connection, station.id, segment, started, max(started, ended), announced)
                notify(connection, now, row, _play(connection, play_id), "started")
            else:
                play_id = play.id
                final = {"started_at": started, "reference_start": float(segment.reference.start)}
                _update(
                    connection,
                    play_id,
                    ended_at=max(started, ended),
                    confidence=float(segment.confidence),
                    reference_end=float(segment.reference.end),
                    **({} if play.ended is not None else final),  # an interrupted play keeps its start
                )
            done = _play(connection, play_id)
            notify(connection, now, row, done, "ended")
            return done

        return self._database.write(end)

    def withdraw(self, station: Station, play: Play) -> None:
        """Delete a song that was a false detection; a play that it would have continued ends where it ended."""

        def withdraw(connection: Connection) -> None:
            row, now = held_row(connection, station), clock(connection)
            if play.ended is not None:
                _update(connection, play.id, ended_at=play.ended)
                return
            connection.execute(delete(plays).where(plays.c.id == play.id))
            notify(connection, now, row, play, "withdrawn")

        self._database.write(withdraw)

    def fill(self, station: Station, parts: Iterable[tuple[Sound, int, int]], announced: str) -> None:
        """Record what was played between the songs: the sound, its start and its end."""

        def fill(connection: Connection) -> None:
            held_row(connection, station)
            for sound, started, ended in parts:
                kind = KIND_OF_SOUND[sound]
                last = connection.execute(
                    select(plays)
                    .where(plays.c.station_id == station.id, plays.c.kind == kind, plays.c.ended_at == started)
                    .order_by(plays.c.id.desc())
                    .limit(1)
                ).first()
                if last is not None:
                    _update(connection, last.id, ended_at=ended)
                    continue
                values = down_values(station.id, started, announced if kind == UNKNOWN else "")
                connection.execute(insert(plays).values(values | {"kind": kind, "ended_at": ended}))

        self._database.write(fill)

    def begin_outage(self, station: Station, started: int, reason: str) -> None:
        """Record that no audio arrives, unless an outage is recorded already."""

        def begin(connection: Connection) -> None:
            held_row(connection, station)
            if connection.execute(select(plays.c.id).where(_open_outage(station.id))).first() is None:
                connection.execute(insert(plays).values(down_values(station.id, started, reason)))

        self._database.write(begin)

    def end_outage(self, station: Station, ended: int) -> None:
        """Record that audio arrives again. A short outage is deleted."""

        def end(connection: Connection) -> None:
            held_row(connection, station)
            for row in connection.execute(select(plays).where(_open_outage(station.id))).all():
                if ended - row.started_at < MIN_OUTAGE:
                    connection.execute(delete(plays).where(plays.c.id == row.id))
                else:
                    _update(connection, row.id, ended_at=ended)

        self._database.write(end)

    def forget(self, station: Station) -> int:
        """Delete the plays of a station that are older than it keeps them; return their number."""

        def forget(connection: Connection) -> int:
            oldest = clock(connection) - round(86_400_000 * station.history_days)
            this = and_(plays.c.station_id == station.id, plays.c.ended_at < oldest)
            old = list(connection.scalars(select(plays.c.id).where(this).limit(_DELETED_AT_ONCE)))
            connection.execute(delete(plays).where(plays.c.id.in_(old)))
            return len(old)

        forgotten = 0
        while number := self._database.write(forget):
            forgotten += number
        return forgotten


def statistics(found: Iterable[Play], since: int, until: int, *, top: int = 20) -> schema.StationStatistics:
    """Statistics of plays in a period. What is playing now counts up to the end of the period."""
    clipped = [
        (
            play,
            Interval(max(since, play.started) / 1000, min(until, until if play.ended is None else play.ended) / 1000),
        )
        for play in found
    ]
    clipped = [(play, interval) for play, interval in clipped if interval.duration > 0]
    songs = [interval for play, interval in clipped if play.kind in SONGS]
    whole = Interval(since / 1000, until / 1000)
    covered = whole.duration - sum(
        part.duration for part in subtract(whole, sorted(songs, key=lambda each: each.start))
    )
    seconds = dict.fromkeys((UNKNOWN, SPEECH, SILENCE, OTHER, DOWN), 0.0)
    for play, interval in clipped:
        if play.kind not in SONGS:
            seconds[play.kind] += interval.duration
    followed = covered + sum(seconds.values()) - seconds[DOWN]
    counts: Counter[tuple[int | None, str]] = Counter()
    lengths: defaultdict[tuple[int | None, str], float] = defaultdict(float)
    names: dict[tuple[int | None, str], Play] = {}
    for play, interval in clipped:
        if play.kind in SONGS:
            key = play.recording_id, play.kind
            counts[key] += 1
            lengths[key] += interval.duration
            names[key] = play
    ranked = sorted(counts, key=lambda key: (-counts[key], -lengths[key], names[key].name))
    return {
        "seconds": {"songs": round(covered, 3), **{kind: round(value, 3) for kind, value in seconds.items()}},
        "followed": round(followed, 3),
        "plays": sum(counts.values()),
        "recordings": len({key[0] for key in counts}),
        "top": [
            {
                "recording_id": key[0],
                "kind": "cover" if key[1] == "cover" else "recording",
                "title": names[key].title,
                "artists": list(names[key].artists),
                "plays": counts[key],
                "seconds": round(lengths[key], 3),
            }
            for key in ranked[:top]
        ],
    }


def _matching(query: Select[Any], wanted: Filter) -> Select[Any]:
    if wanted.stations is not None:
        query = query.where(plays.c.station_id.in_(list(wanted.stations)))
    if wanted.recording_id is not None:
        query = query.where(plays.c.recording_id == wanted.recording_id)
    if set(wanted.kinds) != set(KINDS):
        query = query.where(plays.c.kind.in_(list(wanted.kinds)))
    for word in folded(wanted.query).split():
        query = query.where(plays.c.search.contains(word, autoescape=True))
    if wanted.since is not None:
        query = query.where(or_(plays.c.ended_at > wanted.since, plays.c.ended_at.is_(None)))
    return query.where(plays.c.started_at < wanted.until) if wanted.until is not None else query


def _insert(
    connection: Connection, station_id: str, segment: Segment, started: int, ended: int | None, announced: str
) -> int:
    recording = segment.recording
    tags = recording.tags
    values = {
        "station_id": station_id,
        "kind": str(segment.kind),
        "recording_id": recording.id,
        "title": storable(tags.title, 1000),
        "artists": json.dumps(tags.artists),
        "album": storable(tags.album, 1000),
        "isrc": storable(tags.isrc, 40),
        "search": storable(searched(tags.title, tags.artists, tags.album)),
        "confidence": float(segment.confidence),
        "reference_start": float(segment.reference.start),
        "reference_end": float(segment.reference.end),
        "announced": storable(announced, 1000),
        "started_at": started,
        "ended_at": ended,
    }
    key = connection.execute(insert(plays).values(values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _interrupted(connection: Connection, station_id: str, segment: Segment, started: int) -> Play | None:
    """The latest play that this segment continues after an interruption of the stream or of the worker."""
    row = connection.execute(
        select(plays)
        .where(
            plays.c.station_id == station_id,
            plays.c.kind == str(segment.kind),
            plays.c.recording_id == segment.recording.id,
            plays.c.ended_at > started - CONTINUES_WITHIN,
        )
        .order_by(plays.c.started_at.desc())
        .limit(1)
    ).first()
    if row is None or row.reference_start is None or started < row.started_at:
        return None
    expected = row.reference_start + (started - row.started_at) / 1000 * segment.speed
    return to_play(row) if abs(segment.reference.start - expected) <= CONTINUES_AT else None


def _open_outage(station_id: str) -> Any:
    return and_(plays.c.station_id == station_id, plays.c.kind == DOWN, plays.c.ended_at.is_(None))


def _update(connection: Connection, play_id: int, **values: Any) -> None:
    connection.execute(update(plays).where(plays.c.id == play_id).values(values))


def _play(connection: Connection, play_id: int) -> Play:
    return to_play(connection.execute(select(plays).where(plays.c.id == play_id)).one())
