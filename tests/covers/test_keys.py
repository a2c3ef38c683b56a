"""Ranking of keys, and coarse scores."""

import numpy as np
import pytest
from support import tonal

from songprint.covers import keys as tonal_keys
from songprint.covers.keys import survey
from songprint.covers.rows import Rendition


def pair(seed, key, start=60, count=100):
    """Twenty seconds of a song in another key, and the whole song."""
    song = tonal.Song(seed)
    return (
        Rendition.of(song.frames(key=key, tempo=1.1, noise=0.3, seed=seed)[start : start + count]),
        Rendition.of(song.frames(noise=0.3, seed=seed + 50)),
    )


@pytest.mark.parametrize("count", [50, 100, 200])
def test_the_correct_key_ranks_first(count):
    right = [
        survey(query, [reference])[0][0, 0] == seed % 12
        for seed in range(24)
        for query, reference in [pair(seed, seed % 12, count=count)]
    ]
    assert np.mean(right) > 0.9


def test_references_are_ranked_independently():
    query, reference = pair(3, 5)
    others = [pair(seed, 0)[1] for seed in range(40, 46)]
    ranked, promise = survey(query, [*others, reference])
    assert ranked.shape == (7, 12)
    assert (np.sort(ranked, axis=1) == np.arange(12)).all()
    alone, alone_promises = survey(query, [reference])
    assert ranked[-1].tolist() == alone[0].tolist()
    assert promise[-1] == pytest.approx(alone_promises[0])


@pytest.mark.parametrize("count", [100, 200])
def test_another_rendition_has_the_highest_coarse_score(count):
    others = [pair(seed, 0)[1] for seed in range(40, 60)]
    first = [
        survey(query, [*others, reference])[1].argmax() == len(others)
        for seed in range(12)
        for query, reference in [pair(seed, seed, count=count)]
    ]
    assert np.mean(first) > 0.9


def test_portions_do_not_change_the_result(monkeypatch):
    query, reference = pair(3, 5)
    references = [reference, *(pair(seed, 0)[1] for seed in range(40, 46))]
    keys, promise = survey(query, references)
    monkeypatch.setattr(tonal_keys, "CELLS", 1)
    apart, promise_apart = survey(query, references)
    assert (apart == keys).all()
    np.testing.assert_allclose(promise_apart, promise, rtol=1e-5)


def test_audio_that_is_equal_in_all_keys_is_accepted():
    query, reference = pair(3, 5)
    even = Rendition.of(np.full((300, 48), 255, np.uint8))
    assert (np.sort(survey(query, [even, reference])[0], axis=1) == np.arange(12)).all()
    assert (np.sort(survey(even, [reference])[0], axis=1) == np.arange(12)).all()


def test_the_order_of_chords_determines_the_key():
    """Two chords alternate in the correct key only; in another key both occur, but apart."""

    def frames(*roots):
        made = np.zeros((len(roots) * 10, 48), np.uint8)
        for place, root in enumerate(roots):
            made[place * 10 : place * 10 + 10, [(root + step) % 12 for step in (0, 4, 7)]] = 255
        return made

    query = Rendition.of(frames(*[0, 5, 9, 2] * 4))
    turned = frames(*[2, 9, 5, 0] * 4)  # the same chords in reverse order
    higher = frames(*[3, 8, 0, 5] * 4)  # three semitones higher
    reference = Rendition.of(np.concatenate([turned, higher]))
    assert survey(query, [reference])[0][0, 0] == 9  # raising it by nine lowers it by three
