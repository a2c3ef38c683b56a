"""The progress of `add` and `scan` on stderr: a bar on a terminal, otherwise a line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from songprint.cli.output import console, counted, duration, printable, say

if TYPE_CHECKING:
    from songprint.types import Progress, ScanProgress

SECONDS_BETWEEN_LINES = 10.0
Step = TypeVar("Step")  # Progress or ScanProgress


@contextmanager
def shown(verb: str, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that displays the progress of `add`.

    The remaining time is extrapolated from bytes, because the durations of files that are not opened yet are unknown.
    """
    with _displayed(
        verb, verb, status, lambda progress: (progress.bytes_done, max(1, progress.bytes_total)), quiet=quiet
    ) as show:
        yield show


@contextmanager
def scanning(name: str, *, quiet: bool) -> Iterator[Callable[[ScanProgress], None]]:
    """Yield a function that displays the progress of a scan. The bar needs a file that contains its duration."""
    with _displayed(
        printable(Path(name).name),
        f"scanning {name}",
        scan_status,
        lambda progress: (progress.seconds_done, progress.seconds_total),
        quiet=quiet,
    ) as show:
        yield show


def scan_status(progress: ScanProgress) -> str:
    """`12:00 of 1:00:00  12 segments so far  180x real time  0:16 left`"""
    total = progress.seconds_total
    parts = [
        duration(progress.seconds_done) + (f" of {duration(total)}" if total else ""),
        f"{counted(progress.segments, 'segment')} so far",
    ]
    if progress.elapsed > 0:
        speed = progress.seconds_done / progress.elapsed
        parts.append(f"{speed:,.0f}x real time")
        if total and speed:
            parts.append(f"{duration((total - progress.seconds_done) / speed)} left")
    return "  ".join(parts)


@contextmanager
def _displayed(
    label: str,
    subject: str,
    describe: Callable[[Step], str],
    amounts: Callable[[Step], tuple[float, float | None]],
    *,
    quiet: bool,
) -> Iterator[Callable[[Step], None]]:
    """Display a bar with the label, or lines that start with the subject. `amounts` returns (done, total or None)."""
    if quiet:
        yield lambda progress: None
    elif sys.stderr.isatty():
        from rich import progress as rich

        columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.TextColumn("{task.fields[status]}"))
        with rich.Progress(*columns, console=console(sys.stderr), transient=True) as bar:
            task = bar.add_task(label, total=None, status="")

            def move(progress: Step) -> None:
                done, total = amounts(progress)
                bar.update(task, total=total, completed=done, status=describe(progress))

            yield move
    else:
        yield _lines(subject, describe)


def _lines(subject: str, describe: Callable[[Step], str]) -> Callable[[Step], None]:
    last = time.monotonic()

    def show(progress: Step) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{subject}: {describe(progress)}")

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
