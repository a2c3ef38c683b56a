"""A library in a SQLite file: opening, migration, damage, full and read-only disks."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import inspect, text
from support.recordings import add

from songprint.accounts.audit import Audit
from songprint.errors import LibraryError, LibraryFull, LibraryNotFound, LibraryVersionError
from songprint.jobs.usage import Usage, Used
from songprint.store import schema
from songprint.store.catalog import Catalog
from songprint.store.database.sqlite import FILE_NAME
from songprint.types import Kind, Tags


def test_a_missing_library_is_reported_with_the_command_that_creates_one(tmp_path):
    with pytest.raises(LibraryNotFound, match=r"no library at .*Create one with `songprint --library .* add"):
        Catalog(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / FILE_NAME).touch()  # the process that created it was killed
    with pytest.raises(LibraryNotFound):
        Catalog(tmp_path)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "song.mp3").write_bytes(b"...")
    with pytest.raises(LibraryError, match=r"contains other files \(song.mp3\) and no library"):
        Catalog(tmp_path, create=True)
    with pytest.raises(LibraryError, match="is a file; a library is a folder"):
        Catalog(tmp_path / "song.mp3", create=True)


def test_a_file_that_is_not_a_database_is_refused_and_left_untouched(tmp_path):
    file = tmp_path / FILE_NAME
    file.write_bytes(b"this is not a database" * 100)
    for create in (False, True):
        with pytest.raises(LibraryError, match="damaged or not a catalogue"):
            Catalog(tmp_path, create=create)
    assert file.read_bytes() == b"this is not a database" * 100


def test_a_database_of_another_program_is_refused_and_left_untouched(tmp_path):
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("CREATE TABLE photographs (id INTEGER)")
    connection.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(LibraryError, match="not a Songprint catalogue"):
        Catalog(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_damage_is_reported_in_one_line(random, tmp_path):
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


def open_version_1(folder: Path) -> Catalog:
    """Write the library of `version_1.sql` into the folder and open it, which runs all later migrations."""
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.executescript(Path(__file__).with_name("version_1.sql").read_text())
    connection.close()
    return Catalog(folder)


def add_mood(connection):
    connection.execute(text("ALTER TABLE recordings ADD COLUMN mood VARCHAR(20) NOT NULL DEFAULT 'calm'"))


def fail(connection):
    connection.execute(text("CREATE TABLE half (id INTEGER)"))
    raise RuntimeError("the power fails")


def test_a_library_of_the_first_release_opens_with_its_recordings(tmp_path):
    catalog = open_version_1(tmp_path)
    assert catalog.state().schema_version == len(schema.MIGRATIONS)
    recording = catalog.recording(1)
    assert recording.tags == Tags(title="Song", artists=("Band",), year=1999)
    assert recording.added_at == "2026-01-01T01:00:00+00:00"
    embeddings = catalog.embeddings(Kind.RECORDING, 1)
    assert np.allclose(embeddings.vectors, [[1, 0], [0, -1]])
    assert embeddings.evidence.tolist() == [[1, 2], [3, 4]]
    assert catalog.searched(Kind.COVER) == {}
    assert catalog.recordings("ｓóng BAND") == [recording]
    catalog.close()


def test_usage_and_audit_log_of_version_1_are_kept(tmp_path):
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.executescript(Path(__file__).with_name("version_1.sql").read_text())
    seconds = {"job-1": 60.0, "clips-0123-2026-01-01-SPa": 10.0, "clips-4567-2026-01-01-SPa": 5.0}
    with connection:
        connection.executemany("INSERT INTO job_usage VALUES (?, 'SPa', '2026-01-01', ?)", seconds.items())
        connection.execute("INSERT INTO audit (at, key_id, action, subject) VALUES (0, '', 'jobs.forget', '1 job')")
    connection.close()
    catalog = Catalog(tmp_path)
    assert Usage(catalog.database).by_day() == [Used("2026-01-01", "SPa", jobs=1, seconds=75.0, queries=2)]
    [entry] = Audit(catalog.database).entries()
    assert (entry.action, entry.actor) == ("jobs.forget", "")
    catalog.close()


def test_a_migrated_library_has_the_same_schema_as_a_new_one(tmp_path):
    new = Catalog(tmp_path / "new", create=True)
    migrated = open_version_1(tmp_path)
    assert columns(migrated) == columns(new)
    new.close()
    migrated.close()


def columns(catalog: Catalog) -> dict[tuple[str, str], str]:
    with catalog.database.reading() as connection:
        inspector = inspect(connection)
        return {
            (table, column["name"]): f"{column['type']} nullable={column['nullable']}"
            for table in inspector.get_table_names()
            for column in inspector.get_columns(table)
        }


def test_opening_an_older_library_runs_the_missing_migrations(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, add_mood])
    catalog = open_version_1(tmp_path)
    assert catalog.state().schema_version == len(schema.MIGRATIONS)
    assert catalog.recording(1).title == "Song"
    with catalog.database.reading() as connection:
        assert connection.execute(text("SELECT mood FROM recordings")).scalar_one() == "calm"
    catalog.close()


def test_a_failed_migration_leaves_the_version_before_it(tmp_path, monkeypatch):
    shipped = schema.MIGRATIONS
    monkeypatch.setattr(schema, "MIGRATIONS", [*shipped, add_mood, fail])
    with pytest.raises(RuntimeError):
        open_version_1(tmp_path)
    monkeypatch.setattr(schema, "MIGRATIONS", [*shipped, add_mood])
    catalog = Catalog(tmp_path)
    with catalog.database.reading() as connection:
        assert schema.version(connection) == len(schema.MIGRATIONS)
        assert "half" not in inspect(connection).get_table_names()
    catalog.close()


@pytest.mark.parametrize("schema_version", [0, 1, 9])
def test_a_library_from_before_the_first_release_is_refused_and_left_untouched(tmp_path, schema_version):
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.executescript("""
        CREATE TABLE library (id INTEGER NOT NULL PRIMARY KEY, schema_version INTEGER NOT NULL,
            revision BIGINT NOT NULL, created_at VARCHAR(40) NOT NULL, songprint_version VARCHAR(40) NOT NULL,
            identity VARCHAR(32) DEFAULT '' NOT NULL);
    """)
    if schema_version:  # 0: its creation was interrupted
        row = (1, schema_version, 1, "2024-01-01T00:00:00+00:00", "0.1.0", "0123456789abcdef")
        connection.execute("INSERT INTO library VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.commit()
    connection.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    refused = pytest.raises(LibraryVersionError, match=r"before the first release.* Create a new library in an empty")
    with refused:
        Catalog(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before
    with refused:
        Catalog(tmp_path, create=True)


def test_a_full_disk_loses_no_recordings(disk, random):
    catalog = Catalog(disk.path / "library", create=True)
    titles = []
    with pytest.raises(LibraryFull, match=r"is full\. Everything added before is safe: free some space"):
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


def test_a_library_on_a_read_only_disk_opens_for_reading(disk, random):
    catalog = Catalog(disk.path / "library", create=True)
    added = add(catalog, random)
    catalog.close()
    disk.make_readonly()
    catalog = Catalog(disk.path / "library", create=True)
    assert catalog.readonly and catalog.recordings() == [added]
    with pytest.raises(LibraryError, match="read-only: it can be searched, but not changed"):
        add(catalog, random, "new")
    catalog.close()
    with pytest.raises(LibraryError, match=r"cannot use the library at .*new: Read-only file system"):
        Catalog(disk.path / "new", create=True)
