"""The commands of the library and of identification: output, messages and exit status."""

from __future__ import annotations

import json
import os
import re
from contextlib import closing

import pytest
from support import soundfiles, toy
from support.commandline import ESCAPE, assert_one_line, json_lines, really_run, run

from songprint.accounts.audit import Audit
from songprint.cli import commands, main
from songprint.library import Library
from songprint.store.catalog import Catalog
from songprint.types import Progress

pytestmark = pytest.mark.usefixtures("toy_command")


# Help


def test_every_command_is_in_one_section_of_the_help():
    listed = [name for names in main.sections.values() for name in names]
    assert sorted(listed) == sorted(main.commands)


@pytest.mark.parametrize("group", ["", "jobs", "keys", "unknown", "library", "duplicates", "metadata"])
def test_the_help_page_lists_each_command_with_its_whole_summary_in_one_line(group):
    commands = main.commands[group].commands if group else main.commands
    page = run(*group.split(), "--help").stdout
    for name, command in commands.items():
        summary = command.get_short_help_str(1000)
        assert re.search(rf"^  {name} +{re.escape(summary)}$", page, re.MULTILINE), name


def test_the_help_of_a_command_lists_its_own_options_first():
    own, common = run("scan", "--help").stdout.split("Options of every command:")
    assert "--plot" in own and "--json" not in own
    assert "--json" in common and "--help" in common


# Adding


def test_add_prints_a_summary(songs):
    result = run("add", songs[0].parent)
    assert result.exit_code == 0
    assert re.fullmatch(r"5 recordings added \(0:25 of music in 0:0\d, [\d,]+x real time\)\n", result.stdout)


def test_files_already_in_the_library_are_not_added_again(songs):
    run("add", *songs[:2])
    result = run("add", *songs[:3])
    assert result.exit_code == 0
    assert "1 recording added" in result.stdout
    assert "2 already in the library" in result.stdout


def test_a_pattern_gives_what_tags_lack(songs, tmp_path):
    copy = tmp_path / "The Band" / "Their Album" / "07 A Song.flac"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(songs[0].read_bytes())
    refused = run("add", "--pattern", "{titel}", copy)
    assert refused.exit_code == 2 and "{titel} is unknown: it may contain {artist}, " in refused.stderr
    assert run("add", "--pattern", "{any}/{album}/{track} {title}", copy).exit_code == 0
    assert json.loads(run("list", "--json", "their ｓóng").stdout.splitlines()[0])["album"] == "Their Album"


def test_each_unreadable_file_is_reported_and_the_others_are_added(songs, tmp_path):
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


def test_a_folder_without_music_is_reported_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("add", tmp_path / "empty")
    assert result.exit_code == 2
    assert_one_line(result.stderr)
    assert "no music found in" in result.stderr


def test_add_prints_one_json_object_per_file(songs, tmp_path):
    run("add", songs[0])
    result = run("add", "--json", songs[0], songs[1], tmp_path / "missing.mp3")
    assert result.exit_code == 2
    added, known, skipped, finished = json_lines(result)
    assert (added["outcome"], added["recording"]["title"]) == ("added", "Song 01")
    assert (known["outcome"], known["path"]) == ("known", str(songs[0]))
    assert skipped["outcome"] == "skipped" and "missing.mp3" in skipped["path"] and skipped["reason"]
    assert (finished["added"], finished["known"], finished["skipped"]) == (1, 1, 1)


def test_folders_inside_a_folder_can_be_skipped(songs):
    toy.write_song(songs[0].parent / "deeper" / "A - B.wav", seed=50)
    assert "5 recordings added" in run("add", "--no-recursive", songs[0].parent).stdout
    assert "1 recording added" in run("add", songs[0].parent).stdout


def test_an_interrupted_add_reports_how_many_recordings_were_kept(songs, monkeypatch):
    def interrupted(self, paths, *, on_progress, **more):
        on_progress(Progress(str(songs[0]), "added", 1, 5, 10, 50, 5.0, 1.0))
        raise KeyboardInterrupt

    monkeypatch.setattr(Library, "add", interrupted)
    result = run("add", *songs)
    assert result.exit_code == 130
    assert "1 recording added and kept" in result.stderr


def test_add_with_quiet_prints_nothing(songs):
    result = run("add", "--quiet", *songs)
    assert (result.exit_code, result.output) == (0, "")


# Identifying


def test_in_a_pipe_a_match_is_one_plain_line(songs, query):
    run("add", *songs)
    result = run("identify", query)
    assert result.exit_code == 0, result.output
    [line] = result.stdout.splitlines()
    assert line.startswith(f"{query}: Band 03 - Song 03, recording, ")
    assert re.search(r", \d+% confident, at 0:0[01]\.\d of 0:05, (.*, )?from 0:0\d\.\d to 0:0\d\.\d of the clip$", line)
    assert ESCAPE not in line and "\t" not in line
    assert result.stderr == ""


def test_no_match_is_printed_with_the_reason(songs, noise):
    run("add", *songs)
    result = run("identify", noise)
    assert result.exit_code == 1
    assert re.fullmatch(rf"{noise}: no match: \S[^\n]+\n", result.stdout)


def test_the_exit_status_is_the_highest_of_all_clips(songs, query, noise, tmp_path):
    run("add", *songs)
    assert run("identify", query, noise).exit_code == 1
    result = run("identify", query, tmp_path / "missing.wav", noise)
    assert result.exit_code == 2
    assert len(result.stdout.splitlines()) == 2
    assert_one_line(result.stderr)
    assert "missing.wav" in result.stderr


def test_a_clip_can_be_read_from_standard_input(songs, query):
    run("add", *songs)
    result = run("identify", "-", input=query.read_bytes())
    assert result.exit_code == 0
    assert result.stdout.startswith("-: Band 03 - Song 03")


def test_empty_standard_input_is_reported_in_one_line(songs):
    run("add", *songs)
    result = run("identify", "-", input=b"")
    assert result.exit_code == 2
    assert_one_line(result.stderr)


def test_identify_takes_the_audio_files_of_folders(songs, tmp_path):
    run("add", *songs)
    (tmp_path / "empty").mkdir()
    (songs[0].parent / "cover.jpg").touch()
    result = run("identify", "--json", songs[0].parent, tmp_path / "empty")
    failed, *found = json_lines(result)
    assert [each["source"] for each in found] == [str(song) for song in songs]
    assert result.exit_code == 2 and "no music found in it" in failed["error"]


def test_identify_prints_one_json_object_per_clip(songs, query, noise, tmp_path):
    run("add", *songs)
    result = run("identify", "--json", query, noise, tmp_path / "missing.wav")
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
    assert all("below the threshold" in line for line in candidates)
    assert len(candidates) <= 3


# Managing a library


def test_sync_prints_one_line_per_change_and_a_summary(songs):
    music = songs[0].parent
    assert run("add", music, "--workers", 1).exit_code == 0
    songs[0].unlink()
    songs[1].rename(moved := music / "Band - Moved.wav")
    planned = run("sync", "--dry-run").stdout.splitlines()
    done = run("sync", music).stdout.splitlines()
    assert done == [f"moved 2: {songs[1]} -> {moved}", f"missing 1: {songs[0]}", "1 moved, 1 missing, 3 unchanged"]
    assert planned == [*done[:-1], "dry run, nothing was written: 1 moved, 1 missing, 3 unchanged"]
    assert run("sync").stdout == "4 unchanged\n"
    assert "missing since" in run("show", 1).stdout
    removed = json_lines(run("sync", "--remove-missing", "--json"))
    assert [each["outcome"] for each in removed] == ["removed", "finished"]


def test_sync_without_folders_says_what_to_do(songs):
    assert run("add", *songs).exit_code == 0  # files, not a folder
    result = run("sync")
    assert result.exit_code == 2 and result.stderr == (
        "songprint: the library follows no folder yet. Name one: `songprint sync FOLDER`\n"
    )
    missing = run("sync", "nowhere")
    assert missing.exit_code == 2 and "Is its drive connected?" in missing.stderr


def test_list_prints_one_line_per_recording(songs):
    run("add", *songs)
    lines = run("list").stdout.splitlines()
    assert len(lines) == 5
    assert re.fullmatch(r" +\d+ +0:05  Band 00 - Song 00", lines[0])
    assert len(run("list", "song 02").stdout.splitlines()) == 1
    assert [each["title"] for each in json_lines(run("list", "--json", "Song 02"))] == ["Song 02"]


def test_list_prints_the_number_of_recordings_to_standard_error(songs):
    assert run("add", *songs).exit_code == 0
    assert run("list").stderr == "songprint: 5 recordings\n"
    assert run("list", "song 02").stderr == "songprint: 1 recording\n"
    assert run("list", "--limit", "2").stderr == "songprint: the first 2 of 5 recordings\n"
    assert run("list", "--quiet").stderr == ""


def test_list_reports_that_nothing_was_found(songs):
    run("add", songs[0])
    found = run("list", "polka")
    assert (found.stdout, found.stderr) == ("", "songprint: no recording contains 'polka'\n")
    run("remove", "1")
    assert run("list").stderr == "songprint: the library is empty. `songprint add MUSIC` adds music\n"


@pytest.mark.parametrize("query", ["", "band"])
@pytest.mark.parametrize("limit", [None, 3, 4, 9])
def test_list_reads_a_page_at_a_time(songs, monkeypatch, query, limit):
    run("add", *songs)
    whole = json_lines(run("list", "--json"))
    read = []
    page = Catalog.page

    def counted(self, *arguments, **more):
        read.append(more["limit"])
        return page(self, *arguments, **more)

    monkeypatch.setattr(commands, "PAGE", 2)
    monkeypatch.setattr(Catalog, "page", counted)
    limited = ["--limit", limit] if limit else []
    assert json_lines(run("list", "--json", *limited, query)) == whole[:limit]
    assert len(read) > 1 and max(read) == 2


def test_show_prints_all_fields_of_a_recording(songs):
    run("add", *songs)
    [recording] = json_lines(run("list", "--json", "Song 02"))
    shown = run("show", recording["id"])
    assert re.search(r"^title: +Song 02$", shown.stdout, re.MULTILINE)
    assert re.search(rf"^file: +{songs[2]}$", shown.stdout, re.MULTILINE)
    assert json_lines(run("show", "--json", recording["id"])) == [{**recording, "files": [str(songs[2])]}]


def test_remove_removes_all_given_recordings_or_none(songs):
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


def test_the_audit_log_records_what_commands_change(songs, tmp_path):
    run("add", *songs[1:])
    run("add", songs[0])
    run("add", songs[0])  # changes nothing
    run("link", 1, 2, "--work", "The song")
    run("unlink", 2)
    run("remove", 3, 4)
    run("remove", 99)
    run("rebuild")
    with closing(Catalog(tmp_path / "library")) as catalog:
        entries = Audit(catalog.database).entries()
    assert [(entry.action, entry.subject) for entry in reversed(entries)] == [
        ("recordings.add_many", "4 recordings: 1 to 4"),
        ("recordings.add", "5 Song 00"),
        ("works.link", "The song: [1, 2]"),
        ("works.unlink", "2 Song 02"),
        ("recordings.remove", "3 Song 03"),
        ("recordings.remove", "4 Song 04"),
        ("library.rebuild", ""),
    ]
    assert all(entry.actor.startswith("command line, user ") and not entry.key_id for entry in entries)


def test_stats_print_the_contents_of_the_library(songs):
    run("add", *songs)
    assert re.search(r"^recordings: +5$", run("stats").stdout, re.MULTILINE)
    [stats] = json_lines(run("stats", "--json"))
    assert stats["recordings"] == 5
    assert stats["duration"] == pytest.approx(25, abs=0.1)


def test_recordings_are_found_after_a_rebuild(songs, query):
    run("add", *songs)
    result = run("rebuild")
    assert result.exit_code == 0
    assert result.stdout.startswith("rebuilt: 5 recordings, ")
    assert run("identify", query).exit_code == 0
    assert json_lines(run("rebuild", "--reencode", "--json"))[-1]["outcome"] == "finished"


def test_common_options_can_be_given_before_or_after_the_command(songs, tmp_path):
    run("--library", tmp_path / "other", "add", *songs)
    assert len(run("list", "--library", tmp_path / "other").stdout.splitlines()) == 5
    assert len(run("--library", tmp_path / "other", "--json", "list").stdout.splitlines()) == 5
    assert run("list").exit_code == 2


# Errors


@pytest.mark.parametrize("command", ["list", "stats", "show 1", "remove 1", "rebuild", "identify clip.wav"])
def test_a_missing_library_is_reported_in_one_line(command, tmp_path):
    result = run(*command.split())
    assert result.exit_code == 2
    assert result.stdout == ""
    assert_one_line(result.stderr)
    assert "songprint" in result.stderr and "add" in result.stderr
    assert not (tmp_path / "library").exists()


@pytest.mark.parametrize("words", ["identify", "show x", "nonsense", "--nonsense", "identify --top -1 a.wav"])
def test_an_invalid_command_line_prints_the_usage(words):
    result = run(*words.split())
    assert result.exit_code == 2
    assert "Usage" in result.stderr and "Traceback" not in result.stderr


def test_a_bug_prints_a_traceback_and_exits_with_2(songs, query, monkeypatch):
    run("add", *songs)
    monkeypatch.setattr(Library, "identify", lambda *args, **more: 1 / 0)
    result = run("identify", query)
    assert result.exit_code == 2
    assert "ZeroDivisionError" in result.stderr and "bug" in result.stderr


def test_an_invalid_setting_is_reported_in_one_line(monkeypatch):
    monkeypatch.setenv("SONGPRINT_THRESHOLD", "200")
    result = run("list")
    assert result.exit_code == 2
    assert_one_line(result.stderr)


def test_file_names_with_invalid_bytes_are_printed_escaped(songs, query):
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
