"""Hostile files take neither gigabytes nor hours: each ends with its audio or with an error of one line."""

import json
import subprocess
import sys

import av
import numpy as np
import pytest
from support import soundfiles
from support.children import environment

from lab.data import bombs
from songprint.audio import decode, files, media, reading
from songprint.audio.reading import Reading
from songprint.audio.samples import at_rate
from songprint.errors import AudioError

MEGABYTES = 150  # above an idle process, for every one of these files
CHOSEN = (
    "rate-1.wav",
    "rate-1-stereo-float64.wav",
    "rate-1.aiff",
    "rate-1.flac",
    "rate-1.caf",
    "adpcm-1-hz.wav",
    "gsm-1-hz.wav",
    "rate-768001.wav",
    "data-of-4-gigabytes.wav",
    "picture-of-968-megabytes.flac",
    "png-of-968-megabytes.mp3",
    "4-billion-comments.opus",
    "4-billion-samples-in-one-stts.m4a",
    "compressed-blocks-of-800-megabytes.mkv",
)

READ = """
import json, resource, sys
from songprint.audio import files, media, tags
from songprint.errors import AudioError
megabytes = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
outcomes = {}
for path in sys.argv[1:]:
    idle = megabytes()
    try:
        seconds = 0
        for block in files.blocks(path, 8000, on_warning=lambda warning: None):
            seconds += len(block) / 8000
            if seconds > 300:
                break
        outcome = ""
        media.describe(path)
    except AudioError as error:
        outcome = str(error)
    tags.read_tags(path)
    outcomes[path] = outcome, megabytes() - idle
print(json.dumps(outcomes))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="measures memory with `resource`")
def test_hostile_files_take_little_memory(tmp_path):
    paths = []
    for name in CHOSEN:
        paths.append(tmp_path / name)
        paths[-1].write_bytes(bombs.bomb(name))
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, paths)], capture_output=True, timeout=100, env=environment()
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    outcomes = json.loads(done.stdout)
    assert {path: grown for path, (_, grown) in outcomes.items() if grown > MEGABYTES} == {}
    for path, (message, _) in outcomes.items():
        if "rate-1" in path or "1-hz" in path:
            assert message.startswith(f"cannot read {path}: its sample rate is 1 Hz, and 4000 to 768000 Hz are")


def test_the_hostile_files_are_many_and_small_and_the_same_every_time(tmp_path):
    assert len(bombs.names()) == len(set(bombs.names())) >= 60
    small = [name for name in bombs.names() if name.endswith((".wav", ".aiff", ".caf", ".m4a", ".mkv"))][::5]
    assert all(len(bombs.bomb(name)) < 3_000_000 for name in small)
    assert all(bombs.bomb(name) == bombs.bomb(name) for name in small)


def test_mutations_are_damaged_copies_and_the_same_for_the_same_seed(tmp_path):
    song = soundfiles.write(tmp_path / "song.wav", soundfiles.tone(duration=0.2))
    found = list(bombs.mutations([song], 20, seed=3))
    assert found == list(bombs.mutations([song], 20, seed=3)) != list(bombs.mutations([song], 20, seed=4))
    assert len({content for _, content in found}) > 15


@pytest.mark.parametrize("rate", [4000, 768_000])
def test_the_lowest_and_the_highest_sample_rate_are_read(tmp_path, rate):
    song = soundfiles.write(tmp_path / "song.wav", soundfiles.tone(sample_rate=rate), rate)
    assert len(files.load(song, 8000)) == pytest.approx(8000, abs=20)


def test_samples_in_memory_need_a_usual_sample_rate():
    with pytest.raises(AudioError, match="sample_rate=1 must be given with samples, from 4000 to 768000 Hz"):
        at_rate(np.zeros(1000, np.float32), 1, 8000)


def test_frames_that_change_to_an_absurd_sample_rate_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "is_rate", lambda rate: rate != 32_000)
    path = tmp_path / "song.flac"
    path.write_bytes(bombs._flac(frames=b"".join(bombs._flac_frame(n, code) for n, code in enumerate((9, 8, 9)))))
    warnings = []
    assert sum(map(len, files.blocks(path, 8000, on_warning=warnings.append)))
    assert "its sample rate is 32000 Hz" in warnings[0]


def test_frames_are_resampled_in_bounded_slices(tmp_path):
    song = soundfiles.write(tmp_path / "song.wav", soundfiles.tone(duration=30.0))
    with files.container(song) as container:
        stream = decode.audio_stream(container, "song")
        whole = av.AudioFifo()
        for frame in Reading(container, stream).frames():
            whole.write(frame)
        # a single frame of 30 s
        blocks = [frame.to_ndarray()[0] for frame in decode.resampled([whole.read()], 8000)]
    assert len(blocks) > 10
    np.testing.assert_array_equal(np.concatenate(blocks), files.load(song, 8000))


def test_memory_that_ffmpeg_cannot_get_is_an_error_of_its_own(tmp_path, monkeypatch):
    song = soundfiles.write(tmp_path / "song.wav", soundfiles.tone())
    with files.container(song) as container:
        stream = decode.audio_stream(container, "song")

        def packets(*_):
            raise av.FFmpegError(12, "Cannot allocate memory")
            yield

        fake = type("Container", (), {"demux": packets, "format": container.format})()
        with pytest.raises(MemoryError):
            list(Reading(fake, stream).frames())


def test_videos_are_described_with_their_size_and_pictures_are_not_decoded(tmp_path):
    video = soundfiles.write(tmp_path / "clip.mp4", soundfiles.tone())
    assert media.describe(video)["video"][0]["width"] == 64


@pytest.mark.parametrize("channels", [1, 2, 7, 8, 24])
def test_silence_has_the_format_of_any_frame(channels):
    frame = av.AudioFrame(format="fltp", layout=f"{channels} channels", samples=100)
    frame.sample_rate = 8000
    silence = reading._silent(frame, 1000)
    assert (silence.samples, silence.sample_rate, len(silence.planes)) == (1000, 8000, channels if channels <= 7 else 1)


def test_frames_that_change_to_many_channels_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_CHANNELS", 2)
    path = tmp_path / "song.flac"
    path.write_bytes(
        bombs._flac(frames=b"".join(bombs._flac_frame(n, 9, channels) for n, channels in enumerate((1, 3, 1))))
    )
    warnings = []
    assert sum(map(len, files.blocks(path, 8000, on_warning=warnings.append)))
    assert "it changes to 3 channels" in warnings[0]
