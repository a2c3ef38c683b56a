"""Results in Python: short representations, rows for tables, HTML for notebooks, and saved files."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support import reports, timelines

from songprint import formats
from songprint.errors import MissingExtra, SongprintError
from songprint.formats import picture
from songprint.types import AddReport, Report


class Tags(HTMLParser):
    """The elements and the text of a fragment; raises if they are not nested properly."""

    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.text = ""
        self.feed(fragment)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.names.append(tag)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def without_matplotlib(monkeypatch):
    def missing(*_):
        raise MissingExtra("drawing needs matplotlib")

    monkeypatch.setattr(picture, "png", missing)


def test_representations_fit_into_a_notebook():
    programme, report = timelines.programme(), reports.report()
    assert repr(programme) == "<Timeline of 'mix.mp3': 10:00, 3 songs in 3 segments>"
    assert repr(programme.segments[0]) == "<Segment 0:20 to 2:20: 'Anon - Greensleeves', recording, 98% confident>"
    assert repr(programme.songs[0]) == "<PlayedSong: 'Anon - Greensleeves', 2:00 in 1 segment, 20%>"
    assert (
        repr(AddReport([timelines.recording()] * 500, [], [], 1.0, 1.0)) == "<AddReport: 500 added, 0 known, 0 skipped>"
    )
    assert len(repr(report)) < 200 and report.matches[0].recording.name in repr(report)
    none = Report([], [], 8.0, {}, 3, 0.1, "clip.wav", "nothing in the library resembles it")
    assert repr(none) == "<Report of 'clip.wav': no match: nothing in the library resembles it>"


def test_rows_of_a_timeline_are_those_of_the_csv_format():
    programme = timelines.programme()
    rows = programme.to_records()
    table = list(csv.DictReader(io.StringIO(formats.write(programme, "csv"))))
    assert [row["song"] for row in rows if row["song"]] == [row["song"] for row in table if row["song"]]
    for row, written in zip(rows, table, strict=True):
        assert set(row) == set(written) - {"from", "to"}
        for column, value in row.items():
            assert written[column] == ("" if value is None else str(value)), column


def test_rows_of_a_report_contain_the_place_in_the_query():
    report = reports.report()
    [row] = report.to_records()
    match = report.matches[0]
    assert (row["start"], row["recording_id"]) == (pytest.approx(match.query.start, abs=1e-3), match.recording.id)
    assert {type(value) for value in row.values()} <= {str, int, float, bool, type(None)}
    assert Report([], [], 8.0, {}, 3, 0.1).to_records() == []


def test_all_rows_have_the_same_columns_in_the_same_order():
    programme = timelines.programme()
    columns = {tuple(row) for row in programme.to_records()}
    assert len(columns) == 1
    assert {tuple(row) for row in replace(programme, segments=[]).to_records()} == columns


def test_html_contains_a_table_and_the_picture():
    found = Tags(timelines.programme()._repr_html_())
    assert found.names.count("img") == 1 and found.names.count("tr") == 1 + 8
    assert "Anon - Greensleeves" in found.text and "unknown music 2" in found.text and "(cover)" in found.text


def test_html_needs_no_matplotlib(without_matplotlib):
    found = Tags(timelines.programme()._repr_html_())
    assert "img" not in found.names and "table" in found.names


def test_html_escapes_names(without_matplotlib):
    found = Tags(timelines.nasty()._repr_html_())
    assert "script" not in found.names and "b" in found.names and "<b>bold</b> & <script>" in found.text
    report = reports.report()
    assert "script" not in Tags(Report([], [], 1.0, {}, 1, 0.1, "<script>.wav", "<script>")._repr_html_()).names
    assert report.matches[0].recording.name in Tags(report._repr_html_()).text


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".cue", ".srt", ".vtt", ".txt", ".SRT"])
def test_the_suffix_selects_the_format(tmp_path, suffix):
    programme = timelines.programme()
    programme.save(tmp_path / f"show{suffix}")
    name = {".txt": "tracklist"}.get(suffix, suffix.lower()[1:])
    assert (tmp_path / f"show{suffix}").read_bytes() == formats.write(programme, name).encode()


def test_a_format_can_be_named_and_a_picture_saved(tmp_path):
    programme = timelines.programme()
    programme.save(tmp_path / "labels.txt", "audacity")
    assert (tmp_path / "labels.txt").read_text() == formats.write(programme, "audacity")
    programme.save(str(tmp_path / "show.svg"))
    assert "<svg" in (tmp_path / "show.svg").read_text()


@pytest.mark.parametrize(
    ("path", "message"),
    [("show.mp3", "the suffix of 'show.mp3' names no format: use one of .csv"), ("nowhere/show.srt", "cannot write")],
)
def test_files_that_cannot_be_written_are_reported(path, message):
    assert not Path(path).parent.joinpath("nowhere").exists()
    with pytest.raises(SongprintError, match=re.escape(message)):
        timelines.programme().save(path)
