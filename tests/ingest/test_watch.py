"""Watching a folder: new and complete files are taken once, and failures do not end it."""

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


def poll(folder: Folder, clock: Clock, seconds: float) -> list[str]:
    clock.seconds += seconds
    return names(folder.ready())


def test_a_file_is_complete_when_it_has_not_changed_for_a_while(folder, clock):
    song = toy.write_song(Path(folder.path) / "song.wav", 1)
    assert poll(folder, clock, 0) == poll(folder, clock, 4) == []
    with open(song, "ab") as file:
        file.write(b"more")
    assert poll(folder, clock, 2) == poll(folder, clock, 4) == []
    assert poll(folder, clock, 2) == ["song.wav"]


def test_a_file_is_returned_until_it_is_marked_as_done_and_again_after_it_changed(folder, clock):
    song = toy.write_song(Path(folder.path) / "song.wav", 1)
    poll(folder, clock, 0)
    assert poll(folder, clock, 5) == poll(folder, clock, 1) == ["song.wav"]
    folder.done(str(song))
    assert poll(folder, clock, 100) == []
    toy.write_song(song, 2, duration=6.0)
    assert poll(folder, clock, 1) == []
    assert poll(folder, clock, 5) == ["song.wav"]


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
def test_temporary_and_other_files_are_ignored(folder, clock, name):
    (Path(folder.path) / name).write_bytes(b"x" * 100)
    poll(folder, clock, 0)
    assert poll(folder, clock, 60) == []


@pytest.mark.parametrize("name", ["part.mp3", "Part 1.mp3", "my.temper.flac", "tmp.ogg"])
def test_songs_with_names_similar_to_temporary_files_are_taken(folder, clock, name):
    (Path(folder.path) / name).write_bytes(b"x" * 100)
    poll(folder, clock, 0)
    assert poll(folder, clock, 60) == [name]


def test_an_empty_file_is_not_complete(folder, clock):
    (Path(folder.path) / "song.mp3").write_bytes(b"")
    poll(folder, clock, 0)
    assert poll(folder, clock, 60) == []


def test_subfolders_are_included_unless_recursion_is_off(folder, clock):
    toy.write_song(Path(folder.path) / "album/song.wav", 1)
    flat = Folder(folder.path, recursive=False, settle=5.0, clock=clock)
    poll(folder, clock, 0), poll(flat, clock, 0)
    assert poll(folder, clock, 5) == ["song.wav"] and poll(flat, clock, 0) == []


def test_present_files_can_be_ignored_until_they_change(folder, clock):
    old = toy.write_song(Path(folder.path) / "old.wav", 1)
    folder.ignore_present()
    toy.write_song(Path(folder.path) / "new.wav", 2)
    poll(folder, clock, 0)
    assert poll(folder, clock, 10) == ["new.wav"]
    toy.write_song(old, 3, duration=6.0)
    poll(folder, clock, 0)
    assert "old.wav" in poll(folder, clock, 10)


def test_a_missing_folder_is_reported_once_and_watched_again_when_it_returns(folder, clock, caplog):
    toy.write_song(Path(folder.path) / "song.wav", 1)
    os.rename(folder.path, folder.path + " away")
    assert poll(folder, clock, 0) == poll(folder, clock, 60) == []
    assert caplog.text.count("is gone: waiting") == 1
    os.rename(folder.path + " away", folder.path)
    poll(folder, clock, 0)
    assert poll(folder, clock, 5) == ["song.wav"]


def test_only_folders_can_be_watched(tmp_path):
    with pytest.raises(SongprintError, match=r"cannot watch .*nowhere: it is not a folder"):
        Folder(tmp_path / "nowhere")


def test_every_file_is_taken_once_until_stopped(folder, clock):
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


def test_delays_double_while_no_file_can_be_taken(folder, clock, caplog):
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
    assert "the disk is full: next attempt in 4 s" in caplog.text
