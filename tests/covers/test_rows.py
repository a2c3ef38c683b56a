"""Renditions: rows of pitch classes, and motifs."""

import numpy as np
import pytest
from support import tonal

from songprint.covers.align import align
from songprint.covers.rows import CONTEXT, MOTIFS, MOTIFS_WEIGHT, POOLED, STEP, Rendition
from songprint.covers.tonal import PITCH_CLASSES
from songprint.kinds import load_encoder


def codes(random: np.random.Generator, count: int) -> np.ndarray:
    """(count, MOTIFS, 12) float32 unit rows."""
    rows = random.standard_normal((count, MOTIFS, 12)).astype(np.float32)
    return rows / np.linalg.norm(rows.reshape(count, -1), axis=1)[:, None, None]


def test_motifs_are_further_planes_of_a_rendition(random):
    frames = tonal.Song(1).frames()[:101]  # the network gets an even number of frames
    calls, found = [], codes(random, 50)
    rendition = Rendition.of(frames, lambda shown: calls.append(shown) or found)
    plain = Rendition.of(frames)
    assert rendition.coarse_moments(2).shape[0] and not calls  # coarse pictures need no motifs
    assert rendition.planes.shape == (50, 4 + MOTIFS, 12)
    np.testing.assert_array_equal(calls, [frames[:100]])
    np.testing.assert_array_equal(rendition.rows, plain.rows)
    alike = rendition.motifs(0) @ rendition.motifs(0).T
    np.testing.assert_allclose(np.diag(alike), MOTIFS_WEIGHT, rtol=1e-5)
    np.testing.assert_allclose(rendition.flat @ rendition.flat.T, plain.flat @ plain.flat.T + alike, atol=1e-4)
    np.testing.assert_allclose(
        rendition.motifs(3).reshape(50, MOTIFS, 12), np.roll(rendition.motifs(0).reshape(50, MOTIFS, 12), 3, axis=2)
    )
    assert plain.motifs(0).shape == (50, 0)
    assert Rendition.of(np.zeros((100, 48), np.uint8), lambda shown: pytest.fail("nothing sounds")) is None


def test_motifs_separate_positions_with_equal_chords(random):
    part = tonal.Song(2).frames(parts="A", noise=0)
    twice, count = np.concatenate([part, part]), len(part) // 2
    first, second = codes(random, count), codes(random, count)
    reference = Rendition.of(twice, lambda _: np.concatenate([first, second]))
    for own, begins in ((first, 0), (second, count)):
        [alignment] = align(Rendition.of(part, lambda _, own=own: own), [reference])
        (section,) = alignment.sections
        assert section.reference.start == pytest.approx(begins * STEP, abs=CONTEXT * STEP)


@pytest.mark.parametrize("seconds", [10, 62])
def test_motifs_have_unit_length(random, seconds):
    motifs, frames = load_encoder("cover").networks.motifs, random.integers(0, 255, (5 * seconds, 48), dtype=np.uint8)
    found = motifs(frames)
    assert (found.shape, found.dtype) == ((5 * seconds // POOLED, MOTIFS, PITCH_CLASSES), np.float32)
    np.testing.assert_allclose(np.linalg.norm(found.reshape(len(found), -1), axis=1), 1, atol=0.05)
    np.testing.assert_array_equal(found, motifs(frames))  # the second call is cached
