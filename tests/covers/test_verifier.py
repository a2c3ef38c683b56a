"""Bands along the path of an alignment."""

import numpy as np
import pytest
from support import tonal

from songprint.covers import search
from songprint.covers.align import align
from songprint.covers.cohort import Cohort
from songprint.covers.rows import Rendition
from songprint.covers.verifier import LEVELS, PLANES, REACH, WIDTH, band, middle

MELODY, PATH = 2, PLANES - 1


def band_of(query, reference):
    (alignment,) = align(query, [reference])
    return band(Rendition.of(query), Rendition.of(reference), alignment)


@pytest.mark.parametrize(("key", "tempo"), [(0, 1.0), (5, 1.0), (2, 1.3)])
def test_the_path_runs_down_the_middle_in_any_key_and_tempo(key, tempo):
    song = tonal.Song(1)
    found = band_of(song.frames(key=key, tempo=tempo, seed=1)[:150], song.frames(seed=2))
    assert found.shape == (75, WIDTH, PLANES) and found.dtype == np.int8
    rows, columns = np.nonzero(found[:, :, PATH])
    assert len(rows) > 40
    assert np.abs(columns - REACH).max() <= 3
    alike = found[:, :, MELODY].astype(float).mean(axis=0) / LEVELS
    assert alike.argmax() == pytest.approx(REACH, abs=1)
    assert alike[REACH] > 0.8 and abs(np.delete(alike, slice(REACH - 2, REACH + 3)).mean()) < 0.3


def test_another_melody_over_the_same_chords_does_not_follow_the_path():
    one, other = tonal.Song(1), tonal.Song(2)
    query, strange = one.frames(key=3, seed=1), one.frames(seed=2)
    strange[:, 24:36] = other.frames(seed=2)[: len(strange), 24:36]  # the melody
    found = band_of(query, strange).astype(float).mean(axis=0) / LEVELS
    assert found[REACH, 0] > 0.8 and found[REACH, MELODY] < 0.4


def test_cells_beyond_the_reference_are_zero():
    song = tonal.Song(3)
    found = band_of(song.frames(seed=1)[:100], song.frames(seed=2)[:60])
    assert not found[-10:, REACH + 12 :].any()


def test_the_middle_follows_the_smoothed_path_and_its_jumps():
    steps = np.arange(30)
    crooked = np.stack([steps, steps + steps % 2], axis=1)  # alternates around the diagonal
    assert np.abs(middle(crooked, 40) - np.arange(40) - 0.5).max() < 0.7
    again = np.concatenate([np.stack([steps, steps + 100], axis=1), np.stack([steps + 40, steps + 10], axis=1)])
    found = middle(again, 80)
    assert found[[0, 29, 30, 34]] == pytest.approx([100, 129, 130, 134])  # the first piece continues until halfway
    assert found[[36, 40, 69, 79]] == pytest.approx([6, 10, 39, 49])
    assert middle(np.array([[5, 50]]), 10) == pytest.approx(np.arange(10) + 45)


def test_the_best_candidates_are_verified_by_the_network():
    songs = {seed: tonal.Song(seed) for seed in range(8)}
    references = {seed: song.rendition(seed=seed) for seed, song in songs.items()}
    shown = []

    def verify(bands):
        shown.append(bands)
        return bands[:, :, REACH, 0].mean(axis=1) / LEVELS

    query = songs[3].rendition(key=2, seed=50)
    found = list(search.compare(query, references, Cohort.none(), search.Networks(verify=verify)))
    assert found[0].recording_id == 3
    (bands,) = shown
    assert 1 <= len(bands) <= search.PARAMETERS.max_verified and bands.shape[1:] == (
        len(query.evidence) // 2,
        WIDTH,
        PLANES,
    )
    assert found[0].features["verified"] == max(candidate.features["verified"] for candidate in found) > 0.5
    assert {candidate.features["verified"] for candidate in found[search.PARAMETERS.max_verified :]} == {0.0}
    without = list(search.compare(query, references, Cohort.none()))
    assert {candidate.features["verified"] for candidate in without} == {0.0}
