"""Plans of radio-like programmes, with the exact times of everything that is played.

A programme is planned from a seed: songs of the library (whole, or excerpts of ten seconds and more), repeats,
covers, unknown music, speech, noise and silence. Items are cut, faded or cross-faded into each other, and speech is
mixed over some of the music. A plan contains the ground truth; `lab.data.mixing` renders its audio.
`lab.data.surroundings` plans programmes of another shape from the same collections.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from songprint.types import Interval, Kind, Sound

# Condition -> playback speed of the whole programme.
SPEEDS = {"plain": 1.0, "speed +4%": 1.04, "speed -4%": 0.96, "mp3 48k": 1.0}
MP3_BIT_RATE = {"mp3 48k": 48_000}  # bits/s
# Content of an item -> relative frequency.
MIX = {
    "song": 0.46,
    "repeat": 0.06,
    "unknown": 0.13,
    "unknown again": 0.04,
    "cover": 0.14,
    "speech": 0.09,
    "noise": 0.04,
    "silence": 0.04,
}
# Music -> ranges of lengths in seconds, with their probabilities; "whole" plays the whole file.
LENGTHS: dict[str, list[tuple[tuple[float, float] | str, float]]] = {
    "song": [((10, 30), 0.3), ((30, 90), 0.35), ((90, 200), 0.1), ("whole", 0.25)],
    "cover": [((20, 60), 0.35), ((60, 150), 0.4), ("whole", 0.25)],
    "unknown": [((10, 30), 0.3), ((30, 90), 0.4), ((90, 180), 0.3)],
}
# Content without music -> its length in seconds.
OTHERS = {"speech": (5.0, 50.0), "noise": (5.0, 20.0), "silence": (2.0, 12.0)}
# Content without music -> the sound class that a timeline should report.
SOUNDS = {
    "silence": Sound.SILENCE,
    "dither": Sound.SILENCE,
    "speech": Sound.SPEECH,
    "noise": Sound.OTHER,
    "white noise": Sound.OTHER,
    "pink noise": Sound.OTHER,
    "tape hiss": Sound.OTHER,
    "mains hum": Sound.OTHER,
    "applause": Sound.OTHER,
}
LONGEST = 0.1, 60.0  # limit of one item: a share of the programme, but at least this many seconds
CROSSED, CUT = 0.4, 0.4  # probability of a cross-fade between two pieces of music, and of a cut; otherwise a fade
CROSS_FADE = (1.0, 8.0)  # seconds
FADE = 2.0  # seconds
TALKED_OVER = 0.3  # share of the music with speech over it
TALK = (4.0, 15.0)  # seconds
DUCKED = (4.0, 10.0)  # dB by which music is lowered under speech
EDGE = 0.161  # share of a fade after which the music is within 12 dB of its level: the edge of `Part.interval`


@dataclass(frozen=True)
class Piece:
    """A file that a programme may play."""

    path: str
    song: str = ""  # file of this song in the library; empty for unknown music
    kind: Kind = Kind.RECORDING  # of the correct match


@dataclass(frozen=True)
class Collection:
    """The material of programmes."""

    known: Sequence[Piece]
    unknown: Sequence[Piece] = ()
    covers: Sequence[Piece] = ()
    speech: Mapping[str, Sequence[str]] = field(default_factory=dict)  # language -> files
    noise: Sequence[str] = ()

    @property
    def pieces(self) -> dict[str, Piece]:
        """All music by path."""
        return {piece.path: piece for piece in (*self.known, *self.unknown, *self.covers)}


@dataclass(frozen=True)
class Talk:
    """Speech over music."""

    at: Interval  # seconds from the start of the item
    ducked: float  # dB by which the music is lowered


@dataclass(frozen=True)
class Item:
    """One thing that is played. Times are in seconds before any change of speed."""

    what: str  # a key of MIX or SOUNDS, or of `surroundings.SURROUNDINGS`
    start: float  # in the programme
    duration: float
    path: str = ""  # of music and recorded noise
    begin: float = 0.0  # in the file
    fade_in: float = 0.0
    fade_out: float = 0.0
    level: float = 0.0  # dB, relative to `mixing.LEVEL`
    talk: Talk | None = None
    seed: int = 0  # of the choice of speech and the synthesis of noise
    language: str = ""  # of speech; empty for any

    @property
    def end(self) -> float:
        return self.start + self.duration

    @property
    def is_music(self) -> bool:
        return self.what not in SOUNDS


@dataclass(frozen=True)
class Part:
    """The ground truth of one piece of music, in seconds of the finished programme."""

    interval: Interval  # where the music is at most 12 dB below its level
    audible: Interval  # including the rest of the fades: reporting the song there is not an error
    path: str  # the file that is played
    song: str  # file of this song in the library; empty for unknown music
    kind: Kind
    reference: Interval  # in the file that is played
    hard_start: bool  # cut, not faded
    hard_end: bool


@dataclass(frozen=True)
class Programme:
    """A plan with its ground truth."""

    condition: str  # a key of SPEEDS
    seed: int
    items: tuple[Item, ...]
    parts: tuple[Part, ...]  # one per item of music, in the same order
    sounds: tuple[tuple[Interval, Sound], ...]  # one per other item
    duration: float

    @property
    def speed(self) -> float:
        return SPEEDS[self.condition]

    @property
    def name(self) -> str:
        return f"{self.seed:03d} {self.condition}".replace("%", "").replace(" ", "-")

    @property
    def songs(self) -> list[Part]:
        """The parts that a timeline should report."""
        return [part for part in self.parts if part.song]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


Measure = Callable[[str], Interval]  # a file -> its part without leading and trailing silence, in seconds


def plan(collection: Collection, seconds: float, condition: str, seed: int, sounding: Measure) -> Programme:
    """Plan a programme of about `seconds`. The same seed and collection give the same plan."""
    speed = checked_speed(condition)
    rng = np.random.default_rng(seed)
    draw = _Draw(collection, rng, sounding, max(LONGEST[0] * seconds, LONGEST[1]))
    items: list[Item] = []
    while not items or items[-1].end < seconds * speed:
        item = draw.next(items)
        if item is not None:
            items = _joined(items, item, rng)
    return with_truth(items, collection, condition, seed)


def checked_speed(condition: str) -> float:
    """Return the playback speed of a condition; ValueError if there is no such condition."""
    if condition not in SPEEDS:
        raise ValueError(f"condition={condition!r} is none of {', '.join(SPEEDS)}")
    return SPEEDS[condition]


def with_truth(items: Sequence[Item], collection: Collection, condition: str, seed: int) -> Programme:
    """Derive the ground truth from the items."""
    speed, pieces = SPEEDS[condition], collection.pieces
    return Programme(
        condition,
        seed,
        tuple(items),
        tuple(_part(item, pieces[item.path], speed) for item in items if item.is_music),
        tuple((scaled(item.start, item.end, speed), SOUNDS[item.what]) for item in items if not item.is_music),
        items[-1].end / speed,
    )


class _Draw:
    """Draws the next item of a programme at random."""

    def __init__(self, collection: Collection, rng: np.random.Generator, sounding: Measure, longest: float) -> None:
        self.collection, self.rng, self.sounding, self.longest = collection, rng, sounding, longest
        self.rows = {
            "song": list(collection.known),
            "cover": list(collection.covers),
            "unknown": list(collection.unknown),
        }
        for pieces in self.rows.values():
            rng.shuffle(pieces)

    def next(self, items: Sequence[Item]) -> Item | None:
        """Return the next item at time zero, or None if the item drawn cannot follow."""
        possible = {what: share for what, share in MIX.items() if self._possible(what, items)}
        what = str(self.rng.choice(list(possible), p=np.array(list(possible.values())) / sum(possible.values())))
        if what in OTHERS:
            path = str(self.rng.choice(list(self.collection.noise))) if what == "noise" else ""
            duration, level = float(self.rng.uniform(*OTHERS[what])), float(self.rng.uniform(-3, 3))
            level = 0.0 if what == "speech" else level
            return Item(what, 0.0, duration, path, level=level, seed=int(self.rng.integers(1 << 30)))
        if what in ("repeat", "unknown again"):
            return self._repeat(what, items)
        pieces = self.rows[what]
        pieces.append(pieces.pop(0))  # every piece is played once before any is played twice
        return self._excerpt(what, pieces[-1].path)

    def _possible(self, what: str, items: Sequence[Item]) -> bool:
        last = items[-1].what if items else ""
        if what in OTHERS:
            available = {"speech": bool(self.collection.speech), "noise": bool(self.collection.noise)}.get(what, True)
            return available and what != last and (bool(items) or what != "silence")
        if what in ("repeat", "unknown again"):
            return any(item.what == _first_of(what) for item in items)
        return bool(self.rows[what])

    def _excerpt(self, what: str, path: str) -> Item | None:
        found = excerpt(self.rng, self.sounding(path), LENGTHS[what], self.longest)
        return self._played(what, path, *found) if found else None

    def _repeat(self, what: str, items: Sequence[Item]) -> Item | None:
        """Play a song again: the same excerpt or another one. Unknown music always repeats the same excerpt."""
        earlier = [item for item in items if item.what == _first_of(what)]
        chosen = earlier[int(self.rng.integers(len(earlier)))]
        if items[-1].path == chosen.path:
            return None
        if what == "repeat" and self.rng.random() < 0.5:
            found = self._excerpt("song", chosen.path)
            return found and replace(found, what=what)
        return self._played(what, chosen.path, chosen.begin, chosen.duration)

    def _played(self, what: str, path: str, begin: float, length: float) -> Item:
        talk = None
        if self.collection.speech and self.rng.random() < TALKED_OVER:
            spoken = min(float(self.rng.uniform(*TALK)), 0.7 * length)
            at = float(self.rng.choice([0.0, length - spoken, self.rng.uniform(0, length - spoken)]))
            talk = Talk(Interval(at, at + spoken), float(self.rng.uniform(*DUCKED)))
        level = float(self.rng.uniform(-3, 3))
        return Item(what, 0.0, length, path, begin, level=level, talk=talk, seed=int(self.rng.integers(1 << 30)))


def excerpt(
    rng: np.random.Generator,
    sounding: Interval,
    lengths: Sequence[tuple[tuple[float, float] | str, float]],
    longest: float,
    shortest: float = 5.0,
) -> tuple[float, float] | None:
    """Choose begin and length of an excerpt within `sounding`; None if less than `shortest` seconds sound."""
    chosen = lengths[int(rng.choice(len(lengths), p=[share for _, share in lengths]))][0]
    length = sounding.duration if isinstance(chosen, str) else float(rng.uniform(*chosen))
    length = min(length, sounding.duration, longest)
    if length < shortest:
        return None
    begin = sounding.start + float(rng.uniform(0, sounding.duration - length))
    return begin, length


def _first_of(what: str) -> str:
    return {"repeat": "song", "unknown again": "unknown"}[what]


def _joined(items: list[Item], item: Item, rng: np.random.Generator) -> list[Item]:
    """Append the item: cut, faded or cross-faded."""
    if not items:
        return [item]
    *before, last = items
    how, length = rng.random(), float(rng.uniform(*CROSS_FADE))
    if last.is_music and item.is_music and how < CROSSED:
        return cross_faded(items, item, length)
    if how < CROSSED + CUT:
        return [*items, replace(item, start=last.end)]
    fade_out = min(FADE, 0.2 * last.duration) if last.is_music else 0.0
    fade_in = min(FADE / 4, 0.2 * item.duration) if item.is_music else 0.0
    return [*before, replace(last, fade_out=fade_out), replace(item, start=last.end, fade_in=fade_in)]


def cross_faded(items: Sequence[Item], item: Item, length: float) -> list[Item]:
    """Append the item with a cross-fade of `length` seconds, or less if one of the two is short."""
    *before, last = items
    length = min(length, 0.3 * last.duration, 0.3 * item.duration)
    return [*before, replace(last, fade_out=length), replace(item, start=last.end - length, fade_in=length)]


def _part(item: Item, piece: Piece, speed: float) -> Part:
    interval = Interval(item.start + EDGE * item.fade_in, item.end - EDGE * item.fade_out)
    return Part(
        scaled(interval.start, interval.end, speed),
        scaled(item.start, item.end, speed),
        item.path,
        piece.song,
        piece.kind,
        Interval(item.begin + interval.start - item.start, item.begin + interval.end - item.start),
        not item.fade_in,
        not item.fade_out,
    )


def scaled(start: float, end: float, speed: float) -> Interval:
    """Convert times before the change of speed to times of the finished programme."""
    return Interval(start / speed, end / speed)
