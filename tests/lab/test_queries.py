"""Queries have the stated place, damage and speed."""

import itertools

import numpy as np
import pytest
from support import toy

from lab.data import queries


@pytest.mark.parametrize(
    "condition", ["clean", "speed +4%", "speed -8%", "speed +20%", "tempo +6%", "tempo -20%", "pitch +1"]
)
def test_queries_are_cut_at_the_stated_place(condition):
    """The level of a ramp reveals the place."""
    rate = queries.RATE
    ramp = (np.random.default_rng(0).standard_normal(40 * rate) * np.linspace(0.1, 1, 40 * rate)).astype(np.float32)
    using = queries.Disturbances([], [], [])
    query = queries.cut(ramp, 20.0, 5.0, condition, using, np.random.default_rng(1))
    tempo = queries.SPEEDS.get(condition, (1.0, 1.0))[0]
    assert len(query) == 5 * rate
    levels = [np.std(part) for part in (query[:rate], query[-rate:])]
    at = [(level - 0.1) / 0.9 * 40 for level in levels]
    # resampling removes the highest frequencies of white noise, so compare both ends of the query
    assert at[0] / at[1] == pytest.approx((20 + tempo / 2) / (20 + 4.5 * tempo), abs=0.03)


MAIN = tuple(itertools.product(queries.CONDITIONS, queries.LENGTHS))


@pytest.mark.parametrize(
    ("grid", "changed", "speed"), [(MAIN, "speed +4%", 1.04), (queries.WIDE, "speed -8%", 0.92)], ids=["main", "wide"]
)
def test_every_condition_gives_a_query_with_its_true_speed(tmp_path, random, grid, changed, speed):
    path = toy.write(tmp_path / "music.wav", 0.1 * random.standard_normal(40 * toy.SAMPLE_RATE).astype(np.float32))
    sound = 0.1 * random.standard_normal(20 * queries.RATE).astype(np.float32)
    using = queries.Disturbances([], speech=[sound], rooms=[np.array([1.0, 0.1])], others=[sound])
    drawn = list(queries.draw([path], 1, using, 8000, seed=1, grid=grid))
    assert {(query.condition, query.length) for query in drawn} == set(grid)
    for query in drawn:
        assert len(query.audio) == query.length * queries.RATE
        assert len(query.samples) == pytest.approx(query.length * 8000, abs=2)
        assert np.abs(query.audio).max() > 0.001, query.condition
    assert {query.condition: query.speed for query in drawn}[changed] == speed


def test_conditions_that_need_recordings_are_left_out_without_them():
    bare = queries.Disturbances([], [], [])
    assert ("two songs 0 dB", 5.0) not in bare.possible(queries.WIDE)
    with pytest.raises(ValueError, match="condition='underwater' is none of clean, "):
        queries.cut(np.ones(40 * queries.RATE, np.float32), 10, 5, "underwater", bare, np.random.default_rng(0))
