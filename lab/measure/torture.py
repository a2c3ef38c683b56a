"""Kill test of the job queue: kills its processes at random moments and counts lost or repeated jobs and callbacks.

    python -m lab.measure.torture --jobs 300 --kills 200
    python -m lab.measure.torture --jobs 40 --kills 40 --kill workers,servers,children
    python -m lab.measure.torture --jobs 40 --kills 40 --kill workers,servers,children,database --database postgresql

A receiver of callbacks also serves the inputs, and sometimes answers with an error or not at all. Several workers and
a process that submits jobs are killed with `kill -9` and started again. Sometimes a worker is frozen until its lease
has expired, and then continues as if the job were still its own. The workers are the real ones, with fetching, leases,
heartbeats and callbacks; only the computation of a scan is replaced, and waits and leases take seconds instead of
minutes. `Outcome.problems` lists what must never happen.

With `--kill servers` or `children`, jobs are submitted over HTTP to two servers that have workers as child processes,
and the servers, or processes in their pools, are killed too. With `--kill database`, the program starts a database
server, kills it with all its processes, and starts it again. Up to three processes are killed at the same moment. Jobs
are submitted as kills happen, so that every kill meets jobs that wait and run. With `--minutes`, no process is killed
after this time, and the remaining jobs have to finish without further kills.
"""

from __future__ import annotations

import ctypes
import json
import math
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar, cast

from lab import program
from lab.measure.attack import descendants
from lab.measure.database import SERVERS, DatabaseServer, free_port
from songprint.accounts.vault import Vault
from songprint.config import ServerSettings, Settings
from songprint.errors import DuplicateSession, SongprintError
from songprint.jobs import deliveries, jobs, usage, worker
from songprint.jobs.job import RUNNING
from songprint.library import Library
from songprint.processes import pool
from songprint.server import operations, running
from songprint.server import pool as server_pool
from songprint.store.catalog import Catalog
from songprint.types import ScanProgress, Timeline

LEASE = 2.0  # seconds
WAITS = (0.3, 0.5, 0.8) * 10  # seconds between attempts at a callback
SCAN_SECONDS, STEPS = 0.16, 8  # duration of a scan, and how often it reports its progress
SECONDS = 61.0  # duration reported for every input
TROUBLE = 0.1  # share of callbacks that get an error or no response
FROZEN = 0.15  # share of workers that are frozen instead of killed
PATIENCE = 120.0  # seconds after the last kill in which at least one of the remaining jobs or callbacks must end
RECOVERY = 60.0  # seconds in which this program reaches a database that was started again
# What can be killed, and how often compared with the others. Workers include the submitter. A killed database delays
# everything by seconds, and a server by the start of its pools.
KINDS = {"workers": 30, "servers": 2, "children": 4, "database": 1}
AT_ONCE = 3  # processes that are killed at the same moment, at most
PAUSE = 0.5  # seconds between two kills, at most
BACKLOG = 60  # jobs submitted ahead of the kills, at most
BEHIND = 120  # jobs that wait, run or are to be submitted, more than which delay the next kill
AGAIN = 5  # accepted jobs that a submitter sends again when it starts
SERVER_COUNT = 2
PRELOADED = (  # modules, so that new processes start at once; those that are not installed are ignored
    "songprint.jobs.worker",
    "songprint.outside.fetch",
    "songprint.formats.objects",
    "songprint.store.database.mariadb",
    "songprint.store.database.postgresql",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.dialects.mysql.pymysql",
    "sqlalchemy.dialects.postgresql.pg8000",
    "pymysql",
    "pg8000.dbapi",
)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome:
    """What happened to all jobs and callbacks."""

    jobs: int
    kills: dict[str, int]  # by name of the process
    killed_at_work: int  # kills of workers during a job
    freezes: int  # of workers, for longer than a lease
    restarts: int  # of processes that ended by themselves because the database was away
    states: dict[str, int]
    most_attempts: int  # of one job
    callbacks: int  # received, including repetitions
    ended_twice: int  # jobs whose callbacks differ: they ended more than once
    without_callback: int  # jobs of which no callback was received
    expected: int  # callbacks: one for each job
    deliveries: dict[str, int]  # by state
    billed: int  # jobs in the usage
    seconds_billed: float
    elapsed: float  # seconds

    def problems(self) -> list[str]:
        """List what must never happen; empty after a successful run."""
        found = {
            f"{self.states['finished']} of {self.jobs} jobs finished": self.states["finished"] != self.jobs,
            f"there are {sum(self.states.values())} jobs": sum(self.states.values()) != self.jobs,
            f"{self.ended_twice} jobs ended more than once": self.ended_twice > 0,
            f"{self.without_callback} jobs have no callback": self.without_callback > 0,
            f"{self.expected} callbacks were expected instead of {self.jobs}": self.expected != self.jobs,
            f"callbacks are not delivered: {self.deliveries}": self.deliveries["delivered"] != self.jobs,
            f"{self.billed} jobs were billed, {self.seconds_billed} s": (
                self.billed != self.jobs or round(self.seconds_billed) != round(self.jobs * SECONDS)
            ),
        }
        return [problem for problem, occurred in found.items() if occurred]


class Receiver:
    """HTTP server that serves the inputs, which contain how long their scan takes, and receives the callbacks."""

    def __init__(self, dice: random.Random, scan_seconds: float) -> None:
        self.received: dict[str, list[str]] = defaultdict(list)  # job -> state and warnings in each callback
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = str(scan_seconds).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                luck = dice.random()
                if luck > TROUBLE / 3:  # otherwise the request is lost
                    receiver.received[sent["id"]].append(f"{sent['state']} {sent['result']['warnings']}")
                if luck < TROUBLE:
                    if luck < 2 * TROUBLE / 3:
                        return  # no response, although the callback may have been received
                    self.send_response(503)
                else:
                    self.send_response(204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *arguments: object) -> None:
                pass  # killed processes break their connections

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class LightScan:
    """A library with a real catalogue, whose scans sleep for the seconds that the input contains."""

    def __init__(self, catalog: Catalog) -> None:
        self.store = SimpleNamespace(
            catalog=catalog,
            path=catalog.folder,
            settings=Settings(),
            check_encoders=lambda: None,
            tidy=lambda: None,
        )

    def scan(
        self, source: Path, *, on_progress: Callable[..., None], find_unknown: bool, track: int | None
    ) -> Timeline:
        pause = float(Path(source).read_text()) / STEPS
        for step in range(STEPS):
            time.sleep(pause)
            on_progress(ScanProgress(step * SECONDS / STEPS, SECONDS, segments=0, elapsed=step * pause))
        attempt = f"{time.time_ns()}-{random.random()}"  # reveals jobs that end twice
        return Timeline([], [], duration=SECONDS, thresholds={}, searched=0, elapsed=0.1, warnings=(attempt,))


def work(folder: Path, database: str) -> None:
    """Main function of a worker process."""
    with _ended_by_database():
        _work(Catalog(folder, database=database), threading.Event())


@contextmanager
def _ended_by_database() -> Iterator[None]:
    """End the process with a message instead of a traceback while the database is away."""
    try:
        yield
    except SongprintError as error:
        sys.exit(str(error))


def work_in_pool(library: Library, settings: Settings) -> None:
    """Main function of a worker in the pool of a server; takes the place of `songprint.server.pool.run_jobs`."""
    _work(library.store.catalog, pool.stop_requested)


def _work(catalog: Catalog, stop: threading.Event) -> None:
    deliveries.WAITS = WAITS  # type: ignore[assignment]
    settings = Settings(server=ServerSettings(allow_private=True, callback_timeout=LEASE / 2))
    worker.run(cast(Library, LightScan(catalog)), settings, stop=stop, lease=LEASE)


def serve(folder: Path, database: str, port: int) -> None:
    """Main function of a server process, whose workers are children. No child loads a network."""
    pool.FIRST_PAUSE, pool.LONGEST_PAUSE = 0.2, 1.0
    # Children of the server find functions by the name of their module, which is not "__main__" there.
    here = import_module("lab.measure.torture")
    server_pool.run_jobs, operations.warm_up = here.work_in_pool, here.do_nothing
    limits = ServerSettings(port=port, allow_private=True, clip_processes=1, job_processes=1, rate=10_000.0)
    settings = Settings(database=database, server=limits)
    with _ended_by_database(), Library(folder, settings=settings) as library:
        running.serve(library, settings, on_start=lambda started: None)


def do_nothing(library: Library) -> None:
    """Take the place of `operations.warm_up`."""


def submit(
    folder: Path, database: str, url: str, count: int, ports: Sequence[int], due: ctypes.c_int, accepted: ctypes.c_int
) -> None:
    """Main function of the submitting process. After a kill it starts again; session ids prevent duplicates.

    Submits to the servers at these ports, or to the queue if there are none. `due` and `accepted` are shared with the
    main process: how many of the `count` jobs may be submitted so far, and how many were accepted.
    """
    with _ended_by_database():
        send = partial(_post, ports) if ports else _queue(folder, database)
    for number in range(max(0, accepted.value - AGAIN), count):
        while number >= due.value or not send(number, url):
            time.sleep(0.1)
        accepted.value = number + 1
        time.sleep(0.01)


def _queue(folder: Path, database: str) -> Callable[[int, str], bool]:
    catalogue = Catalog(folder, database=database).database
    queue = jobs.Jobs(catalogue, Vault(catalogue, folder))

    def send(number: int, url: str) -> bool:
        callback = {"url": f"{url}//callback", "style": "standard", "secret": "k3y"}
        try:
            queue.submit(
                {"type": "url", "url": f"{url}/{number}.mp3"},
                {"callback": callback},
                key_id="SPtorture",
                priority=number % 21 - 10,
                session_id=f"job {number}",
            )
        except DuplicateSession:
            pass
        except SongprintError:
            return False
        return True

    return send


def _post(ports: Sequence[int], number: int, url: str) -> bool:
    """Submit a job to one of the servers; return whether a server has accepted it, now or before."""
    sent = {
        "input": {"type": "url", "url": f"{url}/{number}.mp3"},
        "callback": {"url": f"{url}//callback", "secret": "k3y"},
        "priority": number % 21 - 10,
        "session_id": f"job {number}",
    }
    connection = HTTPConnection("127.0.0.1", random.choice(ports), timeout=20)
    try:
        connection.request("POST", "/v1/jobs", json.dumps(sent), {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException):
        return False  # the server was killed
    finally:
        connection.close()
    if response.status == 202 or (response.status == 409 and json.loads(body)["code"] == "duplicate_session"):
        return True
    if response.status < 500:
        raise RuntimeError(f"a server refuses job {number}: {body.decode()}")
    return False


def torture(
    folder: Path,
    *,
    jobs_count: int,
    kills: int,
    database: str = "",
    workers: int = 3,
    seed: int = 1,
    kinds: Sequence[str] = ("workers",),
    server: DatabaseServer | None = None,
    scan_seconds: float = SCAN_SECONDS,
    seconds: float = math.inf,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Run the test in an empty folder, or with the empty `database` at this URL.

    `kinds` are the KINDS of processes to kill; "database" needs the `server` of the database. A scan takes
    `scan_seconds`. No process is killed after so many `seconds`, even if there were fewer `kills`.
    """
    began, dice = time.monotonic(), random.Random(seed)
    with_servers = not {"servers", "children"}.isdisjoint(kinds)
    if with_servers:
        Library(folder, create=True, settings=Settings(database=database)).store.close()
    catalog = Catalog(folder, create=not with_servers, database=database)
    queue = jobs.Jobs(catalog.database)
    receiver = Receiver(random.Random(seed + 1), scan_seconds)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, *(["songprint.server.running"] if with_servers else [])])
    ports = [free_port() for _ in range(SERVER_COUNT)] if with_servers else []
    tasks: dict[str, tuple[Callable[..., None], tuple[object, ...]]] = {
        f"server {number}": (serve, (folder, database, port)) for number, port in enumerate(ports)
    }
    if "workers" in kinds or not with_servers:
        tasks |= {f"worker {number}": (work, (folder, database)) for number in range(workers)}
    # Without locks: a killed process does not release them.
    backlog = min(BACKLOG, jobs_count // 4 + 1)
    due, accepted = context.RawValue("i", backlog), context.RawValue("i", 0)
    tasks["submitter"] = (submit, (folder, database, receiver.url, jobs_count, ports, due, accepted))
    names = {
        "workers": [name for name in tasks if not name.startswith("server")],
        "servers": [name for name in tasks if name.startswith("server")],
    }
    alive: dict[str, BaseProcess] = {}

    def start(name: str) -> None:
        target, arguments = tasks[name]
        # Daemons may not have children; servers are killed at the end.
        alive[name] = context.Process(target=target, args=arguments, name=name, daemon=not name.startswith("server"))
        alive[name].start()

    def ended() -> int:
        counts = _patiently(queue.counts)
        return sum(counts[state] for state in jobs.ENDED)

    killed: Counter[str] = Counter()
    at_work, freezes, restarts = 0, 0, 0
    frozen: dict[str, threading.Timer] = {}

    def restart_ended() -> None:
        """Start processes that ended with an error, as a supervisor does, if the database was killed."""
        nonlocal restarts
        for name, process in list(alive.items()):
            if process.exitcode:
                if server is None:
                    raise RuntimeError(f"{name} ended by itself, with status {process.exitcode}")
                start(name)
                restarts += 1

    try:
        for name in tasks:
            start(name)
        said = 0
        while killed.total() < kills and time.monotonic() - began < seconds:
            if killed.total() >= said + 50:
                said = killed.total()
                say(f"{said} killed, {ended()} jobs ended, {time.monotonic() - began:.0f} s")
            done_share = max(killed.total() / kills, (time.monotonic() - began) / seconds)
            due.value = min(jobs_count, round(done_share * jobs_count) + backlog)
            # Kills keep pace with finished jobs and meet jobs that are not finished, also when everything starts.
            while not (accepted.value > ended() or due.value == ended()) or due.value - ended() > BEHIND:
                restart_ended()
                time.sleep(0.1)
            time.sleep(dice.uniform(0, PAUSE))
            restart_ended()
            kind = dice.choices(list(kinds), [KINDS[each] for each in kinds])[0]
            if kind == "database":
                assert server is not None
                server.kill()
                time.sleep(dice.uniform(0, 2 * LEASE))
                server.start()
                killed[kind] += 1
                continue
            busy = {int(job.worker.split("-")[-2]) for job in _patiently(lambda: queue.find(state=RUNNING))}
            most = min(dice.randint(1, AT_ONCE), kills - killed.total())
            if kind == "children":
                children = [child for name in names["servers"] for child in _pool_children(alive[name])]
                for child in dice.sample(children, min(most, len(children))):
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                        killed[kind] += 1
                        at_work += child in busy
                continue
            victims = []
            for name in dice.sample(names[kind], min(most, len(names[kind]))):
                if (
                    name.startswith("worker")
                    and dice.random() < FROZEN
                    and not (name in frozen and frozen[name].is_alive())
                ):
                    frozen[name] = _freeze(alive[name])
                    freezes += 1
                    continue
                frozen.pop(name, None)
                at_work += not busy.isdisjoint({alive[name].pid, *descendants(alive[name].pid or 0)})
                alive[name].kill()
                victims.append(name)
            for name in victims:
                alive[name].join()
                killed[name.split()[0]] += 1
                start(name)
        due.value = jobs_count
        owed = deliveries.Deliveries(catalog.database)
        done, give_up = 0, time.monotonic() + PATIENCE
        while done < 2 * jobs_count and time.monotonic() < give_up:
            before, done = done, ended() + _patiently(owed.counts)["delivered"]
            if done > before:
                give_up = time.monotonic() + PATIENCE
            restart_ended()
            time.sleep(0.1)
        elapsed = time.monotonic() - began
        return _outcome(catalog, receiver, jobs_count, dict(killed), at_work, freezes, restarts, elapsed)
    finally:
        for process in alive.values():
            process.kill()
            process.join()
        receiver.close()
        catalog.close()


def _patiently(call: Callable[[], Result]) -> Result:
    """Return the result of a call to the database, which may have been killed a moment ago."""
    give_up = time.monotonic() + RECOVERY
    while True:
        try:
            return call()
        except SongprintError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def _pool_children(process: BaseProcess) -> list[int]:
    """The ids of the processes in the pools of a server."""
    found = []
    for each in descendants(process.pid or 0):
        with suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes():
                found.append(each)
    return found


def _freeze(process: BaseProcess) -> threading.Timer:
    """Stop a process and continue it after its lease has expired."""
    assert process.pid
    os.kill(process.pid, signal.SIGSTOP)
    thaw = threading.Timer(1.5 * LEASE, _thaw, (process,))
    thaw.daemon = True
    thaw.start()
    return thaw


def _thaw(process: BaseProcess) -> None:
    with suppress(ProcessLookupError, ValueError):  # the process was killed meanwhile
        if process.pid and process.is_alive():
            os.kill(process.pid, signal.SIGCONT)


def _outcome(
    catalog: Catalog,
    receiver: Receiver,
    count: int,
    killed: dict[str, int],
    at_work: int,
    freezes: int,
    restarts: int,
    elapsed: float,
) -> Outcome:
    queue, owed = jobs.Jobs(catalog.database), deliveries.Deliveries(catalog.database)
    found = queue.find(limit=10 * count)
    billed = usage.Usage(catalog.database).by_day()
    received = {job_id: list(callbacks) for job_id, callbacks in receiver.received.items()}
    return Outcome(
        jobs=count,
        kills=killed,
        killed_at_work=at_work,
        freezes=freezes,
        restarts=restarts,
        states=queue.counts(),
        most_attempts=max(job.attempts for job in found),
        callbacks=sum(map(len, received.values())),
        ended_twice=sum(len(set(callbacks)) > 1 for callbacks in received.values()),
        without_callback=sum(job.id not in received for job in found),
        expected=sum(len(owed.of_job(job.id)) for job in found),
        deliveries=owed.counts(),
        billed=sum(used.jobs for used in billed),
        seconds_billed=sum(used.seconds for used in billed),
        elapsed=round(elapsed, 1),
    )


def main() -> int:
    parser = program.parser(__doc__, seed=1)
    parser.add_argument("--jobs", type=int, default=300, help="jobs to submit (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=200, help="processes to kill (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=3, help="workers that run at the same time (default: %(default)s)"
    )
    parser.add_argument(
        "--database",
        default="",
        help=f"URL of an empty database on a server, or {' or '.join(SERVERS)} to start one. Default: SQLite.",
    )
    parser.add_argument(
        "--kill",
        type=lambda text: text.split(","),
        default=["workers"],
        help=f"what to kill, separated by commas: {', '.join(KINDS)} (default: workers)",
    )
    parser.add_argument(
        "--scan-seconds",
        type=float,
        default=SCAN_SECONDS,
        help="duration of a scan; make it longer if few kills meet a running job (default: %(default)s)",
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop killing after this time")
    given = parser.parse_args()
    if not set(given.kill) <= set(KINDS) or ("database" in given.kill and given.database not in SERVERS):
        parser.error(f"--kill takes {', '.join(KINDS)}; database needs --database {' or '.join(SERVERS)}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(DatabaseServer(given.database)) if given.database in SERVERS else None
        outcome = torture(
            folder / "library",
            jobs_count=given.jobs,
            kills=given.kills,
            workers=given.workers,
            database=server.url if server else given.database,
            seed=given.seed,
            kinds=given.kill,
            server=server,
            scan_seconds=given.scan_seconds,
            seconds=60 * given.minutes,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    print(json.dumps(asdict(outcome), indent=1))
    for problem in outcome.problems():
        print(f"PROBLEM: {problem}", file=sys.stderr)
    return bool(outcome.problems())


if __name__ == "__main__":
    sys.exit(main())
