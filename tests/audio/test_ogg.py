"""Chained Ogg: links with other codecs, sample rates and channels, in files, pipes and streams."""

import io
from functools import partial

import numpy as np
import pytest
from support import soundfiles

from songprint.audio import files, ogg
from songprint.audio.streams import live

RATE = 8000
LINKS = {  # file name, frequency, sample rate, channels
    "v44": ("a.ogg", 440, 44100, 2),
    "v22": ("b.ogg", 600, 22050, 2),
    "opus": ("c.opus", 800, 48000, 1),
    "flac": ("d.oga", 1000, 32000, 1),
}
CHAINS = [("v44", "v22"), ("v44", "opus"), ("opus", "v44"), ("v44", "v44"), ("v44", "flac", "v22", "v44", "opus")]


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    folder = tmp_path_factory.mktemp("links")
    return {
        name: soundfiles.write(folder / file, soundfiles.tone(tone, 2, rate, channels), rate).read_bytes()
        for name, (file, tone, rate, channels) in LINKS.items()
    }


def tones(samples):
    """The frequency of each second, once per run."""
    found = []
    for start in range(RATE // 2, len(samples) - RATE // 2, RATE):
        spectrum = np.abs(np.fft.rfft(samples[start : start + RATE // 2]))
        found.append(2 * int(spectrum.argmax()))
    return [each for at, each in enumerate(found) if at % 2 == 0]


class Dribble(io.BytesIO):
    """A stream that gives a few bytes at a time."""

    def read(self, size=-1, /):
        return super().read(min(size, 1021))


@pytest.mark.parametrize("chain", CHAINS)
def test_all_links_are_read(link, tmp_path, chain):
    data = b"".join(link[name] for name in chain)
    path = tmp_path / "chain.ogg"
    path.write_bytes(data)
    wanted = [LINKS[name][1] for name in chain]
    warnings = []
    samples = files.load(path, RATE, on_warning=warnings.append)
    assert len(samples) / RATE == pytest.approx(2 * len(chain), abs=0.1)
    assert tones(samples) == wanted and warnings == []
    assert tones(files.excerpt(path, RATE, 2.0, 2.0)) == wanted[1:2]
    streamed = np.concatenate([each.mix for each in live.blocks(Dribble(data), RATE, RATE, name="radio")])
    assert tones(streamed) == wanted


def test_links_are_found_wherever_the_bytes_are_cut(link):
    data = link["v44"] + link["opus"] + link["v22"]
    wanted = [(0, len(link["v44"])), (len(link["v44"]), len(data) - len(link["v22"]))]
    assert ogg.links(io.BytesIO(data)) == [*wanted, (wanted[1][1], len(data))]
    for size in (1, 3, 7, 4096):
        reader, parts = ogg.LinkReader(io.BytesIO(data)), []
        while not parts or reader.advance():
            parts.append(b"".join(iter(partial(reader.read, size), b"")))
        assert parts == [link["v44"], link["opus"], link["v22"]]


def test_other_files_have_one_link():
    data = b"RIFF" + b"OggS\0\0" + b"OggS\0\2" * 5
    assert ogg.links(io.BytesIO(data)) == [(0, len(data))]
    reader = ogg.LinkReader(io.BytesIO(data))
    assert reader.read(1000) == data and reader.read(1000) == b"" and not reader.advance()


def test_a_link_that_cannot_be_read_is_reported(link, tmp_path):
    broken = bytearray(link["opus"])
    broken[28:200] = bytes(172)
    path = tmp_path / "chain.ogg"
    path.write_bytes(link["v44"] + broken + link["v22"])
    warnings = []
    assert tones(files.load(path, RATE, on_warning=warnings.append)) == [440, 600]
    assert len(warnings) == 1
