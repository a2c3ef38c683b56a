"""Attack test of the server: hostile requests, connections and media files, with limits of memory and time.

    python -m lab.measure.attack [--mutations 2000] [--only requests connections queries recordings jobs damaged]

Starts a server with short deadlines for a small library, and sends to every route of the OpenAPI description, of the
page and of the endpoint for Tencent's SDKs: bodies that never end, bodies that arrive one byte at a time, wrong
lengths, 10,000 headers, requests without a key and with a wrong one. Then connections that send nothing, never read or
send no HTTP, and the files of `lab.data.bombs` as queries, recordings and jobs, and damaged copies of ordinary files
as queries.

Prints a row for each attack: the statuses of the responses, the longest time until the connection ended and where, and
the highest memory of the server above its idle state and of its child processes. The exit status is 1 if a limit was
exceeded, a request without a key was answered, or the server reported an internal error.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from lab import program
from lab.data import bombs, synth
from songprint.server.connections import LINGER_BYTES, LINGER_SECONDS

DEADLINE = 2.0  # seconds; the server's time limits for headers and pauses
PATIENCE = 2 * DEADLINE + LINGER_SECONDS + 10.0  # seconds after which every connection must have ended
SERVER_BYTES = 300 << 20  # that the server may use above its idle state
CHILD_BYTES = 1 << 30  # that a child process may use
UPLOAD_BYTES = 8 << 20  # the server's limits for bodies
AFTER_RESPONSE = 1 << 20  # bytes that an endless body continues after the response
JOB_TIMEOUT = 120.0  # seconds; the server's time limit for jobs, which files with hours of audio exceed
UPLOAD_SECONDS = 600.0  # that a query or an addition may take; an hour of audio is a valid recording
JOB_SECONDS = JOB_TIMEOUT + 30.0  # that a job with a hostile file may take
ORDINARY_SECONDS = 6.0  # of the files that are damaged: what decoders do with them does not depend on the length
CHUNK = b"10000\r\n" + bytes(1 << 16) + b"\r\n"  # of a chunked body
PUBLIC = ("/healthz", "/readyz", "/v1/session", "/docs", "/openapi.json", "/", "/page/none")
PARTS = ("requests", "connections", "queries", "recordings", "jobs", "damaged")
ENVIRONMENT = {
    "SONGPRINT_SERVER_HEADER_TIMEOUT": f"{DEADLINE}",
    "SONGPRINT_SERVER_BODY_TIMEOUT": f"{DEADLINE}",
    "SONGPRINT_SERVER_IDLE_TIMEOUT": f"{DEADLINE}",
    "SONGPRINT_SERVER_JOB_TIMEOUT": f"{JOB_TIMEOUT}",
    "SONGPRINT_SERVER_RATE": "1000000",
    "SONGPRINT_SERVER_MAX_CLIP_BYTES": f"{UPLOAD_BYTES}",
    "SONGPRINT_SERVER_MAX_RECORDING_BYTES": f"{UPLOAD_BYTES}",
    "SONGPRINT_SERVER_MAX_BYTES": f"{UPLOAD_BYTES}",
}


@dataclass(frozen=True)
class Target:
    """A running server."""

    address: tuple[str, int]
    token: str
    routes: Sequence[tuple[str, str]]  # method and path


@dataclass(frozen=True)
class Outcome:
    """What happened to one connection."""

    status: int  # of the response; 0 without one
    seconds: float  # until the connection ended
    sent: int  # bytes
    ended: bool  # by the server
    body: bytes = b""


@dataclass
class Row:
    """The results of one attack."""

    name: str
    tries: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    longest: float = 0.0  # seconds
    slowest: str = ""  # what took longest
    server: int = 0  # bytes above the idle state
    child: int = 0  # bytes
    problems: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome, label: str, problem: str = "") -> None:
        self.tries += 1
        self.statuses[outcome.status] += 1
        if outcome.seconds > self.longest:
            self.longest, self.slowest = outcome.seconds, label
        if problem:
            self.problems.append(f"{label}: {problem}")

    def line(self) -> str:
        statuses = ", ".join(f"{status or 'none'}: {count}" for status, count in sorted(self.statuses.items()))
        return (
            f"| {self.name} | {self.tries:,} | {statuses} | {self.longest:.1f} | {self.slowest} "
            f"| {self.server >> 20} | {self.child >> 20} | {len(self.problems)} |"
        )


HEADER = (
    "| attack | tries | statuses | longest s | slowest | server MB above idle | largest child MB | problems |\n"
    "|---|---|---|---|---|---|---|---|"
)


class Memory:
    """Watches the resident memory of a process and of its descendants."""

    def __init__(self, process_id: int) -> None:
        self._process_id = process_id
        self.idle = resident(process_id)
        self._server = self._child = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @contextmanager
    def limiting(self, row: Row) -> Iterator[Row]:
        """Note the peaks of an attack in its row."""
        self._server = self._child = 0
        yield row
        self._sample()
        row.server, row.child = max(0, self._server - self.idle), self._child
        if row.server > SERVER_BYTES:
            row.problems.append(f"the server used {row.server >> 20} MB above its idle state")
        if row.child > CHILD_BYTES:
            row.problems.append(f"a child process used {row.child >> 20} MB")

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(0.05):
            self._sample()

    def _sample(self) -> None:
        self._server = max(self._server, resident(self._process_id))
        self._child = max([self._child, *map(resident, descendants(self._process_id))])


def descendants(process_id: int) -> list[int]:
    """Return the ids of all processes below a process."""
    found = []
    for children in Path(f"/proc/{process_id}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child, *descendants(child)]
    return found


def resident(process_id: int) -> int:
    """Return the resident memory of a process in bytes; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


# Requests.


def exchange(
    address: tuple[str, int],
    head: bytes,
    body: Iterable[bytes] = (),
    *,
    pause: float = 0.0,
    reads: bool = True,
    patience: float = PATIENCE,
    after: int = AFTER_RESPONSE,
) -> Outcome:
    """Send a request and go on sending its body until the server ends the connection.

    Args:
        pause: seconds between two pieces of the body.
        reads: False for a client that does not read the response.
        after: bytes of the body that are sent after the response; then the client ends its side.
    """
    began = time.monotonic()
    pieces = itertools.chain([head] if head else [], body)
    received, sent, answered_at = b"", 0, -1
    with socket.create_connection(address, timeout=patience) as client:
        client.setblocking(False)
        rest, due, sending = b"", began, True
        while time.monotonic() - began < patience:
            now = time.monotonic()
            wants = sending and (rest or now >= due)
            readable, writable, _ = select.select([client] if reads else [], [client] if wants else [], [], 0.02)
            try:
                if readable:
                    part = client.recv(1 << 16)
                    if not part:
                        return _outcome(received, began, sent, ended=True)
                    received = (received + part)[: 1 << 20]
                    answered_at = sent if answered_at < 0 else answered_at
                if writable:
                    if not rest:
                        rest, due = next(pieces, b""), now + pause
                        sending = bool(rest)
                    count = client.send(rest) if rest else 0
                    rest, sent = rest[count:], sent + count
            except BlockingIOError:
                continue
            except OSError:  # the server has ended the connection
                return _outcome(received, began, sent, ended=True)
            if answered_at >= 0 and sending and sent - answered_at > after:
                sending = False
                with suppress(OSError):
                    client.shutdown(socket.SHUT_WR)
    return _outcome(received, began, sent, ended=False)


def _outcome(received: bytes, began: float, sent: int, *, ended: bool) -> Outcome:
    line = received.partition(b"\r\n")[0].split()
    status = int(line[1]) if len(line) > 1 and line[1].isdigit() else 0
    return Outcome(status, time.monotonic() - began, sent, ended, received.partition(b"\r\n\r\n")[2])


def request(route: tuple[str, str], token: str, *headers: str) -> bytes:
    """The first line and the headers of a request."""
    lines = [f"{route[0]} {route[1]} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


@dataclass(frozen=True)
class Attack:
    """A request that is sent to every route."""

    name: str
    headers: tuple[str, ...] = ()
    body: Callable[[], Iterable[bytes]] = tuple
    pause: float = 0.0  # seconds between two pieces of the body
    token: str | None = None  # None: a valid one


CHUNKED = "Transfer-Encoding: chunked"
ATTACKS = (
    Attack("endless body", (CHUNKED,), lambda: itertools.repeat(CHUNK)),
    Attack("endless body, no key", (CHUNKED,), lambda: itertools.repeat(CHUNK), token=""),
    Attack("endless body, wrong key", (CHUNKED,), lambda: itertools.repeat(CHUNK), token="sp_wrong"),
    Attack("one byte at a time", (CHUNKED,), lambda: itertools.repeat(b"1\r\na\r\n"), pause=0.1),
    Attack("one byte at a time, no key", (CHUNKED,), lambda: itertools.repeat(b"1\r\na\r\n"), pause=0.1, token=""),
    Attack("body shorter than its length", ("Content-Length: 1000",), lambda: [b"{}"]),
    Attack("body longer than its length", ("Content-Length: 2",), lambda: [b"{}" + bytes(100_000)]),
    Attack("length of exabytes", (f"Content-Length: {1 << 62}",), lambda: itertools.repeat(bytes(1 << 16))),
    Attack("negative length", ("Content-Length: -1",)),
    Attack("two lengths", ("Content-Length: 2", "Content-Length: 3"), lambda: [b"{}"]),
    Attack("length and chunks", ("Content-Length: 2", CHUNKED), lambda: [b"{}", b"\r\n"]),
    Attack("chunks without sizes", (CHUNKED,), lambda: [b"zz\r\n{}"]),
    Attack("10,000 headers", tuple(f"X-{number}: a" for number in range(10_000))),
    Attack("a header of 1 MB", (f"X-Long: {'a' * (1 << 20)}",)),
    Attack("no key", token=""),
    Attack("wrong key", token="sp_wrong"),
)


def attack_requests(
    target: Target, memory: Memory, attacks: Sequence[Attack] = ATTACKS, patience: float = PATIENCE
) -> Iterator[Row]:
    """Send each attack to every route."""
    for attack in attacks:
        with memory.limiting(Row(attack.name)) as row, ThreadPoolExecutor(48 if attack.pause else 8) as pool:
            token = target.token if attack.token is None else attack.token

            def send(route: tuple[str, str], attack: Attack = attack, token: str = token) -> Outcome:
                head = request(route, token, *attack.headers)
                return exchange(target.address, head, attack.body(), pause=attack.pause, patience=patience)

            for route, outcome in zip(target.routes, pool.map(send, target.routes), strict=True):
                row.add(outcome, " ".join(route), _problem(route, outcome, has_key=token == target.token))
        yield row


def _problem(route: tuple[str, str], outcome: Outcome, *, has_key: bool) -> str:
    """What is wrong with the response to a hostile request; empty if nothing is."""
    if not outcome.ended:
        return "the connection is still open"
    if outcome.status in (500, 501, 502, 504):
        return f"status {outcome.status}: {outcome.body[:200]!r}"
    if not has_key and outcome.status in range(200, 300) and route[1] not in PUBLIC:
        return f"status {outcome.status} without a key"
    if outcome.sent > LINGER_BYTES + 2 * UPLOAD_BYTES:
        return f"the server accepted {outcome.sent >> 20} MB"
    return ""


# Connections.


def attack_connections(target: Target, memory: Memory) -> Iterator[Row]:
    """Open connections that do not behave like those of clients."""
    head = request(("GET", "/healthz"), "")[:-2]
    cases: list[tuple[str, int, Callable[[], Outcome]]] = [
        ("400 connections that send nothing", 400, lambda: exchange(target.address, b"")),
        ("400 half-open requests", 400, lambda: exchange(target.address, head)),
        (
            "headers one byte at a time",
            100,
            lambda: exchange(target.address, head, itertools.repeat(b"a"), pause=0.2),
        ),
        (
            "a body that goes on after the response",
            8,
            lambda: exchange(
                target.address,
                request(("POST", "/v1/identify"), "", CHUNKED),
                itertools.repeat(CHUNK),
                after=1 << 40,
            ),
        ),
        ("responses that nobody reads", 16, lambda: _unread(target)),
        ("no HTTP", 100, lambda: exchange(target.address, os.urandom(3000) + b"\r\n\r\n")),
    ]
    for name, count, attack in cases:
        with memory.limiting(Row(name)) as row, ThreadPoolExecutor(count) as pool:
            for outcome in pool.map(lambda _, attack=attack: attack(), range(count)):
                row.add(outcome, name, "" if outcome.ended else "still open")
        alive = exchange(target.address, request(("GET", "/healthz"), "", "Connection: close"))
        if alive.status != 200:
            row.problems.append(f"afterwards /healthz has the status {alive.status}")
        yield row


def _unread(target: Target) -> Outcome:
    """Request a recording again and again on one connection, without reading a response."""
    wanted = request(("GET", "/v1/recordings/1/audio"), target.token)
    return exchange(target.address, b"", itertools.repeat(wanted * 20), reads=False)


# Media.


def attack_with_bombs(target: Target, memory: Memory, folder: Path, path: str) -> Iterator[Row]:
    """Send hostile files as queries, recordings or jobs, depending on the path."""
    files = list(bombs.bombs(folder))
    with memory.limiting(Row(f"{len(files)} bombs to {path}")) as row:
        for file in files:
            outcome = upload(target, path, file.read_bytes())
            if path == "/v1/jobs" and outcome.status == 202:
                outcome = wait_for_job(target, json.loads(outcome.body)["id"])
            row.add(outcome, file.name, _problem_of_file(outcome))
    yield row


def attack_with_damaged(
    target: Target, memory: Memory, folder: Path, path: str, count: int, seed: int = 1
) -> Iterator[Row]:
    """Send damaged copies of ordinary files."""
    originals = ordinary(folder)
    with memory.limiting(Row(f"damaged files to {path}")) as row, ThreadPoolExecutor(4) as pool:
        damaged = list(bombs.mutations(originals, count, seed))
        outcomes = pool.map(lambda each: upload(target, path, each[1]), damaged)
        for (name, _), outcome in zip(damaged, outcomes, strict=True):
            row.add(outcome, name, _problem_of_file(outcome))
    yield row


def _problem_of_file(outcome: Outcome) -> str:
    if outcome.status in (200, 201, 202, 400, 413, 422):
        return ""
    return f"status {outcome.status}: {outcome.body[:300]!r}"


def upload(target: Target, path: str, content: bytes) -> Outcome:
    """Send a file, again if the server is busy."""
    began = time.monotonic()
    while True:
        connection = http.client.HTTPConnection(*target.address, timeout=UPLOAD_SECONDS)
        try:
            connection.request("POST", path, content, {"Authorization": f"Bearer {target.token}"})
            response = connection.getresponse()
            status, body = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            status, body = 0, repr(error).encode()
        finally:
            connection.close()
        if status != 503 or time.monotonic() - began > 60:
            return Outcome(status, time.monotonic() - began, len(content), True, body)
        time.sleep(0.5)


def wait_for_job(target: Target, job_id: str) -> Outcome:
    """Wait for a job. A job with an internal error has the status 500."""
    began = time.monotonic()
    while True:
        job = get(target, f"/v1/jobs/{job_id}?wait=30")
        if job["state"] in ("finished", "failed", "cancelled") or time.monotonic() - began > JOB_SECONDS:
            break
    code = (job.get("error") or {}).get("code", "")
    status = {"finished": 200, "failed": 500 if code == "internal" else 422}.get(job["state"], 504)
    return Outcome(status, time.monotonic() - began, 0, True, json.dumps(job.get("error")).encode())


def ordinary(folder: Path) -> list[Path]:
    """Write the beginning of one piece in several formats."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = synth.render(synth.pieces(1)[0])[: round(ORDINARY_SECONDS * synth.SAMPLE_RATE)]
    paths = [folder / f"piece{suffix}" for suffix in (".wav", ".flac", ".mp3", ".opus", ".m4a", ".mka")]
    for path in paths:
        synth.write(path, samples, 48000 if path.suffix in (".opus", ".mka") else synth.SAMPLE_RATE)
    return paths


# The server.


def get(target: Target, path: str) -> dict:
    connection = http.client.HTTPConnection(*target.address, timeout=120)
    connection.request("GET", path, headers={"Authorization": f"Bearer {target.token}"})
    answer: dict = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def routes_of(target: Target, job_id: str) -> list[tuple[str, str]]:
    """All routes, with a recording and a job that exist; what could be deleted does not exist."""
    from songprint.server import app  # after the server has reported a missing package

    described = [(method.upper(), path) for path, methods in get(target, "/openapi.json")["paths"].items()
                 for method in methods]  # fmt: skip
    hidden = [
        (method, route.path)
        for module in app.MODULES
        for route in module.router.routes
        if not getattr(route, "include_in_schema", True)
        for method in sorted(getattr(route, "methods", ()))
    ]
    routes = []
    for method, path in [*described, *hidden, ("POST", "/"), ("POST", "/v1/unknown")]:
        values = {"recording_id": "1" if method == "GET" else "999999", "job_id": job_id, "key_id": "none"}
        for name, value in (values | {"part": "gaps", "position": "0", "name": "none", "name:path": "none"}).items():
            path = path.replace(f"{{{name}}}", value)
        routes.append((method, path))
    return routes


@contextmanager
def served(folder: Path, songs: Sequence[Path], environment: Mapping[str, str]) -> Iterator[tuple[Target, int]]:
    """A server for a library of these songs, and its process id. `environment` contains settings."""
    library = ["--library", str(folder / "library")]
    run = [sys.executable, "-m", "songprint", "--json"]
    subprocess.run([*run, *library, "add", *map(str, songs)], check=True, stdout=subprocess.DEVNULL)
    made = subprocess.run(
        [*run, *library, "keys", "create", "--name", "attacker", "--scope", "admin", "--rate", "1000000"],
        check=True,
        stdout=subprocess.PIPE,
    )
    token = json.loads(made.stdout)["token"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*run, *library, "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **environment},
        )
    try:
        assert process.stdout
        url = urlsplit(json.loads(process.stdout.readline())["url"])
        target = Target((url.hostname or "", url.port or 0), token, ())
        while exchange(target.address, request(("GET", "/readyz"), "", "Connection: close")).status != 200:
            time.sleep(0.5)
        query = songs[0].read_bytes()
        for _ in range(4):
            upload(target, "/v1/identify", query)
        job = json.loads(upload(target, "/v1/jobs", query).body)["id"]
        wait_for_job(target, job)
        yield Target(target.address, token, routes_of(target, job)), process.pid
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--mutations", type=int, default=2000, help="damaged media files (default: %(default)s)")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, help="parts of the test (default: all of them)"
    )
    given = parser.parse_args()
    problems: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="songprint-attack-") as name,
        served(Path(name), synth.write_pieces(Path(name) / "music", 1), ENVIRONMENT) as (target, process_id),
    ):
        memory = Memory(process_id)
        print(f"{len(target.routes)} routes; the idle server uses {memory.idle >> 20} MB\n\n{HEADER}", flush=True)
        parts: dict[str, Callable[[], Iterator[Row]]] = {
            "requests": lambda: attack_requests(target, memory),
            "connections": lambda: attack_connections(target, memory),
            **{
                part: partial(attack_with_bombs, target, memory, Path(name) / "bombs", path)
                for part, path in (("queries", "/v1/identify"), ("recordings", "/v1/recordings"), ("jobs", "/v1/jobs"))
            },
            "damaged": lambda: attack_with_damaged(
                target, memory, Path(name) / "ordinary", "/v1/identify", given.mutations
            ),
        }
        for part in given.only:
            for row in parts[part]():
                print(row.line(), flush=True)
                problems += [f"{row.name}: {problem}" for problem in row.problems]
        memory.close()
        log = (Path(name) / "log").read_text(errors="replace")
        if "Traceback" in log:
            problems.append(f"the log contains a traceback: {log[log.index('Traceback') :][:3000]}")
    for problem, count in Counter(problems).items():
        print(f"PROBLEM: {problem}{f' ({count} times)' * (count > 1)}", file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
