"""How two renditions correspond is told at any tempo."""

import pytest
from support import tonal

from songprint.covers.explain import Explanation


def explained(tempo):
    song = tonal.Song(4)
    return Explanation.of(
        "fast", song.frames(tempo=1.2 * tempo, key=3, parts="ABC"), "slow", song.frames(tempo=1.2, seed=1, parts="ABC")
    )


@pytest.mark.parametrize("tempo", [0.4, 1.0, 2.4])
def test_renditions_correspond_at_less_than_half_and_more_than_twice_the_tempo(tempo):
    told = explained(tempo)
    assert told.alignment.key_shift == 3
    assert told.alignment.tempo == pytest.approx(tempo, rel=0.05)
    [path] = told.paths()
    seconds, reference = path.T
    assert abs(reference - seconds * tempo).max() < 3
    assert seconds[-1] <= len(told.query_rendition.rows) * 0.4
