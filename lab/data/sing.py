"""Synthesised singing with words: syllables of recorded speech at the pitches and lengths of notes.

    python -m lab.data.sing --data data --out data/voices

analyses lines of the acted dialogue of `lab.data.corpus`, one file per package, for `lab.data.render_covers --voices`.

The vocoder WORLD (Morise, Yokomori & Ozawa, 2016) decomposes each line into pitch, spectral envelope and aperiodicity.
Every note of a melody gets a syllable: its consonants before the beat, its vowel for the length of the note, with the
pitch contour of singing (slides, overshoot, vibrato, unsteadiness: Saitou et al., "Speech-to-singing synthesis",
WASPAA 2007). Choirs of soundfonts sing a single vowel and lack consonants, changing vowels and breath.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from lab import program
from lab.data import degrade
from lab.data.corpus import SPEECH, spoken_lines
from lab.data.perform import levelled, play
from lab.data.renditions import Part, Rendition, raised
from songprint.audio import files
from songprint.errors import AudioError

ANALYSED_AT = 16000  # Hz, of the speech
SAMPLE_RATE = 8000  # Hz, of the output
STEP = 5.0  # milliseconds between frames of WORLD
PER_SECOND = round(1000 / STEP)
BINS = 129  # of an envelope up to 4 kHz
LINES = 600  # of each package
SHORTEST = 10  # frames of a vowel
LONGEST = 50  # frames of a vowel; a longer one is split
BEFORE = 30  # maximum frames of consonants before a vowel
HIGH_VOICE = 53.0  # MIDI number; voices that speak above it are high
CENTRES = {False: (53.0, 60.0), True: (60.0, 69.0)}  # ranges of the median MIDI number of low and high singing voices
QUIET = -12.0  # log power that counts as silence


@dataclass(frozen=True)
class Line:
    """One spoken line: logarithmic power `envelope` and `aperiodicity` (frames, 129) float32, 200 frames a second,
    and its `syllables`: first frame, first frame of the vowel, frame after the last."""

    envelope: np.ndarray
    aperiodicity: np.ndarray
    voiced: np.ndarray  # (frames,) bool
    syllables: np.ndarray  # (n, 3)
    pitch: float  # MIDI number, the median


def analysed(samples: np.ndarray) -> Line | None:
    """Analyse speech (n,) at 16 kHz; None if it contains fewer than three syllables."""
    import pyworld

    samples = samples.astype(np.float64)
    pitch, times = pyworld.dio(samples, ANALYSED_AT, f0_floor=70, f0_ceil=600, frame_period=STEP)
    pitch = pyworld.stonemask(samples, pitch, times, ANALYSED_AT)
    voiced = pitch > 0
    syllables = syllables_of(voiced)
    if len(syllables) < 3:
        return None
    envelope = pyworld.cheaptrick(samples, pitch, times, ANALYSED_AT)[:, : 2 * BINS - 1 : 2]
    aperiodicity = pyworld.d4c(samples, pitch, times, ANALYSED_AT)[:, : 2 * BINS - 1 : 2]
    return Line(
        np.log(envelope + 1e-12).astype(np.float32),
        aperiodicity.astype(np.float32),
        voiced,
        syllables,
        float(np.median(69 + 12 * np.log2(pitch[voiced] / 440))),
    )


def syllables_of(voiced: np.ndarray) -> np.ndarray:
    """Find the syllables: voiced intervals, long ones split, each with the consonants before it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], voiced.astype(int), [0]])))
    found: list[tuple[int, int, int]] = []
    behind = 0
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start < SHORTEST:
            continue
        cuts = np.linspace(start, end, 1 + max(1, round((end - start) / LONGEST * 1.5))).astype(int)
        for first, last in pairwise(cuts):
            found.append((max(behind, first - BEFORE) if first == start else first, first, last))
        behind = end
    return np.array(found, int).reshape(-1, 3)


@dataclass(frozen=True)
class Singer:
    """A singer: lines that provide the words, and properties of the voice."""

    lines: tuple[Line, ...]
    high: bool
    throat: float  # factor by which formants are raised
    steadiness: float  # semitones, standard deviation of the pitch


def hire(voices: Path, split: str, rng: np.random.Generator) -> Singer:
    """Choose a singer for works of a split. Held-out works are sung in another language than training works."""
    package = SPEECH["train" if split == "train" else "acceptance"]
    lines = _lines(str(voices / f"{package}.npz"))
    high = bool(rng.random() < 0.5)
    pool = [line for line in lines if (line.pitch > HIGH_VOICE) == high]
    if not pool:
        raise SystemExit(f"{voices} has no {'high' if high else 'low'} voice of {package}: run lab.data.sing")
    chosen = tuple(pool[i] for i in rng.permutation(len(pool))[:40])
    return Singer(chosen, high, float(rng.uniform(0.9, 1.12)), float(rng.uniform(0.05, 0.25)))


def octave_for(singer: Singer, part: Part, rng: np.random.Generator) -> Part:
    """Transpose the part by octaves into the range of the singer."""
    octaves = round((rng.uniform(*CENTRES[singer.high]) - float(np.median(part.notes["pitch"]))) / 12)
    return replace(part, notes=raised(part.notes, 12 * octaves))


def within_reach(rendition: Rendition, singer: Singer, rng: np.random.Generator) -> Rendition:
    """Transpose the melody, and parts that double it, by octaves into the range of the singer."""
    tune = tune_of(rendition)
    if tune is None:
        return rendition
    steps = int(octave_for(singer, tune, rng).notes["pitch"][0] - tune.notes["pitch"][0])
    return replace(
        rendition,
        parts=tuple(
            replace(part, notes=raised(part.notes, steps)) if part.role == "melody" else part
            for part in rendition.parts
        ),
    )


def tune_of(rendition: Rendition) -> Part | None:
    """Return the part that is sung, the first melody part."""
    return next((part for part in rendition.parts if part.role == "melody"), None)


def perform(rendition: Rendition, font: Path, singer: Singer, rng: np.random.Generator) -> np.ndarray:
    """Render as `lab.data.perform.play` does, with a sung melody. Raises ValueError without a melody."""
    tune = tune_of(rendition)
    if tune is None:
        raise ValueError(f"{rendition.work} has no melody that could be sung")
    company = replace(rendition, parts=tuple(part for part in rendition.parts if part is not tune))
    voice = sing(tune, rendition.duration, rendition.tuning, singer, rng)
    if rng.random() < 0.15:  # double tracking
        voice = voice + 0.7 * sing(tune, rendition.duration, rendition.tuning, singer, rng)
    if rng.random() < 0.4:
        voice = degrade.room(voice, SAMPLE_RATE, rng.uniform(0.3, 1.5), rng)
    if company.parts:
        played = degrade.unit(play(company, font))
        voice = voice * 10 ** (rng.uniform(-4, 8) / 20)
        length = min(len(played), len(voice))
        voice = voice[:length] + played[:length]
    return levelled(voice).astype(np.float32)


def sing(part: Part, duration: float, tuning: float, singer: Singer, rng: np.random.Generator) -> np.ndarray:
    """Synthesise the voice: (n,) float32 at 8 kHz, of `duration` seconds, with an RMS of 1 where it sounds.

    `tuning` is in semitones, added to every pitch.
    """
    import pyworld

    count = round(duration * PER_SECOND) + 1
    notes = one_at_a_time(part.notes, count)
    pitch = pitches(notes, count, part, tuning, singer, rng)
    envelope, aperiodicity = words(notes, count, pitch, singer, rng)
    samples = pyworld.synthesize(
        pitch, np.exp(envelope.astype(np.float64)), aperiodicity.astype(np.float64), SAMPLE_RATE, STEP
    ).astype(np.float32)
    wanted = round(duration * SAMPLE_RATE)
    samples = np.pad(samples, (0, max(0, wanted - len(samples))))[:wanted]
    loud = np.abs(samples) > 0.05 * np.abs(samples).max(initial=1e-9)
    return samples / np.float32(degrade.rms(samples[loud]) if loud.any() else 1)


def one_at_a_time(notes: np.ndarray, count: int) -> list[tuple[int, int, int]]:
    """Return (first frame, frame after the last, MIDI number) of each note. Each ends where the next begins."""
    notes = np.sort(notes, order="start")
    starts = (notes["start"] * PER_SECOND).round().astype(int)
    ends = np.minimum((notes["end"] * PER_SECOND).round().astype(int), np.append(starts[1:], count))
    return [
        (int(start), int(end), int(pitch))
        for start, end, pitch in zip(starts, ends, notes["pitch"], strict=True)
        if end - start >= SHORTEST and end <= count
    ]


def pitches(
    notes: list[tuple[int, int, int]], count: int, part: Part, tuning: float, singer: Singer, rng: np.random.Generator
) -> np.ndarray:
    """Return the frequency of each frame in Hz, 0 without voice."""
    semitones, sung = np.zeros(count), np.zeros(count, bool)
    depth = part.vibrato or float(rng.uniform(0, 0.4))
    rate, slide = rng.uniform(4.6, 6.6), rng.uniform(0.02, 0.07)
    before = 0
    last: int | None = None
    for start, end, pitch in notes:
        times = np.arange(end - start) / PER_SECOND
        legato = last is not None and start - before < 0.15 * PER_SECOND
        below = (
            float(np.clip(last - pitch, -12, 12))
            if last is not None and legato
            else -(part.scoop or rng.uniform(0, 0.8))
        )
        tremble = depth * np.sin(2 * np.pi * (rate * times + rng.random())) * np.clip((times - 0.25) / 0.3, 0, 1)
        overshoot = -0.15 * below * np.exp(-(((times - 0.12) / 0.05) ** 2))
        semitones[start:end] = pitch + below * np.exp(-times / slide) + tremble + overshoot
        sung[start:end] = True
        before, last = end, pitch
    stray = np.interp(np.arange(count), np.arange(0, count + 20, 20), rng.standard_normal((count + 39) // 20))
    frequencies = 440 * 2 ** ((semitones + tuning + singer.steadiness * stray - 69) / 12)
    return np.where(sung, frequencies.clip(65, 1500), 0.0)


def words(
    notes: list[tuple[int, int, int]], count: int, pitch: np.ndarray, singer: Singer, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Assign syllables to notes and return logarithmic envelope and aperiodicity, each (count, 129)."""
    throat = np.clip(np.arange(BINS) / singer.throat, 0, BINS - 1.001)
    low = throat.astype(int)
    share = (throat - low).astype(np.float32)
    envelope = np.full((count, BINS), QUIET, np.float32) - 12
    aperiodicity = np.ones((count, BINS), np.float32)
    syllables = _syllables_in_turn(singer, rng)
    behind = 0
    for start, end, _ in notes:
        line, (first, vowel, last) = next(syllables)
        consonants = min(vowel - first, (start - behind) // 2 if start > behind else 4)
        frames = np.concatenate([np.arange(vowel - consonants, vowel), _held(vowel, last, end - start)])
        at = np.arange(max(0, start - consonants), end)
        frames = frames[-len(at) :]
        below = np.clip(frames.astype(int), 0, len(line.envelope) - 2)
        part = (frames - below).astype(np.float32)[:, None]
        log = line.envelope[below] * (1 - part) + line.envelope[below + 1] * part
        log = log[:, low] * (1 - share) + log[:, low + 1] * share
        loudness = np.log(np.exp(line.envelope[vowel:last]).mean() + 1e-12)  # equal loudness of all syllables
        gain = -loudness + rng.normal(0, 0.5)
        fade = np.log(np.clip((end - at) / 12, 0.02, 1))[:, None] * 2
        envelope[at] = np.maximum(log + gain, -12) + fade
        noisy = line.aperiodicity[below][:, low]
        aperiodicity[at] = np.where(pitch[at][:, None] > 0, noisy, 1.0)
        behind = end
    return envelope, aperiodicity.clip(0.001, 0.999)


def _held(first: int, last: int, count: int) -> np.ndarray:
    """Return the place in the vowel of each of `count` frames: only the middle of the vowel is stretched."""
    edge = min(8, (last - first) // 3, count // 3)
    middle = np.linspace(first + edge, last - edge - 1, count - 2 * edge)
    return np.concatenate([np.arange(first, first + edge), middle, np.arange(last - edge, last)])


def _syllables_in_turn(singer: Singer, rng: np.random.Generator) -> Iterator[tuple[Line, np.ndarray]]:
    """Yield the syllables of all lines in random order, endlessly."""
    while True:
        for i in rng.permutation(len(singer.lines)):
            for syllable in singer.lines[i].syllables:
                yield singer.lines[i], syllable


@lru_cache(maxsize=2)
def _lines(path: str) -> list[Line]:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    ends, counts = np.cumsum(arrays["frames"])[:-1], np.cumsum(arrays["counts"])[:-1]
    parts = [np.split(arrays[name].astype(np.float32), ends) for name in ("envelope", "aperiodicity")]
    return [
        Line(envelope, aperiodicity, voiced, syllables, float(pitch))
        for envelope, aperiodicity, voiced, syllables, pitch in zip(
            *parts,
            np.split(arrays["voiced"], ends),
            np.split(arrays["syllables"], counts),
            arrays["pitch"],
            strict=True,
        )
    ]


def analysed_file(path: Path) -> Line | None:
    """Analyse one file. Unreadable files are reported and skipped."""
    try:
        return analysed(files.load(path, ANALYSED_AT))
    except AudioError as error:
        print(f"{path.name}: {error}", file=sys.stderr)
        return None


def save_lines(target: Path, lines: list[Line]) -> None:
    """Write the lines of a package into one file."""
    unfinished = target.with_suffix(".part.npz")
    np.savez(
        unfinished,
        frames=[len(line.envelope) for line in lines],
        counts=[len(line.syllables) for line in lines],
        pitch=[line.pitch for line in lines],
        voiced=np.concatenate([line.voiced for line in lines]),
        syllables=np.concatenate([line.syllables for line in lines]),
        envelope=np.concatenate([line.envelope for line in lines]).astype(np.float16),
        aperiodicity=np.concatenate([line.aperiodicity for line in lines]).astype(np.float16),
    )
    unfinished.rename(target)


def main() -> None:
    parser = program.parser(__doc__, "out", data=program.DATA)
    parser.add_argument("--lines", type=int, default=LINES, help="lines of each package")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for split, package in SPEECH.items():
        paths = spoken_lines(options.data, split)
        with ProcessPoolExecutor() as pool:
            lines = list(pool.map(analysed_file, paths[:: max(1, len(paths) // options.lines)], chunksize=8))
        save_lines(options.out / f"{package}.npz", [line for line in lines if line])
        print(f"{package}: {len(lines)} lines, {len(lines) - lines.count(None)} of them usable", file=sys.stderr)


if __name__ == "__main__":
    main()
