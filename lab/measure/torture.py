"""Kills what works off a queue, at random moments, and counts what becomes of the jobs and their callbacks.

    python -m lab.measure.torture --jobs 300 --kills 200

A receiver of callbacks and inputs (it now and then answers with an error or not at all), several workers and a process
that submits jobs, each killed with `kill -9` and started again. Now and then a worker is frozen instead until its lease
has run out, and wakes up in the belief that the job is still its own. The workers are the real ones, with fetching,
leases, heartbeats and callbacks; only what a scan computes is left out, and waits and leases are seconds instead of
minutes. What must hold is told by `Outcome.problems`.
"""

from __future__ import annotations

import argparse
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

from songprint.accounts.vault import Vault
from songprint.config import ServerSettings, Settings
from songprint.errors import DuplicateSession
from songprint.jobs import deliveries, jobs, usage, worker
from songprint.outside import fetch
from songprint.outside.places import Outside
from songprint.store.catalog import Catalog
from songprint.types import Timeline

LEASE = 2.0  # seconds
WAITS = (0.3, 0.5, 0.8) * 10  # seconds between attempts at a callback
STEPS, STEP = 8, 0.02  # of a scan; seconds
SECONDS = 61.0  # that every input is said to have
TROUBLE = 0.1  # share of callbacks that are answered with an error or not at all
FROZEN = 0.15  # share of the hits at workers that freeze instead of killing
PATIENCE = 120.0  # seconds for what is left after the last kill


@dataclass(frozen=True)
class Outcome:
    """What became of it all."""

    jobs: int
    kills: dict[str, int]  # by what was killed
    killed_at_work: int  # kills of a worker that was running a job
    freezes: int  # of workers, for longer than a lease
    states: dict[str, int]
    most_attempts: int  # of one job
    callbacks: int  # that arrived, some of them several times
    told_differently: int  # jobs whose callbacks did not all say the same: they ended more than once
    not_told: int  # jobs of which no callback arrived
    owed: int  # callbacks: one for each job
    deliveries: dict[str, int]  # by state
    billed: int  # jobs in the usage
    seconds_billed: float
    elapsed: float  # seconds

    def problems(self) -> list[str]:
        """What must not be; nothing, if all is well."""
        found = {
            f"{self.states['finished']} of {self.jobs} jobs finished": self.states["finished"] != self.jobs,
            f"there are {sum(self.states.values())} jobs": sum(self.states.values()) != self.jobs,
            f"{self.told_differently} jobs ended more than once": self.told_differently > 0,
            f"{self.not_told} jobs were never told": self.not_told > 0,
            f"{self.owed} callbacks were owed instead of {self.jobs}": self.owed != self.jobs,
            f"callbacks are left over: {self.deliveries}": self.deliveries["delivered"] != self.jobs,
            f"{self.billed} jobs were billed, {self.seconds_billed} s": (
                self.billed != self.jobs or round(self.seconds_billed) != round(self.jobs * SECONDS)
            ),
        }
        return [problem for problem, holds in found.items() if holds]


class Receiver:
    """Gives inputs and takes callbacks."""

    def __init__(self, dice: random.Random) -> None:
        self.told: dict[str, list[str]] = defaultdict(list)  # job -> what each callback said of its end
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.path.encode() * 100
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                luck = dice.random()
                if luck > TROUBLE / 3:  # else it is lost on the way
                    receiver.told[told["id"]].append(f"{told['state']} {told['result']['warnings']}")
                if luck < TROUBLE:
                    if luck < 2 * TROUBLE / 3:
                        return  # no answer, though it may have arrived
                    self.send_response(503)
                else:
                    self.send_response(204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *arguments: None  # connections of those who were killed
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class LightScan:
    """In the place of a library: the catalogue is real, a scan is a number of short rests."""

    def __init__(self, catalog: Catalog) -> None:
        self.store = SimpleNamespace(catalog=catalog, path=catalog.folder, settings=Settings())

    def scan(self, source: Path, *, on_progress: Callable) -> Timeline:
        assert Path(source).stat().st_size > 0
        for step in range(STEPS):
            time.sleep(STEP)
            on_progress(SimpleNamespace(seconds_done=step * SECONDS / STEPS, seconds_total=SECONDS))
        attempt = f"{time.time_ns()}-{random.random()}"  # who ends a job twice gives himself away
        return Timeline([], [], duration=SECONDS, thresholds={}, searched=0, elapsed=0.1, warnings=(attempt,))


def work(folder: Path, database: str) -> None:
    """A worker process."""
    deliveries.WAITS = WAITS
    settings = Settings(server=ServerSettings(allow_private=True, callback_timeout=LEASE / 2))
    inputs = fetch.Rules.of_inputs(settings.server)
    outside = Outside(
        lambda location, target, on_bytes, stop: fetch.download(location["url"], target, inputs, stop=stop).path,
        lambda *arguments: None,
        partial(fetch.post, rules=fetch.Rules.of_callbacks(settings.server)),
    )
    worker.run(
        LightScan(Catalog(folder, database=database)), settings, stop=threading.Event(), outside=outside, lease=LEASE
    )


def submit(folder: Path, database: str, url: str, count: int) -> None:
    """The process that submits: when it is killed, its successor begins anew, and session ids prevent doubles."""
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
    """Run it all in an empty folder, which becomes a library; `database` is the URL of an empty one on a server."""
    began, dice = time.monotonic(), random.Random(seed)
    catalog = Catalog(folder, create=True, database=database)
    queue = jobs.Jobs(catalog.database)
    receiver = Receiver(random.Random(seed + 1))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(  # so that a successor is there in a moment
        ["songprint.jobs.worker", "songprint.outside.fetch", "songprint.formats.objects", "sqlalchemy.dialects.sqlite"]
    )
    tasks = {f"worker {number}": (work, (folder, database)) for number in range(workers)}
    tasks["submitter"] = (submit, (folder, database, receiver.url, jobs_count))
    running: dict[str, BaseProcess] = {}

    def start(name: str) -> None:
        target, arguments = tasks[name]
        running[name] = context.Process(target=target, args=arguments, name=name, daemon=True)
        running[name].start()

    def ended() -> int:
        counts = queue.counts()
        return sum(counts[state] for state in jobs.ENDED)

    killed, at_work, freezes = Counter(), 0, 0
    frozen: dict[str, threading.Timer] = {}
    try:
        for name in tasks:
            start(name)
        while killed.total() < kills:
            # As many kills as jobs ended, so that they meet the work wherever it stands.
            while killed.total() > kills * (ended() + 5) / jobs_count:
                _check_alive(running)
                time.sleep(0.02)
            time.sleep(dice.uniform(0, 0.2))
            name = dice.choice(list(tasks))
            busy = {job.worker.split("-")[-2] for job in queue.find(state=jobs.RUNNING)}
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
    """RuntimeError if a process ended by itself with an error: then there is nothing to wait for."""
    for name, process in running.items():
        if process.exitcode:
            raise RuntimeError(f"{name} ended by itself, with status {process.exitcode}")


def _freeze(process: BaseProcess) -> threading.Timer:
    """Stop a process, and let it go on when its lease has run out."""
    os.kill(process.pid, signal.SIGSTOP)
    thaw = threading.Timer(1.5 * LEASE, _thaw, (process,))
    thaw.daemon = True
    thaw.start()
    return thaw


def _thaw(process: BaseProcess) -> None:
    with suppress(ProcessLookupError, ValueError):  # it was killed meanwhile
        if process.is_alive():
            os.kill(process.pid, signal.SIGCONT)


def _outcome(
    catalog: Catalog, receiver: Receiver, count: int, killed: dict[str, int], at_work: int, freezes: int, elapsed: float
) -> Outcome:
    queue, owed = jobs.Jobs(catalog.database), deliveries.Deliveries(catalog.database)
    found = queue.find(limit=10 * count)
    billed = usage.Usage(catalog.database).by_day()
    told = {job_id: list(said) for job_id, said in receiver.told.items()}
    return Outcome(
        jobs=count,
        kills=killed,
        killed_at_work=at_work,
        freezes=freezes,
        states=queue.counts(),
        most_attempts=max(job.attempts for job in found),
        callbacks=sum(map(len, told.values())),
        told_differently=sum(len(set(said)) > 1 for said in told.values()),
        not_told=sum(job.id not in told for job in found),
        owed=sum(len(owed.of_job(job.id)) for job in found),
        deliveries=owed.counts(),
        billed=sum(used.jobs for used in billed),
        seconds_billed=sum(used.seconds for used in billed),
        elapsed=round(elapsed, 1),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--database", default="", help="URL of an empty database on a server. Default: SQLite.")
    parser.add_argument("--seed", type=int, default=1)
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
