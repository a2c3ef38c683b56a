"""`songprint duplicates` and `songprint merge`: recordings that are the same one in several files."""

from __future__ import annotations

from collections.abc import Sequence

import click

from songprint.cli import output, progress
from songprint.cli.commands import command, labelled, main, note_change, open_library, print_json
from songprint.cli.program import DONE, NO_MATCH, Common, Program, common_options


@main.group("duplicates", cls=Program, invoke_without_command=True)
@common_options
@click.pass_context
def duplicates(context: click.Context) -> int | None:
    """List duplicates, or mark them as different.

    Without a command, the duplicates are listed.
    """
    if context.invoked_subcommand:
        return None
    status: int = context.invoke(list_)
    return status


@duplicates.command("list")
@common_options
@click.pass_obj
def list_(common: Common) -> int:
    """List recordings that are the same one in several files.

    Prints one group after the other. Merge a group with `songprint merge`, keep all of its recordings with
    `songprint duplicates keep`, or link them as versions of one song with `songprint link`. Recordings that were kept
    or linked are not listed again.

    Exit status: 0 if there are any, 1 if not.
    """
    with open_library(common) as library, progress.counting("comparing", quiet=common.quiet) as show_progress:
        groups = library.duplicates(show_progress)
    if common.json:
        from songprint.formats.objects import recording_object

        print_json([{"recordings": [recording_object(each) for each in group]} for group in groups])
    elif groups:
        for number, group in enumerate(groups):
            if number:
                print()
            output.print_recordings(group)
    else:
        output.say("no duplicates in the library")
    return DONE if groups else NO_MATCH


@duplicates.command("keep")
@click.argument("recording_ids", nargs=-1, required=True, metavar="ID...", type=int)
@common_options
@click.pass_obj
def keep(common: Common, recording_ids: Sequence[int]) -> None:
    """Keep recordings that sound the same, and list them no more."""
    with open_library(common) as library:
        library.keep_apart(recording_ids)
        ids = ", ".join(map(str, sorted(set(recording_ids))))
        note_change(library.store.catalog, "duplicates.keep", ids)
    if common.json:
        print_json([{"kept": sorted(set(recording_ids))}])
    elif not common.quiet:
        print(f"kept {ids}")


@command("merge")
@click.argument("keep", metavar="KEEP", type=int)
@click.argument("others", nargs=-1, required=True, metavar="OTHER...", type=int)
def merge(common: Common, keep: int, others: Sequence[int]) -> None:
    """Merge recordings into one of them.

    The recording KEEP receives the files of the others, and those tags and user fields that it lacks. The others are
    removed; their music files are not touched. When these files are added again, they are files of KEEP.
    """
    with open_library(common) as library:
        merged = library.merge(keep, others)
        ids = ", ".join(map(str, sorted(set(others))))
        note_change(library.store.catalog, "recordings.merge", f"{labelled(merged)}: {ids}")
    if common.json:
        print_json([merged])
    elif not common.quiet:
        print(output.printable(f"merged {ids} into {merged.id}: {merged.name}"))
