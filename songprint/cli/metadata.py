"""Commands that change the metadata of recordings: `songprint edit` and `songprint metadata`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songprint.cli.commands import FILE, command, labelled, main, note_change, open_library, print_json
from songprint.cli.output import counted, prepare, printable, say
from songprint.cli.program import DONE, FAILED, Common, Program, common_options
from songprint.errors import MetadataError, SongprintError

if TYPE_CHECKING:
    from songprint.types import MetadataReport


@command("edit")
@click.argument("recording_id", metavar="ID", type=int)
@click.option("--title", metavar="TEXT", help="The title.")
@click.option("--artist", "artists", metavar="NAME", multiple=True, help="An artist; may be repeated.")
@click.option("--album", metavar="TEXT", help="The album.")
@click.option("--isrc", metavar="CODE", help="The ISRC.")
@click.option("--track", metavar="N", help="The number of the track.")
@click.option("--year", metavar="YEAR", help="The year.")
@click.option("--work", metavar="NAME", help="The name of the work. Recordings of one work are linked.")
@click.option(
    "--field",
    "fields",
    metavar="KEY=VALUE",
    multiple=True,
    help="A user field; may be repeated. An empty VALUE removes the field.",
)
def edit(common: Common, recording_id: int, artists: Sequence[str], fields: Sequence[str], **texts: str | None) -> None:
    """Change the tags and user fields of a recording.

    What is not given stays as it is; an empty value ('') empties a tag. Every answer contains the user fields. The
    VALUE of a user field is a number, true, false or text; a number in double quotes is text. `songprint list` prints
    the ids.
    """
    changes = _changes(texts, artists, fields)
    if not changes:
        raise click.UsageError("nothing to change: give at least one option, such as --title")
    with open_library(common) as library:
        edited = library.edit(recording_id, **changes)
        note_change(library.store.catalog, "recordings.edit", f"{labelled(edited)}: {', '.join(changes)}")
    if common.json:
        print_json([edited])
    elif not common.quiet:
        print(printable(f"edited {edited.id}: {edited.name}"))


def _changes(texts: dict[str, str | None], artists: Sequence[str], fields: Sequence[str]) -> dict[str, Any]:
    from songprint.store import metadata
    from songprint.store.fields import parsed

    try:
        changes: dict[str, Any] = {name: metadata.tag(name, text) for name, text in texts.items() if text is not None}
        if artists:
            changes["artists"] = metadata.checked_artists(artists)
    except MetadataError as error:
        raise click.UsageError(str(error)) from error
    if fields:
        changes["fields"] = {}
        for field in fields:
            name, separator, value = field.partition("=")
            if not separator:
                raise click.UsageError(f"--field takes KEY=VALUE, not {field!r}")
            changes["fields"][name] = parsed(value) if value else None
    return changes


@main.group("metadata", cls=Program)
@common_options
def metadata_group() -> None:
    """Edit the metadata of many recordings in a spreadsheet."""


@metadata_group.command("export")
@click.argument("file", metavar="FILE", type=FILE)
@common_options
@click.pass_obj
def export(common: Common, file: str) -> None:
    """Write the metadata of all recordings to a CSV file.

    `-` writes to standard output.
    """
    with open_library(common) as library:
        content, count = library.export_metadata(), len(library)
    if file == "-":
        prepare(sys.stdout, json=True)
        sys.stdout.write(content)
        return
    try:
        Path(file).write_text(content, encoding="utf-8", newline="")
    except OSError as error:
        raise SongprintError(f"cannot write {file}: {error.strerror}") from error
    if not common.quiet:
        say(f"songprint: wrote {counted(count, 'recording')} to {file}")


@metadata_group.command("import")
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--dry-run", is_flag=True, help="Print what would change, and write nothing.")
@click.option("--clear-empty", is_flag=True, help="Empty cells clear values. Without it, they change nothing.")
@common_options
@click.pass_obj
def import_(common: Common, file: str, dry_run: bool, clear_empty: bool) -> int:
    """Change the metadata of recordings as in a CSV file.

    FILE `-` is standard input. Rows name recordings by id, else by path, else by ISRC. If a row is wrong, nothing is
    written.

    Exit status: 0 if all rows were right, 2 if one was wrong.
    """
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise SongprintError(f"cannot read {file}: {error.strerror}") from error
    with open_library(common) as library:
        try:
            report = library.import_metadata(content, clear_empty=clear_empty, dry_run=dry_run)
        except MetadataError as error:
            raise MetadataError(f"{file}: {error}") from error
        if report.written and report.changed:
            ids = [change.recording_id for change in report.changed]
            subject = f"{counted(len(ids), 'recording')}: {', '.join(map(str, sorted(ids)))}"
            note_change(library.store.catalog, "recordings.edit_many", subject)
    for wrong in report.wrong:
        say(f"songprint: {file}:{wrong.line}: {wrong.reason}")
    if common.json:
        from songprint.formats.objects import metadata_objects

        print_json(metadata_objects(report))
    elif not common.quiet:
        for change in report.changed:
            print(printable(f"{change.recording_id} {change.title}: {', '.join(change.columns)}"))
        print(_summary(report))
    return FAILED if report.wrong else DONE


def _summary(report: MetadataReport) -> str:
    rows = counted(report.rows, "row")
    if report.wrong:
        return f"nothing written: {counted(len(report.wrong), 'row')} of {rows} cannot be used"
    verb = "changed" if report.written else "would change"
    return f"{verb} {counted(len(report.changed), 'recording')} ({rows})"
