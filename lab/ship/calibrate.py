"""Fit the judge of `songprint.confidence` on music that no weight was trained on, and choose thresholds.

    python -m lab.ship.calibrate --data data --noise NOISE_DIR

Clips of the calibration music are asked against two libraries that hold it: a small one, and one with all the
training music beside it. Each clip is also asked as if its own recording were not there, so that whatever
is found is wrong: the hardest unknowns, by the same composers. Probabilities hold for one known clip in
two. The result is written into the encoder's spec.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab.data import corpus, queries
from lab.ship import classifier
from lab.ship.classifier import QueryResult
from songprint.encoders.contract import WEIGHTS
from songprint.fingerprint import align, evidence
from songprint.fingerprint.candidates import VerifiedAlignment, WindowAlignments
from songprint.fingerprint.encoder import Encoder
from songprint.fingerprint.identify import neighbours, windows_of
from songprint.fingerprint.query import Query
from songprint.kinds import load_encoder, open_store
from songprint.store.store import Store
from songprint.types import Kind, Tags

SHORTEST_FOR_THRESHOLD = 5.0  # seconds: shorter unknown clips do not raise the threshold
WITNESSES = {  # what is left out to see what it is good for
    "the second witness": ("prominence", "excess", "excess_length", "contrast", "background", "plain", "unchanged"),
    "the lead over rivals": ("lead", "lead_length", "rivalled"),
    "hits, length, sameness, library": ("hits", "length", "sameness", "library"),
    "similarity": ("score", "score_length"),
}
THIRD = {"the rest of the library": ("everywhere", "clearly"), "the recording elsewhere": ("nearby",)}
LINES = 3  # answers of each clip that are kept
LENGTHS = (1.0, 2.0, *queries.LENGTHS)  # seconds


def fill(folder: Path, data: Path, tracks: list[corpus.Track], encoder: Encoder) -> tuple[Store, dict[str, int]]:
    """A library of tracks decoded earlier -> the store, and the recording id of each path."""
    store = open_store(folder, create=True, encoder=encoder)
    ids = {}
    for number, track in enumerate(tracks, 1):
        samples = np.asarray(corpus.load_pcm(data, track)).astype(np.float32) / 32768
        ids[track.path] = store.catalog.add(
            tags=Tags(title=track.name),
            duration=track.duration,
            source=track.path,
            content_hash=f"{track.id:032x}",
            embeddings={Kind.RECORDING: encoder.encode(samples)},
        ).id
        if number % 50 == 0 or number == len(tracks):
            print(f"{number}/{len(tracks)} tracks", file=sys.stderr)
    store.refresh()
    return store, ids


@dataclass(frozen=True)
class Asked:
    """One clip, as it is judged without and with the peaks of the whole library, and what was found."""

    plain: QueryResult
    everywhere: QueryResult
    found: list[VerifiedAlignment]


def ask(query: Query, store: Store, length: float, truth: int | None = None, leave_out: Collection[int] = ()) -> Asked:
    """The three most likely lines of a clip's only window."""
    level = store.levels[Kind.RECORDING]
    plain: list[VerifiedAlignment] = []
    wide: list[VerifiedAlignment] = []
    for window in windows_of(query):
        lines = WindowAlignments(query, level, window, neighbours(query, level, window, leave_out), level.embeddings_of)
        found = lines.verified()
        plain += found
        wide += lines.with_peak_search(found, leave_out)
    questions = [
        QueryResult([h.features for h in found], [h.line.recording_id == truth for h in found], length)
        for found in (plain[:LINES], wide[:LINES])
    ]
    return Asked(*questions, wide)


def ask_both_ways(query: Query, store: Store, length: float, truth: int) -> tuple[Asked, Asked | None]:
    """The clip as it is, and as if its recording were not there.

    Other files in which the very same sound occurs are left out with it: naming those would be no mistake.
    """
    known = ask(query, store, length, truth)
    found = known.found
    right = next((h.line for h in found if h.line.recording_id == truth), None)
    if right is None:
        return known, None
    rows = {h.line.recording_id: store.catalog.embeddings(Kind.RECORDING, h.line.recording_id).vectors for h in found}
    same = {
        h.line.recording_id
        for h in found
        if align.likeness(right, h.line, rows[truth], rows[h.line.recording_id]) > align.PARAMETERS.duplicate_cosine
    }
    return known, ask(query, store, length, leave_out={truth} | same)


def calibrate(data: Path, noise: Path, per_condition: int) -> dict:
    encoder = load_encoder(threads=2)
    twice = set(corpus.SAME_MUSIC.values())  # left out: to name those would be right, and be taught as wrong
    tracks, others = (
        [track for track in corpus.load_tracks(data, split) if track.path and track.name not in twice]
        for split in ("calibration", "train")
    )
    kinds = [
        path for path in sorted(noise.glob("*.opus")) if path.stem not in corpus.MUSICAL_NOISE | corpus.ACCEPTANCE_NOISE
    ]
    lines = sorted((data / "packages" / corpus.SPEECH["train"]).rglob("*.ogg"))[:400]
    around = queries.Disturbances.load(kinds, lines, room_seed=5000)
    rate = encoder.spec.sample_rate

    def listen(samples: np.ndarray) -> Query:
        return Query.from_blocks([samples], encoder)

    known: list[Asked] = []
    unknown: list[Asked] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, held in (("small", tracks), ("large", tracks + others)):
            store, ids = fill(Path(folder) / name, data, held, encoder)
            paths = [Path(track.path) for track in tracks]
            for clip in queries.draw(paths, per_condition, around, rate, seed=11, lengths=LENGTHS):
                if clip.start + clip.length > corpus.LONGEST - 5:  # of long tracks no more was kept
                    continue
                both = ask_both_ways(listen(clip.samples), store, clip.length, ids[clip.track])
                known.append(both[0])
                unknown += [both[1]] if both[1] else []
            for _, samples in queries.without_music(rate, around, count=8, seed=12):
                unknown.append(ask(listen(samples), store, 5.0))
            store.close()
    fitted = classifier.calibrate(
        [one.plain for one in known],
        [one.plain for one in unknown],
        evidence.FEATURES,
        WITNESSES,
        min_length=SHORTEST_FOR_THRESHOLD,
    )
    print("laid everywhere in the library:")
    wide = classifier.calibrate(
        [one.everywhere for one in known],
        [one.everywhere for one in unknown],
        evidence.PEAK_SEARCH_FEATURES,
        WITNESSES | THIRD,
        min_length=SHORTEST_FOR_THRESHOLD,
    )
    return fitted | {"everywhere": wide}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=20, help="per condition and length")
    options = parser.parse_args()
    calibration = calibrate(options.data, options.noise, options.clips)
    file = WEIGHTS / "fingerprint.json"
    spec = json.loads(file.read_text())
    file.write_text(json.dumps({**spec, "calibration": calibration}, indent=1) + "\n")


if __name__ == "__main__":
    main()
