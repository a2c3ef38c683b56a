"""A library in a file: opened, brought up to date, damaged, on a disk that is full or read-only."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text
from support.recordings import add

from songprint.errors import LibraryError, LibraryFull, LibraryNotFound, LibraryVersionError
from songprint.store import tables
from songprint.store.catalog import Catalog
from songprint.store.database.sqlite import FILE_NAME
from songprint.types import Kind


def test_nothing_there_is_said_with_the_remedy(tmp_path):
    with pytest.raises(LibraryNotFound, match=r"no library at .*Make one with `songprint --library .* add"):
        Catalog(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / FILE_NAME).touch()  # the process that was making it died at once
    with pytest.raises(LibraryNotFound):
        Catalog(tmp_path)


def test_a_folder_with_other_files_does_not_become_a_library(tmp_path):
    (tmp_path / "song.mp3").write_bytes(b"...")
    with pytest.raises(LibraryError, match=r"holds other files \(song.mp3\) and no library"):
        Catalog(tmp_path, create=True)
    with pytest.raises(LibraryError, match="is a file; a library is a folder"):
        Catalog(tmp_path / "song.mp3", create=True)


def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    file = tmp_path / FILE_NAME
    file.write_bytes(b"this is not a database" * 100)
    for create in (False, True):
        with pytest.raises(LibraryError, match="damaged or no catalogue"):
            Catalog(tmp_path, create=create)
    assert file.read_bytes() == b"this is not a database" * 100


def test_somebody_elses_database_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("CREATE TABLE photographs (id INTEGER)")
    connection.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(LibraryError, match="not a Songprint catalogue"):
        Catalog(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_damage_is_one_line(random, tmp_path):
    catalog = Catalog(tmp_path / "library", create=True)
    for number in range(50):
        add(catalog, random, f"Song {number}", count=200)
    catalog.close()
    file = tmp_path / "library" / FILE_NAME
    content = bytearray(file.read_bytes())
    content[4096 : 20 * 4096] = random.bytes(19 * 4096)
    file.write_bytes(content)
    with pytest.raises(LibraryError, match="damaged") as caught:
        damaged = Catalog(tmp_path / "library")
        try:
            damaged.recordings()
        finally:
            damaged.close()
    assert "\n" not in str(caught.value)


def test_a_newer_library_is_refused_and_left_untouched(tmp_path):
    catalog = Catalog(tmp_path / "library", create=True)
    with catalog.database.writing() as connection:
        connection.execute(text("UPDATE library SET schema_version = 99"))
    catalog.close()
    before = (tmp_path / "library" / FILE_NAME).read_bytes()
    with pytest.raises(LibraryVersionError, match=r"schema version 99.*pip install --upgrade songprint"):
        Catalog(tmp_path / "library")
    assert (tmp_path / "library" / FILE_NAME).read_bytes() == before


def add_mood(connection, songprint_version):
    connection.execute(text("ALTER TABLE recordings ADD COLUMN mood VARCHAR(20) NOT NULL DEFAULT 'calm'"))


def fail(connection, songprint_version):
    connection.execute(text("CREATE TABLE half (id INTEGER)"))
    raise RuntimeError("the power went off")


def test_an_older_library_is_brought_up_to_date_step_by_step(tmp_path, monkeypatch):
    write_version_1(tmp_path / FILE_NAME)
    monkeypatch.setattr(tables, "STEPS", [*tables.STEPS, add_mood])
    catalog = Catalog(tmp_path)
    assert catalog.state().schema_version == len(tables.STEPS)
    assert catalog.recording(7).title == "Song"
    assert np.allclose(catalog.embeddings(Kind.RECORDING, 7).vectors, [[1, 0], [0, -1]])
    with catalog.database.reading() as connection:
        assert connection.execute(text("SELECT mood FROM recordings")).scalar_one() == "calm"
    catalog.close()


def test_a_step_that_fails_leaves_the_version_before_it(tmp_path, monkeypatch):
    write_version_1(tmp_path / FILE_NAME)
    first = tables.STEPS
    monkeypatch.setattr(tables, "STEPS", [*first, add_mood, fail])
    with pytest.raises(RuntimeError):
        Catalog(tmp_path)
    monkeypatch.setattr(tables, "STEPS", [*first, add_mood])
    catalog = Catalog(tmp_path)
    with catalog.database.reading() as connection:
        assert tables.version(connection) == len(tables.STEPS)
        assert "half" not in connection.dialect.get_table_names(connection)
    catalog.close()


def test_landmarks_of_an_older_library_become_evidence(tmp_path):
    write_version_1(tmp_path / FILE_NAME)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("ALTER TABLE embeddings ADD COLUMN landmarks BLOB")
        connection.execute("UPDATE embeddings SET landmarks = x'0102030405060708'")
        connection.execute("UPDATE library SET schema_version = 2")
    connection.close()
    catalog = Catalog(tmp_path)
    assert catalog.embeddings(Kind.RECORDING, 7).evidence.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    catalog.close()


def test_an_older_library_has_recordings_and_no_covers(tmp_path, random):
    write_version_1(tmp_path / FILE_NAME)
    catalog = Catalog(tmp_path)
    assert catalog.state().encoders == {Kind.RECORDING: "toy-1"}
    assert catalog.searched(Kind.RECORDING) == {7: 2} and catalog.searched(Kind.COVER) == {}
    assert [recording.id for recording in catalog.lacking(Kind.COVER, "toy-cover-1")] == [7]
    add(catalog, random)
    assert catalog.state().encoder_id(Kind.RECORDING) == "toy-1" and catalog.state().encoder_id(Kind.COVER) == ""
    catalog.close()


def write_version_1(file: Path) -> None:
    """A library as the first release wrote it, by hand: it has to open for ever."""
    connection = sqlite3.connect(file)
    connection.executescript("""
        CREATE TABLE library (id INTEGER NOT NULL PRIMARY KEY, schema_version INTEGER NOT NULL,
            revision BIGINT NOT NULL, encoder_id VARCHAR(200) NOT NULL, created_at VARCHAR(40) NOT NULL,
            songprint_version VARCHAR(40) NOT NULL);
        CREATE TABLE recordings (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
            content_hash VARCHAR(128) NOT NULL UNIQUE, title VARCHAR(1000) NOT NULL, artists TEXT NOT NULL,
            album VARCHAR(1000) NOT NULL, isrc VARCHAR(40) NOT NULL, track INTEGER, year INTEGER,
            musicbrainz_recording_id VARCHAR(100) NOT NULL, musicbrainz_release_id VARCHAR(100) NOT NULL,
            work VARCHAR(200) NOT NULL, duration FLOAT NOT NULL, source TEXT NOT NULL,
            added_at VARCHAR(40) NOT NULL);
        CREATE TABLE embeddings (recording_id INTEGER NOT NULL REFERENCES recordings (id) ON DELETE CASCADE,
            kind VARCHAR(20) NOT NULL, encoder_id VARCHAR(200) NOT NULL, hop FLOAT NOT NULL,
            count INTEGER NOT NULL, dim INTEGER NOT NULL, vectors BLOB NOT NULL,
            PRIMARY KEY (recording_id, kind, encoder_id));
        INSERT INTO library VALUES (1, 1, 1, 'toy-1', '2024-01-01T00:00:00+00:00', '0.1.0');
        INSERT INTO recordings VALUES (7, 'h', 'Song', '["Band"]', '', '', NULL, 1999, '', '', '', 1.5,
            '/music/song.mp3', '2024-01-01T00:00:00+00:00');
        INSERT INTO embeddings VALUES (7, 'recording', 'toy-1', 0.5, 2, 2, x'7f000081');
    """)
    connection.close()


def test_a_full_disk_loses_nothing(disk, random):
    catalog = Catalog(disk.path / "library", create=True)
    titles = []
    with pytest.raises(LibraryFull, match=r"is full\. What was added before is safe: make room"):
        for number in range(200):
            titles.append(add(catalog, random, f"Song {number}", count=2000).title)
    assert titles
    catalog.close()
    catalog = Catalog(disk.path / "library")
    assert catalog.problems() == []
    assert [recording.title for recording in catalog.recordings()] == titles
    catalog.close()
    disk.make_larger()
    catalog = Catalog(disk.path / "library")
    assert add(catalog, random, "one more").title == "one more"
    catalog.close()


def test_a_library_on_a_read_only_disk_can_be_read_but_not_changed(disk, random):
    catalog = Catalog(disk.path / "library", create=True)
    added = add(catalog, random)
    catalog.close()
    disk.make_readonly()
    catalog = Catalog(disk.path / "library", create=True)
    assert catalog.readonly and catalog.recordings() == [added]
    with pytest.raises(LibraryError, match="read-only: it can be searched, not changed"):
        add(catalog, random, "new")
    catalog.close()
    with pytest.raises(LibraryError, match=r"cannot use the library at .*new: Read-only file system"):
        Catalog(disk.path / "new", create=True)
