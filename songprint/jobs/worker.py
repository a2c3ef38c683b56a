"""A worker: claims jobs one after the other, fetches their inputs, scans them and stores what was found.

While a job runs, a thread says so to the database every two seconds and learns from it that the job was cancelled or
lost; then the scan is broken off at its next step. What a worker was doing when it was killed is done again by
another. Callbacks are sent beside it by threads of their own.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from songprint.accounts.vault import Vault
from songprint.audio import media
from songprint.errors import AudioError, FetchError, SongprintError
from songprint.jobs import scratch
from songprint.jobs.callbacks import Builder, Sender, standard_body
from songprint.jobs.deliveries import Deliveries
from songprint.jobs.inputs import Inputs
from songprint.jobs.jobs import FINISHED, LEASE, Job, Jobs
from songprint.outside import places as world
from songprint.outside.places import Outside

if TYPE_CHECKING:
    from songprint.config import Settings
    from songprint.library import Library
    from songprint.types import ScanProgress, Timeline

log = logging.getLogger(__name__)

HEARTBEAT = 2.0  # seconds; the longest until a cancelled scan is broken off, and a few of a lease
IDLE = 0.5  # seconds between two looks at whether there is a job
_NOTICED = 0.1  # seconds until a worker that is told to stop tells its job
_AFTER_TROUBLE = 2.0  # seconds of rest when the database does not answer
_FETCHING = 0.1  # of the progress is the input on its way
_CLEANING = 60.0  # seconds between two looks for uploads that nobody needs
_WRITE_WAITS = (1.0, 3.0)  # seconds between attempts at writing a result to an object store


class BrokenOff(Exception):
    """Raised inside a scan to end it: the job was cancelled or lost, or this worker is to stop."""


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
    """Work until `stop` is set: then the job at hand is given back at once, and callbacks under way are finished.

    `builders` make the bodies of callbacks by style; "standard" is there already.
    """
    Worker(library, settings, builders=builders, outside=outside, lease=lease, name=name).run(stop)


class Worker:
    """One worker, with what it holds open."""

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
        self._libraries = {library.store.settings.kinds: library}  # by the kinds of match they look for
        self._own = library
        self._settings, self._lease = settings, lease
        self._outside = outside or world.real(settings)
        self._builders = {"standard": standard_body, **(builders or {})}
        self._inputs = Inputs(library.store.path, database)
        self._cleaned = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`."""
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
        sending.start()
        log.info("worker %s is ready", self.name)
        try:
            with scratch.folder() as folder:
                while not stop.is_set():
                    self._turn(folder, stop)
        finally:
            ended.set()
            sending.join()
            for each in self._libraries.values():
                if each is not self._own:
                    each.close()

    def _turn(self, folder: Path, stop: threading.Event) -> None:
        """One job, or a little rest. No trouble ends a worker: a job it had claimed goes to another later."""
        try:
            rest = 0.0 if self.work(folder, stop) else IDLE
        except SongprintError as error:
            log.error("worker %s: %s", self.name, error)
            rest = _AFTER_TROUBLE
        except Exception:
            log.exception("worker %s", self.name)
            rest = _AFTER_TROUBLE
        stop.wait(rest)

    def work(self, folder: Path, stop: threading.Event) -> bool:
        """Do the job whose turn it is; False if there is none."""
        if time.monotonic() - self._cleaned > _CLEANING:
            self._cleaned = time.monotonic()
            self._inputs.remove_old(self._settings.server.keep_inputs)
        job = self.jobs.claim(self.name, self._lease)
        if job is None:
            return False
        log.info("job %s begins (attempt %d)", job.id, job.attempts)
        try:
            with self._heart(job, stop) as heart:
                self._do(job, folder, heart)
        except BrokenOff:
            released = stop.is_set() and self.jobs.release(job)
            log.info("job %s %s", job.id, "is given back" if released else "was cancelled or went to another worker")
        finally:
            scratch.clear(folder)
        if job.input["type"] == "file":
            self._inputs.remove_old(self._settings.server.keep_inputs)
        return True

    def _do(self, job: Job, folder: Path, heart: Heart) -> None:
        path, name = folder / "input", world.name_of(job.input)
        try:
            job = self.jobs.opened(job)
            path = self._outside.read(job.input, path, heart.fetched, heart.broken_off)
            wishes = {} if job.options.get("find_unknown", True) else {"find_unknown": False}
            timeline = self._library(job).scan(path, on_progress=heart.scanned, **wishes)
            result = self._told(job, replace(timeline, source=name), _described(path), heart)
            self._keep(job, path, name)
            ended = self.jobs.finish(job, result, timeline.duration)
        except BrokenOff:
            raise
        except Exception as error:
            heart.check()  # a download that was stopped says so in its own way
            code, message, retry = _judged(error, str(path), name)
            if code == "internal":
                log.exception("job %s", job.id)
            state = self.jobs.fail(job, code, message, retry).state
            log.info("job %s: %s, now it is %s", job.id, message, state)
        else:
            log.info("job %s %s", job.id, "is finished" if ended else "was cancelled or went to another worker")

    def _keep(self, job: Job, path: Path, name: str) -> None:
        """Keep a fetched input for a while: people want to hear what was found in it."""
        if job.input["type"] == "file" or not self._settings.server.keep_inputs:
            return
        try:
            kept = self._inputs.take(path, name=name, within=job.id)
        except OSError as error:  # as when the disk is full: the result is what counts
            log.warning("the input of job %s is not kept: %s", job.id, error)
            return
        if not self.jobs.keep(job, str(kept)):
            self._inputs.remove(kept)

    def _library(self, job: Job) -> Library:
        """The library, opened so that it looks only for the kinds of match that the job asks for."""
        mine = self._own.store.settings.kinds
        asked = job.options.get("kinds") or mine
        kinds = tuple(kind for kind in mine if kind in asked or kind == "recording")
        if kinds not in self._libraries:
            import songprint

            self._libraries[kinds] = songprint.open(self._own.path, settings=replace(self._settings, kinds=kinds))
        return self._libraries[kinds]

    def _told(self, job: Job, timeline: Timeline, described: dict | None, heart: Heart) -> dict:
        """The result, with what the file is made of; written to where the job wants it as well."""
        from songprint.formats.objects import timeline_object

        result = timeline_object(timeline)
        if described:
            result["media"] = described
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

    def _written(self, place: Mapping, name: str, body: bytes, heart: Heart) -> str:
        """Why the result could not be written; empty if it was."""
        key = f"{place.get('dir', '').lstrip('/')}{name}"
        for wait in (*_WRITE_WAITS, None):
            try:
                self._outside.write(place, key, body)
                return ""
            except Exception as error:
                log.warning("writing %s: %s", key, error)
                told = str(error) if isinstance(error, SongprintError) else type(error).__name__
            if wait is None:
                return f"the result could not be written to {key}: {told}"
            heart.broken_off.wait(wait)
            heart.check()

    @contextmanager
    def _heart(self, job: Job, stop: threading.Event) -> Iterator[Heart]:
        heart = Heart(self.jobs, job, stop, self._settings.server.max_duration)
        heart.thread.start()
        try:
            yield heart
        finally:
            heart.done.set()
            heart.thread.join()


class Heart:
    """Keeps the lease of a running job, and carries what happens to it into the scan."""

    def __init__(self, jobs: Jobs, job: Job, stop: threading.Event, max_duration: float) -> None:
        self._jobs, self._job, self._stop, self._max_duration = jobs, job, stop, max_duration
        self._progress = 0.0
        self.broken_off = threading.Event()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._beat, name="songprint-heartbeat", daemon=True)

    def fetched(self, count: int, total: int | None) -> None:
        """The input is on its way: bytes so far, and in all if that is known."""
        self.check()
        if total:
            self._progress = _FETCHING * min(1.0, count / total)

    def scanned(self, step: ScanProgress) -> None:
        """The scan has come so far."""
        self.check()
        if step.seconds_done > self._max_duration:
            raise FetchError(
                f"the input is longer than the {self._max_duration / 3600:g} hours that this server takes",
                "input_too_large",
            )
        if step.seconds_total:
            self._progress = _FETCHING + (1 - _FETCHING) * min(1.0, step.seconds_done / step.seconds_total)

    def check(self) -> None:
        """Raise BrokenOff if the job is to be left."""
        if self.broken_off.is_set():
            raise BrokenOff

    def _beat(self) -> None:
        every = min(HEARTBEAT, self._job.lease.seconds / 4)
        kept = due = time.monotonic()
        while not self.done.wait(_NOTICED):
            now = time.monotonic()
            if self._stop.is_set():
                break
            if now < due:
                continue
            due = now + every
            try:
                if not self._jobs.heartbeat(self._job, self._progress):
                    break
                kept = now
            except SongprintError as error:  # it may come back before the lease ends
                log.warning("heartbeat of job %s: %s", self._job.id, error)
                if time.monotonic() - kept > self._job.lease.seconds:
                    break
        self.broken_off.set()


def _described(path: Path) -> dict | None:
    """What a file is made of; None if its header cannot be read, though its sound could."""
    try:
        return media.describe(path)
    except AudioError:
        return None


def _judged(error: Exception, path: str, name: str) -> tuple[str, str, bool]:
    """Code, message and whether to try again; no message tells a place on this machine."""
    message = str(error).replace(path, name)
    if isinstance(error, FetchError):
        return error.code, message, error.retry
    if isinstance(error, AudioError):
        return "input_unreadable", message, False
    if isinstance(error, SongprintError):
        return "internal", message, True
    return "internal", f"an error inside Songprint ({type(error).__name__}); the log of the worker tells more", True
