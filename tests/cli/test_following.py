"""`songprint listen` and `songprint watch`: events, files, signals and errors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import radio, toy
from support.commandline import assert_one_line, json_lines, run
from support.radio import Answer, Radio, ToneScanner

from songprint.scan import listen

pytestmark = pytest.mark.usefixtures("toy_command")


@pytest.fixture
def tone_scanner(monkeypatch) -> None:
    """Make `listen` use the scanner of these tests."""
    monkeypatch.setattr(listen, "Scanner", lambda store: ToneScanner())


@pytest.fixture
def songs_added(songs) -> None:
    assert run("add", *songs).exit_code == 0


def wav(tmp_path: Path, *plan: tuple[int | None, float]) -> bytes:
    return radio.encoded(tmp_path, ".wav", *plan)


# listen


def test_listen_prints_one_line_per_event(songs_added, tone_scanner, tmp_path):
    result = run("listen", "-", input=wav(tmp_path, (None, 3), (1, 70), (None, 5)))
    assert result.exit_code == 0, result.output
    lines = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", "", line) for line in result.stdout.splitlines()]
    assert lines[0] == "connected" and lines[-1] == "finished" and len(lines) == 4
    assert lines[1].startswith("Band - Song 1, recording, 99% confident, 0:00.0 to 0:0")
    assert lines[2] == "ended: Band - Song 1, played for 1:10"


def test_listen_prints_events_as_json_and_writes_a_log(songs_added, tone_scanner, tmp_path):
    result = run("listen", "--json", "--log", tmp_path / "log", "-", input=wav(tmp_path, (2, 6), (None, 5)))
    events = json_lines(result)
    assert [event["event"] for event in events] == ["connected", "started", "ended", "finished"]
    assert events[2]["recording"]["title"] == "Song 2" and events[2]["seconds"] == 6
    logged = [
        json.loads(line) for path in sorted((tmp_path / "log").iterdir()) for line in path.read_text().splitlines()
    ]
    assert logged == events


def test_listen_exits_with_1_if_the_stream_ends_without_a_song(songs_added, tone_scanner, tmp_path):
    assert run("listen", "-", input=wav(tmp_path, (None, 5))).exit_code == 1


def test_listen_accepts_samples_without_a_header(songs_added, tone_scanner):
    sound = (radio.samples((1, 6), (None, 5)).T * 32767).astype("<i2").tobytes()
    result = run("listen", "--json", "-", "--raw", "44100:2:s16le", input=sound)
    assert [event["event"] for event in json_lines(result)] == ["connected", "started", "ended", "finished"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("http://127.0.0.1:1/radio",), "http://127.0.0.1:1/radio: Connection refused"),
        (("http://me:secret@127.0.0.1:1/radio?key=1",), "http://127.0.0.1:1/radio: Connection refused"),
        (("song.mp3",), "it is not a URL of a web radio"),
        (("-", "--raw", "cd"), "is not RATE:CHANNELS:FORMAT, such as 44100:2:s16le"),
    ],
)
def test_errors_of_listen_are_reported_in_one_line(songs_added, tone_scanner, arguments, message):
    result = run("listen", *arguments)
    assert result.exit_code == 2
    assert_one_line(result.stderr)
    assert message in result.stderr and "secret" not in result.stderr


def test_raw_samples_are_accepted_on_standard_input_only(songs_added):
    assert "--raw is for samples on standard input" in run("listen", "http://x/", "--raw", "44100:2:s16le").stderr


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a command in a process of its own, with the toy encoder; it is ended with the test."""
    started = []

    def start(*arguments: object) -> subprocess.Popen:
        code = (
            "import sys, pytest; from support import commandline; from songprint.cli import main;"
            "commandline.use_toy_encoder(pytest.MonkeyPatch()); main(sys.argv[1:])"
        )
        tests = str(Path(__file__).parents[1])
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(tests).parent), tests])}
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", code, *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        )
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_listen_immediately(songs_added, tmp_path, process, number):
    tuned = Radio((Answer(radio.encoded(tmp_path, ".mp3", (None, 5)), stalls=True),))
    running = process("listen", "--stall", "120", tuned.url)
    assert "connected: Test FM" in running.stdout.readline()
    running.send_signal(number)
    out, err = running.communicate(timeout=30)  # well below --stall
    assert running.returncode == 0
    assert out.endswith("finished\n") and err == ""
    tuned.close()


# watch


def lines_until(running: subprocess.Popen, count: int) -> list[str]:
    return [running.stdout.readline() for _ in range(count)]


def test_watch_adds_new_files_and_reports_unreadable_ones(tmp_path, process):
    toy.write_song(tmp_path / "in/Band - First.wav", 1)
    running = process("watch", tmp_path / "in", "--settle", "0.2")
    assert lines_until(running, 1) == ["added 1: Band - First\n"]
    (tmp_path / "in/broken.mp3").write_text("this is no music")
    toy.write_song(tmp_path / "in/Band - Second.wav", 2)
    assert lines_until(running, 1) == ["added 2: Band - Second\n"]
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 0 and out == ""
    assert err.count("\n") == 2 and "watching" in err and "it is text, not audio" in err


def test_watch_follows_files_that_move_and_disappear(tmp_path, process):
    first = toy.write_song(tmp_path / "in/Band - First.wav", 1)
    running = process("watch", tmp_path / "in", "--settle", "0.2")
    assert lines_until(running, 1) == ["added 1: Band - First\n"]
    first.rename(moved := tmp_path / "in/Band - Moved.wav")
    assert lines_until(running, 2) == [f"missing 1: {first}\n", f"moved 1: {first} -> {moved}\n"]
    moved.unlink()
    assert lines_until(running, 1) == [f"missing 1: {moved}\n"]
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=20)
    assert "Band - Moved" in run("list").output


def test_watch_scans_new_files_and_writes_their_timelines(songs, tmp_path, process):
    assert run("add", *songs).exit_code == 0
    (tmp_path / "in/monday").mkdir(parents=True)
    long = toy.write(tmp_path / "in/monday/show.wav", toy.song(3))
    running = process(
        "watch", tmp_path / "in", "--scan", "--format", "json", "--output", tmp_path / "out", "--settle", "0.2"
    )
    assert re.fullmatch(r".*show\.wav: \d songs?: .*show\.wav\.json\n", lines_until(running, 1)[0])
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode == 0
    written = tmp_path / "out/monday/show.wav.json"
    assert json.loads(written.read_text())["source"] == str(long)
    assert [path.name for path in written.parent.iterdir()] == ["show.wav.json"]


def test_watch_does_not_scan_files_again_whose_timeline_is_newer(songs, tmp_path, process):
    assert run("add", *songs).exit_code == 0
    toy.write(tmp_path / "in/old.wav", toy.song(3))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old.wav.csv").write_text("kept")
    running = process(
        "watch", tmp_path / "in", "--scan", "--format", "csv", "--output", tmp_path / "out", "--settle", "0.2"
    )
    toy.write(tmp_path / "in/new.wav", toy.song(3))
    assert "new.wav: " in lines_until(running, 1)[0]
    assert (tmp_path / "out/old.wav.csv").read_text() == "kept"


def test_watch_can_ignore_existing_files(songs, tmp_path, process):
    running = process("watch", tmp_path / "music", "--new-only", "--settle", "0.2", "--json")
    running.stderr.readline()  # "watching"
    toy.write_song(tmp_path / "music/Band - New.wav", 77)
    assert json.loads(lines_until(running, 1)[0])["path"].endswith("Band - New.wav")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("nowhere",), "cannot watch nowhere: it is not a folder"),
        ((".", "--scan"), "no library"),
    ],
)
def test_errors_of_watch_are_reported_in_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run("watch", *arguments)
    assert result.exit_code == 2 and message in result.stderr
    assert_one_line(result.stderr)


def test_watch_accepts_formats_only_with_scan():
    assert "--format needs --scan" in run("watch", ".", "--format", "csv").stderr
    assert "--output needs --format" in run("watch", ".", "--scan", "--output", "x").stderr
