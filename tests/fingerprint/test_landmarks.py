"""The second witness: peaks of a spectrum, and how they lie on a clip."""

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


def test_codes_are_frequencies_to_one_step():
    hertz = np.geomspace(landmarks.LOWEST, landmarks.HIGHEST, 1000)
    back = landmarks.to_hertz(landmarks.from_hertz(hertz))
    assert np.abs(back / hertz - 1).max() < 0.02  # coarsest at the lower end,
    assert np.abs(back - hertz).max() < 15  # and at the upper one: half a step
    assert landmarks.from_hertz(np.array([1.0, 4000.0])).tolist() == [1, 255]


def test_notes_are_peaks():
    """Two notes, half a second each: nearly every peak is one of them or lies where they change."""
    times = np.arange(RATE) / RATE
    samples = np.where(times < 0.5, np.sin(2 * np.pi * 523 * times), np.sin(2 * np.pi * 1175 * times))
    found = peaks((0.3 * samples * np.hanning(RATE)).astype(np.float32))
    hertz = landmarks.to_hertz(found[found > 0])
    assert found.any()
    assert np.mean((np.abs(hertz - 523) < 15) | (np.abs(hertz - 1175) < 25)) > 0.6


def test_silence_and_nothing_have_no_peaks():
    assert not peaks(np.zeros(RATE, np.float32)).any()
    assert peaks(np.zeros(100, np.float32)).shape == (0, landmarks.SLOTS)


def test_portions_give_the_landmarks_of_the_whole(music):
    power = logmel.power(music)
    collector = landmarks.Collector()
    for start in range(0, len(power), 37):
        collector.add(power[start : start + 37])
    found, whole = collector.landmarks(), peaks(music)
    assert found.shape == whole.shape
    assert (found == whole).mean() > 0.999  # but for sums that were rounded otherwise


def test_no_half_second_has_more_peaks_than_are_kept(music):
    found = peaks(music)
    blocks = found[: len(found) // 16 * 16].reshape(-1, 16 * landmarks.SLOTS)
    assert (blocks > 0).sum(axis=1).max() <= landmarks.PER_BLOCK


CHANGES = [(1.0, 1.0), (1.04, 1.04), (0.92, 0.92), (1.06, 1.0), (1.0, 2 ** (1 / 12)), (1.0, 2 ** (-2 / 12))]


@pytest.mark.parametrize(("tempo", "pitch"), CHANGES)
def test_speed_pitch_and_place_are_found(music, random, tempo, pitch):
    start, before = 7.3, 1.0
    cut = music[int((start - before * tempo) * RATE) : int((start + 12 * tempo) * RATE)]
    clip = degrade.stretch(cut, RATE, tempo, pitch)[int(before * RATE) : int((before + 8) * RATE)]
    scene = landmarks.LandmarkVerifier(degrade.add_noise(clip, 5, random))
    # what the embeddings suggest is a little off
    found = scene.verify(peaks(music), 1 + 0.9 * (tempo - 1), start + 0.1)
    assert found.reliable
    assert found.is_simple
    assert found.speed == pytest.approx(tempo, abs=0.005)
    assert found.pitch == pytest.approx(pitch, abs=0.005)
    assert found.offset == pytest.approx(start, abs=0.06)
    if (tempo, pitch) == (1.0, 1.0):
        assert found.unchanged == pytest.approx(found.contrast, rel=0.15)
    elif pitch != 1.0:
        assert found.unchanged < 0.7 * found.contrast


def test_other_music_is_told_from_it(music, other, random):
    """Both witnesses would have to be deceived: chance fits stay far below true ones."""
    right = landmarks.LandmarkVerifier(degrade.add_noise(music[5 * RATE : 10 * RATE], 5, random)).verify(
        peaks(music), 1.0, 5.0
    )
    wrong = landmarks.LandmarkVerifier(degrade.add_noise(other[5 * RATE : 10 * RATE], 5, random)).verify(
        peaks(music), 1.0, 5.0
    )
    assert right.prominence > wrong.prominence + 0.1
    assert right.excess > wrong.excess + 0.1
    assert right.contrast > wrong.contrast


def test_a_witness_of_nothing_says_nothing(music):
    scene = landmarks.LandmarkVerifier(music[: 3 * RATE])
    silent = scene.verify(landmarks.NONE, 1.02, 4.0)
    assert (silent.prominence, silent.excess, silent.contrast, silent.unchanged) == (0, 0, 0, 0)
    assert (silent.speed, silent.offset) == (1.02, 4.0)
    assert not silent.reliable
    assert scene.verify(peaks(music), 1.0, 1e4).prominence == 0  # beyond the end
    assert landmarks.LandmarkVerifier(np.zeros(50, np.float32)).verify(peaks(music), 1.0, 0.0).prominence == 0


def test_a_testimony_moves_with_the_beginning_of_the_clip():
    assert landmarks.Verification(speed=1.1, offset=20.0).shifted(10.0).offset == pytest.approx(9.0)
