"""Clips are what they say: that place, that damage, that speed."""

import numpy as np
import pytest
from support import toy

from lab.data import clips


@pytest.mark.parametrize(
    "condition", ["clean", "speed +4 %", "speed -8 %", "speed +20 %", "tempo +6 %", "tempo -20 %", "pitch +1"]
)
def test_clips_are_cut_where_they_say(condition):
    """A clip of a ramp in level tells its own place."""
    rate = clips.RATE
    ramp = (np.random.default_rng(0).standard_normal(40 * rate) * np.linspace(0.1, 1, 40 * rate)).astype(np.float32)
    around = clips.Surroundings([], [], [])
    clip = clips.cut(ramp, 20.0, 5.0, condition, around, np.random.default_rng(1))
    tempo = clips.SPEEDS.get(condition, (1.0, 1.0))[0]
    assert len(clip) == 5 * rate
    levels = [np.std(part) for part in (clip[:rate], clip[-rate:])]
    at = [(level - 0.1) / 0.9 * 40 for level in levels]
    # resampling takes off the top of white noise: compare the ends of the clip with each other
    assert at[0] / at[1] == pytest.approx((20 + tempo / 2) / (20 + 4.5 * tempo), abs=0.03)


def test_every_condition_of_the_wider_grid_makes_a_clip_with_its_true_speed(tmp_path, random):
    path = toy.write(tmp_path / "music.wav", 0.1 * random.standard_normal(40 * toy.SAMPLE_RATE).astype(np.float32))
    around = clips.Surroundings([], [], [], [0.1 * random.standard_normal(20 * clips.RATE).astype(np.float32)])
    drawn = list(clips.draw([path], 1, around, 8000, seed=1, grid=clips.WIDE))
    assert {(clip.condition, clip.length) for clip in drawn} == set(clips.WIDE)
    for clip in drawn:
        assert len(clip.heard) == clip.length * clips.RATE
        assert len(clip.samples) == pytest.approx(clip.length * 8000, abs=2)
        assert np.abs(clip.heard).max() > 0.001, clip.condition
    assert {clip.condition: clip.speed for clip in drawn}["speed -8 %"] == 0.92


def test_conditions_that_need_recordings_are_left_out_without_them():
    bare = clips.Surroundings([], [], [])
    assert ("two songs 0 dB", 5.0) not in bare.possible(clips.WIDE)
    with pytest.raises(ValueError, match="condition='underwater' is none of clean, "):
        clips.cut(np.ones(40 * clips.RATE, np.float32), 10, 5, "underwater", bare, np.random.default_rng(0))
