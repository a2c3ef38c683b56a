"""In which key two renditions are alike."""

import numpy as np
import pytest
import tonal

from songprint import tonal_keys
from songprint.tonal_keys import likely_keys
from songprint.tonal_rows import Rendition


def pair(seed, key, start=60, count=100):
    """Twenty seconds of a song, played higher, and the whole of it."""
    song = tonal.Song(seed)
    return (Rendition.of(song.frames(key=key, tempo=1.1, noise=0.3, seed=seed)[start:start + count]),
            Rendition.of(song.frames(noise=0.3, seed=seed + 50)))


@pytest.mark.parametrize("count", [50, 100, 200])
def test_the_key_is_the_likeliest(count):
    right = [likely_keys(query, [reference])[0, 0] == seed % 12 for seed in range(24)
             for query, reference in [pair(seed, seed % 12, count=count)]]
    assert np.mean(right) > 0.9


def test_all_keys_are_ranked_beside_others():
    query, reference = pair(3, 5)
    others = [pair(seed, 0)[1] for seed in range(40, 46)]
    ranked = likely_keys(query, [*others, reference])
    assert ranked.shape == (7, 12)
    assert (np.sort(ranked, axis=1) == np.arange(12)).all()
    assert ranked[-1].tolist() == likely_keys(query, [reference])[0].tolist()


def test_portions_make_no_difference(monkeypatch):
    query, reference = pair(3, 5)
    references = [reference, *(pair(seed, 0)[1] for seed in range(40, 46))]
    together = likely_keys(query, references)
    monkeypatch.setattr(tonal_keys, "CELLS", 1)
    assert (likely_keys(query, references) == together).all()


def test_what_is_the_same_in_every_key_is_no_trouble():
    query, reference = pair(3, 5)
    even = Rendition.of(np.full((300, 48), 255, np.uint8))
    assert (np.sort(likely_keys(query, [even, reference]), axis=1) == np.arange(12)).all()
    assert (np.sort(likely_keys(even, [reference]), axis=1) == np.arange(12)).all()


def test_the_order_of_what_sounds_tells_the_key():
    """Two chords that alternate in the query do so in the right key alone; in another both sound, but apart."""
    def frames(*roots):
        made = np.zeros((len(roots) * 10, 48), np.uint8)
        for place, root in enumerate(roots):
            made[place * 10:place * 10 + 10, [(root + step) % 12 for step in (0, 4, 7)]] = 255
        return made

    query = Rendition.of(frames(*[0, 5, 9, 2] * 4))
    turned = frames(*[2, 9, 5, 0] * 4)                                      # the same chords, the other way round
    higher = frames(*[3, 8, 0, 5] * 4)                                      # three semitones higher
    reference = Rendition.of(np.concatenate([turned, higher]))
    assert likely_keys(query, [reference])[0, 0] == 9                       # raising it by nine lowers it by three
