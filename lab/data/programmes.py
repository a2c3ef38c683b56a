"""Programmes as a radio station would send them, with the exact truth of what is heard when.

A programme is planned from a seed: songs of the library, whole and in excerpts of ten seconds and more, repeats,
other renditions of songs, music that the library does not hold, speech, noise and silence; cut, faded or cross-faded
into each other, with talk over some of it. The plan knows the truth; `lab.data.mixing` makes the sound of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from songprint.types import Interval, Kind, Sound

SPEEDS = {"plain": 1.0, "speed +4 %": 1.04, "speed -4 %": 0.96, "mp3 48k": 1.0}  # of a whole programme
MP3_BIT_RATE = {"mp3 48k": 48_000}
MIX = {
    "song": 0.46,
    "repeat": 0.06,
    "unknown": 0.13,
    "unknown again": 0.04,
    "cover": 0.14,
    "speech": 0.09,
    "noise": 0.04,
    "silence": 0.04,
}  # how often what comes next
LENGTHS = {  # seconds of music, and how often; WHOLE is a whole song
    "song": [((10, 30), 0.3), ((30, 90), 0.35), ((90, 200), 0.1), ("whole", 0.25)],
    "cover": [((20, 60), 0.35), ((60, 150), 0.4), ("whole", 0.25)],
    "unknown": [((10, 30), 0.3), ((30, 90), 0.4), ((90, 180), 0.3)],
}
OTHERS = {"speech": (5.0, 50.0), "noise": (5.0, 20.0), "silence": (2.0, 12.0)}  # seconds
LONGEST = 0.1, 60.0  # that one item may take: of a programme, but at least so many seconds
CROSSED, CUT = 0.4, 0.4  # how often music is cross-faded into music, and how often cut; faded otherwise
CROSS_FADE = (1.0, 8.0)  # seconds
FADE = 2.0
TALKED_OVER = 0.3  # of the music
TALK = (4.0, 15.0)  # seconds
DUCKED = (4.0, 10.0)  # dB by which music goes down under the talk
EDGE = 0.161  # of a fade: there the music is 12 dB down, which counts as the edge of what is heard


@dataclass(frozen=True)
class Piece:
    """A file that may be played."""

    path: str
    song: str = ""  # the file that the library holds of it; empty: none
    kind: Kind = Kind.RECORDING  # of the match that is right


@dataclass(frozen=True)
class Collection:
    """What programmes are made of."""

    known: Sequence[Piece]
    unknown: Sequence[Piece] = ()
    covers: Sequence[Piece] = ()
    speech: Sequence[str] = ()
    noise: Sequence[str] = ()


@dataclass(frozen=True)
class Talk:
    """Speech over music, in seconds since the music began."""

    at: Interval
    ducked: float  # dB


@dataclass(frozen=True)
class Item:
    """One thing that is played. Times are seconds before any change of speed."""

    what: str  # a key of MIX
    start: float  # in the programme
    duration: float
    path: str = ""  # of music and noise
    begin: float = 0.0  # in the file
    fade_in: float = 0.0
    fade_out: float = 0.0
    level: float = 0.0  # dB
    talk: Talk | None = None
    seed: int = 0  # of what is said

    @property
    def end(self) -> float:
        return self.start + self.duration


@dataclass(frozen=True)
class Part:
    """The truth about one stretch of music, in seconds of the finished programme."""

    heard: Interval  # it is at most 12 dB down
    audible: Interval  # the fades too: whoever names it there is not wrong
    path: str  # what is played
    song: str  # what the library holds of it; empty: nothing
    kind: Kind
    reference: Interval  # in the file that is played
    hard_start: bool  # cut, not faded
    hard_end: bool


@dataclass(frozen=True)
class Programme:
    """A plan, and what follows from it."""

    condition: str  # a key of SPEEDS
    seed: int
    items: tuple[Item, ...]
    parts: tuple[Part, ...]  # all music, known or not
    sounds: tuple[tuple[Interval, Sound], ...]  # all else
    duration: float

    @property
    def speed(self) -> float:
        return SPEEDS[self.condition]

    @property
    def name(self) -> str:
        return f"{self.seed:03d} {self.condition}".replace(" %", "").replace(" ", "-")

    @property
    def songs(self) -> list[Part]:
        """Those parts that a timeline should name."""
        return [part for part in self.parts if part.song]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


Measure = Callable[[str], Interval]  # a file -> which part of it sounds, in seconds


def plan(collection: Collection, seconds: float, condition: str, seed: int, sounding: Measure) -> Programme:
    """A programme of about `seconds`; the same seed and collection give the same one."""
    if condition not in SPEEDS:
        raise ValueError(f"condition={condition!r} is none of {', '.join(SPEEDS)}")
    rng = np.random.default_rng(seed)
    draw = _Draw(collection, rng, sounding, max(LONGEST[0] * seconds, LONGEST[1]))
    items: list[Item] = []
    end, speed = 0.0, SPEEDS[condition]
    while end < seconds * speed:
        item = draw.next(items)
        if item is not None:
            items = _joined(items, item, rng)
            end = items[-1].end
    pieces = {piece.path: piece for piece in (*collection.known, *collection.unknown, *collection.covers)}
    return Programme(
        condition,
        seed,
        tuple(items),
        tuple(_part(item, pieces[item.path], speed) for item in items if _is_music(item)),
        tuple((_scaled(item.start, item.end, speed), _sound(item)) for item in items if not _is_music(item)),
        end / speed,
    )


class _Draw:
    """What comes next."""

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
        """The next item, not yet joined to the last; None where nothing suits."""
        possible = {what: often for what, often in MIX.items() if self._possible(what, items)}
        what = str(self.rng.choice(list(possible), p=np.array(list(possible.values())) / sum(possible.values())))
        if what in OTHERS:
            path = str(self.rng.choice(self.collection.noise)) if what == "noise" else ""
            duration = float(self.rng.uniform(*OTHERS[what]))
            return Item(
                what, 0.0, duration, path, level=float(self.rng.uniform(-3, 3)), seed=int(self.rng.integers(1 << 30))
            )
        if what in ("repeat", "unknown again"):
            return self._again(what, items)
        pieces = self.rows[what]
        pieces.append(pieces.pop(0))  # each comes once before any comes twice
        return self._excerpt(what, pieces[-1].path)

    def _possible(self, what: str, items: Sequence[Item]) -> bool:
        last = items[-1].what if items else ""
        if what in OTHERS:
            there = {"speech": self.collection.speech, "noise": self.collection.noise}.get(what, True)
            return bool(there) and what != last and (bool(items) or what != "silence")
        if what in ("repeat", "unknown again"):
            return any(item.what == _first_of(what) for item in items)
        return bool(self.rows[what])

    def _excerpt(self, what: str, path: str) -> Item | None:
        sounding, chances = self.sounding(path), LENGTHS[what]
        chosen = chances[int(self.rng.choice(len(chances), p=[often for _, often in chances]))][0]
        length = sounding.duration if chosen == "whole" else float(self.rng.uniform(*chosen))
        length = min(length, sounding.duration, self.longest)
        if length < 5:
            return None
        begin = sounding.start + float(self.rng.uniform(0, sounding.duration - length))
        return self._played(what, path, begin, length)

    def _again(self, what: str, items: Sequence[Item]) -> Item | None:
        """A song once more: the same passage or another. Unknown music comes again as it was."""
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
        return Item(
            what,
            0.0,
            length,
            path,
            begin,
            level=float(self.rng.uniform(-3, 3)),
            talk=talk,
            seed=int(self.rng.integers(1 << 30)),
        )


def _first_of(what: str) -> str:
    return {"repeat": "song", "unknown again": "unknown"}[what]


def _is_music(item: Item) -> bool:
    return item.what not in OTHERS


def _joined(items: list[Item], item: Item, rng: np.random.Generator) -> list[Item]:
    """The item behind the others: cut, faded or cross-faded."""
    if not items:
        return [item]
    *before, last = items
    how, length = rng.random(), float(rng.uniform(*CROSS_FADE))
    if _is_music(last) and _is_music(item) and how < CROSSED:
        length = min(length, 0.3 * last.duration, 0.3 * item.duration)
        return [*before, replace(last, fade_out=length), replace(item, start=last.end - length, fade_in=length)]
    if how < CROSSED + CUT:
        return [*items, replace(item, start=last.end)]
    gone = min(FADE, 0.2 * last.duration) if _is_music(last) else 0.0
    come = min(FADE / 4, 0.2 * item.duration) if _is_music(item) else 0.0
    return [*before, replace(last, fade_out=gone), replace(item, start=last.end, fade_in=come)]


def _part(item: Item, piece: Piece, speed: float) -> Part:
    heard = Interval(item.start + EDGE * item.fade_in, item.end - EDGE * item.fade_out)
    return Part(
        _scaled(heard.start, heard.end, speed),
        _scaled(item.start, item.end, speed),
        item.path,
        piece.song,
        piece.kind,
        Interval(item.begin + heard.start - item.start, item.begin + heard.end - item.start),
        not item.fade_in,
        not item.fade_out,
    )


def _sound(item: Item) -> Sound:
    return {"speech": Sound.SPEECH, "noise": Sound.OTHER, "silence": Sound.SILENCE}[item.what]


def _scaled(start: float, end: float, speed: float) -> Interval:
    return Interval(start / speed, end / speed)
