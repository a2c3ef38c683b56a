"""Where timelines are written, for `scan`, `export` and `jobs export`; and the command `songprint export`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TypeVar

import click

from songprint.cli.commands import FILE, command, print_json, set_up_logging, show_failure
from songprint.cli.output import prepare, print_timeline, say
from songprint.cli.program import DONE, FAILED, Common
from songprint.errors import SongprintError

if TYPE_CHECKING:
    from songprint.types import Timeline

# The names in `songprint.formats.FORMATS`, repeated here because importing that module would slow down `--help`.
FORMATS = ("json", "jsonl", "csv", "audacity", "cue", "srt", "vtt", "tracklist")
UNNAMED = "timeline"  # name of the files of a timeline whose source is unknown, such as standard input

Function = TypeVar("Function", bound=Callable[..., object])


def format_options(function: Function) -> Function:
    """Add --format and --output, which `Outputs` takes as they are."""
    for decorate in (
        click.option(
            "--output",
            "outputs",
            multiple=True,
            metavar="PATH",
            help="Write to this file instead of standard output; once per --format, in the same order. A folder takes"
            " all formats. Default for several formats: the current folder.",
        ),
        click.option(
            "--format",
            "formats",
            type=click.Choice(list(FORMATS)),
            multiple=True,
            help="Write timelines in this format; may be repeated.",
        ),
    ):
        function = decorate(function)
    return function


@dataclass(frozen=True)
class Outputs:
    """The formats in which timelines are written, and the files or the folder that they are written to.

    Raises UsageError if the options do not fit together. `sources` are the names of all timelines.
    """

    formats: Sequence[str]
    paths: Sequence[str]
    sources: Sequence[str]

    def __post_init__(self) -> None:
        if len(set(self.formats)) < len(self.formats):
            raise click.UsageError("each --format can be given once")
        if self.paths and not self.formats:
            raise click.UsageError("--output needs --format")
        if self._folder is None:
            if self.paths and len(self.paths) != len(self.formats):
                raise click.UsageError("--output needs one file per --format, or one folder (`DIR/`)")
            if self.paths and len(self.sources) > 1:
                raise click.UsageError("--output with a file takes the timeline of one FILE; use a folder (`DIR/`)")
        elif len({_base(source) for source in self.sources}) < len(self.sources):
            raise click.UsageError("two inputs have the same name, so their timelines do not fit into one folder")

    @property
    def _folder(self) -> Path | None:
        """The folder that takes all formats of all timelines; None for files and standard output."""
        if not self.paths:
            return Path() if len(self.formats) > 1 else None
        separators = tuple(each for each in (os.sep, os.altsep) if each)
        if len(self.paths) == 1 and (self.paths[0].endswith(separators) or Path(self.paths[0]).is_dir()):
            return Path(self.paths[0])
        return None

    def targets(self, source: str) -> Mapping[str, Path | None]:
        """The file of each format for a timeline; None for standard output."""
        from songprint.formats import FORMATS as TABLE

        folder = self._folder
        if folder is None:
            return dict(zip(self.formats, map(Path, self.paths) if self.paths else [None], strict=False))
        suffixes = [TABLE[name].suffix for name in self.formats]
        return {
            name: folder / f"{_base(source)}{f'.{name}' if suffixes.count(suffix) > 1 else ''}{suffix}"
            for name, suffix in zip(self.formats, suffixes, strict=True)
        }

    def write(self, timeline: Timeline, source: str, *, quiet: bool = False) -> None:
        """Write a timeline in all formats."""
        from songprint import formats

        for name, path in self.targets(source).items():
            content = formats.write(timeline, name)
            if path is None:
                prepare(sys.stdout, json=True)
                sys.stdout.write(content)
                continue
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8", newline="")
            except OSError as error:
                raise SongprintError(f"cannot write {path}: {error.strerror}") from error
            if self._folder is not None and not quiet:
                say(f"songprint: wrote {path}")


def _base(source: str) -> str:
    """The name of the files of a timeline, without suffix: `show.mp3` for `/recordings/show.mp3`."""
    name = PurePath(source).name
    return UNNAMED if name in ("", "-", "..") else name


def show(common: Common, timeline: Timeline, source: str, outputs: Outputs) -> None:
    """Write the timeline in the requested formats; without one, print it."""
    for warning in timeline.warnings:
        say(f"songprint: {source}: {warning}")
    if outputs.formats:
        outputs.write(timeline, source, quiet=common.quiet)
    elif common.json:
        print_json([timeline])
    else:
        print_timeline(timeline, source)
    sys.stdout.flush()


@command("export")
@click.argument("results", nargs=-1, required=True, metavar="RESULT...", type=FILE)
@format_options
@click.option("--plot", metavar="FILE", help="Draw the timeline to FILE: PNG, PDF or SVG.")
def export(
    common: Common, results: Sequence[str], formats: Sequence[str], outputs: Sequence[str], plot: str | None
) -> int:
    """Write saved timelines in other formats.

    RESULT is a file, or `-` for standard input, with the output of `songprint scan --json`, with a timeline in the
    format `json` or `jsonl`, or with a finished job as JSON. Without --format, the timelines are printed.

    Exit status: 0 if every timeline was written, 2 if a file contains none.
    """
    from songprint.formats import structured

    set_up_logging(common)
    found: list[Timeline] = []
    status = DONE
    for result in results:
        try:
            found += structured.read(_content(result), result)
        except SongprintError as error:
            show_failure(common, result, error)
            status = FAILED
    sources = [timeline.source or UNNAMED for timeline in found]
    writing = Outputs(formats, outputs, sources)
    if plot and len(found) > 1:
        raise click.UsageError("--plot takes one timeline")
    for timeline, source in zip(found, sources, strict=True):
        show(common, timeline, source, writing)
        if plot:
            from songprint.formats import picture

            picture.timeline(timeline, plot)
    return status


def _content(path: str) -> str:
    """The text of a file or of standard input. Raises SongprintError if it cannot be read."""
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise SongprintError(f"cannot read {path}: {error.strerror}") from error
    return content.decode("utf-8", "replace")
