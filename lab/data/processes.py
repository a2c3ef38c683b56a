"""Run a function over many jobs in several processes, and print progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

PROGRESS_LINES = 60  # printed at most over the whole run


def run_jobs(
    function: Callable[[tuple[Any, ...]], float], jobs: Sequence[tuple[Any, ...]], processes: int | None
) -> None:
    """Call the function with each job; it returns the seconds of audio that it has processed."""
    began, done, every = time.monotonic(), 0.0, max(1, -(-len(jobs) // PROGRESS_LINES))
    with ProcessPoolExecutor(processes) as pool:
        for number, seconds in enumerate(pool.map(function, jobs, chunksize=4), 1):
            done += seconds
            if number % every == 0 or number == len(jobs):
                speed = done / (time.monotonic() - began)
                print(f"{number}/{len(jobs)}: {done / 3600:.1f} h, {speed:.0f}x real time", file=sys.stderr, flush=True)
