"""Helpers for tests of jobs: typical jobs, passing time, a receiver of callbacks, a scan that does nothing."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

from sqlalchemy import update

from songprint.errors import FetchError
from songprint.store.database import Database
from songprint.store.store import Store
from songprint.store.tables import metadata
from songprint.types import ScanProgress, Timeline

URL = {"type": "url", "url": "https://music.example.org/mix.mp3"}
CALLBACK = {"url": "http://receiver.example.org:5000//callback", "style": "standard", "secret": "k3y"}
RESULT = {"source": "mix.mp3", "duration": 90.5, "segments": []}


def let_time_pass(database: Database, seconds: float) -> None:
    """Make every time in the tables this many seconds older. The clock is the database's and cannot be changed."""
    with database.writing() as connection:
        for table in metadata.tables.values():
            moments = {
                column: column - round(1000 * seconds)
                for column in table.c
                if column.name in ("at", "lease_until") or column.name.endswith("_at")
            }
            if moments:
                connection.execute(update(table).values(moments))


@dataclass(frozen=True)
class Received:
    """A callback as received."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


class Receiver:
    """A local HTTP server that receives callbacks. `answers` are its next statuses; then it responds with 200."""

    def __init__(self, delay: float = 0.0) -> None:
        self.received: list[Received] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(delay)
                path = self.requestline.split()[1]  # unlike self.path, which drops a second leading slash
                receiver.received.append(
                    Received(path, {name.lower(): value for name, value in self.headers.items()}, body)
                )
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}//callback"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def post(url: str, body: bytes, headers: Mapping[str, str]) -> SimpleNamespace:
    """Send a callback to any address."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, dict(headers)), timeout=10) as answer:
            return SimpleNamespace(status=answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return SimpleNamespace(status=error.code)
    except OSError as error:
        raise FetchError("the receiver cannot be reached", "input_not_found", retry=True) from error


@dataclass
class FakeScan:
    """A library whose scan only reports progress: each of `steps` takes `pace` seconds, and an exception is raised."""

    store: Store
    steps: Sequence[object] = (1, 2, 3)
    pace: float = 0.01
    scanned: list[str] = field(default_factory=list)

    def scan(self, source: Path, *, on_progress, find_unknown: bool = True, track: int | None = None) -> Timeline:
        self.scanned.append(Path(source).read_text())
        for number, step in enumerate(self.steps, 1):
            if isinstance(step, BaseException):
                raise step
            time.sleep(self.pace)
            on_progress(ScanProgress(10.0 * number, 10.0 * len(self.steps), 0, 1.0))
        return Timeline(
            [], [], duration=10.0 * len(self.steps), thresholds={}, searched=5, elapsed=0.1, source=str(source)
        )
