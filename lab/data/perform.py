"""Audio of a rendition, by soundfonts, and its exact labels for every frame."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import resample_poly

from lab.data import degrade
from lab.data.renditions import Part, Rendition

SAMPLE_RATE = 8000
PLAYED_AT = 16000  # Hz; rate of the synthesizer, before resampling to SAMPLE_RATE
STEP = 0.03  # seconds between two pitch bends
LOWEST, SEMITONES = 24, 84  # lowest MIDI number and number of semitones of the labels: C1 to B7
PITCH_CLASSES = 12
DRUMS = 9  # the channel of General MIDI


@lru_cache(maxsize=8)
def _synth(font: str) -> tuple[Any, int]:
    import tinysoundfont

    synth = tinysoundfont.Synth(samplerate=PLAYED_AT)
    return synth, synth.sfload(font)


def play(rendition: Rendition, font: Path) -> np.ndarray:
    """Render the samples: (n,) float32 at 8 kHz with a peak of 0.7. Each part has its own channel."""
    synth, number = _synth(str(font))
    synth.sounds_off()
    events: list[tuple[float, int, int, float, int]] = []  # time, event type, channel, value, velocity
    channels = [channel for channel in range(16) if channel != DRUMS]
    for part, melodic in zip(rendition.parts, _numbered(rendition.parts, channels), strict=True):
        with suppress(RuntimeError):  # small soundfonts lack some programs and keep their first
            synth.program_select(melodic, number, 0, part.program, is_drums=melodic == DRUMS)
        synth.pitchbend(melodic, 8192)
        synth.set_tuning(melodic, rendition.tuning)
        gain = 10 ** (part.gain / 20)
        for note in part.notes:
            velocity = int(np.clip(note["velocity"] * min(gain, 1.4), 12, 127))
            events.append((note["start"], 1, melodic, int(note["pitch"]), velocity))
            events.append((note["end"], 0, melodic, int(note["pitch"]), 0))
            if part.vibrato or part.scoop:
                events += _bends(note, part, melodic)
    events.sort(key=lambda event: event[:2])
    sounds, played = [], 0
    total = int(rendition.duration * PLAYED_AT)
    for when, what, channel, value, velocity in [*events, (rendition.duration, 3, 0, 0, 0)]:
        due = min(int(when * PLAYED_AT), total)
        if due > played:
            sounds.append(np.frombuffer(bytes(synth.generate(due - played)), np.float32).reshape(-1, 2).mean(axis=1))
            played = due
        if what == 0:
            synth.noteoff(channel, int(value))
        elif what == 1:
            synth.noteon(channel, int(value), velocity)
        elif what == 2:
            synth.pitchbend(channel, int(np.clip(8192 + value / 2 * 8192, 0, 16383)))
    samples = resample_poly(np.concatenate(sounds), 1, 2).astype(np.float32)
    return levelled(samples)


def _numbered(parts: tuple[Part, ...], channels: list[int]) -> list[int]:
    free = iter(channels)
    return [DRUMS if part.role == "drums" else next(free) for part in parts]


def _bends(note: np.void, part: Part, channel: int) -> list[tuple[float, int, int, float, int]]:
    """Return pitch bends of a voice, which slides into a note and adds vibrato when it is held."""
    times = np.arange(0, note["end"] - note["start"], STEP)
    slide = -part.scoop * np.exp(-times / 0.05)
    tremble = part.vibrato * np.sin(2 * np.pi * 5.5 * times) * np.clip((times - 0.2) / 0.3, 0, 1)
    return [
        (note["start"] + time, 2, channel, float(bend), 0) for time, bend in zip(times, slide + tremble, strict=True)
    ]


def record(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulate a recording: tone colour, room, noise, limiter."""
    spectrum = np.fft.rfft(samples)
    octaves = np.linspace(-3, 4, 8)  # around 250 Hz
    gains = np.interp(
        np.log2(np.maximum(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE), 1) / 250),
        octaves,
        rng.normal(0, rng.uniform(0, 6), 8),
    )
    samples = np.fft.irfft(spectrum * 10 ** (gains / 20), len(samples)).astype(np.float32)
    if rng.random() < 0.5:
        samples = degrade.room(samples, SAMPLE_RATE, rng.uniform(0.2, 2.0), rng)
    if rng.random() < 0.4:
        samples = degrade.add_noise(samples, rng.uniform(8, 40), rng)
    samples = degrade.unit(samples)
    if rng.random() < 0.4:
        samples = np.tanh(samples * rng.uniform(0.3, 1.5))
    return levelled(samples)


def levelled(samples: np.ndarray) -> np.ndarray:
    """Scale the samples to a peak of 0.7."""
    return np.asarray(samples) * (0.7 / max(float(np.abs(samples).max()), 1e-6))


def frames_of(note: np.void, rate: float, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames in which a note sounds, and its share of each of them."""
    first, last = note["start"] * rate, note["end"] * rate
    span = np.arange(int(first), min(int(np.ceil(last)), frames))
    return span, np.minimum(span + 1, last) - np.maximum(span, first)


def labels(rendition: Rendition, rate: float) -> dict[str, np.ndarray]:
    """Return the notes of each frame of 1 / `rate` seconds: `notes`, `bass`, `melody`, each (frames, 84) in 0..1, and
    `harmony` (frames, 12), the chord of the score (zeros for a melody without accompaniment).

    The value of a note is the share of the frame in which it sounds, and decays within some seconds like the loudness
    of most instruments. The bass is the lowest note below C4.
    """
    frames = int(rendition.duration * rate)
    shape = (frames, SEMITONES)
    notes, melody = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for part in rendition.parts:
        if part.role == "drums":
            continue
        for note in part.notes:
            pitch = int(note["pitch"]) - LOWEST
            if not 0 <= pitch < SEMITONES:
                continue
            span, share = frames_of(note, rate, frames)
            share = share * np.exp(-(span - span[0]) / (rate * 4.0)) if len(span) else share
            notes[span, pitch] = np.maximum(notes[span, pitch], share)
            if part.role == "melody":
                melody[span, pitch] = np.maximum(melody[span, pitch], share)
    sounding = notes[:, : 60 - LOWEST + 1] > 0.3
    bass = np.zeros(shape, np.float32)
    has = sounding.any(axis=1)
    lowest = sounding.argmax(axis=1)
    bass[np.flatnonzero(has), lowest[has]] = 1
    harmony = np.zeros((frames, PITCH_CLASSES), np.float32)
    for note in rendition.chords:
        span, share = frames_of(note, rate, frames)
        harmony[span, note["pitch"]] = np.maximum(harmony[span, note["pitch"]], share)
    return {"notes": notes, "bass": bass, "melody": melody, "harmony": harmony}


def folded(pitches: np.ndarray) -> np.ndarray:
    """Fold (frames, 84) from C1 into pitch classes (frames, 12), taking the maximum."""
    return pitches.reshape(len(pitches), -1, 12).max(axis=1)
