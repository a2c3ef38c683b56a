"""Packing embeddings loses nothing that matters and saves space."""

from __future__ import annotations

import numpy as np
import pytest
from support.recordings import unit_vectors

from songprint.store.packing import StoredRows, pack_evidence, quantise, restore, unpack_evidence
from songprint.types import Kind


def test_quantised_vectors_keep_unit_length_and_zero_rows(random):
    vectors = unit_vectors(random, 100, 128)
    vectors[7] = 0
    kept = restore(quantise(vectors))
    assert not kept[7].any()
    assert np.allclose(np.linalg.norm(np.delete(kept, 7, 0), axis=1), 1, atol=1e-6)
    assert np.std(kept @ kept.T - vectors @ vectors.T) < 0.005


def test_stored_rows_are_restored_when_they_are_read(random):
    quantised = quantise(unit_vectors(random, 20, 16))
    stored = StoredRows(quantised)
    assert (len(stored), stored.shape) == (20, (20, 16))
    np.testing.assert_array_equal(stored[3:5], restore(quantised)[3:5])
    np.testing.assert_array_equal(np.asarray(stored), restore(quantised))


@pytest.mark.parametrize(("kind", "columns"), [(Kind.RECORDING, 2), (Kind.COVER, 36), (Kind.COVER, 48)])
@pytest.mark.parametrize("frames", [0, 1, 2, 301])
def test_unpacking_reverses_packing(kind, columns, frames, random):
    evidence = (17 * random.integers(0, 16, (frames, columns))).astype(np.uint8)
    np.testing.assert_array_equal(unpack_evidence(kind, pack_evidence(kind, evidence)), evidence)


def test_the_size_of_tonal_frames_depends_on_their_changes(random):
    """With three new notes every second, an hour takes less than 60 kB instead of 650 kB."""
    frames = np.zeros((5 * 3600, 36), np.uint8)
    for second in range(3600):
        frames[5 * second : 5 * second + 5, random.integers(0, 36, 3)] = 17 * random.integers(5, 16, 3)
    assert len(pack_evidence(Kind.COVER, frames)) < 60_000
    assert pack_evidence(Kind.COVER, np.uint8([[8] * 36])) == pack_evidence(Kind.COVER, np.uint8([[0] * 36]))


def test_damaged_evidence_is_rejected():
    for damaged in (b"nonsense", pack_evidence(Kind.COVER, np.zeros((30, 36), np.uint8))[:-3]):
        with pytest.raises(ValueError):
            unpack_evidence(Kind.COVER, damaged)
