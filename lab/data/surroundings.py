"""Plans of programmes that test start and end times: every song lies between two surroundings.

Songs and surroundings alternate. A surrounding is a kind of silence, noise, speech, unknown music, or music that is
easily taken for the song: another part of it, a cover, another song that is cross-faded with it. Levels of songs and
surroundings are drawn independently from -50 to -10 dBFS, except that of a cross-fade, which has one level.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfilt

from lab.data import degrade, programmes
from lab.data.programmes import Collection, Item, Measure, Part, Piece, Programme
from songprint.types import Interval

# Content of an item between songs -> its name in reports.
SURROUNDINGS = {
    "silence": "digital silence",
    "dither": "dither",
    "white noise": "white noise",
    "pink noise": "pink noise",
    "tape hiss": "tape hiss",
    "mains hum": "mains hum",
    "applause": "applause",
    "noise": "recorded place",
    "speech": "speech",
    "unknown": "unknown music",
    "other part": "another part of the same song",
    "other cover": "a cover",
    "other song": "another song, cross-faded",
}
# Music -> ranges of lengths in seconds, with their probabilities; "whole" plays the whole file.
LENGTHS: dict[str, list[tuple[tuple[float, float] | str, float]]] = {
    "song": [((5, 10), 0.15), ((10, 30), 0.35), ((30, 90), 0.3), ("whole", 0.2)],
    "cover": [((20, 60), 0.4), ((60, 150), 0.35), ("whole", 0.25)],
    "unknown": [((5, 90), 1.0)],
    "other part": [((5, 60), 1.0)],
    "other cover": [((20, 90), 1.0)],
    "other song": [((8, 60), 1.0)],
}
COVERS = 0.3  # share of covers among the songs, where the collection contains any
DURATIONS = (5.0, 120.0)  # seconds of surroundings without music; the logarithm is uniform
LEVELS = (-50.0, -10.0)  # dBFS, root mean square
REFERENCE_LEVEL = -20.0  # dBFS of an item whose level is 0 dB (`mixing.LEVEL`)
CROSS_FADED = (-3.0, 3.0)  # dB; level of a song relative to the one with which it is cross-faded
CUT = 0.7  # probability that a song is cut at a surrounding; otherwise it fades
APART = 10.0  # seconds; another part of the same song begins or ends at least this far from the first
ATTEMPTS = 50  # drawings of music in a row that do not fit before planning gives up

# Lines for speech synthesis, by voice of eSpeak NG.
LINES = {
    "en": (
        "Good evening. Here is the news at eight o'clock.",
        "The road between the harbour and the old market is closed until Thursday.",
        "Tomorrow will be mostly cloudy, with some rain in the north and a light wind from the west.",
        "Our next guest wrote her first book in a small kitchen above a bakery.",
        "You can write to us, or call the studio during the programme.",
    ),
    "de": (
        "Guten Abend. Es ist acht Uhr, hier sind die Nachrichten.",
        "Die Straße zwischen dem Hafen und dem alten Markt ist bis Donnerstag gesperrt.",
        "Morgen ist es meist bewölkt, im Norden regnet es, dazu weht ein leichter Wind aus Westen.",
        "Unser nächster Gast schrieb sein erstes Buch in einer kleinen Küche über einer Bäckerei.",
        "Schreiben Sie uns, oder rufen Sie während der Sendung im Studio an.",
    ),
    "fr": (
        "Bonsoir. Il est vingt heures, voici les informations.",
        "La route entre le port et le vieux marché est fermée jusqu'à jeudi.",
        "Demain, le ciel sera souvent nuageux, avec un peu de pluie au nord et un léger vent d'ouest.",
        "Notre prochaine invitée a écrit son premier livre dans une petite cuisine au-dessus d'une boulangerie.",
        "Vous pouvez nous écrire, ou appeler le studio pendant l'émission.",
    ),
}


def plan(collection: Collection, seconds: float, condition: str, seed: int, sounding: Measure) -> Programme:
    """Plan a programme of at least `seconds`. The same seed and collection give the same plan."""
    speed = programmes.checked_speed(condition)
    draw = _Draw(collection, np.random.default_rng(seed), sounding)
    first = draw.song(None)
    items = draw.join([draw.surrounding(first)], first)
    while True:
        items = draw.join(items, draw.surrounding(items[-1]))
        if items[-1].end >= seconds * speed:
            return programmes.with_truth(items, collection, condition, seed)
        items = draw.join(items, draw.song(items[-1]))


class _Draw:
    """Draws songs and surroundings at random. Each surrounding is used once before any is used twice."""

    def __init__(self, collection: Collection, rng: np.random.Generator, sounding: Measure) -> None:
        self.rng, self.sounding, self.collection = rng, sounding, collection
        self.by_path = collection.pieces
        self.pieces = {"song": list(collection.known), "cover": list(collection.covers)}
        self.pieces["other song"] = list(collection.known)
        self.pieces["other cover"] = list(collection.covers)
        self.pieces["unknown"] = list(collection.unknown)
        for name, pieces in self.pieces.items():
            self.pieces[name] = self._shuffled(pieces)
        self.deck: list[tuple[str, str]] = []

    def _shuffled(self, values: Sequence[Piece]) -> list[Piece]:
        return [values[place] for place in self.rng.permutation(len(values))]

    def song(self, previous: Item | None) -> Item:
        """Return a song at time zero that is not the music of the previous item."""
        what = "cover" if self.pieces["cover"] and self.rng.random() < COVERS else "song"
        level = self._level()
        if previous and previous.what == "other song":
            level = previous.level + float(self.rng.uniform(*CROSS_FADED))
        for _ in range(ATTEMPTS):
            item = self._music(what, level, previous)
            if item:
                return item
            what = "song"
        raise ValueError("the music contains too few files that are long enough for a programme")

    def surrounding(self, song: Item) -> Item:
        """Return a surrounding at time zero that can follow the song, or precede the first one."""
        for _ in range(ATTEMPTS):
            if not self.deck:
                self.deck = [self._entries()[place] for place in self.rng.permutation(len(self._entries()))]
            for place, (what, language) in enumerate(self.deck):
                item = self._around(what, language, song)
                if item:
                    del self.deck[place]
                    return item
            self.deck = []  # nothing that is left fits
        raise ValueError("no surrounding fits")

    def _entries(self) -> list[tuple[str, str]]:
        """All surroundings that the collection can provide: (content, language)."""
        missing = {
            "noise": not self.collection.noise,
            "unknown": not self.collection.unknown,
            "other cover": not self.collection.covers,
            "speech": not self.collection.speech,
        }
        return [
            (what, language)
            for what in SURROUNDINGS
            if not missing.get(what)
            for language in (self.collection.speech if what == "speech" else [""])
        ]

    def _around(self, what: str, language: str, song: Item) -> Item | None:
        if what == "other part":
            return self._other_part(song)
        if what == "other song":
            return self._music(what, song.level + float(self.rng.uniform(*CROSS_FADED)), song)
        if what in self.pieces:
            return self._music(what, self._level(), song)
        path = str(self.rng.choice(list(self.collection.noise))) if what == "noise" else ""
        duration = float(np.exp(self.rng.uniform(*np.log(DURATIONS))))
        return Item(what, 0.0, duration, path, level=self._level(), seed=self._seed(), language=language)

    def _other_part(self, song: Item) -> Item | None:
        """Return a part of the same file that does not continue the song and is not continued by it."""
        found = programmes.excerpt(self.rng, self.sounding(song.path), LENGTHS["other part"], np.inf)
        if found is None:
            return None
        begin, length = found
        ends = abs(begin - song.begin - song.duration), abs(begin + length - song.begin), abs(begin - song.begin)
        if min(ends) < APART:
            return None
        return Item("other part", 0.0, length, song.path, begin, level=self._level(), seed=self._seed())

    def _music(self, what: str, level: float, neighbour: Item | None) -> Item | None:
        """Return the next piece, unless it is too short or the song of the neighbour in any rendition."""
        pieces = self.pieces[what]
        pieces.append(pieces.pop(0))  # every piece is played once before any is played twice
        piece = pieces[-1]
        other = self.by_path.get(neighbour.path) if neighbour else None
        found = programmes.excerpt(self.rng, self.sounding(piece.path), LENGTHS[what], np.inf)
        if found is None or (other and (piece.path == other.path or (piece.song and piece.song == other.song))):
            return None
        return Item(what, 0.0, found[1], piece.path, found[0], level=level, seed=self._seed())

    def join(self, items: list[Item], item: Item) -> list[Item]:
        """Append the item. Only `other song` is cross-faded; everything else meets without an overlap."""
        *before, last = items
        if "other song" in (last.what, item.what):
            return programmes.cross_faded(items, item, float(self.rng.uniform(*programmes.CROSS_FADE)))
        fades = [programmes.FADE if each.is_music and self.rng.random() > CUT else 0.0 for each in (last, item)]
        last = replace(last, fade_out=min(fades[0], 0.2 * last.duration))
        return [*before, last, replace(item, start=last.end, fade_in=min(fades[1], 0.2 * item.duration))]

    def _level(self) -> float:
        return float(self.rng.uniform(*LEVELS)) - REFERENCE_LEVEL

    def _seed(self) -> int:
        return int(self.rng.integers(1 << 30))


@dataclass(frozen=True)
class Join:
    """Where a song and a surrounding meet."""

    part: Part  # of music in the library
    at_end: bool  # of the part; otherwise at its start
    item: Item  # of the part
    neighbour: Item
    surrounding: str  # name of the surrounding in reports


def joins(programme: Programme) -> Iterator[Join]:
    """Yield both ends of every song, and the ends of surroundings that are songs of the library as well."""
    parts = iter(programme.parts)
    for place, item in enumerate(programme.items):
        part = next(parts) if item.is_music else None
        if part is None or not part.song:
            continue
        for at_end, other in ((False, place - 1), (True, place + 1)):
            if 0 <= other < len(programme.items):
                neighbour = programme.items[other]
                between = item if item.what in SURROUNDINGS else neighbour
                yield Join(part, at_end, item, neighbour, name(between))


def name(item: Item) -> str:
    """Return the name of a surrounding in reports."""
    return SURROUNDINGS[item.what] + (f" ({item.language})" if item.language else "")


def places(programme: Programme) -> Iterator[tuple[str, Interval]]:
    """Yield the name and the time of every surrounding, and of the songs together as `the songs themselves`."""
    for item in programme.items:
        title = name(item) if item.what in SURROUNDINGS else "the songs themselves"
        yield title, programmes.scaled(item.start, item.end, programme.speed)


def tape_hiss(count: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return (count,) white noise whose power rises above 2 kHz, over a little low noise."""
    white = rng.standard_normal(count)
    high = sosfilt(butter(1, 2000, "highpass", fs=rate, output="sos"), white)
    low = sosfilt(butter(1, 100, fs=rate, output="sos"), white)
    return np.asarray(high + 0.1 * low, np.float32)


def mains_hum(count: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return (count,) of 50 or 60 Hz with overtones of random strength, and noise 50 dB below."""
    times = np.arange(count) / rate
    base = float(rng.choice([50.0, 60.0]))
    hum = np.zeros(count)
    for number in range(1, 13):
        hum += rng.uniform(0, 1) / number * np.sin(2 * np.pi * (base * number * times + rng.random()))
    return degrade.mix(hum.astype(np.float32), rng.standard_normal(count), 50)


def applause(count: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return (count,) of sixty people who clap: bursts of filtered noise, each person with an own rate and sound."""
    found = np.zeros(count, np.float32)
    length = round(0.03 * rate)
    decay = np.exp(-np.arange(length) / (0.005 * rate))
    for _ in range(60):
        low = rng.uniform(500, 1500)
        band = butter(2, [low, low * rng.uniform(1.5, 3)], "bandpass", fs=rate, output="sos")
        clap = (sosfilt(band, rng.standard_normal(length)) * decay * rng.uniform(0.2, 1)).astype(np.float32)
        pause = rng.uniform(0.2, 0.35) * rng.normal(1, 0.08, round(count / rate / 0.15) + 1).clip(0.5)  # seconds
        times = np.cumsum(pause) - rng.uniform(0, 0.3)
        for first in (times[times >= 0] * rate).astype(int):
            burst = clap[: max(0, count - first)]
            found[first : first + len(burst)] += burst
    return found


# Content of an item -> synthesis at any level: (samples, sample rate in Hz, randomness) -> (samples,)
NOISES: dict[str, Callable[[int, int, np.random.Generator], np.ndarray]] = {
    "white noise": lambda count, _, rng: rng.standard_normal(count).astype(np.float32),
    "pink noise": lambda count, _, rng: degrade.pink_noise(count, rng),
    "tape hiss": tape_hiss,
    "mains hum": mains_hum,
    "applause": applause,
}


def synthesise_speech(folder: Path) -> dict[str, list[str]]:
    """Write lines of speech in three languages with eSpeak NG -> language -> files; nothing if it is not installed."""
    program = shutil.which("espeak-ng")
    if program is None:
        return {}
    found: dict[str, list[str]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for voice, lines in LINES.items():
        for number, line in enumerate(lines):
            path = folder / f"{voice}-{number}.wav"
            subprocess.run([program, "-v", voice, "-w", str(path), line], check=True)
            found.setdefault(voice, []).append(str(path))
    return found
