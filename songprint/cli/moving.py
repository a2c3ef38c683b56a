"""`songprint library`: library files, which move a library to another database or machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from songprint.cli import output, progress
from songprint.cli.commands import FILE, main, note_change, open_library, print_json
from songprint.cli.program import INTERRUPTED, Common, Program, common_options

if TYPE_CHECKING:
    from songprint.store.transfer import ImportReport


@main.group("library", cls=Program)
def library() -> None:
    """Export a library to one file, or import such a file."""


@library.command("export")
@click.argument("path", metavar="FILE", type=FILE)
@common_options
@click.pass_obj
def export(common: Common, path: str) -> None:
    """Write all recordings to a library file.

    FILE, for instance `music.songprint`, contains metadata, paths and vectors, but no audio. It can be imported into a
    library in any database, by this or a newer version.
    """
    with open_library(common) as opened:
        with progress.counting("exporting", quiet=common.quiet) as show_progress:
            report = opened.export_to(path, show_progress)
        recordings = output.counted(report.recordings, "recording")
        note_change(opened.store.catalog, "library.export", recordings)
    if common.json:
        print_json([{"path": str(report.path), "recordings": report.recordings, "bytes": report.size}])
    elif not common.quiet:
        print(output.printable(f"{recordings} exported to {report.path} ({output.size(report.size)})"))


@library.command("import")
@click.argument("path", metavar="FILE", type=FILE)
@common_options
@click.pass_obj
def import_(common: Common, path: str) -> int | None:
    """Add the recordings of a library file.

    Creates the library if there is none. Recordings whose sound is already in the library are skipped, so run the same
    command again after an interruption. In an empty library, recordings keep their ids.
    """
    with open_library(common, create=True) as opened:
        try:
            with progress.counting("importing", quiet=common.quiet) as show_progress:
                report = opened.import_from(path, show_progress)
        except KeyboardInterrupt:
            output.say(
                "songprint: interrupted: what was imported is kept; run the same command again to import the rest"
            )
            return INTERRUPTED
        if report.added:
            added = output.counted(report.added, "recording")
            note_change(opened.store.catalog, "library.import", f"{added} from {path}")
    if common.json:
        new_ids = {str(before): after for before, after in report.new_ids.items()}
        print_json([{"added": report.added, "known": report.known, "new_ids": new_ids}])
    elif not common.quiet:
        print(_summary(report))
    return None


def _summary(report: ImportReport) -> str:
    parts = [f"{output.counted(report.added, 'recording')} added"]
    if report.new_ids:
        parts.append(f"{len(report.new_ids):,} with a new id (--json lists them)")
    if report.known:
        parts.append(f"{report.known:,} already in the library")
    return ", ".join(parts)
