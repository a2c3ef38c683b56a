"""Distractors have the statistics of their sources."""

from __future__ import annotations

import numpy as np
import pytest

from lab.data import distractors
from songprint.covers import tonal
from songprint.types import Embeddings, Kind


@pytest.fixture
def sources(random):
    """Twelve sources whose rows change slowly, with one common direction."""

    def rows(count, dim):
        steps = random.standard_normal((count, dim)) * np.linspace(1, 0.2, dim)
        for row in range(1, count):
            steps[row] = 0.8 * steps[row - 1] + 0.6 * steps[row]
        steps[:, 0] += 1
        return (steps / np.linalg.norm(steps, axis=1, keepdims=True)).astype(np.float32)

    def source():
        landmarks = random.integers(1, 256, (2400, 2), np.uint8) * (random.random((2400, 2)) < 0.6)
        frames = random.integers(0, 16, (375, tonal.COLUMNS), np.uint8) * np.uint8(17)
        return {
            Kind.RECORDING: Embeddings(rows(150, 12), 0.5, "toy", landmarks.astype(np.uint8)),
            Kind.COVER: Embeddings(rows(15, 20), 5.0, "toy cover", frames),
        }

    return [source() for _ in range(12)]


def test_embeddings_resemble_those_of_the_sources(sources, random):
    maker = distractors.Distractors(sources[:8], duration=75.0)
    asked = np.concatenate([each[Kind.RECORDING].vectors for each in sources[8:]])
    real = distractors.likeness([each[Kind.RECORDING].vectors for each in sources[:8]], asked, 1200)
    made = [maker.embeddings(number)[Kind.RECORDING].vectors for number in range(8)]
    found = distractors.likeness(made, asked, 1200)
    assert found.best == pytest.approx(real.best, abs=0.03)
    assert found.next_row == pytest.approx(real.next_row, abs=0.06)
    assert found.mean == pytest.approx(real.mean, abs=0.06)
    assert np.abs(found.spread - real.spread).sum() < 0.2 * real.spread.sum()
    np.testing.assert_allclose(np.linalg.norm(made[0], axis=1), 1, atol=1e-4)


def test_evidence_has_the_density_of_the_source_and_the_wanted_duration(sources):
    made = distractors.Distractors(sources, duration=100.0).embeddings(5)
    assert len(made[Kind.RECORDING]) == 200 and len(made[Kind.COVER]) == 20
    landmarks, frames = made[Kind.RECORDING].evidence, made[Kind.COVER].evidence
    assert len(landmarks) == 3200 and 0.55 < (landmarks > 0).mean() < 0.65
    assert frames.shape == (500, tonal.COLUMNS) and (frames % 17 == 0).all()


def test_the_same_number_gives_the_same_distractor_and_others_differ(sources):
    maker, again = distractors.Distractors(sources), distractors.Distractors(sources)
    first, same, other = maker.embeddings(3), again.embeddings(3), maker.embeddings(4)
    np.testing.assert_array_equal(first[Kind.RECORDING].vectors, same[Kind.RECORDING].vectors)
    assert not np.allclose(first[Kind.RECORDING].vectors, other[Kind.RECORDING].vectors)
    assert maker.tags(3) == again.tags(3) != maker.tags(4)
