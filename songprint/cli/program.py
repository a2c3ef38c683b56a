"""What all commands share: the common options, the help page, and how errors become messages and exit statuses."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from songprint.cli import output
from songprint.errors import SongprintError

if TYPE_CHECKING:
    from songprint import Library
    from songprint.config import Settings

DONE, NO_MATCH, FAILED, INTERRUPTED = 0, 1, 2, 130

Decorated = TypeVar("Decorated", bound="Callable[..., Any] | click.Command")


@dataclass
class Common:
    """The options of every command, which may be given before or after its name."""

    library: Path | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False

    def settings(self) -> Settings:
        from songprint import config

        return config.load().with_(library=self.library)

    def open(self, *, create: bool = False) -> Library:
        from songprint.library import Library

        settings = self.settings()
        return Library(settings.library, create=create, settings=settings)


def common_options(command: Decorated) -> Decorated:
    """Add --library, --json, --quiet and --verbose. Their values are stored in the `Common` of the context."""

    def store(context: click.Context, parameter: click.Parameter, value: object) -> None:
        common = context.ensure_object(Common)
        if value and parameter.name:
            setattr(common, parameter.name, value)

    def option(*names: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
        return click.option(*names, callback=store, expose_value=False, **attributes)

    for decorate in (
        option("--verbose", is_flag=True, help="Also log internal steps."),
        option("--quiet", is_flag=True, help="Print results and errors only, no progress and no summary."),
        option("--json", is_flag=True, help="Print results as JSON, one object per line."),
        option(
            "--library",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="The library folder. Default: $SONGPRINT_LIBRARY, or ~/.local/share/songprint/library.",
        ),
    ):
        command = decorate(command)
    return command


class Command(click.Command):
    """A command whose help page lists its own options before the common ones."""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        common_options = {f"--{each.name}" for each in fields(Common)} | {"--help"}
        own: list[tuple[str, str]] = []
        common: list[tuple[str, str]] = []
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if record:
                (common if common_options & set(parameter.opts) else own).append(record)
        for title, records in (("Options", own), ("Options of every command", common)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Program(click.Group):
    """A command group with our exit statuses, one-line error messages and a help page in sections."""

    command_class = Command
    sections: Mapping[str, Sequence[str]] = {}  # heading on the help page: names of commands

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)  # in the order of definition; click sorts by name

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section. Summaries are never shortened, unlike click's."""
        sections = self.sections or {"Commands": self.list_commands(context)}
        width = max(len(name) for names in sections.values() for name in names)
        for title, names in sections.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), self.commands[name].get_short_help_str(1000)) for name in names]
                )

    def invoke(self, context: click.Context) -> Any:
        try:
            status = super().invoke(context)
            sys.stdout.flush()
            return status
        except BrokenPipeError:  # the reader has closed the pipe: `songprint list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run the command line and exit. Errors of the user are one line; only bugs show a traceback."""
        for stream in (sys.stdout, sys.stderr):
            output.prepare(stream)
        options["standalone_mode"] = False
        try:
            status = super().main(*args, **options) or DONE
        except click.ClickException as error:
            error.show()
            status = error.exit_code
        except click.Abort:  # click raises this for Ctrl-C
            output.say("songprint: interrupted")
            status = INTERRUPTED
        except (SongprintError, OSError) as error:
            output.say(f"songprint: {error}")
            status = FAILED
        except Exception:
            traceback.print_exc()
            output.say("songprint: this is a bug in Songprint; please report it with the lines above")
            status = FAILED  # Python's own status, 1, means "no match" here
        sys.exit(status)
