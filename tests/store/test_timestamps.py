"""Points in time: one format in all tables, one clock for all machines."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import BigInteger
from support.recordings import add

from songprint.store import tables
from songprint.store.timestamps import clock, iso, milliseconds


def test_every_point_in_time_is_stored_as_an_integer():
    moments = [
        column
        for table in tables.metadata.tables.values()
        for column in table.columns
        if column.name == "at" or column.name.endswith(("_at", "_until"))
    ]
    assert {column.table.name for column in moments} >= {"library", "recordings", "unknown_music", "jobs", "api_keys"}
    assert all(isinstance(column.type, BigInteger) for column in moments)


def test_the_clock_of_every_database_runs_in_utc(database):
    with database.reading() as connection:
        assert abs(clock(connection) - 1000 * time.time()) < 60_000


def test_recordings_report_when_they_were_added_in_iso_8601(catalog, random):
    before = milliseconds(add(catalog, random, "first").added_at)
    added = add(catalog, random, "second")
    assert added.added_at.endswith("+00:00") and len(added.added_at) == len("2026-01-01T00:00:00+00:00")
    assert before <= milliseconds(added.added_at) <= 1000 * time.time() + 60_000
    assert [each.title for each in catalog.recordings(order="-added_at")] == ["second", "first"]


@pytest.mark.parametrize("moment", [0, 1749816500250, 4102444800000])
def test_iso_8601_and_milliseconds_convert_into_each_other(moment):
    assert milliseconds(iso(moment)) == moment


def test_a_time_without_a_zone_is_in_utc():
    assert milliseconds("2025-06-13T12:08:20") == milliseconds("2025-06-13T14:08:20+02:00")
    assert iso(None) == ""
    with pytest.raises(ValueError):
        milliseconds("yesterday")
