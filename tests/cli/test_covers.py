"""Covers on the command line: `identify`, `covers`, `explain`, `link`, `stats`."""

from __future__ import annotations

import re
import shutil
import sys

import pytest
from support import toy
from support.commandline import assert_one_line, json_lines, run, use_toy_encoder

import songprint


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A library that tests copy. Recordings 1 and 2 are two songs, 3 is a cover of 1, and 4 is a copy of 1."""
    folder = tmp_path_factory.mktemp("template")
    tunes = [toy.tune(1), toy.tune(2), toy.tune(1, key=4, tempo=1.1, sound=2), 0.6 * toy.tune(1)[4000:]]
    paths = [
        toy.write(folder / "music" / f"Band {number} - Song {number}.wav", tune) for number, tune in enumerate(tunes, 1)
    ]
    encoders = [toy.CalibratedToyEncoder(), toy.CalibratedToyCoverEncoder()]
    with songprint.open(folder / "library", create=True, encoder=encoders) as library:
        library.add(paths, workers=1)
    return folder / "library"


@pytest.fixture(autouse=True)
def _library(tmp_path, template, monkeypatch):
    use_toy_encoder(monkeypatch, covers=True)
    monkeypatch.setenv("SONGPRINT_LIBRARY", str(tmp_path / "library"))
    shutil.copytree(template, tmp_path / "library")


@pytest.fixture
def cover(tmp_path):
    return toy.write(tmp_path / "cover.wav", toy.tune(2, 30, key=-3, tempo=0.9, sound=3))


def test_a_cover_is_printed_with_its_key_and_tempo(cover):
    result = run("identify", cover)
    assert result.exit_code == 0, result.output
    [line] = result.stdout.splitlines()
    assert re.search(
        r": Band 2 - Song 2, cover, \d+% confident, at 0:0\d\.\d of 0:40, -3 semitones, -\d+% tempo, from ", line
    )


def test_a_match_contains_the_original_and_songs_group_recordings(cover):
    run("link", 2, 4, "--work", "The song", "--original", 4)
    [line] = run("identify", cover).stdout.splitlines()
    assert ", cover, original: Band 4 - Song 4, " in line
    [report] = json_lines(run("identify", "--json", cover))
    assert report["songs"] == [{"work": "The song", "name": "Band 4 - Song 4", "original": 4, "matches": [0]}]
    [match] = report["matches"]
    assert (match["kind"], match["recording"]["id"], match["original"]["id"]) == ("cover", 2, 4)
    assert match["key_shift"] == -3 and match["sections"]


def test_covers_are_listed_and_duplicates_are_marked():
    result = run("covers", 1)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if not line.startswith("        ")]
    assert lines[0].startswith("     4  Band 4 - Song 4, duplicate, 99% confident")
    assert re.match(r"     3  Band 3 - Song 3, cover, \d+% confident, -4 semitones, -\d+% tempo", lines[1])
    assert len(lines) == 2
    assert re.search(
        r"^        0:0\d\.\d to 0:\d\d\.\d corresponds to 0:0\d\.\d to 0:\d\d\.\d of the other$",
        result.stdout,
        re.MULTILINE,
    )
    found = json_lines(run("covers", "--json", 3))
    assert {match["recording"]["id"]: match["kind"] for match in found} == {1: "cover", 4: "cover"}


def test_a_recording_without_covers_exits_with_1():
    result = run("covers", 2)
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_line(run("covers", 99).stderr)


def test_explain_prints_and_draws_the_alignment(cover, tmp_path):
    result = run("explain", cover, 2, "--plot", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    assert re.search(r"^key shift: +-3 semitones$", result.stdout, re.MULTILINE)
    assert " of the other" in result.stdout
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    [explanation] = json_lines(run("explain", "--json", 1, 3))
    assert (explanation["key_shift"], explanation["query"], explanation["reference"]) == (
        -4,
        "Band 1 - Song 1",
        "Band 3 - Song 3",
    )


def test_errors_of_explain_are_reported_in_one_line(cover, tmp_path, monkeypatch):
    for words in (
        ["explain", tmp_path / "missing.wav", 1],
        ["explain", cover, 99],
        ["explain", 99, 1],
        ["explain", cover, 1, "--plot", tmp_path / "out.nonsense"],
        ["explain", cover, 1, "--plot", tmp_path / "nowhere" / "out.png"],
    ):
        result = run(*words)
        assert result.exit_code == 2
        assert_one_line(result.stderr)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("explain", cover, 2, "--plot", tmp_path / "out.png")
    assert "pip install 'songprint[plot]'" in result.stderr
    assert_one_line(result.stderr)


def test_recordings_are_linked_and_unlinked():
    assert run("link", 1, 3).stdout == "Song 1: 1 Band 1 - Song 1, 3 Band 3 - Song 3\n"
    assert json_lines(run("link", "--json", 2, 4)) == [{"work": "Song 2", "recordings": [2, 4]}]
    result = run("link", 1, 2)
    assert result.exit_code == 2 and "--work" in result.stderr
    assert_one_line(result.stderr)
    assert re.search("^work: +Song 1$", run("show", 3).stdout, re.MULTILINE)
    assert run("unlink", 3).exit_code == 0
    assert "work:" not in run("show", 3).stdout


def test_stats_describe_each_kind():
    result = run("stats")
    assert re.search(r"^kind recording: +4 recordings, 3\d\d segments, .*toy-1$", result.stdout, re.MULTILINE)
    assert re.search(r"^kind cover: +4 recordings, 2\d segments, .*toy-cover-1$", result.stdout, re.MULTILINE)


def test_stats_and_doctor_report_missing_embeddings(tmp_path, monkeypatch):
    monkeypatch.setenv("SONGPRINT_KINDS", "recording")
    run("add", toy.write(tmp_path / "Late - Song.wav", toy.tune(8)))
    monkeypatch.delenv("SONGPRINT_KINDS")
    remedy = "1 recording without cover vectors: run `songprint rebuild --reencode`"
    assert run("stats").stdout.count(remedy) == 1
    result = run("doctor")
    assert result.exit_code == 2
    assert "1 recording has no embeddings of kind cover, for example 'Late - Song'" in result.stdout
    assert run("covers", 5).exit_code == 2
    assert ", 1 encoded again" in run("rebuild", "--reencode").stdout
    assert "without cover vectors" not in run("stats").stdout
    assert run("doctor").exit_code == 0


def test_covers_are_not_searched_if_the_setting_excludes_them(cover, monkeypatch):
    monkeypatch.setenv("SONGPRINT_KINDS", "recording")
    assert run("identify", cover).exit_code == 1
    result = run("covers", 1)
    assert result.exit_code == 2 and "`kinds`" in result.stderr
    assert_one_line(result.stderr)
