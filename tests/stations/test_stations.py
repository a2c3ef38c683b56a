"""Stations as rows of the database: creation, changes, leases, what a dead worker leaves."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import inspect, select, text
from support.jobs import Receiver, let_time_pass, post
from support.radio import _segment

from songprint.accounts.vault import Vault
from songprint.errors import StationError, StationNotFound
from songprint.jobs.callbacks import Sender, headers
from songprint.jobs.deliveries import Deliveries
from songprint.jobs.jobs import Jobs
from songprint.stations.history import Filter, History
from songprint.stations.stations import LeaseLost, Stations
from songprint.store import schema, tables
from songprint.store.catalog import Catalog

URL = "http://radio.example.org:8000/live"
T = 1_790_000_000_000  # milliseconds since 1970


@pytest.fixture
def stations(database, tmp_path):
    return Stations(database, Vault(database, tmp_path / "library"))


@pytest.fixture
def history(database):
    return History(database)


def test_a_station_has_defaults_and_is_listed_in_order_of_creation(stations):
    first = stations.create(URL)
    second = stations.create(URL, "Klassik", {"timezone": "Europe/Berlin", "buffer_minutes": 5}, key_id="k1")
    assert (first.name, first.state, first.timezone, first.enabled) == (URL, "waiting", "UTC", True)
    assert stations.find() == [first, second]
    assert stations.find(key_id=["k1"]) == [second] == stations.find(after=first.number)
    assert stations.get(second.id).buffer_minutes == 5
    with pytest.raises(StationNotFound, match="no station nope"):
        stations.get("nope")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"timezone": "Mars/Base"}, "not a time zone"),
        ({"history_days": -1}, "history_days=-1 must lie between 0 and"),
        ({"buffer_minutes": 1e9}, "buffer_minutes=1e"),
    ],
)
def test_invalid_options_are_refused(stations, option, message):
    with pytest.raises(StationError, match=message):
        stations.create(URL, options=option)


def test_the_secret_of_a_callback_is_stored_encrypted(stations, database):
    station = stations.create(URL, options={"callback": {"url": "http://r.example/", "secret": "k3y"}})
    with database.reading() as connection:
        assert "k3y" not in connection.execute(select(tables.stations.c.options)).scalar_one()
    kept = stations.change(station.id, {"name": "New"})
    assert kept.callback == station.callback


def test_one_worker_follows_a_station_until_its_lease_expires(stations, database):
    station = stations.create(URL)
    claimed = stations.claim("one")
    assert claimed.id == station.id and stations.claim("two") is None
    assert stations.heartbeat({station.id: (claimed, T)}) == {station.id}
    let_time_pass(database, 20)
    assert Stations(database).claim("two") is None
    let_time_pass(database, 20)
    again = Stations(database).claim("two")
    assert again.worker == "two"
    assert stations.heartbeat({station.id: (claimed, T)}) == set()
    with pytest.raises(LeaseLost):
        stations.set_state(claimed, "connected")


def test_a_released_station_is_claimed_at_once(stations):
    stations.create(URL)
    stations.release(stations.claim("one"), None)
    assert stations.claim("two").worker == "two"


@pytest.mark.parametrize("action", ["stop", "change", "remove"])
def test_changes_by_users_take_the_lease_away(stations, action):
    station = stations.create(URL)
    claimed = stations.claim("one")
    stations.change(station.id, {"url": URL + "2"}) if action == "change" else getattr(stations, action)(station.id)
    with pytest.raises(LeaseLost):
        stations.announce(claimed, "x")
    assert (stations.claim("two") is not None) == (action == "change")


def test_a_stopped_station_can_be_started_again(stations):
    station = stations.create(URL)
    assert stations.stop(station.id).state == "stopped"
    assert stations.claim("one") is None
    assert stations.start(station.id).state == "waiting"
    assert stations.claim("one") is not None


def test_songs_of_a_dead_worker_end_where_its_audio_ended(stations, history, database):
    station = stations.create(URL, options={"callback": {"url": "http://r.example/"}})
    claimed = stations.claim("one")
    play = history.begin(claimed, _segment(1, 0, 5), T - 60_000, "Song")
    assert [each.id for each in stations.playing([station.id])[station.id]] == [play.id]
    stations.heartbeat({station.id: (claimed, T)})
    let_time_pass(database, 60)
    Stations(database).claim("two")
    ended, outage = history.find(Filter(), oldest=True)
    assert (ended.id, ended.ended) == (play.id, T - 60_000)
    assert (outage.kind, outage.started, outage.ended) == ("down", T - 60_000, None)
    sent = Deliveries(database).find()
    assert {each.event for each in sent} == {"started", "ended"}
    assert {each.station_id for each in sent} == {station.id} and {each.job_id for each in sent} == {""}
    assert json.loads(sent[0].body)["station"] == {"id": station.id, "name": URL}


def test_callbacks_are_signed_and_sent_like_those_of_jobs(stations, history, database, tmp_path):
    vault = Vault(database, tmp_path / "library")
    with Receiver() as receiver:
        receiver.answers = [500]
        callback = {"url": receiver.url, "secret": "k3y"}
        stations.create(URL, "Radio", {"callback": callback})
        history.begin(stations.claim("one"), _segment(1, 0, 5), T, "")
        deliveries = Deliveries(database)
        sender = Sender(Jobs(database, vault), deliveries, post, {}, secret="the server's")
        assert sender.send(deliveries.claim()) == "waiting"
        let_time_pass(database, 10)
        assert sender.send(deliveries.claim()) == "delivered"
    received = receiver.received[-1]
    body = json.loads(received.body)
    assert (body["event"], body["station"]["name"], body["play"]["title"]) == ("started", "Radio", "Song 1")
    moment = int(received.headers["webhook-timestamp"])
    signed = headers(received.headers["webhook-id"], moment, received.body, "k3y")
    assert received.headers["webhook-signature"] == signed["webhook-signature"]


def test_callbacks_are_listed_for_the_owner_of_the_station(stations, history, database):
    stations.create(URL, options={"callback": {"url": "http://r.example/"}}, key_id="k1")
    history.begin(stations.claim("one"), _segment(1, 0, 5), T, "")
    assert len(Deliveries(database).find(key_id="k1")) == 1
    assert Deliveries(database).find(key_id="k2") == []


def test_a_removed_station_leaves_nothing(stations, history, database):
    station = stations.create(URL, options={"callback": {"url": "http://r.example/"}})
    history.begin(stations.claim("one"), _segment(1, 0, 5), T, "")
    stations.remove(station.id)
    assert (stations.find(), history.find(Filter()), Deliveries(database).find()) == ([], [], [])


def test_a_database_of_version_9_gets_stations(catalog, tmp_path, database_url):
    with catalog.database.writing() as connection:
        connection.execute(text("DROP TABLE plays"))
        connection.execute(text("DROP TABLE stations"))
        tables.deliveries.drop(connection)
        connection.execute(
            text(
                "CREATE TABLE deliveries (id VARCHAR(64) PRIMARY KEY, job_id VARCHAR(64) NOT NULL,"
                " event VARCHAR(12) NOT NULL, url TEXT NOT NULL, host VARCHAR(255) NOT NULL,"
                " style VARCHAR(20) NOT NULL,"
                " state VARCHAR(12) NOT NULL, created_at BIGINT NOT NULL, due_at BIGINT NOT NULL,"
                " attempts INTEGER NOT NULL, waits INTEGER NOT NULL, lease VARCHAR(40) NOT NULL, lease_until BIGINT,"
                " delivered_at BIGINT)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO deliveries VALUES"
                " ('m', 'j', 'finished', 'u', 'h', 's', 'waiting', 1, 1, 0, 0, '', NULL, NULL)"
            )
        )
        connection.execute(text("UPDATE library SET schema_version = 9"))
    for _ in range(2):  # the second time after a migration that was interrupted before its version was stored
        migrated = Catalog(tmp_path / "library", database=database_url)
        assert [each.station_id for each in Deliveries(migrated.database).find()] == [""]
        assert Stations(migrated.database).find() == []
        with migrated.database.writing() as connection:
            assert schema.version(connection) == len(schema.MIGRATIONS)
            names = {index["name"] for index in inspect(connection).get_indexes("deliveries")}
            assert {"deliveries_by_turn", "deliveries_by_station"} <= names
            connection.execute(text("UPDATE library SET schema_version = 9"))
        migrated.close()
