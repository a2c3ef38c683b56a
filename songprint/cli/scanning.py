"""`songprint scan`: long recordings become timelines."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from songprint.cli import progress
from songprint.cli.commands import FILE, command, open_library, print_json, show_failure
from songprint.cli.output import position, prepare, say
from songprint.cli.program import DONE, FAILED, INTERRUPTED, NO_MATCH, Common
from songprint.cli.timelines import print_timeline
from songprint.errors import SongprintError

if TYPE_CHECKING:
    from songprint import Library
    from songprint.types import Timeline

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # read when NumPy is imported
# The names of `songprint.formats`, which need not be loaded to show the help; a test says that they are the same
FORMATS = ("json", "jsonl", "csv", "audacity", "cue", "srt", "vtt", "tracklist")


@command("scan")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)
@click.option("--format", "format_name", type=click.Choice(list(FORMATS)), help="Write timelines in this format.")
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there, not to standard output."
)
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=str),
    help="Draw the timeline: how loud it is, what is heard, how sure that is. A PNG, PDF or SVG.",
)
@click.option("--no-resume", is_flag=True, help="Begin anew even if a scan of the same file was interrupted.")
def scan(
    common: Common,
    files: Sequence[str],
    format_name: str | None,
    output: Path | None,
    plot: str | None,
    no_resume: bool,
) -> int:
    """List the songs in long recordings, and when they are heard; `-` reads one from standard input.

    Each line tells when a song starts and ends, how sure that is and which part of the song it is; and where there is
    something that the library does not know. Ctrl-C prints what was found until then; the same command goes on there.

    Exit status: 0 if songs were found in every file, 1 if in one there were none, 2 if one could not be read.
    """
    if output and not format_name:
        raise click.UsageError("--output needs --format, which says what to write")
    if (output or plot) and len(files) > 1:
        raise click.UsageError("--output and --plot take the timeline of one FILE")
    for threads in THREADS:  # two ears compute at once; more threads than that get into each other's way
        os.environ.setdefault(threads, "1")
    statuses = []
    with open_library(common) as library:
        for file in files:
            try:
                timeline = _scanned(common, library, file, no_resume)
            except SongprintError as error:
                show_failure(common, file, error)
                statuses.append(FAILED)
                continue
            show(common, file, timeline, format_name, output)
            if plot:
                _draw(file, timeline, plot)
            if not timeline.complete:
                again = "" if file == "-" else "; give the same command again for the rest"
                say(f"songprint: interrupted: {file} was heard until {position(timeline.duration)}{again}")
                return INTERRUPTED
            statuses.append(DONE if timeline else NO_MATCH)
    return max(statuses)


def _scanned(common: Common, library: Library, file: str, no_resume: bool) -> Timeline:
    from songprint.scan.resuming import file_of

    if file == "-":
        return library.scan(sys.stdin.buffer)
    kept = file_of(library.store, file)
    if no_resume:
        kept.unlink(missing_ok=True)
    with progress.scanning(file, quiet=common.quiet) as show:
        return library.scan(file, resume=kept, on_progress=show)


def _draw(file: str, timeline: Timeline, path: str) -> None:
    from songprint.formats import picture

    levels = None
    if file != "-":  # what came through a pipe is gone
        levels = picture.levels_of(file)[: round(timeline.duration * picture.LEVELS_A_SECOND)]
    picture.timeline(timeline, path, levels)


def show(common: Common, file: str, timeline: Timeline, format_name: str | None, output: Path | None) -> None:
    """The timeline in the format that was asked for, in a file or on standard output."""
    for warning in timeline.warnings:
        say(f"songprint: {file}: {warning}")
    if format_name:
        from songprint import formats

        written = formats.write(timeline, format_name)
        if output:
            output.write_text(written, encoding="utf-8", newline="")
        else:
            prepare(sys.stdout, json=True)
            sys.stdout.write(written)
    elif common.json:
        from songprint.formats.objects import timeline_object

        print_json([timeline_object(timeline)])
    else:
        print_timeline(timeline, file)
    sys.stdout.flush()
