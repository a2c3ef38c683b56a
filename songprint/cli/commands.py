"""The commands, in the order of a user's day."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from songprint import __version__
from songprint.cli import output, progress
from songprint.cli.program import DONE, FAILED, INTERRUPTED, NO_MATCH, Common, Program, common_options
from songprint.errors import SongprintError

if TYPE_CHECKING:
    from songprint import Library
    from songprint.types import Progress, Report

# A file name may hold any bytes; whether it is there is the library's business, which says it in one line.
FILE = click.Path(path_type=str, allow_dash=True)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
@common_options
def main() -> None:
    """Names the recording in any clip, or the song of which it is a cover, or says that it does not know it.

    Add music with `add`, then ask with `identify`.
    """


def command(name: str):
    """A command of `main` with the common options; its function gets the `Common` first."""

    def decorate(function):
        return main.command(name)(common_options(click.pass_obj(function)))

    return decorate


@command("add")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=FILE)
@click.option("--no-recursive", is_flag=True, help="Leave out the folders inside a folder.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes to use. Default: one for each core.")
def add(common: Common, paths: Sequence[str], no_recursive: bool, workers: int | None) -> int:
    """Add music: files, and folders with all folders inside them.

    Makes the library if there is none. What it holds already is skipped, so an interrupted `add`
    is finished by giving the same command again.

    Exit status: 0 if every file was added or known already, 2 if any could not be read; the others
    are added all the same.
    """
    kept = 0
    with open_library(common, create=True) as library:
        try:
            with progress.shown("adding", quiet=common.quiet) as show_progress:

                def show(step: Progress) -> None:
                    nonlocal kept
                    kept += step.outcome == "added"
                    show_progress(step)

                report = library.add(paths, recursive=not no_recursive, workers=workers, on_progress=show)
        except KeyboardInterrupt:
            output.say(
                f"songprint: interrupted: {output.counted(kept, 'recording')} added and kept;"
                " give the same command again for the rest"
            )
            return INTERRUPTED
    for warning in report.warnings:
        output.say(f"songprint: {warning}")
    output.say_skipped(report.skipped)
    if common.json:
        from songprint.formats.objects import add_objects

        print_json(add_objects(report))
    elif not common.quiet:
        print(output.summary(report))
    return FAILED if report.skipped else DONE


@command("identify")
@click.argument("clips", nargs=-1, required=True, metavar="CLIP...", type=FILE)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Also list the N most probable names below the threshold.",
)
def identify(common: Common, clips: Sequence[str], top: int) -> int:
    """Name what each clip is; `-` reads one from standard input.

    Tells the recording, how sure that is, which part of it is heard and at what speed; or `no match` and why.

    Exit status: 0 if every clip was named, 1 if one was not, 2 if one could not be read.
    """
    statuses = []
    with open_library(common) as library:
        for clip in clips:
            try:
                report = library.identify(sys.stdin.buffer if clip == "-" else clip, top=top)
            except SongprintError as error:
                show_failure(common, clip, error)
                statuses.append(FAILED)
            else:
                _show_report(common, clip, report)
                statuses.append(DONE if report else NO_MATCH)
    return max(statuses)


def _show_report(common: Common, clip: str, report: Report) -> None:
    if common.json:
        from songprint.formats.objects import report_object

        print_json([report_object(report)])
    else:
        output.print_report(report, clip)
    sys.stdout.flush()  # an answer is seen at once, also through a pipe


def show_failure(common: Common, clip: str, error: SongprintError) -> None:
    output.say(f"songprint: {error}")
    if common.json:  # a line for every clip, so that lines can be laid beside clips
        print_json([{"source": clip, "error": str(error)}])


@command("list")
@click.argument("query", default="")
def list_(common: Common, query: str) -> None:
    """List the recordings; with QUERY those with it in title, artist or album."""
    with open_library(common) as library:
        recordings = library.recordings(query)
    if common.json:
        from songprint.formats.objects import recording_object

        print_json(map(recording_object, recordings))
    else:
        output.print_recordings(recordings)


@command("show")
@click.argument("recording_id", metavar="ID", type=int)
def show(common: Common, recording_id: int) -> None:
    """Show everything known about one recording."""
    with open_library(common) as library:
        recording = library.recording(recording_id)
    if common.json:
        from songprint.formats.objects import recording_object

        print_json([recording_object(recording)])
    else:
        output.print_recording(recording)


@command("remove")
@click.argument("recording_ids", nargs=-1, required=True, metavar="ID...", type=int)
def remove(common: Common, recording_ids: Sequence[int]) -> None:
    """Remove recordings from the library; `list` shows the ids. The music files stay.

    If one id is unknown, nothing is removed.
    """
    with open_library(common) as library:
        removed = [library.recording(recording_id) for recording_id in dict.fromkeys(recording_ids)]
        library.remove([recording.id for recording in removed])
    if common.json:
        from songprint.formats.objects import recording_object

        print_json(map(recording_object, removed))
    elif not common.quiet:
        for recording in removed:
            print(output.printable(f"removed {recording.id}: {recording.name}"))


@command("link")
@click.argument("recording_ids", nargs=-1, required=True, metavar="ID...", type=int)
@click.option(
    "--work", metavar="NAME", help="The name of the song. Default: the one that some of them have, or a new one."
)
@click.option("--original", type=int, metavar="ID", help="Which of them is the original.")
def link(common: Common, recording_ids: Sequence[int], work: str | None, original: int | None) -> None:
    """Say that recordings are of one song; `list` shows the ids.

    Answers then name the song by its original: the one given here, else the earliest by its year, else the one that
    was added first.
    """
    with open_library(common) as library:
        work = library.link(recording_ids, work, original=original)
        linked = library.store.catalog.recordings_of([work])
    if common.json:
        print_json([{"work": work, "recordings": [recording.id for recording in linked]}])
    elif not common.quiet:
        print(output.printable(f"{work}: {', '.join(f'{each.id} {each.name}' for each in linked)}"))


@command("unlink")
@click.argument("recording_ids", nargs=-1, required=True, metavar="ID...", type=int)
def unlink(common: Common, recording_ids: Sequence[int]) -> None:
    """Forget of which song recordings are."""
    with open_library(common) as library:
        for recording_id in recording_ids:
            library.unlink(recording_id)


@command("covers")
@click.argument("recording_id", metavar="RECORDING", type=int)
def covers(common: Common, recording_id: int) -> int:
    """List what in the library is another rendition of a recording; `list` shows the ids.

    Each with how sure that is, its key and tempo as compared with it, and which parts correspond. Recordings that are
    the very same one are marked as duplicates.

    Exit status: 0 if there are any, 1 if not.
    """
    with open_library(common) as library:
        found = library.covers(recording_id)
    if common.json:
        from songprint.formats.objects import match_object

        print_json(map(match_object, found))
    elif found:
        output.print_renditions(found)
    else:
        output.say("no other rendition of it in the library")
    return DONE if found else NO_MATCH


@command("explain")
@click.argument("query", metavar="A", type=FILE)
@click.argument("recording_id", metavar="B", type=int)
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=str),
    help="Draw how alike they are, moment by moment, and the path: a PNG, PDF or SVG.",
)
def explain(common: Common, query: str, recording_id: int, plot: str | None) -> int:
    """Show how A, a file or the id of a recording, corresponds to the recording B.

    Tells key shift, tempo, score and the parts that correspond, whether they are likely to be one song or not.

    Exit status: 0 if parts correspond, 1 if none do.
    """
    with open_library(common) as library:
        explanation = library.explain(int(query) if query.isdecimal() else query, recording_id)
    if plot:
        explanation.draw(plot)
    if common.json:
        from songprint.formats.objects import explanation_object

        print_json([explanation_object(explanation)])
    elif explanation.alignment:
        output.print_explanation(explanation)
    else:
        print("no part of them corresponds")
    return DONE if explanation.alignment else NO_MATCH


@command("rebuild")
@click.option("--reencode", is_flag=True, help="Also read all music files again: needed after a change of the encoder.")
def rebuild(common: Common, reencode: bool) -> int:
    """Make the search index again from the catalogue.

    Exit status: 0 if all is well, 2 if files could not be read again; those recordings are not found.
    """
    with open_library(common) as library:
        with progress.shown("reading", quiet=common.quiet) as show_progress:
            report = library.rebuild(reencode=reencode, on_progress=show_progress)
        held = library.stats()
    output.say_skipped(report.skipped)
    if common.json:
        from songprint.formats.objects import rebuild_objects

        print_json(rebuild_objects(report))
    elif not common.quiet:
        print(
            f"rebuilt: {output.counted(held.recordings, 'recording')}, "
            f"{output.counted(sum(level.segments for level in held.levels), 'segment')}, "
            f"{report.reencoded:,} read again"
        )
    return FAILED if report.skipped else DONE


@command("stats")
def stats(common: Common) -> None:
    """What the library holds and what it takes."""
    with open_library(common) as library:
        held = library.stats()
    if common.json:
        from songprint.formats.objects import stats_object

        print_json([stats_object(held)])
    else:
        output.print_stats(held)


@command("doctor")
def doctor(common: Common) -> int:
    """Check the installation, and the library if there is one.

    Exit status: 0 if all is well, 2 if a check failed.
    """
    from songprint import doctor as checks

    log_as_asked(common)
    settings = common.settings()
    asked_for = common.library is not None or settings.library.exists() or bool(settings.database)
    passed = True
    for check in checks.examine(settings, library=settings.library if asked_for else None):
        passed &= check.passed
        if common.json:
            print_json([{"check": check.name, "passed": check.passed, "detail": check.detail}])
        elif not (common.quiet and check.passed):
            output.print_check(check.passed, check.name, check.detail)
    return DONE if passed else FAILED


def open_library(common: Common, *, create: bool = False) -> Library:
    log_as_asked(common)
    return common.open(create=create)


def log_as_asked(common: Common) -> None:
    level = "DEBUG" if common.verbose else common.settings().log_level.upper()
    logging.basicConfig(level="WARNING", format="songprint: %(message)s")
    logging.getLogger("songprint").setLevel(level)
    logging.getLogger("urllib3").setLevel("ERROR")  # its warnings contain whole URLs, with the keys in them


def print_json(objects) -> None:
    from songprint.formats.objects import to_json

    output.prepare(sys.stdout, json=True)
    for value in objects:
        print(to_json(value))
