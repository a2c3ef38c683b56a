"""Which works of the training are the same work: what is one song may not be taught, or counted, as two.

    python -m lab.data.repeats --scores data/pop909.pkl
    python -m lab.data.repeats --tonal data/tonal --data data

prints pairs of scores that have their tune in common, and pairs of real tracks that can be laid along each other,
the surest first. What it found is kept out by hand (`lab.data.render_covers.REPEATED`, `lab.data.corpus.VERSIONS`): whether two
pieces are one a person should hear.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from lab.data import scores
from lab.data.scores import Score
from songprint.covers import align
from songprint.covers.rows import Rendition
from songprint.kinds import load_encoder
from songprint.types import Embeddings

TURN = 10  # intervals in a row by which tunes are compared,
LIVELY = 4  # of so many kinds at least: scales and repeated notes are everyone's
COMMON = 5  # tunes in which the same turn may be: what is in more says nothing
SHARE = 0.2  # of the turns of the shorter tune: songs that differ had 0.07 at most, those twice 0.35 or more
NEAREST = 14  # tracks with which each is aligned
ALIGNED = 6.0  # score of an alignment: strangers have 2 to 5, what their names call versions 10 to 13


def turns(score: Score) -> set[tuple[int, ...]]:
    """What is sung, as intervals: the same in every key and tempo."""
    intervals = np.diff(np.sort(score.melody, order="start")["pitch"].astype(int)).tolist()
    found = {tuple(intervals[at : at + TURN]) for at in range(len(intervals) - TURN + 1)}
    return {turn for turn in found if len(set(turn)) >= LIVELY}


def same_tunes(works: Sequence[Score]) -> list[tuple[float, int, int]]:
    """Share of the shorter tune that is in the other, and the numbers of both works; the highest first."""
    heard = [turns(work) for work in works]
    singers: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, found in enumerate(heard):
        for turn in found:
            singers[turn].append(number)
    together = Counter(
        pair for numbers in singers.values() if len(numbers) <= COMMON for pair in combinations(numbers, 2)
    )
    shares = [(count / min(len(heard[one]), len(heard[other])), one, other) for (one, other), count in together.items()]
    return sorted((share for share in shares if share[0] >= SHARE), reverse=True)


def same_pieces(tracks: Sequence[Embeddings]) -> list[tuple[float, int, int]]:
    """Score of the alignment of two tracks of the cover kind, and their numbers; the highest first."""
    middle = np.concatenate([track.vectors for track in tracks]).mean(axis=0, dtype=np.float32)
    vectors = [track.vectors.astype(np.float32) - middle for track in tracks]
    for each in vectors:
        each /= np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-6)
    ready = [Rendition.of(track.evidence) for track in tracks]
    found: dict[tuple[int, int], float] = {}
    for one, own in enumerate(vectors):
        alike = np.array([np.median((own @ each.T).max(axis=1)) for each in vectors])
        alike[one] = -np.inf
        others = np.argsort(-alike)[: min(NEAREST, len(tracks) - 1)]
        for other, alignment in zip(others, align.align(tracks[one].evidence, [ready[i] for i in others]), strict=True):
            if alignment:
                pair = (min(one, int(other)), max(one, int(other)))
                found[pair] = max(found.get(pair, 0.0), alignment.score)
    return sorted(((score, *pair) for pair, score in found.items() if score >= ALIGNED), reverse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=Path, help="what lab.data.scores wrote")
    parser.add_argument("--tonal", type=Path, help="what lab.data.cover_features wrote")
    parser.add_argument("--data", type=Path, default=Path("data"))
    options = parser.parse_args()
    if not (options.scores or options.tonal):
        parser.error("say what to look through: --scores FILE, or --tonal FOLDER for the real tracks")
    if options.scores:
        works = scores.load(options.scores)
        for share, one, other in same_tunes(works):
            print(f"{share:.2f}\t{one} {works[one].name}\t{other} {works[other].name}")
    if options.tonal:
        from lab.ship.calibrate_covers import load_real  # needs PyTorch, the rest does not

        encoder = load_encoder("cover")
        tracks = [
            track
            for split in ("train", "calibration")
            for track in load_real(options.data, split, encoder, options.tonal).items()
            if len(track[1])
        ]
        print(f"{len(tracks)} tracks", file=sys.stderr)
        for score, one, other in same_pieces([track for _, track in tracks]):
            print(f"{score:.1f}\t{tracks[one][0]}\t{tracks[other][0]}")


if __name__ == "__main__":
    main()
