"""Identification of queries with the toy encoder."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import event
from support import toy

import songprint
from songprint.cli.output import match_details, segment_details
from songprint.fingerprint import identify
from songprint.fingerprint.identify import windows_of
from songprint.fingerprint.query import Query
from songprint.formats.objects import match_object, timeline_from_object, timeline_object
from songprint.types import Embeddings, Interval, Kind


@pytest.fixture
def band(tmp_path):
    """A library of eight songs of 40 s."""
    paths = toy.write_songs(tmp_path / "music", 8, duration=40)
    with songprint.open(tmp_path / "library", create=True, encoder=toy.CalibratedToyEncoder()) as library:
        library.add(paths, workers=1)
        yield library


def ask(library, samples, **options):
    return library.identify(samples.astype(np.float32), sample_rate=toy.SAMPLE_RATE, **options)


def piece(seed, start, seconds):
    return toy.song(seed, 40)[int(start * toy.SAMPLE_RATE) : int((start + seconds) * toy.SAMPLE_RATE)]


def test_a_query_is_identified_with_its_position(band):
    report = ask(band, piece(3, 12, 8))
    assert [match.recording.title for match in report.matches] == ["Song 03"]
    assert report.matches[0].reference.start == pytest.approx(12, abs=0.1)
    assert report.matches[0].query.start == pytest.approx(0, abs=0.3)
    assert report.reason == ""
    assert report.searched == 8


def test_unknown_music_has_no_match_but_candidates_below_the_threshold(band):
    report = ask(band, toy.song(77, 8), top=2)
    assert report.matches == []
    assert report.reason
    assert 0 < len(report.candidates) <= 2
    assert all(candidate.confidence < report.thresholds[candidate.kind] for candidate in report.candidates)


def test_two_songs_in_one_query_are_both_identified(band):
    report = ask(band, np.concatenate([piece(1, 5, 10), piece(6, 20, 10)]))
    found = {match.recording.title: match for match in report.matches}
    assert set(found) == {"Song 01", "Song 06"}
    assert found["Song 06"].query.start == pytest.approx(10, abs=1.2)
    assert found["Song 06"].reference.start - found["Song 06"].query.start == pytest.approx(10, abs=0.2)


def test_each_of_two_songs_in_a_query_has_its_own_interval(band):
    """Unrelated music has a cosine above `AlignmentParameters.min_cosine` by chance, which extends no song."""
    report = ask(band, np.concatenate([piece(1, 5, 15), piece(6, 20, 15)]))
    found = {match.recording.title: match for match in report.matches}
    assert set(found) == {"Song 01", "Song 06"}
    for title, start, place in (("Song 01", 0, 5), ("Song 06", 15, 20)):
        match = found[title]
        assert (match.query.start, match.query.end) == pytest.approx((start, start + 15), abs=0.7)
        assert (match.reference.start, match.reference.end) == pytest.approx((place, place + 15), abs=0.7)


def test_a_second_place_of_a_recording_within_the_first_is_no_match(band):
    [match] = ask(band, piece(3, 12, 8)).matches
    elsewhere = replace(match.alignment, query=Interval(2.0, 7.0), reference=Interval(30.0, 35.0))
    later = replace(match.alignment, query=Interval(9.0, 14.0), reference=Interval(30.0, 35.0))
    found = [match, replace(match, alignment=elsewhere), replace(match, alignment=later)]
    assert [each.query.start for each in identify._one_at_a_time(found)] == pytest.approx([0.0, 9.0], abs=0.3)


def test_a_whole_song_is_one_match(band):
    report = ask(band, toy.song(5, 40))
    assert [match.recording.title for match in report.matches] == ["Song 05"]
    assert report.matches[0].query.duration > 38
    assert report.matches[0].reference.duration > 38


def test_windows_that_continue_a_match_are_not_searched(band, monkeypatch):
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
    assert (searches, fewer) == (4, 2), "the start of the second song is searched"
    assert {match[0] for match in seldom} == {match[0] for match in often} == {"Song 01", "Song 06"}


def test_the_better_tagged_of_two_copies_is_named(band, tmp_path):
    """The other one is an alternative, of the match of a query and of the segment of a scan."""
    [copy] = band.add(toy.write(tmp_path / "Copy Band - Copy.wav", 0.5 * toy.song(2, 40))).added
    band.edit(copy.id, album="All of Them")
    report = ask(band, piece(2, 10, 8))
    (match,) = report.matches
    (other,) = band.recordings("Song 02")
    assert (match.recording.title, match.alternatives) == ("Copy", (other.id,))
    assert match_object(match)["alternatives"] == [other.id]
    assert match_details(match).endswith(f"of the clip, also in the library as {other.id}")
    (single,) = ask(band, piece(3, 10, 8)).matches
    assert single.alternatives == () and "alternatives" not in match_object(single)
    programme = toy.write(tmp_path / "programme.wav", np.concatenate([toy.silence(5), piece(2, 5, 30)]))
    timeline = band.scan(programme)
    (segment,) = timeline.segments
    assert (segment.recording.title, segment.alternatives) == ("Copy", (other.id,))
    assert segment_details(segment).endswith(f"also in the library as {other.id}")
    assert timeline_from_object(timeline_object(timeline)).segments[0].alternatives == (other.id,)


def test_removed_recordings_are_not_identified(band):
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
def test_a_report_without_a_match_contains_the_reason(band, samples, reason):
    report = ask(band, samples)
    assert not report
    assert reason in report.reason


def test_the_reason_mentions_an_empty_library(tmp_path):
    with songprint.open(tmp_path / "empty", create=True, encoder=toy.CalibratedToyEncoder()) as library:
        assert "empty" in ask(library, toy.song(1, 8)).reason


def test_long_queries_are_searched_in_windows():
    def query(seconds):
        return Query(
            Embeddings(np.ones((4 * seconds, 4), np.float32), 0.25, "test"), np.zeros(0, np.int16), 0.0, seconds
        )

    windows = list(windows_of(query(120)))
    assert len(windows) == 12
    assert np.array_equal(np.concatenate(windows), np.arange(480))
    assert len(list(windows_of(query(14)))) == 1


@pytest.mark.parametrize("blocks", [1, 3, 20])
def test_a_short_query_is_encoded_with_a_small_hop(blocks):
    """A query of a second is hardly longer than a window, so it is padded with silence and encoded densely."""
    samples = piece(3, 12, 1).astype(np.float32)
    query = Query.from_blocks(np.array_split(samples, blocks), toy.CalibratedToyEncoder())
    assert len(query.embeddings) == 5
    assert query.duration == 1.0
    assert query.times(np.arange(5)).mean() == pytest.approx(0, abs=0.01)  # the middle window is the query itself
    assert len(query.samples) == len(samples)


@pytest.mark.parametrize("seconds", [1.0, 1.5])
def test_a_query_of_one_second_is_identified(band, seconds):
    report = ask(band, piece(3, 12, seconds))
    assert [match.recording.title for match in report.matches] == ["Song 03"]
    assert report.matches[0].query.start >= 0
    assert report.matches[0].query.end <= seconds


def test_a_query_reads_the_embeddings_of_a_window_with_one_statement_and_none_twice(band):
    level = band.store.levels[Kind.RECORDING]
    sent = []

    def note(connection, cursor, statement, *given):
        if "FROM embeddings" in statement:
            sent.append(statement)

    band.store.refresh()
    event.listen(band.store.catalog.database._engine, "before_cursor_execute", note)
    unknown = toy.song(77, 30)  # every window is searched, and has other candidates
    windows = len(list(windows_of(Query.from_blocks([unknown.astype(np.float32)], level.encoder))))
    ask(band, unknown)
    assert 1 <= len(sent) <= windows
    sent.clear()
    ask(band, unknown)
    assert not sent
