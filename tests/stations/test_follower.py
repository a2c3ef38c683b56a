"""Followers: a real stream from a local server, a scanner of tones, and the rows that result."""

from __future__ import annotations

import time
from functools import partial

import pytest
from support import radio
from support.radio import Answer, Radio, ToneScanner

from songprint.audio.streams.connect import connect
from songprint.config import ServerSettings, Settings
from songprint.stations import buffer, follower
from songprint.stations.follower import Followers
from songprint.stations.history import Filter, History
from songprint.stations.stations import Stations


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("songprint.scan.listen.FIRST_DELAY", 0.05)
    monkeypatch.setattr("songprint.scan.listen.GAP_SECONDS", 5.0)
    monkeypatch.setattr("songprint.stations.follower.RESTART_SECONDS", 0.05)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Five seconds of silence, ten of song 1, ten of song 2, eight of silence."""
    return radio.encoded(tmp_path_factory.mktemp("sound"), ".mp3", (None, 5), (1, 10), (2, 10), (None, 8))


@pytest.fixture
def play_radio():
    started = []

    def start(*answers: Answer) -> Radio:
        started.append(Radio(answers))
        return started[-1]

    yield start
    for each in started:
        each.close()


class World:
    """The followers of one process."""

    def __init__(self, library, **more) -> None:
        database = library.store.catalog.database
        self.library, self.stations, self.history = library, Stations(database), History(database)
        self.followers = Followers(
            library, Settings(), new_scanner=ToneScanner, open_stream=partial(connect, timeout=2), **more
        )

    def until(self, done) -> None:
        """Run the supervisor until `done` returns something true."""
        give_up = time.monotonic() + 20
        while not done():
            assert time.monotonic() < give_up, (self.stations.find(), self.history.find(Filter()))
            self.followers.keep()
            self.followers.claim()
            time.sleep(0.02)

    def plays(self, *kinds: str):
        return self.history.find(Filter(kinds=kinds or ("recording",)), oldest=True)

    def state(self):
        return self.stations.find()[0].state


@pytest.fixture
def world(library):
    made = World(library)
    yield made
    made.followers.close()


def test_songs_gaps_and_the_announced_title_are_recorded(world, play_radio, sound):
    station = play_radio(Answer(sound, stalls=True, titles=("Band - One",)))
    world.stations.create(station.url, "Test")
    world.until(lambda: len(world.plays()) == 2 and all(each.ended for each in world.plays()))
    first, second = world.plays()
    assert [each.name for each in (first, second)] == ["Band - Song 1", "Band - Song 2"]
    assert (first.seconds, second.seconds) == pytest.approx((10, 10), abs=1)
    assert second.started - first.started == pytest.approx(10_000, abs=1000)
    assert world.stations.find()[0].announced == "Band - One"
    world.until(lambda: world.plays("silence"))
    world.until(lambda: world.followers._running and next(iter(world.followers._running.values())).heard)


def test_the_audio_of_a_detection_can_be_read(world, play_radio, sound):
    station = world.stations.create(play_radio(Answer(sound, stalls=True)).url)
    world.until(lambda: len(world.plays()) == 2 and all(each.ended for each in world.plays()))
    world.followers.close()
    play, folder = world.plays()[1], buffer.folder_of(world.library.path, station.id)
    samples = buffer.read(folder, play.started + 3000, play.started + 6000, 8000)
    assert len(samples) == 24000
    assert ToneScanner._song(samples[8000:16000]) == 2


def test_a_stream_that_breaks_is_stalled_and_then_connected_again(world, play_radio, sound):
    world.stations.create(play_radio(Answer(sound), Answer(sound, stalls=True)).url)
    world.until(lambda: len(world.plays()) == 4 and all(each.ended for each in world.plays()))
    assert world.state() in ("connected", "silent")


def test_an_unreachable_stream_is_reported_with_its_reason_and_tried_again(world, play_radio, sound):
    missing = Answer(head="HTTP/1.0 404 Not Found")
    world.stations.create(play_radio(missing, missing, Answer(sound, stalls=True)).url)
    world.until(lambda: world.state() == "unreachable")
    assert "404" in world.stations.find()[0].reason
    world.until(lambda: world.plays())
    assert world.state() in ("connected", "silent")


def test_silence_is_a_state(world, play_radio, tmp_path):
    quiet = radio.encoded(tmp_path, ".mp3", (None, 20))
    world.stations.create(play_radio(Answer(quiet, stalls=True)).url)
    world.until(lambda: world.state() == "silent")


@pytest.mark.parametrize("suffix", [".ogg", ".flac", ".aac"])
def test_the_format_may_change_from_one_connection_to_the_next(world, play_radio, sound, tmp_path, suffix):
    other = radio.encoded(tmp_path, suffix, (None, 2), (3, 8), (None, 8))
    first = Answer(sound)
    second = Answer(other, head="HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream", stalls=True)
    world.stations.create(play_radio(first, second).url)
    world.until(lambda: [each.recording_id for each in world.plays() if each.ended] == [1, 2, 3])


def test_a_stopped_station_is_no_longer_followed_and_can_be_started_again(world, play_radio, sound):
    station = world.stations.create(play_radio(Answer(sound, stalls=True)).url)
    world.until(lambda: world.plays())
    running = world.followers._running[station.id]
    world.stations.stop(station.id)
    world.until(lambda: not world.followers._running)
    running.thread.join(5)
    assert not running.thread.is_alive() and world.state() == "stopped"
    assert all(each.ended for each in world.plays())
    world.stations.start(station.id)
    world.until(lambda: world.state() == "connected")


def test_two_processes_share_the_stations(library, play_radio, sound):
    one, other = World(library), World(library)
    url = play_radio(Answer(sound, stalls=True)).url
    for number in range(4):
        one.stations.create(url, f"Station {number}")
    for _ in range(2):
        one.followers.claim()
        other.followers.claim()
    assert len(one.followers._running) == len(other.followers._running) == 2
    one.followers.close()  # the other process takes over
    for _ in range(2):
        other.followers.claim()
    assert len(other.followers._running) == 4
    other.followers.close()


def test_a_station_outlives_the_process_that_followed_it(library, play_radio, sound):
    url = play_radio(Answer(sound, stalls=True)).url
    killed = World(library, lease=0.3)
    killed.stations.create(url)
    killed.until(killed.plays)  # then it sends no more heartbeats
    for each in killed.followers._running.values():
        each.stop.set()
    other = World(library, lease=0.3)
    other.until(lambda: other.followers._running)
    other.until(lambda: len([each for each in other.plays() if each.ended]) >= 2)
    other.followers.close()


def test_hosts_of_the_local_network_are_refused_unless_the_settings_allow_them(library, play_radio, sound):
    url = play_radio(Answer(sound, stalls=True)).url
    world = World(library)
    world.followers = Followers(library, Settings(), new_scanner=ToneScanner)
    world.stations.create(url)
    world.until(lambda: world.state() == "unreachable")
    assert "not a public host" in world.stations.find()[0].reason
    world.followers.close()
    allowed = Settings(server=ServerSettings(allow_hosts=("127.0.0.1",)))
    world.followers = Followers(library, allowed, new_scanner=ToneScanner)
    world.until(lambda: world.state() == "connected")
    world.followers.close()


def test_audio_of_removed_stations_and_old_audio_is_deleted(world, tmp_path):
    station = world.stations.create("http://radio.example.org/")
    kept = buffer.folder_of(world.library.path, station.id)
    gone = buffer.folder_of(world.library.path, "gone")
    now = round(1000 * time.time())
    for folder, start in ((kept, now - 20_000), (kept, now - 7_200_000), (gone, now)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{start}-{start + 10_000}.opus").touch()
    world.followers.clean()
    assert len(list(kept.iterdir())) == 1 and not gone.exists()


def test_the_entry_point_follows_until_it_is_stopped(library, monkeypatch):
    import threading

    stop = threading.Event()
    stop.set()
    follower.run(library, Settings(), stop)
