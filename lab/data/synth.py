"""Synthesised music: renders tunes with a small synthesizer, so that the demo and the tests need no recordings.

    python -m lab.data.synth OUT_DIR [--count N] [--seed S]

writes tagged files `Artist - Title.flac`: first the twenty tunes of `lab.data.tunes`, then invented ones. The seed
determines instruments, tempo, timing and loudness: the same seed gives the same samples, another seed gives other
recordings of the same tunes. Timing and loudness vary as with human players, so no two verses are identical.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lab import program
from lab.data.tunes import TUNES, Tune, invent

SAMPLE_RATE = 22050
SHORTEST, LONGEST = 42.0, 80.0  # seconds; verses are repeated to reach them
TIMING = 0.012  # seconds; standard deviation of onset times
TAKES = 3  # different renderings of each pitch, chosen at random

Instrument = Callable[[float, np.ndarray, np.random.Generator], np.ndarray]


def pieces(count: int, seed: int = 0) -> list[Tune]:
    """Return the first `count` pieces: the written tunes, then invented ones that depend on the seed."""
    inventions = range(1000 * seed + 1, 1000 * seed + 1 + max(0, count - len(TUNES)))
    return [*TUNES[:count], *(invent(number) for number in inventions)]


def render(tune: Tune, seed: int = 0) -> np.ndarray:
    """Render the tune: (n,) float32 mono at `SAMPLE_RATE`, 40 to 90 s. The seed determines every sample."""
    rng = np.random.default_rng([seed, zlib.crc32(tune.title.encode())])
    tempo = tune.tempo * rng.uniform(0.92, 1.08)
    verse = tune.beats * 60 / tempo
    verses = max(1, round(rng.uniform(SHORTEST, LONGEST) / verse))
    if verses * verse < SHORTEST - 2:
        verses += 1
    band = Band(60 / tempo, verses * verse, rng)
    lead = [LEADS[i] for i in rng.choice(len(LEADS), size=2, replace=False)]
    chords, drums = COMPANIONS[rng.choice(len(COMPANIONS))], rng.uniform() < 0.6
    patterns = rng.permutation(PATTERNS)
    for number in range(verses):
        start = number * tune.beats
        octave = 12 * int(rng.integers(0, 2)) if number % 2 else 0
        band.melody(tune, start, lead[number % 2], octave)
        band.bass(tune, start)
        band.chords(tune, start, chords, patterns[number % len(patterns)])
        if drums and number:  # the drums start with the second verse
            band.drums(tune, start)
    return band.mix()


class Band:
    """Adds notes to a track, with random deviations of timing, loudness and pitch."""

    def __init__(self, seconds_per_beat: float, duration: float, rng: np.random.Generator) -> None:
        self.seconds_per_beat = seconds_per_beat
        self.rng = rng
        self.track = np.zeros(int((duration + 2.5) * SAMPLE_RATE), dtype=np.float32)
        self.takes: dict[tuple[Instrument, int, int], np.ndarray] = {}

    def melody(self, tune: Tune, start: float, instrument: Instrument, octave: int) -> None:
        for note in tune.notes():
            self.play(instrument, note.pitch + octave, start + note.start, note.beats, 0.5)

    def bass(self, tune: Tune, start: float) -> None:
        """Play the root on the first beat of a chord and the fifth in its middle."""
        for chord in tune.harmony():
            root, fifth = 36 + chord.pitch_classes[0], 36 + chord.pitch_classes[2]
            half = chord.beats / 2
            self.play(plucked_bass, root, start + chord.start, half, 0.5)
            self.play(plucked_bass, fifth, start + chord.start + half, half, 0.4)

    def chords(self, tune: Tune, start: float, instrument: Instrument, pattern: str) -> None:
        for chord in tune.harmony():
            pitches = [55 + (pitch_class - 55) % 12 for pitch_class in chord.pitch_classes]
            if pattern == "held":
                beats, groups = chord.beats, [pitches]
            elif pattern == "struck":
                beats, groups = 1.0, [pitches] * round(chord.beats)
            else:  # broken into single notes
                beats, groups = 0.5, [[pitches[step % 3]] for step in range(round(2 * chord.beats))]
            for step, group in enumerate(groups):
                for pitch in group:
                    self.play(instrument, pitch, start + chord.start + step * beats, beats, 0.16)

    def drums(self, tune: Tune, start: float) -> None:
        for beat in range(round(tune.beats)):
            on_one = beat % tune.bar == 0
            self.play(kick if on_one else snare if beat % 2 else hat, 0, start + beat, 1, 0.35)
            self.play(hat, 0, start + beat + 0.5, 0.5, 0.15)

    def play(self, instrument: Instrument, pitch: int, beat: float, beats: float, loudness: float) -> None:
        """Add one note: a take of its pitch, cut to length, slightly early or late."""
        sound = self._take(instrument, pitch)
        length = min(len(sound), int((beats * self.seconds_per_beat * 1.05 + 0.08) * SAMPLE_RATE))
        release = min(length, int(0.08 * SAMPLE_RATE))
        sound = sound[:length] * np.float32(loudness * self.rng.uniform(0.75, 1.15))
        sound[-release:] *= np.linspace(1, 0, release, dtype=np.float32)
        seconds = beat * self.seconds_per_beat + self.rng.normal(0, TIMING)
        at = max(0, int(seconds * SAMPLE_RATE))
        room = self.track[at : at + length]
        room += sound[: len(room)]

    def mix(self) -> np.ndarray:
        """Return the track with a short echo, at a peak of 0.8."""
        track = self.track.copy()
        for seconds, gain in ((0.031, 0.25), (0.053, 0.18), (0.089, 0.12), (0.137, 0.07)):
            delay = int(seconds * SAMPLE_RATE)
            track[delay:] += np.float32(gain) * self.track[:-delay]
        return track * np.float32(0.8 / np.abs(track).max())

    def _take(self, instrument: Instrument, pitch: int) -> np.ndarray:
        key = (instrument, pitch, int(self.rng.integers(TAKES)))
        if key not in self.takes:
            frequency = 440 * 2 ** ((pitch - 69 + self.rng.normal(0, 0.03)) / 12)
            self.takes[key] = instrument(frequency, TIME, self.rng).astype(np.float32)
        return self.takes[key]


# Instruments: (frequency in Hz, times in seconds, random generator) -> samples with a peak of about 1.

TIME = np.arange(int(2.2 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE


def plucked(frequency: float, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A plucked string, whose high harmonics decay first."""
    return _harmonics(frequency, time, 14, rng, slope=1.1, decay=1.6, decay_rise=0.8)


def plucked_bass(frequency: float, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _harmonics(frequency, time, 10, rng, slope=1.3, decay=1.0, decay_rise=0.6)


def organ(frequency: float, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Drawbars: sustained sines at simple ratios, with a tremulant."""
    sound = sum(
        gain * np.sin(2 * np.pi * frequency * ratio * time + rng.uniform(0, 6.28))
        for ratio, gain in ((1, 0.5), (2, 0.35), (3, 0.2), (4, 0.2), (6, 0.1), (8, 0.08))
        if frequency * ratio < SAMPLE_RATE / 2
    )
    return sound * _attack(time, 0.02) * (1 + 0.12 * np.sin(2 * np.pi * 6.1 * time + rng.uniform(0, 6.28)))


def bell(frequency: float, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frequency modulation at an inharmonic ratio, with decay."""
    modulation = rng.uniform(2.0, 3.0) * np.exp(-3 * time) * np.sin(2 * np.pi * 1.41 * frequency * time)
    return np.sin(2 * np.pi * frequency * time + modulation) * np.exp(-2.2 * time)


def strings(frequency: float, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two detuned, softened sawtooth waves with a slow attack."""
    first, second = (
        _harmonics(frequency * detune, time, 16, rng, slope=1.25, decay=0.15, decay_rise=0.02)
        for detune in (0.997, 1.003)
    )
    return 0.6 * (first + second) * _attack(time, 0.09)


def flute(frequency: float, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Few harmonics, with vibrato and breath noise."""
    phase = 2 * np.pi * frequency * time + 1.2 * np.sin(2 * np.pi * rng.uniform(4.6, 5.6) * time)
    tone = 0.7 * np.sin(phase) + 0.2 * np.sin(2 * phase) + 0.08 * np.sin(3 * phase)
    return (tone + 0.015 * rng.standard_normal(len(time))) * _attack(time, 0.05)


def kick(_frequency: float, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * (50 * time - 6 * np.exp(-30 * time))) * np.exp(-9 * time)


def snare(_frequency: float, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(len(time))
    return 0.35 * noise * np.exp(-18 * time) + 0.3 * np.sin(2 * np.pi * 190 * time) * np.exp(-20 * time)


def hat(_frequency: float, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 0.3 * np.diff(rng.standard_normal(len(time) + 1)) * np.exp(-45 * time)


LEADS = (plucked, organ, bell, strings, flute)
COMPANIONS = (plucked, organ, strings)
PATTERNS = ("held", "struck", "broken")


def _harmonics(
    frequency: float,
    time: np.ndarray,
    count: int,
    rng: np.random.Generator,
    *,
    slope: float,
    decay: float,
    decay_rise: float,
) -> np.ndarray:
    """Sum harmonics: number k has amplitude k ** -slope and decays by decay + decay_rise * (k - 1) per second.

    sin(k x) is computed by recurrence, which is ten times as fast as a sine per harmonic.
    """
    angle = 2 * np.pi * frequency * time
    twice_cosine = 2 * np.cos(angle)
    before, current = np.zeros_like(time), np.sin(angle)
    fading, fading_more = np.exp(-decay * time), np.exp(-decay_rise * time)
    sound = np.zeros_like(time)
    for k in range(1, count + 1):
        if k * frequency >= SAMPLE_RATE / 2:
            break
        sound += np.float32(rng.uniform(0.6, 1.2) * k**-slope) * current * fading
        before, current = current, twice_cosine * current - before
        fading = fading * fading_more
    return 0.6 * sound


def _attack(time: np.ndarray, seconds: float) -> np.ndarray:
    return np.minimum(time / np.float32(seconds), 1)


def write(
    path: Path, samples: np.ndarray, sample_rate: int = SAMPLE_RATE, *, title: str = "", artist: str = ""
) -> None:
    """Write mono float32 samples as 16 bits. The suffix determines the format (.flac, .wav, .ogg ...)."""
    import av

    codec = {".wav": "pcm_s16le", ".flac": "flac"}.get(path.suffix.lower())
    with av.open(str(path), "w") as container:
        if title:
            container.metadata["title"] = title
        if artist:
            container.metadata["artist"] = artist
        stream: Any = container.add_stream(codec or container.default_audio_codec, rate=sample_rate, layout="mono")
        whole = np.clip(samples * 32767, -32768, 32767).astype(np.int16)
        convert = av.AudioResampler(format=stream.format, layout="mono", rate=sample_rate)
        frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
        frame.sample_rate = sample_rate
        for piece in [*convert.resample(frame), *convert.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


def write_pieces(folder: Path, count: int = len(TUNES), seed: int = 0) -> list[Path]:
    """Render and write the first `count` pieces. Existing files are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for tune in pieces(count, seed):
        path = folder / f"{tune.artist} - {tune.title}.flac"
        if not path.exists():
            partial = path.with_name(f".{path.name}")  # an interrupted run leaves no incomplete file
            write(partial, render(tune, seed), title=tune.title, artist=tune.artist)
            partial.rename(path)
        paths.append(path)
    return paths


def main() -> None:
    parser = program.parser(__doc__, seed=0)
    parser.add_argument("folder", type=Path, metavar="OUT_DIR")
    parser.add_argument("--count", type=int, default=len(TUNES), help="number of pieces (default: %(default)s)")
    arguments = parser.parse_args()
    paths = write_pieces(arguments.folder, arguments.count, arguments.seed)
    print(f"{len(paths)} pieces in {arguments.folder}")


if __name__ == "__main__":
    main()
