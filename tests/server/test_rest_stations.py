"""Stations over HTTP."""

from __future__ import annotations

import io
import time
import wave

import av
import numpy as np
import pytest
from support.radio import _segment
from support.serving import problem, serving

from songprint.formats import schema
from songprint.stations import buffer
from songprint.stations.buffer import Buffer
from songprint.types import Sound

STREAM = {"url": "https://radio.example.org/live.mp3", "name": "Radio"}
T = 1_790_000_000_000  # milliseconds since 1970: 2026-09-21T14:13:20Z


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture
def station(world):
    """A station that a worker follows, with two plays."""
    world.client.post("/v1/stations", json=STREAM).raise_for_status()
    claimed = world.server.stations.claim("a test")
    history = world.server.history
    history.end(claimed, None, _segment(1, 0, 30), T, T + 30_000, "Band - One")
    history.begin(claimed, _segment(2, 0, 5), T + 60_000, "")
    history.fill(claimed, [(Sound.MUSIC, T + 30_000, T + 60_000)], "Nobody - Nothing")
    yield claimed
    world.server.stations.remove(claimed.id)


def test_a_station_is_created_changed_stopped_started_and_removed(world):
    answer = world.client.post("/v1/stations", json=STREAM | {"timezone": "Europe/Berlin"})
    made = answer.json()
    assert (answer.status_code, made["state"], made["timezone"]) == (201, "waiting", "Europe/Berlin")
    assert made.keys() == schema.Station.__required_keys__
    path = answer.headers["location"]
    assert world.client.get(path).json() == made
    callback = {"url": "https://me.example.org/", "secret": "s3cret"}
    changed = world.client.patch(path, json={"name": "New", "callback": callback})
    assert (changed.json()["name"], changed.json()["callback"]) == ("New", {"url": "https://me.example.org/"})
    assert "s3cret" not in changed.text
    assert world.client.patch(path, json={"callback": None}).json()["callback"] is None
    assert world.client.post(f"{path}/stop").json()["state"] == "stopped"
    assert world.client.post(f"{path}/start").json()["state"] == "waiting"
    assert world.client.delete(path).status_code == 204
    problem(world.client.get(path), 404, "station_not_found")


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"url": "http://127.0.0.1:8000/live"}, "url_refused"),
        ({"url": "http://[::ffff:10.0.0.1]/live"}, "url_refused"),
        ({"url": "http://example.org:22/live"}, "url_refused"),
        ({"url": "http://me:secret@example.org/live"}, "url_refused"),
        ({"callback": {"url": "http://169.254.169.254/"}}, "callback_refused"),
        ({"timezone": "Mars/Base"}, "invalid_request"),
        ({"buffer_minutes": 1e6}, "invalid_request"),
        ({"volume": 11}, "invalid_request"),
    ],
)
def test_what_cannot_work_is_refused_at_once(world, wanted, code):
    problem(world.client.post("/v1/stations", json=STREAM | wanted), 422, code)
    assert world.client.get("/v1/stations").json() == {"items": [], "next": None}


def test_ports_of_web_radios_are_allowed(world):
    made = world.client.post("/v1/stations", json={"url": "http://radio.example.org:8000/live"})
    assert made.status_code == 201 and made.json()["name"] == "http://radio.example.org:8000/live"
    world.server.stations.remove(made.json()["id"])


def test_lists_have_what_plays_now_and_pages(world, station):
    [listed] = world.client.get("/v1/stations").json()["items"]
    assert [play["title"] for play in listed["now"]] == ["Song 2"]
    second = world.client.post("/v1/stations", json=STREAM).json()
    page = world.client.get("/v1/stations?limit=1").json()
    rest = world.client.get(f"/v1/stations?limit=1&after={page['next']}").json()
    assert [page["items"][0]["id"], rest["items"][0]["id"], rest["next"]] == [station.id, second["id"], None]
    world.server.stations.remove(second["id"])


def test_the_history_is_searched_and_paged(world, station):
    def titles(query: str) -> list[str]:
        return [each["title"] or each["kind"] for each in world.client.get(f"/v1/plays?{query}").json()["items"]]

    assert titles("") == ["Song 2", "unknown", "Song 1"]
    assert titles("q=song+1") == titles("recording=1") == ["Song 1"]
    assert titles("kind=unknown&kind=cover") == ["unknown"]
    assert titles("to=2026-09-21T14:13:21Z") == ["Song 1"]
    assert titles(f"station={station.id}&from=2026-09-21T14:14:00Z") == ["Song 2", "unknown"]
    assert titles("station=nope") == []
    page = world.client.get("/v1/plays?limit=2").json()
    assert (page["total"], len(page["items"])) == (3, 2) and titles(f"limit=2&after={page['next']}") == ["Song 1"]
    problem(world.client.get("/v1/plays?from=yesterday"), 422, "invalid_request")


def test_statistics_of_a_period(world, station):
    path = f"/v1/stations/{station.id}/statistics"
    found = world.client.get(f"{path}?from=2026-09-21T14:13:20Z&to=2026-09-21T14:14:20Z").json()
    assert (found["seconds"]["songs"], found["seconds"]["unknown"], found["plays"]) == (30, 30, 1)
    problem(world.client.get(f"{path}?from=2026-09-21&to=2026-09-20"), 422, "invalid_request")


@pytest.mark.parametrize("format", ["html", "csv", "soundexchange", "cue", "m3u"])
def test_reports_of_a_day(world, station, format):
    answer = world.client.get(f"/v1/stations/{station.id}/report?day=2026-09-21&format={format}")
    assert answer.status_code == 200 and "Song" in answer.text
    if format == "m3u":
        assert "/v1/recordings/1/audio" in answer.text
    problem(world.client.get(f"/v1/stations/{station.id}/report?day=2026-13-01"), 422, "invalid_request")


def frames(seconds: float, hertz: float):
    """Stereo frames of a tone at 44.1 kHz."""
    samples = np.sin(2 * np.pi * hertz * np.arange(round(44100 * seconds)) / 44100).astype(np.float32) / 2
    for at in range(0, len(samples), 1152):
        part = samples[at : at + 1152]
        frame = av.AudioFrame.from_ndarray(np.stack([part, part]), format="fltp", layout="stereo")
        frame.sample_rate = 44100
        yield frame


def test_the_audio_of_the_last_minutes(world, station):
    now = round(1000 * time.time())
    written = Buffer(buffer.folder_of(world.server.library.path, station.id), 60)
    for second, hertz in enumerate([400] * 12 + [1000] * 3, 1):
        for frame in frames(1.0, hertz):
            written.add(frame)
        written.write(now + 1000 * second)
    written.close()
    path = f"/v1/stations/{station.id}/audio"

    def when(seconds: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1000 + seconds)) + f".{now % 1000:03}Z"

    answer = world.client.get(f"{path}?from={when(12.5)}&to={when(14.5)}")
    assert answer.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(answer.content)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
    assert len(samples) == 2 * 44100
    assert np.abs(np.fft.rfft(samples)).argmax() / 2 == pytest.approx(1000, abs=2)
    problem(world.client.get(f"{path}?from={when(-99)}&to={when(-90)}"), 404, "no_audio")
    problem(world.client.get(f"{path}?from={when(0)}&to={when(4000)}"), 422, "invalid_request")


def test_a_key_sees_its_own_stations(world, station):
    key = world.server.keys.create("admin", "admin")
    other = world.server.keys.create("other", "write")
    admin = {"Authorization": f"Bearer {key.token}"}
    headers = {"Authorization": f"Bearer {other.token}"}
    try:
        assert world.client.get("/v1/stations", headers=headers).json()["items"] == []
        assert world.client.get("/v1/plays", headers=headers).json()["items"] == []
        problem(world.client.get(f"/v1/stations/{station.id}", headers=headers), 404, "station_not_found")
        problem(world.client.delete(f"/v1/stations/{station.id}", headers=headers), 404, "station_not_found")
        assert len(world.client.get("/v1/stations", headers=admin).json()["items"]) == 1
    finally:
        world.server.keys.revoke(other.key.id)
        world.server.keys.revoke(key.key.id)
