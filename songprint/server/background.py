"""Workers that a server starts for its jobs: processes of their own, started again if they die."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from songprint.processes import child
from songprint.server.pool import Opening

log = logging.getLogger(__name__)

AGAIN = (1.0, 60.0)  # seconds before a worker that died is started again: at first, at most
LASTED = 60.0  # seconds after which it is no worker that cannot start
PATIENCE = 20.0  # seconds for giving its job back when the server stops


class Background:
    """`size` workers, until `close`."""

    def __init__(self, opening: Opening, size: int) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep_working, args=(opening,), name=f"songprint-jobs-{number}", daemon=True)
            for number in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Have the workers give back what they are at, and end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _keep_working(self, opening: Opening) -> None:
        pause = AGAIN[0]
        while not self._stop.is_set():
            process, pipe = child.start(_work, opening, needs_main=child.defined_in_main(opening.encoders))
            if self._watched(process, LASTED):
                pause = AGAIN[0]
                self._watched(process, None)
            if self._stop.is_set():
                _end(process, pipe)
                return
            pipe.close()
            log.error("a worker ended by itself (status %s); it is started again in %.0f s", process.exitcode, pause)
            self._stop.wait(pause)
            pause = min(2 * pause, AGAIN[1])

    def _watched(self, process: BaseProcess, seconds: float | None) -> bool:
        """Whether it still works after so many seconds; without them, watch until it ends or is to end."""
        waited = 0.0
        while process.is_alive() and not self._stop.is_set() and (seconds is None or waited < seconds):
            self._stop.wait(0.2)
            waited += 0.2
        return process.is_alive()


def _end(process: BaseProcess, pipe: Connection) -> None:
    pipe.close()  # which it notices
    process.join(PATIENCE)
    process.kill()
    process.join()


# What follows runs in the process.


def _work(pipe: Connection, opening: Opening) -> None:
    from songprint.jobs import worker
    from songprint.library import Library
    from songprint.server.tencent import results

    logging.basicConfig(level="WARNING", format="songprint: %(message)s")
    logging.getLogger("songprint").setLevel(opening.settings.log_level.upper())
    stop = threading.Event()

    def listen() -> None:
        with suppress(EOFError, OSError):
            pipe.recv()
        stop.set()

    threading.Thread(target=listen, daemon=True).start()
    with Library(opening.path, encoder=opening.encoders or None, settings=opening.settings) as library:
        builders = results.builders(opening.settings.server.app_id)
        worker.run(library, opening.settings, stop=stop, builders=builders)
