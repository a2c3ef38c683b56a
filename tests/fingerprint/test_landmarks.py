"""Landmarks: extraction from spectra, and verification of alignments."""

import numpy as np
import pytest

from lab.data import degrade, synth
from lab.data.tunes import invent
from songprint.audio.samples import at_rate
from songprint.fingerprint import landmarks, logmel

RATE = logmel.SAMPLE_RATE


@pytest.fixture(scope="module")
def music():
    return at_rate(synth.render(invent(5)), synth.SAMPLE_RATE, RATE)


@pytest.fixture(scope="module")
def other():
    return at_rate(synth.render(invent(6)), synth.SAMPLE_RATE, RATE)


def peaks(samples):
    return landmarks.of_power(logmel.power(samples))


def test_codes_round_frequencies_to_one_step():
    hertz = np.geomspace(landmarks.LOWEST, landmarks.HIGHEST, 1000)
    back = landmarks.to_hertz(landmarks.from_hertz(hertz))
    assert np.abs(back / hertz - 1).max() < 0.02  # relative error, largest at the lower end
    assert np.abs(back - hertz).max() < 15  # absolute error, largest at the upper end: half a step
    assert landmarks.from_hertz(np.array([1.0, 4000.0])).tolist() == [1, 255]


def test_notes_are_peaks():
    """Two notes of half a second: nearly all peaks are at their frequencies, or where they change."""
    times = np.arange(RATE) / RATE
    samples = np.where(times < 0.5, np.sin(2 * np.pi * 523 * times), np.sin(2 * np.pi * 1175 * times))
    found = peaks((0.3 * samples * np.hanning(RATE)).astype(np.float32))
    hertz = landmarks.to_hertz(found[found > 0])
    assert found.any()
    assert np.mean((np.abs(hertz - 523) < 15) | (np.abs(hertz - 1175) < 25)) > 0.6


def test_silence_and_empty_audio_have_no_peaks():
    assert not peaks(np.zeros(RATE, np.float32)).any()
    assert peaks(np.zeros(100, np.float32)).shape == (0, landmarks.SLOTS)


def test_portions_give_the_same_landmarks_as_the_whole(music):
    power = logmel.power(music)
    collector = landmarks.Collector()
    for start in range(0, len(power), 37):
        collector.add(power[start : start + 37])
    found, whole = collector.landmarks(), peaks(music)
    assert found.shape == whole.shape
    assert (found == whole).mean() > 0.999  # except for rounding of sums


def test_each_half_second_keeps_a_limited_number_of_peaks(music):
    found = peaks(music)
    blocks = found[: len(found) // 16 * 16].reshape(-1, 16 * landmarks.SLOTS)
    assert (blocks > 0).sum(axis=1).max() <= landmarks.PER_BLOCK


CHANGES = [(1.0, 1.0), (1.04, 1.04), (0.92, 0.92), (1.06, 1.0), (1.0, 2 ** (1 / 12)), (1.0, 2 ** (-2 / 12))]


@pytest.mark.parametrize(("tempo", "pitch"), CHANGES)
def test_speed_pitch_and_position_are_found(music, random, tempo, pitch):
    start, before = 7.3, 1.0
    cut = music[int((start - before * tempo) * RATE) : int((start + 12 * tempo) * RATE)]
    query = degrade.stretch(cut, RATE, tempo, pitch)[int(before * RATE) : int((before + 8) * RATE)]
    verifier = landmarks.LandmarkVerifier(degrade.add_noise(query, 5, random))
    # embeddings suggest a slightly different line
    found = verifier.verify(peaks(music), 1 + 0.9 * (tempo - 1), start + 0.1)
    assert found.reliable
    assert found.is_simple
    assert found.speed == pytest.approx(tempo, abs=0.005)
    assert found.pitch == pytest.approx(pitch, abs=0.005)
    assert found.offset == pytest.approx(start, abs=0.06)
    if (tempo, pitch) == (1.0, 1.0):
        assert found.unchanged == pytest.approx(found.contrast, rel=0.15)
    elif pitch != 1.0:
        assert found.unchanged < 0.7 * found.contrast


def test_verification_separates_other_music(music, other, random):
    """Chance fits stay far below true ones."""
    right = landmarks.LandmarkVerifier(degrade.add_noise(music[5 * RATE : 10 * RATE], 5, random)).verify(
        peaks(music), 1.0, 5.0
    )
    wrong = landmarks.LandmarkVerifier(degrade.add_noise(other[5 * RATE : 10 * RATE], 5, random)).verify(
        peaks(music), 1.0, 5.0
    )
    assert right.prominence > wrong.prominence + 0.1
    assert right.excess > wrong.excess + 0.1
    assert right.contrast > wrong.contrast


def test_too_few_peaks_give_no_evidence(music):
    verifier = landmarks.LandmarkVerifier(music[: 3 * RATE])
    empty = verifier.verify(landmarks.NONE, 1.02, 4.0)
    assert (empty.prominence, empty.excess, empty.contrast, empty.unchanged) == (0, 0, 0, 0)
    assert (empty.speed, empty.offset) == (1.02, 4.0)
    assert not empty.reliable
    assert verifier.verify(peaks(music), 1.0, 1e4).prominence == 0  # beyond the end
    assert landmarks.LandmarkVerifier(np.zeros(50, np.float32)).verify(peaks(music), 1.0, 0.0).prominence == 0


def test_a_verification_can_be_shifted():
    assert landmarks.Verification(speed=1.1, offset=20.0).shifted(10.0).offset == pytest.approx(9.0)
