"""The commands for a library and for identifying clips."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from songprint import __version__
from songprint.cli import output, progress
from songprint.cli.program import DONE, FAILED, INTERRUPTED, NO_MATCH, Common, Program, common_options
from songprint.errors import SongprintError
from songprint.processes import logs

if TYPE_CHECKING:
    from songprint import Library
    from songprint.store.catalog import Catalog
    from songprint.types import Progress, Recording, Report, SkippedFile

# File names may contain arbitrary bytes. The library reports missing files, so click does not check them.
FILE = click.Path(path_type=str, allow_dash=True)

PATTERN = click.option(
    "--pattern",
    metavar="PATTERN",
    help="Read what tags lack from names such as '{artist}/{album}/{track} {title}'. Default: a guess.",
)

SECTIONS = {
    "Library": (
        "add",
        "sync",
        "watch",
        "list",
        "show",
        "edit",
        "metadata",
        "remove",
        "link",
        "unlink",
        "duplicates",
        "merge",
        "unknown",
        "stats",
        "rebuild",
        "library",
        "doctor",
    ),
    "Identify": ("identify", "scan", "export", "covers", "explain"),
    "Streams": ("listen", "stations"),
    "Service": ("serve", "worker", "jobs", "keys", "usage"),
}
PAGE = 1000  # recordings that `list` reads at once; their texts take about 1 MB


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
@common_options
def main() -> None:
    """Identify recordings and covers in audio clips, long recordings and live streams.

    Add music to a library with `songprint add`, then identify clips with `songprint identify`.
    """


main.sections = SECTIONS


def command(name: str) -> Callable[[Callable[..., int | None]], click.Command]:
    """Register a command of `main` with the common options. Its function gets the `Common` as first argument."""

    def decorate(function: Callable[..., int | None]) -> click.Command:
        return main.command(name)(common_options(click.pass_obj(function)))

    return decorate


@command("add")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=FILE)
@click.option("--no-recursive", is_flag=True, help="Skip the folders inside a folder.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Number of processes. Default: one per core.")
@click.option("--share", is_flag=True, help="Share the files with other machines that add them to the same library.")
@PATTERN
def add(
    common: Common, paths: Sequence[str], no_recursive: bool, workers: int | None, share: bool, pattern: str | None
) -> int:
    """Add audio files and folders to the library.

    Creates the library if there is none. Files whose content is already in the library are skipped, so run the same
    command again after an interruption.

    With --share, run the same command on several machines that use one database and see the files at the same paths.
    Each file is read by one of them, and the files of a machine that fails are taken over by the others.

    Exit status: 0 if every file was added or already present, 2 if a file could not be read. The other files are
    added anyway.
    """
    kept = 0
    with open_library(common, create=True) as library:
        try:
            with progress.shown("adding", quiet=common.quiet) as show_progress:

                def show(step: Progress) -> None:
                    nonlocal kept
                    kept += step.outcome == "added"
                    show_progress(step)

                report = library.add(
                    paths,
                    recursive=not no_recursive,
                    workers=workers,
                    pattern=pattern,
                    share=share,
                    on_progress=show,
                )
        except KeyboardInterrupt:
            if kept:
                note_change(library.store.catalog, "recordings.add_many", f"{kept} recordings: until an interruption")
            output.say(
                f"songprint: interrupted: {output.counted(kept, 'recording')} added and kept;"
                " run the same command again to add the rest"
            )
            return INTERRUPTED
        note_added(library, report.added)
    for warning in report.warnings:
        output.say(f"songprint: {warning}")
    output.say_skipped(report.skipped)
    if common.json:
        from songprint.formats.objects import add_objects

        print_json(add_objects(report))
    elif not common.quiet:
        print(output.summary(report))
    return FAILED if report.skipped else DONE


@command("sync")
@click.argument("folders", nargs=-1, metavar="[FOLDER]...", type=FILE)
@click.option("--dry-run", is_flag=True, help="Print what would change, and write nothing.")
@click.option("--remove-missing", is_flag=True, help="Remove recordings of which no file exists any more.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Number of processes. Default: one per core.")
@PATTERN
@click.option("--reread", is_flag=True, help="Read the tags of unchanged files as well.")
def sync(
    common: Common,
    folders: Sequence[str],
    dry_run: bool,
    remove_missing: bool,
    workers: int | None,
    pattern: str | None,
    reread: bool,
) -> int:
    """Bring the library into step with folders.

    Without FOLDER, with all folders that were added, synchronised or watched. New files are added. A file that was
    retagged, renamed or moved keeps its recording. A recording whose last file is gone is marked as missing: it is
    still identified, until --remove-missing removes it. Files whose size and time are unchanged are not read.

    Exit status: 0 if the library is in step, 2 if a file or folder could not be read.
    """
    with open_library(common, create=bool(folders) and not dry_run) as library:
        try:
            with progress.shown("reading", quiet=common.quiet) as show_progress:
                report = library.sync(
                    folders,
                    dry_run=dry_run,
                    remove_missing=remove_missing,
                    workers=workers,
                    pattern=pattern,
                    reread=reread,
                    on_progress=show_progress,
                )
        except KeyboardInterrupt:
            output.say("songprint: interrupted: what was read is kept; run the same command again to continue")
            return INTERRUPTED
    for warning in report.warnings:
        output.say(f"songprint: {warning}")
    skipped = [each for each in report.changes if each.change == "skipped"]
    output.say_skipped(skipped)
    if common.json:
        from songprint.formats.objects import sync_objects

        print_json(sync_objects(report))
    elif not common.quiet:
        for each in report.changes:
            if each not in skipped:
                print(output.change(each))
        print(output.sync_summary(report))
    return FAILED if skipped else DONE


@command("identify")
@click.argument("queries", nargs=-1, required=True, metavar="CLIP...", type=FILE)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Also list the N most probable recordings below the threshold.",
)
@click.option(
    "--track", type=click.IntRange(min=1), metavar="N", help="Audio track of a file with several. Default: all."
)
def identify(common: Common, queries: Sequence[str], top: int, track: int | None) -> int:
    """Identify clips and folders of clips.

    CLIP is a file, a folder, or `-` for standard input.

    Prints the recordings and covers in each clip: the confidence, the part of the recording, and the difference in
    speed and pitch. If nothing matches, prints `no match` and the reason.

    Exit status: 0 if every clip was identified, 1 if one was not, 2 if one could not be read.
    """
    statuses = []
    with open_library(common) as library:
        files, unusable = _with_folders(queries)
        for skipped in unusable:
            show_failure(common, skipped.path, SongprintError(f"{skipped.path}: {skipped.reason}"))
            statuses.append(FAILED)
        for query in files:
            try:
                report = library.identify(sys.stdin.buffer if query == "-" else query, top=top, track=track)
            except SongprintError as error:
                show_failure(common, query, error)
                statuses.append(FAILED)
            else:
                _show_report(common, query, report)
                statuses.append(DONE if report else NO_MATCH)
    return max(statuses)


def _with_folders(queries: Sequence[str]) -> tuple[list[str], list[SkippedFile]]:
    """Replace folders by the audio files in them. Returns also the folders without any."""
    from songprint.ingest.add import find  # takes 0.1 s, which other commands do not need

    files: list[str] = []
    unusable: list[SkippedFile] = []
    for query in queries:
        if os.path.isdir(query):
            found, skipped = find([query])
            files += found
            unusable += skipped
        else:
            files.append(query)
    return files, unusable


def _show_report(common: Common, query: str, report: Report) -> None:
    if common.json:
        print_json([report])
    else:
        output.print_report(report, query)
    sys.stdout.flush()  # pipes are buffered; the reader gets each result immediately


def show_failure(common: Common, source: str, error: SongprintError) -> None:
    """Print the error; with --json also as a result, so that there is exactly one line per file."""
    output.say(f"songprint: {error}")
    if common.json:
        print_json([{"source": source, "error": str(error)}])


@command("list")
@click.argument("query", default="")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="List at most N recordings. Default: all.")
def list_(common: Common, query: str, limit: int | None) -> None:
    """List recordings.

    With QUERY, list those with every word of it in title, artist or album. Case, accents and the width of characters
    make no difference. The number of recordings is printed to standard error.
    """
    with open_library(common) as library:
        pages, total = _pages(library.store.catalog, query, limit)
        if common.json:
            print_json(itertools.chain.from_iterable(pages))
        else:
            output.print_pages(pages, several=min(limit or total, total) > PAGE)
    sys.stdout.flush()  # the number follows the list; a closed pipe ends the command here
    if not common.quiet:
        output.say(f"songprint: {_listed_in_words(query, total, limit)}")


def _pages(catalog: Catalog, query: str, limit: int | None) -> tuple[Iterator[list[Recording]], int]:
    """Return the listed recordings, some at a time so that memory is bounded, and the number of all that match."""
    first, total = catalog.page(query, limit=min(limit or PAGE, PAGE))
    end = min(limit or total, total)

    def read() -> Iterator[list[Recording]]:
        yield first
        for offset in range(PAGE, end, PAGE):
            yield catalog.page(query, offset=offset, limit=min(PAGE, end - offset))[0]

    return read(), total


def _listed_in_words(query: str, total: int, limit: int | None) -> str:
    """Describe in one line what `list` printed, and what to do if that is nothing."""
    if not total:
        return f"no recording contains {query!r}" if query else "the library is empty. `songprint add MUSIC` adds music"
    shown = f"the first {limit:,} of " if limit and limit < total else ""
    return shown + output.counted(total, "recording")


@command("show")
@click.argument("recording_id", metavar="ID", type=int)
def show(common: Common, recording_id: int) -> None:
    """Show all information about a recording."""
    with open_library(common) as library:
        recording = library.recording(recording_id)
        paths = [file.path for file in library.files(recording_id)] or [recording.source]
    if common.json:
        from songprint.formats.objects import recording_object

        print_json([{**recording_object(recording), "files": paths}])
    else:
        output.print_recording(recording, paths)


@command("remove")
@click.argument("recording_ids", nargs=-1, required=True, metavar="ID...", type=int)
def remove(common: Common, recording_ids: Sequence[int]) -> None:
    """Remove recordings from the library.

    `songprint list` prints the ids. The music files are not touched. If one id does not exist, nothing is removed.
    """
    with open_library(common) as library:
        removed = [library.recording(recording_id) for recording_id in dict.fromkeys(recording_ids)]
        library.remove([recording.id for recording in removed])
        for recording in removed:
            note_change(library.store.catalog, "recordings.remove", labelled(recording))
    if common.json:
        print_json(removed)
    elif not common.quiet:
        for recording in removed:
            print(output.printable(f"removed {recording.id}: {recording.name}"))


@command("link")
@click.argument("recording_ids", nargs=-1, required=True, metavar="ID...", type=int)
@click.option(
    "--work",
    metavar="NAME",
    help="The name of the work. Default: the work that some of them already have, or a new one.",
)
@click.option("--original", type=int, metavar="ID", help="The recording that is the original.")
def link(common: Common, recording_ids: Sequence[int], work: str | None, original: int | None) -> None:
    """Link recordings of the same song.

    Matches then name the song after its original: the recording given by --original, else the earliest by year, else
    the one that was added first. `songprint list` prints the ids.
    """
    with open_library(common) as library:
        work = library.link(recording_ids, work, original=original)
        linked = library.store.catalog.recordings_of([work])
        note_change(library.store.catalog, "works.link", f"{work}: {sorted(set(recording_ids))}")
    if common.json:
        print_json([{"work": work, "recordings": [recording.id for recording in linked]}])
    elif not common.quiet:
        print(output.printable(f"{work}: {', '.join(f'{each.id} {each.name}' for each in linked)}"))


@command("unlink")
@click.argument("recording_ids", nargs=-1, required=True, metavar="ID...", type=int)
def unlink(common: Common, recording_ids: Sequence[int]) -> None:
    """Unlink recordings from their song."""
    with open_library(common) as library:
        for recording_id in recording_ids:
            library.unlink(recording_id)
            note_change(library.store.catalog, "works.unlink", labelled(library.recording(recording_id)))


@command("covers")
@click.argument("recording_id", metavar="RECORDING", type=int)
def covers(common: Common, recording_id: int) -> int:
    """List the covers of a recording in the library.

    Prints the confidence, the difference in key and tempo, and the corresponding parts. Other files of the same
    recording are marked as duplicates. `songprint list` prints the ids.

    Exit status: 0 if there are any, 1 if not.
    """
    with open_library(common) as library:
        found = library.covers(recording_id)
    if common.json:
        print_json(found)
    elif found:
        output.print_renditions(found)
    else:
        output.say("no cover of this recording in the library")
    return DONE if found else NO_MATCH


@command("explain")
@click.argument("query", metavar="A", type=FILE)
@click.argument("recording_id", metavar="B", type=int)
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=str),
    help="Draw the similarity of every moment and the alignment path to FILE: PNG, PDF or SVG.",
)
def explain(common: Common, query: str, recording_id: int, plot: str | None) -> int:
    """Show how two renditions correspond.

    A is a file or the id of a recording, B the id of a recording. Prints the key shift, the tempo, the score and the
    corresponding parts, whether or not they are likely to be the same song.

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
        print("no corresponding parts")
    return DONE if explanation.alignment else NO_MATCH


@command("rebuild")
@click.option(
    "--reencode",
    is_flag=True,
    help="First read files that the current encoders have not read; needed after an encoder has changed.",
)
def rebuild(common: Common, reencode: bool) -> int:
    """Rebuild the search index from the catalogue.

    Exit status: 0 if everything was rebuilt, 2 if files could not be read; their recordings cannot be found until
    they are.
    """
    with open_library(common) as library:
        with progress.shown("reading", quiet=common.quiet) as show_progress:
            report = library.rebuild(reencode=reencode, on_progress=show_progress)
        stats = library.stats()
        encoded = f"{output.counted(report.reencoded, 'recording')} encoded again" if reencode else ""
        note_change(library.store.catalog, "library.rebuild", encoded)
    output.say_skipped(report.skipped)
    if common.json:
        from songprint.formats.objects import rebuild_objects

        print_json(rebuild_objects(report))
    elif not common.quiet:
        print(
            f"rebuilt: {output.counted(stats.recordings, 'recording')}, "
            f"{output.counted(sum(level.segments for level in stats.levels), 'segment')}, "
            f"{report.reencoded:,} encoded again"
        )
    return FAILED if report.skipped else DONE


@command("stats")
def stats(common: Common) -> None:
    """Show the contents and the size of the library."""
    with open_library(common) as library:
        library_stats = library.stats()
    if common.json:
        print_json([library_stats])
    else:
        output.print_stats(library_stats)


@command("doctor")
def doctor(common: Common) -> int:
    """Check the installation and the library.

    Prints one line per check. Without a library, only the installation is checked.

    Exit status: 0 if every check passed, 2 if one failed.
    """
    from songprint import doctor as checks

    set_up_logging(common)
    settings = common.settings()
    has_library = common.library is not None or settings.library.exists() or bool(settings.database)
    passed = True
    for check in checks.examine(settings, library=settings.library if has_library else None):
        passed &= check.passed
        if common.json:
            print_json([{"check": check.name, "passed": check.passed, "detail": check.detail}])
        elif not (common.quiet and check.passed):
            output.print_check(check.passed, check.name, check.detail)
    return DONE if passed else FAILED


def open_library(common: Common, *, create: bool = False) -> Library:
    set_up_logging(common)
    return common.open(create=create)


def note_change(catalog: Catalog, action: str, subject: str = "") -> None:
    """Record in the audit log what a command of this user changed."""
    from songprint.accounts.audit import Audit, command_line_user

    Audit(catalog.database).note("", action, subject, actor=command_line_user())


def note_added(library: Library, added: Sequence[Recording]) -> None:
    """Record added recordings: one with its title, several as one entry."""
    if len(added) == 1:
        note_change(library.store.catalog, "recordings.add", labelled(added[0]))
    elif added:
        ids = sorted(recording.id for recording in added)
        note_change(library.store.catalog, "recordings.add_many", f"{len(ids)} recordings: {ids[0]} to {ids[-1]}")


def labelled(recording: Recording) -> str:
    """A recording in the audit log: its id, and its title at the time."""
    return f"{recording.id} {recording.title}".rstrip()


def set_up_logging(common: Common) -> None:
    level = "debug" if common.verbose else common.settings().log_level
    logs.set_up(level)


def print_json(values: Iterable[object]) -> None:
    """Print one line of JSON per value or object, in UTF-8 whatever the locale."""
    from songprint.formats.objects import object_of, to_json

    output.prepare(sys.stdout, json=True)
    for value in values:
        print(to_json(object_of(value)))
