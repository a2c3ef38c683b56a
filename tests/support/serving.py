"""A server with toy songs in this process, and the audio that its clients send."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient
from support import toy

import songprint
from songprint.config import ServerSettings, Settings
from songprint.formats import objects
from songprint.library import Library
from songprint.server import create_app
from songprint.server.state import ServerState
from songprint.types import Gap, Interval, Kind, Segment, Sound, Timeline


@dataclass(frozen=True)
class World:
    """A server, a local client of it, and the server's state."""

    client: TestClient
    library: Library
    server: ServerState
    folder: Path

    def wav(self, samples: np.ndarray, name: str = "clip.wav") -> bytes:
        return toy.write(self.folder / "sent" / name, samples).read_bytes()

    def finished(self, result: dict, **options: object) -> str:
        """The id of a job that has finished with this result."""
        jobs = self.server.jobs
        job = jobs.submit({"type": "url", "url": "https://example.org/mix.mp3"}, **options)
        claimed = jobs.claim("a test")
        assert claimed.id == job.id
        jobs.finish(claimed, result, result["duration"])
        return job.id

    def clip(self, seed: int) -> bytes:
        """Three and a half seconds of a song."""
        return self.wav(toy.song(seed)[8000:36000])

    def add(self, seed: int, name: str = "", **fields: object) -> dict:
        """Add a song over HTTP; returns the recording of the response."""
        name = name or f"Band {seed} - Song {seed}.wav"
        answer = self.client.post("/v1/recordings", files={"file": (name, self.wav(toy.song(seed)))}, data=fields)
        assert answer.status_code == 201, answer.text
        return answer.json()["recording"]


@contextmanager
def serving(folder: Path, songs: int = 5, **settings: object) -> Iterator[World]:
    """Serve a library with this number of songs; `settings` are those of the server."""
    settings = Settings(server=ServerSettings(**{"clip_processes": 1, "job_processes": 0} | settings))
    encoders = [toy.CalibratedToyEncoder(), toy.CalibratedToyCoverEncoder()]
    with songprint.open(folder / "library", create=True, encoder=encoders, settings=settings) as library:
        library.add(toy.write_songs(folder / "music", songs), workers=1)
        app = create_app(library)
        with TestClient(app, base_url="http://localhost:8080", client=("127.0.0.1", 5000)) as client:
            yield World(client, library, app.state.server, folder)


def problem(answer, status: int, code: str) -> str:
    """Assert that the response is this problem (RFC 9457), and return its detail."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), answer.text
    assert body["request_id"] == answer.headers["x-request-id"]
    first_word = body["detail"].partition(" ")[0]  # names of fields, such as "year:", stay in lower case
    assert not (first_word.isalpha() and first_word[0].islower()), body["detail"]
    return body["detail"]


def timeline_of(world: World) -> dict:
    """The JSON of a timeline with songs 1 and 2 of the library and a gap of unknown music between them."""
    segments = [
        Segment(world.library.recording(number), Kind.RECORDING, 90.0, Interval(*interval), Interval(0.0, 5.0))
        for number, interval in ((1, (0.0, 5.0)), (2, (10.0, 15.0)))
    ]
    gaps = [Gap(Interval(5.0, 10.0), Sound.MUSIC)]
    return objects.timeline_object(Timeline(segments, gaps, 15.0, {Kind.RECORDING: 50.0}, 5, 0.1, source="mix.mp3"))
