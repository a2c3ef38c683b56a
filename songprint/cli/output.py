"""What people read: names, places, durations; in colour on a terminal, plain lines when piped.

Results go to stdout, everything else to stderr. rich is loaded only when something is printed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from songprint.covers.explain import Explanation
    from songprint.types import (
        AddReport,
        Interval,
        LevelStats,
        Match,
        Recording,
        Report,
        Section,
        Segment,
        SkippedFile,
        Stats,
    )

SAME_SPEED = 0.003  # less is within the error of the measurement
SAME_KEY = 0.1  # semitones
SAME_TEMPO = 0.02  # of a cover


def duration(seconds: float) -> str:
    """Whole seconds as m:ss or h:mm:ss.

    >>> duration(185), duration(3725)
    ('3:05', '1:02:05')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def position(seconds: float) -> str:
    """A place to a tenth of a second.

    >>> position(42.34), position(59.96), position(3723.4)
    ('0:42.3', '1:00.0', '1:02:03.4')
    """
    tenths = max(0, round(seconds * 10))
    return f"{duration(tenths // 10)}.{tenths % 10}"


def size(count: int) -> str:
    """Bytes in the unit that suits them.

    >>> size(999), size(2_345_678)
    ('999 bytes', '2.3 MB')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def counted(count: int, noun: str) -> str:
    """
    >>> counted(1, "file"), counted(2, "file")
    ('1 file', '2 files')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def printable(text: str) -> str:
    """One line without control codes: a title cannot move the cursor, a name with odd bytes is escaped.

    >>> print(printable("two\\nlines \\x1b[31m a\\udcff"))
    two lines \\x1b[31m a\\udcff
    """
    return "".join(
        letter if letter.isprintable() else " " if letter.isspace() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def prepare(stream: TextIO, *, json: bool = False) -> None:
    """Let a stream take any name: bytes that are no text are escaped, and JSON is UTF-8 everywhere."""
    if hasattr(stream, "reconfigure"):
        if json:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        else:
            stream.reconfigure(errors="backslashreplace")


def say(line: str = "") -> None:
    """Print something that is no result."""
    print(printable(line), file=sys.stderr, flush=True)


def console(stream: TextIO | None = None) -> Console:
    """A rich console: colour on a terminal unless NO_COLOR is set, plain text elsewhere."""
    from rich.console import Console

    return Console(file=stream or sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_report(report: Report, name: str) -> None:
    """What a clip is: on a terminal a match takes two lines, piped one."""
    screen = console()
    for warning in report.warnings:
        say(f"songprint: {name}: {warning}")
    for match in report.matches:
        named = text((name, "bold"), ": ", (match.recording.name, "bold green"))
        if screen.is_terminal:
            screen.print(named)
            screen.print(text("    ", details(match)))
        else:
            screen.print(named + text(", ", details(match)))
    if not report.matches:
        screen.print(text((name, "bold"), ": ", ("no match", "yellow"), f": {report.reason}"))
    for candidate in report.candidates:
        unsure = f"{name}: not sure enough to name: {candidate.recording.name}, {details(candidate)}"
        screen.print(text((unsure, "dim")))


def details(match: Match) -> str:
    """`recording, 97 % sure, at 0:42.3 of 3:05, +4.0 % speed, heard from 0:00.0 to 0:08.0 of the clip`

    A cover is told by the original of its song as well, if that is another recording.
    """
    place = f"{position(match.reference.start)} of {duration(match.recording.duration)}"
    heard = f"heard from {position(match.query.start)} to {position(match.query.end)} of the clip"
    parts = [str(match.kind), f"{int(match.confidence)} % sure", f"at {place}"]
    if match.original and match.original.id != match.recording.id:
        parts.insert(1, f"original: {match.original.name}")
    changed = changes(match.speed, match.key_shift) if match.kind == "recording" else changes_of_a_cover(match)
    return ", ".join([*parts, *changed, heard])


def changes_of_a_cover(match: Match | Segment) -> list[str]:
    """`+4 semitones`, `-10 % tempo`: players choose keys from the piano, and no tempo to the per mille."""
    return [f"{round(match.key_shift):+} semitones"] * (match.key_shift != 0) + (
        [f"{100 * (match.speed - 1):+.0f} % tempo"] * (abs(match.speed - 1) >= SAME_TEMPO)
    )


def changes(speed: float, key_shift: float) -> list[str]:
    """Of speed, as by a turntable; of tempo, at the same pitch; of pitch, at the same tempo.

    >>> changes(1.04, 0.68), changes(1.06, 0.0), changes(1.0, -2.0)
    (['+4.0 % speed'], ['+6.0 % tempo'], ['-2.0 semitones'])
    >>> changes(1.001, 0.0), changes(0.95, 1.0)
    ([], ['-5.0 % tempo', '+1.0 semitones'])
    """
    changed = abs(speed - 1) >= SAME_SPEED
    if changed and abs(key_shift - 12 * math.log2(speed)) < SAME_KEY:
        return [f"{100 * (speed - 1):+.1f} % speed"]
    tempo = [f"{100 * (speed - 1):+.1f} % tempo"] if changed else []
    return tempo + ([f"{key_shift:+.1f} semitones"] if abs(key_shift) >= SAME_KEY else [])


def print_renditions(matches: Iterable[Match]) -> None:
    """The other renditions of a recording, a line each, and under each the parts that correspond."""
    screen = console()
    for match in matches:
        kind = "duplicate" if match.kind == "recording" else "cover"
        parts = [kind, f"{int(match.confidence)} % sure", *changes_of_a_cover(match)]
        if match.work:
            parts.append(f"of {match.work!r}")
        screen.print(text(f"{match.recording.id:>6}  ", (match.recording.name, "bold green"), f", {', '.join(parts)}"))
        print_sections(match.sections)


def print_sections(sections: Iterable[Section]) -> None:
    screen = console()
    for section in sections:
        screen.print(text((f"        {between(section.query)} is {between(section.reference)} of the other", "dim")))


def between(interval: Interval) -> str:
    return f"{position(interval.start)} to {position(interval.end)}"


def print_explanation(explanation: Explanation) -> None:
    """How two renditions correspond, in words."""
    found = explanation.alignment
    print_fields(
        {
            "query": explanation.query,
            "reference": explanation.reference,
            "key shift": f"{found.key_shift:+} semitones" if found.key_shift else "none",
            "tempo": f"{100 * (found.tempo - 1):+.0f} %",
            "score": f"{found.score:.2f}",
        }
    )
    print_sections(found.sections)


def print_recordings(recordings: Iterable[Recording]) -> None:
    """A table on a terminal; id, duration and name on plain lines elsewhere."""
    screen = console()
    if not screen.is_terminal:
        for recording in recordings:
            print(f"{recording.id:>6}  {duration(recording.duration):>7}  {printable(recording.name)}")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("id", justify="right", style="cyan")
    table.add_column("length", justify="right")
    for column in ("title", "artists", "album"):
        table.add_column(column, overflow="fold")
    for recording in recordings:
        table.add_row(
            str(recording.id),
            duration(recording.duration),
            text(recording.title),
            text(", ".join(recording.artists)),
            text(recording.tags.album),
        )
    screen.print(table)


def print_recording(recording: Recording) -> None:
    """Everything that is known of one recording, a field a line."""
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
            "marked as": "the original of its work" if recording.original else "",
            "duration": duration(recording.duration),
            "source": recording.source,
            "added": recording.added_at,
            "content hash": recording.content_hash,
        }
    )


def print_stats(stats: Stats) -> None:
    hours = stats.duration / 3600
    kept = stats.catalogue_bytes + stats.index_bytes
    print_fields(
        {
            "library": stats.path,
            "database": stats.database,
            "recordings": f"{stats.recordings:,}",
            "music": duration(stats.duration),
            "catalogue on disk": size(stats.catalogue_bytes),
            "index on disk": size(stats.index_bytes),
            "an hour takes": size(kept / hours) if hours else "",
            "schema version": stats.schema_version,
            **{f"kind {level.kind}": level_stats(level, stats.recordings, hours) for level in stats.levels},
        }
    )


def level_stats(level: LevelStats, recordings: int, hours: float) -> str:
    """What is there of one kind of match, in a line."""
    lacking = recordings - level.recordings
    remedy = f"{lacking:,} cannot be found so until `songprint rebuild --reencode` has read their files again"
    if not level.encoder_id:
        return remedy if lacking else "none yet"
    taken = size(round((level.catalogue_bytes + level.index_bytes) / hours)) if hours else "nothing"
    return (
        f"{counted(level.recordings, 'recording')}, {counted(level.segments, 'segment')}, {taken} an hour,"
        f" index {level.index}, encoder {level.encoder_id}" + (f"; {remedy}" if lacking else "")
    )


def print_fields(fields: dict[str, object]) -> None:
    """`name: value` lines; what is not known is left out."""
    screen = console()
    known = {name: value for name, value in fields.items() if value not in (None, "")}
    width = max(map(len, known))
    for name, value in known.items():
        screen.print(text((f"{name + ':':<{width + 1}} ", "dim"), str(value)))


def print_check(passed: bool, name: str, detail: str) -> None:
    mark = ("✓", "green") if passed else ("✗", "bold red")
    console().print(text(mark, f" {name}: {detail}"))


def say_skipped(files: Iterable[SkippedFile]) -> None:
    """Why each file was left out; most reasons name the file themselves."""
    for skipped in files:
        name = "" if skipped.path in skipped.reason else f"{skipped.path}: "
        say(f"songprint: skipped: {name}{skipped.reason}")


def summary(report: AddReport) -> str:
    """What `add` did, in one line."""
    parts = [f"{counted(len(report.added), 'recording')} added"]
    if report.added:
        parts[0] += f" ({duration(report.audio_seconds)} of music in {duration(report.elapsed)}"
        parts[0] += f", {report.audio_seconds / max(report.elapsed, 1e-3):,.0f}x real time)"
    if report.known:
        parts.append(f"{len(report.known):,} known already")
    if report.skipped:
        parts.append(f"{len(report.skipped):,} skipped")
    return ", ".join(parts)


def text(*parts: str | tuple[str, str]) -> Text:
    from rich.text import Text

    text = Text()
    for part in parts:
        content, style = (part, "") if isinstance(part, str) else part
        text.append(printable(content), style)
    return text
