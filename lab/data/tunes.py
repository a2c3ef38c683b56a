"""Twenty tunes in the public domain as note lists, and tunes invented from a seed.

Notation: `C#5:1.5` is a note of one and a half beats. The octave stays valid until another one is given, and the
default length is one beat. `R` is a rest; bar lines are ignored. Chords have the same form (`F#m:2`), with `N` for no
chord.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"#": 1, "b": -1, "": 0}


@dataclass(frozen=True)
class Note:
    """A pitch (MIDI number) that sounds from beat `start` for `beats`."""

    start: float
    beats: float
    pitch: int


@dataclass(frozen=True)
class Chord:
    """Pitch classes (0 is C), the root first, from beat `start` for `beats`."""

    start: float
    beats: float
    pitch_classes: tuple[int, ...]


@dataclass(frozen=True)
class Tune:
    """A melody over chords; both cover the same number of beats."""

    title: str
    artist: str
    tempo: float  # beats per minute
    bar: int  # beats per bar
    melody: str
    chords: str

    def notes(self) -> list[Note]:
        """Return the notes of the melody."""
        return read_notes(self.melody)[0]

    def harmony(self) -> list[Chord]:
        """Return the chords."""
        return read_chords(self.chords)[0]

    @property
    def beats(self) -> float:
        return read_notes(self.melody)[1]

    @property
    def duration(self) -> float:
        """Seconds of one verse."""
        return self.beats * 60 / self.tempo


def read_notes(text: str) -> tuple[list[Note], float]:
    """Parse notes; return them in order, and the total beats including rests.

    >>> read_notes("C4 D:.5 R:.5 B3")[0][-1]
    Note(start=2.0, beats=1.0, pitch=59)
    """
    notes: list[Note] = []
    beat, octave = 0.0, 4
    for token in text.replace("|", " ").split():
        name, accidental, number, beats = _read_token(token, r"([A-GR])([#b]?)(\d?)")
        octave = int(number or octave)
        if name != "R":
            pitch = 12 * (octave + 1) + SEMITONES[name] + ACCIDENTALS[accidental]
            notes.append(Note(beat, beats, pitch))
        beat += beats
    return notes, beat


def read_chords(text: str) -> tuple[list[Chord], float]:
    """Parse chords; return them in order, and the total beats.

    >>> read_chords("Am:4 N:2 G")[0]        # doctest: +NORMALIZE_WHITESPACE
    [Chord(start=0.0, beats=4.0, pitch_classes=(9, 0, 4)),
     Chord(start=6.0, beats=1.0, pitch_classes=(7, 11, 2))]
    """
    chords: list[Chord] = []
    beat = 0.0
    for token in text.replace("|", " ").split():
        name, accidental, minor, beats = _read_token(token, r"([A-GN])([#b]?)(m?)")
        if name != "N":
            root = SEMITONES[name] + ACCIDENTALS[accidental]
            third = root + (3 if minor else 4)
            chords.append(Chord(beat, beats, (root % 12, third % 12, (root + 7) % 12)))
        beat += beats
    return chords, beat


def _read_token(token: str, pattern: str) -> tuple[str, str, str, float]:
    matched = re.fullmatch(pattern + r"(?::(\d*\.?\d+))?", token)
    if not matched:
        raise ValueError(f"cannot read {token!r} as a note or chord; valid are, for example, C#5:1.5 and F#m:2")
    name, accidental, third, beats = matched.groups()
    return name, accidental, third, float(beats or 1)


TUNES = (
    Tune(
        "Ode to Joy",
        "Ludwig van Beethoven",
        116,
        4,
        "E4 E F G | G F E D | C C D E | E:1.5 D:.5 D:2 | E E F G | G F E D | C C D E | D:1.5 C:.5 C:2 |"
        "D D E C | D E:.5 F:.5 E C | D E:.5 F:.5 E D | C D G3:2 |"
        "E4 E F G | G F E D | C C D E | D:1.5 C:.5 C:2",
        "C:4 | G:4 | C:4 | G:4 | C:4 | G:4 | C:4 | G:2 C:2 | G:4 | G:2 C:2 | G:2 E:2 | Am:2 G:2 |"
        "C:4 | G:4 | C:4 | G:2 C:2",
    ),
    Tune(
        "Greensleeves",
        "Traditional English",
        190,
        6,
        "R:5 A4 | C5:2 D E:1.5 F:.5 E | D:2 B4 G:1.5 A:.5 B | C5:2 A4 A:1.5 G#:.5 A | B:2 G# E:2 A |"
        "C5:2 D E:1.5 F:.5 E | D:2 B4 G:1.5 A:.5 B | C5:1.5 B4:.5 A G#:1.5 F#:.5 G# | A:6 |"
        "G5:3 G:1.5 F#:.5 E | D:2 B4 G:1.5 A:.5 B | C5:2 A4 A:1.5 G#:.5 A | B:2 G# E:3 |"
        "G5:3 G:1.5 F#:.5 E | D:2 B4 G:1.5 A:.5 B | C5:1.5 B4:.5 A G#:1.5 F#:.5 G# | A:6",
        "N:6 | Am:6 | G:6 | Am:6 | E:6 | Am:6 | G:6 | Am:3 E:3 | Am:6 |"
        "C:6 | G:6 | Am:6 | E:6 | C:6 | G:6 | Am:3 E:3 | Am:6",
    ),
    Tune(
        "Scarborough Fair",
        "Traditional English",
        124,
        3,
        "D4:2 D | A:2 A | E:1.5 F:.5 E | D:3 | R A C5 | D:2 C | A4 B G | A:3 | R:2 D5 | D:2 C |"
        "C:2 A4 | A G F | E C:2 | D:2 A | G:2 F | E D C | D:3 | R:3",
        "Dm:3 | Dm:3 | C:3 | Dm:3 | F:3 | Dm:3 | F:1 G:2 | Dm:3 | Dm:3 | Dm:3 |"
        "C:3 | F:3 | C:3 | Dm:3 | C:3 | Am:3 | Dm:3 | Dm:3",
    ),
    Tune(
        "Für Elise",
        "Ludwig van Beethoven",
        280,
        6,
        "R:4 E5 D# | E D# E B4 D5 C | A4:2 R C E A | B:2 R E G# B | C5:2 R E4 E5 D# |"
        "E D# E B4 D5 C | A4:2 R C E A | B:2 R E C5 B4 | A:2 R B C5 D |"
        "E:3 G4 F5 E | D:3 F4 E5 D | C:3 E4 D5 C | B4:2 R E E5 R | R E4 E5 R E D# |"
        "E D# E B4 D5 C | A4:2 R C E A | B:2 R E G# B | C5:2 R E4 E5 D# |"
        "E D# E B4 D5 C | A4:2 R C E A | B:2 R E C5 B4 | A:6",
        "N:6 | Am:6 | Am:6 | E:6 | Am:6 | Am:6 | Am:6 | E:6 | Am:6 | C:6 | G:6 | Am:6 | E:6 | E:6 |"
        "Am:6 | Am:6 | E:6 | Am:6 | Am:6 | Am:6 | E:6 | Am:6",
    ),
    Tune(
        "Korobeiniki",
        "Traditional Russian",
        144,
        4,
        "E5 B4:.5 C5:.5 D C:.5 B4:.5 | A A:.5 C5:.5 E D:.5 C:.5 | B4:1.5 C5:.5 D E | C A4 A:2 |"
        "R:.5 D5 F:.5 A G:.5 F:.5 | E:1.5 C:.5 E D:.5 C:.5 | B4 B:.5 C5:.5 D E | C A4 A:2 |"
        "E5:2 C:2 | D:2 B4:2 | C5:2 A4:2 | G#:2 B:2 | E5:2 C:2 | D:2 B4:2 | C5 E A:2 | G#:4",
        "E:4 | Am:4 | E:4 | Am:4 | Dm:4 | Am:4 | E:4 | Am:4 |Am:4 | E:4 | Am:4 | E:4 | Am:4 | E:4 | Am:4 | E:4",
    ),
    Tune(
        "Auld Lang Syne",
        "Traditional Scottish",
        112,
        4,
        "R:3 C4 | F:1.5 F:.5 F A | G:1.5 F:.5 G A | F:1.5 F:.5 A C5 | D:3 D | C:1.5 A4:.5 A F |"
        "G:1.5 F:.5 G A | F:1.5 D:.5 D C | F:3 D5 | C:1.5 A4:.5 A F | G:1.5 F:.5 G D5 |"
        "C:1.5 A4:.5 A C5 | D:3 D | C:1.5 A4:.5 A F | G:1.5 F:.5 G A | F:1.5 D:.5 D C | F:4",
        "N:4 | F:4 | C:4 | F:4 | Bb:4 | F:4 | C:4 | Bb:2 C:2 | F:4 |"
        "F:4 | C:4 | F:4 | Bb:4 | F:4 | C:4 | Bb:2 C:2 | F:4",
    ),
    Tune(
        "Minuet in G",
        "Christian Petzold",
        126,
        3,
        "D5 G4:.5 A:.5 B:.5 C5:.5 | D G4 G | E5 C:.5 D:.5 E:.5 F#:.5 | G G4 G |"
        "C5 D:.5 C:.5 B4:.5 A:.5 | B C5:.5 B4:.5 A:.5 G:.5 | F# G:.5 A:.5 B:.5 G:.5 | A:3 |"
        "D5 G4:.5 A:.5 B:.5 C5:.5 | D G4 G | E5 C:.5 D:.5 E:.5 F#:.5 | G G4 G |"
        "C5 D:.5 C:.5 B4:.5 A:.5 | B C5:.5 B4:.5 A:.5 G:.5 | A B:.5 A:.5 G:.5 F#:.5 | G:3",
        "G:3 | G:3 | C:3 | G:3 | Am:3 | G:3 | D:3 | D:3 | G:3 | G:3 | C:3 | G:3 | Am:3 | G:3 | D:3 | G:3",
    ),
    Tune(
        "Canon in D",
        "Johann Pachelbel",
        92,
        4,
        "F#5:2 E:2 | D:2 C#:2 | B4:2 A:2 | B:2 C#5:2 | D:2 C#:2 | B4:2 A:2 | G:2 F#:2 | G:2 E:2 |"
        "D F# A G | F# D F# E | D B3 D4 A | G B A G |"
        "A5 F#:.5 G:.5 A F#:.5 G:.5 | A:.5 A4:.5 B:.5 C#5:.5 D:.5 E:.5 F#:.5 G:.5 |"
        "F# D:.5 E:.5 F# F#4:.5 G:.5 | A:.5 B:.5 A:.5 G:.5 A:.5 F#:.5 G:.5 A:.5 |"
        "G B:.5 A:.5 G F#:.5 E:.5 | F#:.5 E:.5 D:.5 E:.5 F#:.5 G:.5 A:.5 B:.5 |"
        "G B:.5 A:.5 B C#5:.5 D:.5 | A4:.5 B:.5 C#5:.5 D:.5 E:.5 F#:.5 G:.5 A:.5",
        "D:2 A:2 | Bm:2 F#m:2 | G:2 D:2 | G:2 A:2 |" * 5,
    ),
    Tune(
        "Amazing Grace",
        "Traditional American",
        92,
        3,
        "R:2 D4 | G:2 B:.5 G:.5 | B:2 A | G:2 E | D:2 D | G:2 B:.5 G:.5 | B:2 A | D5:3 | D:2 B4 |"
        "D5:2 B4:.5 G:.5 | B:2 A | G:2 E | D:2 D | G:2 B:.5 G:.5 | B:2 A | G:3",
        "N:3 | G:3 | G:3 | C:3 | G:3 | G:3 | Em:3 | D:3 | D:3 | G:3 | G:3 | C:3 | G:3 | Em:3 | D:3 | G:3",
    ),
    Tune(
        "Frère Jacques",
        "Traditional French",
        112,
        4,
        "C4 D E C | C D E C | E F G:2 | E F G:2 | G:.5 A:.5 G:.5 F:.5 E C | G:.5 A:.5 G:.5 F:.5 E C |"
        "C G3 C4:2 | C G3 C4:2",
        "C:2 G:1 C:1 | C:2 G:1 C:1 | C:4 | C:4 | C:4 | C:4 | C:1 G:1 C:2 | C:1 G:1 C:2",
    ),
    Tune(
        "Ah! vous dirai-je, maman",
        "Traditional French",
        104,
        4,
        "C4 C G G | A A G:2 | F F E E | D D C:2 | G G F F | E E D:2 | G G F F | E E D:2 |"
        "C C G G | A A G:2 | F F E E | D D C:2",
        "C:4 | F:2 C:2 | F:2 C:2 | G:2 C:2 | C:2 F:2 | C:2 G:2 | C:2 F:2 | C:2 G:2 |C:4 | F:2 C:2 | F:2 C:2 | G:2 C:2",
    ),
    Tune(
        "When the Saints Go Marching In",
        "Traditional American",
        152,
        4,
        "R C4 E F | G:4 | R C E F | G:4 | R C E F | G:2 E:2 | C:2 E:2 | D:4 |"
        "R E E D | C:3 C | E:2 G:2 | G F:3 | R:2 E F | G:2 E:2 | C:2 D:2 | C:4",
        "C:4 | C:4 | C:4 | C:4 | C:4 | C:4 | C:4 | G:4 | C:4 | C:4 | C:4 | F:4 | F:4 | C:4 | C:2 G:2 | C:4",
    ),
    Tune(
        "Oh! Susanna",
        "Stephen Foster",
        132,
        4,
        "R:3 C4:.5 D:.5 | E G G:1.5 A:.5 | G E C:1.5 D:.5 | E E D C | D:3 C:.5 D:.5 |"
        "E G G:1.5 A:.5 | G E C:1.5 D:.5 | E E D D | C:4 | F:2 F:2 | A A:2 A | G G E C | D:3 C:.5 D:.5 |"
        "E G G:1.5 A:.5 | G E C:1.5 D:.5 | E E D D | C:4",
        "N:4 | C:4 | C:4 | C:4 | G:4 | C:4 | C:4 | C:2 G:2 | C:4 | F:4 | F:4 | C:4 | G:4 |C:4 | C:4 | C:2 G:2 | C:4",
    ),
    Tune(
        "Jingle Bells",
        "James Pierpont",
        184,
        4,
        "G3 E4 D C | G3:3 G:.5 G:.5 | G E4 D C | A3:4 | A F4 E D | B3:4 | G4 G F D | E:4 |"
        "G3 E4 D C | G3:4 | G E4 D C | A3:4 | A F4 E D | G G G G | A G F D | C:2 G:2 |"
        "E E E:2 | E E E:2 | E G C:1.5 D:.5 | E:4 | F F F:1.5 F:.5 | F E E E:.5 E:.5 | E D D E | D:2 G:2 |"
        "E E E:2 | E E E:2 | E G C:1.5 D:.5 | E:4 | F F F:1.5 F:.5 | F E E E:.5 E:.5 | G G F D | C:4",
        "C:4 | C:4 | C:4 | F:4 | F:4 | G:4 | G:4 | C:4 | C:4 | C:4 | C:4 | F:4 | F:4 | G:4 | G:4 | C:4 |"
        "C:4 | C:4 | C:4 | C:4 | F:4 | C:4 | D:4 | G:4 | C:4 | C:4 | C:4 | C:4 | F:4 | C:4 | G:4 | C:4",
    ),
    Tune(
        "Drunken Sailor",
        "Traditional Irish",
        160,
        4,
        "A4 A:.5 A:.5 A A:.5 A:.5 | A D F A | G G:.5 G:.5 G G:.5 G:.5 | G C E G |"
        "A A:.5 A:.5 A A:.5 A:.5 | A B C5 D | C A4 G E | D:2 D:2 |"
        "A:2 A:2 | A D F A | G:2 G:2 | G C E G | A:2 A:2 | A B C5 D | C A4 G E | D:2 D:2",
        "Dm:4 | Dm:4 | C:4 | C:4 | Dm:4 | Dm:4 | C:4 | Dm:4 |" * 2,
    ),
    Tune(
        "Sakura Sakura",
        "Traditional Japanese",
        88,
        4,
        "A4 A B:2 | A A B:2 | A B C5 B4 | A B:.5 A:.5 F:2 | E C E F | E E:.5 C:.5 B3:2 |"
        "A4 B C5 B4 | A B:.5 A:.5 F:2 | E C E F | E E:.5 C:.5 B3:2 | A4 A B:2 | A A B:2 |"
        "E F B:.5 A:.5 F | E:4",
        "Am:4 | Am:4 | Am:4 | F:4 | Am:4 | E:4 | Am:4 | F:4 | Am:4 | E:4 | Am:4 | Am:4 | F:4 | E:4",
    ),
    Tune(
        "In the Hall of the Mountain King",
        "Edvard Grieg",
        140,
        4,
        "B3:.5 C#4:.5 D:.5 E:.5 F#:.5 D:.5 F# | F:.5 C#:.5 F E:.5 C:.5 E |"
        "B3:.5 C#4:.5 D:.5 E:.5 F#:.5 D:.5 F#:.5 B:.5 | A:.5 F#:.5 D:.5 F#:.5 A:2 |"
        "F#:.5 G#:.5 A#:.5 B:.5 C#5:.5 A#4:.5 C#5 | D:.5 A#4:.5 D5 C#:.5 A#4:.5 C#5 |"
        "F#4:.5 G#:.5 A#:.5 B:.5 C#5:.5 A#4:.5 C#5 | D:.5 A#4:.5 D5 C#:2 |"
        "B3:.5 C#4:.5 D:.5 E:.5 F#:.5 D:.5 F# | F:.5 C#:.5 F E:.5 C:.5 E |"
        "B3:.5 C#4:.5 D:.5 E:.5 F#:.5 D:.5 F#:.5 B:.5 | A:.5 F#:.5 D:.5 F#:.5 B3:2",
        "Bm:4 | C#:2 C:2 | Bm:4 | D:4 | F#:4 | Bm:2 F#:2 | F#:4 | Bm:2 F#:2 | Bm:4 | C#:2 C:2 | Bm:4 | Bm:4",
    ),
    Tune(
        "Mo Li Hua",
        "Traditional Chinese",
        92,
        4,
        "E4 E:.5 G:.5 A:.5 C5:.5 C:.5 A4:.5 | G G:.5 A:.5 G:2 | E E:.5 G:.5 A:.5 C5:.5 C:.5 A4:.5 |"
        "G G:.5 A:.5 G:2 | G G G E:.5 G:.5 | A A G:2 | E D:.5 E:.5 G E:.5 D:.5 | C C:.5 D:.5 C:2 |"
        "E:.5 D:.5 C:.5 E:.5 D:1.5 E:.5 | G A:.5 C5:.5 G4:2 | D E:.5 G:.5 D:.5 E:.5 C:.5 A3:.5 |"
        "G:2 A C4 | D:1.5 E:.5 C:.5 D:.5 C:.5 A3:.5 | G:4",
        "C:4 | C:4 | C:4 | C:4 | C:4 | F:2 C:2 | C:4 | C:4 | G:4 | C:4 | G:4 | Am:4 | G:2 Am:2 | C:4",
    ),
    Tune(
        "Yankee Doodle",
        "Traditional American",
        172,
        4,
        "C4 C D E | C E D:2 | C C D E | C:2 B3:2 | C4 C D E | F E D C | B3 G A B | C4:2 C:2 |"
        "A3:1.5 B:.5 A G | A B C4:2 | G3:1.5 A:.5 G F | E:2 G:2 |"
        "A:1.5 B:.5 A G | A B C4 A3 | G C4 B3 D4 | C:2 C:2",
        "C:4 | C:2 G:2 | C:4 | C:2 G:2 | C:4 | F:4 | G:4 | C:4 |F:4 | F:4 | C:4 | C:4 | F:4 | F:4 | G:4 | C:4",
    ),
    Tune(
        "Silent Night",
        "Franz Xaver Gruber",
        104,
        3,
        "G4:1.5 A:.5 G | E:3 | G:1.5 A:.5 G | E:3 | D5:2 D | B4:3 | C5:2 C | G4:3 |"
        "A:2 A | C5:1.5 B4:.5 A | G:1.5 A:.5 G | E:3 | A:2 A | C5:1.5 B4:.5 A | G:1.5 A:.5 G | E:3 |"
        "D5:2 D | F:1.5 D:.5 B4 | C5:3 | E:3 | C:1.5 G4:.5 E | G:1.5 F:.5 D | C:3 | R:3",
        "C:3 | C:3 | C:3 | C:3 | G:3 | G:3 | C:3 | C:3 | F:3 | F:3 | C:3 | C:3 | F:3 | F:3 | C:3 | C:3 |"
        "G:3 | G:3 | C:3 | C:3 | C:3 | G:3 | C:3 | C:3",
    ),
)

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
PROGRESSIONS = (  # degrees of the scale, 0 is the tonic; four bars each
    (0, 4, 5, 3),
    (0, 5, 3, 4),
    (0, 3, 4, 3),
    (5, 3, 0, 4),
    (0, 2, 3, 4),
    (0, 3, 0, 4),
    (0, 5, 1, 4),
)
RHYTHMS = ((1, 1, 1, 1), (2, 1, 1), (1, 0.5, 0.5, 2), (1.5, 0.5, 1, 1), (0.5, 0.5, 0.5, 0.5, 1, 1), (3, 1), (2, 2))
NOTE_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def invent(seed: int) -> Tune:
    """Invent a tune from a seed: verse, verse, bridge, verse over chord progressions."""
    rng = np.random.default_rng(seed)
    tonic = int(rng.integers(12))
    scale = tuple(tonic + step for step in (MAJOR, MINOR)[rng.integers(2)])
    verse, bridge = (_invent_part(scale, rng) for _ in range(2))
    parts = (verse, verse, bridge, verse)
    return Tune(
        title=f"Invention {seed}",
        artist="Songprint Synthesizer",
        tempo=float(rng.integers(84, 160)),
        bar=4,
        melody=" | ".join(melody for melody, _ in parts),
        chords=" | ".join(chords for _, chords in parts),
    )


def _invent_part(scale: tuple[int, ...], rng: np.random.Generator) -> tuple[str, str]:
    """Invent four bars of melody and chords in the notation of this module."""
    melody, chords = [], []
    step = int(rng.integers(3, 9))  # degrees above the tonic in octave 4
    for degree in PROGRESSIONS[rng.integers(len(PROGRESSIONS))]:
        chords.append(_chord_name(scale, degree))
        for position, beats in enumerate(RHYTHMS[rng.integers(len(RHYTHMS))]):
            step += int(rng.choice((-2, -1, -1, 0, 1, 1, 2, 4)))
            if position == 0:  # a bar begins on a chord tone
                step = next(near for near in (step, step + 1, step - 1) if (near - degree) % 7 in (0, 2, 4))
            step = int(np.clip(step, 0, 13))
            octave, index = divmod(step, 7)
            octave, pitch_class = divmod(scale[index] + 12 * (octave + 4), 12)
            melody.append(f"{NOTE_NAMES[pitch_class]}{octave}:{beats}")
    return " ".join(melody), " | ".join(chords)


def _chord_name(scale: tuple[int, ...], degree: int) -> str:
    """Return the triad on a degree; diminished triads are written as minor."""
    root, third = scale[degree], scale[(degree + 2) % 7]
    return f"{NOTE_NAMES[root % 12]}{'m' if (third - root) % 12 == 3 else ''}:4"
