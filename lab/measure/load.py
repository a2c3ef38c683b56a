"""Load test of the server: identified queries per second, and response times with many clients.

    python -m lab.measure.load --music FOLDER [--clients 32] [--seconds 60] [--url http://host:8080 --token sp_...]

Without `--url`, a library of the music is made in a temporary folder, and a server is started for it. Queries of ten
seconds are cut from the music. First a single client sends them for a quarter of the time, then all clients together;
another client requests `/healthz` five times a second. Each client uses one connection and sends its next query when
it has its answer.

The clients run on the same machine: on two cores they take about a tenth of it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

import songprint
from lab.data import synth
from songprint.audio import files as audio
from songprint.ingest.add import find

QUERY_SECONDS = 10.0
QUERIES = 100  # different queries
PER_FILE = 5  # queries cut from each file, at least
RATE = synth.SAMPLE_RATE  # Hz


@dataclass
class Measured:
    """Response times and errors of all clients."""

    seconds: float
    waited: list[float] = field(default_factory=list)  # response times in seconds
    identified: int = 0  # answers with a match
    errors: list[str] = field(default_factory=list)
    alive: list[float] = field(default_factory=list)  # response times of /healthz in seconds

    def line(self, clients: int) -> str:
        """Return a row of the table."""
        waited, alive = np.array(self.waited or [np.nan]), np.array(self.alive or [np.nan])
        return (
            f"| {clients} | {len(self.waited):,} | {len(self.errors)} | {len(self.waited) / self.seconds:.1f} "
            f"| {np.median(waited):.3f} | {np.quantile(waited, 0.95):.3f} | {waited.max():.3f} "
            f"| {np.quantile(alive, 0.95):.3f} | {alive.max():.3f} "
            f"| {100 * self.identified / max(1, len(self.waited)):.0f}% |"
        )


HEADER = (
    "| clients | answers | errors | per second | median s | p95 s | max s | /healthz p95 s | max s"
    " | identified |\n|---|---|---|---|---|---|---|---|---|---|"
)


def measure(url: str, token: str, queries: Sequence[bytes], clients: int, seconds: float) -> Measured:
    """Run the clients for so many seconds, each sending one query after the other."""
    measured, lock, end = Measured(seconds), threading.Lock(), time.monotonic() + seconds

    def send(number: int) -> None:
        chosen = random.Random(number)
        connection = connect(url)
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                status, body = post(connection, token, chosen.choice(queries))
            except (OSError, http.client.HTTPException) as error:
                status, body = 0, repr(error).encode()
                connection.close()
            waited = time.monotonic() - began
            with lock:
                if status == 200:
                    measured.waited.append(waited)
                    measured.identified += bool(json.loads(body)["matches"])
                else:
                    measured.errors.append(f"{status} {body[:200]!r}")
        connection.close()

    def watch() -> None:
        connection = connect(url)
        while time.monotonic() < end:
            began = time.monotonic()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            measured.alive.append(time.monotonic() - began)
            time.sleep(0.2)
        connection.close()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(clients)]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return measured


def connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=120)


def post(connection: http.client.HTTPConnection, token: str, query: bytes) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection.request("POST", "/v1/identify", query, headers)
    response = connection.getresponse()
    return response.status, response.read()


def cut(music: Path, count: int, folder: Path) -> list[bytes]:
    """Cut queries from random places of the music, as FLAC: several from each of a few files."""
    chosen = random.Random(1)
    files = sorted(find([music])[0])
    files = chosen.sample(files, min(len(files), count // PER_FILE))
    queries = []
    for file in files:
        samples = audio.load(file, RATE)
        for _ in range(count // len(files)):
            start = chosen.uniform(0, max(0.0, len(samples) / RATE - QUERY_SECONDS))
            path = folder / "query.flac"
            synth.write(path, samples[round(start * RATE) : round((start + QUERY_SECONDS) * RATE)])
            queries.append(path.read_bytes())
    return queries


@contextmanager
def served(music: Path, folder: Path) -> Iterator[str]:
    """Start a server for a new library of this music and give its URL."""
    with songprint.open(folder / "library", create=True) as library:
        library.add(music)
        stats = library.stats()
    print(f"{stats.recordings:,} recordings, {stats.duration / 3600:.1f} hours; {os.cpu_count()} cores")
    process = subprocess.Popen(
        [sys.executable, "-m", "songprint", "--json", "--library", str(folder / "library"), "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout
        url = json.loads(process.stdout.readline())["url"]
        while status_of(url) != 200:
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.communicate()


def status_of(url: str) -> int:
    connection = connect(url)
    connection.request("GET", "/readyz")
    status = connection.getresponse().status
    connection.close()
    return status


def main() -> None:
    parser = argparse.ArgumentParser(description="Load test: identified queries per second, and response times.")
    parser.add_argument("--music", type=Path, required=True, metavar="FOLDER", help="music for the library")
    parser.add_argument("--clients", type=int, default=32, help="simultaneous clients (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="duration (default: %(default)g)")
    parser.add_argument("--url", default="", help="a running server with this music in its library")
    parser.add_argument("--token", default="", help="token of a key with a sufficient rate limit")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="songprint-load-") as name:
        folder = Path(name)
        queries = cut(given.music, QUERIES, folder)
        if given.url:
            report(given.url, given, queries)
        else:
            with served(given.music, folder) as url:
                report(url, given, queries)


def report(url: str, given: argparse.Namespace, queries: Sequence[bytes]) -> None:
    """Measure and print the table."""
    print(HEADER)
    for clients, seconds in ((1, given.seconds / 4), (given.clients, given.seconds)):
        measured = measure(url, given.token, queries, clients, seconds)
        print(measured.line(clients), flush=True)
        for error in measured.errors[:5]:
            print(f"  {error}")


if __name__ == "__main__":
    main()
