"""Reading audio files of every format as mono float32 samples."""

import io
import logging
import os
import re
import subprocess
import sys
import threading
import tracemalloc

import av
import numpy as np
import pytest
from support import soundfiles

from songprint.audio import files
from songprint.errors import AudioError

SAMPLE_RATE = 16000
FASTSTART = {".m4a": {"movflags": "faststart"}}  # the index at the beginning, as in downloads
EVERY_FORMAT = [                                # suffix, channels, sample rate
    (".mp3", 1, 8000), (".mp3", 2, 22050), (".mp3", 2, 44100), (".mp3", 1, 48000),
    (".flac", 1, 8000), (".flac", 2, 96000), (".flac", 2, 192000), (".flac", 6, 44100),
    (".ogg", 2, 44100), (".ogg", 2, 48000), (".ogg", 2, 8000),
    (".oga", 1, 44100), (".oga", 6, 48000),
    (".opus", 1, 48000), (".opus", 2, 16000), (".opus", 6, 48000),
    (".m4a", 1, 8000), (".m4a", 2, 44100), (".m4a", 6, 48000), (".m4a", 2, 96000),
    (".wav", 1, 8000), (".wav", 2, 11025), (".wav", 6, 48000), (".wav", 2, 192000),
    (".aiff", 1, 32000), (".aiff", 2, 44100), (".aiff", 6, 96000),
    (".wma", 1, 22050), (".wma", 2, 44100),
    (".ac3", 2, 44100), (".ac3", 6, 48000),
    (".wv", 1, 44100), (".wv", 2, 96000),
    (".mp4", 1, 44100), (".mp4", 2, 48000), (".mp4", 6, 48000),
    (".mkv", 2, 44100), (".mkv", 6, 48000),
    (".webm", 1, 48000), (".webm", 2, 48000),
]  # fmt: skip


def frequency(samples, sample_rate=SAMPLE_RATE):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8 * len(samples)))
    return np.argmax(spectrum) * sample_rate / (8 * len(samples))


def amplitude(samples):
    """The amplitude of a tone, without its ends."""
    return np.sqrt(2 * np.mean(samples[len(samples) // 4 : -len(samples) // 4] ** 2))


@pytest.mark.parametrize(("suffix", "channels", "sample_rate"), EVERY_FORMAT)
def test_a_tone_is_decoded_from_every_format(tmp_path, suffix, channels, sample_rate):
    tone = soundfiles.tone(440, duration=1.5, sample_rate=sample_rate, channels=channels)
    path = soundfiles.write(tmp_path / f"tone{suffix}", tone, sample_rate)
    samples = files.load(path, SAMPLE_RATE)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) / SAMPLE_RATE == pytest.approx(1.5, abs=0.07)  # lossy formats pad to frames
    assert frequency(samples) == pytest.approx(440, abs=1)
    assert amplitude(samples) == pytest.approx(0.5, abs=0.06)  # LAME is 5% softer


def test_lossless_samples_at_their_own_rate_are_unchanged(tmp_path):
    tone = soundfiles.tone(sample_rate=16000)
    samples = files.load(soundfiles.write(tmp_path / "tone.flac", tone, 16000), 16000)
    np.testing.assert_allclose(samples, tone[0], atol=1e-4)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100, 48000])
def test_resampling_preserves_duration_and_position(tmp_path, sample_rate):
    click = np.zeros(44100)
    click[22050] = 1.0
    samples = files.load(soundfiles.write(tmp_path / "click.wav", click), sample_rate)
    assert len(samples) == pytest.approx(sample_rate, abs=2)
    assert np.argmax(np.abs(samples)) == pytest.approx(sample_rate / 2, abs=1)


def test_stereo_becomes_the_mean_of_its_channels(tmp_path):
    left, right = soundfiles.tone(440)[0], soundfiles.tone(1000)[0]
    samples = files.load(soundfiles.write(tmp_path / "two.wav", np.stack([left, right])), 44100)
    np.testing.assert_allclose(samples, (left + right) / 2, atol=1e-3)


@pytest.mark.parametrize("channels", [2, 6])
def test_full_scale_in_all_channels_does_not_exceed_full_scale(tmp_path, channels):
    tone = 1.98 * soundfiles.tone(channels=channels)
    samples = files.load(soundfiles.write(tmp_path / "loud.wav", tone), 44100)
    assert 0.9 < np.abs(samples).max() <= 1.0


def test_surround_sound_is_mixed_from_all_channels_except_low_frequency_effects(tmp_path):
    for channel in (0, 1, 2, 4, 5):  # left, right, centre, back; 3 is the low-frequency channel
        samples = np.zeros((6, 44100))
        samples[channel] = soundfiles.tone()[0]
        path = soundfiles.write(tmp_path / "surround.flac", samples)
        assert amplitude(files.load(path, SAMPLE_RATE)) > 0.05


def test_concatenated_blocks_equal_the_whole_file(song):
    blocks = list(files.blocks(song, SAMPLE_RATE, block_seconds=0.7))
    assert [len(block) for block in blocks] == [11200] * 4 + [3200]
    np.testing.assert_array_equal(np.concatenate(blocks), files.load(song, SAMPLE_RATE))


def test_blocks_may_be_shorter_than_decoded_frames(song):
    blocks = list(files.blocks(song, SAMPLE_RATE, block_seconds=0.01))
    assert {len(block) for block in blocks} == {160}
    np.testing.assert_array_equal(np.concatenate(blocks), files.load(song, SAMPLE_RATE))


def test_memory_use_does_not_depend_on_the_duration(tmp_path):
    def peak(seconds):
        path = soundfiles.write_long_wav(tmp_path / "long.wav", seconds)
        tracemalloc.start()
        total = sum(len(block) for block in files.blocks(path, 8000, block_seconds=10))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total == seconds * 8000
        return most

    peak(10)  # the first call also imports and fills caches
    assert peak(3000) < 1.2 * peak(60)


def test_blocks_shorter_than_one_sample_are_rejected(song):
    with pytest.raises(ValueError, match="block_seconds=0 must be at least one sample"):
        next(files.blocks(song, SAMPLE_RATE, block_seconds=0))


def test_start_and_duration_select_a_part_of_the_file(song):
    whole = files.load(song, SAMPLE_RATE)
    part = files.load(song, SAMPLE_RATE, start=1.25, duration=0.5)
    np.testing.assert_array_equal(part, whole[20000:28000])
    np.testing.assert_array_equal(files.load(song, SAMPLE_RATE, start=2.5), whole[40000:])
    np.testing.assert_array_equal(files.load(song, SAMPLE_RATE, duration=99), whole)


def test_a_start_after_the_end_is_an_error(song):
    with pytest.raises(AudioError, match=r"song\.flac from start=5 s: it ends at 3\.00 s"):
        files.load(song, SAMPLE_RATE, start=5)


@pytest.mark.parametrize("times", [{"start": -1}, {"duration": 0}])
def test_invalid_times_are_rejected(song, times):
    with pytest.raises(ValueError, match="seconds"):
        files.load(song, SAMPLE_RATE, **times)


def test_an_open_file_is_read_from_its_beginning_and_stays_open(song):
    with song.open("rb") as file:
        file.read(100)
        np.testing.assert_array_equal(files.load(file, SAMPLE_RATE), files.load(song, SAMPLE_RATE))
        assert not file.closed


def test_a_file_in_memory_can_be_read(song):
    assert len(files.load(io.BytesIO(song.read_bytes()), SAMPLE_RATE)) == 48000


@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".ogg", ".m4a"])
def test_a_pipe_can_be_read(tmp_path, suffix):
    path = soundfiles.write(tmp_path / f"tone{suffix}", soundfiles.tone(channels=2))
    reading, writing = os.pipe()

    def write():
        with os.fdopen(writing, "wb") as file:
            file.write(path.read_bytes())

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as pipe:
        samples = files.load(pipe, SAMPLE_RATE)
    writer.join()
    np.testing.assert_array_equal(samples, files.load(path, SAMPLE_RATE))


def test_a_cover_picture_is_ignored(tmp_path, write_bytes):
    song = soundfiles.write(tmp_path / "plain.mp3", soundfiles.tone()).read_bytes()
    picture = b"\0image/png\0\3\0" + bytes.fromhex("89504e470d0a1a0a") + bytes(3000)
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    size = bytes([len(frame) >> 7 * shift & 127 for shift in (3, 2, 1, 0)])
    path = write_bytes("cover.mp3", b"ID3\3\0\0" + size + frame + song)
    assert len(files.load(path, SAMPLE_RATE)) == pytest.approx(16000, abs=10)


def test_channels_and_sample_rate_may_change_within_a_file(tmp_path, write_bytes):
    stereo = soundfiles.write(tmp_path / "a.mp3", soundfiles.tone(channels=2), options={"write_xing": "0"})
    mono = soundfiles.write(tmp_path / "b.mp3", soundfiles.tone(sample_rate=22050), 22050, options={"write_xing": "0"})
    path = write_bytes("both.mp3", stereo.read_bytes() + mono.read_bytes() + stereo.read_bytes())
    samples = files.load(path, SAMPLE_RATE)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.3)
    assert frequency(samples) == pytest.approx(440, abs=1)


def test_nan_and_infinity_become_zero_and_loud_samples_are_not_clipped(tmp_path):
    samples = np.full(1000, 1.5, np.float32)
    samples[[100, 200, 300]] = np.nan, np.inf, -np.inf
    loaded = files.load(soundfiles.write_float_wav(tmp_path / "odd.wav", samples), 44100)
    np.testing.assert_array_equal(loaded, np.where(np.isfinite(samples), samples, 0))


@pytest.mark.parametrize("sample_rate", [8000, 44100, 48000])
def test_one_sample_is_a_valid_file(tmp_path, sample_rate):
    path = soundfiles.write_float_wav(tmp_path / "one.wav", np.ones(1))
    assert 1 <= len(files.load(path, sample_rate)) <= 2


@pytest.mark.parametrize(
    ("suffix", "match"),
    [
        (".mp3", r"only \d\.\d s of 4\.0 s could be read"),
        (".flac", r"only \d\.\d s of 4\.0 s could be read"),
        (".ogg", r"cut off after \d\.\d s"),
        (".opus", r"cut off after \d\.\d s"),
        (".wav", r"cut off after 2\.0 s"),
        (".m4a", r"only \d\.\d s of 4\.0 s could be read"),
        (".mkv", r"only \d\.\d s of 4\.0 s could be read"),
    ],
)
def test_a_truncated_file_returns_its_audio_with_a_warning(tmp_path, suffix, match):
    noise = np.tile(np.random.default_rng(7).normal(0, 0.1, 4 * 48000), (2, 1))
    path = soundfiles.write(tmp_path / f"half{suffix}", noise, 48000, options=FASTSTART.get(suffix))
    os.truncate(path, path.stat().st_size // 2)
    warnings = []
    samples = files.load(path, SAMPLE_RATE, on_warning=warnings.append)
    assert 0.9 < len(samples) / SAMPLE_RATE < 2.5
    assert [bool(re.search(rf"half\{suffix}: {match}", warning)) for warning in warnings] == [True]


@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".wv"])
def test_damaged_parts_are_skipped_with_one_warning(tmp_path, suffix):
    noise = np.random.default_rng(7).normal(0, 0.1, 10 * 44100)
    path = soundfiles.write(tmp_path / f"hole{suffix}", noise, options=FASTSTART.get(suffix))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path.write_bytes(data)
    warnings = []
    samples = files.load(path, SAMPLE_RATE, on_warning=warnings.append)
    assert len(samples) / SAMPLE_RATE == pytest.approx(10, abs=1.5)
    assert [" damaged at " in warning for warning in warnings] == [True]


def test_bytes_after_the_end_of_the_audio_give_no_warning(tmp_path):
    path = soundfiles.write(tmp_path / "junk.mp3", soundfiles.tone(duration=3))
    path.write_bytes(path.read_bytes() + np.random.default_rng(7).bytes(1000))
    warnings = []
    assert len(files.load(path, SAMPLE_RATE, on_warning=warnings.append)) == pytest.approx(48000, abs=10)
    assert warnings == []


def test_a_wrong_estimated_duration_gives_no_warning(tmp_path):
    # FFmpeg estimates the duration from the low bit rate of the silence at the beginning.
    noise = np.random.default_rng(7).normal(0, 0.2, 10 * 44100)
    path = soundfiles.write_variable_mp3(tmp_path / "vbr.mp3", np.concatenate([np.zeros(5 * 44100), noise]))
    assert files.probe(path).duration > 20
    warnings = []
    assert len(files.load(path, SAMPLE_RATE, on_warning=warnings.append)) == pytest.approx(240000, rel=0.01)
    assert warnings == []


def test_warnings_are_logged_by_default(tmp_path, caplog):
    path = soundfiles.write(tmp_path / "half.flac", soundfiles.tone(duration=4))
    os.truncate(path, path.stat().st_size // 2)
    with caplog.at_level(logging.WARNING, "songprint.audio.files"):
        files.load(path, SAMPLE_RATE)
    assert "could be read" in caplog.text


def test_ffmpeg_prints_nothing(tmp_path, capfd, write_bytes):
    path = soundfiles.write(tmp_path / "hole.mp3", soundfiles.tone(duration=3))
    data = bytearray(path.read_bytes())
    data[9000:11000] = bytes(2000)
    files.load(write_bytes("hole.mp3", data), SAMPLE_RATE)
    assert capfd.readouterr() == ("", "")


def test_probe_returns_duration_sample_rate_channels_and_codec(tmp_path):
    path = soundfiles.write(tmp_path / "tone.m4a", soundfiles.tone(duration=2, channels=2))
    info = files.probe(path)
    assert info.duration == pytest.approx(2, abs=0.05)
    assert (info.sample_rate, info.channels, info.codec) == (44100, 2, "aac")


def test_content_hash_depends_on_the_bytes_only(write_bytes):
    a, b, c = write_bytes("a.mp3", b"same"), write_bytes("b.mp3", b"same"), write_bytes("c.mp3", b"other")
    assert files.content_hash(a) == files.content_hash(b) != files.content_hash(c)
    assert re.fullmatch("[0-9a-f]{32}", files.content_hash(a))
    with pytest.raises(AudioError, match="there is no such file"):
        files.content_hash("gone.mp3")


def test_audio_files_are_recognised_by_their_suffix():
    assert all(files.is_probably_audio(name) for name in ["a.MP3", "b/c.flac", "film.mkv", "d.opus", "e.m4a"])
    assert not any(files.is_probably_audio(name) for name in ["cover.jpg", "a.mp3.part", "mp3", "._a.mp3"])


def test_importing_audio_does_not_load_ffmpeg():
    program = "import sys, songprint.audio.files, songprint.audio.tags; assert not {'av', 'tinytag'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "mp4", "mkv"])
def test_an_excerpt_is_at_the_requested_position(tmp_path, random, suffix):
    """In formats with exact seeking, and in those that are decoded from the beginning."""
    rate = 16000
    song = np.convolve(random.normal(0, 0.3, 50 * rate), np.ones(8) / 8, "same").astype(np.float32)
    path = tmp_path / f"song.{suffix}"
    codecs = {"wav": "pcm_s16le", "flac": "flac", "ogg": "libopus", "mp3": "libmp3lame", "mp4": "aac", "mkv": "libopus"}
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codecs[suffix], rate=rate, layout="mono")
        fifo = av.AudioFifo()
        block = av.AudioFrame.from_ndarray(song[None], "flt", "mono")
        block.sample_rate = rate
        fifo.write(block)
        for frame in fifo.read_many(1024, partial=True):
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    whole = files.load(path, rate)
    for start in (3.217, 41.5):
        excerpt = files.excerpt(path, rate, start, 2.0)
        assert len(excerpt) == 2 * rate
        near = whole[round((start - 0.1) * rate) : round((start + 2.1) * rate)]
        found = np.argmax(np.correlate(near, excerpt[1000:-1000], "valid")) - 1000
        assert found / rate == pytest.approx(0.1, abs=0.03)
    assert len(files.excerpt(path, rate, 49.0, 10.0)) == pytest.approx(rate, abs=0.15 * rate)
    assert len(files.excerpt(path, rate, 60.0, 1.0)) <= 1
