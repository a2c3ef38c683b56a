"""Presence needs evidence, second by second: what resembles every recording, or nothing, extends no track."""

from __future__ import annotations

import numpy as np
import pytest

from songprint.fingerprint import presence
from songprint.fingerprint.tracks import HOP, Hit, Track, TrackSupport, excess_chance, measure_support
from songprint.types import Embeddings

DIM = 40
SECONDS = 60  # around the song
SONG = 30  # seconds of the recording that are played, from 40 s on


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def common(random) -> np.ndarray:
    """A direction that all rows of the recording share a little, as broadband noise does with music."""
    return unit(random.normal(size=DIM))


@pytest.fixture
def recording(random, common) -> Embeddings:
    """Two minutes with a row every quarter of a second."""
    rows = unit(0.5 * common + unit(random.normal(size=(480, DIM))))
    return Embeddings(rows, 0.25, "toy")


def supported(recording: Embeddings, around: np.ndarray) -> TrackSupport:
    """The support of a track that was found in the song alone: it lies between `around` vectors on both sides."""
    played = recording.vectors[round(40 / 0.25) : round((40 + SONG) / 0.25)]
    programme = np.concatenate([around, played, around])
    start, end = float(SECONDS), float(SECONDS + SONG)
    hit = Hit(1, start, end, 40 + SONG / 2, 1.0, 0.0, 0.9, 8.0)
    return measure_support(Track((hit,)), programme, 0, HOP, recording, 60.0)


def found(support: TrackSupport) -> list[tuple[float, float]]:
    return [(each.first * HOP, each.last * HOP) for each in presence.find_presences([support])]


def test_sound_that_resembles_every_part_of_a_recording_does_not_extend_it(recording, common, random):
    noise = unit(common + 0.1 * unit(random.normal(size=(round(SECONDS / HOP), DIM))))
    assert (noise @ recording.vectors.T).mean() > 0.35, "more than a track needs"
    [(start, end)] = found(supported(recording, noise))
    assert start == pytest.approx(SECONDS, abs=1.0)
    assert end == pytest.approx(SECONDS + SONG, abs=1.0)


def test_silence_does_not_extend_a_recording(recording):
    [(start, end)] = found(supported(recording, np.zeros((round(SECONDS / HOP), DIM), np.float32)))
    assert start == pytest.approx(SECONDS, abs=1.0)
    assert end == pytest.approx(SECONDS + SONG, abs=1.0)


def test_the_cosines_of_the_recording_itself_are_not_attributed_to_chance(recording):
    assert excess_chance(recording.vectors, recording).mean() < 0.3
    assert excess_chance(recording.vectors[:0], recording).shape == (0,)
    silent = Embeddings(np.zeros_like(recording.vectors), 0.25, "toy")
    assert not excess_chance(recording.vectors, silent).any()
