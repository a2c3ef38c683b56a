"""Covers in a library: adding, settings and queries."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from support import toy

import songprint
from songprint.config import Settings
from songprint.covers import identify, search
from songprint.errors import EncoderError
from songprint.ingest import add, read
from songprint.kinds import open_store
from songprint.types import Kind

BOTH = (toy.CalibratedToyEncoder(), toy.CalibratedToyCoverEncoder())


def write_tunes(folder):
    """Write three songs, and another rendition of the first, a third higher and 10% faster."""
    paths = [toy.write(folder / f"Band - Tune {seed}.wav", toy.tune(seed)) for seed in range(3)]
    return [*paths, toy.write(folder / "Other Band - Tune 0 again.wav", toy.tune(0, key=4, tempo=1.1, sound=2))]


@pytest.fixture
def tunes(tmp_path):
    return write_tunes(tmp_path / "music")


@pytest.fixture
def both(tmp_path):
    with open_store(tmp_path / "library", create=True, encoder=BOTH) as store:
        yield store


@pytest.mark.parametrize("block", [4000, 100_000])
def test_all_encoders_read_the_same_blocks(block):
    samples = toy.tune(1, 30)
    encoders = {encoder.spec.kind: encoder for encoder in BOTH}
    made, duration = read.encode(np.array_split(samples, len(samples) // block + 1), encoders)
    assert duration == 30
    for kind, encoder in encoders.items():
        alone, _ = encoder.encode_stream([samples])
        np.testing.assert_array_equal(made[kind].vectors, alone.vectors)
        np.testing.assert_array_equal(made[kind].evidence, alone.evidence)


class Failing(toy.ToyCoverEncoder):
    def encode_stream(self, blocks):
        next(iter(blocks))
        raise EncoderError("its weights are damaged")


def test_the_error_of_an_encoder_is_raised_without_deadlock():
    blocks = [toy.song(1)] * 50
    with pytest.raises(EncoderError, match="its weights are damaged"):
        read.encode(blocks, {Kind.RECORDING: toy.ToyEncoder(), Kind.COVER: Failing()})

    def broken():
        yield toy.song(1)
        raise songprint.AudioError("the file breaks off")

    with pytest.raises(songprint.AudioError, match="breaks off"):
        read.encode(broken(), {encoder.spec.kind: encoder for encoder in BOTH})


@pytest.mark.parametrize("processes", [1, 2])
def test_adding_encodes_both_kinds(both, tunes, processes):
    report = add.add(both, tunes, workers=processes)
    assert len(report.added) == 4
    both.refresh()
    for kind, level in both.levels.items():
        assert level.searched == 4 and level.index.recording_ids() == {each.id for each in report.added}
        assert {made.encoder_id for _, made in both.catalog.each_embeddings(kind, range(9))} == {level.spec.id}
    first = both.catalog.embeddings(Kind.COVER, report.added[0].id)
    assert len(first) == 5 and first.evidence.shape == (200, toy.COLUMNS)
    assert both.lacking(Kind.COVER) == 0


def test_without_covers_adding_encodes_recordings_only(tmp_path, tunes):
    settings = Settings(kinds=("recording",))
    with open_store(tmp_path / "library", create=True, encoder=BOTH, settings=settings) as store:
        add.add(store, tunes, workers=1)
        assert list(store.levels) == [Kind.RECORDING]
        assert store.catalog.totals().segments.keys() == {Kind.RECORDING}


@pytest.mark.parametrize("processes", [1, 2])
def test_reencoding_adds_covers_to_an_older_library(tmp_path, tunes, processes, monkeypatch):
    with open_store(tmp_path / "library", create=True, encoder=BOTH[0]) as older:
        before = add.add(older, tunes, workers=1).added
        kept = older.catalog.embeddings(Kind.RECORDING, before[0].id)
    with open_store(tmp_path / "library", encoder=BOTH) as store:
        store.refresh()
        assert store.lacking(Kind.COVER) == 4
        late = add.add(store, [toy.write(tmp_path / "late.wav", toy.tune(9))]).added
        store.refresh()
        assert store.lacking(Kind.COVER) == 4
        assert add.reencode(store, workers=processes).reencoded == 4
        store.refresh()
        assert store.lacking(Kind.COVER) == 0
        assert store.levels[Kind.COVER].index.recording_ids() == {each.id for each in [*before, *late]}
        np.testing.assert_array_equal(store.catalog.embeddings(Kind.RECORDING, before[0].id).vectors, kept.vectors)
        assert add.reencode(store).reencoded == 0


def test_a_file_is_read_once_for_all_missing_kinds(both, tunes, monkeypatch):
    add.add(both, tunes, workers=1)
    tasks = []
    original = read.read

    def counting(task, loaded):
        tasks.append((task.path, set(task.kinds)))
        return original(task, loaded)

    monkeypatch.setattr(read, "read", counting)
    newer = (toy.ToyEncoder("toy-2"), toy.ToyCoverEncoder("toy-cover-2"))
    with open_store(both.path, encoder=newer) as store:
        assert add.reencode(store, workers=1).reencoded == 4
        assert sorted(tasks) == sorted((str(path), {Kind.RECORDING, Kind.COVER}) for path in tunes)
        store.rebuild()
        assert {folder.name for folder in (both.path / "index").glob("*/*") if folder.is_dir()} == {
            "toy-2",
            "toy-cover-2",
        }


def test_encoders_must_have_the_same_sample_rate():
    class Other(toy.ToyCoverEncoder):
        @property
        def spec(self):
            return toy.replace(super().spec, sample_rate=16000)

    for encoder, message in ((BOTH[1:], "of kind 'recording' is needed"), ((BOTH[0], Other()), "the same sample rate")):
        with pytest.raises(EncoderError, match=message):
            open_store("nowhere", create=True, encoder=encoder)


# Queries


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """The folder of a library of the tunes, which tests copy instead of encoding the tunes again."""
    folder = tmp_path_factory.mktemp("template")
    with songprint.open(folder / "library", create=True, encoder=BOTH) as library:
        library.add(write_tunes(folder / "music"), workers=1)
    return folder / "library"


@pytest.fixture
def library(tmp_path, template):
    shutil.copytree(template, tmp_path / "library")
    with songprint.open(tmp_path / "library", encoder=BOTH) as library:
        yield library


def ask(library, samples, **options):
    return library.identify(samples.astype(np.float32), sample_rate=toy.SAMPLE_RATE, **options)


def titles(matches):
    return [(match.recording.title, match.kind) for match in matches]


def test_another_rendition_is_identified_with_its_key_and_tempo(library):
    report = ask(library, toy.tune(1, 30, key=-3, tempo=0.9, sound=3))
    assert titles(report.matches) == [("Tune 1", "cover")]
    [match] = report.matches
    assert match.key_shift == -3
    assert match.speed == pytest.approx(0.9, abs=0.05)
    assert match.query.duration > 20 and match.reference.duration == pytest.approx(0.9 * match.query.duration, abs=4)
    assert sum(section.query.duration for section in match.sections) >= 8
    assert report.reason == "" and report.warnings == ()
    assert report.thresholds.keys() == set(Kind)


def test_a_recording_precedes_its_covers_and_is_not_one_of_them(library):
    report = ask(library, toy.tune(0)[5 * toy.SAMPLE_RATE : 35 * toy.SAMPLE_RATE])
    assert titles(report.matches) == [("Tune 0", "recording"), ("Tune 0 again", "cover")]
    assert report.matches[1].key_shift == -4


@pytest.mark.parametrize(
    ("start", "seconds", "tune", "threshold"),
    [(0, 30, 77, 55), (0, 100, 77, 50), (5, 30, 0, 50)],
    ids=["unknown", "long", "a recording is known"],
)
def test_queries_without_tempo_search_have_another_threshold(library, start, seconds, tune, threshold):
    samples = np.tile(toy.tune(tune), 3)[start * toy.SAMPLE_RATE : (start + seconds) * toy.SAMPLE_RATE]
    assert ask(library, samples).thresholds[Kind.COVER] == threshold


def test_only_the_best_renditions_are_returned(library, tmp_path):
    for number in range(search.PARAMETERS.max_verified + 1):
        library.add(
            toy.write(
                tmp_path / f"Band {number} - Tune 2.wav",
                toy.tune(2, key=number - 3, tempo=0.9 + 0.04 * number, sound=number),
            )
        )
    report = ask(library, toy.tune(2, 40, key=5, tempo=1.1, sound=7))
    assert titles(report.matches) == [("Tune 2", "cover")] * search.PARAMETERS.max_verified


def test_duplicates_are_no_covers(library, tmp_path):
    again = toy.write(tmp_path / "Band - Best of.wav", 0.7 * toy.tune(1)[4000:])
    [copy] = library.add(again).added
    report = ask(library, toy.tune(1, 30))
    assert titles(report.matches) == [("Tune 1", "recording")]
    assert report.matches[0].alternatives == (copy.id,)


def test_fewer_than_eight_seconds_are_no_cover(library):
    assert titles(ask(library, toy.tune(1, 7, key=2)).matches) == []
    assert titles(ask(library, toy.tune(1, 7)).matches) == [("Tune 1", "recording")]


def test_unknown_songs_have_no_covers(library):
    report = ask(library, toy.tune(77, 30), top=3)
    assert report.matches == [] and report.reason
    assert all(candidate.confidence < report.thresholds[candidate.kind] for candidate in report.candidates)


def test_a_library_without_covers_reports_that(tmp_path, tunes):
    with songprint.open(tmp_path / "library", create=True, encoder=BOTH[0]) as older:
        older.add(tunes, workers=1)
    with songprint.open(tmp_path / "library", encoder=BOTH) as library:
        report = ask(library, toy.tune(1, 30))
        assert titles(report.matches) == [("Tune 1", "recording")]
        assert "4 recordings of the library cannot be found as covers" in report.warnings[0]
        assert "rebuild --reencode" in report.warnings[0]


def test_long_queries_are_searched_in_windows(monkeypatch):
    spec = toy.ToyCoverEncoder().spec
    song = toy.ToyCoverEncoder().encode_stream([toy.tune(1, 62)])[0]
    assert identify.windows_of(song, spec) == [(0.0, song)]
    monkeypatch.setattr(identify, "PARAMETERS", replace(identify.PARAMETERS, max_whole=60.0))
    (_, first), (start, second) = identify.windows_of(song, spec)
    assert (start, len(first.evidence), len(second.evidence)) == (30.0, 150, 160)
    assert (len(first), len(second)) == (3, 4)
    np.testing.assert_array_equal(second.vectors, toy.ToyCoverEncoder().embed(second.evidence))
    np.testing.assert_array_equal(first.vectors, toy.ToyCoverEncoder().embed(first.evidence))


def test_songs_of_a_long_query_are_reported_separately(library, monkeypatch):
    monkeypatch.setattr(identify, "PARAMETERS", replace(identify.PARAMETERS, max_whole=60.0, window=30.0))
    film = np.concatenate([toy.tune(1, 40, key=2), toy.tune(50, 40), toy.tune(2, 40, key=-2)])
    found = {match.recording.title: match for match in ask(library, film).matches}
    assert found.keys() == {"Tune 1", "Tune 2"}
    assert found["Tune 1"].query.start < 5 and found["Tune 1"].query.end < 50
    assert found["Tune 2"].query.start == pytest.approx(80, abs=12)
    assert found["Tune 2"].key_shift == -2


def test_a_cover_at_more_than_twice_the_tempo_is_identified(library, tmp_path):
    library.add(
        [toy.write(tmp_path / f"Band - Slow {seed}.wav", toy.tune(seed, 90, tempo=0.8)) for seed in (7, 8)], workers=1
    )
    best = ask(library, toy.tune(8, 30, tempo=1.9, sound=2)).matches[0]
    assert (best.recording.title, best.kind) == ("Slow 8", Kind.COVER)
    assert best.speed == pytest.approx(1.9 / 0.8, rel=0.05)
    assert best.alignment.query.end <= 30
    assert best.alignment.reference.end == pytest.approx(30 * 1.9 / 0.8, abs=4)
