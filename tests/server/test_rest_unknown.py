"""Unknown music over HTTP: listed by total time, played, added and forgotten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import toy
from support.serving import problem, serving

from songprint.types import Interval
from songprint.unknown import memory

SECONDS = 30.0


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("unknown"), songs=1) as world:
        yield world


@pytest.fixture
def remembered(world):
    """Two pieces: one occurs twice in a show, the other once. Returns their numbers and the path of the show."""
    encoder = toy.ToyEncoder()
    pieces = [toy.song(seed, SECONDS) for seed in (21, 22, 21)]
    show = toy.write(world.folder / "show.wav", np.concatenate(pieces))
    sections = [
        (Interval(SECONDS * at, SECONDS * (at + 1)), encoder.encode(piece, hop=0.25)) for at, piece in enumerate(pieces)
    ]
    found = memory.remember(world.library.store, str(show), sections)
    twice, once = (found[at][0][1] for at in (0, 1))
    yield twice, once, show
    for each in world.library.unknown():
        world.library.forget_unknown(each.id)


def test_unknown_music_is_listed_with_the_longest_total_time_first(world, remembered):
    twice, once, show = remembered
    page = world.client.get("/v1/unknown").json()
    assert [each["id"] for each in page["items"]] == [twice, once] and page["total"] == 2
    assert page["items"][0]["seconds"] == pytest.approx(2 * SECONDS, abs=2)
    assert page["items"][0]["occurrences"][0]["source"] == str(show)
    first = world.client.get("/v1/unknown?limit=1").json()
    rest = world.client.get("/v1/unknown", params={"after": first["next"]}).json()
    assert [each["id"] for each in rest["items"]] == [once] and rest["next"] is None


def test_unknown_music_is_played_from_its_file(world, remembered):
    twice, _, show = remembered
    answer = world.client.get(f"/v1/unknown/{twice}/audio")
    assert answer.headers["content-type"] == "audio/wav" and len(answer.content) > 44_100 * 2 * (SECONDS - 2)
    problem(world.client.get("/v1/unknown/99999/audio"), 404, "unknown_music_not_found")
    Path(show).unlink()
    detail = problem(world.client.get(f"/v1/unknown/{twice}/audio"), 404, "no_audio")
    assert str(show) not in detail


def test_unknown_music_is_added_under_a_name(world, remembered):
    twice, once, _ = remembered
    answer = world.client.post(f"/v1/unknown/{twice}/recording", json={"title": "Found", "artists": ["Band"]})
    assert answer.status_code == 201, answer.text
    recording = world.library.recording(answer.json()["recording"]["id"])
    assert (recording.title, recording.artists) == ("Found", ("Band",))
    assert recording.duration == pytest.approx(SECONDS, abs=2)
    assert [each["id"] for each in world.client.get("/v1/unknown").json()["items"]] == [once]
    world.library.remove(recording.id)


def test_unknown_music_is_forgotten(world, remembered):
    twice, once, _ = remembered
    assert world.client.delete(f"/v1/unknown/{twice}").status_code == 204
    assert [each.id for each in world.library.unknown()] == [once]
    problem(world.client.delete(f"/v1/unknown/{twice}"), 404, "unknown_music_not_found")
