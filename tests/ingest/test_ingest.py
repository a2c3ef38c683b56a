"""Adding: what of a batch becomes a recording, what does not and why; workers that die; reading again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import toy

from songprint.audio import files as audio
from songprint.config import Settings
from songprint.errors import EncoderError, LibraryError, LibraryFull
from songprint.fingerprint.matcher import FingerprintMatcher
from songprint.ingest import add, read
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


def test_embeddings_are_those_of_the_encoder(store, songs):
    [added] = add.add(store, songs[:1]).added
    expected = store.levels[Kind.RECORDING].encoder.encode(audio.load(songs[0], toy.SAMPLE_RATE)).vectors
    kept = store.catalog.embeddings(Kind.RECORDING, added.id).vectors
    assert np.sum(kept * expected, axis=1).min() > 0.999
    assert added.source == str(songs[0]) and added.content_hash == audio.content_hash(songs[0])


def test_what_cannot_be_added_is_named_and_the_rest_is_added(store, tmp_path, songs):
    music = songs[0].parent
    (music / "empty.mp3").touch()
    (music / "text.mp3").write_text("not music\n" * 100)
    toy.write(music / "short.wav", toy.song(7, 0.5))
    toy.write(music / "silent.wav", np.zeros(3 * toy.SAMPLE_RATE, np.float32))
    os.mkfifo(music / "pipe.wav")
    (music / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    report = add.add(store, [music, tmp_path / "missing"], workers=2)
    assert len(report.added) == 5
    said = reasons(report)
    assert said.keys() == {"empty.mp3", "text.mp3", "short.wav", "silent.wav", "pipe.wav", "gone.wav", "missing"}
    assert said["short.wav"] == "too short: 0.5 s of audio, and 1 s are needed"
    assert said["silent.wav"] == "silent: nothing to recognise in it"
    assert said["missing"] == said["gone.wav"] == "no such file or folder"
    assert said["pipe.wav"] == "not a file"
    assert not any("\n" in reason for reason in said.values())


def test_a_file_that_breaks_off_is_added_with_a_warning(store, songs):
    content = songs[0].read_bytes()
    songs[0].write_bytes(content[: len(content) * 2 // 3])
    report = add.add(store, songs[:1])
    assert report.added[0].duration == pytest.approx(5 * 2 / 3, abs=0.1)
    assert len(report.warnings) == 1 and "breaks off" in report.warnings[0]


def test_folders_are_walked_in_order_without_what_is_hidden_or_no_audio(tmp_path):
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


def test_a_named_file_is_tried_whatever_it_is_called_and_only_once(store, songs):
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


def test_a_file_that_kills_its_decoder_is_skipped_and_the_rest_added(tmp_path, songs):
    for name in ("Bad 1.wav", "Zad 2.wav"):
        toy.write_poison(songs[0].with_name(name))
    with open_store(tmp_path / "library", create=True, encoder=toy.ToyEncoder(crashes=True)) as store:
        report = add.add(store, [songs[0].parent], workers=2)
    assert len(report.added) == 5
    assert reasons(report) == {"Bad 1.wav": "its decoder crashed", "Zad 2.wav": "its decoder crashed"}


def test_a_worker_computes_with_one_thread_and_the_caller_with_as_many_as_before(tmp_path, songs, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    encoder = TellingEncoder()
    with (
        open_store(tmp_path / "library", create=True, encoder=encoder) as store,
        pytest.raises(EncoderError, match="threads: 1"),
    ):
        add.add(store, songs, workers=2)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


class TellingEncoder(toy.ToyEncoder):
    def encode_stream(self, blocks, hop=None):
        raise EncoderError(f"threads: {os.environ['OMP_NUM_THREADS']}")


def test_a_broken_encoder_ends_the_batch_with_its_own_words(tmp_path, songs):
    with open_store(tmp_path / "library", create=True, encoder=BrokenEncoder()) as store:
        for processes in (1, 2):
            with pytest.raises(EncoderError, match="its weights are damaged"):
                add.add(store, songs, workers=processes)
        assert store.catalog.recordings() == []


class BrokenEncoder(toy.ToyEncoder):
    def encode_stream(self, blocks, hop=None):
        raise EncoderError("its weights are damaged")


def test_an_encoder_that_cannot_be_sent_is_used_in_this_process(tmp_path, songs):
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


def test_a_large_library_is_moved_to_the_disk_while_it_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(add, "TIDY_EVERY", 4)
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


def test_reencoding_leaves_what_it_cannot_read_and_tries_it_the_next_time(store, songs):
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


def test_reencoding_stopped_half_way_leaves_the_old_library_and_goes_on(store, songs):
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


def test_a_library_is_not_given_up_when_its_music_is_away(store, songs):
    add.add(store, songs, workers=1)
    songs[0].parent.rename(songs[0].parent.with_name("unplugged"))
    with (
        open_store(store.path, encoder=toy.ToyEncoder("toy-2")) as newer,
        pytest.raises(LibraryError, match="none of the 5 files of the library could be read again"),
    ):
        add.reencode(newer)
    store.refresh()
    assert len(store.levels[Kind.RECORDING].index.recording_ids()) == 5


def test_results_come_from_all_workers_and_files_are_asked_for_as_they_are_needed(songs):
    asked = []

    def paths():
        for song in songs:
            asked.append(song)
            yield read.Task(str(song), frozenset([Kind.RECORDING]))

    results = read.read_all(paths(), 1, {Kind.RECORDING: toy.ToyEncoder()})
    assert next(results).path == str(songs[0])
    assert len(asked) < len(songs)
    assert [Path(result.path).name for result in results] == [song.name for song in songs[1:]]


def test_the_shipped_encoder_is_loaded_only_when_it_is_needed(tmp_path, songs, monkeypatch):
    monkeypatch.setattr(FingerprintMatcher, "open_encoder", lambda *_, **more: pytest.fail("loaded"))
    with open_store(tmp_path / "library", create=True) as store:
        assert store.catalog.recordings() == []
        assert store.stats().recordings == 0


def test_a_folder_without_music_is_named_beside_one_with(store, songs, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-mother.txt").write_text("no music")
    report = add.add(store, [tmp_path / "letters", *songs], workers=1)
    assert len(report.added) == len(songs)
    assert [skipped.path for skipped in report.skipped] == [str(tmp_path / "letters")]
    assert "no music found in it" in report.skipped[0].reason
