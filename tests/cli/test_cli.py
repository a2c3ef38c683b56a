"""The commands as people and scripts use them: what is printed where, and the exit status."""

from __future__ import annotations

import json
import os
import re

import pytest
from support import soundfiles, toy
from support.commandline import ESCAPE, assert_one_line, json_lines, really_run, run

from songprint.library import Library
from songprint.types import Progress

pytestmark = pytest.mark.usefixtures("toy_command")


# Adding


def test_adding_tells_what_it_did(songs):
    result = run("add", songs[0].parent)
    assert result.exit_code == 0
    assert re.fullmatch(r"5 recordings added \(0:25 of music in 0:0\d, [\d,]+x real time\)\n", result.stdout)


def test_adding_again_adds_nothing(songs):
    run("add", *songs[:2])
    result = run("add", *songs[:3])
    assert result.exit_code == 0
    assert "1 recording added" in result.stdout
    assert "2 known already" in result.stdout


def test_bad_files_are_named_one_by_one_and_the_others_are_added(songs, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "empty.mp3").touch()
    (bad / "text.mp3").write_text("this is no music\n" * 50)
    soundfiles.write_silent_film(bad / "film.mkv")
    paths = [bad / "empty.mp3", bad / "text.mp3", bad / "film.mkv", tmp_path / "missing.mp3"]
    result = run("add", songs[0], *paths, songs[1])
    assert result.exit_code == 2
    assert "2 recordings added" in result.stdout
    assert "4 skipped" in result.stdout
    lines = [line for line in result.stderr.splitlines() if line.startswith("songprint: skipped: ")]
    assert len(lines) == len(result.stderr.splitlines()) == 4
    for path in paths:
        assert sum(path.name in line for line in lines) == 1
    assert len(run("list").stdout.splitlines()) == 2


def test_a_folder_without_music_is_an_error_of_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("add", tmp_path / "empty")
    assert result.exit_code == 2
    assert_one_line(result.stderr)
    assert "no music found in" in result.stderr


def test_adding_in_json_tells_of_every_file(songs, tmp_path):
    run("add", songs[0])
    result = run("add", "--json", songs[0], songs[1], tmp_path / "missing.mp3")
    assert result.exit_code == 2
    added, known, skipped, finished = json_lines(result)
    assert (added["outcome"], added["recording"]["title"]) == ("added", "Song 01")
    assert (known["outcome"], known["path"]) == ("known", str(songs[0]))
    assert skipped["outcome"] == "skipped" and "missing.mp3" in skipped["path"] and skipped["reason"]
    assert (finished["added"], finished["known"], finished["skipped"]) == (1, 1, 1)


def test_folders_inside_a_folder_can_be_left_out(songs):
    toy.write_song(songs[0].parent / "deeper" / "A - B.wav", seed=50)
    assert "5 recordings added" in run("add", "--no-recursive", songs[0].parent).stdout
    assert "1 recording added" in run("add", songs[0].parent).stdout


def test_ctrl_c_tells_what_was_kept(songs, monkeypatch):
    def interrupted(self, paths, *, on_progress, **more):
        on_progress(Progress(str(songs[0]), "added", 1, 5, 10, 50, 5.0, 1.0))
        raise KeyboardInterrupt

    monkeypatch.setattr(Library, "add", interrupted)
    result = run("add", *songs)
    assert result.exit_code == 130
    assert "1 recording added and kept" in result.stderr


def test_quiet_says_nothing_when_all_is_well(songs):
    result = run("add", "--quiet", *songs)
    assert (result.exit_code, result.output) == (0, "")


# Identifying


def test_a_match_is_one_plain_line(songs, clip):
    run("add", *songs)
    result = run("identify", clip)
    assert result.exit_code == 0, result.output
    [line] = result.stdout.splitlines()
    assert line.startswith(f"{clip}: Band 03 - Song 03, recording, ")
    assert re.search(r", \d+ % sure, at 0:0[01]\.\d of 0:05, (.*, )?heard from 0:0\d\.\d to ", line)
    assert ESCAPE not in line and "\t" not in line
    assert result.stderr == ""


def test_no_match_says_why(songs, noise):
    run("add", *songs)
    result = run("identify", noise)
    assert result.exit_code == 1
    assert re.fullmatch(rf"{noise}: no match: \S[^\n]+\n", result.stdout)


def test_the_worst_clip_decides_the_exit_status(songs, clip, noise, tmp_path):
    run("add", *songs)
    assert run("identify", clip, noise).exit_code == 1
    result = run("identify", clip, tmp_path / "missing.wav", noise)
    assert result.exit_code == 2
    assert len(result.stdout.splitlines()) == 2
    assert_one_line(result.stderr)
    assert "missing.wav" in result.stderr


def test_a_clip_from_standard_input(songs, clip):
    run("add", *songs)
    result = run("identify", "-", input=clip.read_bytes())
    assert result.exit_code == 0
    assert result.stdout.startswith("-: Band 03 - Song 03")


def test_empty_standard_input_is_an_error_of_one_line(songs):
    run("add", *songs)
    result = run("identify", "-", input=b"")
    assert result.exit_code == 2
    assert_one_line(result.stderr)


def test_identify_in_json_is_one_object_a_clip(songs, clip, noise, tmp_path):
    run("add", *songs)
    result = run("identify", "--json", clip, noise, tmp_path / "missing.wav")
    match, nothing, failed = json_lines(result)
    assert match["matches"][0]["recording"]["title"] == "Song 03"
    assert match["matches"][0]["reference"]["start"] == pytest.approx(1, abs=0.5)
    assert match["reason"] == ""
    assert nothing["matches"] == [] and nothing["reason"]
    assert failed["source"].endswith("missing.wav") and "missing.wav" in failed["error"]


def test_candidates_below_the_threshold_are_marked(songs, noise):
    run("add", *songs)
    result = run("identify", "--top", 3, noise)
    assert result.exit_code == 1
    first, *candidates = result.stdout.splitlines()
    assert "no match" in first
    assert all("not sure enough to name" in line for line in candidates)
    assert len(candidates) <= 3


# Looking after a library


def test_list_is_a_line_for_each_recording(songs):
    run("add", *songs)
    lines = run("list").stdout.splitlines()
    assert len(lines) == 5
    assert re.fullmatch(r" +\d+ +0:05  Band 00 - Song 00", lines[0])
    assert len(run("list", "song 02").stdout.splitlines()) == 1
    assert [each["title"] for each in json_lines(run("list", "--json", "Song 02"))] == ["Song 02"]


def test_show_tells_everything_about_one(songs):
    run("add", *songs)
    [recording] = json_lines(run("list", "--json", "Song 02"))
    shown = run("show", recording["id"])
    assert re.search(r"^title: +Song 02$", shown.stdout, re.MULTILINE)
    assert re.search(rf"^source: +{songs[2]}$", shown.stdout, re.MULTILINE)
    assert json_lines(run("show", "--json", recording["id"])) == [recording]


def test_remove_forgets_all_or_none(songs):
    run("add", *songs)
    ids = [each["id"] for each in json_lines(run("list", "--json"))]
    result = run("remove", ids[0], 99999)
    assert result.exit_code == 2
    assert_one_line(result.stderr)
    assert len(run("list").stdout.splitlines()) == 5
    result = run("remove", ids[0], ids[1])
    assert result.stdout == f"removed {ids[0]}: Band 00 - Song 00\nremoved {ids[1]}: Band 01 - Song 01\n"
    assert len(run("list").stdout.splitlines()) == 3
    assert songs[0].exists()


def test_stats_tell_what_is_there(songs):
    run("add", *songs)
    assert re.search(r"^recordings: +5$", run("stats").stdout, re.MULTILINE)
    [stats] = json_lines(run("stats", "--json"))
    assert stats["recordings"] == 5
    assert stats["duration"] == pytest.approx(25, abs=0.1)


def test_rebuild_keeps_everything_findable(songs, clip):
    run("add", *songs)
    result = run("rebuild")
    assert result.exit_code == 0
    assert result.stdout.startswith("rebuilt: 5 recordings, ")
    assert run("identify", clip).exit_code == 0
    assert json_lines(run("rebuild", "--reencode", "--json"))[-1]["outcome"] == "finished"


def test_the_library_may_be_named_before_or_after_the_command(songs, tmp_path):
    run("--library", tmp_path / "other", "add", *songs)
    assert len(run("list", "--library", tmp_path / "other").stdout.splitlines()) == 5
    assert len(run("--library", tmp_path / "other", "--json", "list").stdout.splitlines()) == 5
    assert run("list").exit_code == 2


# Trouble


@pytest.mark.parametrize("command", ["list", "stats", "show 1", "remove 1", "rebuild", "identify clip.wav"])
def test_a_library_that_is_not_there_is_an_error_of_one_line(command, tmp_path):
    result = run(*command.split())
    assert result.exit_code == 2
    assert result.stdout == ""
    assert_one_line(result.stderr)
    assert "songprint" in result.stderr and "add" in result.stderr
    assert not (tmp_path / "library").exists()


@pytest.mark.parametrize("words", ["identify", "show x", "nonsense", "--nonsense", "identify --top -1 a.wav"])
def test_a_wrong_command_line_is_told_as_such(words):
    result = run(*words.split())
    assert result.exit_code == 2
    assert "Usage" in result.stderr and "Traceback" not in result.stderr


def test_a_bug_shows_where_it_is_and_is_no_no_match(songs, clip, monkeypatch):
    run("add", *songs)
    monkeypatch.setattr(Library, "identify", lambda *args, **more: 1 / 0)
    result = run("identify", clip)
    assert result.exit_code == 2
    assert "ZeroDivisionError" in result.stderr and "bug" in result.stderr


def test_a_wrong_setting_is_an_error_of_one_line(monkeypatch):
    monkeypatch.setenv("SONGPRINT_THRESHOLD", "200")
    result = run("list")
    assert result.exit_code == 2
    assert_one_line(result.stderr)


def test_names_with_odd_bytes_are_printed(songs, clip):
    odd = songs[0].parent / os.fsdecode(b"Sigur R\xf3s - \xff\x1b[31mred.wav")
    try:
        songs[0].rename(odd)
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    result = run("add", odd)
    assert result.exit_code == 0, result.output
    for words in (["list"], ["show", "1"], ["identify", odd], ["add", odd.with_suffix(".mp3")]):
        result = run(*words)
        assert "Traceback" not in result.output
        assert ESCAPE not in result.output
    listed = really_run("list", env={**os.environ, "PYTHONUTF8": "1"})
    assert listed.returncode == 0 and b"Sigur R" in listed.stdout
    assert json.loads(really_run("list", "--json").stdout)["title"].endswith("red")
