"""Recomposed works: bars of many songs in one key, assembled into songs of a usual form.

    python -m lab.data.recompose --scores data/pop909.pkl --works 4000 --out data/recomposed.pkl

A network that is trained on some hundred songs for a long time overfits; recomposed works are unlimited. They come in
pairs with the same chords and different melodies: songs with common chords are the most frequent false covers.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from lab import program
from lab.data import scores
from lab.data.render_covers import split_of
from lab.data.scores import NOTE, Chord, Score

BARS = 2  # of a cell
SECTION = 4  # cells
FORMS = ("AABA", "ABAB", "AABB", "ABAC", "ABCB", "AAB", "ABA")
LOOP = 0.4  # share of sections whose chords repeat two cells
OTHER_END = 0.5  # probability that a repeated section has another ending
CANDIDATES = 24  # cells from which the most suitable is chosen


@dataclass(frozen=True)
class Cell:
    """Two bars of a song, transposed to C major or C minor. Beats count from the start of the cell."""

    melody: np.ndarray  # of NOTE
    chords: tuple[Chord, ...]
    held: np.ndarray  # (half beats, 12), see `sounding`


def cells_of(score: Score) -> list[Cell]:
    """Return the cells of a score that contain a melody and chords throughout."""
    length, found = BARS * score.bar, []
    for start in np.arange(0, score.beats - length + 1e-6, length):
        end = start + length
        melody = score.melody[(score.melody["start"] >= start - 1e-6) & (score.melody["start"] < end - 1e-6)].copy()
        chords = [
            replace(
                chord,
                start=max(0.0, chord.start - start),
                end=min(length, chord.end - start),
                root=(chord.root - score.tonic) % 12,
                bass=(chord.bass - score.tonic) % 12,
            )
            for chord in score.chords
            if chord.start < end and chord.end > start
        ]
        if len(melody) < 3 or sum(chord.end - chord.start for chord in chords) < 0.9 * length:
            continue
        melody["start"] -= start
        melody["end"] = np.minimum(melody["end"] - start, length)
        melody["pitch"] -= score.tonic
        found.append(Cell(melody, tuple(chords), sounding(melody, length)))
    return found


def pools(works: list[Score]) -> dict[tuple[int, bool], list[Cell]]:
    """Return the cells by beats per bar and mode, where there are enough to choose from."""
    kept: dict[tuple[int, bool], list[Cell]] = defaultdict(list)
    for score in works:
        kept[score.bar, score.minor] += cells_of(score)
    return {kind: cells for kind, cells in kept.items() if len(cells) >= 10 * CANDIDATES}


def sounding(melody: np.ndarray, beats: int) -> np.ndarray:
    """Return how long each pitch class is held in each half beat, (2 * beats, 12)."""
    at = np.arange(0, beats, 0.5)[:, None]
    held = (np.minimum(melody["end"], at + 0.5) - np.maximum(melody["start"], at)).clip(0)  # (half beats, notes)
    return held @ np.eye(12)[melody["pitch"] % 12]


def belonging(chords: tuple[Chord, ...], beats: int) -> np.ndarray:
    """Return which pitch classes belong to the chord of each half beat, (2 * beats, 12)."""
    at = np.arange(0, beats, 0.5)
    mask = np.zeros((len(at), 12), bool)
    for chord in chords:
        within = (at >= chord.start - 1e-6) & (at < chord.end - 1e-6)
        mask[np.ix_(within, np.array([(chord.root + interval) % 12 for interval in chord.intervals]))] = True
    return mask


def tune_over(chords: list[tuple[Chord, ...]], cells: list[Cell], rng: np.random.Generator) -> list[np.ndarray]:
    """Choose melodies for cells of chords: each fits the chords and begins near the previous note."""
    tune: list[np.ndarray] = []
    for bars in chords:
        before = tune[-1]["pitch"][-1] if tune else 67

        def leap(melody: np.ndarray, last: int = before) -> int:
            return int(melody["pitch"][0]) - int(last)

        chosen = [cells[i] for i in rng.integers(len(cells), size=CANDIDATES)]
        mask = belonging(bars, len(chosen[0].held) // 2)
        fits = [
            (cell.held * mask).sum() / cell.held.sum() - 0.02 * abs((leap(cell.melody) + 6) % 12 - 6) for cell in chosen
        ]
        melody = chosen[int(np.argmax(fits))].melody.copy()
        melody["pitch"] -= 12 * round(leap(melody) / 12)
        melody["pitch"] += 12 * round((67 - np.median(melody["pitch"])) / 24)  # into the range of voices
        tune.append(melody)
    return tune


def recomposed(
    cells: list[Cell], rng: np.random.Generator, *, bar: int, minor: bool, tempo: float, name: str
) -> tuple[Score, Score]:
    """Return two songs with the same chords."""
    form = str(rng.choice(FORMS))
    chords: dict[str, list[tuple[Chord, ...]]] = {}
    for letter in sorted(set(form)):
        drawn = [cells[i].chords for i in rng.integers(len(cells), size=SECTION)]
        chords[letter] = [drawn[0], drawn[1]] * (SECTION // 2) if rng.random() < LOOP else drawn
    tonic, pair = int(rng.integers(12)), []
    endings = [bool(rng.random() < OTHER_END) for _ in form]
    others = [cells[i].chords for i in rng.integers(len(cells), size=len(form))]
    for twin in (0, 1):
        tunes = {letter: tune_over(chords[letter], cells, rng) for letter in chords}
        rows: list[np.ndarray] = []
        placed: list[Chord] = []
        seen: set[str] = set()
        for place, letter in enumerate(form):
            own, melodies = list(chords[letter]), list(tunes[letter])
            if letter in seen and endings[place]:
                own[-1] = others[place]
                melodies[-1] = tune_over([others[place]], cells, rng)[0]
            seen.add(letter)
            for number, (bars, melody) in enumerate(zip(own, melodies, strict=True)):
                start = (place * SECTION + number) * BARS * bar
                rows.append(_moved(melody, start, tonic))
                placed += [
                    replace(
                        chord,
                        start=chord.start + start,
                        end=chord.end + start,
                        root=(chord.root + tonic) % 12,
                        bass=(chord.bass + tonic) % 12,
                    )
                    for chord in bars
                ]
        pair.append(
            Score(f"{name}/{twin}", np.concatenate(rows), np.zeros(0, NOTE), tuple(placed), bar, tempo, tonic, minor)
        )
    return pair[0], pair[1]


def _moved(melody: np.ndarray, start: float, tonic: int) -> np.ndarray:
    melody = melody.copy()
    melody["start"] += start
    melody["end"] += start
    melody["pitch"] += tonic if tonic < 6 else tonic - 12
    return melody


def main() -> None:
    parser = program.parser(__doc__, "scores", "out", seed=0)
    parser.add_argument("--works", type=int, default=4000)
    options = parser.parse_args()
    known = [score for work, score in enumerate(scores.load(options.scores)) if split_of(work) == "train"]
    kept = pools(known)
    kinds = list(kept)
    sizes = np.array([len(kept[kind]) for kind in kinds], float)
    rng = np.random.default_rng(options.seed)
    made: list[Score] = []
    while len(made) < options.works:
        bar, minor = kind = kinds[rng.choice(len(kinds), p=sizes / sizes.sum())]
        tempo = float(rng.choice([score.tempo for score in known]))
        made += recomposed(kept[kind], rng, bar=bar, minor=minor, tempo=tempo, name=f"recomposed/{len(made) // 2}")
    scores.save(made, options.out)
    print(f"{len(made)} works of {int(sizes.sum())} cells", file=sys.stderr)


if __name__ == "__main__":
    main()
