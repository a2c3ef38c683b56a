"""Soak test: a server that identifies, scans and listens for an hour, whose processes must not grow.

    python -m lab.measure.soak [--minutes 60]

Starts a server for a library of synthesised music and `songprint listen` on an endless stream of it. One client sends
queries and another submits jobs, each one after the other. The resident memory of every process is sampled; after the
first quarter, in which caches fill, it must stay within 3%. Prints a row for each process. The exit status is 1 if a
process grew more, a request failed, or the stream was not identified.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from lab import program
from lab.data import synth
from lab.measure import attack
from lab.measure.attack import Target, descendants

PIECES = 10  # in the library
QUERY_SECONDS = 10.0
BLOCK_SECONDS = 0.5  # of the stream
SAMPLES = 120  # of the memory of each process, spread over the whole time
MOST_GROWTH = 0.03  # of the median of the second quarter, in the last quarter


@dataclass(frozen=True)
class Growth:
    """The memory of one process."""

    name: str
    before: float  # bytes; median of the second quarter
    after: float  # bytes; median of the last quarter

    @property
    def share(self) -> float:
        return self.after / self.before - 1


def growths(samples: Sequence[dict[str, int]]) -> list[Growth]:
    """Compare the last quarter of samples with the second, for each process that lived in both.

    >>> [growth.share for growth in growths([{"a": 9}, {"a": 10}, {"a": 50}, {"a": 11, "b": 5}])]
    [0.10000000000000009]
    """
    quarter = len(samples) // 4
    parts = []
    for part in (samples[quarter : 2 * quarter], samples[-quarter:]):
        found = defaultdict(list)
        for sample in part:
            for name, size in sample.items():
                found[name].append(size)
        parts.append(found)
    before, after = parts
    return [Growth(name, median(before[name]), median(after[name])) for name in before if name in after]


@contextmanager
def listening(library: Path, samples: np.ndarray, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `songprint listen` on these samples, which are repeated without an end at the speed of a stream."""
    raw = f"{synth.SAMPLE_RATE}:1:s16le"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "songprint", "--json", "--library", str(library), "listen", "-", "--raw", raw],
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    ended = threading.Event()

    def play() -> None:
        size = round(BLOCK_SECONDS * synth.SAMPLE_RATE)
        content = (np.clip(samples, -1, 1) * 32767).astype("<i2")
        began, played = time.monotonic(), 0
        while not ended.wait(max(0.0, began + played * BLOCK_SECONDS - time.monotonic())):
            start = played * size % len(content)
            try:
                assert process.stdin
                process.stdin.write(content[start : start + size].tobytes())
                process.stdin.flush()
            except BrokenPipeError:
                return
            played += 1

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield process
    finally:
        ended.set()
        thread.join()
        assert process.stdin
        process.stdin.close()
        process.wait(300)  # it finishes what it has heard


class Clients:
    """One client that sends queries, and one that submits jobs and waits for them."""

    def __init__(self, target: Target, queries: Sequence[bytes], recording: bytes) -> None:
        self.queries = self.jobs = 0
        self.problems: list[str] = []
        self._target, self._contents, self._recording = target, queries, recording
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._identify), threading.Thread(target=self._scan)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _identify(self) -> None:
        while not self._ended.wait(0.5):
            outcome = attack.upload(self._target, "/v1/identify", self._contents[self.queries % len(self._contents)])
            self.queries += 1
            if outcome.status != 200 or not json.loads(outcome.body)["matches"]:
                self.problems.append(f"query {self.queries}: status {outcome.status}, {outcome.body[:200]!r}")

    def _scan(self) -> None:
        while not self._ended.wait(0.5):
            job = json.loads(attack.upload(self._target, "/v1/jobs", self._recording).body)["id"]
            outcome = attack.wait_for_job(self._target, job)
            self.jobs += 1
            if outcome.status != 200:
                self.problems.append(f"job {job}: {outcome.body!r}")


def soak(folder: Path, minutes: float) -> tuple[list[Growth], Clients, int]:
    """Run everything; returns the growth of each process, the clients, and the number of songs in the stream."""
    songs = synth.write_pieces(folder / "music", PIECES)
    rendered = [synth.render(piece) for piece in synth.pieces(3)]
    length = round(QUERY_SECONDS * synth.SAMPLE_RATE)
    queries = []
    for number, samples in enumerate(rendered):
        path = folder / f"query {number}.flac"
        synth.write(path, samples[length : 2 * length])
        queries.append(path.read_bytes())
    heard = folder / "heard"
    with (
        attack.served(folder, songs, {}) as (target, server),
        listening(folder / "library", np.concatenate(rendered), heard) as listener,
    ):
        clients = Clients(target, queries, songs[0].read_bytes())
        found = []
        try:
            for _ in range(SAMPLES):
                time.sleep(60 * minutes / SAMPLES)
                names = {server: "server", listener.pid: "listen"}
                names |= {each: f"child {each} of the server" for each in descendants(server)}
                names |= {each: f"child {each} of listen" for each in descendants(listener.pid)}
                found.append({name: attack.resident(each) for each, name in names.items()})
        finally:
            clients.close()
    return growths(found), clients, heard.read_text(errors="replace").count('"title"')


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="duration (default: %(default)g)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="songprint-soak-") as name:
        found, clients, songs = soak(Path(name), given.minutes)
    rows = [
        (each.name, f"{each.before / 2**20:.1f}", f"{each.after / 2**20:.1f}", f"{100 * each.share:+.1f}%")
        for each in found
    ]
    print(program.table(("process", "MB in the second quarter", "MB in the last quarter", "growth"), rows))
    print(f"\n{clients.queries:,} queries, {clients.jobs:,} jobs, {songs:,} songs in the stream")
    problems = [f"{each.name} grew by {100 * each.share:.1f}%" for each in found if each.share > MOST_GROWTH]
    problems += clients.problems[:10] + ["the stream was not identified"] * (not songs)
    for problem in problems:
        print(f"PROBLEM: {problem}", file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
