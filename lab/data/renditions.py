"""Renditions of a score as a cover band would play it: other key, tempo, lead, accompaniment, harmony and form.

`make` plans the notes; `lab.data.perform` renders their audio and their labels. A rendition contains the beat of the
score at each of its times, so corresponding places of two renditions are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lab.data.scores import NOTE, Chord, Score

# General MIDI programs by role.
LEADS = (0, 4, 11, 21, 22, 24, 26, 40, 41, 42, 52, 53, 54, 56, 57, 60, 64, 65, 66, 68, 71, 73, 75, 79, 80, 81, 85, 87)
VOICES = (52, 53, 54, 85, 91)
CHORDS = (0, 1, 2, 4, 5, 6, 7, 16, 19, 21, 24, 25, 26, 27, 28, 29, 30, 46, 48, 49, 50, 61, 88, 89, 90, 105, 107)
PADS = (16, 19, 48, 49, 50, 51, 52, 61, 88, 89, 90, 91, 94)
BASSES = (32, 33, 34, 35, 36, 38, 39, 43, 58)
HIT = 0.1  # seconds; length of a drum note


@dataclass(frozen=True)
class Part:
    """The notes of one player, in seconds."""

    role: str  # "melody", "chords", "bass" or "drums"
    program: int
    gain: float  # decibels
    notes: np.ndarray  # of NOTE
    vibrato: float = 0.0  # semitones, amplitude
    scoop: float = 0.0  # semitones; notes begin this far below their pitch


@dataclass(frozen=True)
class Rendition:
    """A rendition. Beat `beats[i]` of the score is played at `seconds[i]`; a cut in the form is a jump."""

    work: str
    parts: tuple[Part, ...]
    duration: float  # seconds
    seconds: np.ndarray
    beats: np.ndarray
    chords: np.ndarray  # of NOTE: pitch classes of the chords; empty for a melody without accompaniment
    shift: int  # semitones above the score
    tuning: float  # semitones, a fraction


def make(
    score: Score, rng: np.random.Generator, *, begin: float = 0.0, end: float | None = None, boldness: float = 1.0
) -> Rendition:
    """Plan a rendition of the beats from `begin` to `end`. `boldness` 0 stays close to the score, 1 departs from it."""
    end = score.beats if end is None else min(end, score.beats)
    form = _form(score, begin, end, boldness, rng)
    score = _reharmonised(score, boldness, rng)
    clock = _Clock(form, score.tempo * _tempo_factor(score, boldness, rng), boldness, rng)
    shift = int(rng.integers(-6, 7))
    alone = rng.random() < 0.07 * boldness  # a melody without accompaniment
    parts: list[Part] = []
    if alone or rng.random() < 0.93:
        parts += _lead(score, boldness, alone, rng)
    if not alone:
        parts += _accompaniment(score, boldness, rng)
    parts = [replace(part, notes=_transposed(clock.place(part.notes), part, shift)) for part in parts]
    if not alone and rng.random() < 0.55:
        parts.append(_drums(clock, score.bar, rng))
    chords = np.array(
        [
            (chord.start, chord.end, (chord.root + interval + shift) % 12, 100)
            for chord in score.chords
            for interval in chord.intervals
        ],
        NOTE,
    )
    tuning = float(rng.uniform(-0.35, 0.35)) if rng.random() < 0.5 else 0.0
    return Rendition(
        score.name,
        tuple(part for part in parts if len(part.notes)),
        clock.duration,
        clock.seconds,
        clock.beats,
        clock.place(chords[:0] if alone else chords),
        shift,
        tuning,
    )


def _tempo_factor(score: Score, boldness: float, rng: np.random.Generator) -> float:
    factor = 2 ** (boldness * rng.uniform(-0.65, 0.65))
    return float(np.clip(factor, 45 / score.tempo, 190 / score.tempo))


def _form(
    score: Score, begin: float, end: float, boldness: float, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Return the sections of the score in the order in which they are played, with some bars cut and some repeated."""
    bar = score.bar
    first = np.ceil(begin / bar) * bar + (bar * rng.integers(0, 5) if rng.random() < 0.4 * boldness else 0)
    last = end - (bar * rng.integers(0, 5) if rng.random() < 0.4 * boldness else 0)
    form = [(first, max(last, first + 8 * bar))]
    while rng.random() < 0.3 * boldness:
        at = int(rng.integers(len(form)))
        start, stop = form[at]
        bars = int((stop - start) // bar)
        if bars < 16:
            continue
        middle = start + bar * int(rng.integers(4, bars - 4))
        if rng.random() < 0.5:  # repeat some bars
            again = max(start, middle - bar * int(rng.choice([4, 8])))
            form[at : at + 1] = [(start, middle), (again, stop)]
        else:
            form[at : at + 1] = [(start, middle), (min(stop - bar, middle + bar * int(rng.choice([2, 4]))), stop)]
    return form


class _Clock:
    """Converts beats of the score to seconds of the rendition, given form and tempo drift."""

    def __init__(self, form: list[tuple[float, float]], tempo: float, boldness: float, rng: np.random.Generator):
        self.form = form
        self.duration = 0.4
        self._anchors = []
        drift = boldness * rng.uniform(0, 0.025) if rng.random() < 0.7 else 0.0
        rubato = boldness * rng.uniform(0, 0.08) if rng.random() < 0.4 else 0.0
        self.swing = rng.uniform(0.1, 0.17) if rng.random() < 0.18 * boldness else 0.0  # beats
        pace = 0.0
        for start, stop in form:
            beats = np.arange(start, stop + 1e-6, 1.0)
            steps = []
            for _ in beats[1:]:
                pace = 0.97 * pace + drift * rng.standard_normal()
                steps.append(60 / tempo * np.exp(pace + rubato * rng.standard_normal()))
            seconds = self.duration + np.concatenate([[0], np.cumsum(steps)])
            self._anchors.append((beats, seconds))
            self.duration = float(seconds[-1])
        self.beats = np.concatenate([beats for beats, _ in self._anchors])
        self.seconds = np.concatenate([seconds for _, seconds in self._anchors])
        self.duration += 0.5

    def place(self, notes: np.ndarray) -> np.ndarray:
        """Convert notes from beats to seconds, once for each time that the form plays them."""
        placed = []
        for beats, seconds in self._anchors:
            chosen = notes[(notes["start"] >= beats[0] - 1e-6) & (notes["start"] < beats[-1] - 1e-6)].copy()
            for name in ("start", "end"):
                swung = chosen[name] + self.swing * (np.abs(chosen[name] % 1 - 0.5) < 0.08)
                chosen[name] = np.interp(np.minimum(swung, beats[-1]), beats, seconds)
            placed.append(chosen)
        return np.concatenate(placed) if placed else np.zeros(0, NOTE)


def _transposed(notes: np.ndarray, part: Part, shift: int) -> np.ndarray:
    notes = notes.copy()
    notes["pitch"] += shift
    low, high = {"bass": (26, 55), "melody": (45, 96)}.get(part.role, (30, 100))
    while len(notes) and np.median(notes["pitch"]) > high:
        notes["pitch"] -= 12
    while len(notes) and np.median(notes["pitch"]) < low:
        notes["pitch"] += 12
    notes["pitch"] = notes["pitch"].clip(21, 108)
    return notes[notes["end"] > notes["start"] + 0.02]


# --- harmony


def _reharmonised(score: Score, boldness: float, rng: np.random.Generator) -> Score:
    if rng.random() < 0.06 * boldness:
        score = _other_mode(score)
    rate = boldness * rng.uniform(0, 0.25) if rng.random() < 0.5 else 0.0
    plain = rng.random() < 0.25 * boldness  # triads only
    return replace(score, chords=tuple(_substituted(chord, rate, plain, rng) for chord in score.chords))


def _other_mode(score: Score) -> Score:
    """Change to the parallel mode: shift the third, sixth and seventh degree by a semitone."""
    degrees, step = ((3, 8, 10), 1) if score.minor else ((4, 9, 11), -1)

    def moved(pitch: Any) -> Any:
        return pitch + step * np.isin((np.asarray(pitch) - score.tonic) % 12, degrees)

    melody, accompaniment = score.melody.copy(), score.accompaniment.copy()
    melody["pitch"], accompaniment["pitch"] = moved(melody["pitch"]), moved(accompaniment["pitch"])
    chords = []
    for chord in score.chords:
        root = int(moved(chord.root)) % 12
        classes = {(int(moved(chord.root + interval)) - root) % 12 for interval in chord.intervals}
        chords.append(replace(chord, root=root, intervals=tuple(sorted(classes)), bass=int(moved(chord.bass)) % 12))
    return replace(score, melody=melody, accompaniment=accompaniment, chords=tuple(chords), minor=not score.minor)


def _substituted(chord: Chord, rate: float, plain: bool, rng: np.random.Generator) -> Chord:
    if plain:
        chord = replace(chord, intervals=chord.intervals[:3], bass=chord.root)
    if rng.random() >= rate:
        return chord
    major = 4 in chord.intervals
    choice = rng.integers(4)
    if choice == 0:  # the relative: C -> Am, Am -> C
        root = (chord.root + (9 if major else 3)) % 12
        return replace(chord, root=root, bass=root, intervals=(0, 3, 7) if major else (0, 4, 7))
    if choice == 1:  # a seventh or ninth
        return replace(chord, intervals=(*chord.intervals[:3], int(rng.choice([10, 11] if major else [10, 2]))))
    if choice == 2:
        return replace(chord, intervals=(0, int(rng.choice([2, 5])), 7))
    return replace(chord, bass=(chord.root + int(rng.choice(chord.intervals))) % 12)


# --- melody


def _lead(score: Score, boldness: float, alone: bool, rng: np.random.Generator) -> list[Part]:
    notes = score.melody.copy()
    if not len(notes):
        return []
    if rng.random() < 0.6 * boldness:
        notes = _phrased(notes, rng.uniform(0.05, 0.35), rng)
    if rng.random() < 0.5 * boldness:
        notes = _ornamented(notes, score, rng.uniform(0.02, 0.2), rng)
    notes = notes[rng.random(len(notes)) >= boldness * rng.uniform(0, 0.12)]
    if rng.random() < 0.35 * boldness and not alone:  # an instrumental passage
        start = rng.uniform(score.melody["start"][0], score.melody["start"][-1])
        notes = notes[(notes["start"] < start) | (notes["start"] > start + rng.uniform(8, 32))]
    notes["pitch"] += 12 * int(rng.choice([-1, 0, 0, 0, 1]))
    sung = rng.random() < 0.55
    if sung or rng.random() < 0.5:  # legato, up to the next note
        gaps = np.append(notes["start"][1:], np.inf) - notes["start"]
        wanted = np.minimum(gaps, np.maximum(notes["end"] - notes["start"], rng.uniform(0.5, 2.5)))
        notes["end"] = notes["start"] + wanted * 0.98
    program = int(rng.choice(VOICES if sung and rng.random() < 0.5 else LEADS))
    part = Part(
        "melody",
        program,
        float(rng.uniform(-3, 6)),
        notes,
        vibrato=float(rng.uniform(0.1, 0.6)) if sung else 0.0,
        scoop=float(rng.uniform(0.3, 1.5)) if sung and rng.random() < 0.6 else 0.0,
    )
    parts = [part]
    if rng.random() < 0.2 * boldness:  # doubled in octaves
        parts.append(replace(part, program=int(rng.choice(LEADS)), gain=part.gain - 6, notes=raised(notes, 12)))
    elif rng.random() < 0.2 * boldness:  # a second voice below, of chord tones
        parts.append(Part("chords", part.program, part.gain - 5, _second_voice(notes, score)))
    return parts


def raised(notes: np.ndarray, semitones: int) -> np.ndarray:
    """Transpose the notes."""
    notes = notes.copy()
    notes["pitch"] += semitones
    return notes


def _phrased(notes: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Vary the rhythm as singers do: onsets before or after the beat, notes split or tied."""
    notes = notes.copy()
    lag = amount * rng.standard_normal(len(notes)) * 0.5
    notes["start"] += np.round(lag * 4) / 4 if rng.random() < 0.5 else lag
    notes["end"] = np.maximum(notes["end"], notes["start"] + 0.15)
    keep = np.ones(len(notes), bool)
    added = []
    for i in np.flatnonzero(rng.random(len(notes)) < amount * 0.4):
        if rng.random() < 0.5 and i and notes["pitch"][i - 1] == notes["pitch"][i]:
            notes["end"][i - 1], keep[i] = notes["end"][i], False
        elif notes["end"][i] - notes["start"][i] > 0.45:
            second = notes[i].copy()
            second["start"] = (notes["start"][i] + notes["end"][i]) / 2
            notes["end"][i] = second["start"]
            added.append(second)
    notes = np.concatenate([notes[keep], np.array(added, NOTE)]) if added else notes[keep]
    return np.sort(notes, order="start")


def _ornamented(notes: np.ndarray, score: Score, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Add grace notes, passing notes and turns within the scale."""
    scale = {(score.tonic + step) % 12 for step in ((0, 2, 3, 5, 7, 8, 10) if score.minor else (0, 2, 4, 5, 7, 9, 11))}

    def neighbour(pitch: int, direction: int) -> int:
        pitch += direction
        while pitch % 12 not in scale:
            pitch += direction
        return pitch

    notes, added = notes.copy(), []
    for i in np.flatnonzero(rng.random(len(notes)) < rate):
        start, end, pitch = notes["start"][i], notes["end"][i], int(notes["pitch"][i])
        other = neighbour(pitch, int(rng.choice([-1, 1])))
        kind = rng.integers(3)
        if kind == 0:  # a grace note on the beat
            length = min(0.2, (end - start) / 3)
            added.append((start, start + length, other, notes["velocity"][i]))
            notes["start"][i] += length
        elif kind == 1 and end - start > 0.4:  # a passing note
            added.append((end - 0.25, end, other, notes["velocity"][i]))
            notes["end"][i] = end - 0.25
        elif end - start > 0.7:  # a turn
            third = (end - start) / 3
            added.append((start + third, start + 2 * third, other, notes["velocity"][i]))
            added.append((start + 2 * third, end, pitch, notes["velocity"][i]))
            notes["end"][i] = start + third
    return np.sort(np.concatenate([notes, np.array(added, NOTE)]), order="start")


def _second_voice(notes: np.ndarray, score: Score) -> np.ndarray:
    second = notes.copy()
    starts = np.array([chord.start for chord in score.chords])
    for i, note in enumerate(notes):
        chord = score.chords[max(0, np.searchsorted(starts, note["start"], "right") - 1)]
        classes = {(chord.root + interval) % 12 for interval in chord.intervals}
        second["pitch"][i] = next(
            (pitch for pitch in range(note["pitch"] - 3, note["pitch"] - 10, -1) if pitch % 12 in classes),
            note["pitch"] - 12,
        )
    return second


# --- accompaniment


def _accompaniment(score: Score, boldness: float, rng: np.random.Generator) -> list[Part]:
    parts = []
    if len(score.accompaniment) and rng.random() < 1 - 0.7 * boldness:
        parts.append(Part("chords", int(rng.choice(CHORDS)), 0.0, score.accompaniment))
        if rng.random() < 0.4:
            parts.append(_bass(score, rng))
        return parts
    patterns = THREE if score.bar == 3 else FOUR
    centre = int(rng.integers(50, 68))
    for layer in range(rng.choice([1, 1, 2, 2, 3])):
        pattern = patterns[rng.integers(len(patterns))] if layer == 0 or rng.random() < 0.5 else _held
        program = int(rng.choice(PADS if pattern is _held and rng.random() < 0.7 else CHORDS))
        parts.append(
            Part(
                "chords",
                program,
                float(rng.uniform(-9, 1)),
                _voiced(score, pattern, centre + int(rng.integers(-7, 8)), rng),
            )
        )
    if rng.random() < 0.8:
        parts.append(_bass(score, rng))
    return parts


Pattern = Callable[[Chord, list[int], int], list[tuple[float, float, int]]]


def _held(chord: Chord, pitches: list[int], bar: int) -> list[tuple[float, float, int]]:
    return [(chord.start, chord.end, pitch) for pitch in pitches]


def _every(step: float, length: float, off: float = 0.0) -> Pattern:
    """Strike the chord every `step` beats."""

    def pattern(chord: Chord, pitches: list[int], bar: int) -> list[tuple[float, float, int]]:
        return [
            (time, min(time + length, chord.end), pitch)
            for time in np.arange(chord.start + off, chord.end, step)
            for pitch in pitches
        ]

    return pattern


def _broken(step: float, order: tuple[int, ...]) -> Pattern:
    """Play the notes of the chord one after the other."""

    def pattern(chord: Chord, pitches: list[int], bar: int) -> list[tuple[float, float, int]]:
        return [
            (time, min(time + 2 * step, chord.end), pitches[order[i % len(order)] % len(pitches)])
            for i, time in enumerate(np.arange(chord.start, chord.end, step))
        ]

    return pattern


FOUR = (
    _held,
    _every(1, 0.9),
    _every(2, 1.8),
    _every(0.5, 0.3),
    _every(1, 0.4, 0.5),
    _every(2, 0.9, 1.0),
    _broken(0.5, (0, 1, 2, 1)),
    _broken(0.5, (0, 2, 1, 2)),
    _broken(0.25, (0, 1, 2, 3)),
    _broken(0.25, (0, 2, 1, 2)),
    _broken(1, (0, 1, 2, 1)),
    _broken(1 / 3, (0, 1, 2)),
)
THREE = (
    _held,
    _every(1, 0.9),
    _every(1, 0.6, 1.0),
    _every(0.5, 0.3),
    _broken(0.5, (0, 1, 2, 3, 2, 1)),
    _broken(0.5, (0, 1, 2)),
    _broken(1, (0, 1, 2)),
)


def _voiced(score: Score, pattern: Pattern, centre: int, rng: np.random.Generator) -> np.ndarray:
    """Voice the chords near `centre`, in inversions close to each other."""
    rows, most = [], int(rng.choice([2, 3, 3, 4, 5]))
    loudness = int(rng.integers(60, 100))
    for chord in score.chords:
        classes = [(chord.root + interval) % 12 for interval in chord.intervals]
        pitches = sorted(centre + (pitch_class - centre + 6) % 12 - 6 for pitch_class in classes)[: max(most, 2)]
        if most > len(pitches):
            pitches.append(pitches[0] + 12)
        rows += [
            (start, end, pitch, loudness + int(rng.integers(-12, 13)))
            for start, end, pitch in pattern(chord, pitches, score.bar)
        ]
    return np.array(rows, NOTE)


def _bass(score: Score, rng: np.random.Generator) -> Part:
    style = rng.choice(["held", "beats", "eighths", "fifths", "walking"])
    rows = []
    for chord in score.chords:
        root = 36 + (chord.bass - 36) % 12 - (12 if rng.random() < 0.1 else 0)
        fifth = root + 7 if 7 in chord.intervals else root
        if style == "held":
            rows.append((chord.start, chord.end, root, 90))
            continue
        step = 0.5 if style == "eighths" else 2.0 if style == "fifths" else 1.0
        for i, time in enumerate(np.arange(chord.start, chord.end, step)):
            pitch = root
            if style == "fifths" and i % 2:
                pitch = fifth - 12 if rng.random() < 0.5 else fifth
            elif style == "walking" and i:
                pitch = root + int(rng.choice([*chord.intervals, 2, 5]))
            rows.append(
                (time, min(time + step * rng.uniform(0.6, 1), chord.end), pitch, 85 + int(rng.integers(-10, 11)))
            )
    return Part("bass", int(rng.choice(BASSES)), float(rng.uniform(-4, 4)), np.array(rows, NOTE))


KICK, SNARE, HAT, OPEN_HAT, RIDE, CLAP, TOM, SHAKER, TAMBOURINE = 36, 38, 42, 46, 51, 39, 45, 70, 54


def _drums(clock: _Clock, bar: int, rng: np.random.Generator) -> Part:
    """Repeat a pattern of one bar, with fills."""
    steps = 4 * bar
    grid = {
        KICK: np.zeros(steps),
        SNARE: np.zeros(steps),
        int(rng.choice([HAT, RIDE, SHAKER, TAMBOURINE])): np.zeros(steps),
    }
    kick, snare, cymbal = grid.values()
    kick[0] = 1
    kick[rng.integers(0, steps, rng.integers(1, 4))] = rng.uniform(0.5, 1)
    snare[4::8] = 1
    cymbal[:: int(rng.choice([1, 2, 2, 4]))] = rng.uniform(0.4, 0.9)
    rows = []
    for (start, stop), (beats, seconds) in zip(clock.form, clock._anchors, strict=True):
        for at in np.arange(start, stop, bar):
            for drum, pattern in grid.items():
                for step in np.flatnonzero(pattern):
                    time = at + step / 4
                    if time < stop and rng.random() < 0.97:
                        second = float(np.interp(time, beats, seconds))
                        rows.append((second, second + HIT, drum, int(60 + 50 * pattern[step] + rng.integers(-8, 9))))
            if rng.random() < 0.12:
                for back in range(int(rng.integers(2, 6))):
                    second = float(np.interp(min(at + bar - 0.25 * back, stop), beats, seconds))
                    rows.append((second, second + HIT, int(rng.choice([SNARE, TOM, CLAP, OPEN_HAT])), 95))
    return Part("drums", 0, float(rng.uniform(-8, 4)), np.array(rows, NOTE))
