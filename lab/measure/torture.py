"""Kill test of the job queue: kills its processes at random moments and counts lost or repeated jobs and callbacks.

    python -m lab.measure.torture --jobs 300 --kills 200

A receiver of callbacks also serves the inputs, and sometimes answers with an error or not at all. Several workers and
a process that submits jobs are killed with `kill -9` and started again. Sometimes a worker is frozen until its lease
has expired, and then continues as if the job were still its own. The workers are the real ones, with fetching, leases,
heartbeats and callbacks; only the computation of a scan is replaced, and waits and leases take seconds instead of
minutes. `Outcome.problems` lists what must never happen.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from lab import program
from songprint.accounts.vault import Vault
from songprint.config import ServerSettings, Settings
from songprint.errors import DuplicateSession
from songprint.jobs import deliveries, jobs, usage, worker
from songprint.jobs.job import RUNNING
from songprint.library import Library
from songprint.outside import fetch
from songprint.outside.places import Outside
from songprint.store.catalog import Catalog
from songprint.types import ScanProgress, Timeline

LEASE = 2.0  # seconds
WAITS = (0.3, 0.5, 0.8) * 10  # seconds between attempts at a callback
STEPS, STEP = 8, 0.02  # progress steps of a scan, and the seconds that each takes
SECONDS = 61.0  # duration reported for every input
TROUBLE = 0.1  # share of callbacks that get an error or no response
FROZEN = 0.15  # share of workers that are frozen instead of killed
PATIENCE = 120.0  # seconds for the remaining jobs after the last kill


@dataclass(frozen=True)
class Outcome:
    """What happened to all jobs and callbacks."""

    jobs: int
    kills: dict[str, int]  # by name of the process
    killed_at_work: int  # kills of workers during a job
    freezes: int  # of workers, for longer than a lease
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
    """HTTP server that serves the inputs and receives the callbacks."""

    def __init__(self, dice: random.Random) -> None:
        self.received: dict[str, list[str]] = defaultdict(list)  # job -> state and warnings in each callback
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.path.encode() * 100
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
    """A library with a real catalogue, whose scans only sleep."""

    def __init__(self, catalog: Catalog) -> None:
        self.store = SimpleNamespace(catalog=catalog, path=catalog.folder, settings=Settings())

    def scan(self, source: Path, *, on_progress: Callable[..., None], find_unknown: bool) -> Timeline:
        assert Path(source).stat().st_size > 0
        for step in range(STEPS):
            time.sleep(STEP)
            on_progress(ScanProgress(step * SECONDS / STEPS, SECONDS, segments=0, elapsed=step * STEP))
        attempt = f"{time.time_ns()}-{random.random()}"  # reveals jobs that end twice
        return Timeline([], [], duration=SECONDS, thresholds={}, searched=0, elapsed=0.1, warnings=(attempt,))


def work(folder: Path, database: str) -> None:
    """Main function of a worker process."""
    deliveries.WAITS = WAITS  # type: ignore[assignment]
    settings = Settings(server=ServerSettings(allow_private=True, callback_timeout=LEASE / 2))
    inputs = fetch.Rules.of_inputs(settings.server)
    outside = Outside(
        lambda location, target, on_bytes, stop: fetch.download(location["url"], target, inputs, stop=stop).path,
        lambda *arguments: None,
        partial(fetch.post, rules=fetch.Rules.of_callbacks(settings.server)),
    )
    worker.run(
        cast(Library, LightScan(Catalog(folder, database=database))),
        settings,
        stop=threading.Event(),
        outside=outside,
        lease=LEASE,
    )


def submit(folder: Path, database: str, url: str, count: int) -> None:
    """Main function of the submitting process. After a kill it starts again; session ids prevent duplicates."""
    catalogue = Catalog(folder, database=database).database
    queue = jobs.Jobs(catalogue, Vault(catalogue, folder))
    for number in range(count):
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
            continue
        time.sleep(0.01)


def torture(
    folder: Path,
    *,
    jobs_count: int,
    kills: int,
    database: str = "",
    workers: int = 3,
    seed: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Run the test in an empty folder, or with the empty `database` at this URL."""
    began, dice = time.monotonic(), random.Random(seed)
    catalog = Catalog(folder, create=True, database=database)
    queue = jobs.Jobs(catalog.database)
    receiver = Receiver(random.Random(seed + 1))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(  # so that new processes start at once
        ["songprint.jobs.worker", "songprint.outside.fetch", "songprint.formats.objects", "sqlalchemy.dialects.sqlite"]
    )
    tasks: dict[str, tuple[Callable[..., None], tuple[object, ...]]] = {
        f"worker {number}": (work, (folder, database)) for number in range(workers)
    }
    tasks["submitter"] = (submit, (folder, database, receiver.url, jobs_count))
    running: dict[str, BaseProcess] = {}

    def start(name: str) -> None:
        target, arguments = tasks[name]
        running[name] = context.Process(target=target, args=arguments, name=name, daemon=True)
        running[name].start()

    def ended() -> int:
        counts = queue.counts()
        return sum(counts[state] for state in jobs.ENDED)

    killed: Counter[str] = Counter()
    at_work, freezes = 0, 0
    frozen: dict[str, threading.Timer] = {}
    try:
        for name in tasks:
            start(name)
        while killed.total() < kills:
            # Kills keep pace with finished jobs, so that they hit every stage of the work.
            while killed.total() > kills * (ended() + 5) / jobs_count:
                _check_alive(running)
                time.sleep(0.02)
            time.sleep(dice.uniform(0, 0.2))
            name = dice.choice(list(tasks))
            busy = {job.worker.split("-")[-2] for job in queue.find(state=RUNNING)}
            if name != "submitter" and dice.random() < FROZEN and not (name in frozen and frozen[name].is_alive()):
                frozen[name] = _freeze(running[name])
                freezes += 1
                continue
            frozen.pop(name, None)
            at_work += str(running[name].pid) in busy
            running[name].kill()
            running[name].join()
            killed[name.split()[0]] += 1
            start(name)
            if killed.total() % 50 == 0:
                say(f"{killed.total()} killed, {ended()} jobs ended")
        owed = deliveries.Deliveries(catalog.database)
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up and (ended() < jobs_count or owed.counts()["delivered"] < jobs_count):
            time.sleep(0.1)
        return _outcome(catalog, receiver, jobs_count, dict(killed), at_work, freezes, time.monotonic() - began)
    finally:
        for process in running.values():
            process.kill()
            process.join()
        receiver.close()
        catalog.close()


def _check_alive(running: dict[str, BaseProcess]) -> None:
    """Raise RuntimeError if a process ended by itself with an error: waiting would be pointless."""
    for name, process in running.items():
        if process.exitcode:
            raise RuntimeError(f"{name} ended by itself, with status {process.exitcode}")


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
    catalog: Catalog, receiver: Receiver, count: int, killed: dict[str, int], at_work: int, freezes: int, elapsed: float
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
    parser.add_argument("--database", default="", help="URL of an empty database on a server. Default: SQLite.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = torture(
            Path(folder) / "library",
            jobs_count=given.jobs,
            kills=given.kills,
            workers=given.workers,
            database=given.database,
            seed=given.seed,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    print(json.dumps(asdict(outcome), indent=1))
    for problem in outcome.problems():
        print(f"PROBLEM: {problem}", file=sys.stderr)
    return bool(outcome.problems())


if __name__ == "__main__":
    sys.exit(main())
