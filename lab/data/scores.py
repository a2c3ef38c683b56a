"""Scores, from which renditions are made. Times are in beats.

POP909 (Wang et al., 2020; MIT): pop songs with melody, accompaniment, beats and chords.
The tune books of music21's corpus contain melodies only; their chords are estimated.
"""

from __future__ import annotations

import csv
import pickle
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab import program
from lab.data.tunes import Tune

# Chord quality in the annotations -> semitones above the root.
QUALITIES = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "minmaj7": (0, 3, 7, 11),
    "maj6": (0, 4, 7, 9),
    "min6": (0, 3, 7, 9),
    "dim7": (0, 3, 6, 9),
    "hdim7": (0, 3, 6, 10),
    "sus4(b7)": (0, 5, 7, 10),
}
DEGREES = {"1": 0, "b2": 1, "2": 2, "b3": 3, "3": 4, "4": 5, "b5": 6, "5": 7, "b6": 8, "6": 9, "b7": 10, "7": 11}
LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"#": 1, "b": -1}

NOTE = np.dtype([("start", "f8"), ("end", "f8"), ("pitch", "i2"), ("velocity", "i2")])


@dataclass(frozen=True)
class Chord:
    """A chord from beat `start` to beat `end`."""

    start: float
    end: float
    root: int  # pitch class
    intervals: tuple[int, ...]  # semitones above the root
    bass: int  # pitch class


@dataclass(frozen=True)
class Score:
    """A work. Notes are arrays of NOTE, in beats."""

    name: str
    melody: np.ndarray
    accompaniment: np.ndarray  # of the arrangement; may be empty
    chords: tuple[Chord, ...]
    bar: int  # beats per bar
    tempo: float  # beats per minute
    tonic: int  # pitch class
    minor: bool

    @property
    def beats(self) -> float:
        return float(max(self.melody["end"].max(), self.chords[-1].end))


def load_pop909(folder: Path) -> Iterator[Score]:
    """Yield the songs of the data set in order. Unreadable songs are reported and skipped."""
    for path in sorted(folder.glob("[0-9][0-9][0-9]")):
        try:
            score = _pop909(path)
        except (OSError, ValueError, KeyError, IndexError) as error:
            print(f"{path.name} is skipped: {error}", file=sys.stderr)
            continue
        if len(score.melody) >= 60 and len(score.chords) >= 20:
            yield score


def _pop909(folder: Path) -> Score:
    import pretty_midi

    midi = pretty_midi.PrettyMIDI(str(folder / f"{folder.name}.mid"))
    times = np.array([[float(word) for word in line.split()] for line in (folder / "beat_midi.txt").open()])
    period = np.median(np.diff(times[:, 0]))

    def beats(seconds: Any) -> Any:
        """Convert seconds to beats, extrapolating at the median tempo."""
        known = times[:, 0]
        within = np.interp(seconds, known, np.arange(len(known)))
        return within + np.minimum(0, seconds - known[0]) / period + np.maximum(0, seconds - known[-1]) / period

    parts = {
        part.name: np.array(
            [(beats(note.start), beats(note.end), note.pitch, note.velocity) for note in part.notes], NOTE
        )
        for part in midi.instruments
        if part.notes
    }
    downbeats = np.flatnonzero(times[:, 2] == 1) if times.shape[1] > 2 else np.arange(0, len(times), 4)
    bar = int(np.median(np.diff(downbeats))) if len(downbeats) > 2 else 4
    shift = downbeats[0] % bar if len(downbeats) else 0  # so that a bar begins at beat 0
    for notes in parts.values():
        notes["start"] -= shift
        notes["end"] -= shift
    chords = []
    for line in (folder / "chord_midi.txt").open():
        start, end, name = line.split()
        chord = parse_chord(name, *(round(2 * (float(beats(float(time))) - shift)) / 2 for time in (start, end)))
        if chord and chord.end > chord.start:
            chords.append(chord)
    key = (folder / "key_audio.txt").read_text().split()[2]
    tonic, mode = key.split(":")
    return Score(
        f"pop909/{folder.name}",
        parts["MELODY"],
        np.concatenate([parts[name] for name in ("BRIDGE", "PIANO") if name in parts]),
        tuple(chords),
        bar if bar in (3, 4, 6) else 4,
        60 / period,
        pitch_class(tonic),
        mode.startswith("min"),
    )


def pitch_class(name: str) -> int:
    """Parse a pitch class: `Bb` is 10."""
    return (LETTERS[name[0]] + sum(ACCIDENTALS[sign] for sign in name[1:])) % 12


def parse_chord(name: str, start: float, end: float) -> Chord | None:
    """Parse a chord such as `Bb:min7/b3`; None for no chord."""
    found = re.fullmatch(r"([A-G][#b]*):([^/]+)(?:/(.+))?", name)
    if not found:
        return None
    root, quality, bass = pitch_class(found[1]), found[2], found[3]
    return Chord(start, end, root, QUALITIES.get(quality, QUALITIES["maj"]), (root + DEGREES.get(bass, 0)) % 12)


def load_tunes(
    books: tuple[str, ...] = ("oneills1850", "ryansMammoth", "airdsAirs", "essenFolksong"), shortest: int = 40
) -> Iterator[Score]:
    """Load the melodies of music21's tune books with at least `shortest` notes."""
    import music21

    root = Path(music21.__file__).parent / "corpus"
    paths = [path for book in books for path in sorted((root / book).glob("*.abc"))]
    with ProcessPoolExecutor() as pool:  # the parser takes 0.1 s per tune
        for found in pool.map(_book, paths, [shortest] * len(paths)):
            yield from found


def _book(path: Path, shortest: int) -> list[Score]:
    import music21

    try:
        parsed = music21.converter.parse(path)
    except Exception as error:  # the parser raises any exception
        print(f"{path.name} is skipped: {error}", file=sys.stderr)
        return []
    found = [
        _tune(f"{path.parent.name}/{path.stem}/{number}", piece, shortest)
        for number, piece in enumerate(getattr(parsed, "scores", [parsed]))
    ]
    return [score for score in found if score]


def _tune(name: str, piece: Any, shortest: int) -> Score | None:
    rows = [
        (float(note.offset), float(note.offset + note.quarterLength), int(note.pitch.midi), 90)
        for note in piece.flatten().notes
        if note.isNote and note.quarterLength > 0
    ]
    melody = np.array(rows, NOTE)
    if len(melody) < shortest:
        return None
    title = getattr(piece.metadata, "title", None) or ""
    signatures = list(piece.flatten().getElementsByClass("TimeSignature"))
    return harmonised(
        f"{name} {title}".strip(), melody, float(signatures[0].barDuration.quarterLength) if signatures else 4.0
    )


def harmonised(name: str, melody: np.ndarray, bar: float, tempo: float = 110.0, shortest: float = 50.0) -> Score:
    """Make a work of a melody: estimate a chord for each bar, and repeat it up to `shortest` seconds.

    Measures that are too short or too long for a chord each (an upbeat alone, free time) count as two or four beats.
    """
    bar = bar if 1.5 <= bar <= 4 else 3.0 if bar in (6, 9, 12) else 4.0 if bar > 4 else 2.0
    length = bar * np.ceil(melody["end"].max() / bar - 1e-6)
    turns = max(1, int(np.ceil(shortest * tempo / 60 / length)))
    again = np.concatenate([melody] * turns)
    shifts = np.repeat(np.arange(turns) * length, len(melody))
    again["start"] += shifts
    again["end"] += shifts
    tonic, minor = key_of(melody)
    return Score(
        name, again, np.zeros(0, NOTE), guess_chords(again, bar, tonic, minor), max(2, round(bar)), tempo, tonic, minor
    )


# Probe-tone ratings of the degrees of a key (Krumhansl & Kessler, 1982).
MAJOR_PROFILE = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
MINOR_PROFILE = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])


def from_tune(tune: Tune, times: int = 1) -> Score:
    """Make a work of a tune of `lab.data.tunes`, repeated `times` times."""
    melody = np.array(
        [
            (note.start + turn * tune.beats, note.start + note.beats + turn * tune.beats, note.pitch, 90)
            for turn in range(times)
            for note in tune.notes()
        ],
        NOTE,
    )
    chords = tuple(
        Chord(
            chord.start + turn * tune.beats,
            chord.start + chord.beats + turn * tune.beats,
            chord.pitch_classes[0],
            tuple((other - chord.pitch_classes[0]) % 12 for other in chord.pitch_classes),
            chord.pitch_classes[0],
        )
        for turn in range(times)
        for chord in tune.harmony()
        if chord.pitch_classes
    )
    tonic, minor = key_of(melody)
    return Score(tune.title, melody, np.zeros(0, NOTE), chords, tune.bar, tune.tempo, tonic, minor)


def key_of(melody: np.ndarray) -> tuple[int, bool]:
    """Estimate the pitch class of the tonic, and whether the key is minor."""
    held = np.bincount(melody["pitch"] % 12, weights=melody["end"] - melody["start"], minlength=12)
    fits = [
        (np.corrcoef(held, np.roll(profile, tonic))[0, 1], tonic, minor)
        for minor, profile in ((False, MAJOR_PROFILE), (True, MINOR_PROFILE))
        for tonic in range(12)
    ]
    return max(fits)[1:]


def guess_chords(melody: np.ndarray, bar: float, tonic: int, minor: bool) -> tuple[Chord, ...]:
    """Choose for each bar the triad of the key that contains most of its notes."""
    scale = (0, 2, 3, 5, 7, 8, 10) if minor else (0, 2, 4, 5, 7, 9, 11)
    triads = [(scale[i], tuple(sorted((scale[(i + 2 * k) % 7] - scale[i]) % 12 for k in range(3)))) for i in range(7)]
    likely = {0: 0.3, 3: 0.15, 4: 0.2}  # tonic, subdominant, dominant
    chords = []
    for start in np.arange(0, melody["end"].max(), bar):
        length = (np.minimum(melody["end"], start + bar) - np.maximum(melody["start"], start)).clip(0)
        held = np.bincount((melody["pitch"] - tonic) % 12, weights=length, minlength=12)
        fits = [
            sum(held[(root + interval) % 12] for interval in intervals)
            + 0.3 * held[root]
            + likely.get(degree, 0) * (held.sum() + 0.1)
            for degree, (root, intervals) in enumerate(triads)
        ]
        root, intervals = triads[int(np.argmax(fits))]
        chords.append(Chord(start, start + bar, (root + tonic) % 12, intervals, (root + tonic) % 12))
    return tuple(chords)


def stated(works: Path) -> list[dict[str, str]]:
    """Read the rows of a list of works in several versions (`lab.data.versions`)."""
    with open(works, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def strangers(tunes: list[Score], works: list[dict[str, str]]) -> list[Score]:
    """Leave out the tunes that are versions of a work in `works`: training would take them for different works."""
    known = set()
    for row in works:
        if row["repository"] == "music21" and row["work"].startswith("w"):
            file, _, rest = row["original_path"].partition("#")  # airdsAirs/book3.abc#0588 Nos Calen
            known.add((file.removesuffix(".abc"), rest.partition(" ")[2].strip()))
    left = []
    for tune in tunes:
        name, _, title = tune.name.partition(" ")  # airdsAirs/book3/12 Nos Calen
        if (name.rpartition("/")[0], title) not in known:
            left.append(tune)
    return left


def save(scores: list[Score], path: Path) -> None:
    path.write_bytes(
        pickle.dumps([{**vars(score), "chords": [vars(chord) for chord in score.chords]} for score in scores])
    )


def load(path: Path) -> list[Score]:
    """Load scores that `python -m lab.data.scores` saved. Only for trusted files: unpickling can run any code."""
    return [
        Score(**{**row, "chords": tuple(Chord(**chord) for chord in row["chords"])})
        for row in pickle.loads(path.read_bytes())
    ]


def main() -> None:
    parser = program.parser("Convert scores for `lab.data.render_covers`.", "out")
    parser.add_argument("--pop909", type=Path, help="folder POP909 of the data set")
    parser.add_argument("--tunes", action="store_true", help="add the tune books of music21")
    parser.add_argument("--versions", type=Path, help="works.tsv of lab.data.versions; its tunes are left out")
    options = parser.parse_args()
    scores = list(load_pop909(options.pop909)) if options.pop909 else []
    tunes = list(load_tunes()) if options.tunes else []
    scores += strangers(tunes, stated(options.versions)) if options.versions else tunes
    save(scores, options.out)
    print(f"{len(scores)} scores", file=sys.stderr)


if __name__ == "__main__":
    main()
