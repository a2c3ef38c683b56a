"""`songprint scan`: print or export the timelines of long recordings."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from songprint.cli import progress
from songprint.cli.commands import FILE, command, open_library, print_json, show_failure
from songprint.cli.output import position, prepare, print_timeline, say
from songprint.cli.program import DONE, FAILED, INTERRUPTED, NO_MATCH, Common
from songprint.errors import SongprintError

if TYPE_CHECKING:
    from songprint import Library
    from songprint.types import Timeline

# Environment variables that NumPy's linear algebra reads when it is imported.
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
# The names in `songprint.formats.FORMATS`, repeated here because importing that module would slow down `--help`.
FORMATS = ("json", "jsonl", "csv", "audacity", "cue", "srt", "vtt", "tracklist")


@command("scan")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)
@click.option("--format", "format_name", type=click.Choice(list(FORMATS)), help="Write the timelines in this format.")
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE instead of standard output."
)
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=str),
    help="Draw the timeline to FILE: PNG, PDF or SVG.",
)
@click.option(
    "--no-resume", is_flag=True, help="Start from the beginning even if a scan of the same file was interrupted."
)
def scan(
    common: Common,
    files: Sequence[str],
    format_name: str | None,
    output: Path | None,
    plot: str | None,
    no_resume: bool,
) -> int:
    """List the songs in long recordings; `-` reads standard input.

    Prints one line per song with its start and end, the confidence and the part of the song, and one line per gap
    without a song of the library. Ctrl-C prints what was found so far; the same command continues from there.

    Exit status: 0 if every file contains songs, 1 if a file contains none, 2 if a file could not be read.
    """
    if output and not format_name:
        raise click.UsageError("--output needs --format")
    if (output or plot) and len(files) > 1:
        raise click.UsageError("--output and --plot take the timeline of one FILE")
    for (
        variable
    ) in THREAD_VARIABLES:  # the trackers of recordings and covers run in parallel; more threads slow them down
        os.environ.setdefault(variable, "1")
    statuses = []
    with open_library(common) as library:
        for file in files:
            try:
                timeline = _scan(common, library, file, no_resume)
            except SongprintError as error:
                show_failure(common, file, error)
                statuses.append(FAILED)
                continue
            show(common, file, timeline, format_name, output)
            if plot:
                _draw(file, timeline, plot)
            if not timeline.complete:
                resume = "" if file == "-" else "; run the same command again to continue"
                say(f"songprint: interrupted: scanned {file} up to {position(timeline.duration)}{resume}")
                return INTERRUPTED
            statuses.append(DONE if timeline else NO_MATCH)
    return max(statuses)


def _scan(common: Common, library: Library, file: str, no_resume: bool) -> Timeline:
    from songprint.scan.resuming import file_of

    if file == "-":
        return library.scan(sys.stdin.buffer)
    state = file_of(library.store, file)
    if no_resume:
        state.unlink(missing_ok=True)
    with progress.scanning(file, quiet=common.quiet) as show:
        return library.scan(file, resume=state, on_progress=show)


def _draw(file: str, timeline: Timeline, path: str) -> None:
    from songprint.formats import picture

    levels = None
    if file != "-":  # a pipe cannot be read a second time
        levels = picture.levels_of(file)[: round(timeline.duration * picture.LEVELS_PER_SECOND)]
    picture.timeline(timeline, path, levels)


def show(common: Common, file: str, timeline: Timeline, format_name: str | None, output: Path | None) -> None:
    """Print the timeline, or write it in the given format to a file or standard output."""
    for warning in timeline.warnings:
        say(f"songprint: {file}: {warning}")
    if format_name:
        from songprint import formats

        content = formats.write(timeline, format_name)
        if output:
            output.write_text(content, encoding="utf-8", newline="")
        else:
            prepare(sys.stdout, json=True)
            sys.stdout.write(content)
    elif common.json:
        from songprint.formats.objects import timeline_object

        print_json([timeline_object(timeline)])
    else:
        print_timeline(timeline, file)
    sys.stdout.flush()
