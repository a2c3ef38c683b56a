"""Child processes of the server with the library open: for requests, and for jobs and stations.

Processes of their own for identifying, adding and drawing keep the server responsive, and a decoder that crashes or
hangs on a hostile file only takes down its own process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from songprint.jobs import worker
from songprint.processes import child, logs, pool
from songprint.processes.pool import Pool
from songprint.server.tencent import results

if TYPE_CHECKING:
    from songprint.config import Settings
    from songprint.encoders.contract import Encoder
    from songprint.library import Library

GRACE = 20.0  # seconds that job workers get to release their jobs when the server stops


@dataclass(frozen=True)
class Opening:
    """How a child process opens the library."""

    path: Path
    encoders: tuple[Encoder, ...]  # empty for the shipped ones
    settings: Settings

    def pool(self, *, size: int, room: int, name: str, warm_up: Callable[[Library], object] | None = None) -> Pool:
        """A pool whose calls get the open library as first argument."""
        return Pool(
            partial(_open_library, self),
            size=size,
            room=room,
            name=name,
            warm_up=warm_up,
            needs_main=child.defined_in_main(self.encoders),
            memory_limit=self.settings.memory_limit,
        )

    def job_workers(self, size: int) -> Pool:
        """A pool that runs jobs and follows stations until it is closed; then other workers can have them.

        Workers limit the memory of each job themselves.
        """
        workers = Pool(
            partial(_open_library, self),
            size=size,
            name="jobs",
            grace=GRACE,
            needs_main=child.defined_in_main(self.encoders),
        )
        workers.keep_running(run_jobs, settings=self.settings)
        return workers


# The rest runs in the child processes.


def _open_library(opening: Opening) -> Library:
    from songprint.library import Library  # loads the model runtime, which only the children need

    return Library(opening.path, encoder=opening.encoders or None, settings=opening.settings)


def run_jobs(library: Library, settings: Settings) -> None:
    from songprint.stations import follower  # loads the scanner, which only the children need

    logs.set_up(settings.log_level)
    builders = results.builders(settings.server.app_id)
    following = threading.Thread(
        target=follower.run, args=(library, settings, pool.stop_requested), name="songprint-stations"
    )
    following.start()
    try:
        worker.run(library, settings, stop=pool.stop_requested, builders=builders)
    finally:
        following.join()
