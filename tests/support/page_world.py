"""Audio for the tests of the page: a library of tunes, a broadcast that contains some of them, and short excerpts."""

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
COVERED, HIGHER = TUNES[1], 3  # the tune of the cover, and its transposition in semitones
LENGTH = 46.0  # seconds of a recording
PART = 30.0  # seconds of each piece of the broadcast
CUT = 8.0  # seconds into a recording at which its piece begins
MICROPHONE_START = 12.0  # seconds into a recording at which the excerpt for the microphone begins


@dataclass(frozen=True)
class Files:
    """The files of a user."""

    music: list[Path]  # the recordings of the library
    broadcast: Path  # mp4: a recording, unknown music, another recording, a cover
    known_excerpt: Path  # WAV, noisy: a part of a recording
    unknown_excerpt: Path  # WAV: music that is not in the library
    new: Path  # a recording that is not in the library yet
    text: Path  # no audio


def until(page, expression: str, patience: float = 120.0) -> None:
    """Wait until a JavaScript expression is true. Playwright's `wait_for_function` violates the page's policy."""
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
    excerpt = recordings[2][_at(MICROPHONE_START) : _at(MICROPHONE_START + 25)]
    excerpt = degrade.add_noise(excerpt, 10.0, rng)  # dB above it
    text = folder / "letter.txt"
    text.write_text("no music at all, but quite a few words " * 20)
    return Files(
        music=music,
        broadcast=soundfiles.write(folder / "Evening show.mp4", np.concatenate(pieces), RATE),
        known_excerpt=_wav(folder / "excerpt.wav", excerpt),
        unknown_excerpt=_wav(folder / "unknown.wav", synth.render(invent(102), seed=2)[: _at(25)]),
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
