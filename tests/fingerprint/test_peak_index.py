"""The peaks of a whole library: where those of a clip lie as well."""

import numpy as np
import pytest

from songprint.fingerprint import peak_index as peaks
from songprint.fingerprint.landmarks import SLOTS
from songprint.fingerprint.parameters import DEFAULT
from songprint.fingerprint.peak_index import MARGIN, RATE, PeakIndex, Peaks


def landmarks(random, seconds):
    """One peak a frame, of any frequency."""
    found = np.zeros((seconds * RATE, SLOTS), np.uint8)
    found[:, 0] = random.integers(1, 256, len(found))
    return found


def on(clip, landmarks, speed=1.0, pitch=1.0, offset=0.0):
    """What is counted near a place of a recording."""
    return clip.around(landmarks, speed, pitch, offset, DEFAULT.peak_search.slack_frames).max()


@pytest.fixture
def recordings(random):
    return {number: landmarks(random, 60) for number in (4, 7, 9)}


@pytest.fixture
def index(recordings):
    return PeakIndex().changed(recordings.items())


def test_a_clip_lies_where_it_was_cut(index, recordings):
    counts = index.count(Peaks(recordings[7][20 * RATE : 25 * RATE]))
    best, second = counts.best(2)
    assert (best.recording_id, best.offset) == (7, pytest.approx(20, abs=1.5 / RATE))
    assert best.count >= 5 * RATE > 3 * second.count


@pytest.mark.parametrize("start", [-3, 57])
def test_what_is_counted_on_one_recording_is_what_is_counted_in_the_library(index, recordings, start):
    whole = np.pad(recordings[4], ((5 * RATE, 5 * RATE), (0, 0)))
    clip = Peaks(whole[(5 + start) * RATE : (11 + start) * RATE])
    best = index.count(clip).best(1)[0]
    assert on(clip, recordings[4], offset=start + 0.1) == best.count
    assert on(clip, recordings[4], offset=start + 2) < best.count / 3
    assert on(clip, recordings[7], offset=start) < best.count / 3
    assert on(clip, np.zeros((0, 0), np.uint8)) == 0


def test_around_a_place_each_frame_is_counted(recordings):
    clip = Peaks(recordings[4][20 * RATE : 25 * RATE])
    around = clip.around(recordings[4], 1.0, 1.0, 21.0, 2 * RATE)
    assert around.shape == (4 * RATE + 1,)
    assert around.argmax() == RATE, "a second before"
    assert around[RATE] == on(clip, recordings[4], offset=20.0)
    assert np.median(around) < around[RATE] / 10
    drone = np.zeros_like(recordings[4])
    drone[:, :2] = 70, 90
    assert np.ptp(Peaks(drone[: 5 * RATE]).around(drone, 1.0, 1.0, 20.0, 2 * RATE)) == 0, "any place is as good"
    assert not Peaks(drone[:0]).around(drone, 1.0, 1.0, 20.0, 3).any()


def test_a_peak_that_is_off_by_a_frame_counts_half(recordings):
    own = recordings[4][: 5 * RATE]
    peaks = np.count_nonzero(own)
    assert on(Peaks(own), own) >= peaks
    shaken = np.zeros_like(own)
    shaken[0::2], shaken[1::2] = own[1::2], own[0::2]
    assert on(Peaks(own), shaken) == pytest.approx(peaks / 2, rel=0.1)
    higher = np.where(own, np.minimum(own.astype(int) + 1, 255), 0).astype(np.uint8)
    assert on(Peaks(own), higher) < peaks / 4


@pytest.mark.parametrize("start", [-3, 57])
def test_a_clip_may_hang_over_either_end(index, recordings, start):
    whole = np.pad(recordings[4], ((5 * RATE, 5 * RATE), (0, 0)))
    best = index.count(Peaks(whole[(5 + start) * RATE : (11 + start) * RATE])).best(1)[0]
    assert (best.recording_id, best.offset) == (4, pytest.approx(start, abs=1.5 / RATE))


def test_a_clip_that_was_played_faster_lies_on_it_at_that_speed(recordings, random):
    part = recordings[9][10 * RATE : 20 * RATE]
    faster = np.zeros((round(len(part) / 1.25), SLOTS), np.uint8)
    faster[
        np.minimum(np.rint(np.arange(len(part)) / 1.25).astype(int), len(faster) - 1),
        random.integers(SLOTS, size=len(part)),
    ] = part[:, 0]
    clip = Peaks(faster)
    assert on(clip, recordings[9], speed=1.25, offset=10) > 3 * on(clip, recordings[9], offset=10)
    assert on(clip, recordings[9], speed=1.25, offset=10) > 3 * on(clip, recordings[4], speed=1.25, offset=10)
    assert on(clip, recordings[9], speed=1.25, offset=10) > 3 * on(clip, recordings[9], 1.25, pitch=1.2, offset=10)


def test_a_recording_that_is_left_out_or_removed_is_not_named(index, recordings):
    clip = Peaks(recordings[7][20 * RATE : 25 * RATE])
    assert 7 not in {place.recording_id for place in index.count(clip).best(3, leave_out={7})}
    less = index.changed(removed={7, 99})
    assert less.recording_ids == {4, 9}
    assert index.recording_ids == {4, 7, 9}, "who counts meanwhile is not disturbed"
    assert {place.recording_id for place in less.count(clip).best(3)} == {4, 9}


def test_what_is_added_later_is_found_beside_what_was_there(index, recordings, random):
    recordings[12] = landmarks(random, 30)
    index = index.changed([(12, recordings[12])], removed={7})
    del recordings[7]
    for number, own in recordings.items():
        assert index.count(Peaks(own[5 * RATE : 10 * RATE])).best(1)[0].recording_id == number


def test_blocks_make_no_difference(recordings, index, monkeypatch):
    monkeypatch.setattr(peaks, "BLOCK", RATE)
    many = PeakIndex().changed(recordings.items())
    clip = Peaks(recordings[9][40 * RATE : 44 * RATE])
    assert many.count(clip).best(3) == index.count(clip).best(3)
    assert many.changed(removed={4, 7}).count(clip).best(3) == index.count(clip).best(1)


def test_of_nothing_nothing_is_found(index):
    nothing = Peaks(np.zeros((100, SLOTS), np.uint8))
    assert len(nothing) == 0
    assert all(place.count == 0 for place in index.count(nothing).best(3))
    assert PeakIndex().count(nothing).best(3) == []


def test_recordings_without_peaks_are_no_trouble(index, recordings):
    index = index.changed([(20, np.zeros((0, 0), np.uint8)), (21, np.zeros((500, SLOTS), np.uint8))])
    best = index.count(Peaks(recordings[7][: 5 * RATE])).best(5)
    assert best[0].recording_id == 7
    assert {place.count for place in best if place.recording_id in (20, 21)} == {0}
    assert MARGIN > 15 * 1.25 * RATE, "a clip may be as long as the gap between recordings"
