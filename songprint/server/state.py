"""Service: everything that requests share, opened once and passed to all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from songprint.accounts.audit import Audit
from songprint.accounts.keys import Keys
from songprint.accounts.limiter import Limiter
from songprint.accounts.vault import Vault
from songprint.config import Settings, usable_cores
from songprint.jobs.deliveries import Deliveries
from songprint.jobs.inputs import Inputs
from songprint.jobs.jobs import Jobs
from songprint.jobs.usage import Usage
from songprint.jobs.verdicts import Verdicts
from songprint.library import Library
from songprint.processes.pool import Pool
from songprint.server import duties
from songprint.server.meter import Meter
from songprint.server.metrics import Metrics
from songprint.server.pool import Opening
from songprint.server.rest.uploads import Uploads
from songprint.server.web.sessions import Sessions

Result = TypeVar("Result")

MOST_CLIP_PROCESSES = 8
WORK_SECONDS = 600.0  # that adding one recording may take, or drawing one waveform
WORK_ROOM = 32
UPLOADS, RECORDINGS = "uploads", "recordings"  # folders in the library's: what came, and what was added from it


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
    clips: Pool  # identifies queries; slower calls go to the workshop
    workshop: Pool  # adds recordings, compares them, draws waveforms
    background: Pool  # job workers

    @classmethod
    def open(cls, library: Library, settings: Settings, metrics: Metrics) -> ServerState:
        """Around an open library; starts the processes."""
        database = library.store.catalog.database
        vault, usage = Vault(database, library.path), Usage(database)
        given = tuple(level.given for level in library.store.levels.values() if level.given is not None)
        opening = Opening(library.path, given, settings.single_threaded())
        size = settings.server.clip_processes or min(usable_cores(), MOST_CLIP_PROCESSES)
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
            clips=opening.pool(size=size, room=settings.server.max_clips_waiting, name="clips", warm_up=duties.warm),
            workshop=opening.pool(size=1, room=WORK_ROOM, name="workshop"),
            background=opening.job_workers(settings.server.job_processes),
        )

    @property
    def recordings_folder(self) -> Path:
        """Where uploaded recordings are kept."""
        return self.library.path / RECORDINGS

    async def name_clip(self, **arguments: object) -> dict[str, object]:
        """Have a clip named; see `duties.name_clip`."""
        return await asyncio.wrap_future(
            self.clips.submit(duties.name_clip, time_limit=self.settings.server.clip_timeout, **arguments)
        )

    async def work(self, function: Callable[..., Result], **arguments: object) -> Result:
        """Have one of the slower duties done."""
        return await asyncio.wrap_future(self.workshop.submit(function, time_limit=WORK_SECONDS, **arguments))

    def close(self) -> None:
        self.meter.close()
        self.clips.close()
        self.workshop.close()
        self.background.close()
