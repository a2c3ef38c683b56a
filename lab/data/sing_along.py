"""Real music with a synthesised voice over it: real sounds with a known melody.

    python -m lab.data.teacher --data data --out data/crema
    python -m lab.data.sing --data data --out data/voices
    python -m lab.data.sing_along --data data --crema data/crema --voices data/voices --out data/along

writes `NNNNN.npz` for every real track of training and calibration: an excerpt over which a voice (`lab.data.sing`)
sings a random melody that fits the chords detected by the teacher. It contains `samples` (int16, 8 kHz), `melody`
((frames, 84) uint8, 5 per second) and `start`, the position of the excerpt in the track in seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lab import program
from lab.data import degrade, perform, sing
from lab.data.corpus import Track, load_pcm, load_tracks
from lab.data.perform import LOWEST, SEMITONES
from lab.data.renditions import Part
from lab.data.scores import NOTE
from lab.data.teacher import HOP_SAMPLES, SAMPLE_RATE
from songprint.covers.tonal import FRAMES_PER_SECOND

EXCERPT = 60.0  # seconds
LENGTHS = (0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6)  # seconds; lengths of notes before scaling
BELONGS = 128  # of 255; above this output of the teacher, a pitch class belongs to the chord


def tune(taught: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Invent a melody (of NOTE, in seconds) that fits chords (frames, 12) uint8: small steps, chord tones on long
    notes."""
    pace = SAMPLE_RATE / HOP_SAMPLES
    seconds, now = len(taught) / pace, 0.0
    pitch, speed = int(rng.integers(55, 68)), rng.uniform(0.6, 1.5)
    scale = np.argsort(-taught.sum(axis=0, dtype=np.int64))[:7]
    notes = []
    while now < seconds - 0.3:
        if rng.random() < 0.08:  # a breath
            now += rng.uniform(0.4, 3)
            continue
        length = min(float(rng.choice(LENGTHS)) * speed, seconds - now)
        chord = np.flatnonzero(taught[min(int(now * pace), len(taught) - 1)] > BELONGS)
        classes = chord if len(chord) and (length > 0.35 or rng.random() < 0.5) else scale
        near = [step for step in range(-9, 10) if (pitch + step) % 12 in classes and 45 <= pitch + step <= 80]
        weights = np.exp(-np.abs(near) / 2.5) if near else np.ones(1)
        pitch += int(rng.choice(near or [0], p=weights / weights.sum()))
        notes.append((now, now + length * 0.97, pitch, 90))
        now += length
    return np.array(notes, NOTE)


def with_voice(job: tuple[Path, Path, Path, Path, Track]) -> float:
    """Write the excerpt of one track and return its seconds. Existing files and tracks without chords are skipped."""
    data, crema, voices, out, track = job
    path, chords = out / f"{track.id:05d}.npz", crema / f"{track.id:05d}.npy"
    if path.exists() or not chords.exists():
        return 0.0
    rng = np.random.default_rng([track.id, 2])
    taught, pace = np.load(chords), SAMPLE_RATE / HOP_SAMPLES
    known = min(len(taught) / pace, track.duration)
    length = min(EXCERPT, known)
    start = rng.uniform(0, known - length)
    music = np.asarray(load_pcm(data, track)[int(start * perform.SAMPLE_RATE) :][: int(length * perform.SAMPLE_RATE)])
    notes = tune(taught[int(start * pace) : int((start + length) * pace)], rng)
    if not music.any() or not len(notes):
        return 0.0
    singer = sing.hire(voices, track.split, rng)
    part = sing.octave_for(singer, Part("melody", 0, 0.0, notes), rng)
    voice = sing.sing(part, length, 0.0, singer, rng)[: len(music)]
    if rng.random() < 0.5:
        voice = degrade.room(voice, sing.SAMPLE_RATE, rng.uniform(0.3, 1.5), rng)
    samples = degrade.unit(music.astype(np.float32))[: len(voice)] + voice * 10 ** (rng.uniform(-5, 6) / 20)
    samples = perform.levelled(samples)
    melody = np.zeros((int(length * FRAMES_PER_SECOND), SEMITONES), np.float32)
    for note in part.notes:
        span, share = perform.frames_of(note, FRAMES_PER_SECOND, len(melody))
        melody[span, note["pitch"] - LOWEST] = np.maximum(melody[span, note["pitch"] - LOWEST], share)
    unfinished = path.with_suffix(".part.npz")
    np.savez_compressed(
        unfinished, samples=(samples * 32767).astype(np.int16), start=start, melody=(melody * 255).astype(np.uint8)
    )
    unfinished.rename(path)
    return length


def main() -> None:
    options = program.parser(__doc__, "crema", "voices", "out", data=program.DATA).parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    program.run_jobs(
        with_voice,
        [
            (options.data, options.crema, options.voices, options.out, track)
            for split in ("train", "calibration")
            for track in load_tracks(options.data, split)
            if track.path
        ],
        program.CORES,
    )


if __name__ == "__main__":
    main()
