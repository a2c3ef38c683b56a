"""A segment covers what supports it and nothing else: songs between noise, silence and steady sounds."""

from __future__ import annotations

import numpy as np
import pytest
from support.tunes import write_tunes

import songprint
from lab.data import synth
from lab.data.tunes import TUNES
from songprint import config

RATE = synth.SAMPLE_RATE


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A library of four tunes, encoded by the networks that ship."""
    folder = tmp_path_factory.mktemp("surroundings")
    write_tunes(folder / "music", TUNES[:4])
    settings = config.Settings().with_(kinds=("recording",))
    with songprint.open(folder / "library", create=True, settings=settings) as library:
        library.add(folder / "music", workers=1)
        yield library


def white(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, count)


def pink(count: int) -> np.ndarray:
    spectrum = np.fft.rfft(white(count))
    shaped = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), count)
    return shaped / shaped.std()


def applause(count: int) -> np.ndarray:
    """Claps at random moments: short bursts of noise."""
    random = np.random.default_rng(2)
    clap = random.normal(0, 1, RATE // 50) * np.exp(-np.arange(RATE // 50) / (RATE / 300))
    sound = np.zeros(count)
    for start in random.integers(0, count - len(clap), count // 300):
        sound[start : start + len(clap)] += clap
    return sound / sound.std()


def hum(count: int) -> np.ndarray:
    return sum(np.sin(2 * np.pi * 50 * harmonic * np.arange(count) / RATE) / harmonic for harmonic in (1, 2, 3))


def silence(count: int) -> np.ndarray:
    return np.zeros(count)


def dither(count: int) -> np.ndarray:
    return white(count) * 1e-3


@pytest.mark.parametrize("surrounding", [white, pink, applause, hum, silence, dither])
@pytest.mark.parametrize("seconds", [30, 120])
def test_a_song_between_other_sounds_has_exact_ends(library, tmp_path, surrounding, seconds):
    """30 s of a song at -20 dBFS between sounds at -40 dBFS."""
    song = synth.render(TUNES[1], seed=1)[10 * RATE : 40 * RATE]
    song = 0.1 * song / song.std()
    around = 0.01 * surrounding(seconds * RATE)
    path = tmp_path / "programme.wav"
    synth.write(path, np.concatenate([around, song, around]).astype(np.float32), RATE)
    segments = library.scan(path, find_unknown=False).segments
    assert [each.recording.title for each in segments] == [TUNES[1].title]
    assert segments[0].interval.start == pytest.approx(seconds, abs=1.0)
    assert segments[0].interval.end == pytest.approx(seconds + 30, abs=1.0)
