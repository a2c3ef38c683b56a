"""`songprint unknown`: music in scanned recordings that is not in the library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from songprint.cli.commands import main, note_added, note_change, open_library, print_json
from songprint.cli.output import console, counted, duration, position, say, text
from songprint.cli.program import DONE, NO_MATCH, Common, Program, common_options

if TYPE_CHECKING:
    from songprint.types import UnknownMusic

MAX_OCCURRENCES_PRINTED = 5  # per piece of music


@main.group("unknown", cls=Program, invoke_without_command=True)
@common_options
@click.pass_context
def unknown(context: click.Context) -> int | None:
    """List, name or forget music that is not in the library.

    Scans remember such music. Without a command, the music that occurred more than once is listed.
    """
    if context.invoked_subcommand:
        return None
    status: int = context.invoke(list_, everything=False)
    return status


@unknown.command("list")
@click.option("--all", "everything", is_flag=True, help="Also list music that occurred only once.")
@common_options
@click.pass_obj
def list_(common: Common, everything: bool) -> int:
    """List unknown music, the most frequent first.

    Prints the id, the number of occurrences, the duration and the places.

    Exit status: 0 if any is listed, 1 if not.
    """
    with open_library(common) as library:
        found = library.unknown()
    shown = found if everything else [each for each in found if len(each.occurrences) > 1]
    if common.json:
        print_json(shown)
        return DONE if shown else NO_MATCH
    for each in shown:
        print_unknown(each)
    if not found:
        say("songprint: no unknown music; `songprint scan` collects it")
    elif len(shown) < len(found) and not common.quiet:
        once = counted(len(found) - len(shown), "piece")
        say(f"songprint: {once} of music occurred only once; list them with `songprint unknown list --all`")
    return DONE if shown else NO_MATCH


@unknown.command("forget")
@click.argument("numbers", nargs=-1, required=True, metavar="ID...", type=int)
@common_options
@click.pass_obj
def forget(common: Common, numbers: Sequence[int]) -> None:
    """Forget unknown music.

    If it occurs again, it is new. If one id does not exist, nothing is forgotten.
    """
    with open_library(common) as library:
        library.forget_unknown(numbers)
        note_change(library.store.catalog, "unknown.forget", ", ".join(map(str, dict.fromkeys(numbers))))
    if common.json:
        print_json({"forgotten": number} for number in dict.fromkeys(numbers))
    elif not common.quiet:
        print(f"forgotten: {', '.join(map(str, dict.fromkeys(numbers)))}")


@unknown.command("add")
@click.argument("number", metavar="ID", type=int)
@click.option("--title", required=True, help="The title of the song.")
@click.option("--artist", "artists", multiple=True, help="An artist; may be repeated.")
@common_options
@click.pass_obj
def add(common: Common, number: int, title: str, artists: Sequence[str]) -> int:
    """Name unknown music and add it to the library.

    The audio is cut out of the longest occurrence whose file still exists.
    """
    with open_library(common) as library:
        recording = library.add_unknown(number, title=title, artists=tuple(artists))
        note_added(library, [recording])
    if common.json:
        print_json([recording])
    elif not common.quiet:
        console().print(text(f"added {recording.id}: {recording.name}, {duration(recording.duration)}"))
    return DONE


def print_unknown(music: UnknownMusic) -> None:
    """Print the id, the number of occurrences and the duration, then one line per occurrence."""
    screen = console()
    screen.print(
        text((f"{music.id:>6}", "cyan"), f"  {counted(len(music.occurrences), 'time')}, {duration(music.duration)}")
    )
    for each in music.occurrences[:MAX_OCCURRENCES_PRINTED]:
        place = f"{position(each.interval.start)} to {position(each.interval.end)}"
        screen.print(text((f"        {place}  {each.source or '(no name)'}", "dim")))
    if len(music.occurrences) > MAX_OCCURRENCES_PRINTED:
        screen.print(text((f"        and {len(music.occurrences) - MAX_OCCURRENCES_PRINTED} more", "dim")))
