"""The command line in its own process: imports, terminals, the shipped encoder; and the format of durations."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commandline import ESCAPE, really_run

import songprint
from songprint.cli import output, progress
from songprint.encoders.contract import WEIGHTS
from songprint.types import Progress

pytestmark = pytest.mark.usefixtures("toy_command")
shipped = pytest.mark.skipif(
    not (WEIGHTS / "fingerprint.onnx").exists(), reason="the weights of the encoder are not installed"
)


def test_the_command_line_starts_without_heavy_imports():
    code = "import sys, songprint.cli; print({'numpy', 'onnxruntime', 'av', 'rich'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"


def test_a_closed_pipe_is_not_an_error(library):
    command = [sys.executable, "-m", "songprint", "--library", str(library.path), "list"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def on_a_terminal(*arguments: object, program: tuple[str, str] = ("-m", "songprint"), **environment: str) -> str:
    """Run the command on a pseudo-terminal and return its output."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment}
    process = subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    sent = b""
    while True:
        try:
            sent += (read := os.read(ours, 4096))
        except OSError:  # Linux reports a closed terminal this way
            break
        if not read:
            break
    os.close(ours)
    process.wait()
    return sent.decode()


def test_on_a_terminal_output_is_coloured_unless_no_color_is_set(library):
    shown = on_a_terminal("--library", library.path, "list")
    assert "Song 00" in shown and f"{ESCAPE}[36m" in shown
    plain = on_a_terminal("--library", library.path, "list", NO_COLOR="1")
    assert "Song 00" in plain and not re.search(rf"{ESCAPE}\[3\dm", plain)


def test_on_a_terminal_a_long_list_is_one_table(library):
    small_pages = ("-c", "from songprint.cli import commands, main; commands.PAGE = 2; main()")
    shown = on_a_terminal("--library", library.path, "list", program=small_pages)
    lines = [re.sub(rf"{ESCAPE}\[[0-9;]*m", "", line) for line in shown.splitlines()]
    shown = [line for line in lines if "Song 0" in line]
    assert len(shown) == 5 and len({line.index("Song 0") for line in shown}) == 1
    assert sum("artists" in line for line in lines) == 1


@shipped
def test_add_identify_and_doctor_work_with_the_shipped_encoder(tmp_path):
    from lab.data import synth

    synth.write_pieces(tmp_path / "music", count=3)
    samples = synth.render(synth.pieces(3)[1])[20 * synth.SAMPLE_RATE : 28 * synth.SAMPLE_RATE]
    synth.write(tmp_path / "clip.wav", samples)
    added = really_run("add", tmp_path / "music")
    assert added.returncode == 0, added.stderr
    found = really_run("identify", "--json", "-", input=(tmp_path / "clip.wav").read_bytes())
    assert found.returncode == 0, found.stderr
    [match] = json.loads(found.stdout)["matches"]
    assert match["recording"]["title"] == "Greensleeves"
    assert match["reference"]["start"] == pytest.approx(20, abs=0.5)
    checked = really_run("doctor")
    assert checked.returncode == 0, checked.stdout


@shipped
def test_the_installed_command_prints_the_same_version():
    command = shutil.which("songprint", path=str(Path(sys.executable).parent))
    if not command:
        pytest.skip("songprint is not installed in this environment")
    assert (
        subprocess.run([command, "--version"], capture_output=True, check=True).stdout
        == f"songprint {songprint.__version__}\n".encode()
    )


# Formats


@pytest.mark.parametrize(
    "done, expected",
    [
        (0, "0 of 8 files"),
        (2, "2 of 8 files  300x real time  0:03 left"),
        (8, "8 of 8 files  300x real time  0:00 left"),
    ],
)
def test_progress_contains_the_speed_and_the_remaining_time(done, expected):
    step = Progress(
        "a.mp3",
        "added",
        files_done=done,
        files_total=8,
        bytes_done=done * 100,
        bytes_total=800,
        audio_seconds=150.0 * done,
        elapsed=0.5 * done,
    )
    assert progress.status(step) == expected


def test_a_scan_prints_each_final_segment_once(capsys, monkeypatch):
    from songprint.types import Interval, Kind, Recording, ScanProgress, Segment, Tags, Timeline

    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    recording = Recording(1, Tags("Song"), 60.0, "", "", "")
    segment = Segment(recording, Kind.RECORDING, 99.0, Interval(1, 9), Interval(0, 8))
    so_far = Timeline([segment], [], 100.0, {}, searched=1, elapsed=1.0, complete=False)
    with progress.scanning("mix.mp3", quiet=False) as show:
        show(ScanProgress(50.0, 100.0, 1, 1.0, so_far))
        show(ScanProgress(100.0, 100.0, 1, 2.0, so_far))
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "found" in line] == ["scanning mix.mp3: found 0:01.0 - 0:09.0  Song"]
    assert "completing the last songs" in lines[-1]


@pytest.mark.parametrize("seconds, expected", [(0, "0:00"), (59.6, "1:00"), (185, "3:05"), (36000, "10:00:00")])
def test_durations_are_printed_as_hours_minutes_and_seconds(seconds, expected):
    assert output.duration(seconds) == expected
