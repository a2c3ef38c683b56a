"""The progress of `add`: a bar on a terminal, a line now and then elsewhere, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from songprint.cli.output import console, counted, duration, say

if TYPE_CHECKING:
    from songprint.types import Progress

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def shown(verb: str, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Give a function that shows each `Progress` it is called with.

    The speed is seconds of music per second; the remaining time follows from the bytes still to read,
    because the files have not been opened yet and bytes are all that is known of them.
    """
    if quiet:
        yield lambda progress: None
    elif sys.stderr.isatty():
        with _bar(verb) as show:
            yield show
    else:
        yield _lines(verb)


@contextmanager
def _bar(verb: str) -> Iterator[Callable[[Progress], None]]:
    from rich import progress as rich

    columns = (
        rich.TextColumn("{task.description}"), rich.BarColumn(), rich.TextColumn("{task.fields[status]}"),
    )
    with rich.Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task(verb, total=None, status="")

        def show(progress: Progress) -> None:
            bar.update(task, total=max(1, progress.bytes_total), completed=progress.bytes_done,
                       status=status(progress))

        yield show


def _lines(verb: str) -> Callable[[Progress], None]:
    last = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{verb}: {status(progress)}")

    return show


def status(progress: Progress) -> str:
    """`12 of 340 files  512x real time  0:41 left`"""
    parts = [f"{progress.files_done:,} of {counted(progress.files_total, 'file')}"]
    if progress.elapsed > 0 and progress.audio_seconds:
        parts.append(f"{progress.audio_seconds / progress.elapsed:,.0f}x real time")
    if 0 < progress.bytes_done <= progress.bytes_total:
        left = progress.elapsed * (progress.bytes_total / progress.bytes_done - 1)
        parts.append(f"{duration(left)} left")
    return "  ".join(parts)
