"""ServerState: everything that requests share, opened once and passed to all endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.concurrency import run_in_threadpool

from songprint.accounts.audit import Audit
from songprint.accounts.keys import Keys
from songprint.accounts.limiter import Limiter
from songprint.accounts.vault import Vault
from songprint.config import Settings, usable_cores
from songprint.errors import AudioError
from songprint.jobs.deliveries import Deliveries
from songprint.jobs.inputs import Inputs
from songprint.jobs.jobs import Jobs
from songprint.jobs.usage import Usage
from songprint.jobs.verdicts import Verdicts
from songprint.processes.pool import Crashed, LimitExceeded
from songprint.server import operations
from songprint.server.meter import Meter
from songprint.server.pool import Opening
from songprint.server.rest.uploads import Uploads
from songprint.server.web.sessions import Sessions
from songprint.stations.history import History
from songprint.stations.stations import Stations

if TYPE_CHECKING:
    from songprint.formats import schema
    from songprint.library import Library
    from songprint.processes.pool import Pool
    from songprint.server.metrics import Metrics
    from songprint.server.rest import models

Result = TypeVar("Result")

MOST_QUERY_PROCESSES = 8  # by default; the setting clip_processes may ask for more
OPERATION_SECONDS = 600.0  # that adding one recording or drawing one waveform may take
OPERATIONS_WAITING = 32  # that may wait before further requests are refused
UPLOADS, RECORDINGS = "uploads", "recordings"  # folders in the library: incoming files, and those that were added


@dataclass(frozen=True)
class ServerState:
    """What an endpoint may use."""

    library: Library
    settings: Settings
    keys: Keys
    jobs: Jobs
    usage: Usage
    deliveries: Deliveries
    audit: Audit
    limiter: Limiter
    sessions: Sessions
    meter: Meter
    metrics: Metrics
    uploads: Uploads
    inputs: Inputs
    verdicts: Verdicts
    stations: Stations
    history: History
    queries: Pool  # identifies queries; nothing slower runs there
    additions: Pool  # adds recordings
    operations: Pool  # compares recordings, draws waveforms, cuts files
    background: Pool  # job workers

    @classmethod
    def open(cls, library: Library, settings: Settings, metrics: Metrics) -> ServerState:
        """The state for an open library; starts the processes."""
        database = library.store.catalog.database
        vault, usage = Vault(database, library.path), Usage(database)
        given = tuple(level.given for level in library.store.levels.values() if level.given is not None)
        opening = Opening(library.path, given, settings.single_threaded())
        size = settings.server.clip_processes or min(usable_cores(), MOST_QUERY_PROCESSES)
        waiting = settings.server.max_clips_waiting
        return cls(
            library=library,
            settings=settings,
            keys=Keys(database, vault),
            jobs=Jobs(database, vault),
            usage=usage,
            deliveries=Deliveries(database),
            audit=Audit(database),
            limiter=Limiter(),
            sessions=Sessions(lambda: vault.derived("sessions of the page")),
            metrics=metrics,
            meter=Meter(usage),
            uploads=Uploads(library.path / UPLOADS),
            inputs=Inputs(library.path, database),
            verdicts=Verdicts(database),
            stations=Stations(database, vault),
            history=History(database),
            queries=opening.pool(size=size, room=waiting, name="queries", warm_up=operations.warm_up),
            additions=opening.pool(size=1, room=OPERATIONS_WAITING, name="additions"),
            operations=opening.pool(size=1, room=OPERATIONS_WAITING, name="operations"),
            background=opening.job_workers(settings.server.job_processes),
        )

    @property
    def recordings_folder(self) -> Path:
        """Where uploaded recordings are kept."""
        return self.library.path / RECORDINGS

    async def identify(self, **arguments: Any) -> schema.Report:
        """Run `operations.identify_query` in a process."""
        future = self.queries.submit(
            operations.identify_query, time_limit=self.settings.server.clip_timeout, **arguments
        )
        return await asyncio.wrap_future(future)

    async def run(self, operation: Callable[..., Result], **arguments: Any) -> Result:
        """Run one of the slower operations in a process. Errors name a file without its folder."""
        return await self.run_in(self.operations, operation, **arguments)

    async def run_in(self, pool: Pool, operation: Callable[..., Result], **arguments: Any) -> Result:
        """Run an operation in a process of this pool. Errors name a file without its folder."""
        future = pool.submit(operation, time_limit=OPERATION_SECONDS, **arguments)
        try:
            return await asyncio.wrap_future(future)
        except AudioError as error:
            path = str(arguments.get("path", ""))
            raise type(error)(str(error).replace(path, Path(path).name) if path else str(error)) from error

    async def add_recording(self, path: Path, **arguments: Any) -> models.Added:
        """Run `operations.add_recording` in a process; deletes the file if the process crashes or takes too long."""
        keep, longest = str(self.recordings_folder), self.settings.server.max_recording_duration
        try:
            return await self.run_in(
                self.additions, operations.add_recording, path=str(path), keep=keep, longest=longest, **arguments
            )
        except (Crashed, LimitExceeded):
            await run_in_threadpool(operations.discard_kept, self.library, str(path), keep)
            raise

    def close(self) -> None:
        self.meter.close()
        self.queries.close()
        self.additions.close()
        self.operations.close()
        self.background.close()
