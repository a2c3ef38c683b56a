"""A worker: claims one job after the other, fetches its input, scans it and stores the result.

While a job runs, a thread sends heartbeats to the database, and aborts the scan when the job was cancelled or its lease
was lost. If a worker is killed, another worker runs its job again. Other threads send the callbacks, and write what is
new in the library to the files of its indexes.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from songprint.accounts.vault import Vault
from songprint.audio import media
from songprint.errors import AudioError, EncoderChanged, FetchError, SongprintError
from songprint.jobs.callbacks import Builder, Sender, standard_body
from songprint.jobs.deliveries import Deliveries
from songprint.jobs.inputs import Inputs
from songprint.jobs.job import FINISHED, Job
from songprint.jobs.jobs import LEASE, Jobs
from songprint.outside import places as world
from songprint.processes import memory, pool

if TYPE_CHECKING:
    from songprint.config import Settings
    from songprint.formats import schema
    from songprint.library import Library
    from songprint.outside.places import Outside
    from songprint.types import ScanProgress, Timeline

log = logging.getLogger(__name__)

HEARTBEAT = 2.0  # seconds between two heartbeats; also the delay until a cancelled scan is aborted
POLL_SECONDS = 0.5  # between two polls for a job
_STOP_SECONDS = 0.1  # until a worker that is to stop aborts its job
_ERROR_PAUSE = 2.0  # seconds after an error of the database
_FETCH_SHARE = 0.1  # fraction of the progress that fetching the input takes
_RESULT_SHARE = 0.02  # fraction of the progress that describing and writing the result takes
# Between two looks whether vectors should move to the files of the indexes. Opening and searching never write them.
UPKEEP_SECONDS = 20.0
# Looks between two of these without a change of the library, in case the process that was writing them was killed.
UPKEEP_TURNS = 15
_CLEANING_INTERVAL = 60.0  # seconds between two searches for inputs to delete
_WRITE_WAITS = (1.0, 3.0)  # seconds between attempts to write a result to an object store
_STALLED_SECONDS = 900.0  # without progress of a scan, until it ends
_exit = os._exit  # replaced in tests
_SCRATCH_PREFIX = "songprint-work-"
_SCRATCH_LOCK = ".lock"  # locked by the process that uses the folder


class Aborted(Exception):
    """Raised in a scan to end it: the job was cancelled, its lease was lost, or the worker stops."""


def run(
    library: Library,
    settings: Settings,
    *,
    stop: threading.Event,
    builders: Mapping[str, Builder] | None = None,
    outside: Outside | None = None,
    lease: float = LEASE,
    name: str = "",
) -> None:
    """Run jobs until `stop` is set. Then the current job is released, and callbacks that are being sent are finished.

    `builders` make the bodies of callbacks, by style, in addition to "standard".
    """
    Worker(library, settings, builders=builders, outside=outside, lease=lease, name=name).run(stop)


class Worker:
    """One worker, with the libraries and queues that it uses."""

    def __init__(
        self,
        library: Library,
        settings: Settings,
        *,
        builders: Mapping[str, Builder] | None = None,
        outside: Outside | None = None,
        lease: float = LEASE,
        name: str = "",
    ) -> None:
        database = library.store.catalog.database
        self.jobs = Jobs(database, Vault(database, library.store.path))
        self.deliveries = Deliveries(database)
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._libraries = {library.store.settings.kinds: library}  # by the kinds of match that they search
        self._own = library
        self._settings, self._lease = settings, lease
        self._outside = outside or world.real(settings)
        self._builders = {"standard": standard_body, **(builders or {})}
        self._inputs = Inputs(library.store.path, database)
        self._cleaned = float("-inf")
        self._outdated = False  # whether the last turn found a library of another encoder

    def run(self, stop: threading.Event) -> None:
        """Run jobs and send callbacks until `stop` is set."""
        server = self._settings.server
        sender = Sender(
            self.jobs,
            self.deliveries,
            self._outside.post,
            self._builders,
            secret=server.callback_key,
            lease=max(self._lease, 2 * server.callback_timeout),
        )
        ended = threading.Event()
        sending = threading.Thread(target=sender.run, args=(ended,), name="songprint-callbacks")
        upkeep = threading.Thread(target=self._keep_up, args=(ended,), name="songprint-upkeep")
        for thread in (sending, upkeep):
            thread.start()
        log.info("worker %s is ready", self.name)
        try:
            with scratch_folder() as folder:
                while not stop.is_set():
                    self._turn(folder, stop)
        finally:
            ended.set()
            for thread in (sending, upkeep):
                thread.join()
            for each in self._libraries.values():
                if each is not self._own:
                    each.close()

    def _keep_up(self, ended: threading.Event) -> None:
        """Write the files of the indexes after changes, until `ended` is set. One process at a time does so."""
        store, seen, unchanged = self._own.store, None, 0
        while not ended.is_set():
            try:
                state = store.catalog.state()
                unchanged = unchanged + 1 if state == seen else 0
                if unchanged % UPKEEP_TURNS == 0:
                    store.tidy()
                seen = state
            except SongprintError as error:  # searches use what is in memory
                log.info("worker %s cannot write the files of the indexes: %s", self.name, error)
            except Exception:
                log.exception("worker %s: a bug while the files of the indexes were written", self.name)
            ended.wait(UPKEEP_SECONDS)

    def _turn(self, folder: Path, stop: threading.Event) -> None:
        """Run one job, or pause. Errors do not end a worker; a job that it had claimed goes to another one later."""
        try:
            pause = 0.0 if self.work(folder, stop) else POLL_SECONDS
        except EncoderChanged as error:  # jobs wait without losing attempts
            if not self._outdated:
                log.error("worker %s waits: %s", self.name, error)
            self._outdated, pause = True, _ERROR_PAUSE
        except SongprintError as error:
            log.error("worker %s: %s", self.name, error)
            pause = _ERROR_PAUSE
        except Exception:
            log.exception("worker %s", self.name)
            pause = _ERROR_PAUSE
        stop.wait(pause)

    def work(self, folder: Path, stop: threading.Event) -> bool:
        """Run the next job. Return False if none is due. Raises EncoderChanged if the library cannot be searched."""
        self._own.store.check_encoders()
        self._outdated = False
        if time.monotonic() - self._cleaned > _CLEANING_INTERVAL:
            self._cleaned = time.monotonic()
            self._inputs.remove_old(self._settings.server.keep_inputs)
        job = self.jobs.claim(self.name, self._lease)
        if job is None:
            return False
        log.info("job %s starts (attempt %d)", job.id, job.attempts)
        try:
            with self._heart(job, stop) as heart:
                self._do(job, folder, heart)
        except Aborted:
            released = stop.is_set() and self.jobs.release(job)
            log.info("job %s %s", job.id, "was released" if released else "was cancelled or went to another worker")
        finally:
            _clear(folder)
            memory.release()
        if job.input["type"] == "file":
            self._inputs.remove_old(self._settings.server.keep_inputs)
        return True

    def _do(self, job: Job, folder: Path, heart: Heart) -> None:
        path, name = folder / "input", world.name_of(job.input)
        try:
            job = self.jobs.opened(job)
            path = self._outside.read(job.input, path, heart.fetched, heart.aborted)
            library = self._library(job)
            with heart.watched(), memory.limited(self._settings.memory_limit):
                timeline = library.scan(
                    path,
                    on_progress=heart.scanned,
                    find_unknown=job.options.get("find_unknown", True),
                    track=job.options.get("track"),
                )
                description = _describe(path)
            warnings = tuple(warning.replace(str(path), name) for warning in timeline.warnings)
            timeline = replace(timeline, source=name, warnings=warnings)
            result = self._result(job, timeline, description, heart)
            self._keep(job, path, name)
            ended = self.jobs.finish(job, result, timeline.duration)
        except Aborted:
            raise
        except EncoderChanged:  # while the job ran: another version has encoded the library again
            self.jobs.release(job)
            raise
        except Exception as error:
            heart.check()  # an aborted download raises an error of its own
            code, message, retry = _explain(error, str(path), name)
            if code == "internal":  # a database that is away needs no traceback, a bug does
                log.error("job %s: %s", job.id, error, exc_info=not isinstance(error, SongprintError))
            state = self.jobs.fail(job, code, message, retry).state
            log.info("job %s: %s; it is %s now", job.id, message, state)
        else:
            log.info("job %s %s", job.id, "finished" if ended else "was cancelled or went to another worker")

    def _keep(self, job: Job, path: Path, name: str) -> None:
        """Keep a fetched input for a while, so that users can listen to the segments."""
        if job.input["type"] == "file" or not self._settings.server.keep_inputs:
            return
        try:
            kept = self._inputs.take(path, name=name, within=job.id)
        except OSError as error:  # such as a full disk; the result is more important
            log.warning("the input of job %s is not kept: %s", job.id, error)
            return
        if not self.jobs.keep(job, str(kept)):
            self._inputs.remove(kept)

    def _library(self, job: Job) -> Library:
        """The library, opened with only the kinds of match that the job requests."""
        own = self._own.store.settings.kinds
        requested = job.options.get("kinds") or own
        kinds = tuple(kind for kind in own if kind in requested or kind == "recording")
        if kinds not in self._libraries:
            import songprint

            self._libraries[kinds] = songprint.open(self._own.path, settings=replace(self._settings, kinds=kinds))
        return self._libraries[kinds]

    def _result(self, job: Job, timeline: Timeline, description: dict[str, Any] | None, heart: Heart) -> dict[str, Any]:
        """The result as JSON with the description of the file, also written to the output that the job names."""
        from songprint.formats.objects import timeline_object

        result: dict[str, Any] = dict(timeline_object(timeline))
        if description:
            result["media"] = description
        place = job.options.get("output")
        if place:
            done = replace(
                job,
                state=FINISHED,
                result=result,
                progress=1.0,
                seconds=timeline.duration,
                finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            )
            body = self._builders[place.get("style", "standard")](done)
            name = place.get("name", "{id}.json").replace("{id}", job.id)
            failure = self._written(place, name, body, heart)
            if failure:
                result["warnings"] = [*result.get("warnings", ()), failure]
        return result

    def _written(self, place: Mapping[str, Any], name: str, body: bytes, heart: Heart) -> str:
        """Write the result to an object store. Return a warning if that failed, else an empty text."""
        key = f"{place.get('dir', '').lstrip('/')}{name}"
        for number in range(len(_WRITE_WAITS) + 1):
            if number:
                heart.aborted.wait(_WRITE_WAITS[number - 1])
                heart.check()
            try:
                self._outside.write(place, key, body)
                return ""
            except Exception as error:
                log.warning("writing %s: %s", key, error)
                reason = str(error) if isinstance(error, FetchError) else type(error).__name__
        return f"the result could not be written to {key}: {reason}"

    @contextmanager
    def _heart(self, job: Job, stop: threading.Event) -> Iterator[Heart]:
        server = self._settings.server
        heart = Heart(self.jobs, job, self._lease, stop, server.max_duration, server.job_timeout)
        heart.thread.start()
        try:
            yield heart
        finally:
            heart.done.set()
            heart.thread.join()


class Heart:
    """Extends the lease of a running job, and aborts the scan when the job was cancelled or lost or takes too long."""

    def __init__(
        self, jobs: Jobs, job: Job, lease: float, stop: threading.Event, max_duration: float, timeout: float
    ) -> None:
        """`lease` in seconds, `max_duration` of the input in seconds, `timeout` of the scan in seconds."""
        self._jobs, self._job, self._lease = jobs, job, lease
        self._stop, self._max_duration, self._timeout = stop, max_duration, timeout
        self._progress = 0.0
        self._found = 0  # segments of the last partial timeline
        self._partial: Timeline | None = None  # not stored yet
        self._scan_began: float | None = None
        self._last_step = 0.0
        self.aborted = threading.Event()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._beat, name="songprint-heartbeat", daemon=True)

    def fetched(self, count: int, total: int | None) -> None:
        """Progress of the download: bytes so far, and total bytes if known."""
        self.check()
        if total:
            self._progress = _FETCH_SHARE * min(1.0, count / total)

    def scanned(self, step: ScanProgress) -> None:
        """Progress of the scan."""
        self.check()
        self._last_step = time.monotonic()
        if overdue := self._overdue():
            raise FetchError(overdue, "input_too_large")
        if step.seconds_done > self._max_duration:
            raise FetchError(
                f"the input is longer than the {self._max_duration / 3600:g} hours that this server accepts",
                "input_too_large",
            )
        if step.fraction is not None:
            self._progress = _FETCH_SHARE + (1 - _FETCH_SHARE - _RESULT_SHARE) * step.fraction
        if step.timeline and len(step.timeline.segments) > self._found:
            self._found, self._partial = len(step.timeline.segments), step.timeline

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the scan that runs inside: it may neither take too long nor stop making progress."""
        self._scan_began = self._last_step = time.monotonic()
        try:
            yield
        finally:
            self._scan_began = None

    def _overdue(self, grace: float = 0.0) -> str:
        """Why the scan has to end, or an empty text."""
        began, now = self._scan_began, time.monotonic()
        if began is None:
            return ""
        if now - began > self._timeout + grace:
            return f"scanning the input took more than {self._timeout:g} s"
        if now - self._last_step > min(_STALLED_SECONDS, self._timeout) + grace:
            return f"scanning the input made no progress for {now - self._last_step:.0f} s"
        return ""

    def check(self) -> None:
        """Raise Aborted if the job was aborted."""
        if self.aborted.is_set():
            raise Aborted

    def _take_partial(self) -> schema.Timeline | None:
        """The timeline so far as JSON, if it has grown since the last call."""
        from songprint.formats.objects import timeline_object

        partial, self._partial = self._partial, None
        return timeline_object(replace(partial, source=world.name_of(self._job.input))) if partial else None

    def _beat(self) -> None:
        every = min(HEARTBEAT, self._lease / 4)
        extended = due = time.monotonic()
        while not self.done.wait(_STOP_SECONDS):
            now = time.monotonic()
            if self._stop.is_set():
                break
            if overdue := self._overdue(grace=every):
                self._end_process(overdue)
            if now < due:
                continue
            due = now + every
            try:
                if not self._jobs.heartbeat(self._job, self._progress, self._take_partial()):
                    break
                extended = now
            except SongprintError as error:  # the database may recover before the lease expires
                log.warning("heartbeat of job %s: %s", self._job.id, error)
                if time.monotonic() - extended > self._lease:
                    break
        self.aborted.set()

    def _end_process(self, reason: str) -> None:
        """Fail the job and end this process: a decoder does not return, and nothing else can stop it."""
        try:
            self._jobs.fail(self._job, "input_too_large", f"{reason}. Convert it to another format", False)
        except SongprintError as error:  # another worker will claim the job
            log.error("job %s: %s", self._job.id, error)
        log.error("job %s: %s; the worker process ends", self._job.id, reason)
        _exit(1)


def _describe(path: Path) -> dict[str, Any] | None:
    """The description of a file; None if its header cannot be read, although its audio could."""
    try:
        return media.describe(path)
    except AudioError:
        return None


def _explain(error: Exception, path: str, name: str) -> tuple[str, str, bool]:
    """Error code, message for the owner of the job, and whether to retry.

    Messages about the library are for operators and stay in the log: they contain paths and addresses.
    """
    message = str(error).replace(path, name)
    if isinstance(error, FetchError):
        return error.code, message, error.retry
    if isinstance(error, AudioError):
        return "input_unreadable", message, False
    if memory.is_lack(error):
        return "input_too_large", f"scanning the input failed: {pool.LACK}", False
    return "internal", f"an error inside Songprint ({type(error).__name__}); see the log of the worker", True


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder in `parent`, by default in $TMPDIR, which is deleted at the end.

    Also deletes the folders of processes that were killed, detected by a lock that each process holds on its folder.
    """
    parent = Path(parent or tempfile.gettempdir())
    _remove_orphans(parent)
    made = Path(tempfile.mkdtemp(prefix=f".{_SCRATCH_PREFIX}", dir=parent))
    path = made.with_name(made.name.removeprefix("."))
    lock = _locked(made / _SCRATCH_LOCK, "w")
    made.rename(path)  # visible to other processes only with its lock
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            lock.close()


def _remove_orphans(parent: Path) -> None:
    for path in parent.glob(f"{_SCRATCH_PREFIX}*"):
        try:
            lock = _locked(path / _SCRATCH_LOCK, "r+")
        except OSError:  # in use, or of another user
            continue
        if lock is not None:
            with lock:
                shutil.rmtree(path, ignore_errors=True)
            log.info("removed %s of a process that was killed", path)


def _locked(file: Path, mode: str) -> IO[str] | None:
    """The file, opened and locked; OSError if it is locked already. None on Windows, where orphans stay."""
    if sys.platform == "win32":
        return None
    import fcntl

    lock = file.open(mode)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise
    return lock


def _clear(folder: Path) -> None:
    """Empty a scratch folder after a job."""
    for entry in os.scandir(folder):
        if entry.name == _SCRATCH_LOCK:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            Path(entry.path).unlink(missing_ok=True)
