"""`songprint scan`: print or export the timelines of long recordings."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from songprint.cli import progress
from songprint.cli.commands import FILE, command, open_library, show_failure
from songprint.cli.exporting import Outputs, format_options, show
from songprint.cli.output import position, say
from songprint.cli.program import DONE, FAILED, INTERRUPTED, NO_MATCH, Common
from songprint.errors import SongprintError

if TYPE_CHECKING:
    from songprint import Library
    from songprint.types import Timeline

# Environment variables that NumPy's linear algebra reads when it is imported.
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@command("scan")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)
@format_options
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=str),
    help="Draw the timeline to FILE: PNG, PDF or SVG.",
)
@click.option(
    "--no-resume", is_flag=True, help="Start from the beginning even if a scan of the same file was interrupted."
)
@click.option(
    "--track", type=click.IntRange(min=1), metavar="N", help="Audio track of a file with several. Default: all."
)
def scan(
    common: Common,
    files: Sequence[str],
    formats: Sequence[str],
    outputs: Sequence[str],
    plot: str | None,
    no_resume: bool,
    track: int | None,
) -> int:
    """List the songs in long recordings.

    FILE is a file, or `-` for standard input.

    Prints one line per song with its start and end, the confidence and the part of the song, and one line per gap
    without a song of the library. Ctrl-C prints what was found so far; the same command continues from there.

    Exit status: 0 if every file contains songs, 1 if a file contains none, 2 if a file could not be read.
    """
    writing = Outputs(formats, outputs, files)
    if plot and len(files) > 1:
        raise click.UsageError("--plot takes the timeline of one FILE")
    for (
        variable
    ) in THREAD_VARIABLES:  # the trackers of recordings and covers run in parallel; more threads slow them down
        os.environ.setdefault(variable, "1")
    statuses = []
    with open_library(common) as library:
        for file in files:
            try:
                timeline = _scan(common, library, file, no_resume, track)
            except SongprintError as error:
                show_failure(common, file, error)
                statuses.append(FAILED)
                continue
            show(common, timeline, file, writing)
            if plot:
                _draw(file, timeline, plot)
            if not timeline.complete:
                resume = "" if file == "-" else "; run the same command again to continue"
                say(f"songprint: interrupted: scanned {file} up to {position(timeline.duration)}{resume}")
                return INTERRUPTED
            statuses.append(DONE if timeline else NO_MATCH)
    return max(statuses)


def _scan(common: Common, library: Library, file: str, no_resume: bool, track: int | None) -> Timeline:
    from songprint.scan.resuming import file_of

    if file == "-":
        return library.scan(sys.stdin.buffer, track=track)
    state = file_of(library.store, file)
    if no_resume:
        state.unlink(missing_ok=True)
    with progress.scanning(file, quiet=common.quiet) as show:
        return library.scan(file, resume=state, on_progress=show, track=track)


def _draw(file: str, timeline: Timeline, path: str) -> None:
    from songprint.formats import picture

    levels = None
    if file != "-":  # a pipe cannot be read a second time
        levels = picture.levels_of(file)[: round(timeline.duration * picture.LEVELS_PER_SECOND)]
    picture.timeline(timeline, path, levels)
