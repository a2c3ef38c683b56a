"""The front end of the fingerprint encoder."""

import numpy as np
import pytest

from songprint.fingerprint import logmel

RATE = logmel.SAMPLE_RATE


def tone(frequency, seconds, level=0.5):
    return (level * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def whole_window(samples):
    return logmel.windows(logmel.spectrogram(samples), hop_frames=16)


def test_a_full_scale_tone_has_0_decibels():
    # 1,000 Hz lies on a bin; its mel filter may attenuate it a little
    assert logmel.spectrogram(tone(1000, 1.2, level=1.0)).max() == pytest.approx(0, abs=1.5)


def test_a_higher_tone_lies_in_a_higher_band():
    bands = [logmel.spectrogram(tone(frequency, 1.2)).mean(axis=0).argmax() for frequency in (300, 600, 1200, 2400)]
    assert bands == sorted(set(bands))


def test_windows_overlap_on_the_frame_grid(random):
    samples = random.standard_normal(RATE * 4).astype(np.float32)
    together = whole_window(samples)
    alone = whole_window(samples[RATE // 2 : RATE // 2 + logmel.WINDOW_SAMPLES])
    np.testing.assert_allclose(together[1], alone[0], atol=1e-3)


def test_too_few_samples_give_no_window():
    assert whole_window(tone(440, 1.0)[: logmel.WINDOW_SAMPLES - 1]).shape == (0, 128, 32)
    assert whole_window(tone(440, 2.0)[: logmel.WINDOW_SAMPLES]).shape == (1, 128, 32)


def test_the_level_does_not_matter(random):
    samples = random.standard_normal(2 * RATE).astype(np.float32)
    loud, soft = (logmel.normalise(whole_window(samples * gain)) for gain in (1.0, 0.01))
    np.testing.assert_allclose(loud, soft, atol=1e-3)
    assert loud.max() == pytest.approx(1)
    assert loud.min() >= -1


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(2 * RATE, np.float32),
        tone(440, 2),
        tone(440, 2) + tone(554, 2),
        tone(440, 2) * np.linspace(0, 1, 2 * RATE, dtype=np.float32),
        1e-6 * tone(440, 2),
    ],
    ids=["silence", "tone", "two tones", "fading tone", "almost silence"],
)
def test_silence_and_held_tones_have_no_content(samples):
    assert not logmel.has_content(whole_window(samples)).any()


def test_notes_and_noise_have_content(random):
    notes = np.concatenate([tone(frequency, 0.25) for frequency in (300, 400, 500, 600, 450, 350, 700, 800)])
    assert logmel.has_content(whole_window(notes)).all()
    assert logmel.has_content(whole_window(0.1 * random.standard_normal(2 * RATE).astype(np.float32))).all()


def test_the_output_of_the_front_end_is_frozen():
    """A change here makes all libraries incompatible: revert it, or retrain and rename the encoder."""
    times = np.arange(int(1.2 * RATE)) / RATE
    sweep = sum(np.sin(2 * np.pi * (220 * n + 300 * times) * times) / n for n in range(1, 9))
    window = logmel.normalise(whole_window(sweep.astype(np.float32)))[0]
    seen = [window[10, 4], window[20, 16], window[60, 31], window[100, 8], window.mean()]
    np.testing.assert_allclose(seen, [0.48687, -0.82293, 0.00175, -1.0, -0.42096], atol=1e-4)


def test_decibels_equal_those_of_the_direct_formula(random):
    samples = random.standard_normal((2, 3 * RATE)).astype(np.float32) * np.float32(0.1)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(float), 1024, axis=-1)[:, ::250]
    window = np.hanning(1025)[:-1]
    power = np.abs(np.fft.rfft(frames * window * 2 / window.sum())) ** 2
    expected = 10 * np.log10(power @ logmel.mel_matrix() + 1e-12)
    np.testing.assert_allclose(logmel.spectrogram(samples), expected, atol=1e-3)
