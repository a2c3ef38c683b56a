"""Adding files: which become recordings, why others are skipped, crashes of child processes, and encoding again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import soundfiles, toy

from songprint.audio import files as audio
from songprint.audio import ogg
from songprint.audio.identity import sound_hash
from songprint.config import Settings
from songprint.errors import EncoderError, LibraryError, LibraryFull
from songprint.fingerprint.matcher import FingerprintMatcher
from songprint.ingest import add, read, update
from songprint.kinds import open_store
from songprint.types import Kind


def reasons(report) -> dict[str, str]:
    return {Path(skipped.path).name: skipped.reason for skipped in report.skipped}


def titles(recordings) -> list[str]:
    return sorted(recording.title for recording in recordings)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_folder_is_added_once(store, songs, processes):
    events = []
    first = add.add(store, [songs[0].parent], workers=processes, on_progress=events.append)
    assert titles(first.added) == [f"Song {number:02}" for number in range(5)]
    assert first.added[0].artists == (first.added[0].title.replace("Song", "Band"),)
    assert first.audio_seconds == pytest.approx(25)
    assert (first.known, first.skipped, first.warnings) == ([], [], ())
    assert [event.outcome for event in events] == ["added"] * 5
    assert [event.files_done for event in events] == [1, 2, 3, 4, 5]
    assert events[-1].bytes_done == events[-1].bytes_total == sum(path.stat().st_size for path in songs)
    again = add.add(store, [songs[0].parent], workers=processes)
    assert (again.added, again.skipped) == ([], [])
    assert {known.recording_id for known in again.known} == {recording.id for recording in first.added}


def test_the_embeddings_of_the_encoder_are_stored(store, songs):
    [added] = add.add(store, songs[:1]).added
    expected = store.levels[Kind.RECORDING].encoder.encode(audio.load(songs[0], toy.SAMPLE_RATE)).vectors
    kept = store.catalog.embeddings(Kind.RECORDING, added.id).vectors
    assert np.sum(kept * expected, axis=1).min() > 0.999
    assert added.source == str(songs[0]) and added.content_hash == sound_hash(songs[0])


def test_links_of_ogg_files_are_searched_once(store, tmp_path, monkeypatch):
    one, other = (
        soundfiles.write(tmp_path / f"{name}.ogg", soundfiles.tone(tone, 2, 44100, 2)).read_bytes()
        for name, tone in (("one", 440), ("other", 880))
    )
    path = tmp_path / "chained.ogg"
    path.write_bytes(one + other)
    searched = []
    links = ogg.links
    monkeypatch.setattr(ogg, "links", lambda file: searched.append(1) or links(file))
    [added] = add.add(store, [path], workers=1).added
    assert added.duration == pytest.approx(4, abs=0.1)
    assert searched == [1]


def test_unusable_files_are_skipped_with_a_reason_and_the_rest_is_added(store, tmp_path, songs):
    music = songs[0].parent
    (music / "empty.mp3").touch()
    (music / "text.mp3").write_text("not music\n" * 100)
    toy.write(music / "short.wav", toy.song(7, 0.5))
    toy.write(music / "silent.wav", np.zeros(3 * toy.SAMPLE_RATE, np.float32))
    os.mkfifo(music / "pipe.wav")
    (music / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    report = add.add(store, [music, tmp_path / "missing"], workers=2)
    assert len(report.added) == 5
    skipped = reasons(report)
    assert skipped.keys() == {"empty.mp3", "text.mp3", "short.wav", "silent.wav", "pipe.wav", "gone.wav", "missing"}
    assert skipped["short.wav"] == "too short: 0.5 s of audio, and 1 s are needed"
    assert skipped["silent.wav"] == "silent: nothing to recognise in it"
    assert skipped["missing"] == skipped["gone.wav"] == "no such file or folder"
    assert skipped["pipe.wav"] == "not a file"
    assert not any("\n" in reason for reason in skipped.values())


def test_recordings_that_scans_do_not_find_are_added_with_a_warning(store, tmp_path):
    files = [toy.write(tmp_path / f"jingle {seconds}.wav", toy.song(7 + seconds, seconds)) for seconds in (2, 4)]
    report = add.add(store, files, workers=1)
    assert len(report.added) == 2
    [warning] = report.warnings
    assert "jingle 2.wav has 2.0 s" in warning and "3 s and longer" in warning


def test_a_truncated_file_is_added_with_a_warning(store, songs):
    content = songs[0].read_bytes()
    songs[0].write_bytes(content[: len(content) * 2 // 3])
    report = add.add(store, songs[:1])
    assert report.added[0].duration == pytest.approx(5 * 2 / 3, abs=0.1)
    assert len(report.warnings) == 1 and "cut off after" in report.warnings[0]


def test_folders_are_searched_in_order_without_hidden_and_other_files(tmp_path):
    for name in ("b.wav", "a.wav", "notes.txt", ".hidden.wav", "sub/c.wav", ".git/d.wav", "sub/deep/e.wav"):
        toy.write_song(tmp_path / name, 1, 0.1)
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    files, unusable = add.find([tmp_path])
    names = [os.path.relpath(file, tmp_path) for file in files]
    assert names == ["a.wav", "b.wav", "sub/c.wav", "sub/deep/e.wav"]
    assert unusable == []
    files, _ = add.find([tmp_path], recursive=False)
    assert len(files) == 2


def test_an_explicitly_named_file_is_added_once_whatever_its_name(store, songs):
    odd = songs[0].rename(songs[0].with_name(".odd name"))
    report = add.add(store, [odd, str(odd), odd.parent / ".." / odd.parent.name / odd.name])
    assert [recording.title for recording in report.added] == [".odd name"] and not report.known


def test_copies_in_one_batch_become_one_recording(store, songs):
    for number in range(5):
        shutil.copy(songs[0], songs[0].with_name(f"copy {number}.wav"))
    report = add.add(store, [songs[0].parent], workers=2)
    assert (len(report.added), len(report.known)) == (5, 5)


def test_an_unreadable_folder_is_reported(store, songs, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", refuse)
    report = add.add(store, [songs[0].parent, songs[1]])
    assert reasons(report) == {"music": "cannot read the folder: Permission denied"}
    assert len(report.added) == 1


def test_a_file_that_crashes_its_decoder_is_skipped_and_the_rest_is_added(tmp_path, songs):
    for name in ("Bad 1.wav", "Zad 2.wav"):
        toy.write_poison(songs[0].with_name(name))
    with open_store(tmp_path / "library", create=True, encoder=toy.ToyEncoder(crashes=True)) as store:
        report = add.add(store, [songs[0].parent], workers=2)
    assert len(report.added) == 5
    crashed = "its decoder crashed. Convert the file to another format"
    assert reasons(report) == {"Bad 1.wav": crashed, "Zad 2.wav": crashed}


def test_child_processes_use_one_thread_and_the_environment_of_the_caller_is_unchanged(tmp_path, songs, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    encoder = ReportingEncoder()
    with (
        open_store(tmp_path / "library", create=True, encoder=encoder) as store,
        pytest.raises(EncoderError, match="threads: 1"),
    ):
        add.add(store, songs, workers=2)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


class ReportingEncoder(toy.ToyEncoder):
    def encode_stream(self, blocks, hop=None):
        raise EncoderError(f"threads: {os.environ['OMP_NUM_THREADS']}")


def test_an_error_of_the_encoder_ends_the_batch(tmp_path, songs):
    with open_store(tmp_path / "library", create=True, encoder=BrokenEncoder()) as store:
        for processes in (1, 2):
            with pytest.raises(EncoderError, match="its weights are damaged"):
                add.add(store, songs, workers=processes)
        assert store.catalog.recordings() == []


class BrokenEncoder(toy.ToyEncoder):
    def encode_stream(self, blocks, hop=None):
        raise EncoderError("its weights are damaged")


def test_an_encoder_that_cannot_be_pickled_is_used_in_this_process(tmp_path, songs):
    encoder = toy.ToyEncoder()
    object.__setattr__(encoder, "session", lambda: None)
    with open_store(tmp_path / "library", create=True, encoder=encoder) as store:
        assert len(add.add(store, songs, workers=2).added) == 5


def test_an_interrupted_batch_keeps_what_was_added(store, songs):
    def interrupt(progress):
        if progress.files_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add.add(store, songs, workers=2, on_progress=interrupt)
    assert len(store.catalog.recordings()) == 2
    assert len(add.add(store, songs, workers=1).added) == 3


def test_a_script_without_a_main_guard_adds_once(tmp_path, songs, run_python):
    script = tmp_path / "script.py"
    script.write_text(
        f"import songprint\nfrom support import toy\n"
        f"print('running')\n"
        f"library = songprint.open({str(tmp_path / 'lib')!r}, create=True,\n"
        f"                         encoder=toy.ToyEncoder())\n"
        f"print(len(library.add({str(songs[0].parent)!r}, workers=2).added))\n"
        f"library.close()\n"
    )
    assert run_python(str(script)) == "running\n5\n"


def test_the_index_of_a_growing_library_moves_to_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(update, "TIDY_INTERVAL", 4)
    music = toy.write_songs(tmp_path / "music", 10, duration=20.0)
    settings = Settings(exact_limit=100)
    with open_store(tmp_path / "library", create=True, encoder=toy.ToyEncoder(), settings=settings) as store:
        assert len(add.add(store, music, workers=1).added) == 10
        assert store.stats().index_bytes > 0
        store.refresh()
        assert store.levels[Kind.RECORDING].index.recording_ids() == store.catalog.searched(Kind.RECORDING).keys()


def test_a_full_disk_keeps_what_was_added(disk, tmp_path):
    music = toy.write_songs(tmp_path / "music", 60, duration=2.0)
    with open_store(disk.path / "library", create=True, encoder=toy.ToyEncoder()) as store:
        added = []
        (disk.path / "filler").write_bytes(bytes(1_400_000))
        with pytest.raises(LibraryFull, match="is full"):
            add.add(store, music, workers=2, on_progress=added.append)
        assert 0 < len(added) < 60
        assert len(store.catalog.recordings()) == len(added) and store.catalog.problems() == []
        disk.make_larger()
        assert len(add.add(store, music, workers=2).added) == 60 - len(added)


def test_reencoding_moves_a_library_to_another_encoder(store, songs):
    before = add.add(store, songs, workers=1).added
    with open_store(store.path, encoder=toy.ToyEncoder("toy-2")) as newer:
        report = add.reencode(newer, workers=2)
        assert (report.reencoded, report.skipped) == (5, [])
        newer.refresh()
        assert newer.catalog.recordings() == before
        assert {newer.catalog.embeddings(Kind.RECORDING, recording.id).encoder_id for recording in before} == {"toy-2"}
        assert add.reencode(newer).reencoded == 0


def test_reencoding_skips_unreadable_files_and_tries_them_again_next_time(store, songs):
    add.add(store, songs, workers=1)
    hidden = songs[0].rename(songs[0].with_suffix(".hidden"))
    toy.write_song(songs[1], seed=77, duration=9.0)
    with open_store(store.path, encoder=toy.ToyEncoder("toy-2")) as newer:
        report = add.reencode(newer)
        assert report.reencoded == 3
        assert reasons(report)[songs[0].name] == "no such file or folder"
        assert "it is not the file that was added as 2: remove 2" in reasons(report)[songs[1].name]
        assert len(newer.catalog.recordings()) == 5
        hidden.rename(songs[0])
        assert add.reencode(newer).reencoded == 1
        newer.refresh()
        assert newer.levels[Kind.RECORDING].index.recording_ids() == {1, 3, 4, 5}


def test_interrupted_reencoding_keeps_the_old_library_and_can_be_continued(store, songs):
    add.add(store, songs, workers=1)

    def interrupt(progress):
        if progress.files_done == 2:
            raise KeyboardInterrupt

    with open_store(store.path, encoder=toy.ToyEncoder("toy-2")) as newer:
        with pytest.raises(KeyboardInterrupt):
            add.reencode(newer, workers=1, on_progress=interrupt)
        store.refresh()
        assert len(store.levels[Kind.RECORDING].index.recording_ids()) == 5
        assert add.reencode(newer, workers=1).reencoded == 3


def test_reencoding_without_any_readable_file_keeps_the_old_library(store, songs):
    add.add(store, songs, workers=1)
    songs[0].parent.rename(songs[0].parent.with_name("unplugged"))
    with (
        open_store(store.path, encoder=toy.ToyEncoder("toy-2")) as newer,
        pytest.raises(LibraryError, match="none of the 5 files of the library could be read again"),
    ):
        add.reencode(newer)
    store.refresh()
    assert len(store.levels[Kind.RECORDING].index.recording_ids()) == 5


def test_files_are_consumed_as_the_child_processes_need_them(songs):
    taken = []

    def paths():
        for song in songs:
            taken.append(song)
            yield read.Task(str(song), frozenset([Kind.RECORDING]))

    with read.children(1, {Kind.RECORDING: toy.ToyEncoder()}) as reader:
        results = reader.read(paths())
        assert next(results).path == str(songs[0])
        assert len(taken) < len(songs)
        assert [Path(result.path).name for result in results] == [song.name for song in songs[1:]]


def test_the_shipped_encoder_is_loaded_on_demand(tmp_path, songs, monkeypatch):
    monkeypatch.setattr(FingerprintMatcher, "open_encoder", lambda *_, **more: pytest.fail("loaded"))
    with open_store(tmp_path / "library", create=True) as store:
        assert store.catalog.recordings() == []
        assert store.stats().recordings == 0


def test_a_folder_without_music_is_reported(store, songs, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-mother.txt").write_text("no music")
    report = add.add(store, [tmp_path / "letters", *songs], workers=1)
    assert len(report.added) == len(songs)
    assert [skipped.path for skipped in report.skipped] == [str(tmp_path / "letters")]
    assert "no music found in it" in report.skipped[0].reason
