"""The identity of a recording is its sound: tags, artwork and padding do not change it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest
from support import soundfiles

from songprint.audio.identity import sound_hash
from songprint.errors import AudioError

APE_ITEM = b"\x05\0\0\0\0\0\0\0Title\0Hello"


def noise(seed: int = 1, rate: int = 44100) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(2, rate)) * 0.1).astype(np.float32)


def retagged(path: Path, **tags: str) -> Path:
    """Copy the streams of a file into a new one with other tags."""
    copy = path.with_name(f"retagged{path.suffix}")
    with av.open(path) as source, av.open(copy, "w", format=soundfiles.FORMATS.get(path.suffix)) as target:
        streams = {each.index: target.add_stream_from_template(each) for each in source.streams}
        target.metadata.update(tags)
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    return copy


def ape_tag() -> bytes:
    size = (len(APE_ITEM) + 32).to_bytes(4, "little")
    header, footer = (
        b"APETAGEX" + (2000).to_bytes(4, "little") + size + (1).to_bytes(4, "little") + flags + bytes(8)
        for flags in (b"\0\0\0\xa0", b"\0\0\0\x80")
    )
    return header + APE_ITEM + footer


@pytest.mark.parametrize(
    "suffix", [".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".wav", ".aiff", ".wma", ".wv", ".mkv", ".mp4"]
)
def test_tags_do_not_change_the_hash(suffix, tmp_path):
    rate = 48000 if suffix in (".opus", ".mkv") else 44100
    path = soundfiles.write(tmp_path / f"song{suffix}", noise(rate=rate), rate, tags={"title": "Title"})
    copy = retagged(path, title="A much longer title " * 40, REPLAYGAIN_TRACK_GAIN="-3 dB")
    assert path.read_bytes() != copy.read_bytes()
    assert sound_hash(path) == sound_hash(copy)


@pytest.mark.parametrize(
    "tail",
    [b"TAG" + b"Title".ljust(125, b"\0"), ape_tag(), ape_tag() + b"TAG" + bytes(125), bytes(3000)],
    ids=["ID3v1", "APE", "APE and ID3v1", "zeros"],
)
def test_what_follows_the_sound_of_an_mp3_does_not_count(tail, tmp_path):
    path = soundfiles.write(tmp_path / "song.mp3", noise())
    (tmp_path / "more.mp3").write_bytes(path.read_bytes() + tail)
    assert sound_hash(path) == sound_hash(tmp_path / "more.mp3")


def test_padding_and_pictures_in_front_of_an_mp3_do_not_count(tmp_path):
    content = soundfiles.write(tmp_path / "song.mp3", noise()).read_bytes()
    assert content[:3] == b"ID3"
    begin = 10 + sum(byte << shift for byte, shift in zip(content[6:10], (21, 14, 7, 0), strict=True))
    picture = b"APIC" + (2000).to_bytes(4, "big") + b"\0\0" + b"\0image/png\0\x03\0" + bytes(1986)
    size = len(picture) + 1000
    tag = b"ID3\x03\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + picture + bytes(1000)
    (tmp_path / "picture.mp3").write_bytes(tag + content[begin:])
    assert sound_hash(tmp_path / "song.mp3") == sound_hash(tmp_path / "picture.mp3")


def test_another_sound_another_rate_and_another_codec_have_other_hashes(tmp_path):
    soundfiles.write(tmp_path / "a.wav", noise())
    soundfiles.write(tmp_path / "b.wav", noise(2))
    soundfiles.write(tmp_path / "c.wav", noise(), 22050)
    soundfiles.write(tmp_path / "d.flac", noise())
    soundfiles.write(tmp_path / "e.wav", np.hstack([noise(), np.zeros((2, 100), np.float32)]))
    assert len({sound_hash(tmp_path / name) for name in ("a.wav", "b.wav", "c.wav", "d.flac", "e.wav")}) == 5


def test_every_link_of_a_chained_file_counts(tmp_path):
    one, two, three = (
        soundfiles.write(tmp_path / f"{seed}.opus", noise(seed, 48000), 48000).read_bytes() for seed in (1, 2, 3)
    )
    (tmp_path / "a.opus").write_bytes(one + two)
    (tmp_path / "b.opus").write_bytes(one + three)
    assert sound_hash(tmp_path / "a.opus") != sound_hash(tmp_path / "b.opus")


def test_a_file_without_sound_is_refused(tmp_path):
    with pytest.raises(AudioError, match="no audio stream"):
        sound_hash(soundfiles.write_silent_film(tmp_path / "film.mp4"))


def test_the_hash_is_that_of_the_stored_libraries(tmp_path):
    """Its definition: the codec, the rate, the channels and all packets of each stream, then the hashes of all streams.

    It must not change: libraries contain it.
    """
    path = soundfiles.write(tmp_path / "long.wav", noise(rate=3 * 44100), 44100)
    with av.open(path) as file:
        codec = file.streams.audio[0].codec_context
        packets = b"".join(map(bytes, file.demux(audio=0)))
    assert len(packets) > 500_000
    stream = hashlib.blake2b(f"{codec.name} 44100 2".encode() + packets, digest_size=16).digest()
    assert sound_hash(path) == "sound:" + hashlib.blake2b(stream, digest_size=16).hexdigest()
