"""Agreement between timeline and truth: invented timelines with figures that can be computed by hand."""

import pytest

from lab.data.programmes import Part
from lab.measure import spans
from lab.measure.spans import Detection
from songprint.types import Interval, Kind

RECORDING, COVER = Kind.RECORDING, Kind.COVER


def part(song, start, end, kind=RECORDING, fade=0.0):
    return Part(
        Interval(start, end),
        Interval(start - fade, end + fade),
        f"{song}.ogg",
        song,
        kind,
        Interval(0, 9),
        not fade,
        not fade,
    )


def detection(song, start, end, kind=RECORDING):
    return Detection(song, kind, Interval(start, end))


TRUTH = [part("a", 0, 100), part("b", 100, 200), part("a", 300, 400), part("c", 400, 500, COVER)]


def test_half_of_the_seconds_reported_and_a_third_of_the_reports_false():
    reported = [detection("a", 0, 100), detection("b", 120, 200), detection("z", 220, 310), detection("c", 480, 500)]
    found = spans.agreement(TRUTH, reported)
    assert (found.played, found.reported, found.correct) == (400, 290, 200)
    assert (found.recall, found.precision) == (0.5, pytest.approx(200 / 290))
    assert found.f1 == pytest.approx(400 / 690)


def test_a_complete_timeline_is_perfect_and_an_empty_one_scores_zero():
    complete = [detection(each.song, each.interval.start, each.interval.end, each.kind) for each in TRUTH]
    perfect = spans.agreement(TRUTH, complete)
    assert (perfect.precision, perfect.recall, perfect.f1) == (1, 1, 1)
    nothing = spans.agreement(TRUTH, [])
    assert (nothing.precision, nothing.recall, nothing.f1) == (0, 0, 0)
    silent = spans.agreement([], [])
    assert (silent.precision, silent.recall, silent.f1) == (1, 1, 1)


def test_a_song_that_is_reported_twice_at_the_same_time_counts_once():
    found = spans.agreement(TRUTH, [detection("a", 0, 100), detection("a", 50, 100)])
    assert (found.correct, found.reported) == (100, 100)


def test_two_simultaneous_songs_both_count():
    crossed = [part("a", 0, 60), part("b", 50, 100)]
    assert spans.agreement(crossed, [detection("a", 0, 60), detection("b", 50, 100)]).f1 == 1
    assert spans.agreement(crossed, [detection("a", 0, 55), detection("b", 55, 100)]).correct == 100


def test_reporting_a_song_during_its_fade_is_neither_required_nor_false():
    faded = [part("a", 10, 20, fade=2)]
    assert spans.agreement(faded, [detection("a", 8, 22)]).f1 == 1
    assert spans.agreement(faded, [detection("a", 5, 20)]).reported == 13


def test_each_kind_has_its_own_figures():
    reported = [
        detection("a", 0, 100),
        detection("b", 100, 200),
        detection("a", 300, 400),
        detection("c", 450, 500, COVER),
        detection("z", 500, 550, COVER),
    ]
    recordings, covers = (spans.agreement(TRUTH, reported, kind) for kind in (RECORDING, COVER))
    assert recordings.f1 == 1
    assert (covers.played, covers.reported, covers.correct) == (100, 100, 50)
    both = spans.agreement(TRUTH, reported)
    assert (both.played, both.reported, both.correct) == tuple(
        getattr(recordings, name) + getattr(covers, name) for name in ("played", "reported", "correct")
    )


def test_the_correct_song_with_the_wrong_kind_is_correct_and_counted_separately():
    reported = [detection("c", 400, 500, RECORDING)]
    assert spans.agreement(TRUTH, reported, COVER).recall == 1
    assert spans.agreement(TRUTH, reported, RECORDING).reported == 0
    assert spans.wrong_kind(TRUTH, reported) == 100
    assert spans.wrong_kind(TRUTH, [detection("c", 400, 500, COVER)]) == 0


def test_edges_are_measured_from_the_outer_ends_of_the_detections():
    reported = [detection("a", 0.3, 40), detection("a", 60, 98), detection("b", 101, 200)]
    found = spans.edges(TRUTH, reported)
    assert [edge.error for edge in found] == pytest.approx([0.3, 2, 1, 0])
    assert [edge.excess for edge in found] == pytest.approx([-0.3, -2, -1, 0])
    faded = [part("a", 10, 20, fade=1)]
    assert [edge.hard for edge in spans.edges(faded, [detection("a", 9, 20)])] == [False, False]


def test_too_long_is_positive_too_short_negative_and_the_rest_of_a_fade_zero():
    faded = [part("a", 10, 20, fade=1)]
    assert [edge.excess for edge in spans.edges(faded, [detection("a", 6, 24)])] == [3, 3]
    assert [edge.excess for edge in spans.edges(faded, [detection("a", 12, 17)])] == [-2, -3]
    assert [edge.excess for edge in spans.edges(faded, [detection("a", 9.5, 20.5)])] == [0, 0]


def test_a_detection_belongs_to_the_part_of_the_song_that_it_overlaps_most():
    neighbours = [part("a", 0, 50), part("a", 50, 100)]
    found = spans.edges(neighbours, [detection("a", 0, 51), detection("a", 51, 100)])
    assert [edge.excess for edge in found] == [0, 1, -1, 0]
    both = spans.edges(neighbours, [detection("a", 0, 90)])
    assert [(edge.part.interval.start, edge.excess) for edge in both] == [(0, 0), (0, 40)]


def test_parts_of_which_nothing_is_reported_are_missed():
    found = spans.missed(TRUTH, [detection("a", 0, 50), detection("z", 300, 500)])
    assert [each.interval.start for each in found] == [100, 300, 400]


def test_neighbouring_detections_of_a_false_song_count_once():
    reported = [
        detection("z", 0, 10),
        detection("z", 15, 20),
        detection("z", 300, 310),
        detection("a", 90, 110),
        detection("b", 350, 360),
    ]
    found = spans.false_songs(TRUTH, reported)
    assert [(each.song, each.interval.start, each.interval.end) for each in found] == [
        ("z", 0, 20),
        ("z", 300, 310),
        ("b", 350, 360),
    ]
