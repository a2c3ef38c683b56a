"""Tencent's unmodified SDKs against `songprint serve`, with the client programs in $SONGPRINT_ACCEPTANCE.

They identify a film with three songs of the library, a cover of a fourth and unknown music, by URL and in a bucket.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from support import soundfiles
from support.children import environment

from lab.data import degrade, synth
from lab.data.tunes import TUNES, invent

ACCEPTANCE = os.environ.get("SONGPRINT_ACCEPTANCE", "")
SDKS = Path(__file__).parents[2] / "build" / "sdks"  # downloaded once
BUCKET = "ie-mps-1250000000"  # the bucket that the programs send for results
SONGS, COVER = (3, 0, 1), 4  # positions in TUNES
PIECE = 20.0  # seconds of each song

pytestmark = pytest.mark.skipif(not ACCEPTANCE, reason="$SONGPRINT_ACCEPTANCE names no folder with programs for SDKs")


@dataclass(frozen=True)
class PrintedSong:
    """A song as a client program prints it."""

    title: str
    start: int
    end: int


@dataclass(frozen=True)
class Server:
    """A running `songprint serve`, with the film to identify."""

    port: int
    secret_id: str
    secret_key: str
    url: str
    buckets: Path
    truth: list[tuple[str, float, float]]  # title, start, end, in order
    home: dict[str, str]  # its environment

    def arguments(self, *more: object) -> list[str]:
        return [
            "--endpoint",
            f"127.0.0.1:{self.port}",
            "--secret-id",
            self.secret_id,
            "--secret-key",
            self.secret_key,
            *map(str, more),
        ]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("acceptance")
    (folder / "music").mkdir()
    (folder / "buckets" / BUCKET).mkdir(parents=True)
    for number, tune in enumerate(TUNES[:5]):
        synth.write(
            folder / "music" / f"{number}.flac", synth.render(tune, seed=1), title=tune.title, artist=tune.artist
        )
    truth = write_film(folder / "buckets" / BUCKET / "film.mp4")
    home = environment() | {
        "HOME": str(folder),
        "SONGPRINT_LIBRARY": str(folder / "library"),
        "SONGPRINT_SERVER_ALLOW_HOSTS": "127.0.0.1",
        "SONGPRINT_SERVER_ALLOW_CALLBACKS": "127.0.0.1",
        "SONGPRINT_SERVER_STORAGES": json.dumps([{"bucket": BUCKET, "folder": str(folder / "buckets")}]),
    }
    songprint(home, "add", "--quiet", folder / "music")
    key = json.loads(songprint(home, "keys", "create", "--json", "--name", "acceptance"))
    port = free_port()
    files = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder / "buckets" / BUCKET)))
    threading.Thread(target=files.serve_forever, args=(0.05,), daemon=True).start()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "songprint", "serve", "--port", str(port)], env=home, stdout=log, stderr=log
        )
    try:
        give_up = time.monotonic() + 120
        while not answers(port):
            assert process.poll() is None and time.monotonic() < give_up, (folder / "log").read_text()
            time.sleep(0.2)
        yield Server(
            port,
            key["id"],
            key["secret_key"],
            f"http://127.0.0.1:{files.server_port}/film.mp4",
            folder / "buckets",
            truth,
            home,
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        files.shutdown()
        files.server_close()


@pytest.fixture(autouse=True)
def _nothing_waits(server: Server) -> Iterator[None]:
    """Cancel the jobs that the programs submit only to test whether they are accepted."""
    yield
    waiting = songprint(server.home, "jobs", "list", "--json", "--state", "waiting", "--state", "running")
    if waiting:
        jobs = [json.loads(line)["id"] for line in waiting.splitlines()]
        songprint(server.home, "jobs", "cancel", "--quiet", *jobs, may_fail=True)  # a job may have ended meanwhile


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without logging."""

    def log_message(self, *_: object) -> None:
        pass


def write_film(path: Path) -> list[tuple[str, float, float]]:
    """Write a film with three songs of the library, unknown music and a cover. Returns the intervals of the songs."""
    rate, length = synth.SAMPLE_RATE, round(PIECE * synth.SAMPLE_RATE)
    unknown = synth.render(invent(101), seed=2)[:length]
    cover = degrade.stretch(synth.render(TUNES[COVER], seed=40), rate, pitch=2 ** (2 / 12))
    first, second, third = (
        (TUNES[number].title, synth.render(TUNES[number], seed=1)[5 * rate :][:length]) for number in SONGS
    )
    pieces, truth, position = [], [], 0.0
    for title, samples in (first, ("", unknown), second, (TUNES[COVER].title, cover), third):
        if title:
            truth.append((title, position, position + len(samples) / rate))
        pieces.append(samples)
        position += len(samples) / rate
    soundfiles.write(path, np.concatenate(pieces), rate)
    return truth


def songprint(home: dict[str, str], *arguments: object, may_fail: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "songprint", *map(str, arguments)], env=home, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 or may_fail, done.stderr
    return done.stdout


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def python_client() -> list[str]:
    """The client program with Tencent's Python SDK, which is installed once in build/."""
    folder = SDKS / "python"
    if not (folder / "tencentcloud").is_dir():
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--target",
                str(folder),
                "tencentcloud-sdk-python-mps>=3.1,<4",
            ],
            check=True,
            timeout=300,
        )
    return ["env", f"PYTHONPATH={folder}", sys.executable, str(Path(ACCEPTANCE) / "tencent_client.py")]


@pytest.fixture(scope="module")
def node_client(tmp_path_factory) -> list[str]:
    """The client program with Tencent's Node SDK, which is installed once in build/."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("node and npm are not installed")
    folder = SDKS / "node"
    if not (folder / "node_modules" / "tencentcloud-sdk-nodejs-mps").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                npm,
                "install",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--prefix",
                str(folder),
                "tencentcloud-sdk-nodejs-mps@4",
            ],
            check=True,
            timeout=300,
        )
    return ["env", f"NODE_PATH={folder / 'node_modules'}", node, str(Path(ACCEPTANCE) / "tencent_client.js")]


def run(client: list[str], arguments: list[str], port: int) -> str:
    """The output of a client program, which exits with an error if one of its checks fails."""
    local = f"127.0.0.1,127.0.0.1:{port}"
    done = subprocess.run(
        [*client, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"NO_PROXY": local, "no_proxy": local},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def songs_in(printed: str) -> list[PrintedSong]:
    """The songs in the Python program's output: first those of the polled task, then those of the callback."""
    lines = re.findall(r"^ +\d+  (.*?) - (.*?) \[.*\]  (\d+)-(\d+) s", printed, re.MULTILINE)
    return [PrintedSong(title, int(start), int(end)) for _, title, start, end in lines]


def assert_songs(songs: list[PrintedSong], truth: list[tuple[str, float, float]]) -> None:
    """Assert that the songs are correct, each within 15 s at both ends."""
    assert sorted(song.title for song in songs) == sorted(title for title, *_ in truth)
    for title, start, end in truth:
        song = next(song for song in songs if song.title == title)
        assert -15 <= song.start - start <= 15 and -15 <= song.end - end <= 15, (song, start, end)


def test_the_python_sdk_identifies_a_film_by_url_and_passes_its_self_test(server, python_client):
    printed = run(
        python_client,
        server.arguments(
            "--url", server.url, "--expect", "match", "--listen", free_port(), "--session-context", "mine", "--selftest"
        ),
        server.port,
    )
    songs = songs_in(printed)
    assert len(songs) == 2 * len(server.truth), printed  # polled and by callback
    assert songs[: len(songs) // 2] == songs[len(songs) // 2 :]
    assert_songs(songs[: len(songs) // 2], server.truth)
    task_id = re.search(r"TaskId (\S+)", printed)[1]
    written = json.loads((server.buckets / BUCKET / "common" / "test" / f"{task_id}.json").read_text())
    assert len(written["AiAnalysisResultSet"][0]["TagTask"]["Output"]["TagSet"]) == len(server.truth)
    assert (written["MetaData"]["Container"], written["MetaData"]["VideoStreamSet"][0]["Codec"]) == (
        "mov,mp4,m4a,3gp,3g2,mj2",
        "mpeg4",
    )


def test_the_python_sdk_identifies_a_film_in_a_bucket(server, python_client):
    printed = run(
        python_client,
        server.arguments("--cos", f"{BUCKET},ap-nanjing,/film.mp4", "--expect", "match", "--listen", free_port()),
        server.port,
    )
    assert_songs(songs_in(printed)[: len(server.truth)], server.truth)


def test_a_missing_input_fails_as_expected(server, python_client):
    missing = server.url.replace("film", "gone")
    run(python_client, server.arguments("--url", missing, "--expect", "fail", "--listen", free_port()), server.port)


def test_the_node_sdk_identifies_a_film(server, node_client):
    printed = run(node_client, server.arguments("--url", server.url), server.port)
    for title, *_ in server.truth:
        assert f" - {title}  [[" in printed, printed
