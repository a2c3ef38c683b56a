"""A library that was made with another encoder: the service says so and waits until its files are encoded again."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from starlette.testclient import TestClient
from support import toy
from support.serving import problem

import songprint
from songprint.config import ServerSettings, Settings
from songprint.errors import EncoderChanged
from songprint.jobs.worker import Worker
from songprint.server import create_app

OLD, NEW = toy.CalibratedToyEncoder(), replace(toy.CalibratedToyEncoder(), id="toy-new")


@pytest.fixture
def settings():
    return Settings(server=ServerSettings(clip_processes=1, job_processes=0), workers=1)


@pytest.fixture
def made(tmp_path, settings):
    """A library that the old encoder made, and its first song."""
    songs = toy.write_songs(tmp_path / "music", 2)
    with songprint.open(tmp_path / "library", create=True, encoder=OLD, settings=settings) as library:
        library.add(songs, workers=1)
    (tmp_path / "scratch").mkdir()
    return tmp_path / "library", songs[0]


def test_the_service_waits_until_the_library_is_encoded_again(made, settings):
    path, song = made
    clip = {"content": song.read_bytes(), "headers": {"content-type": "audio/wav"}}
    with (
        songprint.open(path, encoder=NEW, settings=settings) as library,
        TestClient(create_app(library), base_url="http://localhost:8080", client=("127.0.0.1", 5000)) as client,
    ):
        jobs = client.app.state.server.jobs
        client.app.state.server.queries.submit(_nothing).result(60)
        for answer in (client.get("/readyz"), client.post("/v1/identify", **clip)):
            assert "rebuild --reencode`" in problem(answer, 503, "encoder_changed")
            assert int(answer.headers["retry-after"]) > 0
        assert client.get("/healthz").status_code == 200

        job = jobs.submit({"type": "file", "path": str(song)})
        worker = Worker(library, settings)
        with pytest.raises(EncoderChanged):
            worker.work(path.with_name("scratch"), threading.Event())
        waiting = jobs.get(job.id)
        assert (waiting.state, waiting.attempts, waiting.error) == ("waiting", 0, "")

        with songprint.open(path, encoder=NEW, settings=settings) as other:  # as the command does, in another process
            assert other.rebuild(reencode=True, workers=1).reencoded == 2
        assert client.get("/readyz").text == "ready\n"
        assert client.post("/v1/identify", **clip).json()["matches"][0]["recording"]["id"] == 1
        worker.work(path.with_name("scratch"), threading.Event())
        assert jobs.get(job.id).state == "finished"


def test_the_old_version_searches_until_the_new_one_has_encoded_everything(made, settings, monkeypatch):
    path, song = made
    with (
        songprint.open(path, encoder=OLD, settings=settings) as old,
        songprint.open(path, encoder=NEW, settings=settings) as new,
    ):
        adopt = new.store.catalog.adopt

        def checked(*arguments) -> None:
            assert old.identify(song).matches[0].recording.id == 1
            adopt(*arguments)

        monkeypatch.setattr(new.store.catalog, "adopt", checked)
        new.rebuild(reencode=True, workers=1)
        assert new.identify(song).matches[0].recording.id == 1
        with pytest.raises(EncoderChanged, match="rebuild --reencode"):
            old.identify(song)


def test_a_job_that_runs_when_the_encoder_changes_returns_to_the_queue(made, settings, monkeypatch):
    path, song = made
    with songprint.open(path, encoder=OLD, settings=settings) as library:
        worker = Worker(library, settings)
        job = worker.jobs.submit({"type": "file", "path": str(song)})

        def scan(*arguments, **more) -> None:
            raise EncoderChanged("it was made with another encoder")

        monkeypatch.setattr(library, "scan", scan)
        with pytest.raises(EncoderChanged):
            worker.work(path.with_name("scratch"), threading.Event())
        waiting = worker.jobs.get(job.id)
        assert (waiting.state, waiting.attempts) == ("waiting", 0)


def _nothing(library) -> None:
    """A call that returns when the warm-up is over."""
