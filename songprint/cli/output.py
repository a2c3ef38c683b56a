"""Text output: in colour on a terminal, one plain line per result in a pipe.

Results go to stdout, everything else to stderr. rich is imported only when something is printed.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from songprint.covers.explain import Explanation
    from songprint.types import (
        AddReport,
        FileChange,
        Interval,
        LevelStats,
        Match,
        Recording,
        Report,
        Section,
        Segment,
        SkippedFile,
        Stats,
        SyncReport,
        Timeline,
    )

MIN_SPEED_CHANGE = 0.003  # of the speed of a recording, as a fraction
MIN_KEY_CHANGE = 0.1  # semitones, of a recording
MIN_TEMPO_CHANGE = 0.02  # of the tempo of a cover, as a fraction
MIN_GAP = 2.0  # seconds; shorter gaps of a timeline are not printed


def duration(seconds: float) -> str:
    """Format a duration, rounded to seconds, as m:ss or h:mm:ss.

    >>> duration(185), duration(3725)
    ('3:05', '1:02:05')
    """
    from songprint.types import duration_text

    return duration_text(seconds)


def position(seconds: float) -> str:
    """Format a position, rounded to tenths of a second.

    >>> position(42.34), position(59.96), position(3723.4)
    ('0:42.3', '1:00.0', '1:02:03.4')
    """
    tenths = max(0, round(seconds * 10))
    return f"{duration(tenths // 10)}.{tenths % 10}"


def size(count: float) -> str:
    """Format a number of bytes with a suitable unit.

    >>> size(999), size(2_345_678)
    ('999 bytes', '2.3 MB')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} bytes"


def counted(count: int, noun: str) -> str:
    """Format a number with a noun, in the plural if necessary.

    >>> counted(1, "file"), counted(2, "file")
    ('1 file', '2 files')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def printable(text: str) -> str:
    """Return the text as one line without control characters, so that a title cannot move the cursor.

    Bytes of file names that are not valid text are escaped.

    >>> print(printable("two\\nlines \\x1b[31m a\\udcff"))
    two lines \\x1b[31m a\\udcff
    """
    return "".join(
        letter if letter.isprintable() else " " if letter.isspace() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def prepare(stream: TextIO, *, json: bool = False) -> None:
    """Configure a stream to escape what it cannot encode instead of failing; with `json`, to use UTF-8."""
    if hasattr(stream, "reconfigure"):
        if json:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        else:
            stream.reconfigure(errors="backslashreplace")


def say(line: str = "") -> None:
    """Print a message to stderr."""
    print(printable(line), file=sys.stderr, flush=True)


def console(stream: TextIO | None = None) -> Console:
    """Return a rich console: coloured on a terminal unless NO_COLOR is set, plain text otherwise."""
    from rich.console import Console

    return Console(file=stream or sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_report(report: Report, name: str) -> None:
    """Print the result of identifying a clip: two lines per match on a terminal, one in a pipe."""
    screen = console()
    for warning in report.warnings:
        say(f"songprint: {name}: {warning}")
    for match in report.matches:
        title = text((name, "bold"), ": ", (match.recording.name, "bold green"))
        if screen.is_terminal:
            screen.print(title)
            screen.print(text("    ", match_details(match)))
        else:
            screen.print(title + text(", ", match_details(match)))
    if not report.matches:
        screen.print(text((name, "bold"), ": ", ("no match", "yellow"), f": {report.reason}"))
    for candidate in report.candidates:
        line = f"{name}: below the threshold: {candidate.recording.name}, {match_details(candidate)}"
        screen.print(text((line, "dim")))


def match_details(match: Match) -> str:
    """`recording, 97% confident, at 0:42.3 of 3:05, +4.0% speed, from 0:00.0 to 0:08.0 of the clip`

    The original of the song is included if it is another recording.
    """
    place = f"at {position(match.reference.start)} of {duration(match.recording.duration)}"
    parts = [*_description(match, place), f"from {between(match.query)} of the clip"]
    return ", ".join(parts + _copies(match))


def segment_details(segment: Segment) -> str:
    """`recording, 99% confident, 0:42.0 to 1:20.5 of 3:05, +4.0% speed`"""
    place = f"{between(segment.reference)} of {duration(segment.recording.duration)}"
    return ", ".join(_description(segment, place) + _copies(segment))


def _copies(found: Match | Segment) -> list[str]:
    """`also in the library as 3 and 8`, if other recordings are the same one."""
    ids = " and ".join(map(str, found.alternatives))
    return [f"also in the library as {ids}"] if ids else []


def _description(found: Match | Segment, place: str) -> list[str]:
    """Kind, original if it is another recording, confidence, place in the recording, and changes."""
    parts = [str(found.kind)]
    if found.original and found.original.id != found.recording.id:
        parts.append(f"original: {found.original.name}")
    parts += [f"{int(found.confidence)}% confident", place]
    parts += [f"in audio track {found.track}"] if found.track is not None else []
    parts += [f"in the {found.channel} channel"] if found.channel else []
    return parts + (changes(found.speed, found.key_shift) if found.kind == "recording" else cover_changes(found))


def cover_changes(found: Match | Segment) -> list[str]:
    """`+4 semitones`, `-10% tempo`. Covers are transposed by whole semitones, and their tempo varies."""
    key = [f"{round(found.key_shift):+} semitones"] if found.key_shift else []
    return key + ([f"{100 * (found.speed - 1):+.0f}% tempo"] if abs(found.speed - 1) >= MIN_TEMPO_CHANGE else [])


def changes(speed: float, key_shift: float) -> list[str]:
    """Describe a change of speed (tempo and pitch together, as on a turntable), of tempo alone or of pitch alone.

    >>> changes(1.04, 0.68), changes(1.06, 0.0), changes(1.0, -2.0)
    (['+4.0% speed'], ['+6.0% tempo'], ['-2.0 semitones'])
    >>> changes(1.001, 0.0), changes(0.95, 1.0)
    ([], ['-5.0% tempo', '+1.0 semitones'])
    """
    changed = abs(speed - 1) >= MIN_SPEED_CHANGE
    if changed and abs(key_shift - 12 * math.log2(speed)) < MIN_KEY_CHANGE:
        return [f"{100 * (speed - 1):+.1f}% speed"]
    tempo = [f"{100 * (speed - 1):+.1f}% tempo"] if changed else []
    return tempo + ([f"{key_shift:+.1f} semitones"] if abs(key_shift) >= MIN_KEY_CHANGE else [])


def print_timeline(timeline: Timeline, name: str) -> None:
    """Print the number of songs, then one line per segment and gap, ordered by time."""
    from songprint.formats.entries import EVERY_SOUND, entries, gap_label  # needs NumPy, `songprint --help` does not
    from songprint.types import Gap

    screen = console()
    screen.print(text((name, "bold"), f": {duration(timeline.duration)}, {counted(len(timeline.songs), 'song')}"))
    width = len(position(timeline.duration))
    for entry in entries(timeline, EVERY_SOUND):
        times = f"{position(entry.interval.start):>{width}} - {position(entry.interval.end):>{width}}  "
        if isinstance(entry, Gap):
            if entry.interval.duration >= MIN_GAP:
                screen.print(text((times + gap_label(entry), "dim")))
        else:
            screen.print(text(times, (entry.recording.name, "bold green"), f", {segment_details(entry)}"))


def print_renditions(matches: Iterable[Match]) -> None:
    """Print the covers and duplicates of a recording: one line each, followed by the corresponding parts."""
    screen = console()
    for match in matches:
        kind = "duplicate" if match.kind == "recording" else "cover"
        parts = [kind, f"{int(match.confidence)}% confident", *cover_changes(match)]
        if match.work:
            parts.append(f"of {match.work!r}")
        screen.print(text(f"{match.recording.id:>6}  ", (match.recording.name, "bold green"), f", {', '.join(parts)}"))
        print_sections(match.sections)


def print_sections(sections: Iterable[Section]) -> None:
    screen = console()
    for section in sections:
        screen.print(
            text((f"        {between(section.query)} corresponds to {between(section.reference)} of the other", "dim"))
        )


def between(interval: Interval) -> str:
    return f"{position(interval.start)} to {position(interval.end)}"


def print_explanation(explanation: Explanation) -> None:
    """Print how two renditions correspond; nothing if they do not."""
    found = explanation.alignment
    if found is None:
        return
    print_fields(
        {
            "query": explanation.query,
            "reference": explanation.reference,
            "key shift": f"{found.key_shift:+} semitones" if found.key_shift else "none",
            "tempo": f"{100 * (found.tempo - 1):+.0f}%",
            "score": f"{found.score:.2f}",
        }
    )
    print_sections(found.sections)


def print_recordings(recordings: Sequence[Recording]) -> None:
    """Print a table on a terminal, otherwise one line per recording with id, duration and name."""
    print_pages([recordings], several=False)


def print_pages(pages: Iterable[Sequence[Recording]], *, several: bool) -> None:
    """Print recordings as `print_recordings` does, one page after the other, with one header.

    The columns of a table of several pages have fixed widths, so that they are aligned.
    """
    screen = console()
    for number, recordings in enumerate(pages):
        if screen.is_terminal:
            if recordings:
                screen.print(_table(recordings, header=not number, fixed=several))
            continue
        for recording in recordings:
            print(f"{recording.id:>6}  {duration(recording.duration):>7}  {printable(recording.name)}")


def _table(recordings: Iterable[Recording], *, header: bool, fixed: bool) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", show_header=header, expand=fixed)
    table.add_column("id", justify="right", style="cyan", width=6 if fixed else None)
    table.add_column("length", justify="right", width=7 if fixed else None)
    for column in ("title", "artists", "album"):
        table.add_column(column, overflow="fold", ratio=1 if fixed else None)
    for recording in recordings:
        table.add_row(
            str(recording.id),
            duration(recording.duration),
            text(recording.title),
            text(", ".join(recording.artists)),
            text(recording.tags.album),
        )
    return table


def print_recording(recording: Recording, paths: Sequence[str]) -> None:
    """Print all information about a recording and its files, one field per line."""
    tags = recording.tags
    print_fields(
        {
            "id": recording.id,
            "title": tags.title,
            "artists": ", ".join(tags.artists),
            "album": tags.album,
            "track": tags.track,
            "year": tags.year,
            "ISRC": tags.isrc,
            "MusicBrainz recording": tags.musicbrainz_recording_id,
            "MusicBrainz release": tags.musicbrainz_release_id,
            "work": tags.work,
            "original": "marked as the original of its work" if recording.original else "",
            "duration": duration(recording.duration),
            **{"file" if number == 1 else f"file {number}": path for number, path in enumerate(paths, start=1)},
            "missing since": recording.missing_since,
            "added": recording.added_at,
            "content hash": recording.content_hash,
            **{f"field {name}": json.dumps(value, ensure_ascii=False) for name, value in recording.fields.items()},
        }
    )


def print_stats(stats: Stats) -> None:
    hours = stats.duration / 3600
    total = stats.catalogue_bytes + stats.index_bytes + stats.companion_bytes
    print_fields(
        {
            "library": stats.path,
            "database": stats.database,
            "recordings": f"{stats.recordings:,}",
            "music": duration(stats.duration),
            "catalogue on disk": size(stats.catalogue_bytes),
            "index on disk": size(stats.index_bytes),
            "peak files on disk": size(stats.companion_bytes) if stats.companion_bytes else "",
            "space per hour": size(total / hours) if hours else "",
            "schema version": stats.schema_version,
            **{f"kind {level.kind}": level_stats(level, stats.recordings, hours) for level in stats.levels},
        }
    )


def level_stats(level: LevelStats, recordings: int, hours: float) -> str:
    """Describe the size of a library for one kind of match in one line."""
    missing = recordings - level.recordings
    remedy = f"{counted(missing, 'recording')} without {level.kind} vectors: run `songprint rebuild --reencode`"
    if not level.encoder_id:
        return remedy if missing else "empty"
    total = level.catalogue_bytes + level.index_bytes + level.companion_bytes
    space = f"{size(total / hours)} per hour" if hours else "no music"
    return (
        f"{counted(level.recordings, 'recording')}, {counted(level.segments, 'segment')}, {space},"
        f" index {level.index}, encoder {level.encoder_id}" + (f"; {remedy}" if missing else "")
    )


def print_fields(fields: dict[str, object]) -> None:
    """Print `name: value` lines; empty values are omitted."""
    screen = console()
    present = {name: value for name, value in fields.items() if value not in (None, "")}
    width = max(map(len, present))
    for name, value in present.items():
        screen.print(text((f"{name + ':':<{width + 1}} ", "dim"), str(value)))


def print_check(passed: bool, name: str, detail: str) -> None:
    mark = ("✓", "green") if passed else ("✗", "bold red")
    console().print(text(mark, f" {name}: {detail}"))


def say_skipped(files: Iterable[SkippedFile | FileChange]) -> None:
    """Print why each file was skipped, prefixed by its name unless the reason contains it."""
    for skipped in files:
        name = "" if skipped.path in skipped.reason else f"{skipped.path}: "
        say(f"songprint: skipped: {name}{skipped.reason}")


def summary(report: AddReport) -> str:
    """Describe the result of `add` in one line."""
    parts = [f"{counted(len(report.added), 'recording')} added"]
    if report.added:
        parts[0] += f" ({duration(report.audio_seconds)} of music in {duration(report.elapsed)}"
        parts[0] += f", {report.audio_seconds / max(report.elapsed, 1e-3):,.0f}x real time)"
    if report.known:
        parts.append(f"{len(report.known):,} already in the library")
    if report.skipped:
        parts.append(f"{len(report.skipped):,} skipped")
    return ", ".join(parts)


def change(each: FileChange) -> str:
    """Describe a change of a file in one line."""
    recording = f" {each.recording_id}" if each.recording_id else ""
    origin = f"{each.before} -> " if each.before else ""
    return printable(f"{each.change}{recording}: {origin}{each.path}" + (f": {each.reason}" if each.reason else ""))


def sync_summary(report: SyncReport) -> str:
    """Describe the result of `sync` in one line."""
    counts = Counter(each.change.value for each in report.changes) + Counter(unchanged=report.unchanged)
    parts = [f"{count:,} {change}" for change, count in counts.items()] or ["no files"]
    return ("dry run, nothing was written: " if report.dry_run else "") + ", ".join(parts)


def text(*parts: str | tuple[str, str]) -> Text:
    """Join strings and (string, style) pairs to a text without control characters."""
    from rich.text import Text

    text = Text()
    for part in parts:
        content, style = (part, "") if isinstance(part, str) else part
        text.append(printable(content), style)
    return text
