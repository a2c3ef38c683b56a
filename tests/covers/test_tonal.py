"""Spectrogram, tonal frames of a stream, and windows."""

import numpy as np
import pytest

import lab.models.chroma
from songprint.covers import encoder, tonal


def tone(midi: float, seconds: float = 2.0) -> np.ndarray:
    times = np.arange(int(seconds * tonal.SAMPLE_RATE)) / tonal.SAMPLE_RATE
    return np.sin(2 * np.pi * 440 * 2 ** ((midi - 69) / 12) * times).astype(np.float32)


def chroma(planes: np.ndarray) -> np.ndarray:
    """Replaces the network: the second plane, folded to pitch classes, equal in all channels."""
    semitones = planes[:, 1].reshape(1, tonal.SEMITONES, tonal.BINS_A_SEMITONE, -1).max(axis=2)
    padded = np.pad(semitones, ((0, 0), (0, 84 - tonal.SEMITONES), (0, 0)), constant_values=-2)
    classes = padded.reshape(1, 7, 12, -1).max(axis=1).clip(0, 4) / 4  # (1, 12, spectra)
    frames = classes.reshape(1, 12, -1, tonal.SPECTRA_A_FRAME).mean(axis=3)
    return np.tile(frames.transpose(0, 2, 1), (1, 1, tonal.CHANNELS))


@pytest.mark.parametrize("midi", [28, 40, 52, 60, 69, 77, 88, 100])
def test_a_tone_is_loudest_at_its_own_semitone(midi):
    decibels = tonal.spectrogram(tone(midi))
    middle = decibels[len(decibels) // 2]
    assert round((int(middle.argmax()) - 1) / tonal.BINS_A_SEMITONE) + tonal.LOWEST == midi
    assert -3 < middle.max() < 3


@pytest.mark.parametrize("low", [52, 64, 76])
def test_tones_a_semitone_apart_are_resolved(low):
    middle = tonal.spectrogram(tone(low) / 2 + tone(low + 1) / 2)[10]
    bins = (low - tonal.LOWEST) * tonal.BINS_A_SEMITONE + 1
    between = middle[bins + 1 : bins + tonal.BINS_A_SEMITONE].min()
    assert min(middle[bins], middle[bins + 3]) > between


def test_raising_the_key_rotates_the_frames():
    one, other = (
        tonal.frames([tone(midi) + tone(midi + 7)], chroma)[0][3:-3].reshape(-1, tonal.CHANNELS, 12)
        for midi in (57, 58)
    )
    assert np.abs(np.roll(one, 1, axis=2).astype(int) - other).mean() < 5
    assert np.abs(one.astype(int) - other).mean() > 30


def test_the_block_size_of_a_stream_does_not_change_frames(random):
    samples = np.concatenate([tone(random.integers(40, 80), 0.7) for _ in range(300)])  # 210 s
    whole, duration = tonal.frames([samples], chroma)
    blocks, _ = tonal.frames(np.array_split(samples, 97), chroma)
    assert duration == pytest.approx(210)
    assert len(whole) == 210 * tonal.FRAMES_PER_SECOND
    assert np.array_equal(whole, blocks)


def test_portions_give_the_same_frames_as_the_whole(random, monkeypatch):
    samples = np.concatenate([tone(random.integers(40, 80), 0.7) for _ in range(300)])
    parts, _ = tonal.frames([samples], chroma)
    monkeypatch.setattr(tonal, "PORTION", 10_000)
    whole, _ = tonal.frames([samples], chroma)
    assert np.array_equal(parts, whole)


def test_frames_have_sixteen_levels_and_silence_is_zero():
    frames, _ = tonal.frames([np.concatenate([tone(60), np.zeros(3 * tonal.SAMPLE_RATE, np.float32)])], chroma)
    assert not (frames % 17).any()
    assert frames[:8].any(axis=1).all()
    assert not frames[-8:].any()


def test_silence_needs_no_network():
    def network(planes):
        raise AssertionError("the network ran")

    assert not tonal.read(np.full((8, tonal.BINS), -90, np.float32), network).any()


@pytest.mark.parametrize("seconds", [0, 0.1])
def test_short_audio_gives_no_frames(seconds):
    frames, duration = tonal.frames([np.zeros(int(seconds * 8000), np.float32)], chroma)
    assert frames.shape == (0, tonal.COLUMNS)
    assert duration == pytest.approx(seconds)


def test_chroma_detects_the_pitch_class_of_a_tone():
    planes = tonal.normalise(tonal.spectrogram(tone(69)))[None]
    frames = lab.models.chroma.activations(planes)
    assert frames.shape == (1, 10, tonal.COLUMNS)
    assert (frames[0, 2:-2].argmax(axis=1) == 9).all()  # A


def test_windows_cover_the_end_and_short_frames_fill_one():
    frames = np.arange(233, dtype=np.uint8)[:, None]  # 46.6 s
    windows = encoder.cut(frames, 20.0, 5.0)[:, :, 0]
    assert [window[0] for window in windows] == [0, 25, 50, 75, 100, 125, 133]
    assert windows[-1, -1] == 232
    assert encoder.cut(frames[:60], 20.0, 5.0).shape == (1, 100, 1)
    assert len(encoder.cut(frames[:20], 20.0, 5.0)) == 0
