"""Positions are the times that a player shows: tracks that start late, holes, damage and new time bases."""

import av
import numpy as np
import pytest
from support import soundfiles

from songprint.audio import files

RATE = 8000


def loud(samples, seconds):
    """Whether each of the given seconds contains sound."""
    return [bool(np.abs(samples[round(at * RATE) : round((at + 0.3) * RATE)]).max() > 0.1) for at in seconds]


def read(path):
    warnings = []
    return files.load(path, RATE, on_warning=warnings.append), warnings


@pytest.mark.parametrize("film", [0, 8])
@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".mkv", "aac"), (".mkv", "ac3"), (".ts", "aac")])
def test_a_late_start_and_a_hole_are_silence(tmp_path, suffix, codec, film):
    parts = [(2.0, soundfiles.tone(duration=1, channels=2)), (5.0, soundfiles.tone(duration=2, channels=2))]
    path = soundfiles.write_parts(tmp_path / f"late{suffix}", parts, codec=codec, film=film)
    late = 0 if suffix == ".ts" and not film else 2  # a broadcast without pictures begins with its audio
    samples, warnings = read(path)
    assert len(samples) / RATE == pytest.approx(5 + late, abs=0.15)
    assert loud(samples, np.array([0.1, 0.6, 1.2, 2.5, 3.2, 4.5]) + late) == [True, True, False, False, True, True]
    assert not late or loud(samples, [0.1, 1.6]) == [False, False]
    assert [warning.partition(": ")[2] for warning in warnings] == [
        f"2.0 s of audio are missing from {1.0 + late:.1f} s on: silence takes their place"
    ]


def test_a_late_start_gives_no_warning(tmp_path):
    parts = [(3.0, soundfiles.tone(duration=2, channels=2))]
    for suffix in (".mp4", ".mkv", ".ts"):
        path = soundfiles.write_parts(tmp_path / f"late{suffix}", parts, codec="aac", film=9)
        samples, warnings = read(path)
        assert warnings == [], "the picture lasts longer than the audio"
        assert len(samples) / RATE == pytest.approx(5, abs=0.1)


def test_an_excerpt_has_the_same_positions(tmp_path):
    parts = [(40.0, soundfiles.tone(duration=2)), (45.0, soundfiles.tone(880, duration=3))]
    path = soundfiles.write_parts(tmp_path / "late.mkv", parts, codec="aac", film=2)
    whole = files.load(path, RATE)
    for start in (38.0, 41.0, 44.0, 46.0):
        excerpt = files.excerpt(path, RATE, start, 1.5)
        part = whole[round(start * RATE) :][: len(excerpt)]
        assert len(excerpt) == 1.5 * RATE
        assert loud(excerpt, [0, 0.6, 1.2]) == loud(part, [0, 0.6, 1.2]), start


def test_lost_packets_of_a_broadcast_are_silence(tmp_path):
    path = soundfiles.write(tmp_path / "lost.ts", soundfiles.tone(duration=6, channels=2))
    data = path.read_bytes()
    third = len(data) // 3 // 188 * 188
    path.write_bytes(data[:third] + data[2 * third :])
    samples, warnings = read(path)
    assert len(samples) / RATE == pytest.approx(6, abs=0.1)
    assert loud(samples, [1, 3, 5]) == [True, False, True]
    assert len(warnings) == 1


def test_joined_broadcasts_continue_without_a_hole(tmp_path):
    """As at an HLS discontinuity, the second part has its own time base."""
    one = soundfiles.write_parts(tmp_path / "one.ts", [(500.0, soundfiles.tone(duration=2, channels=2))], codec="aac")
    two = soundfiles.write_parts(tmp_path / "two.ts", [(9.0, soundfiles.tone(duration=2, channels=2))], codec="aac")
    far = soundfiles.write_parts(tmp_path / "far.ts", [(40000.0, soundfiles.tone(duration=2, channels=2))], codec="aac")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() + two.read_bytes() + far.read_bytes())
    samples, warnings = read(joined)
    assert len(samples) / RATE == pytest.approx(6, abs=0.3)
    assert loud(samples, [0.5, 2.5, 4.5]) == [True, True, True]
    assert warnings == []


def test_a_single_wrong_time_stamp_is_ignored(tmp_path):
    right = soundfiles.write_parts(tmp_path / "a.mkv", [(0.0, soundfiles.tone(duration=3))], codec="pcm_s16le")
    wrong = tmp_path / "b.mkv"
    with av.open(right) as source, av.open(wrong, "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for number, packet in enumerate(source.demux(source.streams.audio[0])):
            if packet.dts is None:
                continue
            if number == 60:
                packet.pts = packet.dts = packet.pts + 20
            elif number > 60:
                packet.pts = packet.dts = packet.pts + 20 if number < 62 else packet.pts
            packet.stream = stream
            target.mux_one(packet)
    assert len(files.load(wrong, RATE)) == pytest.approx(3 * RATE, abs=400)


@pytest.mark.parametrize("suffix", [".mp3", ".aac"])
@pytest.mark.parametrize("damage", [bytes, lambda size: np.random.default_rng(3).bytes(size)])
def test_damage_does_not_shift_what_follows(tmp_path, damage, suffix):
    noise = np.random.default_rng(7).normal(0, 0.2, (2, 10 * 44100))
    path = soundfiles.write(tmp_path / f"hole{suffix}", noise)
    data = bytearray(path.read_bytes())
    begin = len(data) // 2
    data[begin : begin + 40000] = damage(40000)  # 2.5 s
    whole = files.load(path, RATE)
    path.write_bytes(data)
    samples, warnings = read(path)
    assert len(samples) / RATE == pytest.approx(10, abs=0.12)
    near = np.correlate(whole[8 * RATE - 1000 : 9 * RATE + 1000], samples[8 * RATE : 9 * RATE], "valid")
    assert abs(near.argmax() - 1000) / RATE < 0.12
    assert ["damaged at" in each for each in warnings] == [True]


def test_a_hole_between_two_frames_of_raw_aac_is_reported(tmp_path):
    path = soundfiles.write(tmp_path / "hole.aac", np.random.default_rng(7).normal(0, 0.2, (2, 6 * 44100)))
    data = path.read_bytes()
    with av.open(path) as container:
        begin, end = (packet.pos for number, packet in enumerate(container.demux(audio=0)) if number in (100, 150))
    path.write_bytes(data[:begin] + bytes(end - begin) + data[end:])
    samples, warnings = read(path)
    assert len(samples) / RATE == pytest.approx(6, abs=0.12)
    assert ["damaged at 2.3 s" in each for each in warnings] == [True]


def tagged(data, seed=1):
    """ID3 tags with a picture of 100 kB before the data."""
    picture = b"\0image/png\0\3\0" + np.random.default_rng(seed).bytes(100_000)
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    size = bytes([len(frame) >> 7 * shift & 127 for shift in (3, 2, 1, 0)])
    return b"ID3\3\0\0" + size + frame + data


@pytest.mark.parametrize("suffix", [".mp3", ".aac"])
def test_tags_between_joined_files_are_not_silence(tmp_path, suffix):
    song = soundfiles.write(tmp_path / f"song{suffix}", soundfiles.tone(duration=2, channels=2)).read_bytes()
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(song + tagged(song))
    samples, warnings = read(path)
    assert len(samples) / RATE == pytest.approx(4, abs=0.2)
    assert warnings == []


def test_joined_mp3_files_with_headers_give_a_warning_only_if_they_are_damaged(tmp_path):
    """The second file has another bit rate, so the duration that FFmpeg estimates is wrong."""
    quiet = soundfiles.write_variable_mp3(tmp_path / "a.mp3", soundfiles.tone(duration=8), header=True).read_bytes()
    noise = np.random.default_rng(7).normal(0, 0.2, 4 * 44100)
    loud = soundfiles.write_variable_mp3(tmp_path / "b.mp3", noise, header=True).read_bytes()
    path = tmp_path / "joined.mp3"
    for joined in (quiet + loud, quiet + tagged(loud), loud + quiet, quiet + b"TAG" + bytes(125) + tagged(loud)):
        path.write_bytes(joined)
        samples, warnings = read(path)
        assert len(samples) / RATE == pytest.approx(12, abs=0.1)
        assert warnings == []
    path.write_bytes(quiet + tagged(loud[: len(loud) // 2] + bytes(20_000) + loud[len(loud) // 2 :]))
    samples, warnings = read(path)
    assert ["damaged at 10.0 s" in each for each in warnings] == [True]


def test_an_error_long_before_the_end_of_the_file_is_reported(tmp_path):
    path = soundfiles.write(tmp_path / "half.mp3", np.random.default_rng(7).normal(0, 0.2, 6 * 44100))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))
    assert read(path)[1]
    variable = soundfiles.write_variable_mp3(tmp_path / "v.mp3", np.random.default_rng(7).normal(0, 0.2, 6 * 44100))
    data = variable.read_bytes()
    variable.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))
    assert ["damaged at 3.0 s" in each for each in read(variable)[1]] == [True]


def test_a_truncated_film_is_reported(tmp_path):
    path = soundfiles.write(tmp_path / "film.mkv", soundfiles.tone(duration=4, sample_rate=48000, channels=2), 48000)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert ["Is the file complete?" in each for each in read(path)[1]] == [True]
