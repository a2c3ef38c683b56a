"""Each kind of damage has the stated strength."""

import numpy as np
import pytest

from lab.data import degrade

RATE = 16_000


@pytest.fixture
def music(random):
    """Four seconds of notes."""
    times = np.arange(RATE // 4) / RATE
    return np.concatenate(
        [np.sin(2 * np.pi * f * times) * np.exp(-6 * times) for f in random.uniform(200, 2000, 16)]
    ).astype(np.float32)


def loudest(samples):
    return np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * RATE / len(samples)


@pytest.mark.parametrize("snr", [10, 0, -3])
def test_noise_has_the_requested_ratio(music, random, snr):
    added = degrade.add_noise(music, snr, random) - music
    assert 20 * np.log10(degrade.rms(music) / degrade.rms(added)) == pytest.approx(snr, abs=0.1)


@pytest.mark.parametrize(("tempo", "pitch"), [(1.06, 1.0), (1.0, 1.0595), (1.04, 1.04), (0.98, 0.98)])
def test_tempo_and_pitch_change_independently(tempo, pitch):
    tone = np.sin(2 * np.pi * 500 * np.arange(4 * RATE) / RATE).astype(np.float32)
    changed = degrade.stretch(tone, RATE, tempo, pitch)
    assert len(changed) == pytest.approx(len(tone) / tempo, rel=0.02)
    assert loudest(changed) == pytest.approx(500 * pitch, rel=0.01)


@pytest.mark.parametrize(
    ("codec", "bit_rate", "rate"),
    [
        ("libmp3lame", 32_000, RATE),
        ("libopus", 12_000, RATE),
        ("aac", 32_000, RATE),
        ("libopencore_amrnb", 5_900, 8000),
    ],
)
def test_a_codec_causes_no_delay(music, codec, bit_rate, rate):
    music = music[:: RATE // rate]
    coded = degrade.code(music, rate, codec, bit_rate)
    assert coded.shape == music.shape
    # compare envelopes: a codec may change the phases
    envelopes = [np.convolve(np.abs(x), np.ones(80) / 80, "same") for x in (music, coded)]
    lag = np.correlate(envelopes[1][400:-400], envelopes[0], "valid").argmax() - 400
    assert abs(lag) < 0.01 * rate


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_drop_outs_silence_the_requested_share_in_short_packets(random, share):
    samples = np.ones(60 * RATE, np.float32)
    lost = degrade.drop_out(samples, RATE, share, random) == 0
    assert lost.mean() == pytest.approx(share, rel=0.15)
    edges = np.flatnonzero(np.diff(lost.astype(int)))
    gaps = np.diff(edges)[::2] / RATE  # the first packet is kept, then lost and kept alternate
    assert gaps.min() > 0.019 and gaps.max() < 0.081
    assert samples.all()


def test_a_room_and_a_phone_do_not_change_the_length(music, random):
    assert degrade.room(music, RATE, 0.5, random).shape == music.shape
    called = degrade.phone(music, RATE, random)
    assert called.shape == music.shape
    low = np.abs(np.fft.rfft(degrade.phone(degrade.pink_noise(RATE * 2, random), RATE, random)))
    assert low[:200].mean() < 0.4 * low[1000:4000].mean()  # below 100 Hz and in the band
