"""From a clip to a report, with the toy encoder."""

from dataclasses import replace

import numpy as np
import pytest
from support import toy

import songprint
from songprint.fingerprint import identify
from songprint.fingerprint.identify import windows_of
from songprint.fingerprint.query import Query
from songprint.types import Embeddings, Kind


@pytest.fixture
def band(tmp_path):
    """A library of eight songs of 40 s."""
    paths = toy.write_songs(tmp_path / "music", 8, duration=40)
    with songprint.open(tmp_path / "library", create=True, encoder=toy.JudgingToyEncoder()) as library:
        library.add(paths, workers=1)
        yield library


def ask(library, samples, **options):
    return library.identify(samples.astype(np.float32), sample_rate=toy.SAMPLE_RATE, **options)


def piece(seed, start, seconds):
    return toy.song(seed, 40)[int(start * toy.SAMPLE_RATE) : int((start + seconds) * toy.SAMPLE_RATE)]


def test_a_clip_is_named_and_placed(band):
    report = ask(band, piece(3, 12, 8))
    assert [match.recording.title for match in report.matches] == ["Song 03"]
    assert report.matches[0].reference.start == pytest.approx(12, abs=0.1)
    assert report.matches[0].query.start == pytest.approx(0, abs=0.3)
    assert report.reason == ""
    assert report.searched == 8


def test_unknown_music_is_not_named_but_may_be_listed(band):
    report = ask(band, toy.song(77, 8), top=2)
    assert report.matches == []
    assert report.reason
    assert 0 < len(report.candidates) <= 2
    assert all(candidate.confidence < report.thresholds[candidate.kind] for candidate in report.candidates)


def test_two_songs_in_one_clip_are_both_named(band):
    report = ask(band, np.concatenate([piece(1, 5, 10), piece(6, 20, 10)]))
    found = {match.recording.title: match for match in report.matches}
    assert set(found) == {"Song 01", "Song 06"}
    assert found["Song 06"].query.start == pytest.approx(10, abs=1.2)
    assert found["Song 06"].reference.start - found["Song 06"].query.start == pytest.approx(10, abs=0.2)


def test_a_whole_song_is_one_match(band):
    report = ask(band, toy.song(5, 40))
    assert [match.recording.title for match in report.matches] == ["Song 05"]
    assert report.matches[0].query.duration > 38
    assert report.matches[0].reference.duration > 38


def test_what_simply_goes_on_is_not_searched_for_again(band, monkeypatch):
    searched, index = [], type(band.store.levels[Kind.RECORDING].index)
    search = index.search
    monkeypatch.setattr(index, "search", lambda *asked: searched.append(asked) or search(*asked))

    def asked(samples, every):
        searched.clear()
        parameters = replace(
            identify.PARAMETERS, certain=2.0, max_unsearched=every
        )  # the toy encoder's log-odds are low
        monkeypatch.setattr(identify, "PARAMETERS", parameters)
        return [
            (match.recording.title, match.confidence, match.query.start, match.query.end, match.reference.start)
            for match in ask(band, samples).matches
        ], len(searched)

    (often, searches), (seldom, fewer) = (asked(toy.song(5, 40), every) for every in (0, 3))
    assert (searches, fewer) == (4, 1)
    assert seldom[0][0] == often[0][0] and seldom[0][1:] == pytest.approx(often[0][1:], abs=0.2)
    two = np.concatenate([piece(1, 5, 20), piece(6, 10, 20)])
    (often, searches), (seldom, fewer) = (asked(two, every) for every in (0, 3))
    assert (searches, fewer) == (4, 2), "where the second song begins it is looked for"
    assert {match[0] for match in seldom} == {match[0] for match in often} == {"Song 01", "Song 06"}


def test_the_same_sound_twice_is_named_twice(band, tmp_path):
    copy = toy.write(tmp_path / "Copy Band - Copy.wav", 0.5 * toy.song(2, 40))
    band.add(copy)
    report = ask(band, piece(2, 10, 8))
    assert {match.recording.title for match in report.matches} == {"Song 02", "Copy"}


def test_what_is_removed_is_no_longer_named(band):
    band.remove(next(recording.id for recording in band.recordings() if recording.title == "Song 03"))
    assert not ask(band, piece(3, 12, 8))


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(8 * toy.SAMPLE_RATE), "silent"),
        (np.full(100, 0.1), "too short"),
        (toy.song(3, 40)[: int(0.4 * toy.SAMPLE_RATE)], "too short"),
    ],
)
def test_no_match_says_why(band, samples, reason):
    report = ask(band, samples)
    assert not report
    assert reason in report.reason


def test_an_empty_library_says_so(tmp_path):
    with songprint.open(tmp_path / "empty", create=True, encoder=toy.JudgingToyEncoder()) as library:
        assert "empty" in ask(library, toy.song(1, 8)).reason


def test_long_clips_are_searched_in_windows():
    def query(seconds):
        return Query(
            Embeddings(np.ones((4 * seconds, 4), np.float32), 0.25, "test"), np.zeros(0, np.int16), 0.0, seconds
        )

    windows = list(windows_of(query(120)))
    assert len(windows) == 12
    assert np.array_equal(np.concatenate(windows), np.arange(480))
    assert len(list(windows_of(query(14)))) == 1


@pytest.mark.parametrize("blocks", [1, 3, 20])
def test_a_short_clip_is_looked_at_closely(blocks):
    """A clip of a second is hardly longer than a window: it is laid in silence and read at a small hop."""
    samples = piece(3, 12, 1).astype(np.float32)
    query = Query.from_blocks(np.array_split(samples, blocks), toy.JudgingToyEncoder())
    assert len(query.embeddings) == 5
    assert query.duration == 1.0
    assert query.times(np.arange(5)).mean() == pytest.approx(0, abs=0.01)  # the middle one is the clip itself
    assert len(query.samples) == len(samples)


@pytest.mark.parametrize("seconds", [1.0, 1.5])
def test_a_second_is_enough_for_a_name(band, seconds):
    report = ask(band, piece(3, 12, seconds))
    assert [match.recording.title for match in report.matches] == ["Song 03"]
    assert report.matches[0].query.start >= 0
    assert report.matches[0].query.end <= seconds
