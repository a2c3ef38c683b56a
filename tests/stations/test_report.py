"""The report of a station's day: local midnight, formats, labels."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from support.radio import _segment

from songprint.errors import StationError
from songprint.stations import report
from songprint.stations.history import History
from songprint.stations.stations import Stations
from songprint.types import Sound

ZONE = ZoneInfo("America/New_York")


def at(day: int, hour: int, minute: int = 0) -> int:
    return round(1000 * datetime(2025, 11, day, hour, minute, tzinfo=ZONE).timestamp())


@pytest.fixture
def day(library):
    """2 November 2025 in New York, which has 25 hours."""
    catalog = library.store.catalog
    stations, history = Stations(catalog.database), History(catalog.database)
    stations.create("http://r.example/", "Rádió <1>", {"timezone": "America/New_York"})
    station = stations.claim("one")
    library.edit(1, fields={"label": "=Verve"})
    for song, start, end in ((2, at(1, 23, 58), at(2, 0, 2)), (1, at(2, 9), at(2, 9, 3)), (9, at(3, 0), at(3, 0, 3))):
        segment = _segment(song, 0, (end - start) // 1000)
        history.end(station, None, segment, start, end, "")
    history.fill(station, [(Sound.MUSIC, at(2, 9, 3), at(2, 9, 5)), (Sound.SPEECH, at(2, 9, 5), at(2, 9, 6))], "A - B")
    return report.day_of(catalog, station, "2025-11-02")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_day_begins_and_ends_at_local_midnight(day):
    assert day.end - day.start == 25 * 3_600_000
    assert [(play.kind, play.seconds) for play in day.plays] == [
        ("recording", 120),
        ("recording", 180),
        ("unknown", 120),
        ("speech", 60),
    ]


def test_the_plain_table_has_everything_with_local_times(day):
    first, second, unknown, speech = rows(report.plain(day))
    assert first["start"] == "2025-11-02T00:00:00-04:00"
    assert second["start"] == "2025-11-02T09:00:00-05:00"
    assert (second["title"], second["artists"], second["label"]) == ("Song 1", "Band", "'=Verve")
    assert (unknown["kind"], unknown["announced"], speech["seconds"]) == ("unknown", "A - B", "60.0")


def test_the_table_for_soundexchange_has_its_columns_and_only_songs(day):
    first, second = rows(report.soundexchange(day))
    assert tuple(first) == report.SOUNDEXCHANGE
    assert second == {
        "NAME_OF_SERVICE": "Rádió <1>",
        "FEATURED_ARTIST": "Band",
        "SOUND_RECORDING_TITLE": "Song 1",
        "ISRC": "",
        "ALBUM_TITLE": "",
        "MARKETING_LABEL": "'=Verve",
        "START_DATE": "2025-11-02",
        "START_TIME": "09:00:00",
        "DURATION": "00:03:00",
    }


def test_the_page_needs_nothing_else_and_escapes_names(day):
    text = report.html(day)
    assert "Rádió &lt;1&gt;, Sunday 02 November 2025" in text and "Band - Song 1" in text
    assert "<script" not in text and "http" not in text and "<style" not in text


def test_the_cue_sheet_starts_at_midnight(day):
    text = report.sheet(day)
    assert 'TITLE "Song 2"' in text and "INDEX 01 00:00:00" in text
    assert 'TITLE "[unknown music]"' in text


def test_the_playlist_names_the_files_that_the_library_contains(day, library):
    lines = report.playlist(day).splitlines()
    assert lines[0] == "#EXTM3U"
    assert [line for line in lines if not line.startswith("#")] == [
        library.recording(2).source,
        library.recording(1).source,
    ]
    assert "#EXTINF:5,Band - Song 1" in lines


@pytest.mark.parametrize("day", ["yesterday", "2025-02-30", "9999-12-31"])
def test_an_invalid_day_is_refused(library, day):
    station = Stations(library.store.catalog.database).create("http://r.example/")
    with pytest.raises(StationError, match="not a date such as"):
        report.day_of(library.store.catalog, station, day)


def test_the_default_is_yesterday(library):
    station = Stations(library.store.catalog.database).create("http://r.example/")
    assert report.day_of(library.store.catalog, station).end <= datetime.now().timestamp() * 1000
