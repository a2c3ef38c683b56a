"""The catalogue: whole recordings or none, found again as they were put in, versions, damage."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from songprint import schema
from songprint.catalog import FILE_NAME, Catalog
from songprint.errors import (
    LibraryError,
    LibraryFull,
    LibraryNotFound,
    LibraryVersionError,
    RecordingNotFound,
)
from songprint.types import Embeddings, Kind, Known, Recording, Tags


@pytest.fixture
def catalog(tmp_path):
    catalog = Catalog(tmp_path / "library", create=True)
    yield catalog
    catalog.close()


def unit_vectors(random: np.random.Generator, count: int = 10, dim: int = 16) -> np.ndarray:
    vectors = random.normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def add(catalog: Catalog, random: np.random.Generator, title: str = "Song", count: int = 10,
        encoder_id: str = "toy-1", **tags) -> Recording | Known:
    vectors = Embeddings(unit_vectors(random, count), hop=0.5, encoder_id=encoder_id)
    return catalog.add(tags=Tags(title=title, **tags), duration=count / 2, source=f"/music/{title}.wav",
                       content_hash=ascii(title)[:100], embeddings={Kind.RECORDING: vectors})


def test_a_recording_comes_back_as_it_was_put_in(catalog, random):
    tags = Tags(title="Für Elise", artists=("Beethoven", "日本"), album="A", isrc="DEA123456789", track=3,
                year=1810, musicbrainz_recording_id="r", musicbrainz_release_id="s", work="T-1")
    peaks = random.integers(0, 256, (80, 2)).astype(np.uint8)
    vectors = Embeddings(unit_vectors(random), hop=0.5, encoder_id="toy-1", evidence=peaks)
    added = catalog.add(tags=tags, duration=4.75, source="/a.wav", content_hash="h",
                        embeddings={Kind.RECORDING: vectors})
    assert added.tags == tags
    assert catalog.recording(added.id) == added
    assert catalog.recordings() == [added]
    kept = catalog.embeddings(Kind.RECORDING, added.id)
    assert (kept.hop, kept.encoder_id) == (0.5, "toy-1")
    assert np.abs(np.sum(kept.vectors * vectors.vectors, axis=1) - 1).max() < 1e-3
    np.testing.assert_array_equal(kept.evidence, peaks)


def test_the_same_content_is_added_once(catalog, random):
    first = add(catalog, random, "Song")
    revision = catalog.state().revision
    assert add(catalog, random, "Song") == Known("/music/Song.wav", first.id)
    assert catalog.known("'Song'") == first.id
    assert catalog.state().revision == revision


def test_many_writers_at_once_add_each_content_once(catalog, random, tmp_path):
    outcomes: list[Recording | Known] = []

    def write() -> None:
        own = Catalog(tmp_path / "library")
        outcomes.extend(add(own, np.random.default_rng(1), f"Song {number}") for number in range(10))
        own.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 40
    assert sum(isinstance(outcome, Recording) for outcome in outcomes) == 10 == catalog.totals().recordings


def test_many_makers_at_once_make_one_library(tmp_path):
    made: list[int] = []

    def make() -> None:
        catalog = Catalog(tmp_path / "new", create=True)
        made.append(catalog.state().schema_version)
        catalog.close()

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [len(schema.STEPS)] * 8


def test_words_are_found_in_title_artists_and_album_in_any_case(catalog, random):
    add(catalog, random, "Ode an die FREUDE", artists=("Ärzte",), album="100%")
    add(catalog, random, "Other", artists=("Someone",))
    for query in ("freude", "ärzte ODE", "100%", "ÄRZTE"):
        assert [found.title for found in catalog.recordings(query)] == ["Ode an die FREUDE"], query
    assert catalog.recordings("ode someone") == []
    assert catalog.recordings("%") == catalog.recordings("100%")


def test_removal_is_all_or_nothing_and_ids_are_never_used_again(catalog, random):
    first, second = add(catalog, random, "1"), add(catalog, random, "2")
    with pytest.raises(RecordingNotFound, match="no recording 99 in the library"):
        catalog.remove([first.id, 99])
    assert len(catalog.recordings()) == 2
    catalog.remove([first.id, second.id])
    assert catalog.recordings() == [] and catalog.searched(Kind.RECORDING) == {}
    assert list(catalog.each_embeddings(Kind.RECORDING, [first.id])) == []
    with pytest.raises(RecordingNotFound):
        catalog.embeddings(Kind.RECORDING, first.id)
    assert add(catalog, random, "1").id > second.id


def test_every_change_raises_the_revision(catalog, random):
    revisions = [catalog.state().revision]
    added = add(catalog, random)
    revisions.append(catalog.state().revision)
    catalog.remove([added.id])
    revisions.append(catalog.state().revision)
    assert revisions == sorted(set(revisions))


def test_text_that_is_no_text_is_kept_as_far_as_possible(catalog, random):
    title = b"caf\xe9".decode("utf-8", "surrogateescape") + "\0" + "x" * 5000
    added = add(catalog, random, title, artists=("a\udce9",))
    assert added.title.startswith("caf?x") and len(added.title) == 1000
    assert catalog.recording(added.id).artists == ("a?",)


def test_another_encoder_is_refused_until_it_is_adopted(catalog, random):
    kept, lost = add(catalog, random, "kept"), add(catalog, random, "lost")
    with pytest.raises(LibraryVersionError, match=r"made with the encoder toy-1.*has toy-2.*--reencode"):
        add(catalog, random, "new", encoder_id="toy-2")
    assert [recording.id for recording in catalog.lacking(Kind.RECORDING, "toy-2")] == [kept.id, lost.id]
    catalog.add_embeddings(kept.id, {Kind.RECORDING: Embeddings(unit_vectors(random, 7), 0.5, "toy-2")})
    assert catalog.embeddings(Kind.RECORDING, kept.id).encoder_id == "toy-1"
    catalog.adopt(Kind.RECORDING, "toy-2")
    assert catalog.searched(Kind.RECORDING) == {kept.id: 7}
    assert catalog.embeddings(Kind.RECORDING, kept.id).encoder_id == "toy-2"
    assert [recording.id for recording in catalog.lacking(Kind.RECORDING, "toy-2")] == [lost.id]


def test_each_kind_has_an_encoder_of_its_own(catalog, random):
    def made(encoder_id: str, columns: int) -> Embeddings:
        return Embeddings(unit_vectors(random), 5.0, encoder_id, np.full((9, columns), 34, np.uint8))

    both = {Kind.RECORDING: made("toy-1", 2), Kind.COVER: made("toy-cover-1", 36)}
    added = catalog.add(tags=Tags("Song"), duration=50, source="/a.wav", content_hash="h", embeddings=both)
    assert catalog.state().encoders == {Kind.RECORDING: "toy-1", Kind.COVER: "toy-cover-1"}
    assert catalog.totals().segments == {Kind.RECORDING: 10, Kind.COVER: 10}
    for kind in Kind:
        kept = catalog.embeddings(kind, added.id)
        assert kept.encoder_id == both[kind].encoder_id
        np.testing.assert_array_equal(kept.evidence, both[kind].evidence)
    with pytest.raises(LibraryVersionError, match="made with the encoder toy-cover-1"):
        catalog.add(tags=Tags("Other"), duration=50, source="/b.wav", content_hash="i",
                    embeddings=both | {Kind.COVER: made("toy-cover-2", 36)})
    assert catalog.recordings() == [added]              # all of it or nothing
    catalog.add_embeddings(added.id, {Kind.COVER: made("toy-cover-2", 36)})
    catalog.adopt(Kind.COVER, "toy-cover-2")
    assert catalog.state().encoders == {Kind.RECORDING: "toy-1", Kind.COVER: "toy-cover-2"}
    assert catalog.searched(Kind.RECORDING) == catalog.searched(Kind.COVER) == {added.id: 10}
    assert catalog.problems() == []
    catalog.remove([added.id])
    assert catalog.searched(Kind.COVER) == {}


def test_nothing_there_is_said_with_the_remedy(tmp_path):
    with pytest.raises(LibraryNotFound, match=r"no library at .*Make one with `songprint --library .* add"):
        Catalog(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / FILE_NAME).touch()              # the process that was making it died at once
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


def test_damage_is_one_line(catalog, random, tmp_path):
    for number in range(50):
        add(catalog, random, f"Song {number}", count=200)
    catalog.close()
    file = tmp_path / "library" / FILE_NAME
    content = bytearray(file.read_bytes())
    content[4096:20 * 4096] = random.bytes(19 * 4096)
    file.write_bytes(content)
    with pytest.raises(LibraryError, match="damaged") as caught:
        damaged = Catalog(tmp_path / "library")
        try:
            damaged.recordings()
        finally:
            damaged.close()
    assert "\n" not in str(caught.value)


def test_a_newer_library_is_refused_and_left_untouched(catalog, tmp_path):
    with catalog._database.writing() as connection:
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
    monkeypatch.setattr(schema, "STEPS", [*schema.STEPS, add_mood])
    catalog = Catalog(tmp_path)
    assert catalog.state().schema_version == len(schema.STEPS)
    assert catalog.recording(7).title == "Song"
    assert np.allclose(catalog.embeddings(Kind.RECORDING, 7).vectors, [[1, 0], [0, -1]])
    with catalog._database.reading() as connection:
        assert connection.execute(text("SELECT mood FROM recordings")).scalar_one() == "calm"
    catalog.close()


def test_a_step_that_fails_leaves_the_version_before_it(tmp_path, monkeypatch):
    write_version_1(tmp_path / FILE_NAME)
    first = schema.STEPS
    monkeypatch.setattr(schema, "STEPS", [*first, add_mood, fail])
    with pytest.raises(RuntimeError):
        Catalog(tmp_path)
    monkeypatch.setattr(schema, "STEPS", [*first, add_mood])
    catalog = Catalog(tmp_path)
    with catalog._database.reading() as connection:
        assert schema.version(connection) == len(schema.STEPS)
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
