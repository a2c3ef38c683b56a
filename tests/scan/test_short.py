"""Jingles of a few seconds in scans, and speech of a voice that the library contains, with the networks that ship."""

from __future__ import annotations

import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

import songprint
from lab.data import synth
from lab.data.tunes import TUNES
from songprint import config

RATE = synth.SAMPLE_RATE
LIBRARY_SPEECH = """
Welcome to the evening programme. Today we speak about the history of the harbour, about the people who built the first
ships there, and about the storms that destroyed them. Our guest has written three books about this subject.
"""
OTHER_SPEECH = """
The council decided on Tuesday that the old bridge will be closed for repairs until the spring. Drivers are advised to
take the road along the river. Cyclists and pedestrians can use the ferry, which runs every twenty minutes.
"""


def tune(number: int, start: float, end: float) -> np.ndarray:
    samples = synth.render(TUNES[number], seed=1)[round(start * RATE) : round(end * RATE)]
    return (0.1 * samples / samples.std()).astype(np.float32)


def write(path: Path, *parts: np.ndarray) -> Path:
    synth.write(path, np.concatenate(parts).clip(-1, 1), RATE)
    return path


@pytest.mark.parametrize("seconds", [3.0, 5.0])
def test_a_short_reference_is_found_with_its_extent(tmp_path, seconds):
    jingle = write(tmp_path / "Jingle.wav", tune(0, 10, 10 + seconds))
    noise = np.random.default_rng(1).normal(0, 0.01, 10 * RATE).astype(np.float32)
    programme = write(tmp_path / "programme.wav", tune(1, 5, 20), tune(0, 10, 10 + seconds), noise)
    settings = config.Settings().with_(kinds=("recording",))
    with songprint.open(tmp_path / "library", create=True, settings=settings) as library:
        library.add([jingle], workers=1)
        [segment] = library.scan(programme, find_unknown=False).segments
    assert segment.recording.title == "Jingle"
    assert (segment.interval.start, segment.interval.end) == pytest.approx((15, 15 + seconds), abs=0.5)
    assert (segment.reference.start, segment.reference.end) == pytest.approx((0, seconds), abs=0.5)


def speak(text: str, path: Path) -> Path:
    program = shutil.which("espeak-ng") or shutil.which("espeak")
    if program is None:
        pytest.skip("no speech synthesiser: install espeak-ng")
    subprocess.run([program, "-v", "en", "-w", path, text], check=True)
    with wave.open(str(path)) as file:
        assert file.getnframes() > 8 * file.getframerate()
    return path


def test_other_speech_of_the_same_voice_is_no_match(tmp_path):
    podcast = speak(LIBRARY_SPEECH, tmp_path / "podcast.wav")
    news = speak(OTHER_SPEECH, tmp_path / "news.wav")
    with songprint.open(tmp_path / "library", create=True) as library:
        library.add([podcast], workers=1)
        assert not library.identify(news).matches
        assert not library.scan(news, find_unknown=False).segments
        assert [each.recording.title for each in library.identify(podcast).matches] == ["podcast"]
        library.add([news], workers=1)
        assert not list(library.duplicates())
