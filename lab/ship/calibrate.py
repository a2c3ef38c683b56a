"""Fit the confidence of recordings on music that the encoder was not trained on, and compute thresholds.

    python -m lab.ship.calibrate --data data --noise NOISE_DIR

Queries from the calibration music are searched in two libraries that contain it: a small one, and one that also
contains the training music. Each query is searched again without its recording, so that every match is wrong: these
are the hardest unknown queries, by the same composers. Probabilities hold when one query in two is known. The
calibration is written into the encoder's spec.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab import program
from lab.data import corpus, queries
from lab.ship import classifier
from lab.ship.classifier import QueryResult
from songprint.encoders.contract import WEIGHTS
from songprint.fingerprint import align, evidence
from songprint.fingerprint.candidates import VerifiedAlignment, WindowAlignments
from songprint.fingerprint.encoder import Encoder
from songprint.fingerprint.identify import neighbours, windows_of
from songprint.fingerprint.matcher import FingerprintMatcher
from songprint.fingerprint.query import Query
from songprint.kinds import open_store
from songprint.store.store import Store
from songprint.types import Kind, KnownFile, Tags

MIN_THRESHOLD_LENGTH = 5.0  # seconds; shorter unknown queries do not raise the thresholds
ABLATIONS = {  # groups of features whose contribution is measured
    "landmark verification": ("prominence", "excess", "excess_length", "contrast", "background", "plain", "unchanged"),
    "the lead over rivals": ("lead", "lead_length", "rivalled"),
    "hits, length, sameness, library": ("hits", "length", "sameness", "library"),
    "similarity": ("score", "score_length"),
}
PEAK_SEARCH_ABLATIONS = {"the rest of the library": ("everywhere", "clearly"), "the recording elsewhere": ("nearby",)}
MAX_CANDIDATES = 3  # of each query
LENGTHS = (1.0, 2.0, *queries.LENGTHS)  # seconds


def fill(folder: Path, data: Path, tracks: list[corpus.Track], encoder: Encoder) -> tuple[Store, dict[str, int]]:
    """Create a library of decoded tracks; return its store and the recording id of each path."""
    store = open_store(folder, create=True, encoder=encoder)
    ids: dict[str, int] = {}
    for number, track in enumerate(tracks, 1):
        samples = np.asarray(corpus.load_pcm(data, track)).astype(np.float32) / 32768
        added = store.catalog.add(
            tags=Tags(title=track.name),
            duration=track.duration,
            source=track.path,
            content_hash=f"{track.id:032x}",
            embeddings={Kind.RECORDING: encoder.encode(samples)},
        )
        ids[track.path] = added.recording_id if isinstance(added, KnownFile) else added.id
        if number % 50 == 0 or number == len(tracks):
            print(f"{number}/{len(tracks)} tracks", file=sys.stderr)
    store.refresh()
    return store, ids


@dataclass(frozen=True)
class Searched:
    """One query: its results without and with the peak search, and the alignments of the latter."""

    plain: QueryResult
    wide: QueryResult
    alignments: list[VerifiedAlignment]


def search(
    query: Query, store: Store, length: float, truth: int | None = None, leave_out: Collection[int] = ()
) -> Searched:
    """Search a query whose recording is `truth`."""
    level = store.levels[Kind.RECORDING]
    plain: list[VerifiedAlignment] = []
    wide: list[VerifiedAlignment] = []
    for window in windows_of(query):
        lines = WindowAlignments(query, level, window, neighbours(query, level, window, leave_out), level.embeddings_of)
        found = lines.verified()
        plain += found
        wide += lines.with_peak_search(found, leave_out)

    def result(found: list[VerifiedAlignment]) -> QueryResult:
        best = found[:MAX_CANDIDATES]
        return QueryResult([one.features for one in best], [one.line.recording_id == truth for one in best], length)

    return Searched(result(plain), result(wide), wide)


def search_both_ways(query: Query, store: Store, length: float, truth: int) -> tuple[Searched, Searched | None]:
    """Search a query with its recording in the library, and without it.

    Other recordings that contain the same sound are left out with it, because matching them is not an error. The
    second result is None when the recording is not found at all.
    """
    known = search(query, store, length, truth)
    found = known.alignments
    right = next((h.line for h in found if h.line.recording_id == truth), None)
    if right is None:
        return known, None
    rows = {h.line.recording_id: store.catalog.embeddings(Kind.RECORDING, h.line.recording_id).vectors for h in found}
    same = {
        h.line.recording_id
        for h in found
        if align.likeness(right, h.line, rows[truth], rows[h.line.recording_id]) > align.PARAMETERS.duplicate_cosine
    }
    return known, search(query, store, length, leave_out={truth} | same)


def calibrate(data: Path, noise: Path, per_condition: int) -> dict:
    encoder = FingerprintMatcher().open_encoder(threads=2)
    twice = set(corpus.SAME_MUSIC.values())  # left out: matching them is correct, but would count as an error
    tracks, others = (
        [track for track in corpus.load_tracks(data, split) if track.path and track.name not in twice]
        for split in ("calibration", "train")
    )
    around = queries.Disturbances.load(corpus.ambience(noise), corpus.spoken_lines(data)[:400], room_seed=5000)
    rate = encoder.spec.sample_rate

    def encoded(samples: np.ndarray) -> Query:
        return Query.from_blocks([samples], encoder)

    known: list[Searched] = []
    unknown: list[Searched] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, held in (("small", tracks), ("large", tracks + others)):
            store, ids = fill(Path(folder) / name, data, held, encoder)
            paths = [Path(track.path) for track in tracks]
            for query in queries.draw(paths, per_condition, around, rate, seed=11, lengths=LENGTHS):
                if query.start + query.length > corpus.LONGEST - 5:  # longer tracks are cut
                    continue
                both = search_both_ways(encoded(query.samples), store, query.length, ids[query.track])
                known.append(both[0])
                unknown += [both[1]] if both[1] else []
            for _, samples in queries.without_music(rate, around, count=8, seed=12):
                unknown.append(search(encoded(samples), store, 5.0))
            store.close()
    fitted = classifier.calibrate(
        [one.plain for one in known],
        [one.plain for one in unknown],
        evidence.FEATURES,
        ABLATIONS,
        min_length=MIN_THRESHOLD_LENGTH,
    )
    print("with peak search:")
    wide = classifier.calibrate(
        [one.wide for one in known],
        [one.wide for one in unknown],
        evidence.PEAK_SEARCH_FEATURES,
        ABLATIONS | PEAK_SEARCH_ABLATIONS,
        min_length=MIN_THRESHOLD_LENGTH,
    )
    return fitted | {"everywhere": wide}


def main() -> None:
    parser = program.parser(__doc__, "noise", data=program.DATA)
    parser.add_argument("--clips", type=int, default=20, help="queries per condition and length")
    options = parser.parse_args()
    calibration = calibrate(options.data, options.noise, options.clips)
    file = WEIGHTS / "fingerprint.json"
    spec = json.loads(file.read_text())
    file.write_text(json.dumps({**spec, "calibration": calibration}, indent=1) + "\n")


if __name__ == "__main__":
    main()
