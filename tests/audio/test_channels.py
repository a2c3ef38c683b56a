"""Channels that the mono mix does not contain."""

import numpy as np
import pytest
from support import soundfiles

from songprint.audio import channels, files
from songprint.audio.channels import ChannelMeter, Part

RATE = 8000
SECONDS = 21


def noise(seed, level=0.1, seconds=SECONDS, rate=16000):
    return np.random.default_rng(seed).normal(0, level, seconds * rate).astype(np.float32)


def measured(path, **options):
    meter = ChannelMeter()
    mix = np.concatenate(list(files.blocks(path, RATE, meter=meter, **options)))
    return mix, meter.lost()


def write(tmp_path, *channels, suffix=".wav"):
    return soundfiles.write(tmp_path / f"sound{suffix}", np.stack(channels), 16000)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
def test_usual_stereo_is_one_mix(tmp_path, suffix):
    common = noise(1)
    path = write(tmp_path, common + noise(2, 0.08), common + noise(3, 0.08), suffix=suffix)
    mix, lost = measured(path)
    assert lost == {}
    np.testing.assert_array_equal(mix, files.load(path, RATE))


def test_mono_and_a_silent_channel_are_one_mix(tmp_path):
    assert measured(write(tmp_path, noise(1)))[1] == {}
    assert measured(write(tmp_path, noise(1), np.zeros(SECONDS * 16000)))[1] == {}


def test_opposite_channels_are_subtracted(tmp_path):
    sound = noise(1)
    path = write(tmp_path, sound, -sound)
    mix, lost = measured(path)
    assert np.abs(mix).max() < 1e-3
    [(part, windows)] = lost.items()
    assert windows == [0, 1, 2] and part.channel == "", "it is in both channels"
    samples = np.concatenate(list(files.blocks(path, RATE, part=part)))
    whole = files.load(write(tmp_path, sound), RATE)
    np.testing.assert_allclose(samples, whole, atol=1e-3)


def test_independent_channels_are_read_apart_only_where_they_differ(tmp_path):
    left, right = noise(1), noise(1)
    right[160_000:320_000] = noise(2)[160_000:320_000]
    path = write(tmp_path, left, right)
    _, lost = measured(path)
    assert {part.channel: windows for part, windows in lost.items()} == {"left": [1], "right": [1]}
    [first, _] = lost
    samples = np.concatenate(list(files.blocks(path, RATE, part=first)))
    np.testing.assert_allclose(samples, files.load(write(tmp_path, left), RATE), atol=1e-3)


def test_a_quiet_channel_beside_a_loud_one_is_read_apart(tmp_path):
    _, lost = measured(write(tmp_path, noise(1, 0.005), noise(2, 0.2)))
    assert [part.channel for part in lost] == ["left"], "the mix contains the right channel"


def test_surround_and_low_frequency_channels_are_read_apart(tmp_path):
    speech, music = noise(1, 0.2), noise(2, 0.02)
    silent = np.zeros_like(speech)
    _, lost = measured(write(tmp_path, silent, silent, speech, music, silent, silent, suffix=".flac"))
    assert [part.channel for part in lost] == ["low frequency"]
    _, lost = measured(write(tmp_path, silent, silent, speech, silent, music, music, suffix=".flac"))
    assert [part.channel for part in lost] == ["back left and back right"]


def test_music_in_the_low_frequency_channel_alone_is_not_in_the_mix_of_ffmpeg(tmp_path):
    sound, silent = noise(1), np.zeros(SECONDS * 16000)
    mix, lost = measured(write(tmp_path, silent, silent, silent, sound, silent, silent, suffix=".flac"))
    assert np.abs(mix).max() == 0
    assert [(part.weights, part.channel) for part in lost] == [((0, 0, 0, 1, 0, 0), "")]


def uncancelled(path):
    """The mix of a file for the library."""
    meter = ChannelMeter()
    mix = np.concatenate(list(files.blocks(path, RATE, meter=meter)))
    weights = meter.uncancelled()
    return np.concatenate(list(files.blocks(path, RATE, mix=weights))) if weights else mix


def test_a_mix_for_the_library_contains_channels_that_cancel_each_other(tmp_path):
    sound, voice, silent = noise(1), noise(2, 0.05), np.zeros(SECONDS * 16000)
    alone = files.load(write(tmp_path, sound), RATE)
    np.testing.assert_allclose(uncancelled(write(tmp_path, sound, -sound)), alone, atol=1e-3)
    partly = uncancelled(write(tmp_path, sound, np.where(np.arange(len(sound)) < 160_000, sound, -sound)))
    assert np.mean(np.abs(partly - alone) > 1e-3) < 0.01, "only near the change, which is not at the end of a frame"
    low = uncancelled(write(tmp_path, silent, silent, silent, sound, silent, silent, suffix=".flac"))
    np.testing.assert_allclose(low, alone, atol=1e-3)
    front = uncancelled(write(tmp_path, sound, -sound, voice, silent, silent, silent, suffix=".flac"))
    expected = files.load(write(tmp_path, sound, sound, voice, silent, silent, silent, suffix=".flac"), RATE)
    np.testing.assert_allclose(front, expected, atol=1e-3)


def test_a_usual_mix_for_the_library_is_not_changed(tmp_path):
    silent = np.zeros(SECONDS * 16000)
    for mixed in (
        [noise(1), noise(2)],
        [noise(1), silent],
        [noise(1, 0.01), noise(1, 0.01), noise(2), noise(3, 0.3), silent, silent],
    ):
        meter = ChannelMeter()
        for _ in files.blocks(write(tmp_path, *mixed, suffix=".flac"), RATE, meter=meter):
            pass
        assert meter.uncancelled() == {}


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
def test_planes_of_every_sample_format(tmp_path, suffix):
    path = soundfiles.write(tmp_path / f"tone{suffix}", soundfiles.tone(channels=2))
    with files.container(path) as container:
        frames = list(container.decode(audio=0))
    samples = np.concatenate([channels.planes(frame) for frame in frames], axis=1)
    assert samples.shape[0] == 2 and samples.dtype == np.float32
    assert np.sqrt(2 * np.mean(samples[:, 8000:-8000] ** 2)) == pytest.approx(0.5, abs=0.06)


def test_tracks_are_selected_by_number(tmp_path):
    path = soundfiles.write_tracks(tmp_path / "two.mkv", [None, soundfiles.tone(600)[0], soundfiles.tone(900)[0]])
    numbers, warnings = files.readable_tracks(path)
    assert numbers == [2, 3]
    assert "audio track 1" in warnings[0] and "no samples" in warnings[0]
    for number, wanted in ((2, 600), (3, 900)):
        samples = np.concatenate(list(files.blocks(path, RATE, part=Part(number))))
        assert np.abs(np.fft.rfft(samples[:RATE])).argmax() == pytest.approx(wanted * len(samples[:RATE]) / RATE, abs=2)
    with pytest.raises(files.AudioError, match="no audio track 4: it has 3"):
        next(files.blocks(path, RATE, part=Part(4)))
