"""Crashes: after `kill -9` at any moment, every recording is stored completely or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support import servers, toy
from support.children import environment

import songprint
from songprint.library import Library
from songprint.types import Kind

ADD = """
import sys, songprint; from support import toy
library, music, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
def report(progress):
    if progress.outcome == "added":
        print(progress.path, flush=True)
if __name__ == "__main__":
    print("ready", flush=True)
    with songprint.open(library, create=True, encoder=toy.ToyEncoder(seconds=0.02)) as library:
        library.add(music, workers=workers, on_progress=report)
    print("finished", flush=True)
"""

SEARCH = """
import sys, time, songprint; from support import toy
path, goal = sys.argv[1], int(sys.argv[2])
give_up = time.monotonic() + 60
with songprint.open(path, encoder=toy.ToyEncoder()) as library:
    level = library.store.levels[songprint.Kind.RECORDING]
    while len(level.index.recording_ids()) < goal and time.monotonic() < give_up:
        library.store.refresh()
        found = level.index.search(toy.ToyEncoder().encode(toy.song(0)).vectors, k=3)[0]
        recordings = level.embeddings_of(set((found[found >= 0] >> 20).tolist()))
    print(len(level.index.recording_ids()))
"""


HEAVY_ON_SERVERS = pytest.mark.parametrize(
    "database_url",
    ["sqlite", *(pytest.param(kind, marks=pytest.mark.heavy) for kind in servers.KINDS[1:])],
    indirect=True,
)


@pytest.fixture
def database(database_url, monkeypatch):
    """Make every library of the test use a database of this kind, in this process and in others."""
    monkeypatch.setenv("SONGPRINT_DATABASE", database_url)


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def kill_after_line(child: subprocess.Popen[str], lines: int, delay: float) -> list[str]:
    """Wait for some lines of output and a delay, then kill the child. Returns all lines of its output."""
    output = []
    for line in child.stdout:
        output.append(line.rstrip("\n"))
        if len(output) >= lines:
            break
    time.sleep(delay)
    child.kill()
    output += [line.rstrip("\n") for line in child.stdout]
    child.wait()
    child.stdout.close()
    return output


def check_whole(library: Library, added: set[str]) -> None:
    """Check that nothing is damaged, every recording is complete, and all reported additions are stored."""
    assert library.store.catalog.problems() == []
    recordings = library.recordings()
    assert added <= {recording.source for recording in recordings}
    for recording in recordings:
        stored = library.store.catalog.embeddings(Kind.RECORDING, recording.id)
        assert len(stored) == int((recording.duration - 1.0) / toy.HOP) + 1
    library.store.refresh()
    assert library.store.levels[Kind.RECORDING].index.recording_ids() == {recording.id for recording in recordings}


def members_of_session(session: int) -> list[int]:
    """Return the ids of the running processes of a session on Linux."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until_gone(session: int) -> list[int]:
    """Wait up to five seconds for all processes of a session to end. Returns the ids of those still running."""
    give_up = time.monotonic() + 5
    while (left := members_of_session(session)) and time.monotonic() < give_up:
        time.sleep(0.02)
    return left


@HEAVY_ON_SERVERS
def test_kills_at_random_moments_lose_no_recordings_and_leave_no_processes(tmp_path, database):
    random = np.random.default_rng(15)
    toy.write_songs(tmp_path / "music", 100, duration=3.0)
    added: set[str] = set()
    for attempt in range(15):
        child = start(ADD, tmp_path / "library", tmp_path / "music", 2 if attempt % 3 == 0 else 1)
        lines = kill_after_line(child, int(random.integers(0, 5)), float(random.uniform(0, 0.08)))
        added |= set(lines) - {"ready", "finished"}
        if sys.platform == "linux":
            assert wait_until_gone(child.pid) == []
        if (tmp_path / "library").exists():
            with songprint.open(tmp_path / "library", create=True, encoder=toy.ToyEncoder()) as library:
                check_whole(library, added)
    assert added
    with songprint.open(tmp_path / "library", create=True, encoder=toy.ToyEncoder()) as library:
        report = library.add(tmp_path / "music", workers=1)
        assert len(report.added) + len(report.known) == 100 and report.skipped == []
        check_whole(library, {str(path) for path in (tmp_path / "music").iterdir()})


def test_a_killed_worker_is_replaced(tmp_path):
    toy.write_songs(tmp_path / "music", 30, duration=3.0)
    child = start(ADD, tmp_path / "library", tmp_path / "music", 2)
    if sys.platform != "linux":
        pytest.skip("finds the worker in /proc")
    output = [child.stdout.readline() for _ in range(3)]
    workers = [
        pid
        for pid in members_of_session(child.pid)
        if pid != child.pid and b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    output += child.stdout.readlines()
    child.stdout.close()
    assert child.wait() == 0 and output[-1] == "finished\n"
    assert len(output) == 32


def test_ctrl_c_ends_workers_without_tracebacks(tmp_path):
    toy.write_songs(tmp_path / "music", 100, duration=3.0)
    for delay in (0.1, 0.4, 0.8):  # while the workers start, and later
        child = subprocess.Popen(
            [sys.executable, "-c", ADD, tmp_path / "library", tmp_path / "music", "2"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert child.stdout.readline() == "ready\n"
        time.sleep(delay)
        os.killpg(child.pid, signal.SIGINT)
        _, errors = child.communicate(timeout=30)
        assert child.returncode == -signal.SIGINT
        # The first line of a worker's traceback.
        assert 'File "<string>", line 1, in <module>' not in errors
        if sys.platform == "linux":
            assert wait_until_gone(child.pid) == []


@HEAVY_ON_SERVERS
def test_two_processes_search_while_one_adds(tmp_path, database):
    toy.write_songs(tmp_path / "music", 40, duration=3.0)
    songprint.open(tmp_path / "library", create=True, encoder=toy.ToyEncoder()).close()
    readers = [start(SEARCH, tmp_path / "library", 40) for _ in range(2)]
    writer = start(ADD, tmp_path / "library", tmp_path / "music", 1)
    outputs = [child.communicate(timeout=90)[0] for child in (writer, *readers)]
    assert [child.returncode for child in (writer, *readers)] == [0, 0, 0]
    assert outputs[0].endswith("finished\n") and outputs[1:] == ["40\n", "40\n"]


@HEAVY_ON_SERVERS
def test_two_processes_add_the_same_music(tmp_path, database):
    toy.write_songs(tmp_path / "music", 20, duration=3.0)
    writers = [start(ADD, tmp_path / "library", tmp_path / "music", 1) for _ in range(2)]
    outputs = [child.communicate(timeout=90)[0].splitlines() for child in writers]
    assert [child.returncode for child in writers] == [0, 0]
    reported = [line for output in outputs for line in output if line.endswith(".wav")]
    assert len(reported) == len(set(reported)) == 20
    with songprint.open(tmp_path / "library", encoder=toy.ToyEncoder()) as library:
        check_whole(library, set(reported))
