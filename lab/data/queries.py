"""Queries for evaluations: excerpts of music, damaged in thirteen ways and more, with their ground truth."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lab.data import degrade
from songprint.audio import files
from songprint.audio.samples import at_rate
from songprint.errors import AudioError

RATE = 16_000  # Hz; queries are damaged at this rate and then resampled to that of the encoder
CONTEXT = 1.5  # seconds of music before a query, so that rooms and codecs are in a steady state
TAIL = 1.0  # seconds of music after it, consumed by changes of speed
# Condition -> (tempo, pitch).
SPEEDS = {
    f"speed {percent:+d}%": (1 + percent / 100, 1 + percent / 100)
    for percent in (-20, -12, -8, -4, -2, -1, 1, 2, 4, 8, 12, 20)
}
SPEEDS |= {f"pitch {semitones:+d}": (1.0, 2 ** (semitones / 12)) for semitones in (-3, -2, -1, 1, 2, 3)}
SPEEDS |= {f"tempo {percent:+d}%": (1 + percent / 100, 1.0) for percent in (-20, -10, -5, 5, 6, 10, 20)}
USUAL = 1.1  # places of queries leave room for a tempo up to this, whether or not it is changed
# Condition -> signal-to-noise ratio in dB.
NOISES = {f"noise {snr} dB": snr for snr in (15, 10, 5, 0, -5)}
# Condition -> signal-to-noise ratio in dB, in a room.
ROOMS = {f"room + noise {snr} dB": snr for snr in (5, 0)}
# Condition -> codec, bits/s, Hz.
CODECS = {
    "mp3 32k": ("libmp3lame", 32_000, RATE),
    "opus 12k": ("libopus", 12_000, RATE),
    "mp3 16k": ("libmp3lame", 16_000, RATE),
    "aac 32k": ("aac", 32_000, RATE),
    "aac 16k": ("aac", 16_000, RATE),
    "amr 5.9k": ("libopencore_amrnb", 5_900, 8_000),
}
CONDITIONS = (
    "clean",
    "mp3 32k",
    "opus 12k",
    "noise 10 dB",
    "noise 5 dB",
    "noise 0 dB",
    "room + noise 5 dB",
    "phone",
    "speech 0 dB",
    "speed +4%",
    "speed -2%",
    "pitch +1",
    "tempo +6%",
)
LENGTHS = (3.0, 5.0, 10.0)  # seconds
# The extended grid: (condition, length in seconds).
WIDE = (
    *((condition, length) for condition in ("clean", "noise 10 dB") for length in (1.0, 2.0)),
    *((condition, length) for condition in ("noise 15 dB", "noise -5 dB") for length in LENGTHS),
    *(
        (condition, 5.0)
        for condition in ("aac 32k", "aac 16k", "mp3 16k", "amr 5.9k", "drop-outs 20%", "two songs 0 dB")
    ),
    *((condition, 10.0) for condition in SPEEDS if condition not in CONDITIONS),
)
# Condition -> the field of Disturbances that it needs.
NEEDS = {"speech 0 dB": "speech", "two songs 0 dB": "others"}


@dataclass(frozen=True)
class Disturbances:
    """Audio with which queries are damaged, at RATE. Without noise recordings, pink noise is used."""

    noise: list[np.ndarray]
    speech: list[np.ndarray]
    rooms: list[np.ndarray]  # impulse responses
    others: list[np.ndarray] = field(default_factory=list)  # unknown music, mixed with that of the query

    @classmethod
    def load(
        cls, noise: Sequence[Path], speech: Sequence[Path], room_seed: int, others: Sequence[Path] = ()
    ) -> Disturbances:
        return cls(
            [files.load(path, RATE) for path in noise],
            [files.load(path, RATE) for path in speech],
            degrade.simulate_rooms(20, RATE, room_seed),
            [files.load(path, RATE, duration=90) for path in others],
        )

    def possible(self, grid: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
        """Return the grid without the conditions whose recordings are missing."""
        return [
            (condition, length)
            for condition, length in grid
            if condition not in NEEDS or getattr(self, NEEDS[condition])
        ]


@dataclass(frozen=True)
class Query:
    """A query with its ground truth."""

    samples: np.ndarray  # at the sample rate of the encoder
    track: str  # path of the music; empty for none
    start: float  # seconds in the music
    condition: str
    length: float  # seconds
    speed: float  # seconds of the recording per second of the query
    audio: np.ndarray  # the same at RATE, for systems with other sample rates


def cut(
    music: np.ndarray, start: float, length: float, condition: str, using: Disturbances, rng: np.random.Generator
) -> np.ndarray:
    """Cut the query that begins at `start` seconds and damage it: (n,) at RATE -> (length * RATE,).

    Raises ValueError for an unknown condition.
    """
    tempo, pitch = SPEEDS.get(condition, (1.0, 1.0))
    first = int((start - CONTEXT * tempo) * RATE)
    excerpt = music[first : int((start + length * tempo + TAIL) * RATE)]
    if condition in SPEEDS:
        excerpt = degrade.stretch(excerpt, RATE, tempo, pitch)
    excerpt = _damage(excerpt, condition, using, rng)
    begin = int(CONTEXT * RATE)
    return np.pad(excerpt, (0, RATE))[begin : begin + int(length * RATE)].astype(np.float32)


def _damage(excerpt: np.ndarray, condition: str, using: Disturbances, rng: np.random.Generator) -> np.ndarray:
    def noisy(samples: np.ndarray, snr: float) -> np.ndarray:
        noise = using.noise[rng.integers(len(using.noise))] if using.noise else None
        return degrade.add_noise(samples, snr, rng, noise)

    if condition in CODECS:
        codec, bit_rate, rate = CODECS[condition]
        return at_rate(degrade.code(at_rate(excerpt, RATE, rate), rate, codec, bit_rate), rate, RATE)
    if condition in NOISES:
        return noisy(excerpt, NOISES[condition])
    if condition in ROOMS:
        return noisy(degrade.convolve(excerpt, using.rooms[rng.integers(len(using.rooms))]), ROOMS[condition])
    if condition == "phone":
        return degrade.phone(noisy(excerpt, 10), RATE, rng)
    if condition == "speech 0 dB":
        return degrade.mix(excerpt, _speech(len(excerpt), using, rng), 0)
    if condition == "drop-outs 20%":
        return degrade.drop_out(excerpt, RATE, 0.2, rng)
    if condition == "two songs 0 dB":
        other = using.others[rng.integers(len(using.others))]
        start = rng.integers(max(1, len(other) - len(excerpt)))
        return degrade.mix(excerpt, other[start : start + len(excerpt)], 0)
    if condition != "clean" and condition not in SPEEDS:
        raise ValueError(f"condition={condition!r} is none of {', '.join(dict.fromkeys((*CONDITIONS, *dict(WIDE))))}")
    return excerpt


def _speech(count: int, using: Disturbances, rng: np.random.Generator) -> np.ndarray:
    """Return (count,) samples of lines spoken one after the other."""
    parts: list[np.ndarray] = []
    total = 0
    while total < count:
        parts.append(using.speech[rng.integers(len(using.speech))])
        total += len(parts[-1])
    return np.concatenate(parts)[:count]


def draw(
    paths: Sequence[Path],
    per_condition: int,
    using: Disturbances,
    sample_rate: int,
    seed: int,
    lengths: Sequence[float] = LENGTHS,
    grid: Sequence[tuple[str, float]] | None = None,
) -> Iterator[Query]:
    """Yield `per_condition` queries for each condition and length, spread evenly over the files.

    The grid is CONDITIONS at all `lengths` unless `grid` is given. Places are random, but never silent: the music
    there is within 40 dB of the level of the whole file.
    """
    rng = np.random.default_rng(seed)
    pairs = [(condition, length) for condition in CONDITIONS for length in lengths] if grid is None else grid
    wanted = using.possible(pairs) * per_condition
    rng.shuffle(wanted)
    for number, path in enumerate(paths):
        share = wanted[number :: len(paths)]
        if number % 10 == 0:
            print(f"making queries: {number}/{len(paths)} files", file=sys.stderr)
        if not share:
            continue
        try:
            music = files.load(path, RATE)
        except AudioError:
            continue
        for condition, length in share:
            tempo = SPEEDS.get(str(condition), (1.0, 1.0))[0]
            start = _sounding_place(music, float(length), max(USUAL, tempo), rng)
            if start is None:
                continue
            audio = cut(music, start, float(length), str(condition), using, rng)
            samples = at_rate(audio, RATE, sample_rate)
            yield Query(samples, str(path), start, str(condition), float(length), tempo, audio)


def _sounding_place(music: np.ndarray, length: float, tempo: float, rng: np.random.Generator) -> float | None:
    span = len(music) / RATE - tempo * length - 2 * CONTEXT - TAIL
    if span <= 0:
        return None
    level = degrade.rms(music)
    for _ in range(20):
        start = tempo * CONTEXT + rng.random() * span
        part = music[int(start * RATE) : int((start + length) * RATE)]
        if min(degrade.rms(third) for third in np.array_split(part, 3)) > 0.01 * level:
            return start
    return None


def without_music(sample_rate: int, using: Disturbances, count: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield queries that never match: (name, samples) of silence, tones, chords, sweeps, noise, speech."""
    rng = np.random.default_rng(seed)
    times = np.arange(5 * sample_rate) / sample_rate
    for _ in range(count):
        frequency = rng.uniform(80, 3500)
        tone = 0.5 * np.sin(2 * np.pi * frequency * times)
        chord = [0.2 * np.sin(2 * np.pi * frequency * ratio * times) for ratio in (1, 1.26, 1.5)]
        hum = [0.2 / n * np.sin(2 * np.pi * 50 * n * times) for n in (1, 2, 3, 5, 7, 9)]
        yield "silence", np.zeros(len(times), np.float32)
        yield "dither", (rng.integers(-1, 2, len(times)) / 32768).astype(np.float32)
        yield "tone", tone.astype(np.float32)
        yield "faded tone", (tone * times / 5).astype(np.float32)
        yield "chord", np.sum(chord, axis=0).astype(np.float32)
        yield "sweep", (0.5 * np.sin(2 * np.pi * (100 + rng.uniform(50, 300) * times) * times)).astype(np.float32)
        yield "beeps", (tone * (times % 0.5 < 0.2)).astype(np.float32)
        yield "hum", np.sum(hum, axis=0).astype(np.float32)
        yield "clicks", ((np.arange(len(times)) % int(rng.integers(800, 8000)) == 0) * 0.8).astype(np.float32)
        yield "white noise", (0.1 * rng.standard_normal(len(times))).astype(np.float32)
        yield "pink noise", 0.1 * degrade.unit(degrade.pink_noise(len(times), rng))
        if using.noise:
            noise = using.noise[rng.integers(len(using.noise))]
            start = rng.integers(max(1, len(noise) - 5 * RATE))
            yield "ambience", at_rate(noise[start : start + 5 * RATE], RATE, sample_rate)
        if using.speech:
            yield "speech", at_rate(_speech(5 * RATE, using, rng), RATE, sample_rate)
