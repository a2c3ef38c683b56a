"""Long work in several processes, with a line now and then that says how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

LINES = 60  # at most, over the whole work


def work_off(function: Callable[[tuple], float], jobs: Sequence[tuple], processes: int | None) -> None:
    """Call the function with each job. It returns the seconds of sound that it has dealt with."""
    began, done, every = time.monotonic(), 0.0, max(1, -(-len(jobs) // LINES))
    with ProcessPoolExecutor(processes) as pool:
        for number, seconds in enumerate(pool.map(function, jobs, chunksize=4), 1):
            done += seconds
            if number % every == 0 or number == len(jobs):
                print(
                    f"{number}/{len(jobs)}: {done / 3600:.1f} h, {done / (time.monotonic() - began):.0f}x real time",
                    file=sys.stderr,
                    flush=True,
                )
