"""The index of the landmarks of a library: counts of shared peaks at every position."""

import numpy as np
import pytest

from songprint.fingerprint import peak_index as peaks
from songprint.fingerprint.landmarks import SLOTS
from songprint.fingerprint.parameters import DEFAULT
from songprint.fingerprint.peak_index import MARGIN, RATE, PeakIndex, Peaks


def landmarks(random, seconds):
    """One peak per frame, at a random frequency."""
    found = np.zeros((seconds * RATE, SLOTS), np.uint8)
    found[:, 0] = random.integers(1, 256, len(found))
    return found


def count_at(query, landmarks, speed=1.0, pitch=1.0, offset=0.0):
    """The count near a position of a recording."""
    return query.around(landmarks, speed, pitch, offset, DEFAULT.peak_search.slack_frames).max()


@pytest.fixture
def recordings(random):
    return {number: landmarks(random, 60) for number in (4, 7, 9)}


@pytest.fixture
def index(recordings):
    return PeakIndex().changed(recordings.items())


def test_a_query_is_found_at_its_position(index, recordings):
    counts = index.count(Peaks(recordings[7][20 * RATE : 25 * RATE]))
    best, second = counts.best(2)
    assert (best.recording_id, best.offset) == (7, pytest.approx(20, abs=1.5 / RATE))
    assert best.count >= 5 * RATE > 3 * second.count


@pytest.mark.parametrize("start", [-3, 57])
def test_counts_of_one_recording_equal_those_of_the_library(index, recordings, start):
    whole = np.pad(recordings[4], ((5 * RATE, 5 * RATE), (0, 0)))
    query = Peaks(whole[(5 + start) * RATE : (11 + start) * RATE])
    best = index.count(query).best(1)[0]
    assert count_at(query, recordings[4], offset=start + 0.1) == best.count
    assert count_at(query, recordings[4], offset=start + 2) < best.count / 3
    assert count_at(query, recordings[7], offset=start) < best.count / 3
    assert count_at(query, np.zeros((0, 0), np.uint8)) == 0


def test_counts_around_a_position_cover_each_frame(recordings):
    query = Peaks(recordings[4][20 * RATE : 25 * RATE])
    around = query.around(recordings[4], 1.0, 1.0, 21.0, 2 * RATE)
    assert around.shape == (4 * RATE + 1,)
    assert around.argmax() == RATE, "one second before the position"
    assert around[RATE] == count_at(query, recordings[4], offset=20.0)
    assert np.median(around) < around[RATE] / 10
    drone = np.zeros_like(recordings[4])
    drone[:, :2] = 70, 90
    assert np.ptp(Peaks(drone[: 5 * RATE]).around(drone, 1.0, 1.0, 20.0, 2 * RATE)) == 0, (
        "all positions of a drone are equal"
    )
    assert not Peaks(drone[:0]).around(drone, 1.0, 1.0, 20.0, 3).any()


def test_a_peak_one_frame_off_counts_half(recordings):
    own = recordings[4][: 5 * RATE]
    peaks = np.count_nonzero(own)
    assert count_at(Peaks(own), own) >= peaks
    shaken = np.zeros_like(own)
    shaken[0::2], shaken[1::2] = own[1::2], own[0::2]
    assert count_at(Peaks(own), shaken) == pytest.approx(peaks / 2, rel=0.1)
    higher = np.where(own, np.minimum(own.astype(int) + 1, 255), 0).astype(np.uint8)
    assert count_at(Peaks(own), higher) < peaks / 4


@pytest.mark.parametrize("start", [-3, 57])
def test_a_query_may_extend_beyond_either_end(index, recordings, start):
    whole = np.pad(recordings[4], ((5 * RATE, 5 * RATE), (0, 0)))
    best = index.count(Peaks(whole[(5 + start) * RATE : (11 + start) * RATE])).best(1)[0]
    assert (best.recording_id, best.offset) == (4, pytest.approx(start, abs=1.5 / RATE))


def test_a_faster_query_is_counted_at_its_speed(recordings, random):
    part = recordings[9][10 * RATE : 20 * RATE]
    faster = np.zeros((round(len(part) / 1.25), SLOTS), np.uint8)
    faster[
        np.minimum(np.rint(np.arange(len(part)) / 1.25).astype(int), len(faster) - 1),
        random.integers(SLOTS, size=len(part)),
    ] = part[:, 0]
    query = Peaks(faster)
    assert count_at(query, recordings[9], speed=1.25, offset=10) > 3 * count_at(query, recordings[9], offset=10)
    assert count_at(query, recordings[9], speed=1.25, offset=10) > 3 * count_at(
        query, recordings[4], speed=1.25, offset=10
    )
    assert count_at(query, recordings[9], speed=1.25, offset=10) > 3 * count_at(
        query, recordings[9], 1.25, pitch=1.2, offset=10
    )


def test_excluded_and_removed_recordings_are_not_found(index, recordings):
    query = Peaks(recordings[7][20 * RATE : 25 * RATE])
    assert 7 not in {place.recording_id for place in index.count(query).best(3, leave_out={7})}
    less = index.changed(removed={7, 99})
    assert less.recording_ids == {4, 9}
    assert index.recording_ids == {4, 7, 9}, "the original index is unchanged"
    assert {place.recording_id for place in less.count(query).best(3)} == {4, 9}


def test_recordings_can_be_added_later(index, recordings, random):
    recordings[12] = landmarks(random, 30)
    index = index.changed([(12, recordings[12])], removed={7})
    del recordings[7]
    for number, own in recordings.items():
        assert index.count(Peaks(own[5 * RATE : 10 * RATE])).best(1)[0].recording_id == number


def test_the_size_of_blocks_does_not_change_counts(recordings, index, monkeypatch):
    monkeypatch.setattr(peaks, "BLOCK", RATE)
    many = PeakIndex().changed(recordings.items())
    query = Peaks(recordings[9][40 * RATE : 44 * RATE])
    assert many.count(query).best(3) == index.count(query).best(3)
    assert many.changed(removed={4, 7}).count(query).best(3) == index.count(query).best(1)


def test_a_query_without_peaks_has_zero_counts(index):
    nothing = Peaks(np.zeros((100, SLOTS), np.uint8))
    assert len(nothing) == 0
    assert all(place.count == 0 for place in index.count(nothing).best(3))
    assert PeakIndex().count(nothing).best(3) == []


def test_recordings_without_peaks_have_zero_counts(index, recordings):
    index = index.changed([(20, np.zeros((0, 0), np.uint8)), (21, np.zeros((500, SLOTS), np.uint8))])
    best = index.count(Peaks(recordings[7][: 5 * RATE])).best(5)
    assert best[0].recording_id == 7
    assert {place.count for place in best if place.recording_id in (20, 21)} == {0}
    assert MARGIN > 15 * 1.25 * RATE, "a query of one window fits the gap between recordings"
