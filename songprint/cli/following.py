"""`songprint listen` and `songprint watch`: what goes on until it is stopped."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from songprint.cli import output
from songprint.cli.commands import FILE, command, open_library, print_json, show_failure
from songprint.cli.output import duration, printable, say, text
from songprint.cli.program import DONE, NO_MATCH, Common
from songprint.cli.scanning import FORMATS, show
from songprint.cli.timelines import details
from songprint.errors import AudioError, SongprintError

if TYPE_CHECKING:
    from songprint import Library
    from songprint.types import Event, Timeline


@command("listen")
@click.argument("source", metavar="URL|-", type=FILE)
@click.option(
    "--raw", metavar="RATE:CHANNELS:FORMAT", help="Standard input is samples without a header, as 44100:2:s16le."
)
@click.option(
    "--log",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also keep what happens there, in a file of JSON lines for each day (UTC).",
)
@click.option(
    "--stall",
    type=click.FloatRange(min=1.0),
    default=10.0,
    metavar="SECONDS",
    show_default=True,
    help="Connect again when nothing came for so long.",
)
@click.option(
    "--give-up",
    type=click.FloatRange(min=0.0),
    metavar="SECONDS",
    help="End when the stream has been away for so long. Default: never.",
)
def listen(
    common: Common, source: str, raw: str | None, folder: Path | None, stall: float, give_up: float | None
) -> int:
    """Follow a web radio, or sound on standard input (`-`), and tell which songs are heard.

    A song is told when it is recognised and when it is over. A stream that stalls or breaks is connected again, and the
    gap is told. Goes on until the sound ends, Ctrl-C or SIGTERM.

    Exit status: 0 if it was stopped or a song was heard, 1 if the sound ended and none was, 2 for an error.
    """
    if raw and source != "-":
        raise click.UsageError("--raw is for samples on standard input: songprint listen - --raw 44100:2:s16le")
    from songprint.audio.streams.live import Raw
    from songprint.scan.listen import DailyLog

    form, log = Raw.parsed(raw) if raw else None, DailyLog(folder) if folder else None
    heard = False
    with open_library(common) as library, stopped_by_signals() as stop:
        for event in library.listen(
            sys.stdin.buffer if source == "-" else source, stop=stop, raw=form, stall=stall, give_up=give_up
        ):
            heard |= event.segment is not None
            if log:
                log.write(event)
            _tell(common, event)
        return DONE if heard or stop.is_set() else NO_MATCH


def _tell(common: Common, event: Event) -> None:
    if common.json:
        from songprint.formats.objects import event_object

        print_json([event_object(event)])
    elif event.segment or not common.quiet:
        moment = (
            event.at
            if event.segment is None
            else event.when(event.segment.interval.end if event.type == "ended" else event.segment.interval.start)
        )
        output.console().print(text((f"{moment.astimezone():%Y-%m-%d %H:%M:%S}  ", "dim"), *_told(event)))
    sys.stdout.flush()  # seen at once, also through a pipe


def _told(event: Event) -> tuple[str | tuple[str, str], ...]:
    """An event in words."""
    name = (event.segment.recording.name, "bold green") if event.segment else ""
    return {
        "connected": (f"on air: {event.text}" if event.text else "on air",),
        "announced": ((f"announced: {event.text or 'nothing'}", "dim"),),
        "started": (name, f", {details(event.segment)}") if event.segment else (),
        "ended": ("over: ", name, f", heard for {duration(event.seconds)}"),
        "withdrawn": ("it was not ", name, " after all"),
        "gap": ((f"gap: {event.text}", "yellow"),),
        "reconnected": (f"on air again, {duration(event.seconds)} later",),
        "finished": ("the end",),
    }[event.type]


@command("watch")
@click.argument("folder", metavar="DIR", type=FILE)
@click.option("--scan", is_flag=True, help="List the songs in each new file, and do not add it.")
@click.option(
    "--format", "format_name", type=click.Choice(list(FORMATS)), help="With --scan: write timelines in this format."
)
@click.option(
    "--output",
    "results",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --scan and --format: write a file for each there, not to standard output.",
)
@click.option("--new-only", is_flag=True, help="Leave alone what is in the folder already.")
@click.option("--no-recursive", is_flag=True, help="Leave out the folders inside the folder.")
@click.option(
    "--settle",
    type=click.FloatRange(min=0.0),
    default=5.0,
    metavar="SECONDS",
    show_default=True,
    help="For how long a file must not have changed to be complete.",
)
def watch(
    common: Common,
    folder: str,
    scan: bool,
    format_name: str | None,
    results: Path | None,
    new_only: bool,
    no_recursive: bool,
    settle: float,
) -> int:
    """Add the music files of a folder, and each new one as it appears; with --scan list the songs in each.

    A file is taken when it has not changed for a while. What is there already comes first. A file that cannot be read
    is said and left until it changes. Goes on until Ctrl-C or SIGTERM.

    Exit status: 0 when stopped, 2 for an error.
    """
    if (format_name and not scan) or (results and not format_name):
        raise click.UsageError("--output needs --format, and --format needs --scan")
    from songprint.ingest.watch import Folder
    from songprint.ingest.watch import watch as watch_folder

    watched = Folder(folder, recursive=not no_recursive, settle=settle)
    if new_only:
        watched.leave_out_what_is_there()
    with open_library(common, create=not scan) as library, stopped_by_signals() as stop:
        take = (
            _scanning(common, library, watched.path, format_name, results, stop)
            if scan
            else _adding(common, library, stop)
        )
        if not common.quiet:
            say(f"songprint: watching {watched.path}; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            watch_folder(watched, take, stop=stop)
    return DONE


def _adding(common: Common, library: Library, stop: threading.Event) -> Callable[[list[str]], None]:
    """Adds files, and says what became of each."""

    def take(files: list[str]) -> None:
        report = library.add(files, on_progress=lambda progress: _go_on(stop))
        output.say_skipped(report.skipped)
        for warning in report.warnings:
            say(f"songprint: {warning}")
        if common.json:
            from songprint.formats.objects import add_objects

            print_json([each for each in add_objects(report) if each["outcome"] != "finished"])
        elif not common.quiet:
            for recording in report.added:
                print(printable(f"added {recording.id}: {recording.name}"))
            for known in report.known:
                print(printable(f"known as {known.recording_id}: {known.path}"))
        sys.stdout.flush()

    return take


def _scanning(
    common: Common, library: Library, folder: str, format_name: str | None, results: Path | None, stop: threading.Event
) -> Callable[[list[str]], None]:
    """Scans files one after the other. What one that was stopped had found is kept, and the next time it goes on."""
    from songprint.scan.resuming import file_of

    def take(files: list[str]) -> None:
        for file in files:
            _go_on(stop)
            result = results and _result(results, Path(file).relative_to(folder), format_name)
            if result and result.exists() and result.stat().st_mtime >= Path(file).stat().st_mtime:
                continue
            try:
                timeline = library.scan(
                    file, resume=file_of(library.store, file), on_progress=lambda progress: _go_on(stop)
                )
            except AudioError as error:
                show_failure(common, file, error)
                continue
            _go_on(stop)
            if result:
                write_whole(result, timeline, format_name)
                if not common.quiet:
                    print(printable(f"{file}: {output.counted(len(timeline.songs), 'song')}: {result}"), flush=True)
            else:
                show(common, file, timeline, format_name, None)

    return take


def _result(results: Path, file: Path, format_name: str) -> Path:
    """`results/programmes/monday.mp3.srt` for `programmes/monday.mp3`: two files may differ in their suffix alone."""
    from songprint.formats import FORMATS

    return results / file.parent / (file.name + FORMATS[format_name].suffix)


def write_whole(path: Path, timeline: Timeline, format_name: str) -> None:
    """Whoever waits for the file never sees half of it."""
    from songprint import formats

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{path.name}.part")
        half.write_text(formats.write(timeline, format_name), encoding="utf-8", newline="")
        half.replace(path)
    except OSError as error:
        raise SongprintError(f"cannot write {path}: {error.strerror}") from error


def _go_on(stop: threading.Event) -> None:
    """Between two steps of something long: KeyboardInterrupt if it is to stop."""
    if stop.is_set():
        raise KeyboardInterrupt


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set. A second Ctrl-C does what it always does."""
    stop = threading.Event()
    before = {}

    def handle(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
