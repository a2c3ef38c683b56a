"""Stations: rows of the catalogue's database, shared by any number of workers on any number of machines.

A worker claims a station with a lease, as for jobs, and extends it while it follows the station. If the worker dies,
the lease expires and another worker claims the station. Every change by a worker checks its lease. A user who changes,
stops or removes a station takes the lease away, and the worker stops.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, or_, select, true, update

from songprint.errors import StationError, StationNotFound
from songprint.jobs import deliveries
from songprint.jobs.clockwatch import TOLERANCE, ClockWatch
from songprint.jobs.job import Lease, with_secrets
from songprint.stations.station import (
    DOWN,
    SONGS,
    STOPPED,
    WAITING,
    Play,
    Station,
    checked_options,
    play_object,
    to_play,
    to_station,
)
from songprint.store.database import storable
from songprint.store.tables import attempts, plays, stations
from songprint.store.tables import deliveries as owed
from songprint.store.timestamps import clock

if TYPE_CHECKING:
    from songprint.accounts.vault import Vault
    from songprint.store.database import Database

LEASE = 30.0  # seconds without a heartbeat after which a worker is considered dead
MAX_STATIONS = 1000  # of one key


class LeaseLost(StationError):
    """The station was changed, stopped or removed, or another worker follows it."""


class Stations:
    """The stations of a database. All methods may be called from any process, thread and machine."""

    def __init__(self, database: Database, vault: Vault | None = None, *, watch: ClockWatch | None = None) -> None:
        """`vault` encrypts the secrets of callbacks; `watch` detects changes of the database's clock."""
        self._database = database
        self._vault = vault
        self._watch = watch or ClockWatch()

    def create(
        self, url: str, name: str = "", options: Mapping[str, Any] | None = None, *, key_id: str = ""
    ) -> Station:
        """Create a station, which the next free worker follows. Raises StationError for an invalid option."""
        station_id = secrets.token_hex(8)
        stored = self._sealed(checked_options(options or {}), station_id)

        def create(connection: Connection) -> Station:
            now = clock(connection)
            if (connection.scalar(select(func.count()).where(stations.c.key_id == key_id)) or 0) >= MAX_STATIONS:
                raise StationError(f"there are {MAX_STATIONS:,} stations already. Remove one first")
            connection.execute(
                insert(stations).values(
                    id=station_id,
                    name=storable(name or url, 200),
                    url=storable(url),
                    options=json.dumps(stored),
                    enabled=True,
                    state=WAITING,
                    reason="",
                    state_at=now,
                    announced="",
                    key_id=key_id,
                    created_at=now,
                    changed_at=now,
                    worker="",
                    lease="",
                )
            )
            return to_station(_row(connection, station_id))

        return self._database.write(create)

    def get(self, station_id: str) -> Station:
        """The station with this id. Raises StationNotFound."""
        with self._database.reading() as connection:
            return to_station(_row(connection, station_id))

    def find(self, *, key_id: Collection[str] | None = None, limit: int | None = None, after: int = 0) -> list[Station]:
        """The stations of these keys, in order of creation. `after` is the number of the last one of a page."""
        wanted = select(stations).where(stations.c.number > after).order_by(stations.c.number).limit(limit)
        if key_id is not None:
            wanted = wanted.where(stations.c.key_id.in_(list(key_id)))
        with self._database.reading() as connection:
            return [to_station(row) for row in connection.execute(wanted)]

    def change(self, station_id: str, changes: Mapping[str, Any]) -> Station:
        """Change `name`, `url` or options of a station. Its follower starts again with them."""

        def change(connection: Connection) -> Station:
            before = to_station(_row(connection, station_id, lock=True))
            given = {name: value for name, value in changes.items() if name in before.options}
            if "callback" in given:
                given = self._sealed(given, station_id)
            columns = {name: storable(changes[name]) for name in ("name", "url") if name in changes}
            options = checked_options(before.options | given)
            _set(connection, station_id, options=json.dumps(options), **_free(clock(connection)), **columns)
            return to_station(_row(connection, station_id))

        return self._database.write(change)

    def start(self, station_id: str) -> Station:
        """Follow a stopped station again."""

        def start(connection: Connection) -> Station:
            now = clock(connection)
            if not _row(connection, station_id, lock=True).enabled:
                _set(connection, station_id, enabled=True, **_state(WAITING, "", now), **_free(now), heard_at=None)
            return to_station(_row(connection, station_id))

        return self._database.write(start)

    def stop(self, station_id: str) -> Station:
        """Stop following a station. What is playing ends at the end of the audio that was processed."""

        def stop(connection: Connection) -> Station:
            row = _row(connection, station_id, lock=True)
            if row.enabled:
                now = clock(connection)
                _end_songs(connection, row, now)
                this = and_(plays.c.station_id == row.id, plays.c.ended_at.is_(None))  # an outage
                connection.execute(update(plays).where(this).values(ended_at=now))
                _set(connection, station_id, enabled=False, announced="", **_state(STOPPED, "", now), **_free(now))
            return to_station(_row(connection, station_id))

        return self._database.write(stop)

    def remove(self, station_id: str) -> Station:
        """Delete a station with its history and its callbacks. Workers delete its audio."""

        def remove(connection: Connection) -> Station:
            station = to_station(_row(connection, station_id, lock=True))
            ids = list(connection.scalars(select(owed.c.id).where(owed.c.station_id == station_id)))
            for first in range(0, len(ids), 500):
                connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(ids[first : first + 500])))
            for table in (owed, plays):
                connection.execute(delete(table).where(table.c.station_id == station_id))
            connection.execute(delete(stations).where(stations.c.id == station_id))
            return station

        return self._database.write(remove)

    def playing(self, station_ids: Collection[str]) -> dict[str, list[Play]]:
        """The songs that play now, by station."""
        found: dict[str, list[Play]] = {station_id: [] for station_id in station_ids}
        wanted = select(plays).where(
            plays.c.station_id.in_(list(station_ids)), plays.c.ended_at.is_(None), plays.c.kind.in_(SONGS)
        )
        with self._database.reading() as connection:
            for row in connection.execute(wanted.order_by(plays.c.started_at, plays.c.id)):
                found[row.station_id].append(to_play(row))
        return found

    # For workers

    def claim(self, worker: str, lease: float = LEASE) -> Station | None:
        """Claim a station that no worker follows, for `lease` seconds; None if there is none.

        Songs that a dead worker left open end where its audio ended; the time since then is an outage.
        """
        with self._database.reading() as connection:
            due = list(
                connection.scalars(
                    select(stations.c.number).where(self._due(clock(connection), lease)).order_by(stations.c.number)
                )
            )
        for number in due:
            station = self._database.write(partial(self._claimed, number=number, worker=worker, seconds=lease))
            if station is not None:
                return station
        return None

    def heartbeat(self, held: Mapping[str, tuple[Station, int | None]]) -> set[str]:
        """Extend the leases of these stations, by id; return the ids of those that are still held.

        With each station comes the end of its audio that was processed, in milliseconds since 1970.
        """

        def extend(connection: Connection) -> set[str]:
            now, kept = clock(connection), set()
            for station_id, (station, heard) in held.items():
                values: dict[str, Any] = {"lease_until": now + round(1000 * _lease(station).seconds)}
                if heard is not None:
                    values["heard_at"] = heard
                if connection.execute(update(stations).where(_held(station)).values(values)).rowcount == 1:
                    kept.add(station_id)
            return kept

        return self._database.write(extend) if held else set()

    def release(self, station: Station, heard: int | None) -> None:
        """Let another worker follow a claimed station at once."""
        more = {} if heard is None else {"heard_at": heard}
        values = {"lease": "", "lease_until": None, **more}
        self._database.write(
            lambda connection: connection.execute(update(stations).where(_held(station)).values(values))
        )

    def set_state(self, station: Station, state: str, reason: str = "") -> None:
        """Store the state of a claimed station. Raises LeaseLost."""

        def store(connection: Connection) -> None:
            row = held_row(connection, station)
            since = {} if row.state == state else {"state_at": clock(connection)}
            _set(connection, station.id, state=state, reason=storable(reason, 1000), **since)

        self._database.write(store)

    def announce(self, station: Station, title: str) -> None:
        """Store the title that a claimed station announces. Raises LeaseLost."""

        def store(connection: Connection) -> None:
            held_row(connection, station)
            _set(connection, station.id, announced=storable(title, 1000))

        self._database.write(store)

    def _claimed(self, connection: Connection, number: int, worker: str, seconds: float) -> Station | None:
        now, lease = clock(connection), Lease(secrets.token_hex(16), seconds)
        wanted = select(stations).where(stations.c.number == number, self._due(now, seconds))
        row = connection.execute(wanted.with_for_update(skip_locked=True)).first()
        if row is None:
            return None
        _end_songs(connection, row, now)
        _begin_outage(connection, row, now)
        _set(
            connection,
            row.id,
            worker=storable(worker, 200),
            lease=lease.token,
            lease_until=now + round(1000 * seconds),
            **_state(WAITING, "", now),
        )
        return to_station(_row(connection, row.id), lease)

    def _due(self, now: int, lease: float) -> ColumnElement[bool]:
        """The stations that `claim` may claim, for `lease` seconds."""
        longest = round(1000 * max(lease, LEASE)) + TOLERANCE
        expired = or_(stations.c.lease_until < now, stations.c.lease_until > now + longest)
        free = stations.c.lease == ""
        return and_(
            stations.c.enabled == true(), or_(free, expired) if self._watch.is_steady(now, max(lease, LEASE)) else free
        )

    def _sealed(self, options: Mapping[str, Any], station_id: str) -> dict[str, Any]:
        def encrypted(secret: str) -> str:
            if self._vault is None:
                raise ValueError("a station with a secret needs a vault: Stations(database, vault)")
            return base64.b64encode(self._vault.seal(secret, station_id)).decode()

        return dict(with_secrets(options, encrypted))


def held_row(connection: Connection, station: Station) -> Row[Any]:
    """The row of a claimed station, locked. Raises LeaseLost."""
    row = connection.execute(select(stations).where(_held(station)).with_for_update()).first()
    if row is None:
        raise LeaseLost(f"station {station.id} was changed, or another worker follows it")
    return row


def notify(connection: Connection, now: int, station: Row[Any], play: Play, event: str) -> None:
    """Queue the callback of a station for the start, the end or the withdrawal of a song."""
    body = {"event": event, "station": {"id": station.id, "name": station.name}, "play": play_object(play)}
    deliveries.queue_event(connection, now, station.id, json.loads(station.options), event, json.dumps(body))


def _end_songs(connection: Connection, station: Row[Any], now: int) -> None:
    """End what a follower left open, except an outage, at the end of the audio that it processed."""
    this = and_(plays.c.station_id == station.id, plays.c.ended_at.is_(None), plays.c.kind != DOWN)
    for row in connection.execute(select(plays).where(this)).all():
        ended = max(row.started_at, min(now, station.heard_at or row.started_at))
        connection.execute(update(plays).where(plays.c.id == row.id).values(ended_at=ended))
        updated = connection.execute(select(plays).where(plays.c.id == row.id)).one()
        notify(connection, now, station, to_play(updated), "ended")


def _begin_outage(connection: Connection, station: Row[Any], now: int) -> None:
    """Record that nobody followed the station since its audio ended, unless an outage is recorded already."""
    this = and_(plays.c.station_id == station.id, plays.c.ended_at.is_(None), plays.c.kind == DOWN)
    if station.heard_at is None or connection.execute(select(plays.c.id).where(this)).first():
        return
    connection.execute(insert(plays).values(down_values(station.id, min(now, station.heard_at), "not followed")))


def down_values(station_id: str, started: int, reason: str) -> dict[str, Any]:
    """The row of an outage that begins."""
    return {
        "station_id": station_id,
        "kind": DOWN,
        "title": "",
        "artists": "[]",
        "album": "",
        "isrc": "",
        "announced": storable(reason, 1000),
        "started_at": started,
        "ended_at": None,
    }


def _lease(station: Station) -> Lease:
    if station.lease is None:
        raise ValueError(f"station {station.id} was not claimed")
    return station.lease


def _held(station: Station) -> ColumnElement[bool]:
    return and_(stations.c.id == station.id, stations.c.lease == _lease(station).token)


def _set(connection: Connection, station_id: str, **values: Any) -> None:
    connection.execute(update(stations).where(stations.c.id == station_id).values(values))


def _state(state: str, reason: str, now: int) -> dict[str, Any]:
    return {"state": state, "reason": reason, "state_at": now}


def _free(now: int) -> dict[str, Any]:
    """Values after a change by a user: the worker that follows the station loses its lease."""
    return {"changed_at": now, "lease": "", "lease_until": None}


def _row(connection: Connection, station_id: str, *, lock: bool = False) -> Row[Any]:
    wanted = select(stations).where(stations.c.id == station_id)
    row = connection.execute(wanted.with_for_update() if lock else wanted).first()
    if row is None:
        raise StationNotFound(f"no station {station_id}. `songprint stations list` lists all stations")
    return row
