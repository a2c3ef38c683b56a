"""`sync` brings a library into step with its folders, and recordings keep their ids."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import soundfiles, toy

from songprint.config import Settings
from songprint.errors import LibraryError, SettingsError
from songprint.ingest import add, read, sync, watch
from songprint.kinds import open_store
from songprint.store import places
from songprint.store.store import Store
from songprint.types import Change, SyncReport, Tags

RATE = toy.SAMPLE_RATE


def write(path: Path, number: int, title: str = "", **tags: str) -> Path:
    """Write song `number`; the same number gives the same sound whatever the tags."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfiles.write(path, toy.song(number, 2.0), RATE, tags={"title": title or f"Song {number}", **tags})
    return path


def bring_up(store: Store, folders: Iterable[Path] = (), **options: Any) -> SyncReport:
    """Synchronise in one process, so that new recordings get their ids in the order of the file names."""
    return sync.sync(store, folders, workers=1, **options)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for number in range(4):
        write(tmp_path / "music" / f"{number}.flac", number, artist="Band")
    return tmp_path / "music"


def changes(store: Store, *folders: Path, **options: Any) -> list[tuple[str, str, int | None]]:
    report = bring_up(store, folders, **options)
    return sorted((each.change.value, Path(each.path).name, each.recording_id) for each in report.changes)


def test_files_are_added_once_and_not_read_again(store, music, monkeypatch):
    first = bring_up(store, [music])
    assert [each.change for each in first.changes] == [Change.ADDED] * 4 and first.unchanged == 0
    monkeypatch.setattr(read, "examine", lambda path, rules: pytest.fail(f"read {path}"))
    again = bring_up(store)  # the library remembers the folder
    assert again.changes == [] and again.unchanged == 4
    assert [known.path for known in add.add(store, [music]).known] == [str(music / f"{n}.flac") for n in range(4)]


def test_a_retagged_file_keeps_its_id_and_what_the_user_edited(store, music):
    bring_up(store, [music])
    store.catalog.edit(2, {"artists": ("The Band",)})
    write(music / "1.flac", 1, "Another title", artist="Band")
    assert changes(store, music) == [("retagged", "1.flac", 2)]
    assert store.catalog.recording(2).tags.title == "Another title"
    assert store.catalog.recording(2).artists == ("The Band",)
    write(music / "1.flac", 1, "Another title", artist="Somebody")  # newer than the edit
    bring_up(store, [music])
    assert store.catalog.recording(2).artists == ("Somebody",)


def test_a_touched_file_changes_nothing(store, music):
    bring_up(store, [music])
    os.utime(music / "1.flac", (1, 1))
    assert changes(store, music) == [("touched", "1.flac", 2)]
    assert changes(store, music) == []


def test_a_moved_file_keeps_its_id(store, music):
    bring_up(store, [music])
    (music / "album").mkdir()
    (music / "1.flac").rename(music / "album" / "one.flac")
    report = bring_up(store, [music])
    [change] = report.changes
    assert (change.change, change.recording_id, change.before) == (Change.MOVED, 2, str(music / "1.flac"))
    assert store.catalog.recording(2).source == str(music / "album" / "one.flac")
    assert [place.path for place in places.of(store.catalog, 2)] == [str(music / "album" / "one.flac")]


def test_a_title_from_the_file_name_follows_the_name_unless_it_was_edited(store, tmp_path):
    music = tmp_path / "music"
    for number in (1, 2):
        toy.write_song(music / f"Name {number}.wav", number)
    bring_up(store, [music])
    store.catalog.edit(2, {"title": "Edited"})
    for number in (1, 2):
        (music / f"Name {number}.wav").rename(music / f"New name {number}.wav")
    bring_up(store, [music])
    assert [each.title for each in store.catalog.recordings()] == ["New name 1", "Edited"]


def test_the_same_sound_at_several_paths_is_one_recording(store, music):
    shutil.copy(music / "1.flac", music / "copy.flac")
    write(music / "retagged copy.flac", 1, "Other tags")
    bring_up(store, [music])
    assert len(store.catalog.recordings()) == 4
    known = store.catalog.known(read.examine(str(music / "1.flac")).sound)
    assert [Path(place.path).name for place in places.of(store.catalog, known)] == [
        "1.flac",
        "copy.flac",
        "retagged copy.flac",
    ]
    source = Path(store.catalog.recording(known).source)
    source.unlink()
    assert changes(store, music) == [("missing", source.name, known)]
    assert store.catalog.recording(known).missing_since == ""
    assert Path(store.catalog.recording(known).source).exists()


def test_a_replaced_file_is_another_recording_and_the_old_one_is_missing(store, music):
    bring_up(store, [music])
    write(music / "1.flac", 17)
    assert changes(store, music) == [("replaced", "1.flac", 5)]
    assert store.catalog.recording(2).missing_since
    assert places.of(store.catalog, 2) == []
    write(music / "back.flac", 1)
    assert changes(store, music) == [("returned", "back.flac", 2)]
    assert store.catalog.recording(2).missing_since == ""


def test_two_files_that_exchange_their_names_keep_their_ids(store, music):
    bring_up(store, [music])
    (music / "1.flac").rename(music / "x.flac")
    (music / "2.flac").rename(music / "1.flac")
    (music / "x.flac").rename(music / "2.flac")
    bring_up(store, [music])
    assert {Path(each.source).name: each.id for each in store.catalog.recordings()} == {
        "0.flac": 1,
        "2.flac": 2,
        "1.flac": 3,
        "3.flac": 4,
    }
    assert not any(each.missing_since for each in store.catalog.recordings())


def test_a_missing_file_is_marked_and_removed_on_request(store, music):
    bring_up(store, [music])
    kept = (music / "1.flac").rename(music.parent / "kept.flac")
    (music / "2.flac").unlink()
    assert changes(store, music) == [("missing", "1.flac", 2), ("missing", "2.flac", 3)]
    assert len(store.catalog.recordings()) == 4 and store.catalog.recording(2).missing_since
    assert changes(store, music) == []
    kept.rename(music / "1.flac")
    assert changes(store, music) == [("returned", "1.flac", 2)]
    assert changes(store, music, remove_missing=True) == [("removed", "2.flac", 3)]
    assert [each.id for each in store.catalog.recordings()] == [1, 2, 4]


def test_a_dry_run_reports_the_same_and_writes_nothing(store, music):
    def expected(dry: bool) -> list[tuple[str, str]]:
        report = bring_up(store, [music], dry_run=dry, remove_missing=True)
        return sorted((each.change.value, Path(each.path).name) for each in report.changes)

    assert expected(dry=True) == expected(dry=False)
    (music / "0.flac").unlink()
    (music / "1.flac").rename(music / "moved.flac")
    write(music / "2.flac", 12)
    write(music / "3.flac", 3, "New title")
    write(music / "new.flac", 13)
    before = store.catalog.state(), [vars(each) for each in store.catalog.recordings()]
    planned = expected(dry=True)
    assert before == (store.catalog.state(), [vars(each) for each in store.catalog.recordings()])
    assert [each for each in planned if each != ("removed", "2.flac")] == [
        ("added", "new.flac"),
        ("missing", "0.flac"),
        ("moved", "moved.flac"),
        ("removed", "0.flac"),
        ("replaced", "2.flac"),
        ("retagged", "3.flac"),
    ]
    done = expected(dry=False)
    assert done == planned


def test_an_unconnected_drive_removes_nothing(store, music):
    bring_up(store, [music])
    music.rename(music.parent / "elsewhere")
    [skipped] = bring_up(store, [music], remove_missing=True).changes
    assert skipped.change is Change.SKIPPED and "drive" in skipped.reason
    music.mkdir()  # the mount point alone
    with pytest.raises(LibraryError, match="is empty"):
        bring_up(store, [music], remove_missing=True)
    assert len(store.catalog.recordings()) == 4
    assert not any(each.missing_since for each in store.catalog.recordings())


def test_without_a_folder_to_follow_sync_says_what_to_do(store):
    with pytest.raises(LibraryError, match="songprint sync FOLDER"):
        bring_up(store)


def test_a_file_that_becomes_unreadable_no_longer_holds_its_recording(store, music):
    bring_up(store, [music])
    (music / "1.flac").write_text("no music any more\n" * 50)
    assert [each[0] for each in changes(store, music)] == ["missing", "skipped"]
    assert store.catalog.recording(2).missing_since


def test_a_file_that_changes_while_it_is_read_is_read_again(store, music, monkeypatch):
    examine = read.tags.read_tags

    def retagged_meanwhile(path, file, rules):
        found = examine(path, file, rules)
        if not retagged:
            retagged.append(write(music / "1.flac", 1, "Written meanwhile"))
        return found

    retagged: list[Path] = []
    monkeypatch.setattr(read.tags, "read_tags", retagged_meanwhile)
    monkeypatch.setattr(read, "PAUSE", 0)
    [added] = add.add(store, [music / "1.flac"]).added
    assert added.title == "Written meanwhile"
    [place] = places.of(store.catalog, added.id)
    assert place.state == read.state_of(str(music / "1.flac"))


def test_a_file_that_is_replaced_while_it_is_encoded_is_read_again(store, music, monkeypatch):
    encode = read.encode

    def replaced_meanwhile(blocks, encoders):
        made = encode(blocks, encoders)
        if not replaced:
            other = write(music / "other.flac", 9)
            replaced.append(other.rename(music / "1.flac"))
        return made

    replaced: list[Path] = []
    monkeypatch.setattr(read, "encode", replaced_meanwhile)
    [added] = add.add(store, [music / "1.flac"]).added
    assert added.title == "Song 9"
    assert added.content_hash == read.examine(str(music / "1.flac")).sound
    assert len(store.catalog.recordings()) == 1


def test_names_that_are_not_utf_8_are_kept_and_read_again(store, tmp_path):
    music = os.fsencode(tmp_path / "music")
    os.mkdir(music)
    name = os.path.join(music, "Jóga.wav".encode("latin-1"))
    toy.write_song(tmp_path / "song.wav", 1)
    os.rename(tmp_path / "song.wav", name)
    bring_up(store, [tmp_path / "music"])
    [recording] = store.catalog.recordings()
    recording.source.encode()  # can be printed and stored
    assert os.fsencode(add.file_path(recording.source)) == name
    assert len(add.audio.load(recording.source, RATE)) > 0
    assert bring_up(store).changes == []


def test_a_library_of_an_older_version_recognises_its_files(store, music):
    """Its recordings are known by the hash of the whole file, and nothing is known of their size and time."""
    from sqlalchemy import update

    from songprint.store import tables

    bring_up(store, [music])
    old = add.audio.content_hash(music / "1.flac")

    def age(connection):
        connection.execute(update(tables.recordings).where(tables.recordings.c.id == 2).values(content_hash=old))
        connection.execute(update(tables.places).where(tables.places.c.recording_id == 2).values(size=-1, modified=0))

    store.catalog.change(age)
    assert changes(store, music) == [("touched", "1.flac", 2)]
    assert store.catalog.recording(2).content_hash == read.examine(str(music / "1.flac")).sound


# A folder that changes at random, and what a library must contain after it


@dataclass
class Collection:
    """A folder of songs that a seed changes, with what must be true of it."""

    folder: Path
    seed: int
    songs: int
    files: dict[str, tuple[int, str]] = field(default_factory=dict)  # by name: song and title

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.next_song = self.next_name = 0
        for _ in range(self.songs):
            self.add()

    def add(self) -> None:
        self._write(self._name(), self._song(), f"Title {self.next_song}")

    def retag(self) -> None:
        name = self._any()
        self._write(name, self.files[name][0], f"Title {self.random.random()}")

    def rename(self) -> None:
        before, after = self._any(), self._name()
        (self.folder / before).rename(self.folder / after)
        self.files[after] = self.files.pop(before)

    def move(self) -> None:
        before = self._any()
        after = f"{self.random.choice('abc')}/{self._name()}"
        (self.folder / after).parent.mkdir(exist_ok=True)
        (self.folder / before).rename(self.folder / after)
        self.files[after] = self.files.pop(before)

    def replace(self) -> None:
        self._write(self._any(), self._song(), f"Title {self.next_song}")

    def delete(self) -> None:
        if len(self.files) > 5:
            name = self._any()
            (self.folder / name).unlink()
            del self.files[name]

    def copy(self) -> None:
        before, after = self._any(), self._name()
        shutil.copy(self.folder / before, self.folder / after)
        self.files[after] = self.files[before]

    def touch(self) -> None:
        os.utime(self.folder / self._any())

    def change(self) -> None:
        operations = (self.add, self.retag, self.rename, self.move, self.replace, self.delete, self.copy, self.touch)
        self.random.choice(operations)()

    def check(self, store: Store, ids: dict[int, int]) -> None:
        """Compare with the library. `ids` collects the id of each song, which never changes."""
        found = places.under(store.catalog, [str(self.folder)])
        present = {
            os.path.relpath(path, self.folder): place for path, place in found.items() if not place.missing_since
        }
        assert present.keys() == self.files.keys()
        recordings = {recording.id: recording for recording in store.catalog.recordings()}
        for name, (song, title) in self.files.items():
            place = present[name]
            assert ids.setdefault(song, place.recording_id) == place.recording_id
            assert place.tags.title == title
        songs = {song for song, _ in self.files.values()}
        assert {each for each in recordings if not recordings[each].missing_since} == {ids[song] for song in songs}
        for song in songs:
            titles = {title for other, title in self.files.values() if other == song}
            if len(titles) == 1:
                assert recordings[ids[song]].title in titles
            source = os.path.relpath(recordings[ids[song]].source, self.folder)
            assert self.files[source][0] == song

    def _any(self) -> str:
        return self.random.choice(sorted(self.files))

    def _name(self) -> str:
        self.next_name += 1
        return f"{self.next_name}.flac"

    def _song(self) -> int:
        self.next_song += 1
        return self.next_song

    def _write(self, name: str, song: int, title: str) -> None:
        write(self.folder / name, song, title)
        self.files[name] = song, title


def follow(store: Store, collection: Collection, operations: int) -> None:
    ids: dict[int, int] = {}
    bring_up(store, [collection.folder])
    collection.check(store, ids)
    for _ in range(operations):
        collection.change()
        if collection.random.random() < 0.1:
            bring_up(store)
            collection.check(store, ids)
    bring_up(store)
    collection.check(store, ids)
    assert bring_up(store).changes == []


def test_the_library_equals_a_folder_that_changes_at_random(store, tmp_path):
    follow(store, Collection(tmp_path / "music", seed=1, songs=10), operations=60)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_library_equals_a_large_folder_that_changes_at_random(store, tmp_path, seed):
    follow(store, Collection(tmp_path / "music", seed=seed, songs=50), operations=300)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_watch_follows_a_folder_that_changes_at_random(store, tmp_path, seed):
    collection = Collection(tmp_path / "music", seed=seed, songs=20)
    folder = watch.Folder(collection.folder, settle=0.3)
    stop, ids = threading.Event(), {}
    watching = threading.Thread(
        target=watch.watch,
        args=(folder, lambda files: add.add(store, files, workers=1)),
        kwargs={
            "stop": stop,
            "interval": 0.1,
            "on_lost_files": lambda: sync.mark_gone(store, str(collection.folder)),
        },
    )
    watching.start()
    try:
        for number in range(100):
            collection.change()
            time.sleep(collection.random.random() / 10)
            if number % 20 == 19:
                wait_until_in_step(store, collection, ids)
    finally:
        stop.set()
        watching.join()


def wait_until_in_step(store: Store, collection: Collection, ids: dict[int, int]) -> None:
    """Wait until the library equals the folder; what differs after a minute is an error."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return collection.check(store, dict(ids)) or collection.check(store, ids)
        except (AssertionError, KeyError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


SYNC_IN_CHILD = """
import sys
from pathlib import Path
from support import toy
from songprint.ingest import sync
from songprint.kinds import open_store
with open_store(Path(sys.argv[1]), create=True, encoder=toy.ToyEncoder(seconds=0.02)) as store:
    sync.sync(store, [sys.argv[2]])
"""


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_syncs_lose_nothing(tmp_path, seed):
    collection = Collection(tmp_path / "music", seed=seed, songs=50)
    ids: dict[int, int] = {}
    for number in range(300):
        collection.change()
        if number % 15 == 0:
            arguments = [sys.executable, "-c", SYNC_IN_CHILD, str(tmp_path / "library"), str(collection.folder)]
            syncing = subprocess.Popen(arguments)
            time.sleep(1.0 + collection.random.random())
            syncing.kill()
            syncing.wait()
    with open_store(tmp_path / "library", create=True, encoder=toy.ToyEncoder()) as store:
        bring_up(store, [collection.folder])
        collection.check(store, ids)
        kept = {song: store.catalog.embeddings(store.identity.kind, ids[song]).vectors for song in ids}
        for song, vectors in kept.items():
            assert np.any(vectors), song


def test_a_pattern_names_files_and_the_setting_repeats_it(tmp_path):
    settings = Settings(name_pattern="{artist}/{album}/{track}_{title}")
    with open_store(tmp_path / "library", create=True, encoder=toy.ToyEncoder(), settings=settings) as store:
        path = tmp_path / "m" / "Nina Simone" / "Pastel Blues" / "10_Sinnerman.flac"
        path.parent.mkdir(parents=True)
        soundfiles.write(path, toy.song(1, 2.0), RATE)
        [added] = add.add(store, [path], pattern="{title}").added
        assert added.tags == Tags("10 Sinnerman")
        path.touch()
        bring_up(store, [tmp_path / "m"])
        assert store.catalog.recording(added.id).tags == Tags("Sinnerman", ("Nina Simone",), "Pastel Blues", track=10)
        assert changes(store, tmp_path / "m", reread=True) == []
        store.catalog.edit(added.id, {"album": "Mine"})
        other = {"pattern": "{any}/{any}/{any} {title}", "reread": True}
        assert changes(store, tmp_path / "m", **other) == [("retagged", path.name, added.id)]
        assert store.catalog.recording(added.id).tags == Tags("Sinnerman", album="Mine")
        with pytest.raises(SettingsError, match="invalid pattern"):
            sync.sync(store, [tmp_path / "m"], pattern="{titel}")
