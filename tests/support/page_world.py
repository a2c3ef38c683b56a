"""What the page is tried on: a library of tunes, a broadcast made of some of them, and what a microphone hears."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from support import soundfiles

from lab.data import degrade, synth
from lab.data.tunes import TUNES, Tune, invent

RATE = synth.SAMPLE_RATE
KNOWN = TUNES[:4]
COVERED, HIGHER = TUNES[1], 3  # a tune that other players play, so many semitones higher
LENGTH = 46.0  # seconds of a recording
PART = 30.0  # seconds of each piece of the broadcast
CUT = 8.0  # seconds into a recording at which its piece begins
HEARD = 12.0  # seconds into a recording at which the microphone begins to hear it


@dataclass(frozen=True)
class Files:
    """The files that people have."""

    music: list[Path]  # of the library
    broadcast: Path  # mp4: a recording, unknown music, another recording, a cover
    heard: Path  # WAV, noisy: a part of a recording
    unheard: Path  # WAV: music that the library does not know
    new: Path  # a recording that the library does not have yet
    text: Path  # no audio


def until(page, expression: str, patience: float = 120.0) -> None:
    """Wait for an expression of JavaScript to be true. (Playwright's own way to wait needs what our policy forbids.)"""
    end = time.monotonic() + patience
    while not page.evaluate(f"() => Boolean({expression})"):
        assert time.monotonic() < end, f"{expression} has not become true"
        page.wait_for_timeout(100)


def make(folder: Path) -> Files:
    rng = np.random.default_rng(20240607)
    recordings = [synth.render(tune, seed=1)[: _at(LENGTH)] for tune in KNOWN]
    music = [
        _written(folder / f"{number}.flac", samples, tune)
        for number, (tune, samples) in enumerate(zip(KNOWN, recordings, strict=True))
    ]
    other_take = degrade.stretch(synth.render(COVERED, seed=40), RATE, pitch=2 ** (HIGHER / 12))
    pieces = [
        recordings[0][_at(CUT) : _at(CUT + PART)],
        synth.render(invent(101), seed=2)[: _at(PART)],
        recordings[3][_at(CUT) : _at(CUT + PART)],
        other_take[: _at(40)],
    ]
    heard = recordings[2][_at(HEARD) : _at(HEARD + 25)]
    heard = degrade.add_noise(heard, 10.0, rng)  # dB above it
    text = folder / "letter.txt"
    text.write_text("no music at all, but quite a few words " * 20)
    return Files(
        music=music,
        broadcast=soundfiles.write(folder / "Evening show.mp4", np.concatenate(pieces), RATE),
        heard=_wav(folder / "heard.wav", heard),
        unheard=_wav(folder / "unheard.wav", synth.render(invent(102), seed=2)[: _at(25)]),
        new=_written(folder / "new.flac", synth.render(TUNES[5], seed=1)[: _at(LENGTH)], TUNES[5]),
        text=text,
    )


def _at(seconds: float) -> int:
    return round(seconds * RATE)


def _written(path: Path, samples: np.ndarray, tune: Tune) -> Path:
    synth.write(path, samples, title=tune.title, artist=tune.artist)
    return path


def _wav(path: Path, samples: np.ndarray) -> Path:
    synth.write(path, samples / np.abs(samples).max() * 0.7)
    return path
