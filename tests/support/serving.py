"""A server of toy songs, in this process, and what its clients send."""

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
from songprint.library import Library
from songprint.server import create_app
from songprint.server.state import ServerState


@dataclass(frozen=True)
class World:
    """A server, a client of it at the same machine, and what lies behind."""

    client: TestClient
    library: Library
    server: ServerState
    folder: Path

    def wav(self, samples: np.ndarray, name: str = "clip.wav") -> bytes:
        return toy.write(self.folder / "sent" / name, samples).read_bytes()

    def finished(self, result: dict, **options: object) -> str:
        """The id of a job that was done, as a worker would have."""
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
        """Add a song over HTTP; gives it as the answer shows it."""
        name = name or f"Band {seed} - Song {seed}.wav"
        answer = self.client.post("/v1/recordings", files={"file": (name, self.wav(toy.song(seed)))}, data=fields)
        assert answer.status_code == 201, answer.text
        return answer.json()["recording"]


@contextmanager
def serving(folder: Path, songs: int = 5, **settings: object) -> Iterator[World]:
    """A library of `songs` songs, served; with `settings` of the server."""
    settings = Settings(server=ServerSettings(**{"clip_processes": 1, "job_processes": 0} | settings))
    encoders = [toy.JudgingToyEncoder(), toy.JudgingToyCoverEncoder()]
    with songprint.open(folder / "library", create=True, encoder=encoders, settings=settings) as library:
        library.add(toy.write_songs(folder / "music", songs), workers=1)
        app = create_app(library)
        with TestClient(app, base_url="http://localhost:8080", client=("127.0.0.1", 5000)) as client:
            yield World(client, library, app.state.server, folder)
