"""`songprint unknown`: the music that scans heard and that nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from songprint.cli.commands import main, open_library, print_json
from songprint.cli.output import console, counted, duration, position, say, text
from songprint.cli.program import DONE, NO_MATCH, Common, Program, common_options

if TYPE_CHECKING:
    from songprint.types import UnknownMusic

SHOWN = 5  # occurrences of one piece of music


@main.group("unknown", cls=Program, invoke_without_command=True)
@common_options
@click.pass_context
def unknown(context: click.Context) -> int | None:
    """Look after the music that scans have heard and that nobody knows; without a command, list it."""
    return None if context.invoked_subcommand else context.invoke(list_, everything=False)


@unknown.command("list")
@click.option("--all", "everything", is_flag=True, help="Also list what was heard only once.")
@common_options
@click.pass_obj
def list_(common: Common, everything: bool) -> int:
    """List unknown music, that which came oftenest first.

    Each with its id, how often it was heard, how long it is, and where.

    Exit status: 0 if any is listed, 1 if not.
    """
    with open_library(common) as library:
        found = library.unknown()
    shown = found if everything else [each for each in found if len(each.occurrences) > 1]
    if common.json:
        from songprint.formats.objects import unknown_object

        print_json(map(unknown_object, shown))
        return DONE if shown else NO_MATCH
    for each in shown:
        print_unknown(each)
    if not found:
        say("songprint: no unknown music. `songprint scan` finds it")
    elif len(shown) < len(found) and not common.quiet:
        once = counted(len(found) - len(shown), "piece")
        say(f"songprint: {once} of music heard only once: `songprint unknown list --all` lists them too")
    return DONE if shown else NO_MATCH


@unknown.command("forget")
@click.argument("numbers", nargs=-1, required=True, metavar="ID...", type=int)
@common_options
@click.pass_obj
def forget(common: Common, numbers: Sequence[int]) -> None:
    """Forget unknown music; when it comes again, it is new. If one id is unknown, nothing is forgotten."""
    with open_library(common) as library:
        library.forget_unknown(numbers)
    if common.json:
        print_json({"forgotten": number} for number in dict.fromkeys(numbers))
    elif not common.quiet:
        print(f"forgotten: {', '.join(map(str, dict.fromkeys(numbers)))}")


@unknown.command("add")
@click.argument("number", metavar="ID", type=int)
@click.option("--title", required=True, help="The title of the song.")
@click.option("--artist", "artists", multiple=True, help="Who plays it; may be given several times.")
@common_options
@click.pass_obj
def add(common: Common, number: int, title: str, artists: Sequence[str]) -> int:
    """Name unknown music and add it to the library.

    It is cut out of the longest of its occurrences of which the file is still there.
    """
    with open_library(common) as library:
        recording = library.add_unknown(number, title=title, artists=tuple(artists))
    if common.json:
        from songprint.formats.objects import recording_object

        print_json([recording_object(recording)])
    elif not common.quiet:
        console().print(text(f"added {recording.id}: {recording.name}, {duration(recording.duration)}"))
    return DONE


def print_unknown(music: UnknownMusic) -> None:
    """The id, how often and how long; then the occurrences, a line each."""
    screen = console()
    screen.print(
        text((f"{music.id:>6}", "cyan"), f"  {counted(len(music.occurrences), 'time')}, {duration(music.duration)}")
    )
    for each in music.occurrences[:SHOWN]:
        screen.print(
            text(
                (
                    f"        {position(each.interval.start)} to {position(each.interval.end)}  {each.source or '(no name)'}",
                    "dim",
                )
            )
        )
    if len(music.occurrences) > SHOWN:
        screen.print(text((f"        and {len(music.occurrences) - SHOWN} more", "dim")))
