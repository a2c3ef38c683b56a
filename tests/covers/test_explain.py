"""Explanations of covers."""

import pytest
from support import tonal

from songprint.covers.explain import Explanation


def explained(tempo):
    song = tonal.Song(4)
    return Explanation.of(
        "fast", song.frames(tempo=1.2 * tempo, key=3, parts="ABC"), "slow", song.frames(tempo=1.2, seed=1, parts="ABC")
    )


@pytest.mark.parametrize("tempo", [0.4, 1.0, 2.4])
def test_renditions_are_aligned_beyond_half_and_twice_the_tempo(tempo):
    explanation = explained(tempo)
    assert explanation.alignment.key_shift == 3
    assert explanation.alignment.tempo == pytest.approx(tempo, rel=0.05)
    [path] = explanation.paths()
    seconds, reference = path.T
    assert abs(reference - seconds * tempo).max() < 3
    assert seconds[-1] <= len(explanation.query_rendition.rows) * 0.4
