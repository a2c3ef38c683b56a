"""Timelines as pictures: rows with the loudness above and the segments and gaps below.

All positions are in inches on one sheet. Covers are hatched, and each class of sound in a gap has its own pattern, so
that the picture is readable without colour. The filled height of a block is its confidence.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from songprint.audio import files
from songprint.errors import MissingExtra, SongprintError
from songprint.formats.entries import GAP_LABELS, Entry, gap_label, mark, name, one_line, song, source_name
from songprint.types import Gap, Kind, Segment, Sound, Timeline, duration_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS_PER_SECOND = 20  # resolution of the loudness
LEVEL_RATE = 8000  # Hz; sample rate at which a file is read for its loudness

# Layout of the sheet, in inches.
WIDTH, LEFT, RIGHT = 14.0, 0.45, 0.45
HEADER, FOOTER = 1.0, 0.25
WAVE, STRIP, TICKS, BETWEEN = 0.55, 0.34, 0.24, 0.2
MIN_WIDTH_FOR_CONFIDENCE = 1.6  # a narrower block omits the confidence if the title needs the space
INDEX_LINE = 0.2
DPI = 130

INDEX_COLUMNS, MAX_INDEXED_SONGS = 3, 240
# (duration, row length) in minutes: recordings up to this duration get rows of this length.
ROW_MINUTES = ((120, 10), (300, 15), (720, 30), (1440, 60))
MAX_ROWS = 24  # for longer recordings
TICK_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
MAX_TICKS = 16  # per row

INK, PALE, FAINT = "#1f2933", "#6b7885", "#dfe4ea"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a5195", "#8c564b")
PATTERNS = {  # of gaps: background colour, hatch
    Sound.MUSIC: ("#ffffff", "...."),
    Sound.SPEECH: ("#eef1f4", "----"),
    Sound.SILENCE: ("#ffffff", ""),
    Sound.OTHER: ("#f7f8fa", "xx"),
}
# Fonts for scripts that the default font lacks; used if they are installed.
SCRIPTS = (
    "Noto Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Hiragino Sans",
    "PingFang SC",
    "Yu Gothic",
    "Microsoft YaHei",
    "Arial Unicode MS",
)


def timeline(timeline: Timeline, path: str | Path, levels: np.ndarray | None = None) -> None:
    """Draw a timeline to a PNG, PDF or SVG file, according to the suffix of `path`.

    Args:
        levels: (n,) loudness at even steps from start to end, see `levels_of`. Without it no waveform is drawn.

    Raises MissingExtra without matplotlib, and SongprintError if the file cannot be written.
    """
    _save(_drawn(timeline, levels), path)


def png(timeline: Timeline, dpi: int = DPI) -> bytes:
    """Draw a timeline without its loudness, and return the PNG image. Raises MissingExtra without matplotlib."""
    image = io.BytesIO()
    figure = _drawn(timeline, None)
    with _missing_glyphs():
        figure.savefig(image, format="png", dpi=dpi)
    return image.getvalue()


def _drawn(timeline: Timeline, levels: np.ndarray | None) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("drawing needs matplotlib: pip install 'songprint[plot]'") from error
    rows = list(_rows(timeline, levels))
    numbers = _numbers(timeline)
    height = HEADER + sum(row.height for row in rows) + _index_height(len(numbers)) + FOOTER
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    sheet = _Sheet(figure, height)
    with _missing_glyphs():
        sheet.header(timeline)
        top = height - HEADER
        for row in rows:
            sheet.row(row, top, numbers)
            top -= row.height
        sheet.index(timeline, numbers, top)
    return figure


@contextmanager
def _missing_glyphs() -> Iterator[None]:
    """Allow letters of a script that no installed font has; matplotlib draws boxes instead."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def levels_of(source: files.Source) -> np.ndarray:
    """Read a file and return its peak levels, (n,) with LEVELS_PER_SECOND values per second."""
    size = LEVEL_RATE // LEVELS_PER_SECOND
    peaks = [
        np.abs(block[: len(block) // size * size]).reshape(-1, size).max(axis=1)
        for block in files.blocks(source, LEVEL_RATE, on_warning=lambda warning: None)
    ]
    return np.concatenate(peaks)


@dataclass(frozen=True)
class _Row:
    """A part of the recording that fills one row, with its entries in strips."""

    start: float  # seconds
    end: float
    scale: float  # seconds per full width of the sheet
    strips: list[list[Entry]]
    levels: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def height(self) -> float:
        return (WAVE if len(self.levels) else 0.0) + STRIP * len(self.strips) + TICKS + BETWEEN

    def x(self, seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (seconds - self.start) / self.scale


def _rows(timeline: Timeline, levels: np.ndarray | None) -> Iterator[_Row]:
    duration = max(timeline.duration, 1.0)
    seconds = _row_seconds(duration)
    loudest = max(float(levels.max()), 1e-6) if levels is not None and len(levels) else 1.0
    entries: list[Entry] = [*timeline.segments, *timeline.gaps]
    for start in np.arange(0, duration, seconds):
        end = min(start + seconds, duration)
        within = [entry for entry in entries if entry.interval.start < end and entry.interval.end > start]
        part = np.zeros(0)
        if levels is not None and len(levels):
            part = levels[int(start / duration * len(levels)) : max(1, int(end / duration * len(levels)))] / loudest
        yield _Row(float(start), float(end), min(seconds, duration), _strips(within), part)


def _row_seconds(duration: float) -> float:
    for longest, minutes in ROW_MINUTES:
        if duration <= 60 * longest:
            return 60.0 * minutes
    return 3600.0 * math.ceil(duration / 3600 / MAX_ROWS)


def _strips(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Distribute entries to strips so that entries in a strip do not overlap. Each takes the first free strip."""
    strips: list[list[Entry]] = [[]]
    for entry in sorted(entries, key=lambda each: (each.interval.start, -each.interval.end)):
        free = next(
            (strip for strip in strips if not strip or strip[-1].interval.end <= entry.interval.start + 0.05), None
        )
        if free is None:
            strips.append(free := [])
        free.append(entry)
    return strips


def _numbers(timeline: Timeline) -> dict[str | int, int]:
    """Number the songs, keyed by work or recording id, in the order in which they first occur."""
    return {
        played.work or played.segments[0].recording.id: number for number, played in enumerate(timeline.songs, start=1)
    }


def _number(segment: Segment, numbers: dict[str | int, int]) -> int:
    return numbers[segment.work or segment.recording.id]


def _index_height(songs: int) -> float:
    lines = -(-min(songs, MAX_INDEXED_SONGS) // INDEX_COLUMNS) + (songs > MAX_INDEXED_SONGS)
    return 0.35 + INDEX_LINE * lines if songs else 0.0


class _Sheet:
    """Axes that cover the whole figure, in inches, and the methods that draw on them."""

    def __init__(self, figure: Figure, height: float) -> None:
        self.height = height
        self.axes: Axes = figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, WIDTH), ylim=(0, height))
        self.axes.axis("off")
        self._family = _fonts()

    def header(self, timeline: Timeline) -> None:
        songs = len(timeline.songs)
        top = self.height - 0.35
        facts = f"{duration_text(timeline.duration)}   {songs} {'song' if songs == 1 else 'songs'}"
        facts += "" if timeline.complete else "   interrupted; the result up to that point"
        title = source_name(timeline) or "Timeline"
        self.text(LEFT, top, self.fitting(title, WIDTH * 0.45, 15), size=15, weight="bold")
        self.text(LEFT, top - 0.27, facts, size=9.5, colour=PALE)
        self._legend(WIDTH - RIGHT, top - 0.02)

    def row(self, row: _Row, top: float, numbers: dict[str | int, int]) -> None:
        if len(row.levels):
            self._wave(row, top)
            top -= WAVE
        for strip in row.strips:
            for entry in strip:
                left, right = row.x(max(entry.interval.start, row.start)), row.x(min(entry.interval.end, row.end))
                if isinstance(entry, Gap):
                    self._gap(entry, left, right, top)
                else:
                    self._song(entry, _number(entry, numbers), left, right, top)
            top -= STRIP
        self._ticks(row, top)

    def index(self, timeline: Timeline, numbers: dict[str | int, int], top: float) -> None:
        """List the songs by number, column after column."""
        if not numbers:
            self.text(LEFT, top, "no song of the library", size=9.5, colour=PALE)
            return
        songs = timeline.songs[:MAX_INDEXED_SONGS]
        lines = -(-len(songs) // INDEX_COLUMNS)
        column = (WIDTH - LEFT - RIGHT) / INDEX_COLUMNS
        top -= 0.15
        for place, played in enumerate(songs):
            x, y = LEFT + place // lines * column, top - (place % lines) * INDEX_LINE
            colour = COLOURS[place % len(COLOURS)]
            self.text(x + 0.22, y, str(place + 1), size=8, colour=colour, weight="bold", align="right")
            parts = len(played.segments)
            times = duration_text(played.seconds) + (f" in {parts} parts" if parts > 1 else "")
            taken = self.width(times, 7.5) + 0.25
            shown = self.fitting(name(played.original), column - 0.3 - taken, 8)
            self.text(x + 0.3, y, shown, size=8)
            self.text(x + 0.3 + self.width(shown, 8) + 0.1, y, times, size=7.5, colour=PALE)
        if len(numbers) > MAX_INDEXED_SONGS:
            more = f"and {len(numbers) - MAX_INDEXED_SONGS} more"
            self.text(LEFT + 0.3, top - lines * INDEX_LINE, more, size=8, colour=PALE)

    def _legend(self, right: float, y: float) -> None:
        gaps = {text: sound for sound, text in GAP_LABELS.items()}
        kinds = {"recording": False, "cover": True}
        left = x = right - sum(0.48 + self.width(text, 8) for text in (*kinds, *gaps)) + 0.1
        for text in (*kinds, *gaps):
            if text in gaps:
                self._pattern(gaps[text], x, x + 0.26, y - 0.08, 0.16)
            else:
                self._block(COLOURS[0], x, x + 0.26, y - 0.08, 0.16, share=1.0, cover=kinds[text])
            self.text(x + 0.32, y, text, size=8, colour=INK)
            x += 0.48 + self.width(text, 8)
        self.text(left, y - 0.25, "the filled height of a block is its confidence", size=8, colour=PALE)

    def _wave(self, row: _Row, top: float) -> None:
        middle, half = top - WAVE / 2, 0.44 * WAVE
        columns = min(len(row.levels), round((row.x(row.end) - LEFT) * DPI))
        edges = np.linspace(0, len(row.levels), columns + 1).astype(int)
        peaks = np.array([row.levels[first : max(last, first + 1)].max() for first, last in pairwise(edges)]) ** 0.8
        means = np.array([row.levels[first : max(last, first + 1)].mean() for first, last in pairwise(edges)]) ** 0.8
        x = np.linspace(LEFT, row.x(row.end), columns)
        self.axes.fill_between(x, middle - half * peaks, middle + half * peaks, color="#c3ccd6", linewidth=0)
        self.axes.fill_between(x, middle - half * means, middle + half * means, color="#8a97a6", linewidth=0)

    def _song(self, segment: Segment, number: int, left: float, right: float, top: float) -> None:
        colour, cover = COLOURS[(number - 1) % len(COLOURS)], segment.kind == Kind.COVER
        self._block(colour, left, right, top - STRIP + 0.03, STRIP - 0.06, share=segment.confidence / 100, cover=cover)
        room, confidence = right - left - 0.1, f"{int(segment.confidence)}%"
        title = f"{number}  {one_line(song(segment).title) or name(song(segment))}{mark(segment)}"
        title_room = room - self.width(confidence, 6.5) - 0.1
        if self.width(title, 7.5) > title_room and room < MIN_WIDTH_FOR_CONFIDENCE:
            title_room, confidence = room, ""  # the filled height of the block shows it as well
        shown = self.fitting(title, title_room, 7.5)
        middle = top - STRIP / 2
        if len(shown) > len(str(number)) + 4:
            self.text(left + 0.06, middle, shown, size=7.5, on_pattern=cover)
            self.text(right - 0.05, middle, confidence, size=6.5, colour="#4a5560", align="right", on_pattern=cover)
        elif self.width(str(number), 6.5) < room + 0.08:
            self.text((left + right) / 2, middle, str(number), size=6.5, align="center", on_pattern=cover)

    def _gap(self, gap: Gap, left: float, right: float, top: float) -> None:
        self._pattern(gap.sound, left, right, top - STRIP + 0.09, STRIP - 0.18)
        shown = gap_label(gap)
        number = "" if gap.unknown is None else str(gap.unknown)
        for text in (shown, shown.replace("unknown music", "unknown"), number and f"? {number}"):
            if text and self.width(text, 7) < right - left - 0.12:
                self.text(
                    (left + right) / 2,
                    top - STRIP / 2,
                    text,
                    size=7,
                    colour="#4a5560",
                    align="center",
                    on_pattern=gap.sound != Sound.SILENCE,
                )
                return

    def _block(
        self, colour: str, left: float, right: float, bottom: float, height: float, *, share: float, cover: bool
    ) -> None:
        """Draw an outline whose lower `share` is filled. Covers are hatched and dashed."""
        from matplotlib.colors import to_rgb
        from matplotlib.patches import Rectangle

        tint = tuple(1 - 0.32 * (1 - part) for part in to_rgb(colour))
        width = max(right - left, 0.012)
        self.axes.add_artist(Rectangle((left, bottom), width, height * share, facecolor=tint, edgecolor="none"))
        if cover:
            pale = tuple(1 - 0.6 * (1 - part) for part in to_rgb(colour))
            self.axes.add_artist(
                Rectangle((left, bottom), width, height, facecolor="none", edgecolor=pale, hatch="////", linewidth=0)
            )
        self.axes.add_artist(
            Rectangle(
                (left, bottom),
                width,
                height,
                facecolor="none",
                edgecolor=colour,
                linewidth=0.9,
                linestyle=(0, (3, 1.5)) if cover else "solid",
            )
        )

    def _pattern(self, sound: Sound, left: float, right: float, bottom: float, height: float) -> None:
        from matplotlib.patches import Rectangle

        ground, hatch = PATTERNS[sound]
        self.axes.add_artist(
            Rectangle(
                (left, bottom),
                max(right - left, 0.008),
                height,
                facecolor=ground,
                edgecolor="#c3ccd6",
                hatch=hatch or None,
                linewidth=0.6,
            )
        )

    def _ticks(self, row: _Row, y: float) -> None:
        end = row.x(row.end)
        self.axes.plot((LEFT, end), (y, y), color=FAINT, linewidth=0.8, solid_capstyle="butt")
        step = next((each for each in TICK_SECONDS if row.scale / each <= MAX_TICKS), TICK_SECONDS[-1])
        for seconds in np.arange(np.ceil(row.start / step) * step, row.end + 0.01, step):
            x = row.x(seconds)
            self.axes.plot((x, x), (y, y - 0.05), color=PALE, linewidth=0.7)
            if x < WIDTH - RIGHT + 0.01:
                self.text(x, y - 0.13, duration_text(seconds), size=7, colour=PALE, align="center")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float,
        colour: str = INK,
        weight: str = "normal",
        align: str = "left",
        on_pattern: bool = False,
    ) -> None:
        ground = {"facecolor": "white", "alpha": 0.82, "edgecolor": "none", "boxstyle": "round,pad=0.18"}
        self.axes.text(
            x,
            y,
            text,
            fontsize=size,
            color=colour,
            fontweight=weight,
            ha=align,
            va="center_baseline",
            family=self._family,
            parse_math=False,
            bbox=ground if on_pattern else None,
        )

    def width(self, text: str, size: float) -> float:
        """Width of a text in inches. Letters that the default font lacks count as wide as high."""
        return sum(map(_advance, text)) * size / 72

    def fitting(self, text: str, room: float, size: float) -> str:
        """Cut a text with `…` so that it fits."""
        if room <= 0:
            return ""
        if self.width(text, size) <= room:
            return text
        shortest, longest = 0, len(text)
        while shortest < longest:
            middle = (shortest + longest + 1) // 2
            if self.width(text[:middle].rstrip() + "…", size) <= room:
                shortest = middle
            else:
                longest = middle - 1
        return text[:shortest].rstrip() + "…" if shortest else ""


@cache
def _advance(letter: str) -> float:
    """Width of a letter as a fraction of the font size."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family="DejaVu Sans")))
    if not font.get_char_index(ord(letter)):
        return 1.0
    font.set_size(100, 72)
    return font.load_char(ord(letter)).linearHoriAdvance / 65536 / 100


def _fonts() -> list[str]:
    """The default font, and the installed fonts for other scripts."""
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(font for font in SCRIPTS if font in there)]


def _save(figure: Figure, path: str | Path) -> None:
    try:
        with _missing_glyphs():
            figure.savefig(path, dpi=DPI)
    except ValueError as error:  # matplotlib does not support the format
        raise SongprintError(f"cannot draw {path}: {error}") from error
    except OSError as error:
        raise SongprintError(f"cannot write {path}: {error.strerror}") from error
