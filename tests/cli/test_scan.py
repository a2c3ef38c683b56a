"""`songprint scan`: output, formats, interruption and exit status."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
from support import soundfiles, toy
from support.commandline import assert_one_line, json_lines, run, use_encoders

from songprint import formats, kinds
from songprint.cli import exporting
from songprint.formats.objects import timeline_from_object, timeline_object, to_json
from songprint.types import Kind


@pytest.fixture
def files(monkeypatch, tmp_path, toy_command):
    """Create a library of four songs and return a programme with two of them."""
    monkeypatch.setitem(kinds.MATCHERS, Kind.COVER, None)  # removed by `toy_command`
    use_encoders(monkeypatch, toy.DecisiveToyEncoder())
    assert run("add", *toy.write_songs(tmp_path / "songs", 4, 30.0)).exit_code == 0
    return toy.write(
        tmp_path / "programme.wav",
        np.concatenate([toy.cut(1, 4, 24), toy.silence(10), toy.cut(3, 0, 30)]),
    )


def test_scan_prints_one_line_per_song_and_gap(files):
    result = run("scan", files)
    assert result.exit_code == 0
    head, *lines = result.stdout.splitlines()
    assert head == f"{files}: 1:00, 2 songs"
    assert len(lines) == 3 and "Band 01 - Song 01, recording, " in lines[0] and " of 0:30" in lines[0]
    assert "silence" in lines[1] and "Band 03 - Song 03" in lines[2] and "0:00.0 to 0:30.0 of 0:30" in lines[2]


def test_scan_prints_one_json_object_per_file(files):
    result = run("scan", "--json", files, files)
    one, other = json_lines(result)
    assert [each["recording"]["title"] for each in one["segments"]] == ["Song 01", "Song 03"]
    assert one["segments"] == other["segments"]
    assert json.loads(to_json(timeline_object(timeline_from_object(one)))) == one


def test_the_exit_status_is_1_without_songs_and_2_for_an_unreadable_file(files, tmp_path):
    unknown = toy.write(tmp_path / "unknown.wav", toy.song(55, 20.0))
    result = run("scan", unknown)
    assert result.exit_code == 1 and "0 songs" in result.stdout
    result = run("scan", files, tmp_path / "missing.wav")
    assert result.exit_code == 2 and "Song 01" in result.stdout
    assert_one_line(result.stderr)


def test_one_audio_track_can_be_selected(files, tmp_path):
    film = soundfiles.write_tracks(tmp_path / "film.mkv", [toy.cut(1, 0, 20), toy.cut(3, 0, 20)], toy.SAMPLE_RATE)
    for command, key in (("scan", "segments"), ("identify", "matches")):
        found = {}
        for options in ((), ("--track", 2)):
            [answer] = json_lines(run(command, "--json", *options, film))
            found[options] = sorted((each["recording"]["title"], each["track"]) for each in answer[key])
        assert found[()] == [("Song 01", 1), ("Song 03", 2)], command
        assert found["--track", 2] == [("Song 03", 2)], command


def test_scan_reads_standard_input(files):
    result = run("scan", "-", input=files.read_bytes())
    assert result.exit_code == 0 and "Song 03" in result.stdout


def test_an_interrupted_scan_is_reported_and_resumed(files, monkeypatch, tmp_path):
    from songprint.scan import scan

    long = toy.write(
        tmp_path / "long.wav",
        np.concatenate([toy.cut(1, 0, 20), toy.silence(120), toy.cut(3, 0, 30)]),
    )
    feed = scan.Scanner.feed

    def interrupted(self, block):
        if self.duration >= 120:
            signal.raise_signal(signal.SIGINT)
        feed(self, block)

    monkeypatch.setattr(scan.Scanner, "feed", interrupted)
    result = run("--json", "scan", long)
    assert (
        result.exit_code == 130 and "interrupted" in result.stderr and "same command again to continue" in result.stderr
    )
    [found] = json_lines(result)
    assert not found["complete"] and [each["recording"]["title"] for each in found["segments"]] == ["Song 01"]
    [kept] = (tmp_path / "library" / "scans").iterdir()
    assert json.loads(kept.read_text())["until"] > 60

    monkeypatch.setattr(scan.Scanner, "feed", feed)
    result = run("--json", "scan", long)
    [found] = json_lines(result)
    assert found["complete"] and [each["recording"]["title"] for each in found["segments"]] == ["Song 01", "Song 03"]
    assert not list((tmp_path / "library" / "scans").iterdir())


def test_no_resume_discards_the_state_of_an_interrupted_scan(files, tmp_path):
    from songprint.library import Library
    from songprint.scan import resuming

    with Library(tmp_path / "library") as library:
        kept = resuming.file_of(library.store, files)
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("{}")
    assert run("scan", "--no-resume", files).exit_code == 0 and not kept.exists()


def test_formats_are_written_to_standard_output_or_to_a_file(files, tmp_path):
    result = run("scan", "--format", "tracklist", files)
    assert result.exit_code == 0 and result.stdout.splitlines()[0] == "00:00:00 Band 01 - Song 01"
    target = tmp_path / "programme.csv"
    result = run("scan", "--format", "csv", "--output", target, files)
    assert result.stdout == "" and "Song 03" in target.read_text(encoding="utf-8")


def test_output_accepts_only_one_file_and_needs_a_format(files, tmp_path):
    result = run("scan", "--format", "csv", "--output", tmp_path / "a.csv", files, files)
    assert result.exit_code == 2 and "one FILE" in result.stderr
    result = run("scan", "--output", tmp_path / "a.csv", files)
    assert result.exit_code == 2 and "--format" in result.stderr


def test_the_option_format_offers_every_format():
    assert tuple(formats.FORMATS) == exporting.FORMATS


def test_one_scan_writes_several_formats_and_a_picture(files, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    result = run("scan", "--format", "srt", "--format", "csv", "--plot", tmp_path / "x.png", files)
    assert result.exit_code == 0 and result.stdout == ""
    assert "Song 03" in (tmp_path / "programme.wav.srt").read_text(encoding="utf-8")
    assert "Song 03" in (tmp_path / "programme.wav.csv").read_text(encoding="utf-8")
    assert (tmp_path / "x.png").stat().st_size > 1000
    assert "wrote programme.wav.srt" in result.stderr


def test_formats_go_to_one_file_each_or_to_a_folder(files, tmp_path):
    one, other = tmp_path / "one.txt", tmp_path / "other.vtt"
    pairs = ("--format", "tracklist", "--output", one, "--format", "vtt", "--output", other)
    assert run("scan", *pairs, files).exit_code == 0
    assert one.read_text(encoding="utf-8").startswith("00:00:00 Band 01") and other.read_text().startswith("WEBVTT")
    folder = tmp_path / "results"
    labels = ("--format", "tracklist", "--format", "audacity", "--format", "json")
    second = files.rename(files.with_name("second.wav"))
    assert run("scan", *labels, "--output", f"{folder}/", second).exit_code == 0
    assert sorted(each.name for each in folder.iterdir()) == [
        "second.wav.audacity.txt",
        "second.wav.json",
        "second.wav.tracklist.txt",
    ]


def test_outputs_that_do_not_fit_are_refused_before_the_scan(files, tmp_path):
    for options, reason in (
        (("--format", "csv", "--format", "csv"), "once"),
        (("--format", "csv", "--format", "srt", "--output", tmp_path / "a.csv"), "one file per --format"),
        (("--format", "csv", "--output", f"{tmp_path}/", tmp_path / "other" / files.name), "same name"),
    ):
        result = run("scan", *options, files)
        assert result.exit_code == 2 and reason in result.stderr, options


def test_a_saved_result_is_exported_without_another_scan(files, tmp_path):
    saved = tmp_path / "saved.json"
    saved.write_text(run("scan", "--json", files).stdout, encoding="utf-8")
    direct = run("scan", "--format", "cue", files).stdout
    assert run("export", saved, "--format", "cue").stdout == direct
    assert run("export", saved).stdout.splitlines()[0] == f"{files}: 1:00, 2 songs"
    lines = run("export", saved, "--format", "jsonl").stdout
    assert run("export", "-", "--format", "cue", input=lines.encode()).stdout == direct
    job = json.dumps({"id": "1", "state": "finished", "result": json.loads(saved.read_text(encoding="utf-8"))})
    assert run("export", "-", "--format", "cue", input=job.encode()).stdout == direct


def test_export_refuses_what_is_no_timeline(toy_command, tmp_path):
    for content in ("", "no JSON", "{}", "[1]", '{"result": null}', '{"type": "segment"}'):
        path = tmp_path / "result.json"
        path.write_text(content, encoding="utf-8")
        result = run("export", path, "--format", "srt")
        assert result.exit_code == 2 and result.stdout == "", content
        assert_one_line(result.stderr)
    assert run("export", tmp_path / "missing.json", "--format", "srt").exit_code == 2
