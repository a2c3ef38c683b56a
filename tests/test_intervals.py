"""Sequence decoding, the grid, and gaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from songprint import intervals
from songprint.intervals import NO_SONG
from songprint.types import Interval, Kind, Recording, Segment, Sound, Tags

RECORDING = Recording(1, Tags(title="A"), 100.0, "a.wav", "hash")


def segment(start: float, end: float) -> Segment:
    return Segment(RECORDING, Kind.RECORDING, 99.0, Interval(start, end), Interval(0, end - start))


def placed(start: float, end: float, place: float, confidence: float = 99.0) -> Segment:
    """A segment whose part of the song begins at `place` seconds."""
    return replace(segment(start, end), confidence=confidence, reference=Interval(place, place + end - start))


def test_a_part_of_a_segment_has_the_corresponding_part_of_the_song():
    assert intervals.part_of(placed(0, 100, 50), Interval(20, 60)) == placed(20, 60, 70)
    faster = replace(placed(0, 100, 0), reference=Interval(10, 130))
    assert intervals.part_of(faster, Interval(50, 200)).reference == Interval(70, 130)


def test_segments_that_continue_one_performance_are_joined():
    """The second begins before the first ends, or shortly after, at the place that the first has reached."""
    whole, end = placed(147, 292, 10), placed(288, 293, 151)
    assert intervals.joined_performances([end, whole]) == [placed(147, 293, 10)]
    assert intervals.joined_performances([placed(0, 50, 0), placed(51, 90, 51)]) == [placed(0, 90, 0)]
    apart = [placed(0, 50, 0), placed(55, 90, 55)]
    assert intervals.joined_performances(apart) == apart, "something else may play in between"
    elsewhere = [placed(0, 50, 0), placed(50, 90, 10)]
    assert intervals.joined_performances(elsewhere) == elsewhere


def test_segments_of_one_recording_never_overlap():
    one, better = placed(437, 549, 0), placed(501, 702, 30)
    assert intervals.one_at_a_time([one, better], min_duration=8.0) == [placed(437, 501, 0), better]
    improbable = replace(better, confidence=40.0)
    assert intervals.one_at_a_time([improbable, one], 8.0) == [one, replace(placed(549, 702, 78), confidence=40.0)]
    assert intervals.one_at_a_time([placed(0, 100, 0), placed(20, 60, 5)], 8.0) == [placed(0, 100, 0)]
    assert intervals.one_at_a_time([placed(0, 100, 0), placed(60, 105, 5)], 8.0) == [placed(0, 100, 0)]
    other = replace(placed(50, 150, 0), recording=replace(RECORDING, id=2))
    assert intervals.one_at_a_time([placed(0, 100, 0), other], 8.0) == [placed(0, 100, 0), other]


def test_a_song_continues_through_a_short_weak_passage_and_ends_at_a_long_one():
    evidence = np.concatenate([np.full(20, 1.0), np.full(2, -1.0), np.full(20, 1.0), np.full(30, -1.0)])[:, None]
    assert intervals.runs(intervals.most_likely_sequence(evidence) == 0) == [(0, 42)]


def test_short_evidence_does_not_start_a_song():
    evidence = np.full((40, 2), -1.0)
    evidence[10:13, 1] = 1.5
    assert (intervals.most_likely_sequence(evidence) == NO_SONG).all()
    evidence[10:20, 1] = 1.5
    assert intervals.runs(intervals.most_likely_sequence(evidence) == 1) == [(10, 20)]


def test_a_song_follows_another_where_its_evidence_becomes_higher():
    evidence = np.full((60, 2), 0.1)
    evidence[:30, 0], evidence[30:, 1] = 2.0, 2.0
    assert intervals.most_likely_sequence(evidence).tolist() == [0] * 30 + [1] * 30


def test_the_sequence_has_the_highest_score(random):
    """Compared with all sequences of a small case."""
    evidence = random.normal(0, 3, (5, 2))

    def total(path):
        value = 0.0
        for moment, song in enumerate(path):
            if song != NO_SONG:
                value += evidence[moment, song] - (4.0 if moment == 0 or path[moment - 1] != song else 0.0)
        return value

    best = max(total([code // 3**moment % 3 - 1 for moment in range(5)]) for code in range(3**5))
    assert total(intervals.most_likely_sequence(evidence, start_cost=4.0)) == pytest.approx(best)


def test_without_songs_the_sequence_is_no_song():
    assert intervals.most_likely_sequence(np.zeros((3, 0))).tolist() == [NO_SONG] * 3


def test_the_grid_rounds_outwards_and_merges_touching_intervals():
    assert intervals.snap_to_grid([Interval(62, 70), Interval(16, 29), Interval(31, 44)]) == [
        Interval(15, 45),
        Interval(60, 75),
    ]
    assert intervals.snap_to_grid([Interval(30, 45)]) == [Interval(30, 45)]
    assert intervals.snap_to_grid([Interval(45, 45)]) == [Interval(45, 60)]
    assert intervals.snap_to_grid([Interval(3, 4)], step=10) == [Interval(0, 10)]
    assert intervals.snap_to_grid([]) == []


def test_gaps_cover_the_rest_by_class_of_sound():
    sounds = [(Interval(0, 12), Sound.SPEECH), (Interval(12, 30), Sound.MUSIC), (Interval(30, 40), Sound.SILENCE)]
    found = intervals.gaps(40, [segment(4, 10), segment(8, 20)], sounds)
    assert [(gap.interval, gap.sound) for gap in found] == [
        (Interval(0, 4), Sound.SPEECH),
        (Interval(20, 30), Sound.MUSIC),
        (Interval(30, 40), Sound.SILENCE),
    ]


def test_short_pauses_are_not_gaps():
    sounds = [(Interval(0, 10.4), Sound.SPEECH), (Interval(10.4, 20), Sound.MUSIC)]
    assert intervals.gaps(20, [segment(0, 10), segment(10.5, 20)], sounds) == []
    [gap] = intervals.gaps(20, [segment(0, 10)], sounds)
    assert (gap.interval, gap.sound) == (Interval(10, 20), Sound.MUSIC)
