"""Training data of the cover verifier: alignment paths between renditions of one song, and between similar songs.

    python -m lab.data.verifier_pairs --data data --tonal data/tonal --out data/pairs

Excerpts of 10 to 60 s of all training takes are searched in three libraries: whole songs and real tracks; rendered
passages and real tracks; recomposed songs (in pairs with the same chords) and tune books. For each query, the best
paths by alignment and by embedding are kept, and those of the correct song, each as a band
(`songprint.covers.verifier`). The beats of the score determine whether the other take contains the excerpt. Some
excerpts have another tempo, as queries of the tempo search do.
"""

from __future__ import annotations

import os
import pickle
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from lab import program
from lab.data import corpus
from lab.data.takes import Take, split_of_take
from lab.ship.calibrate_covers import Song, Songs, embedded, work_of
from songprint.covers import search, tempo_search
from songprint.covers.align import Comparison
from songprint.covers.encoder import CoverEncoder
from songprint.covers.matcher import CoverMatcher
from songprint.covers.search import Networks
from songprint.covers.tonal import FRAMES_PER_SECOND
from songprint.covers.verifier import band
from songprint.processes.threads import one_thread
from songprint.store.index import Index
from songprint.types import Embeddings

LENGTHS = (10, 14, 20, 20, 30, 30, 30, 40, 60)  # seconds of an excerpt
CHANGED = 0.15  # share of excerpts whose tempo is changed, as in the tempo search
SUGGESTED = 30  # candidates with which a query is aligned
BY_ALIGNMENT, BY_EMBEDDING = 3, 2  # candidates that are kept, by each ranking
OVERLAP = 0.5  # share of the beats of an excerpt that the other take must contain
RECOMPOSED, TUNES = 1000, 500  # numbers of works of these kinds
PER_FILE = 1000  # queries
HELD_OUT = 10  # every tenth work is held out for validation


@dataclass(frozen=True)
class Job:
    """A query with its ground truth and the library in which it is searched."""

    library: str
    query: Embeddings
    work: str
    arrangement: str
    beats: set[int]


@dataclass(frozen=True)
class Answer:
    """The paths of one query: their bands, whether each is correct, and their alignment scores."""

    work: str
    bands: list[np.ndarray]
    correct: list[bool]
    scores: list[float]

    @property
    def held_out(self) -> bool:
        return zlib.crc32(self.work.encode()) % HELD_OUT == 0


class Library(Songs):
    """Songs with their takes, prepared for alignment."""

    def __init__(self, takes: Sequence[Take], encoder: CoverEncoder) -> None:
        super().__init__([Song(take.work, embedded(take.frames, encoder)) for take in takes])
        self.takes = takes
        self.ready = [encoder.networks.prepare(take.frames) for take in takes]


class Worker:
    """What each process needs to search."""

    libraries: dict[str, Library]
    networks: Networks

    @classmethod
    def start(cls) -> None:
        """Load the networks of this process."""
        cls.networks = CoverMatcher().open_encoder().networks


def load_takes(tonal: Path, kind: str) -> dict[str, list[Take]]:
    """Load the takes of each training work."""
    found: dict[str, list[Take]] = defaultdict(list)
    for path in sorted(tonal.glob(f"{kind}-*.npz")):
        if split_of_take(path) == "train":
            take = Take.load(path)
            found[take.work].append(take)
    return found


def one_each(takes: dict[str, list[Take]], rng: np.random.Generator) -> list[Take]:
    """Choose one take of every work."""
    return [those[rng.integers(len(those))] for those in takes.values()]


def excerpt(take: Take, library: str, encoder: CoverEncoder, rng: np.random.Generator) -> Job:
    """Cut a random excerpt of a take."""
    count = min(int(rng.choice(LENGTHS)) * FRAMES_PER_SECOND, len(take.frames))
    start = int(rng.integers(len(take.frames) - count + 1))
    frames = take.frames[start : start + count]
    if rng.random() < CHANGED:
        frames = tempo_search.change_tempo(frames, float(rng.choice(tempo_search.TEMPOS)))
    return Job(library, embedded(frames, encoder), take.work, take.arrangement, take.between(start, start + count))


def searches(takes: dict[str, dict[str, list[Take]]], rng: np.random.Generator) -> list[tuple[Take, str]]:
    """Return pairs of a take and the library in which it is searched, in random order."""
    pairs = []
    for kind, works in takes.items():
        for take in (take for those in works.values() for take in those):
            if kind == "real":
                libraries: tuple[str, ...] = (str(rng.choice(["whole", "passages"])),)
            else:
                libraries = ("whole", "passages") if kind in ("rendered", "imagined") else ("alike",)
            pairs += [(take, library) for library in libraries]
    return [pairs[i] for i in rng.permutation(len(pairs))]


@one_thread()  # one process per core
def search_library(job: Job) -> Answer | None:
    """Search one query. None if the library contains only a part of the excerpt, or the same arrangement."""
    library = Worker.libraries[job.library]
    query = Worker.networks.prepare(job.query.evidence)
    own = sorted(library.of(job.work))
    if (
        query is None
        or not job.query.has_content.any()
        or any(library.takes[n].arrangement == job.arrangement for n in own)
    ):
        return None
    if any(len(job.beats & library.takes[n].all_beats) < OVERLAP * len(job.beats) for n in own):
        return None
    nearest = search.nearest_recordings(job.query, cast(Index, library.index), most=SUGGESTED)
    candidates = list(dict.fromkeys([*nearest, *own]))
    comparison = Comparison(query, [library.ready[n] for n in candidates])
    comparison.align(range(len(candidates)))
    heights = np.array([comparison.score(place) for place in range(len(candidates))])
    kept = list(
        dict.fromkeys(
            [*np.argsort(-heights)[:BY_ALIGNMENT].tolist(), *range(BY_EMBEDDING), *map(candidates.index, own)]
        )
    )
    comparison.align(kept, search.PARAMETERS.best_keys)
    answer = Answer(job.work, [], [], [])
    for place in kept:
        alignment = comparison.alignment(place)
        if alignment and alignment.features["aligned"] >= search.PARAMETERS.min_duration:
            answer.bands.append(band(query, library.ready[candidates[place]], alignment))
            answer.correct.append(candidates[place] in own)
            answer.scores.append(alignment.score)
    return answer if answer.bands else None


def answers(folder: Path) -> Iterator[Answer]:
    """Read the answers that were written to a folder."""
    for path in sorted(folder.glob("pairs-*.pkl")):
        for fields in pickle.loads(path.read_bytes()):
            yield Answer(**fields)


def main() -> None:
    parser = program.parser(__doc__, "tonal", "out", data=program.DATA, seed=0)
    parser.add_argument("--most", type=int, help="maximum number of queries")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(options.seed)
    takes = {kind: load_takes(options.tonal, kind) for kind in ("rendered", "imagined", "real", "recomposed", "tune")}
    names = {f"real {track.id}": work_of(track.name) for track in corpus.load_tracks(options.data, "train")}
    takes["real"] = {
        work: [replace(take, work=names[work]) for take in those]
        for work, those in takes["real"].items()
        if work in names
    }
    for kind, most in (("recomposed", RECOMPOSED), ("tune", TUNES)):
        takes[kind] = dict(list(takes[kind].items())[:most])
    real = [those[0] for those in takes["real"].values()]
    encoder = CoverMatcher().open_encoder(os.cpu_count() or 1)
    Worker.libraries = {
        "whole": Library(one_each(takes["imagined"], rng) + real, encoder),
        "passages": Library(one_each(takes["rendered"], rng) + real, encoder),
        "alike": Library(one_each(takes["recomposed"], rng) + one_each(takes["tune"], rng), encoder),
    }
    print({name: len(library.takes) for name, library in Worker.libraries.items()}, file=sys.stderr, flush=True)
    jobs = [excerpt(take, library, encoder, rng) for take, library in searches(takes, rng)[: options.most]]
    found: list[Answer] = []
    searched = program.in_processes(search_library, jobs, "queries", every=PER_FILE, initializer=Worker.start)
    for number, answer in enumerate(searched, 1):
        found += [answer] if answer else []
        if number % PER_FILE == 0 or number == len(jobs):
            (options.out / f"pairs-{options.seed:02d}-{number:06d}.pkl").write_bytes(
                pickle.dumps([vars(answer) for answer in found])
            )
            found = []


if __name__ == "__main__":
    main()
