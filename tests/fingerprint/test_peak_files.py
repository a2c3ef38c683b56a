"""Pairs of landmarks on disk: what is stored, what a query finds, and what a crash leaves."""

import json

import numpy as np
import pytest

from songprint.fingerprint import peak_files, peak_pairs
from songprint.fingerprint.landmarks import SLOTS
from songprint.fingerprint.peak_files import CURRENT, SKIP, PairFiles
from songprint.fingerprint.peak_index import RATE, Peaks
from songprint.fingerprint.peak_pairs import FARTHEST, HASHES, NEAREST, PAIRS_PER_SECOND


def landmarks(random, seconds):
    """One or two peaks per frame, at random frequencies; the slots of a frame ascend."""
    found = np.sort(random.integers(1, 256, (seconds * RATE, SLOTS)).astype(np.uint8), axis=1)
    found[random.random(found.shape) < 0.4] = 0
    return found


def masked(random, part, share):
    """A query of which `share` of the peaks survive; others appear."""
    gone = random.random(part.shape) > share
    return np.where(gone, landmarks(random, len(part) // RATE + 1)[: len(part)], part)


@pytest.fixture
def recordings(random):
    return {number: landmarks(random, 60) for number in (4, 7, 9, 12)}


@pytest.fixture
def files(tmp_path, recordings):
    made = PairFiles(tmp_path / "peaks")
    with made.lock() as granted:
        assert granted
        made.replace([], recordings.items())
    return made


def test_a_second_keeps_a_fixed_number_of_pairs(recordings):
    hashes, frames = peak_pairs.of_recording(recordings[4])
    assert np.bincount(frames // RATE, minlength=60)[:-1].tolist() == [PAIRS_PER_SECOND] * 59
    assert (hashes >= 0).all()
    assert (hashes < HASHES).all()
    for nothing in (np.zeros((0, 0), np.uint8), np.zeros((5, SLOTS), np.uint8)):
        assert [len(each) for each in (*peak_pairs.of_recording(nothing), *peak_pairs.of_query(nothing))] == [0] * 4


def test_a_query_looks_up_every_pair_of_a_recording(recordings):
    kept = set(zip(*(each.tolist() for each in peak_pairs.of_recording(recordings[4])), strict=True))
    looked_up = list(zip(*(each.tolist() for each in peak_pairs.of_query(recordings[4])), strict=True))
    assert kept <= set(looked_up)
    assert len(looked_up) == len(set(looked_up))


def test_a_query_also_looks_up_pairs_that_are_one_frame_longer():
    rows = np.zeros((40, SLOTS), np.uint8)
    for first in range(0, 240, 10):
        rows[:] = 0
        rows[3, 0], rows[3 + NEAREST + 2, 0] = 10 + first // 2, 100 + first // 2
        hashes, _ = peak_pairs.of_recording(rows)
        if len(hashes):
            break
    moved = np.zeros_like(rows)
    moved[3], moved[3 + NEAREST + 1] = rows[3], rows[3 + NEAREST + 2]
    assert hashes[0] in peak_pairs.of_query(moved)[0]
    moved = np.zeros_like(rows)
    moved[3], moved[3 + NEAREST] = rows[3], rows[3 + NEAREST + 2]
    assert hashes[0] not in peak_pairs.of_query(moved)[0]
    assert FARTHEST - NEAREST + 1 == 1 << peak_pairs.DISTANCE_BITS


def test_steady_tones_have_no_pairs():
    rows = np.zeros((200, SLOTS), np.uint8)
    rows[:, 0] = 70
    assert len(peak_pairs.of_recording(rows)[0]) == 0


@pytest.mark.parametrize("start", [-3, 0, 20, 57])
def test_a_query_is_found_at_its_position(files, recordings, random, start):
    whole = np.pad(recordings[7], ((5 * RATE, 5 * RATE), (0, 0)))
    query = masked(random, whole[(5 + start) * RATE : (11 + start) * RATE], 0.5)
    best, *others = files.index().search(query, 5)
    assert best.recording_id == 7
    assert best.frame == pytest.approx(start * RATE, abs=3)
    assert all(other.agreeing < best.agreeing / 2 for other in others)


def test_recordings_may_be_left_out(files, recordings):
    query = recordings[7][RATE : 9 * RATE]
    assert 7 not in {place.recording_id for place in files.index().search(query, 9, leave_out={7})}


def test_two_positions_of_a_recording_are_returned(tmp_path, recordings):
    made = PairFiles(tmp_path / "twice")
    with made.lock():
        made.replace([], [(3, np.concatenate([recordings[4], recordings[4]]))])
    first, second = made.index().search(recordings[4][20 * RATE : 25 * RATE], 2)
    assert sorted(round(place.frame / RATE) for place in (first, second)) == [20, 80]


def test_nothing_is_found_for_silence_or_in_an_empty_index(files, tmp_path):
    assert files.index().search(np.zeros((160, SLOTS), np.uint8), 5) == []
    assert PairFiles(tmp_path / "missing").index().search(np.ones((160, SLOTS), np.uint8), 5) == []


def test_wide_and_narrow_gaps_are_restored(random):
    units = np.sort(
        random.choice([*range(20), *range(SKIP - 2, SKIP + 3), *range(10 * SKIP, 20 * SKIP, 999)], 60, False)
    )
    hashes = np.repeat([5, 9, HASHES - 1], 20)
    units = np.concatenate([np.sort(part) for part in units.reshape(20, 3).T]).astype(np.int32)
    postings, edges = peak_files._encode(hashes, units)
    lists = [postings[edges[each] : edges[each + 1]] for each in (9, 5, HASHES - 1)]
    starts = np.array([7, 0, 3])
    decoded = peak_files._decode(lists, starts)
    expected = np.concatenate([units[20:40] - 7, units[:20], units[40:] - 3])
    assert decoded.tolist() == expected.tolist()


def test_parts_are_limited_in_size_and_found_alike(tmp_path, recordings, files, monkeypatch):
    monkeypatch.setattr(peak_files, "PAIRS_PER_PART", 100)
    many = PairFiles(tmp_path / "many")
    with many.lock():
        many.replace([], recordings.items())
    assert len(many.index().parts) == len(recordings)
    query = recordings[9][5 * RATE : 12 * RATE]
    assert many.index().search(query, 1) == files.index().search(query, 1)
    assert many.index().density == pytest.approx(files.index().density)


def test_few_postings_and_places_still_find_a_clear_query(files, recordings, monkeypatch):
    few = peak_files.DEFAULT.peak_search.__class__(max_postings=400, max_places=20)
    monkeypatch.setattr(peak_files, "PARAMETERS", few)
    assert files.index().search(recordings[9][5 * RATE : 12 * RATE], 1)[0].recording_id == 9


def test_parts_are_kept_and_added(files, recordings, random):
    first = files.index()
    assert files.index() is first, "nothing is read again"
    recordings[20] = landmarks(random, 30)
    with files.lock():
        files.replace([part.name for part in first.parts], [(20, recordings[20])])
    both = files.index()
    assert both.parts[0] is first.parts[0]
    assert both.recording_ids == {4, 7, 9, 12, 20}
    for number, own in recordings.items():
        assert both.search(own[RATE : 8 * RATE], 1)[0].recording_id == number
    with files.lock():
        files.replace([both.parts[1].name], [])
    assert files.index().recording_ids == {20}
    assert first.search(recordings[4][RATE : 8 * RATE], 1)[0].recording_id == 4, "deleted parts can still be read"


def test_a_crash_leaves_the_old_parts(files, recordings, monkeypatch):
    def interrupted(self, name, arrays):
        (self.folder / f"{name}.unfinished").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, files.lock(), pytest.raises(KeyboardInterrupt):
        patch.setattr(PairFiles, "_write", interrupted)
        files.replace([], recordings.items())
    assert PairFiles(files.folder).index().recording_ids == {4, 7, 9, 12}
    with files.lock():
        files.replace([], recordings.items())
    assert PairFiles(files.folder).index().recording_ids == {4, 7, 9, 12}
    assert not list(files.folder.glob("*.unfinished"))


@pytest.mark.parametrize("damage", ["cut off", "missing", "no list", "other format"])
def test_damaged_files_are_left_out(files, damage):
    (part,) = files.index().parts
    if damage == "cut off":
        path = files.folder / part.name / "postings.npy"
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "missing":
        (files.folder / part.name / "codes.npy").unlink()
    else:
        text = "{" if damage == "no list" else json.dumps({"format": 99, "parts": [part.name]})
        (files.folder / CURRENT).write_text(text)
    assert PairFiles(files.folder).index().parts == ()


def test_one_process_writes_at_a_time(files):
    with files.lock() as first, PairFiles(files.folder).lock() as second:
        assert first
        assert not second


def test_the_size_of_the_files_per_second_is_bounded(files, recordings):
    seconds = sum(len(each) for each in recordings.values()) / RATE
    (part,) = files.index().parts
    assert len(part.codes) / seconds == RATE / 2
    assert len(part.postings) <= 2 * PAIRS_PER_SECOND * seconds
    assert len(Peaks(recordings[4])) > 0
