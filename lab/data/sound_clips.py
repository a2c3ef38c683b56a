"""Clips of music, speech and other sounds for the sound classifier (`songprint.scan.sounds`).

Clips last ten seconds. Music is unchanged, coded, in noise, or under speech that is up to 10 dB louder; speech is
unchanged, in a room, on the phone, in noise, or over music that is at least 16 dB softer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab import program
from lab.data import corpus, degrade
from lab.measure.recordings import music_in
from songprint.audio import files
from songprint.scan import sounds
from songprint.types import Sound

RATE = sounds.SAMPLE_RATE
CLIP = 10  # seconds
MUSIC_UNDER = (-10.0, 20.0)  # dB of the music relative to the speech, in clips of class music
SPEECH_OVER = (16.0, 40.0)  # dB of the speech relative to the music, in clips of class speech
WEATHER = {"rain", "wind_ambient", "wind_loop"}  # files without music among the music of a game
WITHIN = 40.0  # dB below the loudest second of a clip; softer seconds are left out


@dataclass(frozen=True)
class Material:
    """Samples at RATE; levels are not equalised."""

    music: list[np.ndarray]
    speech: list[np.ndarray]
    noise: list[np.ndarray]


def training(data: Path, noise: Path) -> Material:
    tracks = corpus.load_tracks(data, "train")
    music = [
        corpus.load_pcm(data, track, copy)
        for track in tracks
        for copy in ("", ".coded")
        if (data / "pcm" / f"{track.id:05d}{copy}.npy").exists()
    ]
    return Material(
        music,
        [files.load(path, RATE) for path in corpus.spoken_lines(data)],
        [files.load(path, RATE) for path in corpus.ambience(noise)],
    )


def held_out(data: Path, noise: Path, folders: list[Path]) -> Material:
    return Material(
        [files.load(path, RATE, duration=300) for path in music_in(folders) if path.stem not in WEATHER],
        [files.load(path, RATE) for path in corpus.spoken_lines(data, "acceptance")[:400]],
        [files.load(path, RATE) for path in corpus.ambience(noise, "acceptance")],
    )


def clips(material: Material, count: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """(description, samples), `count` clips of each class: MUSIC, SPEECH and OTHER."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        music, speech, noise = (_cut(material.music, rng), _talk(material.speech, rng), _cut(material.noise, rng))
        yield _music(music, speech, noise, rng)
        yield _speech(_talk(material.speech, rng), _cut(material.music, rng), _cut(material.noise, rng), rng)
        yield "noise", _cut(material.noise, rng) if rng.random() < 0.8 else _made_noise(rng)


def label(name: str) -> Sound:
    return {"music": Sound.MUSIC, "speech": Sound.SPEECH, "noise": Sound.OTHER}[name.partition(",")[0]]


def _music(
    music: np.ndarray, speech: np.ndarray, noise: np.ndarray, rng: np.random.Generator
) -> tuple[str, np.ndarray]:
    how = rng.random()
    if how < 0.35:
        snr = rng.uniform(*MUSIC_UNDER)
        return f"music, under speech {_band(-snr)}", degrade.mix(music, speech, snr)
    if how < 0.5:
        return "music, in noise", degrade.mix(music, noise, rng.uniform(5, 25))
    return "music, alone", music


def _speech(
    speech: np.ndarray, music: np.ndarray, noise: np.ndarray, rng: np.random.Generator
) -> tuple[str, np.ndarray]:
    how = rng.random()
    if how < 0.15:
        return "speech, over faint music", degrade.mix(speech, music, rng.uniform(*SPEECH_OVER))
    if how < 0.4:
        return "speech, in noise", degrade.mix(speech, noise, rng.uniform(8, 30))
    if how < 0.5:
        return "speech, phone", degrade.phone(speech, RATE, rng)
    if how < 0.65:
        return "speech, in a room", degrade.room(speech, RATE, rng.uniform(0.2, 0.7), rng)
    return "speech, alone", speech


def _band(decibels: float) -> str:
    return "5 to 10 dB louder" if decibels > 5 else "0 to 5 dB louder" if decibels > 0 else "softer"


def _cut(pieces: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """A random clip at unit level, float32."""
    piece = pieces[rng.integers(len(pieces))]
    start = rng.integers(max(1, len(piece) - CLIP * RATE))
    clip = np.asarray(piece[start : start + CLIP * RATE], np.float32)
    return degrade.unit(np.resize(clip, CLIP * RATE))


def _talk(lines: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Spoken lines with pauses between them."""
    parts, total = [], 0
    while total < CLIP * RATE:
        parts += [
            degrade.unit(lines[rng.integers(len(lines))]),
            np.zeros(int(rng.uniform(0.05, 0.6) * RATE), np.float32),
        ]
        total += len(parts[-1]) + len(parts[-2])
    start = rng.integers(max(1, total - CLIP * RATE))
    return np.concatenate(parts)[start : start + CLIP * RATE]


def _made_noise(rng: np.random.Generator) -> np.ndarray:
    """Hiss, hum, clicks or tones, which no ambience recording contains alone."""
    times = np.arange(CLIP * RATE) / RATE
    kinds = (
        lambda: rng.standard_normal(len(times)),
        lambda: degrade.pink_noise(len(times), rng),
        lambda: sum(np.sin(2 * np.pi * 50 * n * times) / n for n in range(1, 9)),
        lambda: (rng.random(len(times)) < rng.uniform(0.5, 20) / RATE) * 1.0,
        lambda: np.sin(2 * np.pi * rng.uniform(80, 3500) * times),
    )
    return degrade.unit((kinds[rng.integers(len(kinds))]() + 1e-3 * rng.standard_normal(len(times))).astype(np.float32))


def described(samples: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The input of the network for each second of a clip, at a random level, and which seconds are audible."""
    samples = (samples * 10 ** (rng.uniform(-45, -8) / 20)).clip(-1, 1)
    padded = np.pad(samples, (0, sounds.REACH))
    levels = 20 * np.log10(np.sqrt(np.square(samples.reshape(CLIP, -1)).mean(axis=1)) + 1e-9)
    return sounds.in_context(sounds.features(padded)), levels > levels.max() - WITHIN


def measure(network: sounds.Network, material: Material, count: int, seed: int) -> str:
    """A table of classifications by kind of clip: of single seconds, and of seconds smoothed over the clip."""
    rng = np.random.default_rng(seed + 1)
    alone: dict[str, list[np.ndarray]] = {}
    smooth: dict[str, list[np.ndarray]] = {}
    for name, samples in clips(material, count, seed):
        context, audible = described(samples, rng)
        likelihoods = network.log_probabilities(context)
        alone.setdefault(name, []).append(likelihoods.argmax(axis=1)[audible])
        bounded = sounds.with_silence(likelihoods, np.zeros(len(likelihoods), bool))
        smooth.setdefault(name, []).append(sounds.likeliest(bounded)[audible])
    rows = []
    for name in sorted(alone):
        called, in_clip = np.concatenate(alone[name]), np.concatenate(smooth[name])
        shares = [f"{100 * np.equal(called, number).mean():.1f}%" for number in range(len(sounds.CLASSES))]
        correct = np.equal(in_clip, sounds.CLASSES.index(label(name))).mean()
        rows.append([name, len(called), *shares, f"{100 * correct:.1f}%"])
    return program.table(
        ["what", "seconds", *(f"called {each}" for each in sounds.CLASSES), "correct in ten seconds"], rows
    )
