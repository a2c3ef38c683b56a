"""A worker: jobs from their claim to their callback, and errors on the way."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import toy
from support.children import environment
from support.jobs import URL, FakeScan, Receiver, let_time_pass, post

import songprint
from songprint.accounts.vault import Vault
from songprint.config import ServerSettings, Settings
from songprint.errors import AudioError, FetchError
from songprint.formats import objects
from songprint.ingest import add
from songprint.jobs import worker
from songprint.jobs.deliveries import Deliveries
from songprint.jobs.inputs import Inputs
from songprint.jobs.jobs import MAX_ATTEMPTS, Job, Jobs
from songprint.jobs.usage import Usage
from songprint.kinds import open_store
from songprint.outside.places import Outside
from songprint.types import ScanProgress

PLACE = {"type": "cos", "bucket": "results-125", "region": "ap-nanjing", "dir": "/common/test/"}


class World:
    """Inputs that are available at once, and stored results."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []  # to raise instead of giving an input, one after the other
        self.write_failures: list[Exception] = []
        self.shelf: dict[str, bytes] = {}
        self.folders: set[Path] = set()
        self.fetching: Callable[[Callable, threading.Event], None] | None = None

    @property
    def outside(self) -> Outside:
        return Outside(self.read, self.write, post)

    def read(self, location, target: Path, on_bytes, stop: threading.Event) -> Path:
        self.folders.add(target.parent)
        if self.failures:
            raise self.failures.pop(0)
        if self.fetching:
            self.fetching(on_bytes, stop)
        if location["type"] == "file":
            return Path(location["path"])
        target.write_text(location["url"])
        return target

    def write(self, place, key: str, content: bytes) -> None:
        if self.write_failures:
            raise self.write_failures.pop(0)
        self.shelf[key] = content


@pytest.fixture
def world(monkeypatch) -> World:
    monkeypatch.setattr(
        objects,
        "timeline_object",
        lambda timeline: {
            "source": timeline.source,
            "duration": timeline.duration,
            "warnings": list(timeline.warnings),
        },
        raising=False,
    )
    monkeypatch.setattr(worker, "HEARTBEAT", 0.2)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(worker, "_WRITE_WAITS", (0.01, 0.01))
    return World()


@pytest.fixture
def database(store):
    return store.catalog.database


@pytest.fixture
def jobs(database, store) -> Jobs:
    return Jobs(database, Vault(database, store.path))


@contextmanager
def working(
    library: FakeScan, world: World, settings: Settings | None = None, **more: object
) -> Iterator[threading.Event]:
    """A worker in a thread; setting the event ends it."""
    stop = threading.Event()
    thread = threading.Thread(
        target=worker.run,
        args=(library, settings or Settings()),
        kwargs={"stop": stop, "outside": world.outside, **more},
    )
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.02)


def test_a_job_is_fetched_scanned_and_reported(store, database, jobs, world):
    library = FakeScan(store)
    with Receiver() as receiver, working(library, world):
        job_id = jobs.submit(URL, {"callback": {"url": receiver.url, "style": "standard"}}, key_id="SPme").id
        job = jobs.wait(job_id, 10)
        until(lambda: receiver.received)
    assert (job.state, job.seconds, job.progress) == ("finished", 30.0, 1.0)
    assert job.result == {"source": "mix.mp3", "duration": 30.0, "warnings": []}
    assert library.scanned == [URL["url"]]
    assert json.loads(receiver.received[0].body)["result"] == job.result
    assert [(used.key, used.seconds) for used in Usage(database).by_day()] == [("SPme", 30.0)]
    assert not any(folder.exists() for folder in world.folders)


def test_a_worker_writes_the_files_of_the_index_after_changes(store, songs, world, monkeypatch):
    monkeypatch.setattr(worker, "UPKEEP_SECONDS", 0.05)
    with open_store(store.path, encoder=toy.ToyEncoder(), settings=Settings(exact_limit=2)) as large:

        def files() -> set[Path]:
            return {path for path in (large.path / "index").rglob("*") if path.suffix == ".faiss"}

        add.add(store, songs[:3], workers=1)  # by a process that keeps everything in memory
        assert not files()
        with working(FakeScan(large), world):
            until(files)
            large.refresh()
            assert large.identity.searched == 3


def test_progress_leaves_room_for_the_result_and_contains_new_segments_once(jobs):
    from songprint.formats.objects import timeline_object
    from songprint.jobs.job import to_text
    from songprint.types import Interval, Kind, Recording, ScanProgress, Segment, Tags, Timeline

    jobs.submit(URL)
    job = jobs.claim("worker")
    heart = worker.Heart(jobs, job, 60.0, threading.Event(), 3600.0, 3600.0)
    recording = Recording(1, Tags("Song"), 60.0, "", "", "")
    segment = Segment(recording, Kind.RECORDING, 99.0, Interval(1, 9), Interval(0, 8))
    so_far = Timeline([segment], [], 100.0, {}, searched=1, elapsed=1.0, complete=False)
    heart.scanned(ScanProgress(100.0, 100.0, 1, 1.0, so_far))
    assert 0.5 < heart._progress < 0.95
    found = heart._take_partial()
    assert found["source"] == "mix.mp3" and to_text(found) and len(found["segments"]) == 1
    assert found == timeline_object(so_far) | {"source": "mix.mp3"} and heart._take_partial() is None
    heart.scanned(ScanProgress(100.0, 100.0, 1, 1.0, so_far, finished=True))
    assert 0.95 < heart._progress < 1.0


def test_progress_is_stored_while_a_job_runs(store, jobs, world):
    with working(FakeScan(store, steps=range(20), pace=0.1), world):
        job = jobs.submit(URL)
        seen = set()
        while not (job := jobs.wait(job.id, 5, seen=job)).ended:
            seen.add(job.progress)
    assert len(seen) > 3 and all(0 <= progress <= 1 for progress in seen)


def test_a_cancelled_scan_is_aborted_within_a_heartbeat(store, jobs, world):
    library = FakeScan(store, steps=range(1000), pace=0.05)
    with working(library, world):
        long, next_one = jobs.submit(URL, priority=1), jobs.submit(URL)
        until(lambda: jobs.get(long.id).progress > 0.1)
        jobs.cancel(long.id)
        until(lambda: jobs.get(next_one.id).state == "running", seconds=2)
        assert jobs.get(long.id).state == "cancelled"


def test_a_cancelled_download_is_stopped(store, jobs, world):
    def slow(on_bytes, stop):
        for count in range(1000):
            on_bytes(count, 1000)
            if stop.wait(0.05):
                raise FetchError("the download was stopped", "cancelled")

    world.fetching = slow
    with working(FakeScan(store), world):
        job = jobs.submit(URL)
        until(lambda: jobs.get(job.id).progress > 0)
        jobs.cancel(job.id)
        until(lambda: not any((folder / "input").exists() for folder in world.folders))
        assert jobs.get(job.id).state == "cancelled"


def test_a_stopped_worker_releases_its_job_at_once(store, jobs, world):
    with working(FakeScan(store, steps=range(1000), pace=0.05), world) as stop:
        job = jobs.submit(URL)
        until(lambda: jobs.get(job.id).progress > 0.1)
        began = time.monotonic()
        stop.set()
        until(lambda: jobs.get(job.id).state == "waiting")
    assert time.monotonic() - began < 2
    assert jobs.claim("another").attempts == 1


def test_a_worker_that_lost_its_lease_changes_nothing(store, database, jobs, world):
    with working(FakeScan(store, steps=range(1000), pace=0.05), world):
        job = jobs.submit(URL)
        until(lambda: jobs.get(job.id).progress > 0.1)
        let_time_pass(database, 3600)  # as if the machine had slept
        other = jobs.claim("other")
        if other is None:  # a heartbeat came first
            let_time_pass(database, 3600)
            other = jobs.claim("other")
        until(lambda: not any((folder / "input").exists() for folder in world.folders))
        assert jobs.heartbeat(other, 0.5)


@pytest.mark.parametrize(
    ("failure", "code", "state"),
    [
        (FetchError("example.org answers with status 404", "input_not_found"), "input_not_found", "failed"),
        (FetchError("example.org takes too long", "input_timeout", retry=True), "input_timeout", "waiting"),
        (FetchError("the URL is refused", "input_refused"), "input_refused", "failed"),
        (RuntimeError("a bug"), "internal", "waiting"),
    ],
)
def test_errors_of_fetching_are_reported(store, jobs, world, caplog, failure, code, state):
    world.failures = [failure]
    with working(FakeScan(store), world):
        job_id = jobs.submit(URL).id
        until(lambda: jobs.get(job_id).error_code)
    job = jobs.get(job_id)
    assert (job.error_code, job.state) == (code, state)
    assert job.error == str(failure) if code != "internal" else "a bug" not in job.error and "RuntimeError" in job.error


def test_unreadable_audio_is_reported_without_paths_of_the_machine(store, jobs, world):
    library = FakeScan(store)

    def scan(path, **more):
        raise AudioError(f"cannot read {path}: it is text, not audio")

    library.scan = scan
    with working(library, world):
        job = jobs.wait(jobs.submit(URL).id, 10)
    assert (job.error_code, job.error) == ("input_unreadable", "cannot read mix.mp3: it is text, not audio")


def test_an_input_that_is_too_long_is_refused_during_the_scan(store, jobs, world):
    settings = Settings(server=ServerSettings(max_duration=36.0))
    with working(FakeScan(store, steps=range(1000)), world, settings):
        job = jobs.wait(jobs.submit(URL).id, 10)
    assert job.error_code == "input_too_large"
    assert "longer than the 0.01 hours" in job.error


def test_an_input_that_needs_too_much_memory_fails_its_job_at_once(store, jobs, world):
    library = FakeScan(store)

    def scan(path, **more):
        raise MemoryError

    library.scan = scan
    with working(library, world):
        job = jobs.wait(jobs.submit(URL).id, 10)
    assert (job.state, job.error_code, job.attempts) == ("failed", "input_too_large", 1)
    assert "not enough memory for it (see the setting memory_limit)" in job.error


def test_a_worker_releases_memory_after_every_job(store, jobs, world, monkeypatch):
    released = []
    monkeypatch.setattr(worker.memory, "release", lambda: released.append(jobs.counts()["running"]))
    with working(FakeScan(store), world):
        jobs.wait(jobs.submit(URL).id, 10)
        world.failures.append(ValueError("a bug"))
        jobs.submit(URL)
        until(lambda: len(released) == 2)
    assert released == [0, 0]


def test_a_scan_that_takes_too_long_fails_its_job(store, jobs, world):
    library = FakeScan(store)

    def scan(path, *, on_progress, **more):
        while True:
            on_progress(ScanProgress(1.0, None, 0, 0.0))
            time.sleep(0.01)

    library.scan = scan
    with working(library, world, Settings(server=ServerSettings(job_timeout=0.2))):
        job = jobs.wait(jobs.submit(URL).id, 10)
    assert (job.state, job.error_code) == ("failed", "input_too_large")
    assert job.error == "scanning the input took more than 0.2 s"


def test_a_scan_that_never_returns_fails_its_job_and_ends_the_process(store, jobs, world, monkeypatch):
    library, ended = FakeScan(store), threading.Event()
    monkeypatch.setattr(worker, "_STALLED_SECONDS", 0.1)
    monkeypatch.setattr(worker, "_exit", lambda status: ended.set())

    def scan(path, **more):
        ended.wait(10)
        raise AudioError("the process has ended")

    library.scan = scan
    with working(library, world):
        job = jobs.wait(jobs.submit(URL).id, 10)
        assert ended.wait(10)
    assert (job.state, job.error_code) == ("failed", "input_too_large")
    assert "made no progress for 0 s. Convert it to another format" in job.error


def test_the_result_is_written_to_the_output_of_the_job(store, jobs, world):
    world.write_failures = [OSError("away"), OSError("away")]
    builders = {"tencent": lambda job: f"{job.state} {job.finished_at[:2]}".encode()}
    with working(FakeScan(store), world, builders=builders):
        plain = jobs.wait(jobs.submit(URL, {"output": PLACE}).id, 10)
        styled = jobs.wait(jobs.submit(URL, {"output": PLACE | {"style": "tencent", "name": "task.json"}}).id, 10)
    assert (plain.state, styled.state, plain.result["warnings"]) == ("finished", "finished", [])
    written = json.loads(world.shelf[f"common/test/{plain.id}.json"])
    assert (written["state"], written["result"]["duration"]) == ("finished", 30.0)
    assert world.shelf["common/test/task.json"] == b"finished 20"


def test_a_failed_write_to_the_output_becomes_a_warning(store, jobs, world):
    world.write_failures = [FetchError("results-125 is not known here", "input_not_found")] * 3
    with working(FakeScan(store), world):
        job = jobs.wait(jobs.submit(URL, {"output": PLACE}).id, 10)
    assert (job.state, job.result["duration"]) == ("finished", 30.0)
    assert job.result["warnings"] == [
        f"the result could not be written to common/test/{job.id}.json: results-125 is not known here"
    ]


def test_an_upload_is_deleted_after_its_job(store, database, jobs, world, tmp_path):
    def upload(name: str) -> tuple[Path, str]:
        path = tmp_path / name
        path.write_text("music")
        return path, jobs.submit({"type": "file", "path": str(path), "name": "my.mp3"}).id

    finished, cancelled = upload("finished"), upload("cancelled")
    jobs.cancel(cancelled[1])
    forgetful = Settings(server=ServerSettings(keep_inputs=0))
    with working(FakeScan(store), world, forgetful):
        assert jobs.wait(finished[1], 10).result["source"] == "my.mp3"
        until(lambda: not finished[0].exists() and not cancelled[0].exists())

    path, failed = upload("failed")
    with working(FakeScan(store, steps=[RuntimeError("broken")]), world):
        for attempt in range(1, MAX_ATTEMPTS + 1):
            until(lambda attempt=attempt: (job := jobs.get(failed)).attempts == attempt and job.state != "running")
            let_time_pass(database, 3600)
        assert jobs.get(failed).ended and path.exists()  # it may be tried again
    let_time_pass(database, 86400)
    with working(FakeScan(store), world, forgetful):
        until(lambda: not path.exists())
    assert Inputs(store.path, database).of_job(failed) is None


def test_a_fetched_input_is_kept_for_a_while_after_its_job(store, database, jobs, world):
    job_id = jobs.submit({"type": "url", "url": "https://example.org/../Night%20mix.mp3"}).id
    inputs = Inputs(store.path, database)
    with working(FakeScan(store), world):
        jobs.wait(job_id, 10)
    kept = inputs.of_job(job_id)
    assert kept.name == "Night mix.mp3" and kept.read_text() == "https://example.org/../Night%20mix.mp3"
    assert store.path in kept.parents
    let_time_pass(database, 86400)
    with working(FakeScan(store), world):
        until(lambda: not kept.exists())
    assert inputs.of_job(job_id) is None and not kept.parent.exists()


def test_database_errors_do_not_end_a_worker(store, database, jobs, world, monkeypatch, caplog):
    monkeypatch.setattr(worker, "_ERROR_PAUSE", 0.05)
    troubles = [songprint.LibraryError("the database is away"), ZeroDivisionError("a bug")]
    claim = Jobs.claim

    def sometimes(self, *arguments):
        if troubles:
            raise troubles.pop(0)
        return claim(self, *arguments)

    monkeypatch.setattr(Jobs, "claim", sometimes)
    with working(FakeScan(store), world):
        assert jobs.wait(jobs.submit(URL).id, 10).state == "finished"
    assert "the database is away" in caplog.text and "a bug" in caplog.text


def test_a_result_that_cannot_be_stored_fails_the_job_and_the_worker_continues(
    store, database, jobs, world, monkeypatch, caplog
):
    def full(self, *arguments):
        raise songprint.LibraryError("the database takes no more than 16 MB at once")

    monkeypatch.setattr(Jobs, "finish", full)
    with working(FakeScan(store), world):
        job_id = jobs.submit(URL).id
        until(lambda: jobs.get(job_id).error_code)
    job = jobs.get(job_id)
    assert (job.state, job.error_code) == ("waiting", "internal")
    # The message is for the operator: others of its kind contain addresses and paths.
    assert "16 MB" not in job.error and "log of the worker" in job.error
    assert "the database takes no more than 16 MB at once" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_job_can_request_recordings_only(store, jobs, world, monkeypatch):
    opened = []

    def open(path, *, settings):
        opened.append((Path(path), settings.kinds))
        return SimpleNamespace(scan=FakeScan(store, steps=[1]).scan, close=lambda: opened.append("closed"))

    monkeypatch.setattr(songprint, "open", open)
    library = FakeScan(store)
    library.path = store.path
    with working(library, world):
        for options in ({"kinds": ["recording"]}, {"kinds": ["recording"]}, {"kinds": ["recording", "cover"]}, {}):
            assert jobs.wait(jobs.submit(URL, options).id, 10).state == "finished"
    assert opened == [(store.path, ("recording",)), "closed"]
    assert len(library.scanned) == 2


def test_scratch_folders_of_killed_processes_are_removed(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from songprint.jobs import worker\n"
        "with worker.scratch_folder(Path(sys.argv[1])) as path:\n"
        "    (path / 'input').write_text('music'); print(path, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], env=environment(), text=True, stdout=subprocess.PIPE
    ) as child:
        left = Path(child.stdout.readline().strip())
        with worker.scratch_folder(tmp_path) as mine:
            assert (left / "input").exists()  # it lives
            child.kill()
            child.wait()
            with worker.scratch_folder(tmp_path):
                assert not left.exists() and mine.exists()
    assert list(tmp_path.iterdir()) == []


def test_several_workers_share_the_queue(store, database, jobs, world):
    ids = [jobs.submit(URL, {"callback": None}).id for _ in range(30)]
    library = FakeScan(store, steps=range(3))
    with working(library, world, name="a"), working(library, world, name="b"), working(library, world, name="c"):
        done: list[Job] = [jobs.wait(job_id, 20) for job_id in ids]
    assert {job.state for job in done} == {"finished"} and {job.attempts for job in done} == {1}
    assert {job.worker for job in done} == {"a", "b", "c"}
    assert len(library.scanned) == 30
    assert Deliveries(database).counts()["delivered"] == 0
