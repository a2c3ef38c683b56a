"""How many clips a second a server names, and how long each waits, when many ask at once.

    python -m lab.measure.load --music FOLDER [--clients 32] [--seconds 60] [--url http://host:8080 --token sp_...]

Without `--url` it makes a library of the music in a temporary folder and starts a server for it. Clips of ten seconds
are cut from the music. First one client asks for a quarter of the time, then all of them; another asks `/healthz`
five times a second meanwhile. A client asks again as soon as it has its answer, over one connection.

The clients take their share of the machine too: on two cores, about a tenth.
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

CLIP = 10.0  # seconds
CLIPS = 100  # different ones,
OF_A_FILE = 5  # so many of each file, at least
RATE = synth.SAMPLE_RATE


@dataclass
class Measured:
    """What the clients saw."""

    seconds: float
    waited: list[float] = field(default_factory=list)  # seconds, of each answer
    named: int = 0  # answers with a match
    errors: list[str] = field(default_factory=list)
    alive: list[float] = field(default_factory=list)  # seconds, of each answer of /healthz

    def line(self, clients: int) -> str:
        """A row of the table."""
        waited, alive = np.array(self.waited or [np.nan]), np.array(self.alive or [np.nan])
        return (
            f"| {clients} | {len(self.waited):,} | {len(self.errors)} | {len(self.waited) / self.seconds:.1f} "
            f"| {np.median(waited):.3f} | {np.quantile(waited, 0.95):.3f} | {waited.max():.3f} "
            f"| {np.quantile(alive, 0.95):.3f} | {alive.max():.3f} "
            f"| {100 * self.named / max(1, len(self.waited)):.0f} % |"
        )


HEADER = (
    "| clients | answers | errors | a second | median s | p95 s | longest s | /healthz p95 s | longest s"
    " | named |\n|---|---|---|---|---|---|---|---|---|---|"
)


def measure(url: str, token: str, clips: Sequence[bytes], clients: int, seconds: float) -> Measured:
    """Have so many clients ask one clip after the other for so many seconds."""
    measured, lock, end = Measured(seconds), threading.Lock(), time.monotonic() + seconds

    def ask(number: int) -> None:
        chosen = random.Random(number)
        connection = connect(url)
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                status, body = post(connection, token, chosen.choice(clips))
            except (OSError, http.client.HTTPException) as error:
                status, body = 0, repr(error).encode()
                connection.close()
            waited = time.monotonic() - began
            with lock:
                if status == 200:
                    measured.waited.append(waited)
                    measured.named += bool(json.loads(body)["matches"])
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

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return measured


def connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=120)


def post(connection: http.client.HTTPConnection, token: str, clip: bytes) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection.request("POST", "/v1/identify", clip, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def cut(music: Path, count: int, folder: Path) -> list[bytes]:
    """Clips of CLIP seconds from anywhere in the music, as FLAC: several of each of a few files."""
    chosen = random.Random(1)
    files = sorted(find([music])[0])
    files = chosen.sample(files, min(len(files), count // OF_A_FILE))
    clips = []
    for file in files:
        samples = audio.load(file, RATE)
        for _ in range(count // len(files)):
            start = chosen.uniform(0, max(0.0, len(samples) / RATE - CLIP))
            path = folder / "clip.flac"
            synth.write(path, samples[round(start * RATE) : round((start + CLIP) * RATE)])
            clips.append(path.read_bytes())
    return clips


@contextmanager
def served(music: Path, folder: Path) -> Iterator[str]:
    """A server of a new library of this music; its URL."""
    with songprint.open(folder / "library", create=True) as library:
        library.add(music)
        held = library.stats()
    print(f"{held.recordings:,} recordings, {held.duration / 3600:.1f} hours; {os.cpu_count()} cores")
    process = subprocess.Popen(
        [sys.executable, "-m", "songprint", "--json", "--library", str(folder / "library"), "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = json.loads(process.stdout.readline())["url"]
        while status_of(url) != 200:
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def status_of(url: str) -> int:
    connection = connect(url)
    connection.request("GET", "/readyz")
    status = connection.getresponse().status
    connection.close()
    return status


def main() -> None:
    parser = argparse.ArgumentParser(description="How many clips a second a server names.")
    parser.add_argument("--music", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--url", default="", help="of a server that runs already, with this music in its library")
    parser.add_argument("--token", default="", help="of a key with a rate high enough")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="songprint-load-") as name:
        folder = Path(name)
        clips = cut(given.music, CLIPS, folder)
        if given.url:
            report(given.url, given, clips)
        else:
            with served(given.music, folder) as url:
                report(url, given, clips)


def report(url: str, given: argparse.Namespace, clips: Sequence[bytes]) -> None:
    """Measure, and print the table."""
    print(HEADER)
    for clients, seconds in ((1, given.seconds / 4), (given.clients, given.seconds)):
        measured = measure(url, given.token, clips, clients, seconds)
        print(measured.line(clients), flush=True)
        for error in measured.errors[:5]:
            print(f"  {error}")


if __name__ == "__main__":
    main()
