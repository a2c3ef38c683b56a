"""`songprint listen` and `songprint watch`, which run until they are stopped."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from songprint.cli import output
from songprint.cli.commands import FILE, PATTERN, command, note_added, open_library, print_json, show_failure
from songprint.cli.exporting import FORMATS, Outputs, show
from songprint.cli.output import duration, printable, say, segment_details, text
from songprint.cli.program import DONE, NO_MATCH, Common
from songprint.errors import AudioError, SongprintError

if TYPE_CHECKING:
    from songprint import Library
    from songprint.ingest.watch import Folder
    from songprint.types import Event, Timeline


@command("listen")
@click.argument("source", metavar="URL|-", type=FILE)
@click.option(
    "--raw",
    metavar="RATE:CHANNELS:FORMAT",
    help="Standard input contains samples without a header, for example 44100:2:s16le.",
)
@click.option(
    "--log",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also append the events to DIR, one file of JSON lines per day (UTC).",
)
@click.option(
    "--stall",
    type=click.FloatRange(min=1.0),
    default=10.0,
    metavar="SECONDS",
    show_default=True,
    help="Reconnect if no data arrives for this long.",
)
@click.option(
    "--give-up",
    type=click.FloatRange(min=0.0),
    metavar="SECONDS",
    help="Exit with an error if the stream has been away for this long. Default: never.",
)
def listen(
    common: Common, source: str, raw: str | None, folder: Path | None, stall: float, give_up: float | None
) -> int:
    """Identify the songs in a web radio or a pipe as they play.

    Reports each song when it is recognised, and again with its times when it is over. `-` reads audio from standard
    input. A stream that stalls or breaks is reconnected, and the gap is reported. Runs until the stream ends, Ctrl-C or
    SIGTERM.

    Exit status: 0 if it was stopped or a song was recognised, 1 if the stream ended without one, 2 for an error.
    """
    if raw and source != "-":
        raise click.UsageError("--raw is for samples on standard input: songprint listen - --raw 44100:2:s16le")
    from songprint.audio.streams.live import Raw
    from songprint.scan.listen import DailyLog

    raw_format, log = Raw.parsed(raw) if raw else None, DailyLog(folder) if folder else None
    recognised = False
    with open_library(common) as library, stopped_by_signals() as stop:
        for event in library.listen(
            sys.stdin.buffer if source == "-" else source, stop=stop, raw=raw_format, stall=stall, give_up=give_up
        ):
            recognised |= event.segment is not None
            if log:
                log.write(event)
            _print_event(common, event)
        return DONE if recognised or stop.is_set() else NO_MATCH


def _print_event(common: Common, event: Event) -> None:
    if common.json:
        print_json([event])
    elif event.segment or not common.quiet:
        moment = event.at
        if event.segment:
            interval = event.segment.interval
            moment = event.when(interval.end if event.type == "ended" else interval.start)
        output.console().print(text((f"{moment.astimezone():%Y-%m-%d %H:%M:%S}  ", "dim"), *_description(event)))
    sys.stdout.flush()  # pipes are buffered; the reader gets each event immediately


def _description(event: Event) -> tuple[str | tuple[str, str], ...]:
    """An event as text, in parts with an optional style."""
    name = (event.segment.recording.name, "bold green") if event.segment else ""
    return {
        "connected": (f"connected: {event.text}" if event.text else "connected",),
        "announced": ((f"announced: {event.text or 'nothing'}", "dim"),),
        "started": (name, f", {segment_details(event.segment)}") if event.segment else (),
        "ended": ("ended: ", name, f", played for {duration(event.seconds)}"),
        "withdrawn": ("withdrawn: ", name, " was a false detection"),
        "gap": ((f"gap: {event.text}", "yellow"),),
        "reconnected": (f"reconnected after {duration(event.seconds)}",),
        "finished": ("finished",),
    }[event.type]


@command("watch")
@click.argument("folder", metavar="DIR", type=FILE)
@click.option(
    "--scan", is_flag=True, help="List the songs in each file, as `songprint scan` does, instead of adding it."
)
@click.option(
    "--format", "format_name", type=click.Choice(list(FORMATS)), help="With --scan: write the timelines in this format."
)
@click.option(
    "--output",
    "results",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --format: write one file per input to DIR instead of standard output.",
)
@click.option("--new-only", is_flag=True, help="Ignore files that are already in the folder.")
@click.option("--no-recursive", is_flag=True, help="Skip the folders inside the folder.")
@click.option(
    "--settle",
    type=click.FloatRange(min=0.0),
    default=5.0,
    metavar="SECONDS",
    show_default=True,
    help="How long a file must be unchanged before it is read.",
)
@PATTERN
def watch(
    common: Common,
    folder: str,
    scan: bool,
    format_name: str | None,
    results: Path | None,
    new_only: bool,
    no_recursive: bool,
    settle: float,
    pattern: str | None,
) -> int:
    """Add the files of a folder, and every new file in it.

    With --scan, lists the songs in each file instead. A file is read when it has not changed for a while. Unreadable
    files are reported and skipped until they change. Runs until Ctrl-C or SIGTERM.

    Exit status: 0 when stopped, 2 for an error.
    """
    if (format_name and not scan) or (results and not format_name):
        raise click.UsageError("--output needs --format, and --format needs --scan")
    if pattern and scan:
        raise click.UsageError("--pattern is for adding files, not for --scan")
    from songprint.ingest.watch import Folder
    from songprint.ingest.watch import watch as watch_folder
    from songprint.store import places

    watched = Folder(folder, recursive=not no_recursive, settle=settle)
    if new_only:
        watched.ignore_present()
    with open_library(common, create=not scan) as library, stopped_by_signals() as stop:
        take = (
            _scanning(common, library, watched.path, format_name, results, stop)
            if scan
            else _adding(common, library, stop, pattern)
        )
        if not scan and not new_only:
            places.remember_folder(library.store.catalog, watched.path, recursive=watched.recursive)
        if not common.quiet:
            say(f"songprint: watching {watched.path}; stop with Ctrl-C")
        with suppress(KeyboardInterrupt):
            lose = None if scan else partial(_lose, common, library, watched)
            watch_folder(watched, take, stop=stop, on_lost_files=lose)
    return DONE


def _adding(
    common: Common, library: Library, stop: threading.Event, pattern: str | None
) -> Callable[[list[str]], None]:
    """Return a function that adds files and prints the result of each."""
    from songprint.ingest.update import tag_rules

    tag_rules(library.store, pattern)  # an invalid pattern is no reason to try again later

    def take(files: list[str]) -> None:
        report = library.add(files, pattern=pattern, on_progress=lambda progress: _check_stop(stop))
        note_added(library, report.added)
        output.say_skipped(report.skipped)
        for warning in report.warnings:
            say(f"songprint: {warning}")
        if common.json:
            from songprint.formats.objects import add_objects

            print_json([each for each in add_objects(report) if each["outcome"] != "finished"])
        elif not common.quiet:
            for recording in report.added:
                print(printable(f"added {recording.id}: {recording.name}"))
            for change in report.changes:
                print(output.change(change))
            changed = {change.path for change in report.changes}
            for known in report.known:
                if known.path in changed:
                    continue
                print(printable(f"already in the library as {known.recording_id}: {known.path}"))
        sys.stdout.flush()

    return take


def _lose(common: Common, library: Library, folder: Folder) -> None:
    """Mark the files that have gone from the folder, and print them."""
    from songprint.ingest.sync import mark_gone

    for change in mark_gone(library.store, folder.path, recursive=folder.recursive):
        if common.json:
            print_json([change])
        elif not common.quiet:
            print(output.change(change))
    sys.stdout.flush()


def _scanning(
    common: Common, library: Library, folder: str, format_name: str | None, results: Path | None, stop: threading.Event
) -> Callable[[list[str]], None]:
    """Return a function that scans files one after the other. Interrupted scans resume the next time."""
    from songprint.scan.resuming import file_of

    def take(files: list[str]) -> None:
        for file in files:
            _check_stop(stop)
            result = _result(results, Path(file).relative_to(folder), format_name) if results and format_name else None
            if result and result.exists() and result.stat().st_mtime >= Path(file).stat().st_mtime:
                continue
            try:
                timeline = library.scan(
                    file, resume=file_of(library.store, file), on_progress=lambda progress: _check_stop(stop)
                )
            except AudioError as error:
                show_failure(common, file, error)
                continue
            _check_stop(stop)
            if result and format_name:
                write_atomically(result, timeline, format_name)
                if not common.quiet:
                    print(printable(f"{file}: {output.counted(len(timeline.songs), 'song')}: {result}"), flush=True)
            else:
                show(common, timeline, file, Outputs([format_name] if format_name else [], [], [file]))

    return take


def _result(results: Path, file: Path, format_name: str) -> Path:
    """`results/monday/show.mp3.srt` for `monday/show.mp3`. The suffix is kept: names may differ in nothing else."""
    from songprint.formats import FORMATS

    return results / file.parent / (file.name + FORMATS[format_name].suffix)


def write_atomically(path: Path, timeline: Timeline, format_name: str) -> None:
    """Write a timeline so that no other program ever sees a part of the file."""
    from songprint import formats

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.part")
        unfinished.write_text(formats.write(timeline, format_name), encoding="utf-8", newline="")
        unfinished.replace(path)
    except OSError as error:
        raise SongprintError(f"cannot write {path}: {error.strerror}") from error


def _check_stop(stop: threading.Event) -> None:
    """Raise KeyboardInterrupt if the command should stop; called between two steps of a long operation."""
    if stop.is_set():
        raise KeyboardInterrupt


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set. A second signal has its previous effect."""
    stop = threading.Event()
    before: dict[int, Any] = {}

    def handle(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
