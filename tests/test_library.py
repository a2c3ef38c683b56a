"""The class Library, its inputs, and the public names of the package."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from support import toy

import songprint
from songprint.audio import samples
from songprint.config import Settings
from songprint.errors import AudioError, LibraryNotFound, RecordingNotFound
from songprint.kinds import AudioEncoder
from songprint.library import Library
from songprint.store import schema


@pytest.fixture
def library(tmp_path, songs, database_url):
    """A library of the five songs, on each kind of database."""
    settings = Settings(database=database_url)
    with songprint.open(tmp_path / "library", create=True, encoder=toy.ToyEncoder(), settings=settings) as library:
        library.add(songs, workers=1)
        yield library


def test_recordings_are_listed_found_and_removed(library):
    assert len(library) == 5
    [found] = library.recordings("song 03")
    assert found == library.recording(found.id) and found.name == "Band 03 - Song 03"
    library.remove(found.id)
    assert len(library) == 4 and library.recordings("song 03") == []
    with pytest.raises(RecordingNotFound, match=f"no recording {found.id}"):
        library.recording(found.id)
    library.remove(recording.id for recording in library.recordings())
    assert len(library) == 0 and library


def test_a_single_path_can_be_added(library, songs, tmp_path):
    assert len(library.add(songs[0].parent).known) == 5
    assert len(library.add(str(songs[0])).known) == 1


def test_stats_contain_the_contents_and_sizes(library):
    stats = library.stats()
    assert (stats.recordings, stats.duration) == (5, 25.0)
    assert stats.path == str(library.path)
    assert stats.catalogue_bytes > 4096 and stats.index_bytes == 0
    assert stats.schema_version == len(schema.MIGRATIONS)
    assert stats.database.startswith(("SQLite 3.", "MariaDB 1", "PostgreSQL "))
    [level] = stats.levels
    assert (level.kind, level.recordings, level.segments) == ("recording", 5, 45)
    assert (level.index, level.encoder_id, level.catalogue_bytes) == ("exact", "toy-1", 45 * toy.DIM)


def test_rebuild_keeps_the_recordings(library):
    before = library.recordings()
    report = library.rebuild()
    assert (report.reencoded, report.skipped) == (0, [])
    assert library.rebuild(reencode=True).reencoded == 0
    assert library.recordings() == before


def test_rebuild_encodes_recordings_with_a_changed_encoder(library):
    settings = library.store.settings
    with songprint.open(library.path, encoder=toy.ToyEncoder("toy-2"), settings=settings) as newer:
        with pytest.raises(songprint.LibraryError, match="rebuild --reencode"):
            newer.add("x.wav")
        assert newer.rebuild(reencode=True).reencoded == 5
        assert newer.stats().levels[0].encoder_id == "toy-2"
        assert not list((newer.path / "index").rglob("toy-1"))


def test_open_creates_a_library_only_with_create(tmp_path, monkeypatch):
    with pytest.raises(LibraryNotFound):
        songprint.open(tmp_path / "new")
    with songprint.open(tmp_path / "new", create=True) as made:
        assert isinstance(made, Library) and len(made) == 0
    monkeypatch.setenv("SONGPRINT_LIBRARY", str(tmp_path / "new"))
    with songprint.open() as opened:
        assert opened.path == tmp_path / "new"
    with songprint.open(settings=Settings(library=tmp_path / "new")) as opened:
        assert opened.path == tmp_path / "new"


@pytest.fixture
def heard(monkeypatch):
    """Record the samples and names that reach the search."""
    queries = []

    def listen(blocks, store, *, top, settings, source=""):
        query = np.concatenate(list(blocks))
        queries.append((query, source))
        return songprint.Report([], [], len(query) / toy.SAMPLE_RATE, {}, 5, 0.0, source)

    monkeypatch.setattr("songprint.library.identify.identify", listen)
    return queries


def test_a_query_can_be_a_path_an_open_file_or_samples(library, songs, heard):
    library.identify(songs[0])
    library.identify(str(songs[0]))
    library.identify(io.BytesIO(songs[0].read_bytes()))
    library.identify(toy.song(0), sample_rate=toy.SAMPLE_RATE)
    library.identify(np.stack([toy.song(0), toy.song(0)], axis=1), sample_rate=toy.SAMPLE_RATE)
    for query, _ in heard:
        assert query.dtype == np.float32 and query == pytest.approx(toy.song(0), abs=1e-3)
    assert [source for _, source in heard] == [str(songs[0]), str(songs[0]), "", "", ""]


def test_a_truncated_file_is_identified_with_a_warning(library, songs, heard):
    query = songs[0].with_name("cut.wav")
    query.write_bytes(songs[0].read_bytes()[:50_000])
    report = library.identify(query)
    assert len(report.warnings) == 1 and "cut off after" in report.warnings[0]


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
def test_samples_are_resampled(rate):
    seconds = np.arange(2 * rate) / rate
    resampled = samples.at_rate(0.5 * np.sin(2 * np.pi * 440 * seconds), rate, 8000)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 8000)
    assert resampled.dtype == np.float32 and abs(len(resampled) - 16000) <= 2
    assert np.corrcoef(resampled[100:15900], expected[100:15900])[0, 1] > 0.999


def test_integers_and_channels_are_converted_to_mono_floats():
    integers = (toy.song(1) * 32767).astype(np.int16)
    assert samples.at_rate(integers, 8000, 8000) == pytest.approx(toy.song(1), abs=1e-3)
    stereo = np.stack([toy.song(1), -toy.song(1)], axis=1)
    assert not samples.at_rate(stereo, 8000, 8000).any()


@pytest.mark.parametrize(
    ("array", "rate", "message"),
    [
        (np.zeros(100), None, "sample_rate=None must be given with samples"),
        (np.zeros(0), 8000, r"samples of shape \(0,\) are not audio"),
        (np.zeros((1, 2, 3)), 8000, "are not audio"),
        (np.zeros((2, 8000)), 8000, "pass samples.T"),
        (np.array([0.0, np.nan]), 8000, "NaN or infinity"),
    ],
)
def test_invalid_samples_are_refused(array, rate, message):
    with pytest.raises(AudioError, match=message):
        samples.at_rate(array, rate, 8000)


def test_the_package_exports_its_public_names_only():
    assert {name for name in dir(songprint) if getattr(songprint, name) is not None} == set(songprint.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'opne'"):
        songprint.opne  # noqa: B018


@pytest.mark.parametrize("source", [42, None, ["a.wav"], b"a.wav", toy.song(0).tolist()])
def test_what_is_no_audio_is_refused_with_what_is_accepted(library, source):
    for read in (library.identify, library.scan):
        with pytest.raises(AudioError, match="expected a path, a file that is open in binary mode, or a NumPy array"):
            read(source)


def test_a_closed_library_says_so(tmp_path):
    library = songprint.open(tmp_path / "library", create=True, encoder=toy.ToyEncoder())
    assert repr(library) == f"<Library '{tmp_path / 'library'}': 0 recordings>"
    library.close()
    library.close()
    for use in (library.recordings, library.stats, lambda: library.identify("a.wav"), lambda: len(library)):
        with pytest.raises(songprint.LibraryError, match=r"is closed: open it again with songprint\.open"):
            use()
    assert repr(library).endswith(": closed>") and library.path == tmp_path / "library"


def test_a_missing_library_names_the_argument_that_creates_it(tmp_path):
    with pytest.raises(LibraryNotFound, match=r"in Python with songprint\.open\('.*new', create=True\)"):
        songprint.open(tmp_path / "new")


def test_an_encoder_has_its_rate_dimensions_and_hop(songs):
    encode = AudioEncoder(toy.ToyEncoder())
    assert (encode.sample_rate, encode.dim, encode.hop) == (toy.SAMPLE_RATE, toy.DIM, 0.5)
    made = encode(toy.song(0))
    assert made.vectors.shape == (9, toy.DIM) and np.array_equal(
        encode.encode_file(songs[0]).vectors.shape, (9, toy.DIM)
    )
    assert len(encode(np.repeat(toy.song(0), 2), sample_rate=2 * toy.SAMPLE_RATE)) == 9
    assert repr(made) == f"<Embeddings: 9 vectors of {toy.DIM} numbers, every 0.5 s, by toy-1>"


@pytest.mark.parametrize("given", ["clip.wav", Path("clip.wav"), b"clip"])
def test_an_encoder_refuses_a_path_and_names_what_encodes_it(given):
    with pytest.raises(AudioError, match="is no array of samples: `encode_file` encodes a file"):
        AudioEncoder(toy.ToyEncoder())(given)
