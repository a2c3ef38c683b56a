"""Clips to ask about: cut from music, damaged in thirteen ways and more, with the truth beside them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lab.data import degrade, rooms
from songprint.audio import files
from songprint.audio.samples import at_rate
from songprint.errors import AudioError

RATE = 16_000  # Hz: clips are damaged at this rate, then heard by the encoder at its own
CONTEXT = 1.5  # seconds of music before a clip: rooms and codecs are already running
TAIL = 1.0  # seconds after it, used up by changes of speed
SPEEDS = {
    f"speed {percent:+d} %": (1 + percent / 100,) * 2  # (tempo, pitch)
    for percent in (-20, -12, -8, -4, -2, -1, 1, 2, 4, 8, 12, 20)
}
SPEEDS |= {f"pitch {semitones:+d}": (1.0, 2 ** (semitones / 12)) for semitones in (-3, -2, -1, 1, 2, 3)}
SPEEDS |= {f"tempo {percent:+d} %": (1 + percent / 100, 1.0) for percent in (-20, -10, -5, 5, 6, 10, 20)}
USUAL = 1.1  # tempo up to which there is music enough around any place where a clip may begin
NOISES = {f"noise {snr} dB": snr for snr in (15, 10, 5, 0, -5)}
CODECS = {
    "mp3 32k": ("libmp3lame", 32_000, RATE),
    "opus 12k": ("libopus", 12_000, RATE),
    "mp3 16k": ("libmp3lame", 16_000, RATE),
    "aac 32k": ("aac", 32_000, RATE),
    "aac 16k": ("aac", 16_000, RATE),
    "amr 5.9k": ("libopencore_amrnb", 5_900, 8_000),
}  # codec, bits/s, Hz
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
    "speed +4 %",
    "speed -2 %",
    "pitch +1",
    "tempo +6 %",
)
LENGTHS = (3.0, 5.0, 10.0)
WIDE = (
    *((condition, length) for condition in ("clean", "noise 10 dB") for length in (1.0, 2.0)),
    *((condition, length) for condition in ("noise 15 dB", "noise -5 dB") for length in LENGTHS),
    *(
        (condition, 5.0)
        for condition in ("aac 32k", "aac 16k", "mp3 16k", "amr 5.9k", "drop-outs 20 %", "two songs 0 dB")
    ),
    *((condition, 10.0) for condition in SPEEDS if condition not in CONDITIONS),
)
NEEDS = {"speech 0 dB": "speech", "two songs 0 dB": "others"}  # condition -> what of the surroundings


@dataclass(frozen=True)
class Surroundings:
    """What clips are damaged with, all at RATE. Without recordings, noise is pink and nobody speaks."""

    noise: list[np.ndarray]
    speech: list[np.ndarray]
    rooms: list[np.ndarray]
    others: list[np.ndarray] = field(default_factory=list)  # music that is in no library, played at the same time

    @classmethod
    def load(
        cls, noise: Sequence[Path], speech: Sequence[Path], room_seed: int, others: Sequence[Path] = ()
    ) -> Surroundings:
        return cls(
            [files.load(path, RATE) for path in noise],
            [files.load(path, RATE) for path in speech],
            rooms.simulate(20, RATE, room_seed),
            [files.load(path, RATE, duration=90) for path in others],
        )

    def possible(self, grid: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
        """The grid without the conditions that need recordings which are not there."""
        return [
            (condition, length)
            for condition, length in grid
            if condition not in NEEDS or getattr(self, NEEDS[condition])
        ]


@dataclass(frozen=True)
class Clip:
    """A question with its answer."""

    samples: np.ndarray  # at the encoder's sample rate
    track: str  # path of the music
    start: float  # seconds in it
    condition: str
    length: float
    speed: float  # seconds of the recording that pass in a second of the clip
    heard: np.ndarray  # the clip at RATE, from which the samples were made: for systems with other rates


def cut(
    music: np.ndarray, start: float, length: float, condition: str, around: Surroundings, rng: np.random.Generator
) -> np.ndarray:
    """(n,) at RATE -> (length * RATE,): the clip that begins at `start` seconds, damaged."""
    tempo, pitch = SPEEDS.get(condition, (1.0, 1.0))
    first = int((start - CONTEXT * tempo) * RATE)
    excerpt = music[first : int((start + length * tempo + TAIL) * RATE)]
    if condition in SPEEDS:
        excerpt = degrade.stretch(excerpt, RATE, tempo, pitch)
    excerpt = _damage(excerpt, condition, around, rng)
    begin = int(CONTEXT * RATE)
    return np.pad(excerpt, (0, RATE))[begin : begin + int(length * RATE)].astype(np.float32)


def _damage(excerpt: np.ndarray, condition: str, around: Surroundings, rng: np.random.Generator) -> np.ndarray:
    def noisy(samples: np.ndarray, snr: float) -> np.ndarray:
        noise = around.noise[rng.integers(len(around.noise))] if around.noise else None
        return degrade.add_noise(samples, snr, rng, noise)

    if condition in CODECS:
        codec, bit_rate, rate = CODECS[condition]
        return at_rate(degrade.code(at_rate(excerpt, RATE, rate), rate, codec, bit_rate), rate, RATE)
    if condition in NOISES:
        return noisy(excerpt, NOISES[condition])
    if condition == "room + noise 5 dB":
        return noisy(degrade.convolve(excerpt, around.rooms[rng.integers(len(around.rooms))]), 5)
    if condition == "phone":
        return degrade.phone(noisy(excerpt, 10), RATE, rng)
    if condition == "speech 0 dB":
        return degrade.mix(excerpt, _talk(len(excerpt), around, rng), 0)
    if condition == "drop-outs 20 %":
        return degrade.drop_out(excerpt, RATE, 0.2, rng)
    if condition == "two songs 0 dB":
        other = around.others[rng.integers(len(around.others))]
        start = rng.integers(max(1, len(other) - len(excerpt)))
        return degrade.mix(excerpt, other[start : start + len(excerpt)], 0)
    if condition != "clean" and condition not in SPEEDS:
        raise ValueError(f"condition={condition!r} is none of {', '.join(dict.fromkeys((*CONDITIONS, *dict(WIDE))))}")
    return excerpt


def _talk(count: int, around: Surroundings, rng: np.random.Generator) -> np.ndarray:
    """(count,) samples of lines spoken one after the other."""
    parts, total = [], 0
    while total < count:
        parts.append(around.speech[rng.integers(len(around.speech))])
        total += len(parts[-1])
    return np.concatenate(parts)[:count]


def draw(
    paths: Sequence[Path],
    per_condition: int,
    around: Surroundings,
    sample_rate: int,
    seed: int,
    lengths: Sequence[float] = LENGTHS,
    grid: Sequence[tuple[str, float]] | None = None,
) -> Iterator[Clip]:
    """`per_condition` clips for each condition and length, spread evenly over the files.

    Asked for are CONDITIONS at all `lengths`, or the pairs of `grid`. Places are random but sounding: a clip
    is cut where the music is within 40 dB of its loudest.
    """
    rng = np.random.default_rng(seed)
    pairs = [(condition, length) for condition in CONDITIONS for length in lengths] if grid is None else grid
    wanted = around.possible(pairs) * per_condition
    rng.shuffle(wanted)
    for number, path in enumerate(paths):
        share = wanted[number :: len(paths)]
        if number % 10 == 0:
            print(f"cutting clips: {number}/{len(paths)} files", file=sys.stderr)
        try:
            music = files.load(path, RATE) if share else None
        except AudioError:
            continue
        for condition, length in share:
            tempo = SPEEDS.get(str(condition), (1.0, 1.0))[0]
            start = _sounding_place(music, float(length), max(USUAL, tempo), rng)
            if start is None:
                continue
            samples = cut(music, start, float(length), str(condition), around, rng)
            yield Clip(
                at_rate(samples, RATE, sample_rate), str(path), start, str(condition), float(length), tempo, samples
            )


def _sounding_place(music: np.ndarray, length: float, tempo: float, rng: np.random.Generator) -> float | None:
    span = len(music) / RATE - tempo * length - 2 * CONTEXT - TAIL
    if span <= 0:
        return None
    loud = degrade.rms(music)
    for _ in range(20):
        start = tempo * CONTEXT + rng.random() * span
        part = music[int(start * RATE) : int((start + length) * RATE)]
        if min(degrade.rms(third) for third in np.array_split(part, 3)) > 0.01 * loud:
            return start
    return None


def nothings(sample_rate: int, around: Surroundings, count: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """What must never be answered: (name, samples) of silence, tones, chords, sweeps, noise, speech."""
    rng = np.random.default_rng(seed)
    times = np.arange(5 * sample_rate) / sample_rate
    for _ in range(count):
        frequency = rng.uniform(80, 3500)
        yield "silence", np.zeros(len(times), np.float32)
        yield "dither", (rng.integers(-1, 2, len(times)) / 32768).astype(np.float32)
        yield "tone", (0.5 * np.sin(2 * np.pi * frequency * times)).astype(np.float32)
        yield "faded tone", (0.5 * np.sin(2 * np.pi * frequency * times) * times / 5).astype(np.float32)
        yield (
            "chord",
            sum(0.2 * np.sin(2 * np.pi * frequency * ratio * times) for ratio in (1, 1.26, 1.5)).astype(np.float32),
        )
        yield "sweep", (0.5 * np.sin(2 * np.pi * (100 + rng.uniform(50, 300) * times) * times)).astype(np.float32)
        yield "beeps", (0.5 * np.sin(2 * np.pi * frequency * times) * (times % 0.5 < 0.2)).astype(np.float32)
        yield "hum", sum(0.2 / n * np.sin(2 * np.pi * 50 * n * times) for n in (1, 2, 3, 5, 7, 9)).astype(np.float32)
        yield "clicks", ((np.arange(len(times)) % int(rng.integers(800, 8000)) == 0) * 0.8).astype(np.float32)
        yield "white noise", (0.1 * rng.standard_normal(len(times))).astype(np.float32)
        yield "pink noise", 0.1 * degrade.unit(degrade.pink_noise(len(times), rng))
        if around.noise:
            noise = around.noise[rng.integers(len(around.noise))]
            start = rng.integers(max(1, len(noise) - 5 * RATE))
            yield "ambience", at_rate(noise[start : start + 5 * RATE], RATE, sample_rate)
        if around.speech:
            yield "speech", at_rate(_talk(5 * RATE, around, rng), RATE, sample_rate)
