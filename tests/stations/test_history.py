"""The airplay history: writing, continuing, searching, counting and forgetting plays."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.radio import _segment

from songprint.jobs.deliveries import Deliveries
from songprint.stations.history import Filter, History
from songprint.stations.stations import Stations
from songprint.types import Interval, Kind, Sound

T = 1_790_000_000_000  # milliseconds since 1970


@pytest.fixture
def station(database):
    stations = Stations(database)
    stations.create("http://radio.example.org/", "Radio", {"callback": {"url": "http://r.example/"}})
    return stations.claim("one")


@pytest.fixture
def history(database):
    return History(database)


def at(seconds: float) -> int:
    return T + round(1000 * seconds)


def played(history, station, song: int, start: float, end: float):
    segment = _segment(song, 0, round(end - start))
    return history.end(station, history.begin(station, segment, at(start), ""), segment, at(start), at(end), "")


def test_a_song_has_its_final_times_when_it_has_ended(history, station, database):
    play = history.begin(station, _segment(1, 0, 5), at(2), "Band - Song")
    assert (play.title, play.artists, play.ended, play.announced) == ("Song 1", ("Band",), None, "Band - Song")
    done = history.end(station, play, _segment(1, 0, 30), at(1), at(31), "")
    assert (done.id, done.started, done.ended, done.seconds) == (play.id, at(1), at(31), 30)
    assert [each.event for each in Deliveries(database).find()] in (["started", "ended"], ["ended", "started"])


def test_a_song_that_only_ended_is_recorded_too(history, station, database):
    history.end(station, None, _segment(1, 0, 30), at(0), at(30), "")
    assert [each.seconds for each in history.find(Filter())] == [30]
    assert len(Deliveries(database).find()) == 2


def test_a_false_detection_is_deleted(history, station, database):
    history.withdraw(station, history.begin(station, _segment(1, 0, 5), at(0), ""))
    assert history.find(Filter()) == []
    assert {each.event for each in Deliveries(database).find()} == {"started", "withdrawn"}


def after_interruption(reference: float):
    return replace(_segment(1, 0, 20), reference=Interval(reference, reference + 20))


def test_a_song_that_continues_after_an_interruption_is_one_play(history, station, database):
    played(history, station, 1, 0, 30)
    segment = after_interruption(41.0)
    play = history.begin(station, segment, at(40), "")
    assert history.end(station, play, segment, at(40), at(60), "").reference == Interval(0, 61)
    [one] = history.find(Filter())
    assert (one.started, one.ended) == (at(0), at(60))
    assert sorted(each.event for each in Deliveries(database).find()) == ["ended", "ended", "started"]


def test_a_song_that_plays_again_from_its_start_is_another_play(history, station):
    played(history, station, 1, 0, 30)
    history.begin(station, after_interruption(0.0), at(40), "")
    assert len(history.find(Filter())) == 2


def test_a_false_continuation_leaves_the_play_as_it_was(history, station):
    played(history, station, 1, 0, 30)
    history.withdraw(station, history.begin(station, after_interruption(41.0), at(40), ""))
    assert [(each.started, each.ended) for each in history.find(Filter())] == [(at(0), at(30))]


def test_intervals_of_one_kind_are_joined(history, station):
    history.fill(station, [(Sound.MUSIC, at(0), at(60)), (Sound.SPEECH, at(60), at(90))], "Unknown - Tune")
    history.fill(station, [(Sound.SPEECH, at(90), at(120)), (Sound.MUSIC, at(130), at(150))], "")
    assert [(each.kind, each.seconds, each.announced) for each in history.find(Filter(), oldest=True)] == [
        ("unknown", 60, "Unknown - Tune"),
        ("speech", 60, ""),
        ("unknown", 20, ""),
    ]


def test_outages_are_recorded_unless_they_are_short(history, station):
    for start, end in ((0, 0.5), (10, 40)):
        history.begin_outage(station, at(start), "no data")
        history.begin_outage(station, at(start + 1), "again")  # it continues
        history.end_outage(station, at(end))
    assert [(each.kind, each.seconds, each.announced) for each in history.find(Filter())] == [("down", 30, "no data")]


def test_plays_are_found_by_song_words_kind_and_time(history, station):
    played(history, station, 1, 0, 30)
    played(history, station, 2, 30, 60)
    cover = replace(_segment(2, 0, 30), kind=Kind.COVER)
    history.end(station, None, cover, at(60), at(90), "")
    history.fill(station, [(Sound.SPEECH, at(90), at(100))], "")

    def ids(**wanted):
        return [each.recording_id for each in history.find(Filter(**wanted), oldest=True)]

    assert ids(recording_id=2) == [2, 2]
    assert ids(kinds=["cover"]) == [2]
    assert ids(query="band SONG 1") == [1]
    assert ids(query="%") == []
    assert ids(since=at(30), until=at(60)) == [2]
    assert ids(stations=[]) == [] and len(ids(stations=[station.id])) == 4
    assert history.count(Filter(kinds=["recording", "cover"])) == 3


def test_pages_continue_where_the_last_one_ended(history, station):
    plays = [played(history, station, number, 10 * number, 10 * number + 5) for number in (1, 2, 3)]
    first = history.find(Filter(), limit=2)
    assert [each.id for each in first] == [plays[2].id, plays[1].id]
    assert [each.id for each in history.find(Filter(), limit=2, before=first[-1].id)] == [plays[0].id]


def test_statistics_count_songs_once_and_every_second(history, station):
    played(history, station, 1, 0, 30)
    played(history, station, 2, 20, 40)  # overlaps
    played(history, station, 1, 200, 230)
    history.fill(station, [(Sound.MUSIC, at(40), at(100)), (Sound.SPEECH, at(100), at(120))], "")
    history.begin_outage(station, at(120), "no data")
    history.end_outage(station, at(130))
    found = history.statistics(station.id, at(0), at(220))
    assert found["seconds"] == {
        "songs": 60.0,
        "unknown": 60.0,
        "speech": 20.0,
        "silence": 0.0,
        "other": 0.0,
        "down": 10.0,
    }
    assert (found["followed"], found["plays"], found["recordings"]) == (140.0, 3, 2)
    assert [(each["recording_id"], each["plays"], each["seconds"]) for each in found["top"]] == [
        (1, 2, 50.0),
        (2, 1, 20.0),
    ]


def test_old_plays_are_forgotten(history, station):
    played(history, station, 1, -500 * 86400, -500 * 86400 + 30)
    played(history, station, 2, 0, 30)
    assert history.forget(replace(station, history_days=100_000)) == 0
    assert history.forget(station) in (1, 2)  # T may be in the future or long ago
    assert 1 not in [each.recording_id for each in history.find(Filter())]
