"""Load test of the server: identified queries per second, and response times with many clients.

    python -m lab.measure.load --music FOLDER [--clients 32] [--seconds 60] [--url http://host:8080 --token sp_...]

Without `--url`, a library of the music is made in a temporary folder, and a server is started for it. Queries of ten
seconds are cut from the music. First a single client sends them for a quarter of the time, then all clients together;
another client requests `/healthz` five times a second. Each client uses one connection and sends its next query when
it has its answer.

The clients run on the same machine: on two cores they take about a tenth of it. A server that this program starts is
also compared with what the machine could do: its cores divided by the CPU seconds that the processes of the server
spend on a query of the single client. The exit status is 1 if a request failed, or if the throughput with all clients
is less than 80% of that.
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

import songprint
from lab.data import synth
from lab.measure.attack import descendants
from songprint.audio import files as audio
from songprint.config import usable_cores
from songprint.ingest.add import find

QUERY_SECONDS = 10.0
QUERIES = 100  # different queries
PER_FILE = 5  # queries cut from each file, at least
LEAST_SHARE = 0.8  # of the throughput that the cores allow
RATE = synth.SAMPLE_RATE  # Hz


@dataclass
class Measured:
    """Response times and errors of all clients."""

    seconds: float
    waited: list[float] = field(default_factory=list)  # response times in seconds
    identified: int = 0  # answers with a match
    errors: list[str] = field(default_factory=list)
    alive: list[float] = field(default_factory=list)  # response times of /healthz in seconds
    cpu_seconds: float = 0.0  # of the processes of the server

    def line(self, clients: int) -> str:
        """Return a row of the table."""
        waited, alive = np.array(self.waited or [np.nan]), np.array(self.alive or [np.nan])
        return (
            f"| {clients} | {len(self.waited):,} | {len(self.errors)} | {len(self.waited) / self.seconds:.1f} "
            f"| {np.median(waited):.3f} | {np.quantile(waited, 0.95):.3f} | {waited.max():.3f} "
            f"| {np.quantile(alive, 0.95):.3f} | {alive.max():.3f} "
            f"| {100 * self.identified / max(1, len(self.waited)):.0f}% | {self.cpu_per_query:.3f} |"
        )

    @property
    def cpu_per_query(self) -> float:
        """CPU seconds of the server for each answer; NaN if they are unknown."""
        return self.cpu_seconds / len(self.waited) if self.waited and self.cpu_seconds else float("nan")


HEADER = (
    "| clients | answers | errors | per second | median s | p95 s | max s | /healthz p95 s | max s"
    " | identified | CPU s per query |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def measure(
    url: str, token: str, queries: Sequence[bytes], clients: int, seconds: float, process_id: int = 0
) -> Measured:
    """Run the clients for so many seconds, each sending one query after the other.

    Args:
        process_id: of the server, if it runs on this machine.
    """
    measured, lock, end = Measured(seconds), threading.Lock(), time.monotonic() + seconds
    cpu_before = cpu_seconds(process_id)

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
    measured.cpu_seconds = cpu_seconds(process_id) - cpu_before
    return measured


def cpu_seconds(process_id: int) -> float:
    """Return the CPU time of a process and of its descendants so far; 0 without a process."""
    ticks = 0
    for each in [process_id, *descendants(process_id)] if process_id else []:
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # in user and in system mode
    return ticks / os.sysconf("SC_CLK_TCK")


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
def served(music: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """Start a server for a new library of this music and give its URL and process id."""
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
        yield url, process.pid
    finally:
        process.terminate()
        process.communicate()


def status_of(url: str) -> int:
    connection = connect(url)
    connection.request("GET", "/readyz")
    status = connection.getresponse().status
    connection.close()
    return status


def main() -> int:
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
            return report(given.url, given, queries)
        with served(given.music, folder) as (url, process_id):
            return report(url, given, queries, process_id)


def report(url: str, given: argparse.Namespace, queries: Sequence[bytes], process_id: int = 0) -> int:
    """Measure and print the table. Returns the exit status."""
    print(HEADER)
    found = []
    for clients, seconds in ((1, given.seconds / 4), (given.clients, given.seconds)):
        found.append(measured := measure(url, given.token, queries, clients, seconds, process_id))
        print(measured.line(clients), flush=True)
        for error in measured.errors[:5]:
            print(f"  {error}")
    failed = any(each.errors for each in found)
    if process_id:
        single, all_clients = found
        possible = usable_cores() / single.cpu_per_query
        share = len(all_clients.waited) / all_clients.seconds / possible
        print(f"{usable_cores()} cores could answer {possible:.1f} queries per second; reached: {100 * share:.0f}%")
        failed = failed or not share >= LEAST_SHARE
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
