"""A folder that is watched: what is new and complete in it is taken, once, whatever happens to single files."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from support import toy

from songprint.errors import SongprintError
from songprint.ingest import watch
from songprint.ingest.watch import Folder


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path, clock: Clock) -> Folder:
    (tmp_path / "in").mkdir()
    return Folder(tmp_path / "in", settle=5.0, clock=clock)


def names(files: list[str]) -> list[str]:
    return [os.path.basename(file) for file in files]


def looked(folder: Folder, clock: Clock, after: float) -> list[str]:
    clock.seconds += after
    return names(folder.ready())


def test_a_file_is_complete_when_it_has_not_changed_for_a_while(folder, clock):
    song = toy.write_song(Path(folder.path) / "song.wav", 1)
    assert looked(folder, clock, 0) == looked(folder, clock, 4) == []
    with open(song, "ab") as file:
        file.write(b"more")
    assert looked(folder, clock, 2) == looked(folder, clock, 4) == []
    assert looked(folder, clock, 2) == ["song.wav"]


def test_a_file_is_told_until_it_is_done_and_again_when_it_changes(folder, clock):
    song = toy.write_song(Path(folder.path) / "song.wav", 1)
    looked(folder, clock, 0)
    assert looked(folder, clock, 5) == looked(folder, clock, 1) == ["song.wav"]
    folder.done(str(song))
    assert looked(folder, clock, 100) == []
    toy.write_song(song, 2, duration=6.0)
    assert looked(folder, clock, 1) == []
    assert looked(folder, clock, 5) == ["song.wav"]


@pytest.mark.parametrize(
    "name",
    [
        "song.mp3.part",
        "song.crdownload",
        "song.part.mp3",
        "song.tmp.flac",
        ".song.mp3",
        "~song.mp3",
        "#song.mp3",
        "._song.mp3",
        "notes.txt",
        "song.Incomplete.ogg",
    ],
)
def test_temporary_files_and_other_things_are_left_alone(folder, clock, name):
    (Path(folder.path) / name).write_bytes(b"x" * 100)
    looked(folder, clock, 0)
    assert looked(folder, clock, 60) == []


@pytest.mark.parametrize("name", ["part.mp3", "Part 1.mp3", "my.temper.flac", "tmp.ogg"])
def test_songs_whose_names_only_resemble_temporary_ones_are_taken(folder, clock, name):
    (Path(folder.path) / name).write_bytes(b"x" * 100)
    looked(folder, clock, 0)
    assert looked(folder, clock, 60) == [name]


def test_an_empty_file_is_one_that_is_still_to_come(folder, clock):
    (Path(folder.path) / "song.mp3").write_bytes(b"")
    looked(folder, clock, 0)
    assert looked(folder, clock, 60) == []


def test_folders_inside_are_looked_into_unless_that_is_not_wanted(folder, clock):
    toy.write_song(Path(folder.path) / "album/song.wav", 1)
    flat = Folder(folder.path, recursive=False, settle=5.0, clock=clock)
    looked(folder, clock, 0), looked(flat, clock, 0)
    assert looked(folder, clock, 5) == ["song.wav"] and looked(flat, clock, 0) == []


def test_what_was_there_can_be_left_out(folder, clock):
    old = toy.write_song(Path(folder.path) / "old.wav", 1)
    folder.leave_out_what_is_there()
    toy.write_song(Path(folder.path) / "new.wav", 2)
    looked(folder, clock, 0)
    assert looked(folder, clock, 10) == ["new.wav"]
    toy.write_song(old, 3, duration=6.0)
    looked(folder, clock, 0)
    assert "old.wav" in looked(folder, clock, 10)


def test_a_folder_that_goes_away_is_waited_for(folder, clock, caplog):
    toy.write_song(Path(folder.path) / "song.wav", 1)
    os.rename(folder.path, folder.path + " away")
    assert looked(folder, clock, 0) == looked(folder, clock, 60) == []
    assert caplog.text.count("is gone: waiting") == 1
    os.rename(folder.path + " away", folder.path)
    looked(folder, clock, 0)
    assert looked(folder, clock, 5) == ["song.wav"]


def test_what_is_no_folder_cannot_be_watched(tmp_path):
    with pytest.raises(SongprintError, match=r"cannot watch .*nowhere: it is no folder"):
        Folder(tmp_path / "nowhere")


def test_files_are_taken_once_each_until_it_is_stopped(folder, clock):
    stop, taken = threading.Event(), []

    def take(files: list[str]) -> None:
        taken.append(names(files))
        if len(taken) == 2:
            stop.set()
        toy.write_song(Path(folder.path) / "second.wav", 2)

    def wait(seconds: float) -> None:
        clock.seconds += seconds

    toy.write_song(Path(folder.path) / "first.wav", 1)
    stop.wait = wait
    watch.watch(folder, take, stop=stop)
    assert taken == [["first.wav"], ["second.wav"]]


def test_when_nothing_can_be_taken_it_is_tried_again_later_and_later(folder, clock, caplog):
    stop, tried, waits = threading.Event(), [], []

    def take(files: list[str]) -> None:
        tried.append(names(files))
        if len(tried) < 10:
            raise SongprintError("the disk is full")
        stop.set()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        clock.seconds += seconds

    toy.write_song(Path(folder.path) / "song.wav", 1)
    stop.wait = wait
    watch.watch(folder, take, stop=stop, interval=2.0)
    assert tried == [["song.wav"]] * 10
    assert [wait for wait in waits if wait > 2] == [4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert "the disk is full: again in 4 s" in caplog.text
