"""The catalogue on every database: it stores whole recordings or none, and returns them unchanged."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sqlalchemy import select, text
from support.recordings import add, unit_vectors

from songprint.errors import LibraryVersionError, MetadataError, RecordingNotFound
from songprint.store import schema, tables
from songprint.store.catalog import Catalog
from songprint.types import Embeddings, Fields, Kind, KnownFile, Recording, Tags


def test_a_stored_recording_is_returned_unchanged(catalog, random):
    tags = Tags(
        title="Für Elise",
        artists=("Beethoven", "日本"),
        album="A",
        isrc="DEA123456789",
        track=3,
        year=1810,
        musicbrainz_recording_id="r",
        musicbrainz_release_id="s",
        work="T-1",
    )
    peaks = random.integers(0, 256, (80, 2)).astype(np.uint8)
    vectors = Embeddings(unit_vectors(random), hop=0.5, encoder_id="toy-1", evidence=peaks)
    added = catalog.add(
        tags=tags,
        duration=4.75,
        source="/a.wav",
        content_hash="h",
        embeddings={Kind.RECORDING: vectors},
        fields=Fields({"版权": "é", "id": 7, "live": True, "gain": -0.5}),
    )
    assert added.tags == tags
    assert added.fields == {"版权": "é", "id": 7, "live": True, "gain": -0.5}
    assert catalog.recording(added.id) == added
    assert catalog.recordings() == [added]
    stored = catalog.embeddings(Kind.RECORDING, added.id)
    assert (stored.hop, stored.encoder_id) == (0.5, "toy-1")
    assert np.abs(np.sum(stored.vectors * vectors.vectors, axis=1) - 1).max() < 1e-3
    np.testing.assert_array_equal(stored.evidence, peaks)


def test_text_that_no_database_stores_is_cleaned_everywhere(catalog, random):
    song = add(catalog, random, "So\0ng \ud800")
    assert song.title == "Song ?"
    assert catalog.recordings("so\0ng") == [song] and catalog.count("\0") == 1
    assert catalog.recordings("\udcff song") == [song]  # both contain "?" instead
    assert catalog.recordings_of(["\0 \ud800"]) == []
    assert catalog.known("\0") is None
    assert catalog.edit(song.id, {"work": "A\0B"}).tags.work == "AB"


def test_the_same_content_is_added_once(catalog, random):
    first = add(catalog, random, "Song")
    revision = catalog.state().revision
    assert add(catalog, random, "Song") == KnownFile("/music/Song.wav", first.id)
    assert catalog.known("'Song'") == first.id
    assert catalog.state().revision == revision


def test_concurrent_writers_add_each_content_once(catalog, random, tmp_path, database_url):
    outcomes: list[Recording | KnownFile] = []

    def write() -> None:
        own = Catalog(tmp_path / "library", database=database_url)
        outcomes.extend(add(own, np.random.default_rng(1), f"Song {number}") for number in range(10))
        own.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 40
    assert sum(isinstance(outcome, Recording) for outcome in outcomes) == 10 == catalog.totals().recordings


def test_concurrent_creators_make_one_library(tmp_path, database_url):
    versions: list[int] = []

    def create() -> None:
        catalog = Catalog(tmp_path / "new", create=True, database=database_url)
        versions.append(catalog.state().schema_version)
        catalog.close()

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions == [len(schema.MIGRATIONS)] * 8


def test_words_match_title_artists_and_album_in_any_case(catalog, random):
    add(catalog, random, "Ode an die FREUDE", artists=("Ärzte",), album="100%")
    add(catalog, random, "Other", artists=("Someone",))
    for query in ("freude", "ärzte ODE", "100%", "ÄRZTE"):
        assert [found.title for found in catalog.recordings(query)] == ["Ode an die FREUDE"], query
    assert catalog.recordings("ode someone") == []
    assert catalog.recordings("%") == catalog.recordings("100%")


@pytest.mark.parametrize(
    "query", ["Jóga", "JOGA", "joga", "ｊóga", "Jo\u0301ga", "björk", "BJORK ＪＯＧＡ", "homogeniċ"]
)
def test_search_ignores_case_accents_and_width(catalog, random, query):
    added = add(catalog, random, "Jo\u0301ga", artists=("Björk",), album="ＨＯＭＯＧＥＮＩＣ")
    add(catalog, random, "Jogging", artists=("Someone",))
    assert catalog.recordings(query) == [added]
    assert added.title == "Jóga"  # NFC


def test_search_finds_letters_that_unicode_does_not_decompose(catalog, random):
    added = add(catalog, random, "Straße", artists=("Røyksopp",), album="한국 ガラス")
    for query in ("STRASSE", "royksopp", "RØYKSOPP", "한국", "ｶﾞﾗｽ"):
        assert catalog.recordings(query) == [added], query


def test_search_follows_edits(catalog, random):
    added = add(catalog, random, "Song")
    catalog.edit(added.id, {"title": "Á", "artists": ("Ｂ",)})
    assert [found.id for found in catalog.recordings("a b")] == [added.id]
    assert catalog.recordings("song") == []


def test_a_work_has_one_name_whatever_the_form_of_its_letters(catalog, random):
    added = add(catalog, random, "Song")
    assert catalog.assign([added.id], "Jo\u0301ga") == "Jóga"
    assert [each.id for each in catalog.recordings_of(["Jo\u0301ga"])] == [added.id]


def test_removal_is_all_or_nothing_and_ids_are_not_reused(catalog, random):
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


def test_invalid_characters_are_replaced_and_long_text_is_cut(catalog, random):
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


def test_each_kind_has_its_own_encoder(catalog, random):
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
        catalog.add(
            tags=Tags("Other"),
            duration=50,
            source="/b.wav",
            content_hash="i",
            embeddings=both | {Kind.COVER: made("toy-cover-2", 36)},
        )
    assert catalog.recordings() == [added]  # nothing was added
    catalog.add_embeddings(added.id, {Kind.COVER: made("toy-cover-2", 36)})
    catalog.adopt(Kind.COVER, "toy-cover-2")
    assert catalog.state().encoders == {Kind.RECORDING: "toy-1", Kind.COVER: "toy-cover-2"}
    assert catalog.searched(Kind.RECORDING) == catalog.searched(Kind.COVER) == {added.id: 10}
    assert catalog.problems() == []
    catalog.remove([added.id])
    assert catalog.searched(Kind.COVER) == {}


def test_a_database_of_version_1_gets_what_it_lacks(catalog, tmp_path, database_url):
    lacking = {"job_usage": ("kind", "count"), "audit": ("actor",)}
    with catalog.database.writing() as connection:
        connection.execute(text("DROP TABLE templates"))
        for table, names in lacking.items():
            for name in names:
                connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {name}"))
        connection.execute(text("INSERT INTO job_usage (job_id, key_id, day, seconds) VALUES ('j', 'k', 'today', 1)"))
        connection.execute(text("UPDATE library SET schema_version = 1"))
    for _ in range(2):  # the second time after a migration that was interrupted before its version was stored
        migrated = Catalog(tmp_path / "library", database=database_url)
        with migrated.database.writing() as connection:
            assert schema.version(connection) == len(schema.MIGRATIONS)
            assert connection.execute(select(tables.usage.c.kind, tables.usage.c["count"])).all() == [("job", 1)]
            assert connection.execute(select(tables.audit.c.actor)).all() == []
            assert connection.execute(select(tables.templates)).all() == []
            connection.execute(text("UPDATE library SET schema_version = 1"))
        migrated.close()


def test_many_recordings_are_edited_or_none(catalog, random):
    first, second, third = (add(catalog, random, title, work="W") for title in ("One", "Two", "Three"))
    revision = catalog.state().revision
    edited = catalog.edit_many(
        {first.id: {"title": "Eins", "fields": {"label": "Verve", "n": 1}}, second.id: {"original": True}}
    )
    assert (edited[first.id].title, edited[first.id].fields) == ("Eins", {"label": "Verve", "n": 1})
    assert edited[second.id].original and catalog.state().revision == revision
    assert catalog.edit(first.id, {"fields": {"n": None}}).fields == {"label": "Verve"}
    catalog.edit_many({each.id: {"original": True} for each in (first, third)})  # the last one of a work counts
    assert [each.original for each in catalog.recordings()] == [False, False, True]
    assert not catalog.edit(third.id, {"work": "Another"}).original
    before = catalog.recordings()
    for wrong, error in (({99: {"title": "x"}}, RecordingNotFound), ({2: {"fields": {"": 1}}}, MetadataError)):
        with pytest.raises(error):
            catalog.edit_many({first.id: {"title": "Uno"}, **wrong})
    assert catalog.recordings() == before
