"""A cover is reported where it agrees with the reference, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from support import tonal

from songprint.covers import align, extents, tracker
from songprint.covers.extents import Agreement
from songprint.covers.rows import STEP
from songprint.covers.tracker import WindowMatch
from songprint.types import Interval


def path(*evidence: tuple[float, float], start: float = 0.0, place: float = 30.0) -> Agreement:
    """A straight path from `start` seconds on: (seconds, evidence of each moment) one after the other."""
    values = np.concatenate([np.full(round(seconds / STEP), value) for seconds, value in evidence])
    times = start + STEP * np.arange(len(values))
    return Agreement(np.stack([times, times + place - start], axis=1), values)


def found(agreement: Agreement) -> list[tuple[float, float]]:
    intervals = [extents.interval_of(extents.sections_of(part)) for part in extents.agreeing(agreement)]
    return [(each.start, each.end) for each in intervals]


SILENCE, CHANCE, COVER = -0.5, 0.1, 0.7  # evidence of a moment


def test_a_cover_ends_where_it_no_longer_agrees():
    """Music after it gains evidence by chance, and the path follows it."""
    [(start, end)] = found(path((40, CHANCE), (60, COVER), (40, CHANCE)))
    assert (start, end) == pytest.approx((40, 100), abs=1.0)


@pytest.mark.parametrize("between", [(12, SILENCE), (40, CHANCE)])
def test_a_cover_does_not_run_across_silence_or_other_music(between):
    (_, end), (start, _) = found(path((40, COVER), between, (50, COVER)))
    assert (end, start) == pytest.approx((40, 40 + between[0]), abs=1.0)


def test_a_cover_runs_across_a_few_notes_that_differ():
    [(start, end)] = found(path((40, COVER), (4, SILENCE), (2, CHANCE), (50, COVER)))
    assert (start, end) == pytest.approx((0, 96), abs=1.0)


def test_what_agrees_for_a_few_seconds_is_no_part():
    assert found(path((30, CHANCE), (5, COVER), (30, CHANCE))) == []
    assert extents.agreeing(extents.NO_AGREEMENT) == []


def test_a_piece_at_another_place_of_the_recording_needs_more_evidence():
    one = path((60, COVER))
    for seconds, end in ((10, 60), (40, 100)):
        other = path((seconds, COVER), start=60.0, place=5.0)
        [(_, found_end)] = found(one.then(other))
        assert found_end == pytest.approx(end, abs=1.0)


def test_a_rendition_with_a_silence_is_two_parts():
    """The path bridges the silence, because the song continues behind it."""
    song = tonal.Song(1)
    first, second = (song.frames(key=3, seed=1, parts=parts) for parts in ("AB", "AC"))
    query = np.concatenate([first, np.zeros((60, 48), np.uint8), second])
    [alignment] = align.align(query, [song.frames(seed=9)])
    assert extents.interval_of(alignment.sections).duration == pytest.approx(76, abs=2.0)
    (start, end), (second_start, second_end) = found(Agreement(alignment.path, alignment.evidence))
    assert (start, end, second_start, second_end) == pytest.approx((0, 32, 44, 76), abs=2.0)


def test_parts_that_keep_the_time_of_the_song_are_one_performance():
    one, other = path((40, COVER)), path((40, COVER), start=60.0, place=90.0)
    assert extents.keeps_time(one, other), "30 s of the song later after 20 s more: it went on in between"
    assert not extents.keeps_time(one, path((40, COVER), start=60.0, place=72.0)), "it paused"
    assert not extents.keeps_time(one, path((40, COVER), start=90.0, place=120.0)), "too far apart"


def match(recording_id: int, agreement: Agreement, logit: float = 8.0) -> WindowMatch:
    sections = extents.sections_of(agreement)
    return WindowMatch(recording_id, extents.interval_of(sections), sections, 0, 1.0, logit, agreement)


def test_of_two_covers_that_overlap_each_keeps_where_it_agrees_better():
    one, other = match(1, path((60, COVER), (20, 0.3))), match(2, path((10, 0.2), (90, COVER), start=60.0))
    assert one.interval.end > other.interval.start + 15
    first, second = sorted(tracker._one_at_a_time([one, other]), key=lambda each: each.recording_id)
    assert first.interval.end == pytest.approx(70, abs=1.0)
    assert second.interval.start == pytest.approx(70, abs=1.0)
    assert first.interval.end <= second.interval.start + STEP


def test_two_alignments_of_one_recording_never_overlap():
    one, other = match(1, path((112, COVER), start=437.0)), match(1, path((201, COVER), start=501.0, place=0.0))
    found = tracker._one_at_a_time([one, other])
    assert len(found) == 2
    first, second = sorted((each.interval for each in found), key=lambda each: each.start)
    assert first.end <= second.start + STEP
    within = match(1, path((30, COVER), start=520.0))
    assert len(tracker._one_at_a_time([one, other, within])) == 2


def test_a_cut_lies_where_the_evidence_crosses():
    one, other = path((60, COVER), (20, CHANCE)), path((10, CHANCE), (80, COVER), start=60.0)
    assert extents.best_cut(one, other, Interval(60.0, 80.0)) == pytest.approx(65, abs=5.1)
