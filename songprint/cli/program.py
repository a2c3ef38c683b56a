"""What all commands share: their common options, and how an error becomes a line and an exit status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from songprint.cli import output
from songprint.errors import SongprintError

if TYPE_CHECKING:
    from songprint import Library
    from songprint.config import Settings

DONE, NO_MATCH, FAILED, INTERRUPTED = 0, 1, 2, 130


@dataclass
class Common:
    """The options that every command takes, given before or after its name."""

    library: Path | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False

    def settings(self) -> Settings:
        from songprint import config

        return config.load().with_(library=self.library)

    def open(self, *, create: bool = False) -> Library:
        import songprint

        settings = self.settings()
        return songprint.open(settings.library, create=create, settings=settings)


def common_options(command: Callable) -> Callable:
    """Add --library, --json, --quiet and --verbose; what is given lands in the `Common` of the context."""

    def remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
        common = context.ensure_object(Common)
        if value:
            setattr(common, parameter.name, value)

    def option(*names: str, **more: object) -> Callable:
        return click.option(*names, callback=remember, expose_value=False, **more)

    for decorate in (
        option("--verbose", is_flag=True, help="Also say what goes on inside."),
        option("--quiet", is_flag=True, help="No progress, no summary: results and errors only."),
        option("--json", is_flag=True, help="Results as JSON, one object per line."),
        option(
            "--library",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="The library folder. Default: $SONGPRINT_LIBRARY, or ~/.local/share/songprint/library.",
        ),
    ):
        command = decorate(command)
    return command


class Program(click.Group):
    """A command group that ends with our exit statuses and never shows a traceback for a user's mistake."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)  # in the order of their use, not of the alphabet

    def invoke(self, context: click.Context) -> int | None:
        try:
            status = super().invoke(context)
            sys.stdout.flush()
            return status
        except BrokenPipeError:  # `songprint list | head`: the reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **more: object) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):
            output.prepare(stream)
        more["standalone_mode"] = False
        try:
            status = super().main(args, prog_name, **more) or DONE
        except click.ClickException as error:
            error.show()
            status = error.exit_code
        except click.Abort:  # click's word for Ctrl-C
            output.say("songprint: interrupted")
            status = INTERRUPTED
        except SongprintError as error:
            output.say(f"songprint: {error}")
            status = FAILED
        except OSError as error:
            output.say(f"songprint: {error}")
            status = FAILED
        except Exception:
            traceback.print_exc()
            output.say("songprint: this is a bug in Songprint; please report it with the lines above")
            status = FAILED  # Python's own 1 would mean "no match"
        sys.exit(status)
