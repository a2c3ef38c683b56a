"""Motifs of songs, kept at hand."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from songprint.encoders import load_encoder
from songprint.motifs import Motifs
from songprint.tonal_rows import MOTIFS


class Find:
    """Stands for the network, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        self.asked += 1
        rows = frames[::2, :12].astype(np.float32)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-3) * np.sqrt(MOTIFS)
        return np.repeat(rows[:, None], MOTIFS, axis=1)


def songs(count: int, random: np.random.Generator) -> list[np.ndarray]:
    return list(random.integers(0, 255, (count, 100, 48), dtype=np.uint8))


def test_a_song_asked_for_again_is_not_looked_at_again_and_the_same_is_told(random):
    find = Find()
    motifs, song = Motifs(find), songs(1, random)[0]
    first, again = motifs(song), motifs(np.asfortranarray(song))
    assert find.asked == 1 and first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, find(song), atol=0.5 / 127 + 1e-6)


def test_a_song_that_differs_in_one_note_is_another(random):
    find = Find()
    motifs, song = Motifs(find), songs(1, random)[0]
    motifs(song)
    song[50, 3] ^= 1
    motifs(song)
    assert find.asked == 2


def test_what_was_asked_for_longest_ago_makes_room(random):
    find = Find()
    a, b, c = songs(3, random)
    motifs = Motifs(find, room=2 * 50 * MOTIFS * 12)
    for song in (a, b, a, c):
        motifs(song)
    assert find.asked == 3
    motifs(a)
    assert find.asked == 3
    motifs(b)
    assert find.asked == 4


def test_without_room_nothing_is_kept_and_all_is_told(random):
    find = Find()
    motifs, song = Motifs(find, room=10), songs(1, random)[0]
    np.testing.assert_array_equal(motifs(song), motifs(song))
    assert find.asked == 2


def test_threads_that_ask_for_the_same_are_told_the_same(random):
    motifs, those = Motifs(Find(), room=4 * 50 * MOTIFS * 12), songs(6, random)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(motifs, those * 20))
    for number, one in enumerate(found):
        np.testing.assert_array_equal(one, found[number % len(those)])


@pytest.mark.parametrize("seconds", [10, 62])
def test_the_network_that_ships_tells_rows_of_unit_length(random, seconds):
    found = load_encoder("cover").networks.motifs(random.integers(0, 255, (5 * seconds, 48), dtype=np.uint8))
    assert found.shape == (5 * seconds // 2, MOTIFS, 12)
    np.testing.assert_allclose(np.linalg.norm(found.reshape(len(found), -1), axis=1), 1, atol=0.05)
