"""Search for works of the training set that are the same song, and must not count as two.

    python -m lab.data.repeats --scores data/pop909.pkl
    python -m lab.data.repeats --tonal data/tonal --data data

prints pairs of scores with common melodies, and pairs of real tracks that can be aligned, the most certain first. After
listening, they are excluded by hand (`lab.data.render_covers.REPEATED`, `lab.data.corpus.VERSIONS`).
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from lab import program
from lab.data import scores
from lab.data.scores import Score
from songprint.covers import align
from songprint.covers.matcher import CoverMatcher
from songprint.covers.rows import Rendition
from songprint.types import Embeddings

PHRASE = 10  # successive intervals in a phrase by which melodies are compared
LIVELY = 4  # different intervals in a phrase, at least: scales and repeated notes occur in many songs
COMMON = 5  # melodies that contain a phrase, at most: more frequent phrases are not distinctive
SHARE = 0.2  # of the phrases of the shorter melody; different songs had 0.07 at most, the same song 0.35 or more
NEAREST = 14  # tracks with which each track is aligned
ALIGNED = 6.0  # minimum score of an alignment; unrelated tracks have 2 to 5, named versions 10 to 13


def phrases(score: Score) -> set[tuple[int, ...]]:
    """Return the phrases of the melody as intervals, which do not depend on key and tempo."""
    intervals = np.diff(np.sort(score.melody, order="start")["pitch"].astype(int)).tolist()
    found = {tuple(intervals[at : at + PHRASE]) for at in range(len(intervals) - PHRASE + 1)}
    return {phrase for phrase in found if len(set(phrase)) >= LIVELY}


def same_tunes(works: Sequence[Score]) -> list[tuple[float, int, int]]:
    """Return (share of the shorter melody that is in the other, number of one work, number of the other), sorted."""
    melodies = [phrases(work) for work in works]
    containing: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, found in enumerate(melodies):
        for phrase in found:
            containing[phrase].append(number)
    together = Counter(
        pair for numbers in containing.values() if len(numbers) <= COMMON for pair in combinations(numbers, 2)
    )
    shares = [
        (count / min(len(melodies[one]), len(melodies[other])), one, other) for (one, other), count in together.items()
    ]
    return sorted((share for share in shares if share[0] >= SHARE), reverse=True)


def same_pieces(tracks: Sequence[Embeddings]) -> list[tuple[float, int, int]]:
    """Return (score of the alignment, number of one track, number of the other), sorted. Tracks are cover
    embeddings."""
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
    parser = program.parser(__doc__, scores=None, tonal=None, data=program.DATA)
    options = parser.parse_args()
    if not (options.scores or options.tonal):
        parser.error("give --scores FILE, or --tonal FOLDER for real tracks")
    if options.scores:
        works = scores.load(options.scores)
        for share, one, other in same_tunes(works):
            print(f"{share:.2f}\t{one} {works[one].name}\t{other} {works[other].name}")
    if options.tonal:
        from lab.ship.calibrate_covers import load_real  # imports PyTorch, which only real tracks need

        encoder = CoverMatcher().open_encoder()
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
