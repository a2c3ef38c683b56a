"""The files of the page's tests: recordings of the library, a broadcast that contains some of them, queries."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfiles

from lab import degrade, synth
from lab.tunes import TUNES, Tune, invent

RATE = synth.SAMPLE_RATE
KNOWN = TUNES[:4]
COVERED, HIGHER = TUNES[1], 3       # the tune of the cover, and its transposition in semitones
LENGTH = 46.0                       # seconds; length of each recording
PART = 30.0                         # seconds; length of each piece of the broadcast
CUT = 8.0                           # seconds; start of each piece in its recording
QUERY_START = 12.0                  # seconds; start of the query in its recording


@dataclass(frozen=True)
class Files:
    """The files of the user."""

    music: list[Path]               # of the library
    broadcast: Path                 # mp4: a recording, unknown music, another recording, a cover
    query: Path                     # WAV: a noisy part of a recording
    unknown_query: Path             # WAV: music that is not in the library
    new: Path                       # a recording that is not in the library
    text: Path                      # a text file, without audio


def until(page, expression: str, patience: float = 120.0) -> None:
    """Wait for an expression of JavaScript to be true. (Playwright's wait_for_function violates the policy.)"""
    end = time.monotonic() + patience
    while not page.evaluate(f"() => Boolean({expression})"):
        assert time.monotonic() < end, f"{expression} has not become true"
        page.wait_for_timeout(100)


def make(folder: Path) -> Files:
    rng = np.random.default_rng(20240607)
    recordings = [synth.render(tune, seed=1)[:_at(LENGTH)] for tune in KNOWN]
    music = [_written(folder / f"{number}.flac", samples, tune)
             for number, (tune, samples) in enumerate(zip(KNOWN, recordings, strict=True))]
    other_take = degrade.stretch(synth.render(COVERED, seed=40), RATE, pitch=2 ** (HIGHER / 12))
    pieces = [recordings[0][_at(CUT):_at(CUT + PART)], synth.render(invent(101), seed=2)[:_at(PART)],
              recordings[3][_at(CUT):_at(CUT + PART)], other_take[:_at(40)]]
    query = recordings[2][_at(QUERY_START):_at(QUERY_START + 25)]
    query = degrade.add_noise(query, 10.0, rng)          # dB of signal above noise
    text = folder / "letter.txt"
    text.write_text("no music at all, but quite a few words " * 20)
    return Files(
        music=music, broadcast=soundfiles.write(folder / "Evening show.mp4", np.concatenate(pieces), RATE),
        query=_wav(folder / "query.wav", query),
        unknown_query=_wav(folder / "unknown.wav", synth.render(invent(102), seed=2)[:_at(25)]),
        new=_written(folder / "new.flac", synth.render(TUNES[5], seed=1)[:_at(LENGTH)], TUNES[5]), text=text)


def _at(seconds: float) -> int:
    return round(seconds * RATE)


def _written(path: Path, samples: np.ndarray, tune: Tune) -> Path:
    synth.write(path, samples, title=tune.title, artist=tune.artist)
    return path


def _wav(path: Path, samples: np.ndarray) -> Path:
    synth.write(path, samples / np.abs(samples).max() * 0.7)
    return path
