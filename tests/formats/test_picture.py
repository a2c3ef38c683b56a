"""Pictures of timelines: their size, their texts, and how they distinguish covers and gaps."""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support import timelines, toy
from support.commandline import run

from songprint.errors import MissingExtra, SongprintError
from songprint.formats import picture
from songprint.types import Gap, Interval, Kind, Sound


def size(png: Path) -> tuple[int, int]:
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    return struct.unpack(">II", content[16:24])


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Draw a timeline as SVG and return its texts."""
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")

    def draw_it(timeline, levels=None) -> list[str]:
        picture.timeline(timeline, tmp_path / "timeline.svg", levels)
        tree = ElementTree.parse(tmp_path / "timeline.svg")
        return [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]

    return draw_it


def test_a_picture_labels_songs_covers_and_gaps(shown):
    words = shown(timelines.programme(), np.random.default_rng(1).uniform(0, 1, 12_000))
    assert {
        "mix.mp3",
        "1  Greensleeves",
        "2  Scarborough Fair",
        "3  The Ash Grove (cover)",
        "unknown music",
        "speech",
        "98%",
        "71%",
        "Anon - Greensleeves",
        "0:00",
        "10:00",
    } <= set(words)


def test_covers_and_gaps_are_distinguishable_without_colour(tmp_path):
    """Covers have a hatch and a dashed outline, gaps have patterns."""

    def dashes_and_patterns(*segments, gaps=()):
        picture.timeline(timelines.timeline(*segments, gaps=gaps), tmp_path / "x.svg")
        text = (tmp_path / "x.svg").read_text()
        return text.count("stroke-dasharray"), text.count("url(#h")

    nothing = dashes_and_patterns()  # the legend alone
    recording = dashes_and_patterns(timelines.segment(0, 100))
    cover = dashes_and_patterns(timelines.segment(0, 100, kind=Kind.COVER))
    unknown = dashes_and_patterns(gaps=(Gap(Interval(0, 100), Sound.MUSIC),))
    assert recording == nothing
    assert cover[0] > nothing[0] and cover[1] > nothing[1]
    assert unknown[1] > nothing[1]


def test_the_filled_height_of_a_block_is_the_confidence(monkeypatch, tmp_path):
    shares = []
    monkeypatch.setattr(picture._Sheet, "_block", lambda self, *place, share, cover: shares.append(share))
    picture.timeline(timelines.programme(), tmp_path / "x.svg")
    assert sorted(shares) == pytest.approx(sorted([1.0, 1.0, 0.9876, 0.9876, 0.712]))  # two are in the legend


@pytest.mark.parametrize("hours, rows", [(5 / 60, 1), (10 / 60, 1), (1, 6), (3, 12), (10, 20), (24, 24), (100, 20)])
def test_the_length_of_rows_depends_on_the_duration(hours, rows):
    found = list(picture._rows(timelines.timeline(duration=hours * 3600), None))
    assert len(found) == rows
    assert found[0].start == 0 and found[-1].end == pytest.approx(hours * 3600)
    assert all(one.end == other.start for one, other in pairwise(found))


def test_the_height_of_a_picture_grows_with_the_duration(tmp_path):
    songs = [
        timelines.segment(start, start + 200.0, timelines.recording(start, f"Song {start}"))
        for start in range(0, 36_000, 900)
    ]
    picture.timeline(timelines.timeline(*songs, duration=36_000.0), tmp_path / "long.png", np.ones(7200))
    picture.timeline(timelines.timeline(songs[0], duration=300.0), tmp_path / "short.png", np.ones(6000))
    assert size(tmp_path / "long.png")[0] == size(tmp_path / "short.png")[0] == 1820
    assert 3000 < size(tmp_path / "long.png")[1] < 6000
    assert size(tmp_path / "short.png")[1] < 500


def test_a_song_across_two_rows_is_labelled_in_both(shown):
    words = shown(timelines.timeline(timelines.segment(500, 900), duration=1200.0))
    assert words.count("1  Greensleeves") == 2


def test_overlapping_entries_are_in_different_strips():
    entries = [
        timelines.segment(0, 100, timelines.recording(1)),
        timelines.segment(50, 150, timelines.recording(2)),
        timelines.segment(60, 70, timelines.recording(3)),
        timelines.segment(100, 200, timelines.recording(4)),
    ]
    assert [[each.recording.id for each in strip] for strip in picture._strips(entries)] == [[1, 4], [2], [3]]


def test_titles_with_matplotlib_markup_are_shown_literally(shown):
    dollars = timelines.timeline(timelines.segment(0, 500, timelines.recording(1, "$100 & $x^2$ <b>")))
    assert "1  $100 & $x^2$ <b>" in shown(dollars)
    assert shown(timelines.nasty())  # warnings are errors in these tests


def test_long_titles_are_cut_to_fit():
    sheet = picture._Sheet(__import__("matplotlib.figure").figure.Figure(), 3.0)
    cut = sheet.fitting("A name that is far too long for its block", 1.0, 8)
    assert re.fullmatch(r"A name .*…", cut) and sheet.width(cut, 8) <= 1.0
    assert sheet.fitting("short", 1.0, 8) == "short" and sheet.fitting("short", 0.01, 8) == ""


def test_a_picture_without_songs_contains_a_note(shown):
    assert "no song of the library" in shown(timelines.timeline())
    assert any("interrupted" in word for word in shown(timelines.timeline(complete=False)))


def test_levels_are_the_peaks_of_the_file(tmp_path):
    samples = np.concatenate([np.zeros(8000), 0.25 * np.ones(8000), 0.9 * np.ones(8000)]).astype(np.float32)
    levels = picture.levels_of(toy.write(tmp_path / "steps.wav", samples))
    assert len(levels) == 3 * picture.LEVELS_PER_SECOND
    assert levels[[5, 30, 55]] == pytest.approx([0, 0.25, 0.9], abs=0.01)


def test_errors_of_drawing_are_reported(tmp_path, monkeypatch):
    with pytest.raises(SongprintError, match=r"cannot draw .*x\.bmpx"):
        picture.timeline(timelines.timeline(), tmp_path / "x.bmpx")
    with pytest.raises(SongprintError, match=r"cannot write .*nowhere"):
        picture.timeline(timelines.timeline(), tmp_path / "nowhere/x.png")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"songprint\[plot\]"):
        picture.timeline(timelines.timeline(), tmp_path / "x.png")


@pytest.mark.usefixtures("toy_command")
def test_scan_draws_a_picture(songs, tmp_path):
    assert run("add", *songs).exit_code == 0
    show = toy.write(tmp_path / "show.wav", np.concatenate([toy.song(2), toy.song(3)]))
    result = run("scan", "--plot", tmp_path / "show.png", show)
    assert result.exit_code in (0, 1), result.output
    assert size(tmp_path / "show.png")[0] == 1820
    assert run("scan", "--plot", tmp_path / "show.png", show, show).exit_code == 2
