"""Counting queries: one row per key and day whatever the number of servers, and a growing recording counts once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from songprint.errors import LibraryError
from songprint.jobs.usage import Usage
from songprint.server.meter import REPEAT_SECONDS, Meter

SECOND = bytes(range(256)) * 4  # of audio


@pytest.fixture
def usage(tmp_path, catalog) -> Usage:
    return Usage(catalog.database)


@pytest.fixture
def database_url() -> str:
    return ""  # a SQLite file


def recorded(folder: Path, seconds: int, audio: bytes = SECOND) -> Path:
    """A file whose header differs with its length, as in WAV."""
    file = folder / "query.wav"
    file.write_bytes(f"{seconds:044d}".encode() + seconds * audio)
    return file


def totals(usage: Usage) -> list[tuple[str, int, float]]:
    return [(used.key, used.queries, used.seconds) for used in usage.by_day()]


def test_queries_of_all_servers_share_one_row_per_key_and_day(usage):
    for _ in range(3):  # three runs of a server
        meter = Meter(usage)
        for key in ("SPa", "SPa", "SPb"):
            meter.note(key, 10.0)
        meter.close()
        meter.write()  # nothing is left
    assert totals(usage) == [("SPa", 6, 60.0), ("SPb", 3, 30.0)]
    [day] = {used.day for used in usage.by_day()}
    assert day == datetime.now(UTC).date().isoformat()


def test_a_growing_recording_counts_once_with_its_final_length(usage, tmp_path):
    now = 0.0
    meter = Meter(usage, clock=lambda: now)
    for seconds in (3, 4, 4, 12):
        now += 2.0
        meter.note("SPa", seconds, recorded(tmp_path, seconds))
    meter.note("SPb", 12, recorded(tmp_path, 12))  # of another key
    meter.note("SPa", 12, recorded(tmp_path, 12, SECOND[::-1]))  # other music
    now += REPEAT_SECONDS + 1
    meter.note("SPa", 12, recorded(tmp_path, 12))  # much later
    meter.note("SPa", 5, tmp_path / "deleted.wav")
    meter.close()
    assert totals(usage) == [("SPa", 4, 41.0), ("SPb", 1, 12.0)]


def test_what_cannot_be_written_is_written_later(usage, monkeypatch):
    def fail(*_: object) -> None:
        raise LibraryError("the database is away")

    meter = Meter(usage)
    meter.note("SPa", 10.0)
    with monkeypatch.context() as patched:
        patched.setattr(usage, "add_queries", fail)
        meter.write()
    meter.note("SPa", 5.0)
    meter.close()
    assert totals(usage) == [("SPa", 2, 15.0)]
