"""The progress of long commands on stderr: a bar on a terminal, otherwise a line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from songprint.cli.output import console, counted, duration, position, printable, say

if TYPE_CHECKING:
    from songprint.types import Progress, ScanProgress

SECONDS_BETWEEN_LINES = 10.0
Step = TypeVar("Step")  # Progress, ScanProgress, or recordings done and in total


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
        lambda progress: (progress.fraction or 0.0, None if progress.fraction is None else 1.0),
        quiet=quiet,
        news=_Found().lines,
    ) as show:
        yield show


@contextmanager
def counting(verb: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that displays how many of all recordings are done."""

    def describe(step: tuple[int, int]) -> str:
        return f"{step[0]:,} of {counted(step[1], 'recording')}"

    with _displayed(verb, verb, describe, lambda step: (step[0], max(1, step[1])), quiet=quiet) as show:
        yield lambda done, total: show((done, total))


class _Found:
    """The segments that became final, each printed once."""

    def __init__(self) -> None:
        self._count = 0

    def lines(self, progress: ScanProgress) -> list[str]:
        """`found 0:42.0 - 3:20.5  Artist - Title` for each new segment."""
        if progress.timeline is None or progress.finished:  # the whole timeline is printed instead
            return []
        new = progress.timeline.segments[self._count :]
        self._count += len(new)
        return [
            f"found {position(each.interval.start)} - {position(each.interval.end)}  {each.recording.name}"
            for each in new
        ]


def scan_status(progress: ScanProgress) -> str:
    """`12:00 of 1:00:00  12 segments so far  180x real time  0:16 left`"""
    done, total = progress.work
    parts = [
        duration(done) + (f" of {duration(total)}" if total else ""),
        f"{counted(progress.segments, 'segment')} so far",
    ]
    if progress.elapsed > 0:
        speed = done / progress.elapsed
        parts.append(f"{speed:,.0f}x real time")
        if total and done >= total and not progress.finished:
            parts.append("completing the last songs")
        elif total and speed:
            parts.append(f"{duration((total - done) / speed)} left")
    return "  ".join(parts)


@contextmanager
def _displayed(
    label: str,
    subject: str,
    describe: Callable[[Step], str],
    amounts: Callable[[Step], tuple[float, float | None]],
    *,
    quiet: bool,
    news: Callable[[Step], list[str]] = lambda progress: [],
) -> Iterator[Callable[[Step], None]]:
    """Display a bar with the label, or lines that start with the subject. `amounts` returns (done, total or None).

    `news` returns lines to print once, above the bar.
    """
    if quiet:
        yield lambda progress: None
    elif sys.stderr.isatty():
        from rich import progress as rich

        columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.TextColumn("{task.fields[status]}"))
        with rich.Progress(*columns, console=console(sys.stderr), transient=True) as bar:
            task = bar.add_task(label, total=None, status="")

            def move(progress: Step) -> None:
                for line in news(progress):
                    bar.console.print(printable(line))
                done, total = amounts(progress)
                bar.update(task, total=total, completed=done, status=describe(progress))

            yield move
    else:
        yield _lines(subject, describe, news)


def _lines(subject: str, describe: Callable[[Step], str], news: Callable[[Step], list[str]]) -> Callable[[Step], None]:
    last = time.monotonic()

    def show(progress: Step) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            for line in (*news(progress), describe(progress)):
                say(f"{subject}: {line}")

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
